//! Connecting, marked as such: whatever fails in here has not sent a byte of the request. It must never do more.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ureq::Error;
use ureq::unversioned::transport::{ConnectionDetails, DefaultConnector, Transport};

use super::super::reason::tls_reason;
use super::error::{NotSent, before_sending};

/// ureq's own connector, whose errors say that they came before the request.
#[derive(Debug)]
pub(super) struct Connector {
    inner: DefaultConnector,
    /// The client has been retired: a connection that took its time to come is not used any more.
    retired: Arc<AtomicBool>,
}

impl Connector {
    pub(super) fn new(retired: Arc<AtomicBool>) -> Self {
        Self { inner: DefaultConnector::default(), retired }
    }
}

impl ureq::unversioned::transport::Connector<()> for Connector {
    type Out = Box<dyn Transport>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<()>) -> Result<Option<Self::Out>, Error> {
        let connected = self.inner.connect(&as_agent(details), chained);
        if self.retired.load(Ordering::SeqCst) {
            return Err(before_sending(NotSent::Retired));
        }
        connected.map_err(|error| before_sending(kind(error)))
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
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            NotSent::Tls("the other side hung up during the handshake".into())
        }
        _ => NotSent::Unreachable,
    }
}
