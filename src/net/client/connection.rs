//! Connecting, marked as such: whatever fails in here has not sent a byte of the request. It must never do more.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ureq::Error;
use ureq::unversioned::transport::Connector as UreqConnector;
use ureq::unversioned::transport::{ConnectionDetails, DefaultConnector, TcpConnector, Transport};

use super::super::reason::tls_reason;
use super::error::{BeforeSending, NotSent, before_sending};
use super::identity::ServerIdentity;
use super::socket;

#[derive(Debug)]
pub(super) enum Way {
    /// As its URL says.
    Usual(DefaultConnector),
    Socket(PathBuf),
    /// As its URL says, but known by something else.
    Known(TcpConnector, Arc<ServerIdentity>),
}

/// A connector whose errors say that they came before the request.
#[derive(Debug)]
pub(super) struct Connector {
    way: Way,
    /// The client has been retired: a connection that took its time to come is not used any more.
    retired: Arc<AtomicBool>,
}

impl Connector {
    pub(super) fn new(way: Way, retired: Arc<AtomicBool>) -> Self {
        Self { way, retired }
    }
}

impl Way {
    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Box<dyn Transport>>, Error> {
        match self {
            Way::Usual(usual) => usual.connect(details, chained),
            Way::Socket(path) => socket::open(path, details).map(Some),
            Way::Known(tcp, identity) => {
                let Some(plain) = tcp.connect(details, chained)? else { return Ok(None) };
                let plain = Box::new(plain);
                if details.needs_tls() { identity.secure(plain, details).map(Some) } else { Ok(Some(plain)) }
            }
        }
    }
}

impl UreqConnector<()> for Connector {
    type Out = Box<dyn Transport>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<()>) -> Result<Option<Self::Out>, Error> {
        let connected = self.way.connect(&as_agent(details), chained);
        if self.retired.load(Ordering::SeqCst) {
            return Err(before_sending(NotSent::Retired));
        }
        connected.map_err(|error| match error {
            Error::Other(said) if said.is::<BeforeSending>() => Error::Other(said),
            other => before_sending(kind(other)),
        })
    }
}

/// A request with limits of its own would load all root certificates anew, 50 ms of work. Its TLS settings are
/// always the agent's, so the agent's cached ones serve it.
fn as_agent<'a>(details: &ConnectionDetails<'a>) -> ConnectionDetails<'a> {
    ConnectionDetails {
        uri: details.uri,
        addrs: details.addrs.clone(),
        config: details.config,
        request_level: false,
        resolver: details.resolver,
        now: details.now,
        timeout: details.timeout,
        current_time: details.current_time.clone(),
        run_connector: details.run_connector.clone(),
        register_shutdown: details.register_shutdown.clone(),
    }
}

fn kind(error: Error) -> NotSent {
    match error {
        Error::Timeout(_) => NotSent::Timeout,
        Error::NativeTls(reason) => NotSent::Tls(tls_reason(reason)),
        Error::Io(e) => io_kind(&e),
        other => NotSent::Tls(other.to_string()),
    }
}

fn io_kind(error: &io::Error) -> NotSent {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => NotSent::Refused,
        io::ErrorKind::TimedOut => NotSent::Timeout,
        io::ErrorKind::NotConnected => NotSent::ShutDown,
        kind @ (io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => NotSent::Socket(kind),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            NotSent::Tls("the other side hung up during the handshake".into())
        }
        _ => NotSent::Unreachable,
    }
}
