//! Why a server cannot be used.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::protocol::mcp::upstream::ServerError;
use crate::service::child::Ended;

/// Why nothing is known of a server.
pub(crate) struct UpstreamError {
    pub(super) why: Why,
    /// What it wrote to standard error last, as it wrote it.
    pub last_words: Vec<String>,
}

pub(super) enum Why {
    NotStarted(io::Error),
    Ended(Option<Ended>),
    /// A method, and after how long.
    Silent(&'static str, Duration),
    Pipe(io::Error),
    LineTooLong,
    Unreadable(String),
    Refused(&'static str, ServerError),
    /// What it answered is not what the method answers.
    Odd(&'static str),
    EndlessList,
    ListTooLarge,
    /// It does not read what it is sent.
    Stuck,
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::NotStarted(e) => write!(f, "no process can be started: {e}"),
            Why::Ended(Some(Ended::NoSuchProgram)) => write!(f, "there is no such program"),
            Why::Ended(Some(Ended::CannotRun)) => write!(f, "the program cannot be run"),
            Why::Ended(Some(Ended::Code(code))) => write!(f, "it ended (exit code {code})"),
            Why::Ended(None) => write!(f, "it ended"),
            Why::Silent(method, time) => write!(f, "no answer to {method} within {} s", time.as_secs()),
            Why::Pipe(e) => write!(f, "its pipe failed: {e}"),
            Why::LineTooLong => write!(f, "it sent a line of more than 8 MiB"),
            Why::Unreadable(why) => write!(f, "it sent a message that is not read: {why}"),
            Why::Refused(method, ServerError { code, message, .. }) => {
                write!(f, "it refuses {method}: {message} ({code})")
            }
            Why::Odd(method) => write!(f, "its answer to {method} cannot be understood"),
            Why::EndlessList => write!(f, "its list of tools does not end"),
            Why::ListTooLarge => write!(f, "its list of tools is larger than 16 MiB"),
            Why::Stuck => write!(f, "it does not read what it is sent"),
        }
    }
}
