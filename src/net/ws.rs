//! One WebSocket, the server's end or the client's. It knows frames, caps and deadlines, never what a text says.
//!
//! One task owns a [`WebSocket`], reads and writes it. It has to
//! - call [`next`](WebSocket::next) again and again, without awaiting anything long in between: pings are answered
//!   while reading. `next` is cancel-safe, so `future::or(ws.next(), queue.recv())` loses nothing;
//! - keep its own idle limit (90 s without any [`WsIncoming`]) and, before authentication, one deadline around
//!   everything: a peer that trickles a fragment byte by byte never makes `next` return;
//! - after [`WsIncoming::TooLarge`], [`Binary`](WsIncoming::Binary), [`BadUtf8`](WsIncoming::BadUtf8) or
//!   [`ProtocolError`](WsIncoming::ProtocolError) the stream is lost: call
//!   [`close_with`](WebSocket::close_with), with [`close_code`](WsIncoming::close_code) as the code.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::error::ProtocolError;
use async_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use async_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use async_tungstenite::tungstenite::{Error, Message};
use futures_util::{Sink, SinkExt, Stream as _};
use smol::future;

use super::deadline::within;
use super::early::Early;
use super::stream::Stream;

/// How long a peer may take to read what we send before the connection counts as lost.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// How long the close frame may take to go out.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);
/// Pings, and pongs that nobody asked for, that a server takes within [`PING_WINDOW`]; ordinary clients send one in
/// 20 seconds. A client takes any number: its gateway sends one behind each result.
pub const MAX_PINGS: u32 = 100;
/// The time over which pings are counted.
pub(crate) const PING_WINDOW: Duration = Duration::from_secs(10);
/// The longest reason a close frame can carry (RFC 6455, 5.5: 125 bytes with the code).
const MAX_REASON: usize = 123;
/// Bytes read at once. Every connection holds such a buffer for its life, which fits into a KiB with what the allocator
/// adds. A usual message fits too; a larger one is read in as many pieces.
const READ_BUFFER: usize = 1000;
/// Frames of one flush that are collected before they are written.
const WRITE_BUFFER: usize = 8 * 1024;

#[derive(Debug, PartialEq, Eq)]
pub enum WsIncoming {
    Text(String),
    /// A ping; its pong is on its way.
    Ping,
    /// A pong with the payload of the ping it answers.
    Pong(Vec<u8>),
    /// The connection is over: closed, reset or lost.
    Closed,
    /// A message over the cap.
    TooLarge,
    Binary,
    /// A text message that is not UTF-8.
    BadUtf8,
    /// Frames that break RFC 6455, or too many pings; in words.
    ProtocolError(String),
}

impl WsIncoming {
    /// The close code (RFC 6455, 7.4.1) for what ends a connection, `None` for what does not.
    pub fn close_code(&self) -> Option<u16> {
        match self {
            Self::Text(_) | Self::Ping | Self::Pong(_) => None,
            Self::Closed => Some(1000),
            Self::ProtocolError(_) => Some(1002),
            Self::Binary => Some(1003),
            Self::BadUtf8 => Some(1007),
            Self::TooLarge => Some(1009),
        }
    }
}

/// Why nothing more can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    Closed,
    /// The peer does not read. Drop the connection: a message may be half sent.
    TimedOut,
}

impl std::error::Error for SendError {}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "connection closed",
            Self::TimedOut => "the peer does not read what it is sent",
        })
    }
}

pub struct WebSocket {
    stream: WebSocketStream<Stream>,
    /// Read while a write was waiting, oldest first.
    early: Early,
    pings: PingCount,
    farewell: Option<(u16, String)>,
}

impl WebSocket {
    /// The server's end of a finished handshake; `already_read` came behind the request.
    pub async fn server(stream: Stream, already_read: Vec<u8>, max_message: usize) -> Self {
        let config = Some(config(max_message));
        let stream = WebSocketStream::from_partially_read(stream, already_read, Role::Server, config).await;
        Self::new(stream, PingCount { max: Some(MAX_PINGS), ..PingCount::default() })
    }

    pub(super) fn client(stream: WebSocketStream<Stream>) -> Self {
        Self::new(stream, PingCount::default())
    }

    fn new(stream: WebSocketStream<Stream>, pings: PingCount) -> Self {
        Self { stream, early: Early::default(), pings, farewell: None }
    }

    /// Waits for whatever comes next. Never fails, never panics; after [`WsIncoming::Closed`] it stays closed.
    ///
    /// Cancel-safe: a message is either returned or still there for the next call.
    pub async fn next(&mut self) -> WsIncoming {
        let item = match self.early.pop() {
            Some(item) => item,
            None => future::poll_fn(|cx| self.poll_item(cx)).await,
        };
        if let Some(Ok(Message::Close(Some(frame)))) = &item {
            self.farewell = Some((frame.code.into(), frame.reason.as_str().to_owned()));
        }
        match self.pings.judge(incoming(item)) {
            // The pong, or our half of the farewell, must go out even if nothing is ever read or sent again.
            WsIncoming::Ping => {
                self.flush(WRITE_DEADLINE).await.map_or(WsIncoming::Closed, |()| WsIncoming::Ping)
            }
            WsIncoming::Closed => {
                self.flush(CLOSE_DEADLINE).await.ok();
                self.stream.get_mut().finish().await;
                WsIncoming::Closed
            }
            other => other,
        }
    }

    /// The code and reason of the peer's close frame, once there was one.
    pub fn farewell(&self) -> Option<(u16, &str)> {
        self.farewell.as_ref().map(|(code, reason)| (*code, reason.as_str()))
    }

