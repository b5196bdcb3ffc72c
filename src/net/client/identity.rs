//! TLS to services that are known by something else than the name in their URL: by their key, or by another name. Not a
//! byte of a request is sent before the certificate was accepted.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use openssl::ssl::{HandshakeError, SslConnector, SslStream};
use ureq::Error;
use ureq::unversioned::transport::{ConnectionDetails, NextTimeout, Transport, TransportAdapter};

use super::super::authority::{check_pin, connector, handshake_reason};
use super::super::reason::tls_reason;
use super::error::{NotSent, before_sending};
use super::wire::{Wire, Wired};

/// Whom to accept.
pub(super) struct ServerIdentity {
    connector: SslConnector,
    pin: Option<[u8; 32]>,
    name: Option<String>,
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerIdentity(…)")
    }
}

impl ServerIdentity {
    /// A server with the key `pin`, whoever vouches for it; without one a server that the system's authorities or those
    /// in `ca_pem` vouch for, under `name` instead of its host.
    ///
    /// # Errors
    /// [`NotSent::Tls`] when `ca_pem` holds no certificate.
    pub(super) fn new(
        pin: Option<[u8; 32]>,
        name: Option<String>,
        ca_pem: Option<&[u8]>,
    ) -> Result<Arc<ServerIdentity>, NotSent> {
        let connector = connector(ca_pem, pin.is_some()).map_err(NotSent::Tls)?;
        Ok(Arc::new(ServerIdentity { connector, pin, name }))
    }

    /// The handshake over a connection, and who is there.
    pub(super) fn secure(
        &self,
        transport: Box<dyn Transport>,
        details: &ConnectionDetails<'_>,
    ) -> Result<Box<dyn Transport>, Error> {
        let failed = |e: &dyn fmt::Display| before_sending(NotSent::Tls(tls_reason(e)));
        let host = details.uri.host().unwrap_or_default();
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let mut stream = TransportAdapter::new(transport, details.current_time.clone());
        stream.set_timeout(details.timeout);
        let mut setup = self.connector.configure().map_err(|e| failed(&e))?;
        setup.set_verify_hostname(self.pin.is_none());
        let name = self.name.as_deref().unwrap_or(bare);
        let secured = setup.connect(name, stream).map_err(handshake_failed)?;
        if let Some(pin) = &self.pin {
            check_pin(secured.ssl().peer_certificate(), pin)
                .map_err(|why| before_sending(NotSent::Tls(why)))?;
        }
        Ok(Wired::boxed(Secured(secured), details))
    }
}

/// What went wrong below TLS, such as a time limit, is told rather than what TLS makes of it.
fn handshake_failed<S>(error: HandshakeError<S>) -> Error {
    let told = |why| before_sending(NotSent::Tls(why));
    match error {
        HandshakeError::SetupFailure(error) => told(tls_reason(error)),
        HandshakeError::Failure(stream) | HandshakeError::WouldBlock(stream) => {
            let found = stream.ssl().verify_result();
            let error = stream.into_error().into_io_error();
            error.map_or_else(|error| told(handshake_reason(&error, found)), Error::from)
        }
    }
}

struct Secured(SslStream<TransportAdapter>);

impl Read for Secured {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Secured {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Wire for Secured {
    fn limit(&mut self, limit: NextTimeout) -> Result<(), Error> {
        self.0.get_mut().set_timeout(limit);
        Ok(())
    }

    fn is_quiet(&mut self) -> bool {
        self.0.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
