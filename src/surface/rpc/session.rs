//! One authenticated connection: frames in, replies out, until either side has had enough.
//!
//! One task reads and writes. Waiting for calls happens in listeners of their own, so reading never stops and pings
//! are always answered. Losing the connection loses the listeners, never the calls.

use std::pin::Pin;
use std::rc::Rc;
use std::time::Instant;

use serde_json::Value;
use smol::channel::bounded;
use smol::{Timer, future};

use super::Rpc;
use super::connection::{CLOSE_POLICY, Identity, Whence};
use super::listing::Listing;
use super::methods;
use super::outbox::{Outbox, Outgoing};
use super::receipts::{Carried, Receipts};
use super::recipient::{Connection, MAX_UNREAD, Recipient};
use super::silence::{Due, Silence};
use crate::base::slots::Slots;
use crate::gate::{Gate, Latch};
use crate::model::AgentId;
use crate::net::ws::{Incoming, WRITE_DEADLINE, WebSocket};
use crate::store::{PendingResult, StoreError};
use crate::surface::admission::Caller;

/// Connections per agent.
pub(crate) const MAX_CONNECTIONS: usize = 64;
/// Calls in flight per connection, and as many other requests that take time.
pub(crate) const MAX_IN_FLIGHT: usize = 32;
/// The gateway is restarting (IANA registry): old clients come back.
const CLOSE_RESTART: u16 = 1012;
/// Come back later (IANA registry).
const CLOSE_LATER: u16 = 1013;

/// Who is at the other end.
pub(crate) struct Peer {
    /// Whom it speaks for.
    pub(crate) identity: Identity,
    /// Where it connects from.
    pub(crate) whence: Whence,
    /// Keeps its address welcome.
    pub(crate) _caller: Caller,
}

/// Why the inbox was not read.
pub(crate) enum NotRead {
    /// Seconds until it may be.
    TooSoon(u64),
    /// The record.
    Store(StoreError),
}

/// What the listeners of one connection share.
pub(crate) struct Session {
    /// The gate.
    pub gate: Rc<Gate>,
    /// Whom this connection speaks for.
    pub(crate) identity: Identity,
    /// Frames for the peer.
    pub out: Outbox,
    /// Calls that this connection waits for.
    pub calls: Slots,
    /// Other requests of this connection that take time.
    pub(crate) errands: Slots,
    /// What all connections of this agent share.
    pub(crate) recipient: Rc<Recipient>,
    connection: Rc<Connection>,
    gone: Latch,
    rpc: Rc<Rpc>,
}

enum Event {
    Out(Outgoing),
    In(Incoming),
    Due,
    Reloaded,
    Stop,
    Evicted,
}

/// Why a connection ends: the close code and what is said.
type Farewell = (u16, String);

/// Serves one authenticated connection to its end.
pub(crate) async fn run(rpc: Rc<Rpc>, socket: Box<WebSocket>, peer: Peer) {
    let gate = rpc.gate.clone();
    let agent = peer.identity.agent.clone();
    let Some(_connected) = gate.connect(&agent, MAX_CONNECTIONS) else {
        let reason = format!("more than {MAX_CONNECTIONS} connections of this agent");
        return Box::pin(socket.close_with(CLOSE_POLICY, &reason)).await;
    };
    log::info!("agent {agent} connected from {}", peer.whence);
    let recipient = rpc.recipients.of(&agent);
    let session = Rc::new(Session {
        gate: gate.clone(),
        identity: peer.identity,
        out: Outbox::default(),
        calls: Slots::default(),
        errands: Slots::default(),
        connection: recipient.connect(),
        recipient,
        gone: Latch::default(),
        rpc,
    });
    let mut line = Line::new(socket, &session);
    let farewell = line.talk(&session).await;
    session.gone.open();
    session.out.clear();
    log::info!("agent {agent} disconnected from {}: {}", peer.whence, farewell.1);
    // Behind half a message nothing can be said, and what waits to be sent takes room until the socket is gone.
    if !line.is_cut {
        // In a box: it needs room of its own only now.
        Box::pin(line.socket.close_with(farewell.0, &farewell.1)).await;
    }
}

