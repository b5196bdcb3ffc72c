//! How a call can fail, and above all whether the service can have seen it. No error holds a path, query, header
//! or body.

use std::fmt;
use std::io;

use ureq::Error;

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpError {
    /// Not a byte of the request left: the call has certainly not happened.
    NotSent(NotSent),
    /// The request may have arrived: with side effects, the outcome is unknown.
    MaybeSent(MaybeSent),
    /// The response came, but its body is larger than allowed.
    TooLarge {
        status: u16,
        /// The limit in bytes.
        cap: u64,
    },
    /// The response came, but its body did not come whole.
    Cut { status: u16, why: MaybeSent },
}

/// What went wrong before the request was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSent {
    /// The host name has no address.
    Dns,
    /// No name server knows whether it has one.
    NoNameServer,
    /// Nobody listens there.
    Refused,
    /// No connection in time.
    Timeout,
    /// No way to that host.
    Unreachable,
    /// The unix socket cannot be opened.
    Socket(io::ErrorKind),
    /// TLS failed; in words.
    Tls(String),
    LinkLocal,
    /// The URL cannot be called; in words, without the URL.
    BadUrl(&'static str),
    /// Something that cannot be sent in a request; says what, not its text.
    BadHeader(&'static str),
    ShutDown,
    /// The client was retired: another one is to be used.
    Retired,
}

/// What went wrong after the request may have been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaybeSent {
    /// No complete answer in time.
    Timeout,
    /// The connection ended before the answer did.
    Disconnected,
    /// The answer is not HTTP.
    Garbage,
    /// The answer's head is over 64 KiB.
    HeaderTooLarge,
}

impl HttpError {
    pub(super) fn from_ureq(error: Error) -> Self {
        match error {
            Error::Other(inner) => match inner.downcast::<BeforeSending>() {
                Ok(before) => Self::NotSent(before.0),
                Err(_) => Self::MaybeSent(MaybeSent::Garbage),
            },
            Error::BadUri(_) => Self::NotSent(NotSent::BadUrl("it is not a complete http or https URL")),
            Error::Http(_) => Self::NotSent(NotSent::BadHeader("request")),
            Error::Timeout(_) => Self::MaybeSent(MaybeSent::Timeout),
            Error::LargeResponseHeader(..) => Self::MaybeSent(MaybeSent::HeaderTooLarge),
            Error::Io(e) if is_stopped(&e) => Self::NotSent(NotSent::ShutDown),
            Error::Io(e) if e.kind() == io::ErrorKind::TimedOut => Self::MaybeSent(MaybeSent::Timeout),
            Error::Io(_) => Self::MaybeSent(MaybeSent::Disconnected),
            // The rest is about answers that make no sense. New kinds are safest with "may have been sent".
            _ => Self::MaybeSent(MaybeSent::Garbage),
        }
    }

    /// An error while the body was read, when the request has long been sent.
    pub(super) fn from_body(error: Error, status: u16, cap: u64) -> Self {
        match error {
            Error::BodyExceedsLimit(_) => Self::TooLarge { status, cap },
            other => match Self::from_ureq(other) {
                Self::MaybeSent(why) => Self::Cut { status, why },
                _stopped => Self::Cut { status, why: MaybeSent::Disconnected },
            },
        }
    }
}

/// The agent refuses a call after its shutdown, before it connects; the system never gives this kind to a read or
/// write without a number.
fn is_stopped(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotConnected && error.raw_os_error().is_none()
}

/// Marks an error as one from before the request was sent; ureq hands it through.
pub(super) fn before_sending(why: NotSent) -> Error {
    Error::Other(Box::new(BeforeSending(why)))
}

#[derive(Debug)]
pub(super) struct BeforeSending(NotSent);

impl std::error::Error for BeforeSending {}

impl fmt::Display for BeforeSending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for HttpError {}

impl From<NotSent> for HttpError {
    fn from(why: NotSent) -> Self {
        Self::NotSent(why)
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(why) => write!(f, "not sent: {why}"),
            Self::MaybeSent(why) => write!(f, "no usable answer: {why}"),
            Self::TooLarge { status: _, cap } => write!(f, "the answer is larger than {cap} bytes"),
            Self::Cut { status, why } => write!(f, "no usable answer after status {status}: {why}"),
        }
    }
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns => f.write_str("the host name has no address"),
            Self::NoNameServer => f.write_str("no name server gave a usable answer"),
            Self::Refused => f.write_str("connection refused; is the service running?"),
            Self::Timeout => f.write_str("no connection in time"),
            Self::Unreachable => f.write_str("the host cannot be reached"),
            Self::Socket(kind) => write!(f, "the socket cannot be opened: {kind}"),
            Self::Tls(reason) => write!(f, "no trusted connection: {reason}"),
            Self::LinkLocal => f.write_str("link-local address refused; see allow_link_local"),
            Self::BadUrl(reason) => write!(f, "bad URL: {reason}"),
            Self::BadHeader(what) => write!(f, "bad {what}"),
            Self::ShutDown => f.write_str("shutting down"),
            Self::Retired => f.write_str("the settings have changed meanwhile"),
        }
    }
}

impl fmt::Display for MaybeSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "no complete answer in time",
            Self::Disconnected => "the connection ended before the answer did",
            Self::Garbage => "the answer is not valid HTTP",
            Self::HeaderTooLarge => "the head of the answer is over 64 KiB",
        })
    }
}
