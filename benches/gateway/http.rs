//! HTTP/1.1 as cheap as it gets: one message at a time over a connection that stays open, and a fake service that
//! answers at once. The client's and the service's side of the direct call, and of the gateway's.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// One end of a connection.
pub struct Http<S = TcpStream> {
    stream: S,
    buffer: Vec<u8>,
    /// Where the message that was read last ends.
    used: usize,
}

/// A request or an answer: its first lines and its body.
pub struct Message<'a> {
    pub head: &'a [u8],
    pub body: &'a [u8],
}

impl Http {
    pub fn over(stream: TcpStream) -> Http {
        stream.set_nodelay(true).unwrap();
        Http::on(stream)
    }
}

impl<S: Read + Write> Http<S> {
    /// On a stream that is ready.
    pub fn on(stream: S) -> Http<S> {
        Http { stream, buffer: Vec::with_capacity(4096), used: 0 }
    }

    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next message; None when the peer is gone.
    pub fn read(&mut self) -> Option<Message<'_>> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let head = loop {
            match find(&self.buffer, b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => self.more()?,
            }
        };
        let body = head..head + content_length(&self.buffer[..head]);
        while self.buffer.len() < body.end {
            self.more()?;
        }
        self.used = body.end;
        Some(Message { head: &self.buffer[..head], body: &self.buffer[body] })
    }

    fn more(&mut self) -> Option<()> {
        let mut chunk = [0; 4096];
        let n = self.stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
        self.buffer.extend_from_slice(&chunk[..n]);
        Some(())
    }
}

/// Where `needle` begins.
pub fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|window| window == needle)
}

fn content_length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"content-length:";
    let lines = head.split(|b| *b == b'\n');
    let line = lines.into_iter().find(|l| l.get(..NAME.len()).is_some_and(|n| n.eq_ignore_ascii_case(NAME)));
    let value: Range<usize> = NAME.len()..line.map_or(0, <[u8]>::len);
    let text = line.and_then(|line| std::str::from_utf8(&line[value]).ok());
    text.map_or(0, |text| text.trim().parse().expect("a length"))
}

/// Serves every connection on a thread of its own, for as long as this process lives. `answer` gets a message's first
/// lines and its body and gives a body of JSON.
pub fn serve(answer: impl Fn(&Message<'_>) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut http, answer) = (Http::over(stream.unwrap()), answer.clone());
            thread::spawn(move || {
                while let Some(request) = http.read() {
                    let reply = response(&answer(&request));
                    if http.write(&reply).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn response(body: &[u8]) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
    let mut bytes = format!("{head}{}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The fake service: it answers every request with the same small document and counts them.
pub struct Upstream {
    pub address: SocketAddr,
    served: Arc<AtomicU64>,
}

/// What the service answers.
const STATE: &[u8] = br#"{"entity":"sensor.kitchen","state":"21.5","attributes":{"unit":"C"}}"#;

impl Upstream {
    pub fn start() -> Upstream {
        let served = Arc::new(AtomicU64::new(0));
        let counter = served.clone();
        let address = serve(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            STATE.to_vec()
        });
        Upstream { address, served }
    }

    /// Requests answered so far.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}
