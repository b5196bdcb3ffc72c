//! The exit codes that scripts rely on.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Exit(u8);

impl Exit {
    pub(crate) const DONE: Exit = Exit(0);
    /// A human or the policy said no; also: `audit verify` found a bad row.
    pub(crate) const DENIED: Exit = Exit(1);
    /// A hook says no without a decision on its output.
    pub(crate) const BLOCKED: Exit = Exit(2);
    /// Nobody answered in time.
    pub(crate) const TIMED_OUT: Exit = Exit(2);
    /// No connection, or not authenticated.
    pub(crate) const CONNECTION: Exit = Exit(3);
    /// Bad arguments, of the command or of the tool.
    pub(crate) const BAD_ARGUMENTS: Exit = Exit(4);
    /// It was tried and failed, or was not tried because of a limit.
    pub const FAILED: Exit = Exit(5);
    /// Bad configuration (sysexits EX_CONFIG; systemd does not restart after it).
    pub(crate) const BAD_CONFIGURATION: Exit = Exit(78);
    /// Ended by Ctrl-C, as shells report it.
    pub(crate) const INTERRUPTED: Exit = Exit(130);
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.0)
    }
}
