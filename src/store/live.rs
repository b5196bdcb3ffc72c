//! What is under way and which idempotency keys are taken, in the gateway's own memory: whoever else can write the
//! database cannot write this. A start fills it from proven events (`take_up`); from then on every step of a call is
//! decided here, and the tables only follow, for the next start.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use serde_json::Value;

use super::error::StoreError;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::model::{AgentId, Responder};

/// How far a call has come that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallState {
    /// A question, not answered yet.
    Open,
    /// Approved, not claimed yet.
    Approved { by: Responder },
    /// Claimed: it may have been done.
    Executing,
}

/// A call that has not ended.
#[derive(Clone, Debug)]
pub(super) struct Open {
    /// The number of its `requested` event.
    pub(super) seq: i64,
    pub(super) agent: AgentId,
    /// [`Call::binding`](crate::model::Call::binding).
    pub(super) binding: Digest,
    pub(super) state: CallState,
    pub(super) keys: Vec<KeyMark>,
    /// What the call reads, with its session: the member `read` of its end.
    pub(super) reads: Option<Arc<Value>>,
}

/// Stands for one agent's idempotency key; the event that binds it has the words. Nobody outside can choose two keys
/// with one mark, and no mark means anything in another run.
pub(super) type KeyMark = u64;

/// What is kept of a key: there may be very many.
#[derive(Clone, Copy, Debug)]
pub(super) struct LiveKey {
    /// The number of the event that binds it; 0 when that was dropped, and only the table has it.
    pub(super) event: i64,
    /// [`LiveKey::OPEN`] while its call is under way.
    pub(super) expires: Timestamp,
}

impl LiveKey {
    /// As long as its call is open.
    pub(super) const OPEN: Timestamp = Timestamp(i64::MAX);
}

/// How one entry was before the transaction.
enum Undo {
    Call(RequestId, Option<Open>),
    Key(KeyMark, Option<LiveKey>),
}

#[derive(Default)]
pub(super) struct Live {
    open: HashMap<RequestId, Open>,
    keys: HashMap<KeyMark, LiveKey>,
    marks: RandomState,
    /// Until then a key may be taken that nobody knows of any more, because events are gone that may have bound it.
    unsure: Option<Timestamp>,
    undo: Vec<Undo>,
}

impl Live {
    /// A call that has not ended.
    pub(super) fn call(&self, id: RequestId) -> Option<&Open> {
        self.open.get(&id)
    }

    /// How far it has come; None when it has ended or never began.
    pub(super) fn state(&self, id: RequestId) -> Option<&CallState> {
        self.open.get(&id).map(|open| &open.state)
    }

    /// Puts a call in this state, or in its place.
    pub(super) fn put(&mut self, id: RequestId, open: Open) {
        let before = self.open.insert(id, open);
        self.undo.push(Undo::Call(id, before));
    }

    /// Another state for a call that has not ended.
    pub(super) fn advance(&mut self, id: RequestId, state: CallState) {
        if let Some(open) = self.open.get(&id).cloned() {
            self.put(id, Open { state, ..open });
        }
    }

    pub(super) fn end(&mut self, id: RequestId) -> Option<Open> {
        let open = self.open.remove(&id)?;
        self.undo.push(Undo::Call(id, Some(open.clone())));
        Some(open)
    }

    /// All that have not ended, the oldest first.
    pub(super) fn calls(&self) -> Vec<(RequestId, &Open)> {
        let mut calls: Vec<_> = self.open.iter().map(|(id, open)| (*id, open)).collect();
        calls.sort_unstable_by_key(|(_, open)| open.seq);
        calls
    }

    /// The first event of the oldest call that has not ended.
    pub(super) fn oldest(&self) -> Option<i64> {
        self.open.values().map(|open| open.seq).min()
    }

    pub(super) fn mark(&self, agent: &str, key: &str) -> KeyMark {
        self.marks.hash_one((agent, key))
    }

