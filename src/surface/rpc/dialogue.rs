//! One authenticated connection: frames in, replies out, until either side has had enough.
//!
//! One task reads and writes. Waiting for calls happens in listeners of their own, so reading never stops and pings
//! are always answered. Losing the connection loses the listeners, never the calls.

use std::pin::Pin;
use std::rc::Rc;
use std::time::Instant;

use smol::{Timer, future};

use super::acks::Acks;
use super::frames;
use super::handshake::{AuthenticatedPeer, CLOSE_POLICY, CLOSE_TRY_AGAIN};
use super::keepalive::{Due, Keepalive};
use super::outbox::Outgoing;
use super::port::AgentPort;
use super::session::AgentSession;
use crate::base::once_flag::OnceFlag;
use crate::net::ws::{WRITE_DEADLINE, WebSocket, WsIncoming};
use crate::surface::agent::{MAX_CONNECTIONS, MAX_UNREAD};

/// The gateway is restarting (IANA registry): old clients come back.
const CLOSE_RESTART: u16 = 1012;

/// Why the connection's task goes on.
enum Wakeup {
    Out(Outgoing),
    In(WsIncoming),
    Due,
    Reloaded,
    Stop,
    Evicted,
}

/// Why a connection ends: the close code and what the peer is told.
type Farewell = (u16, String);

/// Serves one authenticated connection to its end.
pub(crate) async fn run(port: Rc<AgentPort>, socket: Box<WebSocket>, peer: AuthenticatedPeer) {
    let name = peer.identity.agent.clone();
    let Some(agent) = port.agents.connect(peer.identity) else {
        let reason = format!("more than {MAX_CONNECTIONS} connections of this agent");
        return Box::pin(socket.close_with(CLOSE_POLICY, &reason)).await;
    };
    log::info!("agent {name} connected from {}", peer.address);
    let session = AgentSession::new(port, agent);
    let mut dialogue = Dialogue::new(socket, &session);
    let farewell = dialogue.talk(&session).await;
    session.gone.set();
    session.out.clear();
    log::info!("agent {name} disconnected from {}: {}", peer.address, farewell.1);
    // After half a message nothing can be sent, and what waits to be sent takes room until the socket is gone.
    if !dialogue.is_cut {
        // In a box: it needs room of its own only now.
        Box::pin(dialogue.socket.close_with(farewell.0, &farewell.1)).await;
    }
}

/// The socket with what its task alone knows of it.
struct Dialogue {
    socket: Box<WebSocket>,
    acks: Acks,
    keepalive: Keepalive,
    /// A message was given up when half of it was sent.
    is_cut: bool,
}

impl Dialogue {
    fn new(socket: Box<WebSocket>, session: &AgentSession) -> Dialogue {
        let keepalive = Keepalive::new(Instant::now(), session.port.began);
        Dialogue { socket, acks: Acks::default(), keepalive, is_cut: false }
    }

