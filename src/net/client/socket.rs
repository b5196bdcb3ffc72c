//! Services behind a unix socket of this machine, such as Docker.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, NextTimeout, ShutdownHandle, Transport};
use ureq::{Error, Timeout};

use super::wire::{Wire, Wired};

/// How long to wait before a server whose queue is full is tried again.
const RETRY: Duration = Duration::from_millis(20);

pub(super) fn open(path: &Path, details: &ConnectionDetails<'_>) -> Result<Box<dyn Transport>, Error> {
    let limit = details.timeout.not_zero().map(|limit| *limit);
    let stream = Arc::new(SharedSocket(dial(path, limit).map_err(|e| in_time(e, details.timeout.reason))?));
    (details.register_shutdown)(Arc::downgrade(&stream) as Weak<dyn ShutdownHandle>)?;
    Ok(Wired::boxed(Socket { stream }, details))
}

fn in_time(error: io::Error, reason: Timeout) -> Error {
    if error.kind() == io::ErrorKind::TimedOut { Error::Timeout(reason) } else { Error::Io(error) }
}

/// The system has no time limit for this: a server that takes nobody on lets its callers wait.
fn dial(path: &Path, limit: Option<Duration>) -> io::Result<UnixStream> {
    let begun = Instant::now();
    let address = SocketAddrUnix::new(path)?;
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        match connect(&socket, &address) {
            Ok(()) => {
                let stream = UnixStream::from(socket);
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(rustix::io::Errno::AGAIN) if limit.is_none_or(|limit| begun.elapsed() < limit) => {
                thread::sleep(RETRY);
            }
            Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(other) => return Err(other.into()),
        }
    }
}

/// The stream, which another thread may shut down.
struct SharedSocket(UnixStream);

impl ShutdownHandle for SharedSocket {
    fn shutdown(&self) {
        // An error means that it is closed already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

struct Socket {
    stream: Arc<SharedSocket>,
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&self.stream.0).read(buf)
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&self.stream.0).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&self.stream.0).flush()
    }
}

impl Wire for Socket {
    fn limit(&mut self, limit: NextTimeout) -> Result<(), Error> {
        let left = limit.not_zero().map(|left| *left);
        if left.is_some_and(|left| left.is_zero()) {
            return Err(Error::Timeout(limit.reason));
        }
        self.stream.0.set_read_timeout(left)?;
        self.stream.0.set_write_timeout(left)?;
        Ok(())
    }

    fn is_quiet(&mut self) -> bool {
        let stream = &self.stream.0;
        let waits = |_: io::Result<()>| matches!((&*stream).read(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock);
        stream.set_nonblocking(true).is_ok() && waits(Ok(())) && stream.set_nonblocking(false).is_ok()
    }

    fn is_tls(&self) -> bool {
        false
    }
}

/// There is no name to look up: one address stands for all, and is never used.
#[derive(Debug)]
pub(super) struct NoNames;

impl Resolver for NoNames {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut one = DefaultResolver::default().empty();
        one.push(SocketAddr::from((Ipv4Addr::LOCALHOST, 80)));
        Ok(one)
    }
}
