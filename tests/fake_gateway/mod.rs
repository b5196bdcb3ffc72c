//! A scripted gateway on loopback: one script per connection, in order. It is strict: a frame that the real gateway
//! would refuse, a connection too many or one too few fails the test.

#![allow(dead_code)]

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use agentpass::testing::protocol::frame::{self, Frame, RpcRequest};
use agentpass::testing::protocol::params;
use async_tungstenite::tungstenite::protocol::CloseFrame;
use async_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use async_tungstenite::tungstenite::{self, Message, WebSocket};
use serde_json::{Map, Value, json};

pub const TOKEN: &str = "a-token-of-the-tests";
#[path = "../timing/mod.rs"]
mod timing;

pub use timing::{PATIENCE, takes_less};

pub type Script = Box<dyn FnOnce(&mut Peer) + Send>;

pub fn script(f: impl FnOnce(&mut Peer) + Send + 'static) -> Script {
    Box::new(f)
}

pub struct FakeGateway {
    pub url: String,
    thread: JoinHandle<()>,
}

impl FakeGateway {
    pub fn start(scripts: Vec<Script>) -> FakeGateway {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        listener.set_nonblocking(true).unwrap();
        let thread = spawn(move || {
            for script in scripts {
                script(&mut Peer::accept(&listener));
            }
            sleep(Duration::from_millis(20));
            assert!(listener.accept().is_err(), "one connection too many");
        });
        FakeGateway { url, thread }
    }

    /// A gateway that lets the agent in and then plays one script.
    pub fn playing(f: impl FnOnce(&mut Peer) + Send + 'static) -> FakeGateway {
        FakeGateway::start(vec![script(|peer| {
            peer.welcome();
            f(peer);
        })])
    }

    /// Every script must have come to its end.
    pub fn finish(self) {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// The agent's end of one connection, seen from the gateway.
pub struct Peer {
    ws: WebSocket<TcpStream>,
}

impl Peer {
    fn accept(listener: &TcpListener) -> Peer {
        let began = Instant::now();
        let stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    assert!(began.elapsed() < PATIENCE, "nobody connects");
                    sleep(Duration::from_millis(2));
                }
                Err(e) => panic!("{e}"),
            }
        };
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Peer { ws: tungstenite::accept(stream).unwrap() }
    }

    /// Takes `auth` and says yes, as agentpass does.
    pub fn welcome(&mut self) {
        self.welcome_with(json!({"status": "authenticated", "agent_id": "default", "version": "0.1.0"}));
    }

    /// The same as the predecessor, which knows no idempotency keys.
    pub fn welcome_as_before(&mut self) {
        self.welcome_with(json!({"status": "authenticated"}));
    }

    fn welcome_with(&mut self, result: Value) {
        let id = self.auth();
        self.reply(&id, result);
    }

    /// Takes `auth`, which must be the first thing said and hold the right token.
    pub fn auth(&mut self) -> Value {
        let request = self.request();
        assert_eq!(request.method, "auth");
        assert_eq!(params::auth(request.params).unwrap(), TOKEN);
        request.id
    }

    /// The next request, read as the gateway reads it.
    pub fn request(&mut self) -> RpcRequest {
        let text = self.text();
        let Ok(Frame::Single(Ok(request))) = frame::parse(&text) else {
            panic!("the gateway would refuse {text}")
        };
        request
    }

    /// The next request, which must be a call.
    pub fn call(&mut self) -> (Value, params::ToolRequest) {
        let request = self.request();
        assert_eq!(request.method, "tool_request");
        (request.id, params::tool_request(request.params).unwrap())
    }

    pub fn reply(&mut self, id: &Value, result: Value) {
        self.say(&frame::result(id, result).to_string());
    }

    pub fn executed(&mut self, id: &Value, data: Value) {
        self.reply(id, json!({"status": "executed", "data": data, "request_id": "r-1"}));
    }

    pub fn error(&mut self, id: &Value, code: i64, message: &str, data: Value) {
        self.say(
            &json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message, "data": data}})
                .to_string(),
        );
    }

    /// Says that a human is being asked.
    pub fn pending(&mut self, id: &Value, request_id: &str, expires_at: &str) {
        let params = json!({"id": id, "request_id": request_id, "expires_at": expires_at});
        self.say(&frame::notification("approval_pending", params).to_string());
    }

    pub fn say(&mut self, text: &str) {
        self.send(Message::text(text));
    }

    /// Sends anything; the agent may be gone already.
    pub fn send(&mut self, message: Message) {
        self.ws.send(message).ok();
    }

    pub fn ping(&mut self, payload: &str) {
        self.send(Message::Ping(payload.to_owned().into()));
    }

    pub fn expect_pong(&mut self, payload: &str) {
        match self.ws.read().unwrap() {
            Message::Pong(got) => assert_eq!(got, payload.as_bytes()),
            other => panic!("no pong but {other:?}"),
        }
    }

    pub fn close(&mut self, code: u16) {
        self.ws.close(Some(CloseFrame { code: CloseCode::from(code), reason: "".into() })).ok();
        while self.ws.read().is_ok() {}
    }

    /// The close code that the agent sends next, after pongs at most.
    pub fn expect_close(&mut self) -> u16 {
        loop {
            match self.ws.read() {
                Ok(Message::Close(Some(frame))) => {
                    while self.ws.read().is_ok() {}
                    return frame.code.into();
                }
                Ok(Message::Pong(_)) => {}
                other => panic!("no close frame but {other:?}"),
            }
        }
    }

    /// Reads until the agent is gone, however it goes.
    pub fn drain(&mut self) {
        while self.ws.read().is_ok() {}
    }

    fn text(&mut self) -> String {
        loop {
            match self.ws.read() {
                Ok(Message::Text(text)) => return text.as_str().to_owned(),
                Ok(Message::Pong(_)) => {}
                other => panic!("no request but {other:?}"),
            }
        }
    }
}

pub fn args(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(args) => args,
        other => panic!("{other} is no object"),
    }
}
