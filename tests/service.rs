//! Calls to services over real sockets, against an upstream that records every byte and answers as it is told.

// A test that cannot go on should panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "service/answers.rs"]
mod answers;
#[path = "service/failures.rs"]
mod failures;
#[path = "service/fake.rs"]
mod fake;
#[path = "service/login.rs"]
mod login;
#[path = "service/requests.rs"]
mod requests;
#[path = "service/responses.rs"]
mod responses;
