//! The HTTP/1.1 server in front of every listener, over hyper. A listener is given each request and answers with a
//! page, an endless feed or a WebSocket.
//!
//! Everything is bounded in size and time. It knows nothing of what is asked or answered, nor of who asks.

use std::any::Any;
use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::time::Duration;

use async_tungstenite::tungstenite::handshake::derive_accept_key;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use smol::channel::Receiver;
use smol::{Timer, future};
use smol_hyper::rt::{FuturesIo, SmolTimer};

use super::deadline::within;
use super::forwarded::Forwarded;
use super::reading::MustRead;
use super::sent::{SentBody, Unwritten};
use super::stream::Stream;
use super::ws::WebSocket;
use crate::base::once_flag::OnceFlag;

/// The largest request body taken, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// The largest request head, in bytes; browsers stay far below. More is answered with 431.
const MAX_HEAD: usize = 16 * 1024;
/// How long the head of a request for a page, and then its body, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much later than the deadline of an upgrade request's head that of our whole answer is.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Limits of a listener for WebSockets.
#[derive(Debug, Clone)]
pub struct WsLimits {
    /// The largest message, in bytes.
    pub max_message_bytes: usize,
    /// How long a client may take to send its request head.
    pub header_timeout: Duration,
}

/// A request. All of it is the client's word.
#[derive(Debug)]
pub struct WebRequest {
    /// The path, undecoded, without the query.
    pub path: String,
    /// What follows the `?`, undecoded; empty when there is none.
    pub query: String,
    /// Empty until [`WebRequest::read_body`].
    pub body: Vec<u8>,
    method: Method,
    version: Version,
    headers: HeaderMap,
    unread: Option<Incoming>,
}

impl WebRequest {
    fn new(request: Request<Incoming>) -> WebRequest {
        let (head, body) = request.into_parts();
        WebRequest {
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            body: Vec::new(),
            method: head.method,
            version: head.version,
            headers: head.headers,
            unread: Some(body),
        }
    }

    /// `GET`, `POST` and so on.
    pub(crate) fn method(&self) -> &str {
        self.method.as_str()
    }

    /// A header's value; empty when it is absent, is no text, or was sent more than once.
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        let only = values.next().filter(|_| values.next().is_none());
        only.and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// What it says of its way through proxies.
    pub(crate) fn forwarded(&self) -> Forwarded {
        Forwarded::from_headers(&self.headers)
    }

    /// The `Origin` header, as browsers send it. Repeated headers are joined and so match nothing.
    pub fn origin(&self) -> Option<String> {
        self.joined(&header::ORIGIN)
    }

    /// The token of `Authorization: Bearer <token>`; None for another scheme.
    pub fn bearer(&self) -> Option<String> {
        let value = self.joined(&header::AUTHORIZATION)?;
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
    }

    /// Reads the body. None when it is larger than `max` bytes, incomplete or too slow.
    pub(crate) async fn read_body(&mut self, max: usize) -> Option<()> {
        let body = Limited::new(self.unread.take()?, max);
        self.body = within(PATIENCE, body.collect()).await?.ok()?.to_bytes().to_vec();
        Some(())
    }

    /// All values of a header as one list. Bytes that are no UTF-8 show as U+FFFD, so that nothing passes as absent.
    fn joined(&self, name: &HeaderName) -> Option<String> {
        let values = self.headers.get_all(name).iter();
        let values: Vec<_> = values.map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// Checks an upgrade to a WebSocket (RFC 6455, 4.2.1) and returns the accept key.
    fn accept_key(&self) -> Result<String, WebAnswer> {
        let has_token = |name: &HeaderName, token: &str| {
            let list = self.joined(name).unwrap_or_default();
            list.split(',').any(|t| t.trim().eq_ignore_ascii_case(token))
        };
        let is_upgrade = self.method == Method::GET
            && self.version == Version::HTTP_11
            && has_token(&header::UPGRADE, "websocket")
            && has_token(&header::CONNECTION, "upgrade");
        if !is_upgrade {
            let text = "this port speaks WebSocket (ws:// or wss://), and MCP at /mcp";
            return Err(WebAnswer::text(426, text).with("upgrade", "websocket"));
        }
        if self.joined(&header::SEC_WEBSOCKET_VERSION).as_deref() != Some("13") {
            let text = "this WebSocket version is not spoken here; use version 13";
            return Err(WebAnswer::text(426, text).with("sec-websocket-version", "13"));
        }
        let is_key = |key: &String| BASE64_STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16);
        match self.joined(&header::SEC_WEBSOCKET_KEY).filter(is_key) {
            Some(key) => Ok(derive_accept_key(key.as_bytes())),
            None => Err(WebAnswer::text(400, "sec-websocket-key must be 16 bytes in base64")),
        }
    }
}

