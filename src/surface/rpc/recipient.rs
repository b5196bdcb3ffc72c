//! What the connections of one agent share: the room for answers that it has not read yet.
//!
//! Answers wait in memory, and an agent decides how many connections it opens and whether it reads. Each connection has
//! a bounded number of places, but results can be large; so the bytes of all of them together have a bound too.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use smol::lock::Mutex;

use crate::model::AgentId;

/// Bytes of answers that may wait for one agent. 32 results of the largest size, as many as one connection may ask for
/// at once.
pub const MAX_UNREAD: usize = 32 * 1024 * 1024;

/// One agent, while it is connected.
#[derive(Default)]
pub struct Recipient {
    /// Held while the inbox is read: one at a time, or an agent could keep the record busy for all others.
    pub inbox: Mutex<()>,
    unread: Cell<usize>,
}

/// The connected agents.
#[derive(Default)]
pub struct Recipients(RefCell<HashMap<AgentId, Weak<Recipient>>>);

/// Room that an answer takes, until this is dropped.
pub struct Held {
    by: Rc<Recipient>,
    bytes: usize,
}

impl Recipients {
    /// What the connections of `agent` share.
    pub fn of(&self, agent: &AgentId) -> Rc<Recipient> {
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
    /// Room for an answer of so many bytes; None when more than [`MAX_UNREAD`] would wait. Where nothing waits there is
    /// room for one answer of any size.
    pub fn hold(self: &Rc<Self>, bytes: usize) -> Option<Held> {
        let unread = self.unread.get();
        if unread > 0 && unread.saturating_add(bytes) > MAX_UNREAD {
            return None;
        }
        self.unread.set(unread + bytes);
        Some(Held { by: self.clone(), bytes })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.by.unread.set(self.by.unread.get().saturating_sub(self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_for_all_connections_of_an_agent_and_comes_back() {
        let recipients = Recipients::default();
        let (one, other) = (AgentId::configured("one"), AgentId::configured("other"));
        let (first, second) = (recipients.of(&one), recipients.of(&one));
        let held = first.hold(MAX_UNREAD).unwrap();
        assert!(second.hold(1).is_none());
        assert!(recipients.of(&other).hold(MAX_UNREAD).is_some());
        drop(held);
        assert!(second.hold(MAX_UNREAD + 1).is_some(), "one answer of any size");
        assert_eq!(first.unread.get(), 0);
    }

    #[test]
    fn an_agent_that_comes_back_begins_anew() {
        let (recipients, agent) = (Recipients::default(), AgentId::configured("one"));
        let _ = recipients.of(&agent);
        assert!(recipients.of(&agent).hold(1).is_some());
        assert_eq!(recipients.0.borrow().len(), 1);
    }
}
