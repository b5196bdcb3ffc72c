//! What the connections of one agent share: its turn, and the room for answers that it has not read yet.
//!
//! However many connections there are, one frame of an agent is served between two of everybody else.
//!
//! Answers wait in memory, and an agent decides how many connections it opens and whether it reads. Each connection has
//! a bounded number of requests in flight, but results can be large; so the bytes of all of them together have a bound.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use smol::lock::Mutex;

use crate::base::once_flag::OnceFlag;
use crate::model::AgentId;

/// Bytes of answers that may wait for one agent.
pub(crate) const MAX_UNREAD: usize = 32 * 1024 * 1024;

#[derive(Default)]
pub(crate) struct ConnectedAgents(RefCell<HashMap<AgentId, Weak<ConnectedAgent>>>);

#[derive(Default)]
pub(crate) struct ConnectedAgent {
    /// Held while the inbox is read: one at a time, or an agent could keep the record busy for all others.
    pub inbox: Arc<Mutex<()>>,
    /// Held from a frame's beginning until all others had the chance of one.
    pub turn: Mutex<()>,
    unread: Cell<usize>,
    connections: RefCell<Vec<Weak<AgentConnection>>>,
}

pub(crate) struct AgentConnection {
    pub agent: Rc<ConnectedAgent>,
    unread: Cell<usize>,
    /// Set when this connection has to end: it holds most of what is unread, and there was no room for an answer.
    pub evicted: OnceFlag,
}

/// Room that an answer takes until this is dropped.
pub(crate) struct UnreadRoom {
    connection: Rc<AgentConnection>,
    bytes: usize,
}

impl ConnectedAgents {
    pub(crate) fn get(&self, agent: &AgentId) -> Rc<ConnectedAgent> {
        let mut known = self.0.borrow_mut();
        let living = known.get(agent).and_then(Weak::upgrade);
        living.unwrap_or_else(|| {
            let new = Rc::default();
            known.insert(agent.clone(), Rc::downgrade(&new));
            new
        })
    }
}

impl ConnectedAgent {
    pub(crate) fn connect(self: &Rc<Self>) -> Rc<AgentConnection> {
        let (unread, evicted) = (Cell::default(), OnceFlag::default());
        let new = Rc::new(AgentConnection { agent: self.clone(), unread, evicted });
        let mut connections = self.connections.borrow_mut();
        connections.retain(|known| known.strong_count() > 0);
        connections.push(Rc::downgrade(&new));
        new
    }

    /// What the connection holds counts no more: its end is near.
    fn evict_largest(&self) {
        let connections = self.connections.borrow();
        let holders = connections.iter().filter_map(Weak::upgrade).filter(|known| known.unread.get() > 0);
        let largest = holders.max_by_key(|known| known.unread.get());
        let room = largest.map_or(0, |largest| {
            largest.evicted.set();
            largest.unread.take()
        });
        // Nobody holds anything: nothing is unread.
        self.unread.set(if room == 0 { 0 } else { self.unread.get().saturating_sub(room) });
    }
}

impl AgentConnection {
    /// Takes room for an answer. When more than [`MAX_UNREAD`] bytes would wait, the connections that hold the most are
    /// evicted; None when this one is among them. Where nothing else waits, one answer of any size has room.
    pub(crate) fn hold(self: &Rc<Self>, bytes: usize) -> Option<UnreadRoom> {
        let agent = &self.agent;
        while agent.unread.get() > 0 && agent.unread.get().saturating_add(bytes) > MAX_UNREAD {
            agent.evict_largest();
        }
        if self.evicted.is_set() {
            return None;
        }
        agent.unread.set(agent.unread.get() + bytes);
        self.unread.set(self.unread.get() + bytes);
        Some(UnreadRoom { connection: self.clone(), bytes })
    }
}

impl Drop for UnreadRoom {
    fn drop(&mut self) {
        if !self.connection.evicted.is_set() {
            for unread in [&self.connection.unread, &self.connection.agent.unread] {
                unread.set(unread.get().saturating_sub(self.bytes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_for_all_connections_of_an_agent_and_comes_back() {
        let agents = ConnectedAgents::default();
        let (one, other) = (AgentId::configured("one"), AgentId::configured("other"));
        let (agent, another) = (agents.get(&one), agents.get(&other));
        let connection = agent.connect();
        let held = connection.hold(MAX_UNREAD).unwrap();
        assert!(another.connect().hold(MAX_UNREAD).is_some());
        drop(held);
        assert!(connection.hold(MAX_UNREAD + 1).is_some(), "one answer of any size");
        assert_eq!((agent.unread.get(), connection.unread.get()), (0, 0));
        assert_eq!(agents.0.borrow().len(), 2);
    }

    #[test]
    fn who_holds_most_has_to_go() {
        let agent: Rc<ConnectedAgent> = Rc::default();
        let [deaf, reader] = [agent.connect(), agent.connect()];
        let unread = [deaf.hold(MAX_UNREAD / 2), deaf.hold(MAX_UNREAD / 2)];
        let reply = reader.hold(10);
        assert!(reply.is_some() && !reader.evicted.is_set());
        assert!(deaf.evicted.is_set() && deaf.hold(1).is_none());
        drop(unread);
        assert_eq!(agent.unread.get(), 10, "what was given up is not given back twice");
        drop(reply);
        assert_eq!((agent.unread.get(), reader.unread.get()), (0, 0));
    }

    #[test]
    fn a_connection_alone_is_evicted_by_its_own_answers() {
        let agent: Rc<ConnectedAgent> = Rc::default();
        let only = agent.connect();
        let held = only.hold(MAX_UNREAD);
        assert!(held.is_some() && only.hold(1).is_none());
        drop((held, only));
        assert!(agent.connect().hold(MAX_UNREAD).is_some(), "it may come again");
        assert_eq!(agent.connections.borrow().len(), 1);
    }
}