#[derive(Debug)]
pub struct WebAnswer {
    pub status: u16,
    /// Headers besides those that follow from the body. Those that cannot stand in HTTP are left out.
    pub headers: Vec<(&'static str, String)>,
    pub(crate) body: WebBody,
    /// Dropped when the answer has been written, or never will be.
    pub(crate) kept: Option<Rc<dyn Any>>,
}

impl WebAnswer {
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> WebAnswer {
        let headers = vec![("content-type", content_type.to_owned())];
        WebAnswer { status, headers, body: WebBody::Whole(body.into()), kept: None }
    }

    /// An answer whose pieces come one by one.
    pub(crate) fn feed(headers: Vec<(&'static str, String)>, pieces: Receiver<Vec<u8>>) -> WebAnswer {
        WebAnswer { status: 200, headers, body: WebBody::Feed(pieces), kept: None }
    }

    /// The same; `kept` is dropped when all of it has been written to the socket, or the connection has ended.
    #[must_use]
    pub(crate) fn keeping(self, kept: impl Any) -> WebAnswer {
        WebAnswer { kept: Some(Rc::new(kept)), ..self }
    }

    pub fn text(status: u16, line: &str) -> WebAnswer {
        WebAnswer::new(status, "text/plain; charset=utf-8", format!("{line}\n"))
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> WebAnswer {
        self.headers.push((name, value.into()));
        self
    }

    fn switching_protocols(accept_key: String) -> WebAnswer {
        let headers = vec![
            ("connection", "upgrade".into()),
            ("upgrade", "websocket".into()),
            ("sec-websocket-accept", accept_key),
        ];
        WebAnswer { status: 101, headers, body: WebBody::Whole(Vec::new()), kept: None }
    }

    fn into_response(self, unwritten: Unwritten) -> Response<SentBody> {
        let body = match self.body {
            WebBody::Whole(bytes) => SentBody::whole(bytes, self.kept, unwritten),
            WebBody::Feed(pieces) => SentBody::feed(pieces, self.kept, unwritten),
        };
        let mut response = Response::new(body);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in self.headers {
            match HeaderValue::try_from(value) {
                Ok(value) => drop(response.headers_mut().append(HeaderName::from_static(name), value)),
                Err(e) => log::error!("the header {name} cannot be sent: {e}"),
            }
        }
        response
    }
}

#[derive(Debug)]
pub(crate) enum WebBody {
    Whole(Vec<u8>),
    /// Piece by piece, until the sender is dropped. When the client leaves, the receiver is.
    Feed(Receiver<Vec<u8>>),
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

/// Serves one request to a listener that is for WebSockets. A proper upgrade (any path) that `decide` accepts becomes a
/// [`WebSocket`] with what `decide` returned; anything else is answered, the connection closed, and the result is None.
/// No request body is ever read.
///
/// # Errors
/// [`UpgradeError`] when there was nothing to answer.
pub async fn serve_upgrade<T>(
    stream: Stream,
    limits: &WsLimits,
    decide: impl Fn(&WebRequest) -> Result<T, WebAnswer>,
) -> Result<Option<(WebSocket, T)>, UpgradeError> {
    serve_port(stream, limits, async |request| Err(request), &OnceFlag::default(), decide).await
}

/// The same for a listener that has pages, too: what `page` does not give back it has answered, and the next request is
/// read. Until `admitted` is set, there are `header_timeout` and a moment for all of it.
///
/// # Errors
/// As for [`serve_upgrade`].
pub(crate) async fn serve_port<T>(
    stream: Stream,
    limits: &WsLimits,
    page: impl AsyncFn(WebRequest) -> Result<WebAnswer, WebRequest>,
    admitted: &OnceFlag,
    decide: impl Fn(&WebRequest) -> Result<T, WebAnswer>,
) -> Result<Option<(WebSocket, T)>, UpgradeError> {
    let answer = async |request: WebRequest| {
        let request = match page(request).await {
            Ok(answer) => return Err(answer),
            Err(request) => request,
        };
        let upgrade = request.accept_key().and_then(|accept_key| Ok((accept_key, decide(&request)?)));
        upgrade.map_err(|refusal| refusal.with("connection", "close"))
    };
    let served = async { Some(serve(stream, limits.header_timeout, answer).await) };
    let late = async {
        Timer::after(limits.header_timeout + ANSWER_TIME).await;
        if admitted.is_set() { pending().await } else { None }
    };
    let served = future::or(served, late).await.ok_or(UpgradeError::TimedOut)?;
    match (served.end, served.granted) {
        (Err(e), _) if e.is_timeout() => Err(UpgradeError::TimedOut),
        (Err(e), _) => Err(UpgradeError::Http(e.to_string())),
        (Ok(()), Some(grant)) => {
            let read = served.read.to_vec();
            Ok(Some((WebSocket::server(served.stream, read, limits.max_message_bytes).await, grant)))
        }
        (Ok(()), None) => {
            served.stream.linger().await;
            Ok(None)
        }
    }
}

/// Serves one connection to a listener for pages, until the client leaves or is too slow: with its request, between two
/// requests, or with reading. Each request comes with its body.
pub(crate) async fn serve_pages(stream: Stream, answer: impl AsyncFn(WebRequest) -> WebAnswer) {
    let served = serve(stream, PATIENCE, async |mut request: WebRequest| {
        Err::<(String, Infallible), _>(match request.read_body(MAX_BODY).await {
            Some(()) => answer(request).await,
            None => WebAnswer::text(400, "bad request"),
        })
    });
    let served = served.await;
    if let Err(e) = served.end {
        log::debug!("an HTTP connection ended: {e}");
    }
    // What was refused may not have been read to its end.
    served.stream.linger().await;
}

/// What remains of a connection when HTTP has ended on it.
struct Served<T> {
    end: Result<(), hyper::Error>,
    stream: Stream,
    /// What was read behind the last request.
    read: Bytes,
    /// What `answer` gave for an upgrade.
    granted: Option<T>,
}

/// Serves the requests of one connection. For each, `answer` gives an answer, or the accept key of a WebSocket with a
/// value; HTTP ends with that.
async fn serve<T>(
    stream: Stream,
    header_timeout: Duration,
    answer: impl AsyncFn(WebRequest) -> Result<(String, T), WebAnswer>,
) -> Served<T> {
    let (granted, unwritten) = (RefCell::new(None), Unwritten::default());
    let service = service_fn(|request: Request<Incoming>| {
        let (answer, granted, unwritten) = (&answer, &granted, &unwritten);
        Box::pin(async move {
            let answer = answer(WebRequest::new(request)).await.map_or_else(
                |answer| answer,
                |(accept_key, grant)| {
                    granted.replace(Some(grant));
                    WebAnswer::switching_protocols(accept_key)
                },
            );
            Ok::<_, Infallible>(answer.into_response(unwritten.clone()))
        })
    });
    let mut server = http1::Builder::new();
    server.timer(SmolTimer::new()).header_read_timeout(header_timeout).max_buf_size(MAX_HEAD);
    let mut connection =
        server.serve_connection(FuturesIo::new(MustRead::new(stream, unwritten.clone())), service);
    let end = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let parts = connection.into_parts();
    let stream = parts.io.into_inner().into_inner();
    Served { end, stream, read: parts.read_buf, granted: granted.take() }
}