impl Session {
    /// Runs `listener` beside the connection, and drops it when the connection is gone.
    pub(crate) fn listen(self: &Rc<Self>, listener: impl Future<Output = ()> + 'static) {
        let session = self.clone();
        // First whether anybody still listens: a listener that is dropped must not begin anything on its way.
        let task = async move { future::or(session.gone.wait(), listener).await };
        self.rpc.executor.spawn(task).detach();
    }

    /// What `list_tools` answers.
    pub(crate) fn listing(&self) -> Listing {
        self.rpc.listings.of(&self.gate, &self.identity.agent)
    }

    /// The results that wait for this agent. The record is read to the end even if nobody listens any more, and the next
    /// reading begins after that: connections that come and go must not fill the record's queue.
    ///
    /// # Errors
    /// When the record cannot be read, or the agent has had its share of it.
    pub(crate) async fn inbox(&self) -> Result<Vec<PendingResult>, NotRead> {
        let (gate, agent) = (self.gate.clone(), self.identity.agent.clone());
        let (turn, (answer, read)) = (self.recipient.inbox.clone(), bounded(1));
        let task = async move {
            let _turn = turn.lock_arc().await;
            if !answer.is_closed() {
                let _ = answer.try_send(read_inbox(&gate, &agent).await);
            }
        };
        self.rpc.executor.spawn(task).detach();
        read.recv().await.unwrap_or(Err(NotRead::Store(StoreError::Stopped)))
    }

    /// Sends one frame.
    pub(crate) fn send(&self, frame: &Value, carried: Vec<Carried>) {
        if let Some(outgoing) = self.outgoing(frame.to_string(), carried) {
            self.out.put(outgoing);
        }
    }

    /// A frame with the room that it takes. None when this connection has to end because too much on it is unread; the
    /// results stay in the inbox.
    pub(crate) fn outgoing(&self, text: String, carried: Vec<Carried>) -> Option<Outgoing> {
        let held = self.recipient.hold(&self.connection, text.len())?;
        Some(Outgoing { text, carried, held: vec![held] })
    }
}

/// The socket with what this task alone knows of it.
struct Line {
    socket: Box<WebSocket>,
    receipts: Receipts,
    silence: Silence,
    /// A message was given up half sent.
    is_cut: bool,
}

impl Line {
    fn new(socket: Box<WebSocket>, session: &Session) -> Line {
        let silence = Silence::new(Instant::now(), session.rpc.began);
        Line { socket, receipts: Receipts::default(), silence, is_cut: false }
    }

