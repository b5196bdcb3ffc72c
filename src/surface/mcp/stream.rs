//! Server-sent events: JSON-RPC messages, and comments that keep a silent stream alive.

use smol::channel::{Receiver, Sender, bounded};

use crate::net::front::WebAnswer;

/// Messages that may wait for the client to read them.
const BACKLOG: usize = 4;

/// The sending end. The stream ends when it is dropped.
pub(super) struct Events(Sender<Vec<u8>>);

/// A stream, and its sending end.
pub(super) fn open() -> (WebAnswer, Events) {
    let (send, pieces): (_, Receiver<Vec<u8>>) = bounded(BACKLOG);
    let headers =
        [("content-type", "text/event-stream"), ("cache-control", "no-cache"), ("x-accel-buffering", "no")];
    let headers = headers.map(|(name, value)| (name, value.to_owned())).to_vec();
    (WebAnswer::feed(headers, pieces), Events(send))
}

/// The client has gone.
pub(super) struct Gone;

impl Events {
    /// # Errors
    /// [`Gone`].
    pub(super) async fn message(&self, json: &str) -> Result<(), Gone> {
        self.send(format!("event: message\ndata: {json}\n\n")).await
    }

    /// # Errors
    /// [`Gone`].
    pub(super) async fn keep_alive(&self) -> Result<(), Gone> {
        self.send(": keep-alive\n\n".to_owned()).await
    }

    async fn send(&self, text: String) -> Result<(), Gone> {
        self.0.send(text.into_bytes()).await.map_err(|_| Gone)
    }

    /// Waits until the client has gone.
    pub(super) async fn gone(&self) {
        self.0.closed().await;
    }
}
