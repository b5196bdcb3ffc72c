//! One authenticated connection: frames in, replies out, until either side has had enough.
//!
//! One task reads and writes. Waiting for calls happens in listeners of their own, so reading never stops and pings
//! are always answered. Losing the connection loses the listeners, never the calls.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;
use smol::channel::{Receiver, Sender, bounded};
use smol::lock::Mutex;
use smol::stream::StreamExt as _;
use smol::{Timer, future};

use super::Rpc;
use super::connection::{CLOSE_POLICY, Identity};
use super::methods;
use super::receipts::{Carried, Receipts};
use crate::gate::{Gate, Latch};
use crate::net::ws::{Incoming, WRITE_DEADLINE, WebSocket};
use crate::surface::door::Member;

/// Connections per agent.
pub const MAX_CONNECTIONS: usize = 64;
/// Calls in flight per connection, and as many other requests that take time.
pub const MAX_IN_FLIGHT: usize = 32;
/// A peer that says nothing is pinged this often.
const PING_EVERY: Duration = Duration::from_secs(30);
/// A peer that sends no frame at all for this long is gone.
const IDLE_LIMIT: Duration = Duration::from_secs(90);
/// How often the two are looked at.
const TICK: Duration = Duration::from_secs(10);
/// Replies that may wait for the peer to read.
const BACKLOG: usize = 64;
/// The gateway is restarting (IANA registry): old clients come back.
const CLOSE_RESTART: u16 = 1012;

/// Who is at the other end.
pub struct Peer {
    /// Whom it speaks for.
    pub identity: Identity,
    /// Where it connects from.
    pub address: SocketAddr,
    /// Keeps its address welcome.
    pub _member: Member,
}

/// A text for the peer and the results that it carries.
pub struct Outgoing {
    /// One frame.
    pub text: String,
    /// What the peer has received when the ping behind it is answered.
    pub carried: Vec<Carried>,
}

/// What the listeners of one connection share.
pub struct Session {
    /// The gate.
    pub gate: Rc<Gate>,
    /// Whom this connection speaks for.
    pub identity: Identity,
    /// Frames for the peer.
    pub out: Sender<Outgoing>,
    /// Calls that this connection waits for.
    pub calls: Cell<usize>,
    /// Other requests of this connection that take time.
    pub errands: Cell<usize>,
    /// Held while the inbox is read: one at a time, or a peer could keep the record busy for all others.
    pub inbox: Mutex<()>,
    gone: Latch,
    rpc: Rc<Rpc>,
}

enum Event {
    Out(Outgoing),
    In(Incoming),
    Tick,
    Reloaded,
    Stop,
}

/// Why a connection ends: the close code and what is said.
type Farewell = (u16, String);

/// Serves one authenticated connection to its end.
pub async fn run(rpc: Rc<Rpc>, socket: WebSocket, peer: Peer) {
    let gate = rpc.gate.clone();
    let agent = peer.identity.agent.clone();
    let Some(_connected) = gate.connect(&agent, MAX_CONNECTIONS) else {
        let reason = format!("more than {MAX_CONNECTIONS} connections of this agent");
        return socket.close_with(CLOSE_POLICY, &reason).await;
    };
    log::info!("agent {agent} connected from {}", peer.address);
    let (out, outbox) = bounded(BACKLOG);
    let session = Rc::new(Session {
        gate: gate.clone(),
        identity: peer.identity,
        out,
        calls: Cell::default(),
        errands: Cell::default(),
        inbox: Mutex::default(),
        gone: Latch::default(),
        rpc,
    });
    let mut line = Line { socket, outbox, receipts: Receipts::default(), heard: Instant::now() };
    let farewell = line.talk(&session).await;
    session.gone.open();
    log::info!("agent {agent} disconnected from {}: {}", peer.address, farewell.1);
    line.socket.close_with(farewell.0, &farewell.1).await;
}

impl Session {
    /// Runs `listener` beside the connection, and drops it when the connection is gone.
    pub fn listen(self: &Rc<Self>, listener: impl Future<Output = ()> + 'static) {
        let session = self.clone();
        let task = async move { future::or(listener, session.gone.wait()).await };
        self.rpc.executor.spawn(task).detach();
    }

    /// Sends one frame.
    pub async fn send(&self, frame: &Value, carried: Vec<Carried>) {
        let _ = self.out.send(Outgoing { text: frame.to_string(), carried }).await;
    }
}