    /// Sends texts, and behind them a ping if there is one, in one flush within `deadline`
    /// (usually [`WRITE_DEADLINE`]).
    ///
    /// What arrives meanwhile is kept for [`next`](Self::next).
    ///
    /// # Errors
    /// [`SendError`]; the connection is then lost.
    pub async fn send_text_batch(
        &mut self,
        texts: impl IntoIterator<Item = String>,
        ping: Option<Vec<u8>>,
        deadline: Duration,
    ) -> Result<(), SendError> {
        self.pings.asked += u32::from(ping.is_some());
        let ping = ping.map(|payload| Message::Ping(payload.into()));
        let messages = texts.into_iter().map(Message::text).chain(ping);
        within(deadline, self.send_all(messages)).await.unwrap_or(Err(SendError::TimedOut))
    }

    /// Sends a ping (at most 125 bytes) within [`WRITE_DEADLINE`]; the peer's library returns its payload.
    ///
    /// # Errors
    /// [`SendError`]; the connection is then lost.
    pub async fn ping(&mut self, payload: Vec<u8>) -> Result<(), SendError> {
        self.send_text_batch(None, Some(payload), WRITE_DEADLINE).await
    }

    /// Ends the connection with a close code and a reason (cut to 123 bytes), so that the peer can read both:
    /// what it already sent is read and thrown away, 8 MiB or one second of it. Takes three seconds at most.
    pub async fn close_with(mut self, code: u16, reason: &str) {
        let cut = (0..=MAX_REASON.min(reason.len())).rev().find(|&end| reason.is_char_boundary(end));
        let reason = cut.and_then(|end| reason.get(..end)).unwrap_or(reason);
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        within(CLOSE_DEADLINE, self.stream.close(Some(frame))).await;
        self.stream.into_inner().linger().await;
    }

    async fn send_all(&mut self, messages: impl Iterator<Item = Message>) -> Result<(), SendError> {
        for message in messages {
            self.write_with(|stream, cx| stream.poll_ready(cx)).await?;
            self.stream.start_send_unpin(message).map_err(|_| SendError::Closed)?;
        }
        self.write_with(|stream, cx| stream.poll_flush(cx)).await
    }

    async fn flush(&mut self, deadline: Duration) -> Result<(), SendError> {
        let flushed = within(deadline, self.write_with(|stream, cx| stream.poll_flush(cx))).await;
        flushed.unwrap_or(Err(SendError::TimedOut))
    }

    /// Runs a write to its end and reads while it waits.
    async fn write_with(
        &mut self,
        mut write: impl FnMut(Pin<&mut WebSocketStream<Stream>>, &mut Context<'_>) -> Poll<Result<(), Error>>,
    ) -> Result<(), SendError> {
        future::poll_fn(|cx| {
            let written = write(Pin::new(&mut self.stream), cx);
            if written.is_pending() {
                self.read_early(cx);
            }
            written.map_err(|_| SendError::Closed)
        })
        .await
    }

    fn read_early(&mut self, cx: &mut Context<'_>) {
        while self.early.has_room() {
            match self.poll_item(cx) {
                Poll::Ready(item) => self.early.push(item),
                Poll::Pending => return,
            }
        }
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        Pin::new(&mut self.stream).poll_next(cx)
    }
}

/// Messages and frames of exactly `max_message` bytes pass, one byte more is [`WsIncoming::TooLarge`].
pub(super) fn config(max_message: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message))
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
}

fn incoming(item: Option<Result<Message, Error>>) -> WsIncoming {
    match item {
        Some(Ok(message)) => received(message),
        Some(Err(error)) => failed(error),
        None => WsIncoming::Closed,
    }
}

fn received(message: Message) -> WsIncoming {
    match message {
        Message::Text(text) => WsIncoming::Text(text.as_str().to_owned()),
        Message::Binary(_) => WsIncoming::Binary,
        Message::Ping(_) => WsIncoming::Ping,
        Message::Pong(payload) => WsIncoming::Pong(payload.to_vec()),
        Message::Close(_) => WsIncoming::Closed,
        Message::Frame(_) => WsIncoming::ProtocolError("raw frame".into()),
    }
}

fn failed(error: Error) -> WsIncoming {
    match error {
        Error::Capacity(_) => WsIncoming::TooLarge,
        Error::Utf8(_) => WsIncoming::BadUtf8,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => WsIncoming::Closed,
        Error::Protocol(broken) => WsIncoming::ProtocolError(broken.to_string()),
        // Everything else is about the connection, not about what was sent on it.
        _ => WsIncoming::Closed,
    }
}

/// Bounds the pings and unasked pongs of a peer, which cost it nothing.
#[derive(Default)]
struct PingCount {
    max: Option<u32>,
    /// Pings of ours that have no pong yet.
    asked: u32,
    since: Option<Instant>,
    seen: u32,
}

impl PingCount {
    fn judge(&mut self, incoming: WsIncoming) -> WsIncoming {
        match incoming {
            WsIncoming::Pong(_) if self.asked > 0 => self.asked -= 1,
            WsIncoming::Ping | WsIncoming::Pong(_) if self.is_flood() => {
                return WsIncoming::ProtocolError("too many pings".into());
            }
            _ => {}
        }
        incoming
    }

    fn is_flood(&mut self) -> bool {
        let now = Instant::now();
        if self.since.is_none_or(|since| now.duration_since(since) >= PING_WINDOW) {
            (self.since, self.seen) = (Some(now), 0);
        }
        self.seen = self.seen.saturating_add(1);
        self.max.is_some_and(|max| self.seen > max)
    }
}
