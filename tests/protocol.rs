//! The wire protocol as documented, spoken by hand with the real binary: authentication, frames, limits, every error,
//! receipts, idempotency and what one connection may know of another.

// A test that cannot go on should panic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

#[path = "protocol/auth.rs"]
mod auth;
#[path = "protocol/calls.rs"]
mod calls;
#[path = "protocol/connections.rs"]
mod connections;
#[path = "protocol/errors.rs"]
mod errors;
#[path = "protocol/frames.rs"]
mod frames;
#[path = "protocol/idempotency.rs"]
mod idempotency;
#[path = "protocol/inbox.rs"]
mod inbox;
#[path = "protocol/limits.rs"]
mod limits;
#[path = "protocol/tool_files.rs"]
mod tool_files;
