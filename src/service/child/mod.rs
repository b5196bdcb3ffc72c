//! Programs that the gateway starts, and that leave nothing behind.
//!
//! | file | what |
//! |---|---|
//! | `guard` | the process between the gateway and a child, and how it ends all of the child's processes |
//! | `process` | starts a child under its guard, with its pipes |
//! | `lines` | bounded lines from a pipe |
//! | `memory` | how much memory a child has |
//!
//! A child has an environment of its own, a session of its own and no more memory than it may have. When the gateway
//! closes its end of the pipe, or is killed, the guard sees the end of its standard input and ends the child.

mod guard;
mod lines;
mod memory;
mod process;

pub(crate) use guard::take_over;
pub(super) use lines::LineError;
pub(super) use memory::resident;
pub(crate) use process::Program;
pub(super) use process::{Child, Ended, Pipes};
