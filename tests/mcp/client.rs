//! An MCP client that knows only HTTP, in both eras.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::gateway::TOKEN;
use crate::harness::site::{Page, Site};
use crate::harness::{Gateway, Setup};

pub(crate) const MODERN: &str = "2026-07-28";
pub(crate) const LEGACY: &str = "2025-11-25";
pub(crate) const STREAMS: &str = "application/json, text/event-stream";

/// Calls are held for so many seconds.
pub(crate) fn holding(seconds: u32) -> Setup {
    let usual = Setup::default();
    let mcp = format!("  port: 0\n  mcp: {{hold: {seconds}, keep_alive: 1}}\n  hosts: [gate.example]");
    Setup { config: usual.config.replace("  port: 0", &mcp), ..usual }
}

pub(crate) fn gateway() -> Gateway {
    Gateway::with(&holding(1))
}

/// A request whose answer is read line by line, or never.
pub(crate) struct Open(BufReader<TcpStream>);

impl Open {
    pub(crate) fn new_era(gateway: &Gateway, method: &str, name: &str, mut params: Value) -> Open {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {},
        });
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let mut stream = TcpStream::connect(gateway.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\
             mcp-protocol-version: {MODERN}\r\nmcp-method: {method}\r\nmcp-name: {name}\r\naccept: {STREAMS}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        Open(BufReader::new(stream))
    }

    /// A request of an old client.
    pub(crate) fn old(gateway: &Gateway, session: &str, body: &Value) -> Open {
        let body = body.to_string();
        let mut stream = TcpStream::connect(gateway.address).unwrap();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\nmcp-session-id: {session}\r\n\
             accept: {STREAMS}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        Open(BufReader::new(stream))
    }

    /// The next message; None at the end of the stream.
    pub(crate) fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        while self.0.read_line(&mut line).unwrap() > 0 {
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).unwrap());
            }
            line.clear();
        }
        None
    }
}

pub(crate) struct Client {
    pub(crate) site: Site,
    pub(crate) token: &'static str,
    pub(crate) session: String,
    pub(crate) accept: &'static str,
}

impl Client {
    pub(crate) fn new(gateway: &Gateway, token: &'static str) -> Client {
        let site = Site { address: gateway.address, cookie: String::new(), csrf: String::new() };
        Client { site, token, session: String::new(), accept: STREAMS }
    }

    /// An old client after its handshake.
    pub(crate) fn legacy(gateway: &Gateway, token: &'static str) -> Client {
        let mut client = Client::new(gateway, token);
        let page = client.old("initialize", json!({"protocolVersion": LEGACY, "capabilities": {}}));
        assert_eq!(page.json()["result"]["protocolVersion"], LEGACY);
        client.session = page.header("mcp-session-id").to_owned();
        assert_eq!(client.session.len(), 64);
        client
    }

    pub(crate) fn send(&self, headers: &[(&str, &str)], message: &Value) -> Page {
        let bearer = format!("Bearer {}", self.token);
        let usual = [
            ("authorization", bearer.as_str()),
            ("accept", self.accept),
            ("content-type", "application/json"),
        ];
        let session = [("mcp-session-id", self.session.as_str())];
        let session = session.iter().filter(|(_, value)| !value.is_empty());
        let headers: Vec<_> = usual.iter().chain(session).chain(headers).copied().collect();
        self.site.ask("POST", "/mcp", &headers, &message.to_string())
    }

    pub(crate) fn old(&self, method: &str, params: Value) -> Page {
        self.send(&[], &json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
    }

    pub(crate) fn new_era(&self, method: &str, mut params: Value) -> Page {
        let mut meta = json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        if let Some(more) = params.get("_meta").and_then(Value::as_object) {
            meta.as_object_mut().unwrap().extend(more.clone());
        }
        params["_meta"] = meta;
        let name = params["name"].as_str().unwrap_or_default().to_owned();
        let headers = [("mcp-protocol-version", MODERN), ("mcp-method", method), ("mcp-name", name.as_str())];
        self.send(&headers, &json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
    }

    pub(crate) fn call(&self, tool: &str, args: Value) -> Page {
        self.new_era("tools/call", json!({"name": tool, "arguments": args}))
    }

    pub(crate) fn old_call(&self, tool: &str, args: Value) -> Value {
        self.old("tools/call", json!({"name": tool, "arguments": args})).json()["result"].clone()
    }
}

pub(crate) fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{result}"))
}

pub(crate) fn light() -> Value {
    json!({"domain": "light", "service": "turn_on", "entity_id": "light.desk"})
}

/// The last message of a stream.
pub(crate) fn last_event(page: &Page) -> Value {
    let events: Vec<_> = page.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    serde_json::from_str(events.last().unwrap_or_else(|| panic!("{page:?}"))).unwrap()
}

/// A new client that asks over one connection, which stays.
pub(crate) struct Lasting(BufReader<TcpStream>);

impl Lasting {
    pub(crate) fn new(gateway: &Gateway) -> Lasting {
        let stream = TcpStream::connect(gateway.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Lasting(BufReader::new(stream))
    }

    /// Asks, and reads nothing.
    pub(crate) fn ask(&mut self, token: &str, tool: &str, args: &Value) -> std::io::Result<()> {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {},
        });
        let params = json!({"name": tool, "arguments": args, "_meta": meta});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
             mcp-protocol-version: {MODERN}\r\nmcp-method: tools/call\r\nmcp-name: {tool}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.get_mut().write_all(head.as_bytes())
    }

    /// Asks and reads the whole answer.
    pub(crate) fn call(&mut self, token: &str, tool: &str, args: &Value) -> Value {
        self.ask(token, tool, args).unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the connection has ended");
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }
}
