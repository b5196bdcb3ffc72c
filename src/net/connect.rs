//! The agent's way to a gateway: TCP, TLS with the chosen trust, WebSocket. One deadline covers all of it.
//! It must never send a byte of the request before the server's certificate was accepted.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use async_native_tls::{Certificate, Protocol, TlsConnector};
use async_tungstenite::tungstenite::Error as WsError;
use async_tungstenite::tungstenite::client::IntoClientRequest;
use async_tungstenite::tungstenite::handshake::client::Request;
use hyper::header::{AUTHORIZATION, HeaderValue};
use openssl::x509::X509;
use smol::Async;

use super::authority::{authorities, check_pin};
use super::client::is_link_local;
use super::deadline::within;
use super::names::Names;
use super::reason::tls_reason;
use super::stream::Stream;
use super::ws::{WebSocket, config};
use crate::base::digest::Digest;
use crate::base::url::Url;

/// The client's end of a connection to a gateway.
pub(crate) type ClientSocket = WebSocket;

/// What makes a server's certificate acceptable.
#[derive(Clone)]
pub enum Trust {
    System,
    /// The certificates in this PEM text, besides the system's authorities.
    CaFile(Vec<u8>),
    /// Only a server with this public key: SHA-256 of its SubjectPublicKeyInfo. Names and dates do not matter.
    Pin([u8; 32]),
}

impl Trust {
    /// Reads a pin: `sha256:` and 64 hex digits, in any case.
    ///
    /// # Errors
    /// [`BadPin`].
    pub fn parse_pin(text: &str) -> Result<Self, BadPin> {
        Digest::parse_pin(text).map(|pin| Self::Pin(pin.0)).ok_or(BadPin)
    }
}

/// A text that is no pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadPin;

impl std::error::Error for BadPin {}

impl fmt::Display for BadPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pin is sha256: and 64 hex digits, as the gateway prints it")
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// The address cannot be sent in a request.
    BadUrl,
    /// The token has characters that cannot stand in a header.
    BadToken,
    /// No such name, nobody there, or no answer in time; in words.
    Unreachable(String),
    /// The server is not who it should be, or TLS failed otherwise; in words.
    Tls(String),
    /// The server answered with this HTTP status instead of a WebSocket.
    Refused(u16),
    /// The server's answer was no WebSocket handshake; in words.
    NotWebSocket(String),
}

impl std::error::Error for ConnectError {}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadUrl => f.write_str("the address cannot be sent in a request"),
            Self::BadToken => f.write_str("the token has characters that no header can carry"),
            Self::Unreachable(reason) => write!(f, "cannot reach the gateway: {reason}"),
            Self::Tls(reason) => write!(f, "no trusted connection to the gateway: {reason}"),
            Self::Refused(401) => f.write_str("the gateway does not know this token (401)"),
            Self::Refused(403) => f.write_str("the gateway forbids this connection (403)"),
            Self::Refused(429) => f.write_str("too many attempts; try again in a minute (429)"),
            Self::Refused(status) => write!(f, "the server refused with HTTP status {status}"),
            Self::NotWebSocket(reason) => write!(f, "the server does not speak WebSocket here: {reason}"),
        }
    }
}

/// The same to a service of the owner's, where link-local addresses count only if they are allowed.
pub(crate) async fn connect_to_service(
    url: &Url,
    trust: &Trust,
    timeout: Duration,
    max_message: usize,
    allow_link_local: bool,
) -> Result<ClientSocket, ConnectError> {
    let may_call = |address: &SocketAddr| allow_link_local || !is_link_local(address.ip());
    reach(url, trust, request(url, None)?, timeout, max_message, may_call).await
}

/// Connects within `timeout`; `bearer` goes into the upgrade request, messages are capped at `max_message` bytes.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect(
    url: &Url,
    trust: &Trust,
    bearer: Option<&str>,
    timeout: Duration,
    max_message: usize,
) -> Result<ClientSocket, ConnectError> {
    reach(url, trust, request(url, bearer)?, timeout, max_message, |_| true).await
}

