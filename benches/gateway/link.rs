//! An agent's connection: WebSocket frames by hand, because the client must cost next to nothing. It understands what
//! the gateway sends (whole, unmasked frames) and takes everything else for a failure.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

use openssl::ssl::{SslConnector, SslStream};
use rustix::net::{self, AddressFamily, SocketType};

use super::http::find;

/// Longer than anything here takes. What is not there by then is missing.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a connection runs over.
pub trait Wire: Read + Write + Send {
    fn tcp(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Wire for SslStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref()
    }
}

/// A connection whose agent is authenticated.
pub struct Link {
    wire: Box<dyn Wire>,
    inbox: Vec<u8>,
    /// The part of `inbox` that was read already.
    used: usize,
    outbox: Vec<u8>,
}

/// How to get there.
#[derive(Clone)]
pub struct Route {
    pub address: SocketAddr,
    pub tls: Option<SslConnector>,
}

impl Route {
    /// Connects from an address of this machine, and authenticates with the upgrade request.
    pub fn connect_from(&self, source: Ipv4Addr, token: &str) -> Link {
        Link::over(self.open_from(source), token)
    }

    /// Connects from an address of this machine, and says nothing yet.
    pub fn open_from(&self, source: Ipv4Addr) -> Box<dyn Wire> {
        let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        net::bind(&socket, &SocketAddr::from((source, 0))).unwrap();
        net::connect(&socket, &self.address).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match &self.tls {
            None => Box::new(stream),
            Some(tls) => Box::new(tls.connect("localhost", stream).unwrap()),
        }
    }

    pub fn connect(&self, token: &str) -> Link {
        self.connect_from(Ipv4Addr::LOCALHOST, token)
    }
}

const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

impl Link {
    fn over(mut wire: Box<dyn Wire>, token: &str) -> Link {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        wire.write_all(request.as_bytes()).unwrap();
        let mut link = Link { wire, inbox: Vec::new(), used: 0, outbox: Vec::new() };
        let end = loop {
            link.more();
            if let Some(end) = find(&link.inbox, b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = String::from_utf8_lossy(&link.inbox[..end]);
        assert!(head.starts_with("HTTP/1.1 101 "), "not upgraded: {head}");
        link.used = end;
        link
    }

    /// Puts a text into the next [`Link::flush`].
    pub fn push(&mut self, text: &[u8]) {
        self.push_frame(TEXT, text);
    }

    /// The mask of a client's frame may be zero, and then there is nothing to mask.
    fn push_frame(&mut self, kind: u8, payload: &[u8]) {
        const MASKED: u8 = 0x80;
        self.outbox.push(kind);
        match payload.len() {
            short @ 0..=125 => self.outbox.push(MASKED | short as u8),
            long => {
                self.outbox.push(MASKED | 126);
                self.outbox.extend_from_slice(&u16::try_from(long).unwrap().to_be_bytes());
            }
        }
        self.outbox.extend_from_slice(&[0; 4]);
        self.outbox.extend_from_slice(payload);
    }

    pub fn flush(&mut self) {
        if !self.outbox.is_empty() {
            self.wire.write_all(&self.outbox).unwrap();
            self.outbox.clear();
        }
    }

    /// Waits for the next text. Pings are answered on the way.
    pub fn receive(&mut self) -> &[u8] {
        loop {
            let Some((kind, payload, end)) = self.frame() else {
                self.flush();
                self.more();
                continue;
            };
            self.used = end;
            match kind {
                TEXT => return &self.inbox[payload],
                PING => self.pong(payload),
                PONG => {}
                other => panic!("frame {other:#x}: {}", String::from_utf8_lossy(&self.inbox[payload])),
            }
        }
    }

    /// Answers what has come on a connection that is otherwise idle, without waiting.
    pub fn keep_alive(&mut self) {
        self.wire.tcp().set_nonblocking(true).unwrap();
        let mut chunk = [0; 512];
        loop {
            match self.wire.read(&mut chunk) {
                Ok(0) => panic!("an idle connection was closed"),
                Ok(n) => self.inbox.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => panic!("an idle connection broke: {e}"),
            }
        }
        self.wire.tcp().set_nonblocking(false).unwrap();
        while let Some((kind, payload, end)) = self.frame() {
            self.used = end;
            assert_eq!(kind, PING, "an idle connection heard something");
            self.pong(payload);
        }
        self.flush();
    }

    fn pong(&mut self, payload: Range<usize>) {
        let payload = self.inbox[payload].to_vec();
        self.push_frame(PONG, &payload);
    }

    /// Whether another whole frame is here already.
    pub fn has_more(&self) -> bool {
        self.frame().is_some()
    }

    /// Kind, payload and end of the next frame, when all of it is here.
    fn frame(&self) -> Option<(u8, Range<usize>, usize)> {
        let rest = &self.inbox[self.used..];
        let (kind, short) = (*rest.first()?, *rest.get(1)?);
        let (head, length) = match short {
            0..=125 => (2, usize::from(short)),
            126 => (4, usize::from(u16::from_be_bytes(rest.get(2..4)?.try_into().unwrap()))),
            _ => panic!("a frame longer than anything here"),
        };
        let start = self.used + head;
        (rest.len() >= head + length).then_some((kind, start..start + length, start + length))
    }

    fn more(&mut self) {
        self.inbox.drain(..self.used);
        self.used = 0;
        let mut chunk = [0; 16 * 1024];
        let n = self.wire.read(&mut chunk).unwrap_or_else(|e| panic!("an answer is missing: {e}"));
        assert!(n > 0, "the gateway closed the connection");
        self.inbox.extend_from_slice(&chunk[..n]);
    }
}
