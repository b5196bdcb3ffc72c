//! Plain HTTP/1.1 answers over hyper, for what is no WebSocket. One connection, bounded in size and time; it knows
//! nothing of what is asked or answered.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use smol_hyper::rt::{FuturesIo, SmolTimer};

use super::deadline::within;
use super::stream::Stream;

/// The largest request body taken, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// How long a request's head, and then its body, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A whole request.
#[derive(Debug)]
pub struct Asked {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// Path and query, undecoded.
    pub target: String,
    /// The value of `Authorization`, empty when absent or not text.
    pub authorization: String,
    /// The body.
    pub body: Vec<u8>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The content type.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

/// Serves one connection until the client leaves or dawdles.
pub async fn serve(stream: Stream, answer: impl Fn(Asked) -> Answer) {
    let service = service_fn(|request: Request<Incoming>| {
        let asked = within(PATIENCE, read(request));
        let answer = &answer;
        async move {
            let answer = match asked.await.flatten() {
                Some(asked) => answer(asked),
                None => Answer { status: 400, content_type: "text/plain", body: "bad request\n".into() },
            };
            Ok::<_, Infallible>(written(answer))
        }
    });
    let mut server = http1::Builder::new();
    server.timer(SmolTimer::new()).header_read_timeout(PATIENCE);
    if let Err(e) = server.serve_connection(FuturesIo::new(stream), service).await {
        log::debug!("an HTTP connection ended: {e}");
    }
}

async fn read(request: Request<Incoming>) -> Option<Asked> {
    let (head, body) = request.into_parts();
    let authorization = head.headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let body = Limited::new(body, MAX_BODY).collect().await.ok()?.to_bytes().to_vec();
    Some(Asked {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        authorization: authorization.to_owned(),
        body,
    })
}

fn written(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    response
}
