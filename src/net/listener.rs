//! Binds and accepts. It must never give up while the program runs: accept errors pass.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use smol::{Async, Timer, future};

use super::names::Names;

/// How long to wait when the system has no file descriptor or memory for another connection.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections that may wait to be accepted; the system may allow fewer.
const BACKLOG: i32 = 4096;

/// Bound sockets, one for each address of the host name ("localhost" often has two).
pub struct Listener(Vec<Async<TcpListener>>);

impl Listener {
    /// Binds all addresses of `host`; `::` is every address, IPv4 too. Port 0 lets the system choose one port for all
    /// of them. Blocks while it looks up a name; meant for the start of the program.
    ///
    /// # Errors
    /// [`BindError`]. Addresses that this machine does not have are left out if there are others.
    pub fn bind(host: &str, port: u16) -> Result<Self, BindError> {
        if is_everywhere(host) {
            return Self::everywhere(port);
        }
        let mut sockets: Vec<Async<TcpListener>> = Vec::new();
        let mut missing = None;
        for mut address in addresses(host, port)? {
            address.set_port(sockets.first().and_then(local).map_or(port, |first| first.port()));
            match bound(address) {
                Ok(socket) => sockets.push(socket),
                Err(e) if is_missing(&e) => missing = Some(BindError::Unavailable(address)),
                Err(e) => return Err(bind_error(address, e)),
            }
        }
        match missing {
            Some(error) if sockets.is_empty() => Err(error),
            Some(_) | None => Ok(Self(sockets)),
        }
    }

    /// Every address of the machine on one socket, IPv4 too whatever the system's default is; IPv4 alone where there is
    /// no IPv6.
    fn everywhere(port: u16) -> Result<Self, BindError> {
        let [both, v4] = [IpAddr::from(Ipv6Addr::UNSPECIFIED), Ipv4Addr::UNSPECIFIED.into()]
            .map(|address| SocketAddr::new(address, port));
        match bound(both) {
            Ok(socket) => Ok(Self(vec![socket])),
            Err(e) if is_missing(&e) => {
                bound(v4).map(|socket| Self(vec![socket])).map_err(|e| bind_error(v4, e))
            }
            Err(e) => Err(bind_error(both, e)),
        }
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().filter_map(local).collect()
    }

    /// Waits for a connection. Errors are logged and waited out. Cancel-safe.
    ///
    /// The peer's address is in its plain form: `::ffff:192.0.2.1` is `192.0.2.1`, so that it counts as one peer.
    pub async fn accept(&self) -> (Async<TcpStream>, SocketAddr) {
        loop {
            match self.accept_any().await {
                Ok((stream, mut peer)) => {
                    // Frames are small and waiting for more would only delay them. It may fail: the peer may be gone.
                    stream.get_ref().set_nodelay(true).ok();
                    peer.set_ip(peer.ip().to_canonical());
                    return (stream, peer);
                }
                Err(error) => pause(&error).await,
            }
        }
    }

    async fn accept_any(&self) -> io::Result<(Async<TcpStream>, SocketAddr)> {
        let mut accepts: Vec<Accept<'_>> =
            self.0.iter().map(|s| Box::pin(s.accept()) as Accept<'_>).collect();
        future::poll_fn(|cx| {
            let ready = accepts.iter_mut().map(|accept| accept.as_mut().poll(cx)).find(Poll::is_ready);
            ready.unwrap_or(Poll::Pending)
        })
        .await
    }
}

type Accept<'a> = Pin<Box<dyn Future<Output = io::Result<(Async<TcpStream>, SocketAddr)>> + 'a>>;

async fn pause(error: &io::Error) {
    log::warn!("cannot accept a connection: {error}");
    if error.kind() != io::ErrorKind::ConnectionAborted {
        Timer::after(PAUSE).await;
    }
}

/// A socket that listens at `address`, like the standard library's but for two things: `::` takes IPv4 too, and the
/// queue is long enough that nobody in a crowd has to retry a second later.
fn bound(address: SocketAddr) -> io::Result<Async<TcpListener>> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED) {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Async::new(TcpListener::from(socket))
}

fn is_everywhere(host: &str) -> bool {
    matches!(host, "::" | "[::]")
}

fn local(socket: &Async<TcpListener>) -> Option<SocketAddr> {
    socket.get_ref().local_addr().ok()
}

/// The addresses of `host`, each once. Blocks while it looks up a name.
///
/// # Errors
/// [`BindError::BadHost`] when it is no address and no name that is known now.
pub(crate) fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, BindError> {
    let found = smol::block_on(Names::default().lookup(host, port));
    found.map_err(|why| BindError::BadHost { host: host.into(), reason: why.to_string() })
}

/// This machine has no such address, or no IPv6 at all.
fn is_missing(error: &io::Error) -> bool {
    let no_family = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(no_family)
}

fn bind_error(address: SocketAddr, error: io::Error) -> BindError {
    match error.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(address),
        io::ErrorKind::PermissionDenied => BindError::Forbidden(address),
        _ => BindError::Io { address, source: error },
    }
}

/// Why nothing listens.
#[derive(Debug)]
pub enum BindError {
    /// The host is no address and no known name.
    BadHost { host: String, reason: String },
    /// Somebody else listens there.
    InUse(SocketAddr),
    /// The system does not let us.
    Forbidden(SocketAddr),
    /// This machine does not have the address.
    Unavailable(SocketAddr),
    /// Anything else.
    Io { address: SocketAddr, source: io::Error },
}

impl std::error::Error for BindError {}

impl BindError {
    /// What the owner can do; empty when there is nothing to say.
    pub fn help(&self) -> &'static str {
        match self {
            Self::BadHost { .. } | Self::Unavailable(_) => {
                "use an address of this machine, or :: for all of them"
            }
            Self::InUse(_) => "stop the other program or choose another port",
            Self::Forbidden(_) => "use a port from 1024, or grant CAP_NET_BIND_SERVICE",
            Self::Io { .. } => "",
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadHost { host, reason } => write!(f, "cannot listen on host {host:?}: {reason}"),
            Self::InUse(address) => write!(f, "{address} is already in use"),
            Self::Forbidden(address) => write!(f, "not allowed to listen on {address}"),
            Self::Unavailable(address) => write!(f, "this machine has no address {}", address.ip()),
            Self::Io { address, source } => write!(f, "cannot listen on {address}: {source}"),
        }
    }
}