/// The socket with what this task alone knows of it.
struct Line {
    socket: WebSocket,
    outbox: Receiver<Outgoing>,
    receipts: Receipts,
    heard: Instant,
}

impl Line {
    async fn talk(&mut self, session: &Rc<Session>) -> Farewell {
        let mut ticks = Timer::interval(TICK);
        let mut reloaded = session.gate.reloaded();
        loop {
            let event = self.event(&session.rpc.stop, &reloaded, &mut ticks).await;
            let next = match event {
                Event::Out(first) => self.write(first).await,
                Event::In(incoming) => self.take(session, incoming).await,
                Event::Tick => self.look_after().await,
                Event::Stop => Err((CLOSE_RESTART, "the gateway is restarting".to_owned())),
                Event::Reloaded => {
                    reloaded = session.gate.reloaded();
                    still_welcome(session)
                }
            };
            if let Err(farewell) = next {
                return farewell;
            }
            // One message per turn: a peer that sends faster than we answer must not keep the thread for itself.
            future::yield_now().await;
        }
    }

    async fn event(&mut self, stop: &Latch, reloaded: &Latch, ticks: &mut Timer) -> Event {
        let out = async {
            match self.outbox.recv().await {
                Ok(out) => Event::Out(out),
                Err(_) => Event::Stop,
            }
        };
        let incoming = async { Event::In(self.socket.next().await) };
        let tick = async {
            ticks.next().await;
            Event::Tick
        };
        let stop = async {
            stop.wait().await;
            Event::Stop
        };
        let reloaded = async {
            reloaded.wait().await;
            Event::Reloaded
        };
        // First what must not wait for a peer that never stops talking.
        future::or(future::or(stop, reloaded), future::or(out, future::or(incoming, tick))).await
    }

    /// Everything that is ready goes out in one flush, with a ping behind it when results are among it.
    async fn write(&mut self, first: Outgoing) -> Result<(), Farewell> {
        let mut texts = Vec::new();
        let mut next = Some(first);
        while let Some(Outgoing { text, carried }) = next {
            texts.push(text);
            self.receipts.carry(carried);
            next = self.outbox.try_recv().ok();
        }
        let ping = self.receipts.ping();
        self.send(texts, ping).await
    }

    async fn send(&mut self, texts: Vec<String>, ping: Option<Vec<u8>>) -> Result<(), Farewell> {
        let sent = self.socket.send_text_batch(texts, ping, WRITE_DEADLINE).await;
        sent.map_err(|e| (CLOSE_POLICY, e.to_string()))
    }

    async fn take(&mut self, session: &Rc<Session>, incoming: Incoming) -> Result<(), Farewell> {
        self.heard = Instant::now();
        let code = incoming.close_code();
        match incoming {
            Incoming::Text(text) => match methods::take(session, &text) {
                Some(reply) => self.send(vec![reply], None).await,
                None => Ok(()),
            },
            Incoming::Ping => Ok(()),
            Incoming::Pong(payload) => {
                session.gate.received(self.receipts.pong(&payload));
                match self.receipts.ping() {
                    Some(ping) => self.send(Vec::new(), Some(ping)).await,
                    None => Ok(()),
                }
            }
            Incoming::Closed => Err((code.unwrap_or(1000), "closed by the peer".to_owned())),
            Incoming::TooLarge => Err((code.unwrap_or(1009), "message too large".to_owned())),
            Incoming::Binary => Err((code.unwrap_or(1003), "binary messages are not taken".to_owned())),
            Incoming::BadUtf8 => Err((code.unwrap_or(1007), "text that is not UTF-8".to_owned())),
            Incoming::ProtocolError(why) => Err((code.unwrap_or(1002), why)),
        }
    }

    async fn look_after(&mut self) -> Result<(), Farewell> {
        let silent = self.heard.elapsed();
        if silent >= IDLE_LIMIT {
            return Err((CLOSE_POLICY, "no frame for 90 seconds".to_owned()));
        }
        if silent >= PING_EVERY {
            return self.send(Vec::new(), Some(b"idle".to_vec())).await;
        }
        Ok(())
    }
}

/// After a reload: the token must still be this agent's.
fn still_welcome(session: &Session) -> Result<(), Farewell> {
    let now = session.gate.setup().authenticate(&session.identity.token);
    match now.as_ref() == Some(&session.identity.agent) {
        true => Ok(()),
        false => Err((CLOSE_POLICY, "this token is no longer valid".to_owned())),
    }
}
