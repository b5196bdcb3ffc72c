//! Calls to services over real sockets, against an upstream that records every byte and answers as it is told.

#[path = "service/answers.rs"]
mod answers;
#[path = "service/failures.rs"]
mod failures;
#[path = "service/fake.rs"]
mod fake;
#[path = "service/requests.rs"]
mod requests;