    /// What a key is bound to, if it is still remembered.
    ///
    /// # Errors
    /// [`StoreError::Forged`] when that is not known.
    pub(super) fn key(&self, agent: &str, key: &str, now: Timestamp) -> Result<Option<LiveKey>, StoreError> {
        let known = self.keys.get(&self.mark(agent, key)).filter(|key| key.expires > now);
        match (known, self.unsure) {
            (Some(key), _) => Ok(Some(*key)),
            (None, Some(until)) if until > now => {
                Err(StoreError::Forged("events are missing or changed that may have bound this key".into()))
            }
            (None, _) => Ok(None),
        }
    }

    pub(super) fn known(&self, mark: KeyMark) -> Option<&LiveKey> {
        self.keys.get(&mark)
    }

    pub(super) fn put_key(&mut self, mark: KeyMark, key: LiveKey) {
        let before = self.keys.insert(mark, key);
        self.undo.push(Undo::Key(mark, before));
    }

    /// The call that these stand for has ended: they are remembered until then, or not at all.
    pub(super) fn keep_keys(&mut self, marks: &[KeyMark], until: Option<Timestamp>) {
        for mark in marks {
            let Some(before) = self.keys.remove(mark) else { continue };
            self.undo.push(Undo::Key(*mark, Some(before)));
            if let Some(expires) = until {
                self.keys.insert(*mark, LiveKey { expires, ..before });
            }
        }
    }

    /// Forgets the keys whose time is over. Not undone: nobody asks for them any more.
    pub(super) fn forget_keys(&mut self, now: Timestamp) {
        self.keys.retain(|_, key| key.expires > now);
    }

    /// Events that bind keys are gone; by then, all of these keys are forgotten anyway.
    pub(super) fn be_unsure(&mut self, until: Timestamp) {
        self.unsure = Some(until);
    }

    /// The transaction is on its way to the disk.
    pub(super) fn commit(&mut self) {
        self.undo.clear();
    }

    /// The transaction was not written.
    pub(super) fn roll_back(&mut self) {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Call(id, Some(open)) => drop(self.open.insert(id, open)),
                Undo::Call(id, None) => drop(self.open.remove(&id)),
                Undo::Key(mark, Some(key)) => drop(self.keys.insert(mark, key)),
                Undo::Key(mark, None) => drop(self.keys.remove(&mark)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(seq: i64) -> Open {
        let (agent, binding) = (AgentId::configured("pi"), Digest::sha256(b"call"));
        Open { seq, agent, binding, state: CallState::Open, keys: vec![], reads: None }
    }

    fn approved() -> CallState {
        CallState::Approved { by: Responder::new("local", "root") }
    }

    #[test]
    fn what_was_not_written_did_not_happen() {
        let (mut live, [a, b]) = (Live::default(), [RequestId::random(), RequestId::random()]);
        live.put(a, open(1));
        let mark = live.mark("pi", "k");
        live.put_key(mark, LiveKey { event: 1, expires: LiveKey::OPEN });
        live.commit();
        live.advance(a, approved());
        live.advance(a, CallState::Executing);
        live.put(b, open(2));
        live.keep_keys(&[mark], Some(Timestamp(5)));
        live.put_key(live.mark("pi", "l"), LiveKey { event: 2, expires: LiveKey::OPEN });
        live.end(a);
        live.roll_back();
        assert_eq!((live.state(a), live.state(b), live.oldest()), (Some(&CallState::Open), None, Some(1)));
        assert!(live.key("pi", "k", Timestamp(9)).unwrap().is_some());
        assert!(live.key("pi", "l", Timestamp(9)).unwrap().is_none());
        live.advance(a, approved());
        live.commit();
        live.roll_back();
        assert_eq!(live.state(a), Some(&approved()));
    }

    #[test]
    fn a_key_that_may_be_taken_is_not_given_away() {
        let mut live = Live::default();
        live.put_key(live.mark("pi", "k"), LiveKey { event: 1, expires: Timestamp(10) });
        live.be_unsure(Timestamp(20));
        assert!(live.key("pi", "k", Timestamp(9)).unwrap().is_some());
        assert!(
            live.key("pi", "k", Timestamp(11)).is_err() && live.key("laptop", "k", Timestamp(9)).is_err()
        );
        assert!(live.key("pi", "k", Timestamp(20)).unwrap().is_none());
    }
}
