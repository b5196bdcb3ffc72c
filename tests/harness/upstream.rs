//! A fake HTTP service: it records every request and answers as scripted.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use super::PATIENCE;

/// One request as it came over the socket.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// Path and query, undecoded.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What the service does with a request.
#[derive(Clone)]
pub enum Answer {
    /// Status, content type, body.
    Reply(u16, &'static str, String),
    /// These bytes, then close.
    Raw(Vec<u8>),
    /// Read the request and say nothing until the caller has given up.
    Silence,
    /// Read the request and close.
    Close,
    /// Wait until the test releases the service, then 200 `{}`.
    Hold,
}

impl Answer {
    pub fn json(text: &str) -> Answer {
        Answer::Reply(200, "application/json", text.to_owned())
    }
}

type Script = Box<dyn Fn(&Seen) -> Answer + Send + Sync>;

struct State {
    seen: Mutex<Vec<Seen>>,
    script: Mutex<Script>,
    released: Mutex<bool>,
    changed: Condvar,
}

/// The service. It lives until the test ends.
#[derive(Clone)]
pub struct Upstream {
    pub address: SocketAddr,
    state: Arc<State>,
}

impl Upstream {
    /// A service that answers 200 with `{"ok":true}`.
    pub fn start() -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            seen: Mutex::default(),
            script: Mutex::new(Box::new(|_| Answer::json(r#"{"ok":true}"#))),
            released: Mutex::new(false),
            changed: Condvar::new(),
        });
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                thread::spawn(move || serve(stream, &state));
            }
        });
        Upstream { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn answer(&self, script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) {
        *self.state.script.lock().unwrap() = Box::new(script);
    }

    /// Everything seen so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Waits until `count` requests have come.
    pub fn wait_for(&self, count: usize) -> Vec<Seen> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.state.seen.lock().unwrap();
        while seen.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the service saw {} of {count} requests", seen.len());
            seen = self.state.changed.wait_timeout(seen, left).unwrap().0;
        }
        seen.clone()
    }

    /// Lets every held request go on.
    pub fn release(&self) {
        *self.state.released.lock().unwrap() = true;
        self.state.changed.notify_all();
    }
}

fn serve(stream: TcpStream, state: &State) {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some(seen) = read(&mut reader) {
        let answer = (state.script.lock().unwrap())(&seen);
        state.seen.lock().unwrap().push(seen.clone());
        state.changed.notify_all();
        if !reply(&mut stream, answer, state) {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut parts = line.split_whitespace();
    let (method, target) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut seen = Seen { method, target, headers, body: String::new() };
    let length = seen.header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    seen.body = String::from_utf8_lossy(&body).into_owned();
    Some(seen)
}

/// Whether the connection stays open.
fn reply(stream: &mut TcpStream, answer: Answer, state: &State) -> bool {
    match answer {
        Answer::Reply(status, kind, body) => {
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).is_ok()
        }
        Answer::Raw(bytes) => {
            let _ = stream.write_all(&bytes);
            false
        }
        Answer::Silence => {
            // The caller says no more: this ends when it closes the connection.
            let _ = stream.read(&mut [0]);
            false
        }
        Answer::Close => false,
        Answer::Hold => {
            let mut released = state.released.lock().unwrap();
            while !*released {
                released = state.changed.wait(released).unwrap();
            }
            drop(released);
            reply(stream, Answer::json("{}"), state)
        }
    }
}