async fn reach(
    url: &Url,
    trust: &Trust,
    request: Request,
    timeout: Duration,
    max_message: usize,
    may_call: impl Fn(&SocketAddr) -> bool,
) -> Result<ClientSocket, ConnectError> {
    let work = async {
        let tcp = dial(url.host(), url.port(), timeout, may_call).await?;
        let stream = if url.is_encrypted() { secure(url, trust, tcp).await? } else { Stream::plain(tcp) };
        upgrade(request, stream, max_message).await
    };
    let late =
        || ConnectError::Unreachable(format!("{} did not answer within {timeout:?}", url.host_and_port()));
    within(timeout, work).await.ok_or_else(late)?
}

fn request(url: &Url, bearer: Option<&str>) -> Result<Request, ConnectError> {
    let mut request = url.as_str().into_client_request().map_err(|_| ConnectError::BadUrl)?;
    if let Some(token) = bearer {
        let mut value =
            HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| ConnectError::BadToken)?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    Ok(request)
}

/// Tries one address after the other, each with its share of the time.
async fn dial(
    host: &str,
    port: u16,
    timeout: Duration,
    may_call: impl Fn(&SocketAddr) -> bool,
) -> Result<Async<TcpStream>, ConnectError> {
    let unreachable = |error: io::Error| ConnectError::Unreachable(format!("{host} port {port}: {error}"));
    let unknown = |why| ConnectError::Unreachable(format!("{host} port {port}: {why}"));
    let mut addresses = Names::default().lookup(host, port).await.map_err(unknown)?;
    addresses.retain(may_call);
    let share = timeout / u32::try_from(addresses.len().max(1)).unwrap_or(1);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match within(share, Async::<TcpStream>::connect(address)).await {
            Some(Ok(tcp)) => {
                tcp.get_ref().set_nodelay(true).map_err(unreachable)?;
                return Ok(tcp);
            }
            Some(Err(error)) => last = error,
            None => last = io::Error::new(io::ErrorKind::TimedOut, "no answer"),
        }
    }
    Err(unreachable(last))
}

async fn secure(url: &Url, trust: &Trust, tcp: Async<TcpStream>) -> Result<Stream, ConnectError> {
    let connector = connector(trust).map_err(ConnectError::Tls)?;
    let tls = connector.connect(url.host(), tcp).await.map_err(|e| ConnectError::Tls(tls_reason(e)))?;
    if let Trust::Pin(pin) = trust {
        let der = tls.peer_certificate().ok().flatten().and_then(|certificate| certificate.to_der().ok());
        check_pin(der.and_then(|der| X509::from_der(&der).ok()), pin).map_err(ConnectError::Tls)?;
    }
    Ok(Stream::tls_client(tls))
}

fn connector(trust: &Trust) -> Result<TlsConnector, String> {
    let mut connector = TlsConnector::new().min_protocol_version(Some(Protocol::Tlsv12));
    match trust {
        Trust::System => {}
        Trust::CaFile(pem) => {
            for certificate in authorities(pem)? {
                let der = certificate.to_der().map_err(tls_reason)?;
                connector = connector.add_root_certificate(Certificate::from_der(&der).map_err(tls_reason)?);
            }
        }
        // The pin replaces the check of chain and name; TLS still proves that the server owns the key.
        Trust::Pin(_) => {
            connector = connector.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
        }
    }
    Ok(connector)
}

async fn upgrade(request: Request, stream: Stream, max_message: usize) -> Result<ClientSocket, ConnectError> {
    let limits = Some(config(max_message));
    match async_tungstenite::client_async_with_config(request, stream, limits).await {
        Ok((socket, _)) => Ok(WebSocket::client(socket)),
        Err(WsError::Http(answer)) => Err(ConnectError::Refused(answer.status().as_u16())),
        Err(WsError::Io(error)) => Err(ConnectError::Unreachable(error.to_string())),
        Err(error) => Err(ConnectError::NotWebSocket(error.to_string())),
    }
}
