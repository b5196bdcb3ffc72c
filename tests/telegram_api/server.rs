//! The HTTP side: requests in, answers out, and what a fault does on the wire.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::faults::Fault;
use super::methods::{self, Answer, Failure};
use super::{BOT_TOKEN, Request, Shared};

/// A listener on a port of our own choice, so that the port stays ours while the service is "down".
pub fn bind() -> TcpListener {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener;
        }
    }
}

/// Serves in threads of its own.
pub fn serve(listener: &Arc<TcpListener>, shared: &Arc<Shared>) {
    let (listener, shared) = (listener.clone(), shared.clone());
    thread::spawn(move || {
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    let shared = shared.clone();
                    let mut state = shared.lock();
                    state.connections.extend(stream.try_clone());
                    drop(state);
                    thread::spawn(move || connection(stream, &shared));
                }
                Err(_) => {
                    let mut state = shared.lock();
                    while state.faults.is_down {
                        state = shared.changed.wait(state).unwrap();
                    }
                }
            }
        }
    });
}

struct Incoming {
    path: String,
    arguments: Map<String, Value>,
}

fn connection(stream: TcpStream, shared: &Shared) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some(incoming) = read(&mut reader, shared) {
        if !handle(&mut stream, &incoming, shared) {
            break;
        }
    }
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

fn read(reader: &mut BufReader<TcpStream>, shared: &Shared) -> Option<Incoming> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut parts = line.split_whitespace();
    let (verb, target) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let (mut length, mut kind) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "content-type" => kind = value.trim().to_ascii_lowercase(),
            "transfer-encoding" => shared.lock().violation("a request without content-length"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    if verb != "POST" && verb != "GET" {
        shared.lock().violation(format!("a request with {verb}"));
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut arguments = form(query);
    if kind.starts_with("application/json") && !body.is_empty() {
        match serde_json::from_slice(&body) {
            Ok(Value::Object(fields)) => arguments.extend(fields),
            other => shared.lock().violation(format!("a body that is no JSON object: {other:?}")),
        }
    } else if kind.starts_with("application/x-www-form-urlencoded") {
        arguments.extend(form(&String::from_utf8_lossy(&body)));
    } else if !body.is_empty() {
        shared.lock().violation(format!("a body of type {kind:?}"));
    }
    Some(Incoming { path: path.to_owned(), arguments })
}

/// Fields of a query or a form; values that read as JSON are taken as that.
fn form(text: &str) -> Map<String, Value> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| {
            let value = decode(value);
            let json = serde_json::from_str(&value).unwrap_or(Value::String(value));
            (decode(name), json)
        })
        .collect()
}

/// Whether the connection stays open.
fn handle(stream: &mut TcpStream, incoming: &Incoming, shared: &Shared) -> bool {
    let Some(method) = method_of(&incoming.path) else {
        return write_json(stream, 404, &error(404, "Not Found", &Value::Null));
    };
    let (token, method) = method;
    if token != BOT_TOKEN {
        return match token.contains(':') {
            true => write_json(stream, 401, &error(401, "Unauthorized", &Value::Null)),
            false => write_json(stream, 404, &error(404, "Not Found", &Value::Null)),
        };
    }
    let fault = shared.lock().faults.next(method);
    let number = note(shared, method, &incoming.arguments);
    let (status, body) = match &fault {
        None | Some(Fault::Lost | Fault::Late) => perform(method, &incoming.arguments, shared),
        Some(fault) => return misbehave(stream, fault, &incoming.path, shared),
    };
    match fault {
        Some(Fault::Lost) => return false,
        Some(Fault::Late) => wait_for_release(shared),
        _ => {}
    }
    shared.lock().requests[number].status = Some(status);
    write_json(stream, status, &body)
}

fn note(shared: &Shared, method: &str, arguments: &Map<String, Value>) -> usize {
    let mut state = shared.lock();
    let arguments = Value::Object(arguments.clone());
    if arguments.to_string().contains(BOT_TOKEN) {
        state.violation(format!("{method}: the token stands in the arguments"));
    }
    state.requests.push(Request { method: method.to_owned(), arguments, at: Instant::now(), status: None });
    state.requests.len() - 1
}

fn method_of(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("/bot")?.split_once('/')
}

fn perform(method: &str, arguments: &Map<String, Value>, shared: &Shared) -> (u16, Value) {
    match methods::perform(method, arguments, shared) {
        Answer::Done(result) => (200, json!({"ok": true, "result": result})),
        Answer::Failed(Failure { code, text, parameters }) => (code, error(code, &text, &parameters)),
    }
}

fn error(code: u16, text: &str, parameters: &Value) -> Value {
    let mut body = json!({"ok": false, "error_code": code, "description": text});
    if !parameters.is_null() {
        body["parameters"] = parameters.clone();
    }
    body
}

fn write_json(stream: &mut TcpStream, status: u16, body: &Value) -> bool {
    write_bytes(stream, status, "application/json", body.to_string().as_bytes())
}

fn write_bytes(stream: &mut TcpStream, status: u16, kind: &str, body: &[u8]) -> bool {
    let head = format!(
        "HTTP/1.1 {status} X\r\nServer: nginx\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).is_ok()
}

fn misbehave(stream: &mut TcpStream, fault: &Fault, path: &str, shared: &Shared) -> bool {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    match fault {
        Fault::Error(code, text, parameters) => write_json(stream, *code, &error(*code, text, parameters)),
        Fault::Page(code) => write_bytes(stream, *code, "text/html", b"<html><h1>nginx</h1></html>"),
        Fault::Hang => {
            wait_for_release(shared);
            false
        }
        Fault::Garbage => write_bytes(stream, 200, "application/json", b"\xff\x00{\"ok\":tru"),
        Fault::Endless => {
            let _ = stream.write_all(format!("{head}\r\n{{\"ok\":true,\"result\":[").as_bytes());
            while stream.write_all(&[b' '; 4096]).is_ok() {}
            false
        }
        Fault::EndlessHeader => {
            let _ = stream.write_all(head.as_bytes());
            while stream.write_all(b"x-more: and more\r\n").is_ok() {}
            false
        }
        Fault::Huge(megabytes) => {
            let filler = "x".repeat(megabytes << 20);
            write_json(stream, 200, &json!({"ok": true, "result": [], "filler": filler}))
        }
        Fault::Odd(text) => write_bytes(stream, 200, "application/json", text.as_bytes()),
        Fault::Redirect(base) => {
            let head = format!("HTTP/1.1 302 Found\r\nLocation: {base}{path}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).is_ok()
        }
        Fault::Close | Fault::Lost | Fault::Late => false,
    }
}

fn wait_for_release(shared: &Shared) {
    let mut state = shared.lock();
    let before = state.faults.released;
    while state.faults.released == before && !state.faults.is_down {
        state = shared.changed.wait(state).unwrap();
    }
}
