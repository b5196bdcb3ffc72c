//! TLS to services that are known by something else than the name in their URL: by their key, or by another name. Not a
//! byte of a request is sent before the certificate was accepted.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use openssl::ssl::{HandshakeError, SslConnector, SslMethod, SslStream, SslVerifyMode, SslVersion};
use openssl::x509::X509;
use ureq::Error;
use ureq::unversioned::transport::{ConnectionDetails, NextTimeout, Transport, TransportAdapter};

use super::super::certificate::{format_pin, spki_digest};
use super::super::reason::tls_reason;
use super::error::{NotSent, before_sending};
use super::wire::{Wire, Wired};

/// Whom to accept.
pub(super) struct Identity {
    connector: SslConnector,
    pin: Option<[u8; 32]>,
    name: Option<String>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

impl Identity {
    /// A server with the key `pin`, whoever vouches for it; without one a server that the system's authorities or those
    /// in `ca_pem` vouch for, under `name` instead of its host.
    ///
    /// # Errors
    /// [`NotSent::Tls`] when `ca_pem` holds no certificate.
    pub(super) fn new(
        pin: Option<[u8; 32]>,
        name: Option<String>,
        ca_pem: Option<&[u8]>,
    ) -> Result<Arc<Identity>, NotSent> {
        let failed = |e: openssl::error::ErrorStack| NotSent::Tls(tls_reason(e));
        let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(failed)?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2)).map_err(failed)?;
        if pin.is_some() {
            // The pin replaces the check of chain and name; TLS still proves that the server owns the key.
            builder.set_verify(SslVerifyMode::NONE);
        }
        let system = openssl_probe::probe();
        // What cannot be read of the system's authorities is not trusted: those in `ca_pem` may be all there are.
        let _ = builder.load_verify_locations(system.cert_file.as_deref(), None);
        for folder in &system.cert_dir {
            let _ = builder.load_verify_locations(None, Some(folder));
        }
        for certificate in ca_pem.map(authorities).transpose()?.unwrap_or_default() {
            builder.cert_store_mut().add_cert(certificate).map_err(failed)?;
        }
        Ok(Arc::new(Identity { connector: builder.build(), pin, name }))
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
        let secured = setup.connect(name, stream).map_err(|e| handshake_failed(e, &failed))?;
        self.check_pin(&secured).map_err(before_sending)?;
        Ok(Wired::boxed(Secured(secured), details))
    }

    fn check_pin<S>(&self, stream: &SslStream<S>) -> Result<(), NotSent> {
        let Some(pin) = &self.pin else { return Ok(()) };
        let seen = stream.ssl().peer_certificate().and_then(|c| spki_digest(c.as_ref()).ok());
        match seen {
            Some(seen) if seen == *pin => Ok(()),
            Some(seen) => {
                let (seen, pin) = (format_pin(&seen), format_pin(pin));
                Err(NotSent::Tls(format!("the server's key is {seen}, the pin says {pin}")))
            }
            None => Err(NotSent::Tls("the server shows no readable certificate".into())),
        }
    }
}

fn authorities(pem: &[u8]) -> Result<Vec<X509>, NotSent> {
    let found = X509::stack_from_pem(pem).ok().filter(|list| !list.is_empty());
    found.ok_or_else(|| NotSent::Tls("the CA file holds no PEM certificate".into()))
}

/// What went wrong below TLS, such as a time limit, is told rather than what TLS makes of it.
fn handshake_failed<S>(error: HandshakeError<S>, failed: &dyn Fn(&dyn fmt::Display) -> Error) -> Error {
    match error {
        HandshakeError::SetupFailure(e) => failed(&e),
        HandshakeError::Failure(stream) | HandshakeError::WouldBlock(stream) => {
            let verified = stream.ssl().verify_result();
            let error = stream.into_error();
            match error.io_error().is_some() {
                true => error.into_io_error().map_or_else(|e| failed(&e), Error::from),
                false if verified.as_raw() != 0 => {
                    failed(&format!("error:0:::certificate verify failed: ({})", verified.error_string()))
                }
                false => failed(&error),
            }
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
