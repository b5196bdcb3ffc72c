//! HTTP/1.1 over hyper, for what is no WebSocket: whole requests in, whole answers or endless feeds out. Bounded in size
//! and time; it knows nothing of what is asked or answered, nor of who asks.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use smol::channel::Receiver;
use smol::stream::Stream as _;
use smol_hyper::rt::{FuturesIo, SmolTimer};

use super::deadline::within;
use super::forwarded::Forwarded;
use super::reading::MustRead;
use super::stream::Stream;

/// The largest request body taken, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// The largest request head, in bytes; browsers stay far below. More is answered with 431.
const MAX_HEAD: usize = 16 * 1024;
/// How long a request's head, and then its body, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A whole request.
#[derive(Debug)]
pub(crate) struct Asked {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// The path, undecoded.
    pub path: String,
    /// What follows the `?`, undecoded; empty when there is none.
    pub query: String,
    /// The body, at most 64 KiB.
    pub body: Vec<u8>,
    headers: HeaderMap,
}

impl Asked {
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
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Headers besides those that follow from the body. Those that are no text are left out.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Body,
}

impl Answer {
    /// An answer with a content type.
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        let headers = vec![("content-type", content_type.to_owned())];
        Answer { status, headers, body: Body::Whole(body.into()) }
    }

    /// The same with one more header.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }
}

/// What is sent back.
#[derive(Debug)]
pub(crate) enum Body {
    /// All of it.
    Whole(Vec<u8>),
    /// Piece by piece, until the sender is dropped. When the client leaves, the receiver is.
    Feed(Receiver<Vec<u8>>),
}

/// Serves one connection until the client leaves or dawdles: with its request, between two requests, or with reading.
pub(crate) async fn serve(stream: Stream, answer: impl AsyncFn(Asked) -> Answer) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = &answer;
        Box::pin(async move {
            let answer = match within(PATIENCE, read(request)).await.flatten() {
                Some(asked) => answer(asked).await,
                None => Answer::new(400, "text/plain", "bad request\n"),
            };
            Ok::<_, Infallible>(written(answer))
        })
    });
    let mut server = http1::Builder::new();
    server.timer(SmolTimer::new()).header_read_timeout(PATIENCE).max_buf_size(MAX_HEAD);
    let mut connection = server.serve_connection(FuturesIo::new(MustRead::new(stream)), service);
    if let Err(e) = poll_fn(|cx| connection.poll_without_shutdown(cx)).await {
        log::debug!("an HTTP connection ended: {e}");
    }
    // What was refused may not have been read to its end.
    connection.into_parts().io.into_inner().into_inner().linger().await;
}

async fn read(request: Request<Incoming>) -> Option<Asked> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY).collect().await.ok()?.to_bytes().to_vec();
    Some(Asked {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        body,
        headers: head.headers,
    })
}

fn written(answer: Answer) -> Response<Sent> {
    let mut response = Response::new(Sent::of(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        match HeaderValue::from_str(&value) {
            Ok(value) => drop(response.headers_mut().append(HeaderName::from_static(name), value)),
            Err(e) => log::error!("the header {name} cannot be sent: {e}"),
        }
    }
    response
}

/// A body as hyper takes it.
enum Sent {
    Whole(Option<Bytes>),
    Feed(Pin<Box<Receiver<Vec<u8>>>>),
}

impl Sent {
    fn of(body: Body) -> Sent {
        match body {
            Body::Whole(bytes) => Sent::Whole(Some(bytes.into())),
            Body::Feed(pieces) => Sent::Feed(Box::pin(pieces)),
        }
    }
}

impl hyper::body::Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Sent::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Sent::Feed(pieces) => {
                pieces.as_mut().poll_next(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Sent::Whole(None))
    }

    /// A whole body says its length, so that clients see a cut one.
    fn size_hint(&self) -> SizeHint {
        match self {
            Sent::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Sent::Feed(_) => SizeHint::default(),
        }
    }
}