    async fn talk(&mut self, session: &Rc<AgentSession>) -> Farewell {
        let mut look = Timer::at(self.keepalive.next_check());
        let mut reloaded = session.agent.gate().reloaded();
        loop {
            let wakeup = self.wakeup(session, &reloaded, &mut look).await;
            let next = match wakeup {
                Wakeup::Out(first) => self.write(session, first).await,
                Wakeup::In(incoming) => self.take(session, incoming).await,
                Wakeup::Due => {
                    let looked = self.look_after(session).await;
                    look.set_at(self.keepalive.next_check());
                    looked
                }
                Wakeup::Stop => Err((CLOSE_RESTART, "the gateway is restarting".to_owned())),
                Wakeup::Evicted => Err(unread()),
                Wakeup::Reloaded => {
                    reloaded = session.agent.gate().reloaded();
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

    async fn wakeup(&mut self, session: &AgentSession, reloaded: &OnceFlag, look: &mut Timer) -> Wakeup {
        let out = async { Wakeup::Out(session.out.take().await) };
        let incoming = async { Wakeup::In(self.socket.next().await) };
        let due = async {
            look.await;
            Wakeup::Due
        };
        let stop = async {
            session.port.stop.wait().await;
            Wakeup::Stop
        };
        let evicted = async {
            session.agent.connection.evicted.wait().await;
            Wakeup::Evicted
        };
        let reloaded = async {
            reloaded.wait().await;
            Wakeup::Reloaded
        };
        // First what must not wait for a peer that never stops sending.
        let urgent = future::or(stop, future::or(evicted, reloaded));
        future::or(urgent, future::or(out, future::or(incoming, due))).await
    }

    /// Sends everything that is ready in one flush, with a ping after it when results are among it.
    async fn write(&mut self, session: &AgentSession, first: Outgoing) -> Result<(), Farewell> {
        let (mut texts, mut rooms) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(Outgoing { text, carried, room }) = next {
            texts.push(text);
            self.acks.carry(carried);
            rooms.extend(room);
            next = session.out.try_take();
        }
        let ping = self.acks.ping();
        self.send(session, texts, ping).await
    }

    /// Sends, unless the connection is evicted meanwhile.
    async fn send(
        &mut self,
        session: &AgentSession,
        texts: Vec<String>,
        ping: Option<Vec<u8>>,
    ) -> Result<(), Farewell> {
        // In a box: it is larger than all that an idle connection waits for.
        let sending = Box::pin(self.socket.send_text_batch(texts, ping, WRITE_DEADLINE));
        let evicted = async {
            session.agent.connection.evicted.wait().await;
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

    async fn take(&mut self, session: &Rc<AgentSession>, incoming: WsIncoming) -> Result<(), Farewell> {
        self.keepalive.heard(Instant::now());
        let code = incoming.close_code();
        match incoming {
            WsIncoming::Text(text) => match serve(session, text).await {
                Some(reply) => self.send(session, vec![reply], None).await,
                None => Ok(()),
            },
            WsIncoming::Ping => Ok(()),
            WsIncoming::Pong(payload) => {
                session.agent.gate().inbox.received(self.acks.pong(&payload));
                match self.acks.ping() {
                    Some(ping) => self.send(session, Vec::new(), Some(ping)).await,
                    None => Ok(()),
                }
            }
            WsIncoming::Closed => Err((code.unwrap_or(1000), "closed by the peer".to_owned())),
            WsIncoming::TooLarge => Err((code.unwrap_or(1009), "message too large".to_owned())),
            WsIncoming::Binary => Err((code.unwrap_or(1003), "binary messages are not taken".to_owned())),
            WsIncoming::BadUtf8 => Err((code.unwrap_or(1007), "text that is not UTF-8".to_owned())),
            WsIncoming::ProtocolError(why) => Err((code.unwrap_or(1002), why)),
        }
    }

    async fn look_after(&mut self, session: &AgentSession) -> Result<(), Farewell> {
        match self.keepalive.check(Instant::now()) {
            Due::Nothing => Ok(()),
            Due::Ping => self.send(session, Vec::new(), Some(b"idle".to_vec())).await,
            Due::GiveUp => Err((CLOSE_POLICY, "no frame for 90 seconds".to_owned())),
        }
    }
}

/// Takes a frame when its agent has its turn, and keeps the turn until every other ready task has run. In a box, because
/// an idle connection needs no room for it.
fn serve(session: &Rc<AgentSession>, text: String) -> Pin<Box<dyn Future<Output = Option<String>> + '_>> {
    Box::pin(async move {
        let _turn = session.agent.connection.agent.turn.lock().await;
        let answer = frames::take(session, &text);
        future::yield_now().await;
        answer
    })
}

/// A peer that does not read is better off with a new connection.
fn unread() -> Farewell {
    let text =
        format!("more than {} MiB of answers unread: get_pending_results has the results", MAX_UNREAD >> 20);
    (CLOSE_TRY_AGAIN, text)
}

/// After a reload: the token must still be this agent's.
fn still_welcome(session: &AgentSession) -> Result<(), Farewell> {
    match session.agent.has_token(&session.agent.identity.token) {
        true => Ok(()),
        false => Err((CLOSE_POLICY, "this token is no longer valid".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The room that the future of a function of these arguments takes.
    fn room<F: Future>(_: impl Fn(Rc<AgentPort>, Box<WebSocket>, AuthenticatedPeer) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_connection_takes_little_room() {
        let room = room(run);
        assert!(room <= 2048, "{room}");
    }
}
