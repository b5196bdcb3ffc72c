//! An agent that knows only the protocol: a blocking WebSocket and JSON texts.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use async_tungstenite::tungstenite::client::IntoClientRequest as _;
use async_tungstenite::tungstenite::{Error, Message, WebSocket, client};
use rustix::net::{self, AddressFamily, SocketType};
use serde_json::{Value, json};

use super::PATIENCE;
use super::gateway::TOKEN;

/// A TCP connection that comes from `source`.
pub fn dial_from(source: Ipv4Addr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    net::bind(&socket, &SocketAddr::from((source, 0)))?;
    net::connect(&socket, &address)?;
    Ok(TcpStream::from(socket))
}

/// A connected agent.
pub struct Agent {
    pub socket: WebSocket<TcpStream>,
    next: u64,
    /// Notifications that came while a reply was awaited.
    pub notices: Vec<Value>,
}

impl Agent {
    /// Connects without authenticating.
    pub fn connect(address: SocketAddr) -> Agent {
        Agent::try_connect(address, &[]).unwrap()
    }

    /// Connects with further request headers.
    pub fn try_connect(address: SocketAddr, headers: &[(&'static str, &str)]) -> Result<Agent, String> {
        let stream = TcpStream::connect(address).map_err(|e| e.to_string())?;
        Agent::over(stream, headers)
    }

    /// Upgrades a connection that exists, such as one from another address.
    pub fn over(stream: TcpStream, headers: &[(&'static str, &str)]) -> Result<Agent, String> {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let address = stream.peer_addr().map_err(|e| e.to_string())?;
        let mut request = format!("ws://{address}/any/path").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (socket, _) = client(request, stream).map_err(|e| e.to_string())?;
        Ok(Agent { socket, next: 0, notices: Vec::new() })
    }

    /// The same from another address of this machine, such as 127.0.0.2.
    pub fn connect_from(source: Ipv4Addr, address: SocketAddr) -> Result<Agent, String> {
        let stream = dial_from(source, address).map_err(|e| e.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let (socket, _) = client(format!("ws://{address}/"), stream).map_err(|e| e.to_string())?;
        Ok(Agent { socket, next: 0, notices: Vec::new() })
    }

    /// Connects and authenticates by the first message.
    pub fn login(address: SocketAddr, token: &str) -> Agent {
        let mut agent = Agent::connect(address);
        let reply = agent.call("auth", json!({"token": token}));
        assert_eq!(reply["result"]["status"], "authenticated", "{reply}");
        agent
    }

    /// The same agent once it has authenticated, or what it heard instead.
    pub fn authenticated(mut self) -> Result<Agent, String> {
        self.next += 1;
        let auth = json!({"jsonrpc": "2.0", "method": "auth", "params": {"token": TOKEN}, "id": self.next});
        self.socket.send(Message::text(auth.to_string())).map_err(|e| e.to_string())?;
        let reply = self.try_receive()?;
        if reply["result"]["status"] == "authenticated" { Ok(self) } else { Err(reply.to_string()) }
    }

    /// Connects and authenticates by the upgrade request.
    pub fn bearer(address: SocketAddr, token: &str) -> Agent {
        Agent::try_connect(address, &[("authorization", &format!("Bearer {token}"))]).unwrap()
    }

    pub fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap();
    }

    /// Sends a request and gives its id.
    pub fn send(&mut self, method: &str, params: Value) -> u64 {
        self.next += 1;
        let id = self.next;
        self.send_text(&json!({"jsonrpc": "2.0", "method": method, "params": params, "id": id}).to_string());
        id
    }

    /// The next text message as JSON.
    pub fn receive(&mut self) -> Value {
        self.try_receive().unwrap_or_else(|e| panic!("no message: {e}"))
    }

    /// The next text message, or why there is none.
    pub fn try_receive(&mut self) -> Result<Value, String> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(serde_json::from_str(text.as_str()).unwrap()),
                Ok(Message::Close(frame)) => return Err(format!("closed: {frame:?}")),
                Ok(_) => {}
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Err("closed".into()),
                // A machine that is paused and goes on interrupts a read that has a time limit.
                Err(Error::Io(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.to_string()),
            }
        }
    }

    /// All that has come by now, without waiting for more.
    pub fn come_by_now(&mut self) -> Vec<Value> {
        let patience =
            |socket: &WebSocket<TcpStream>, time| socket.get_ref().set_read_timeout(Some(time)).unwrap();
        patience(&self.socket, Duration::from_millis(1));
        let come = std::iter::from_fn(|| self.try_receive().ok()).collect();
        patience(&self.socket, PATIENCE);
        come
    }

    /// Asserts that nothing was said unasked: what `list_tools` answers is the next message.
    pub fn assert_quiet(&mut self) {
        assert_eq!(self.notices, Vec::<Value>::new());
        let id = self.send("list_tools", json!({}));
        assert_eq!(self.receive()["id"], id);
    }

    /// The code of the close frame that ends the connection.
    pub fn close_code(&mut self) -> Option<u16> {
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => return frame.map(|f| f.code.into()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// Waits for the reply with this id; notifications are kept.
    pub fn reply(&mut self, id: u64) -> Value {
        loop {
            let message = self.receive();
            if message["id"] == id {
                return message;
            }
            assert!(message.get("method").is_some(), "not what was waited for: {message}");
            self.notices.push(message);
        }
    }

    /// One request and its reply.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        self.reply(id)
    }

    /// A `tool_request` and its reply.
    pub fn request(&mut self, tool: &str, args: Value) -> Value {
        self.call("tool_request", json!({"tool": tool, "args": args}))
    }

    /// As [`Agent::asked`], while replies to other requests come and are passed over.
    pub fn asked_among_replies(&mut self) -> String {
        loop {
            let message = self.receive();
            if message["method"] == "approval_pending" {
                return message["params"]["request_id"].as_str().unwrap().to_owned();
            }
        }
    }

    /// Waits until the human is being asked, and gives the request id.
    pub fn asked(&mut self) -> String {
        loop {
            let message = match self.notices.is_empty() {
                true => self.receive(),
                false => self.notices.remove(0),
            };
            if message["method"] == "approval_pending" {
                return message["params"]["request_id"].as_str().unwrap().to_owned();
            }
        }
    }
}

/// Code and reason of an error reply.
pub fn error(reply: &Value) -> (i64, &str) {
    let reason = reply["error"]["data"]["reason"].as_str();
    (reply["error"]["code"].as_i64().unwrap_or_default(), reason.unwrap_or("no reason"))
}
