//! The server's side of TLS: 1.3, and 1.2 for old clients. It must never log a key.
//!
//! OpenSSL directly, because native-tls' own acceptor stops at TLS 1.2.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use async_openssl::SslStream;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{self, Ssl, SslAcceptor, SslAcceptorBuilder, SslMethod, SslMode, SslVersion};
use openssl::x509::X509;
use smol::Async;
use zeroize::Zeroizing;

pub use super::certificate::{SelfSigned, self_signed, spki_pin_of_pem};
use super::deadline::within;
use super::reason::tls_reason;
use super::stream::Stream;

/// Accepts TLS connections with one certificate. Cheap to clone; make a new one to change the certificate.
#[derive(Clone)]
pub struct Acceptor(SslAcceptor);

impl Acceptor {
    /// Reads a PEM certificate (with its chain behind it, if there is one) and its PEM private key.
    ///
    /// # Errors
    /// A [`TlsError`] that names the file and what to do about it.
    pub fn from_files(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        Acceptor::from_version(SslVersion::TLS1_2, cert, key)
    }

    /// [`Acceptor::from_files`] for clients that speak TLS 1.3.
    ///
    /// # Errors
    /// As there.
    pub fn of_tls13(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        Acceptor::from_version(SslVersion::TLS1_3, cert, key)
    }

    fn from_version(oldest: SslVersion, cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let (chain, private) = (read_chain(cert)?, read_key(key)?);
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        builder.set_min_proto_version(Some(oldest))?;
        add_chain(&mut builder, chain)?;
        let mismatch = |_| TlsError::Mismatch { cert: cert.into(), key: key.into() };
        builder.set_private_key(&private).map_err(mismatch)?;
        builder.check_private_key().map_err(mismatch)?;
        // An idle connection then holds no record buffers, which are most of its memory.
        builder.set_mode(SslMode::RELEASE_BUFFERS);
        Ok(Self(builder.build()))
    }

    /// Finishes a TLS handshake within `deadline`; without one a silent client would stay for ever.
    ///
    /// # Errors
    /// [`TlsError::TimedOut`], [`TlsError::PlainHttp`] or [`TlsError::Handshake`].
    pub async fn accept(&self, tcp: Async<TcpStream>, deadline: Duration) -> Result<Stream, TlsError> {
        let mut tls = SslStream::new(Ssl::new(self.0.context())?, tcp)?;
        match within(deadline, Pin::new(&mut tls).accept()).await {
            None => Err(TlsError::TimedOut),
            Some(Err(error)) => Err(handshake_error(&error)),
            Some(Ok(())) => Ok(Stream::tls_server(tls)),
        }
    }
}

fn read_chain(path: &Path) -> Result<Vec<X509>, TlsError> {
    let chain = X509::stack_from_pem(&read(path)?).unwrap_or_default();
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(path.into()));
    }
    Ok(chain)
}

/// The callback answers OpenSSL's question for a password with none; it would ask on the terminal otherwise.
fn read_key(path: &Path) -> Result<PKey<Private>, TlsError> {
    PKey::private_key_from_pem_callback(&read(path)?, |_| Ok(0)).map_err(|_| TlsError::NoKey(path.into()))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Zeroizing::new(bytes)),
        Err(source) => Err(TlsError::Read { path: path.into(), source }),
    }
}

fn add_chain(builder: &mut SslAcceptorBuilder, chain: Vec<X509>) -> Result<(), ErrorStack> {
    let mut chain = chain.into_iter();
    if let Some(leaf) = chain.next() {
        builder.set_certificate(&leaf)?;
    }
    chain.try_for_each(|cert| builder.add_extra_chain_cert(cert))
}

fn handshake_error(error: &ssl::Error) -> TlsError {
    let plain = |stack: &ErrorStack| stack.errors().iter().any(|e| e.reason() == Some("http request"));
    if error.ssl_error().is_some_and(plain) {
        return TlsError::PlainHttp;
    }
    let reason = tls_reason(error);
    // What a client that verifies certificates does without a word.
    let hint = if reason == "unexpected EOF" { "; does the client trust the certificate?" } else { "" };
    TlsError::Handshake(reason + hint)
}

/// Why there is no TLS.
#[derive(Debug)]
pub enum TlsError {
    /// A file could not be read.
    Read { path: PathBuf, source: io::Error },
    /// The file holds no PEM certificate.
    NoCertificate(PathBuf),
    /// The file holds no PEM private key that can be read without a password.
    NoKey(PathBuf),
    /// The key does not belong to the certificate.
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        key: PathBuf,
    },
    /// A name that cannot be used in a certificate; empty when there was none.
    BadName(String),
    /// The client did not finish the handshake in time.
    TimedOut,
    /// The client sent an HTTP request in the clear.
    PlainHttp,
    /// The handshake failed; in OpenSSL's words.
    Handshake(String),
    /// OpenSSL refused something else.
    OpenSsl(String),
}

impl From<ErrorStack> for TlsError {
    fn from(stack: ErrorStack) -> Self {
        Self::OpenSsl(tls_reason(stack))
    }
}

impl std::error::Error for TlsError {}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::NoCertificate(path) => {
                write!(f, "no certificate in {}; it must be PEM, own certificate first", path.display())
            }
            Self::NoKey(path) => {
                write!(f, "no private key in {}; it must be PEM without a password", path.display())
            }
            Self::Mismatch { cert, key } => {
                let (cert, key) = (cert.display(), key.display());
                write!(f, "the key {key} does not belong to the first certificate in {cert}")
            }
            Self::BadName(name) if name.is_empty() => f.write_str("a certificate needs at least one name"),
            Self::BadName(name) => {
                write!(f, "{name:?} cannot be used in a certificate; use a host name or an IP address")
            }
            Self::TimedOut => f.write_str("client did not finish the TLS handshake in time"),
            Self::PlainHttp => f.write_str("client spoke plain HTTP to the TLS port"),
            Self::Handshake(reason) => write!(f, "TLS handshake failed: {reason}"),
            Self::OpenSsl(reason) => write!(f, "OpenSSL: {reason}"),
        }
    }
}
