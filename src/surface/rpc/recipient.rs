//! What the connections of one agent share: its turn, and the room for answers that it has not read yet.
//!
//! They share one turn, too: however many there are, one frame of an agent is served between two of everybody else.
//!
//! Answers wait in memory, and an agent decides how many connections it opens and whether it reads. Each connection has
//! a bounded number of places, but results can be large; so the bytes of all of them together have a bound too.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use smol::lock::Mutex;

use crate::gate::Latch;
use crate::model::AgentId;

/// Bytes of answers that may wait for one agent.
pub(crate) const MAX_UNREAD: usize = 32 * 1024 * 1024;

/// One agent, while it is connected.
#[derive(Default)]
pub(crate) struct Recipient {
    /// Held while the inbox is read: one at a time, or an agent could keep the record busy for all others.
    pub inbox: Arc<Mutex<()>>,
    /// Held from a frame's beginning until all others had the chance of one.
    pub turn: Mutex<()>,
    unread: Cell<usize>,
    connections: RefCell<Vec<Weak<Connection>>>,
}

/// One of its connections.
#[derive(Default)]
pub(crate) struct Connection {
    unread: Cell<usize>,
    /// It has to end: it holds most of what is unread, and there was no room for an answer.
    pub(crate) evicted: Latch,
}

/// The connected agents.
#[derive(Default)]
pub(crate) struct Recipients(RefCell<HashMap<AgentId, Weak<Recipient>>>);

/// Room that an answer takes, until this is dropped.
pub(crate) struct Held {
    by: Rc<Recipient>,
    connection: Rc<Connection>,
    bytes: usize,
}

impl Recipients {
    /// What the connections of `agent` share.
    pub(crate) fn of(&self, agent: &AgentId) -> Rc<Recipient> {
        let mut known = self.0.borrow_mut();
        let living = known.get(agent).and_then(Weak::upgrade);
        living.unwrap_or_else(|| {
            let new = Rc::default();
            known.insert(agent.clone(), Rc::downgrade(&new));
            new
        })
    }
}

impl Recipient {
    /// One more connection.
    pub(crate) fn connect(&self) -> Rc<Connection> {
        let new = Rc::default();
        let mut connections = self.connections.borrow_mut();
        connections.retain(|known| known.strong_count() > 0);
        connections.push(Rc::downgrade(&new));
        new
    }

    /// Room on `connection` for an answer of so many bytes. When more than [`MAX_UNREAD`] would wait, the connections
    /// that hold the most of it are evicted; None when this one is among them. Where nothing else waits there is room
    /// for one answer of any size.
    pub(crate) fn hold(self: &Rc<Self>, connection: &Rc<Connection>, bytes: usize) -> Option<Held> {
        while self.unread.get() > 0 && self.unread.get().saturating_add(bytes) > MAX_UNREAD {
            self.evict_largest();
        }
        if connection.evicted.is_open() {
            return None;
        }
        self.unread.set(self.unread.get() + bytes);
        connection.unread.set(connection.unread.get() + bytes);
        Some(Held { by: self.clone(), connection: connection.clone(), bytes })
    }

    /// What it holds counts no more: its end is near.
    fn evict_largest(&self) {
        let connections = self.connections.borrow();
        let holders = connections.iter().filter_map(Weak::upgrade).filter(|known| known.unread.get() > 0);
        let largest = holders.max_by_key(|known| known.unread.get());
        let room = largest.map_or(0, |largest| {
            largest.evicted.open();
            largest.unread.take()
        });
        // Nobody holds anything: nothing is unread.
        self.unread.set(if room == 0 { 0 } else { self.unread.get().saturating_sub(room) });
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.connection.evicted.is_open() {
            self.by.unread.set(self.by.unread.get().saturating_sub(self.bytes));
            self.connection.unread.set(self.connection.unread.get().saturating_sub(self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_for_all_connections_of_an_agent_and_comes_back() {
        let recipients = Recipients::default();
        let (one, other) = (AgentId::configured("one"), AgentId::configured("other"));
        let (agent, another) = (recipients.of(&one), recipients.of(&other));
        let connection = agent.connect();
        let held = agent.hold(&connection, MAX_UNREAD).unwrap();
        assert!(another.hold(&another.connect(), MAX_UNREAD).is_some());
        drop(held);
        assert!(agent.hold(&connection, MAX_UNREAD + 1).is_some(), "one answer of any size");
        assert_eq!((agent.unread.get(), connection.unread.get()), (0, 0));
        assert_eq!(recipients.0.borrow().len(), 2);
    }

    #[test]
    fn who_holds_most_has_to_go() {
        let agent: Rc<Recipient> = Rc::default();
        let [deaf, reader] = [agent.connect(), agent.connect()];
        let unread = [agent.hold(&deaf, MAX_UNREAD / 2), agent.hold(&deaf, MAX_UNREAD / 2)];
        let reply = agent.hold(&reader, 10);
        assert!(reply.is_some() && !reader.evicted.is_open());
        assert!(deaf.evicted.is_open() && agent.hold(&deaf, 1).is_none());
        drop(unread);
        assert_eq!(agent.unread.get(), 10, "what was given up is not given back twice");
        drop(reply);
        assert_eq!((agent.unread.get(), reader.unread.get()), (0, 0));
    }

    #[test]
    fn a_connection_alone_is_evicted_by_its_own_answers() {
        let agent: Rc<Recipient> = Rc::default();
        let only = agent.connect();
        let held = agent.hold(&only, MAX_UNREAD);
        assert!(held.is_some() && agent.hold(&only, 1).is_none());
        drop((held, only));
        assert!(agent.hold(&agent.connect(), MAX_UNREAD).is_some(), "it may come again");
        assert_eq!(agent.connections.borrow().len(), 1);
    }
}
