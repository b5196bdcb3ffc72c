//! A stream whose peer must read: writing fails when the peer takes nothing for ten seconds. It must never limit how
//! long a whole answer takes, since some have no end.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use smol::Timer;
use smol::io::{AsyncRead, AsyncWrite};

use super::sent::Unwritten;
use super::stream::Stream;

/// How long a peer may take nothing of what we send.
const STALL: Duration = Duration::from_secs(10);

pub(super) struct MustRead {
    stream: Stream,
    unwritten: Unwritten,
    /// Runs while something waits to be taken.
    stalled: Option<Timer>,
    limit: Duration,
}

impl MustRead {
    pub(super) fn new(stream: Stream, unwritten: Unwritten) -> MustRead {
        MustRead { stream, unwritten, stalled: None, limit: STALL }
    }

    pub(super) fn into_inner(self) -> Stream {
        self.stream
    }

    fn unless_stalled<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let written = write(Pin::new(&mut self.stream), cx);
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.limit;
        let timer = self.stalled.get_or_insert_with(|| Timer::after(limit));
        Pin::new(timer)
            .poll(cx)
            .map(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }
}

impl AsyncRead for MustRead {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for MustRead {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.unless_stalled(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.unless_stalled(cx, |stream, cx| stream.poll_flush(cx));
        if let Poll::Ready(Ok(())) = flushed {
            self.unwritten.written();
        }
        flushed
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unless_stalled(cx, |stream, cx| stream.poll_close(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};

    use smol::Async;
    use smol::io::AsyncWriteExt as _;

    fn pair(limit: Duration) -> (MustRead, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ours = Stream::plain(Async::new(listener.accept().unwrap().0).unwrap());
        (MustRead { stream: ours, unwritten: Unwritten::default(), stalled: None, limit }, theirs)
    }

    #[test]
    fn whoever_does_not_read_is_given_up() {
        let (mut ours, _theirs) = pair(Duration::from_millis(200));
        let more_than_any_buffer = vec![0; 64 << 20];
        let failed = smol::block_on(ours.write_all(&more_than_any_buffer)).unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn whoever_reads_slowly_gets_all_of_it() {
        // All of it takes longer than the limit, a piece of it much less.
        let (mut ours, mut theirs) = pair(Duration::from_secs(1));
        let reader = std::thread::spawn(move || {
            let (mut piece, mut count) = (vec![0; 1 << 20], 0);
            while theirs.read_exact(&mut piece).is_ok() {
                count += piece.len();
                std::thread::sleep(Duration::from_millis(20));
            }
            count
        });
        smol::block_on(ours.write_all(&vec![0; 64 << 20])).unwrap();
        drop(ours);
        assert_eq!(reader.join().unwrap(), 64 << 20);
    }
}
