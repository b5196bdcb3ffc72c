//! One byte stream, whether plain or TLS and whichever end we are. It must never know what the bytes mean.

use std::io::{self, Result};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use smol::Async;
use smol::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::deadline::within;

/// Reads in a row that are ready at once before the task must let others run.
///
/// A peer that sends as fast as we read would otherwise keep the only thread for itself.
const READS_PER_TURN: u8 = 32;
/// How long a closing connection may take, and how long we listen for what the peer already sent.
const LINGER: Duration = Duration::from_secs(1);
/// How much of that we throw away before we give up (8 MiB).
const LINGER_BYTES: usize = 8 << 20;

/// A connection that can be read and written.
pub struct Stream {
    kind: StreamKind,
    turn: u8,
}

enum StreamKind {
    Plain(Async<TcpStream>),
    Server(Box<async_openssl::SslStream<Async<TcpStream>>>),
    Client(Box<async_native_tls::TlsStream<Async<TcpStream>>>),
}

impl Stream {
    /// A stream without encryption.
    pub fn plain(tcp: Async<TcpStream>) -> Self {
        Self::new(StreamKind::Plain(tcp))
    }

    /// The server's end of a finished TLS handshake.
    pub fn tls_server(tls: async_openssl::SslStream<Async<TcpStream>>) -> Self {
        Self::new(StreamKind::Server(Box::new(tls)))
    }

    /// The client's end of a finished TLS handshake.
    pub fn tls_client(tls: async_native_tls::TlsStream<Async<TcpStream>>) -> Self {
        Self::new(StreamKind::Client(Box::new(tls)))
    }

    fn new(kind: StreamKind) -> Self {
        Self { kind, turn: READS_PER_TURN }
    }

    /// Whether the bytes are encrypted on the wire.
    pub fn is_tls(&self) -> bool {
        !matches!(self.kind, StreamKind::Plain(_))
    }

    /// The negotiated TLS version of a server's stream, such as "TLSv1.3".
    pub fn tls_version(&self) -> Option<&'static str> {
        match &self.kind {
            StreamKind::Server(tls) => Some(tls.ssl().version_str()),
            StreamKind::Plain(_) | StreamKind::Client(_) => None,
        }
    }

    fn tcp(&self) -> &Async<TcpStream> {
        match &self.kind {
            StreamKind::Plain(tcp) => tcp,
            StreamKind::Server(tls) => tls.get_ref(),
            StreamKind::Client(tls) => tls.get_ref(),
        }
    }

    /// Says goodbye: TLS' own farewell, then the end of our half of the connection. Waits a second at most.
    pub async fn finish(&mut self) {
        within(LINGER, self.close()).await;
        // An error means that the peer is gone already, which is what we want.
        self.tcp().get_ref().shutdown(Shutdown::Write).ok();
    }

    /// [`finish`](Self::finish), then throws away what the peer still sends, 8 MiB or one second of it.
    ///
    /// A socket dropped with unread input is reset, and the reset can overtake the last thing we said.
    pub async fn linger(mut self) {
        self.finish().await;
        within(LINGER, self.discard()).await;
    }

    async fn discard(&self) {
        let mut tcp = self.tcp();
        let mut scratch = vec![0; 16 * 1024];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match tcp.read(&mut scratch).await {
                Ok(0) | Err(_) => return,
                Ok(n) => left = left.saturating_sub(n),
            }
        }
    }

    fn inner(&mut self) -> Pin<&mut dyn Duplex> {
        match &mut self.kind {
            StreamKind::Plain(s) => Pin::new(s),
            StreamKind::Server(s) => Pin::new(&mut **s),
            StreamKind::Client(s) => Pin::new(&mut **s),
        }
    }
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.turn == 0 {
            self.turn = READS_PER_TURN;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let read = self.inner().poll_read(cx, buf);
        self.turn = if read.is_ready() { self.turn - 1 } else { READS_PER_TURN };
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        self.inner().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner().poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner().poll_close(cx)
    }
}
