//! The HTTP request that becomes a WebSocket, or gets a proper answer. It must never read a request body, keep a
//! connection for a second request, or know who is asking: `decide` does that.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use async_tungstenite::tungstenite::handshake::derive_accept_key;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming as Body};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use smol_hyper::rt::{FuturesIo, SmolTimer};

use super::deadline::within;
use super::forwarded::Forwarded;
use super::stream::Stream;
use super::ws::WebSocket;

/// The largest request head; browsers stay far below. More is answered with 431.
const MAX_HEAD: usize = 16 * 1024;
/// The deadline of a whole request is this much later than that of its head: our answer has to go out.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Limits of the agent port.
#[derive(Debug, Clone)]
pub struct WsLimits {
    /// The largest message, in bytes.
    pub max_message_bytes: usize,
    /// How long a client may take to send its request head.
    pub header_timeout: Duration,
}

/// What an upgrade request says about who sent it; all of it is the client's word.
pub struct UpgradeRequest {
    /// The path, without query.
    pub path: String,
    /// The `Origin` header, as browsers send it. Repeated headers are joined by ", " and so match nothing.
    pub origin: Option<String>,
    /// The token of `Authorization: Bearer <token>`; another scheme is `None`.
    pub bearer: Option<String>,
    /// What it says of its way through proxies.
    pub forwarded: Forwarded,
}

/// An answer other than "welcome".
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// Further headers, such as `retry-after`.
    pub headers: Vec<(&'static str, String)>,
    /// The body: one line of plain text that says what to do.
    pub text: String,
}

impl Refusal {
    /// A refusal without further headers.
    pub fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), text: text.into() }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Why a connection ended before there was an answer.
#[derive(Debug)]
pub enum UpgradeError {
    /// The request took too long.
    TimedOut,
    /// Not HTTP, a head over 16 KiB or 100 headers (both answered with 4xx), or a lost connection.
    Http(String),
}

impl std::error::Error for UpgradeError {}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("client did not send its request in time"),
            Self::Http(reason) => write!(f, "no usable HTTP request: {reason}"),
        }
    }
}

/// Serves one HTTP request. A proper upgrade (any path) that `decide` accepts becomes a [`WebSocket`] with what
/// `decide` returned; anything else is answered, the connection closed, and the result is `None`.
///
/// # Errors
/// [`UpgradeError`] when there was nothing to answer.
pub async fn serve_upgrade<T>(
    stream: Stream,
    limits: &WsLimits,
    decide: impl Fn(&UpgradeRequest) -> Result<T, Refusal>,
) -> Result<Option<(WebSocket, T)>, UpgradeError> {
    let granted = RefCell::new(None);
    let service = service_fn(|request: Request<Body>| {
        let answer = match examine(&request).and_then(|(accept, who)| Ok((accept, decide(&who)?))) {
            Ok((accept, grant)) => {
                granted.replace(Some(grant));
                switching(&accept)
            }
            Err(refusal) => refused(refusal),
        };
        async { Ok::<_, Infallible>(answer) }
    });
    let connection = server(limits).serve_connection(FuturesIo::new(stream), service);
    let patience = limits.header_timeout + ANSWER_TIME;
    let served = within(patience, connection.without_shutdown()).await.ok_or(UpgradeError::TimedOut)?;
    let parts = served.map_err(upgrade_error)?;
    let stream = parts.io.into_inner();
    let Some(grant) = granted.take() else {
        stream.linger().await;
        return Ok(None);
    };
    let socket = WebSocket::server(stream, parts.read_buf.to_vec(), limits.max_message_bytes).await;
    Ok(Some((socket, grant)))
}

fn server(limits: &WsLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(SmolTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(MAX_HEAD);
    builder
}

fn upgrade_error(error: hyper::Error) -> UpgradeError {
    if error.is_timeout() { UpgradeError::TimedOut } else { UpgradeError::Http(error.to_string()) }
}

/// Checks an upgrade (RFC 6455, 4.2.1) and returns the accept key with what `decide` may see.
fn examine<B>(request: &Request<B>) -> Result<(String, UpgradeRequest), Refusal> {
    let headers = request.headers();
    if !is_upgrade(request) {
        return Err(Refusal::new(426, "this port speaks WebSocket only; connect with ws:// or wss://")
            .with("upgrade", "websocket"));
    }
    if joined(headers, &header::SEC_WEBSOCKET_VERSION).as_deref() != Some("13") {
        return Err(Refusal::new(426, "this WebSocket version is not spoken here; use version 13")
            .with("sec-websocket-version", "13"));
    }
    let key = joined(headers, &header::SEC_WEBSOCKET_KEY).filter(|key| is_key(key));
    let key = key.ok_or_else(|| Refusal::new(400, "sec-websocket-key must be 16 bytes in base64"))?;
    let who = UpgradeRequest {
        path: request.uri().path().to_owned(),
        origin: joined(headers, &header::ORIGIN),
        bearer: joined(headers, &header::AUTHORIZATION).and_then(|value| bearer(&value)),
        forwarded: Forwarded::from_headers(headers),
    };
    Ok((derive_accept_key(key.as_bytes()), who))
}

fn is_upgrade<B>(request: &Request<B>) -> bool {
    request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && has_token(request.headers(), &header::UPGRADE, "websocket")
        && has_token(request.headers(), &header::CONNECTION, "upgrade")
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    joined(headers, name).is_some_and(|list| list.split(',').any(|t| t.trim().eq_ignore_ascii_case(token)))
}

fn is_key(key: &str) -> bool {
    BASE64_STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16)
}

fn bearer(value: &str) -> Option<String> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// All values of a header as one list. Bytes that are no UTF-8 show as U+FFFD, so that nothing passes as absent.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<_> =
        headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn switching(accept: &str) -> Response<Full<Bytes>> {
    let headers = vec![
        ("connection", "upgrade".into()),
        ("upgrade", "websocket".into()),
        ("sec-websocket-accept", accept.into()),
    ];
    answer(StatusCode::SWITCHING_PROTOCOLS, headers, String::new())
}

fn refused(refusal: Refusal) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut headers = refusal.headers;
    headers.push(("connection", "close".into()));
    headers.push(("content-type", "text/plain; charset=utf-8".into()));
    answer(status, headers, refusal.text + "\n")
}

/// Header values that cannot stand in HTTP are left out rather than sent wrong.
fn answer(status: StatusCode, headers: Vec<(&'static str, String)>, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
