//! What the tasks of one authenticated connection share.

use std::rc::Rc;

use serde_json::Value;
use smol::future;

use super::acks::ResultInTransit;
use super::outbox::{Outbox, Outgoing};
use super::port::AgentPort;
use crate::base::once_flag::OnceFlag;
use crate::surface::agent::AgentHandle;

pub(crate) struct AgentSession {
    pub agent: AgentHandle,
    /// Frames for the peer.
    pub out: Outbox,
    /// Set when the connection is gone.
    pub gone: OnceFlag,
    pub port: Rc<AgentPort>,
}

impl AgentSession {
    pub(crate) fn new(port: Rc<AgentPort>, agent: AgentHandle) -> Rc<AgentSession> {
        Rc::new(AgentSession { agent, out: Outbox::default(), gone: OnceFlag::default(), port })
    }

    /// Runs `listener` as a task of its own, and drops it when the connection is gone.
    pub(crate) fn listen(self: &Rc<Self>, listener: impl Future<Output = ()> + 'static) {
        let session = self.clone();
        // First whether anybody still listens: a listener that is dropped must not begin anything on its way.
        let task = async move { future::or(session.gone.wait(), listener).await };
        self.port.agents.executor.spawn(task).detach();
    }

    pub(crate) fn send(&self, frame: &Value) {
        if let Some(outgoing) = self.outgoing(frame.to_string(), Vec::new()) {
            self.out.put(outgoing);
        }
    }

    /// A frame with the room that it takes. None when this connection has to end because too much on it is unread.
    pub(crate) fn outgoing(&self, text: String, carried: Vec<ResultInTransit>) -> Option<Outgoing> {
        let room = self.agent.connection.hold(text.len())?;
        Some(Outgoing { text, carried, room: vec![room] })
    }
}