    async fn talk(&mut self, session: &Rc<Session>) -> Farewell {
        let mut look = Timer::at(self.silence.look_at());
        let mut reloaded = session.gate.reloaded();
        loop {
            let event = self.event(session, &reloaded, &mut look).await;
            let next = match event {
                Event::Out(first) => self.write(session, first).await,
                Event::In(incoming) => self.take(session, incoming).await,
                Event::Due => {
                    let looked = self.look_after(session).await;
                    look.set_at(self.silence.look_at());
                    looked
                }
                Event::Stop => Err((CLOSE_RESTART, "the gateway is restarting".to_owned())),
                Event::Evicted => Err(unread()),
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

    async fn event(&mut self, session: &Session, reloaded: &Latch, look: &mut Timer) -> Event {
        let out = async { Event::Out(session.out.take().await) };
        let incoming = async { Event::In(self.socket.next().await) };
        let due = async {
            look.await;
            Event::Due
        };
        let stop = async {
            session.rpc.stop.wait().await;
            Event::Stop
        };
        let evicted = async {
            session.connection.evicted.wait().await;
            Event::Evicted
        };
        let reloaded = async {
            reloaded.wait().await;
            Event::Reloaded
        };
        // First what must not wait for a peer that never stops talking.
        let urgent = future::or(stop, future::or(evicted, reloaded));
        future::or(urgent, future::or(out, future::or(incoming, due))).await
    }

    /// Everything that is ready goes out in one flush, with a ping behind it when results are among it.
    async fn write(&mut self, session: &Session, first: Outgoing) -> Result<(), Farewell> {
        let (mut texts, mut room) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(Outgoing { text, carried, held }) = next {
            texts.push(text);
            self.receipts.carry(carried);
            room.extend(held);
            next = session.out.try_take();
        }
        let ping = self.receipts.ping();
        self.send(session, texts, ping).await
    }

    /// Sends, unless the connection is evicted meanwhile.
    async fn send(
        &mut self,
        session: &Session,
        texts: Vec<String>,
        ping: Option<Vec<u8>>,
    ) -> Result<(), Farewell> {
        // In a box: it is larger than all that an idle connection waits for.
        let sending = Box::pin(self.socket.send_text_batch(texts, ping, WRITE_DEADLINE));
        let evicted = async {
            session.connection.evicted.wait().await;
            None
        };
        let farewell = match future::or(async { Some(sending.await) }, evicted).await {
            Some(Ok(())) => return Ok(()),
            Some(Err(e)) => (CLOSE_POLICY, e.to_string()),
            None => unread(),
        };
        self.is_cut = true;
        Err(farewell)
    }

    async fn take(&mut self, session: &Rc<Session>, incoming: Incoming) -> Result<(), Farewell> {
        self.silence.heard(Instant::now());
        let code = incoming.close_code();
        match incoming {
            Incoming::Text(text) => match serve(session, text).await {
                Some(reply) => self.send(session, vec![reply], None).await,
                None => Ok(()),
            },
            Incoming::Ping => Ok(()),
            Incoming::Pong(payload) => {
                session.gate.received(self.receipts.pong(&payload));
                match self.receipts.ping() {
                    Some(ping) => self.send(session, Vec::new(), Some(ping)).await,
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

    async fn look_after(&mut self, session: &Session) -> Result<(), Farewell> {
        match self.silence.look(Instant::now()) {
            Due::Nothing => Ok(()),
            Due::Ping => self.send(session, Vec::new(), Some(b"idle".to_vec())).await,
            Due::Farewell => Err((CLOSE_POLICY, "no frame for 90 seconds".to_owned())),
        }
    }
}

/// What reading the inbox costs of what an agent has for such requests.
const READ: u64 = 20;
/// Bytes of results that cost one more.
const BYTES_FOR_ONE: usize = 2048;

async fn read_inbox(gate: &Rc<Gate>, agent: &AgentId) -> Result<Vec<PendingResult>, NotRead> {
    gate.spend(agent, READ).map_err(NotRead::TooSoon)?;
    let results = gate.pending_results(agent).await.map_err(NotRead::Store)?;
    let bytes: usize = results.iter().map(|result| result.args.len() + result.result.len()).sum();
    gate.charge(agent, u64::try_from(bytes / BYTES_FOR_ONE).unwrap_or(u64::MAX));
    Ok(results)
}

/// Takes a frame when its agent has its turn, and keeps the turn until every other task that is ready has run. In a box:
/// an idle connection needs no room for it.
fn serve(session: &Rc<Session>, text: String) -> Pin<Box<dyn Future<Output = Option<String>> + '_>> {
    Box::pin(async move {
        let _turn = session.recipient.turn.lock().await;
        let answer = methods::take(session, &text);
        future::yield_now().await;
        answer
    })
}

/// A peer that does not read is better off with a new connection.
fn unread() -> Farewell {
    let text =
        format!("more than {} MiB of answers unread: get_pending_results has the results", MAX_UNREAD >> 20);
    (CLOSE_LATER, text)
}

/// After a reload: the token must still be this agent's.
fn still_welcome(session: &Session) -> Result<(), Farewell> {
    let now = session.gate.setup().authenticate(&session.identity.token);
    match now.as_ref() == Some(&session.identity.agent) {
        true => Ok(()),
        false => Err((CLOSE_POLICY, "this token is no longer valid".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The room that the future of a function of these arguments takes.
    fn room<F: Future>(_: impl Fn(Rc<Rpc>, Box<WebSocket>, Peer) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_connection_takes_little_room() {
        let room = room(run);
        assert!(room <= 2048, "{room}");
    }
}
