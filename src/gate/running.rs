//! The calls that are under way, and those who wait for them.
//!
//! A call belongs to the gate. A caller holds a [`Ticket`]: losing it loses a listener, never a call.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::latch::Latch;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::model::{AgentId, Call, Outcome};

/// How a request ended, as its callers hear it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    /// How it ended.
    pub outcome: Outcome,
    /// Its id in the record; None when nothing was recorded (a flood is counted, not written down).
    pub request_id: Option<RequestId>,
    /// The outcome of an earlier call with the same idempotency key.
    pub replayed: bool,
}

/// One call under way.
#[derive(Default)]
pub(super) struct Shared {
    id: Cell<Option<RequestId>>,
    digest: Option<Digest>,
    keys: RefCell<Vec<String>>,
    joined: Cell<u32>,
    expires: Cell<Option<Timestamp>>,
    /// Whether the call is in the record.
    is_recorded: Cell<bool>,
    recorded: Latch,
    asked: Latch,
    reply: OnceCell<Reply>,
    done: Latch,
}

impl Shared {
    pub(super) fn new(id: RequestId, digest: Digest) -> Rc<Shared> {
        Rc::new(Shared { id: Cell::new(Some(id)), digest: Some(digest), ..Shared::default() })
    }

    pub(super) fn id(&self) -> Option<RequestId> {
        self.id.get()
    }

    /// The call is in the record.
    pub(super) fn set_recorded(&self) {
        self.is_recorded.set(true);
        self.recorded.open();
    }

    /// Waits until it is known which call in the record answers this one: itself, or an earlier one with its key. None
    /// when none does.
    pub(super) async fn in_record(&self) -> Option<RequestId> {
        self.recorded.wait().await;
        match self.is_recorded.get() {
            true => self.id(),
            false => self.reply.get().filter(|reply| reply.replayed)?.request_id,
        }
    }

    /// One more caller has asked for the same.
    pub(super) fn count(&self) {
        self.joined.set(self.joined.get().saturating_add(1));
    }

    /// A human is being asked until `expires`.
    pub(super) fn set_asked(&self, expires: Timestamp) {
        self.expires.set(Some(expires));
        self.asked.open();
    }

    pub(super) fn finish(&self, reply: Reply) {
        let _ = self.reply.set(reply);
        self.recorded.open();
        self.asked.open();
        self.done.open();
    }
}

/// A caller's place at a call under way.
#[derive(Clone)]
pub(crate) struct Ticket {
    shared: Rc<Shared>,
    /// When this caller joined with an idempotency key of its own.
    key: Option<Rc<OwnKey>>,
}

/// Whether a caller's own idempotency key may stand for the call that it joined.
#[derive(Default)]
pub(super) struct OwnKey {
    known: Latch,
    instead: OnceCell<Reply>,
}

impl OwnKey {
    /// The key is on disk; or it stands for something else, and the caller hears that `instead`.
    pub(super) fn settle(&self, instead: Option<Reply>) {
        if let Some(reply) = instead {
            let _ = self.instead.set(reply);
        }
        self.known.open();
    }
}

impl Ticket {
    pub(super) fn new(shared: Rc<Shared>) -> Ticket {
        Ticket { shared, key: None }
    }

    pub(super) fn with_key(shared: Rc<Shared>, key: Rc<OwnKey>) -> Ticket {
        Ticket { shared, key: Some(key) }
    }

    /// A ticket of something that has ended already.
    pub(super) fn ended(reply: Reply) -> Ticket {
        let shared = Rc::new(Shared::default());
        shared.finish(reply);
        Ticket::new(shared)
    }

    /// Waits until a human is asked: the request's id and when the question expires. None when it ended without.
    pub(crate) async fn asked(&self) -> Option<(RequestId, Timestamp)> {
        if self.instead().await.is_some() {
            return None;
        }
        self.shared.asked.wait().await;
        Some((self.shared.id.get()?, self.shared.expires.get()?))
    }

    /// Waits until the call has ended.
    pub(crate) async fn reply(&self) -> Reply {
        if let Some(reply) = self.instead().await {
            return reply;
        }
        self.shared.done.wait().await;
        let lost =
            Reply { outcome: Outcome::UnknownResult, request_id: self.shared.id.get(), replayed: false };
        self.shared.reply.get().cloned().unwrap_or(lost)
    }

    async fn instead(&self) -> Option<Reply> {
        let key = self.key.as_ref()?;
        key.known.wait().await;
        key.instead.get().cloned()
    }
}

/// All calls under way, by what they are and by their idempotency keys.
#[derive(Default)]
pub(super) struct Running {
    by_binding: HashMap<Digest, Rc<Shared>>,
    by_key: HashMap<(AgentId, String), Rc<Shared>>,
}

/// What is under way for a new request.
pub(super) enum Joined {
    /// Nothing.
    No,
    /// The same call: wait for it. `new_key` when the caller's key is not the one it runs under.
    Same { shared: Rc<Shared>, new_key: bool },
    /// Another call under the same idempotency key.
    Conflict,
}

impl Running {
    pub(super) fn join(&self, call: &Call, key: Option<&str>) -> Joined {
        let known = key.and_then(|k| self.by_key.get(&(call.agent().clone(), k.to_owned())));
        match (known, self.by_binding.get(&call.binding())) {
            (Some(shared), _) if shared.digest == Some(call.digest()) => {
                Joined::Same { shared: shared.clone(), new_key: false }
            }
            (Some(_), _) => Joined::Conflict,
            (None, Some(shared)) => Joined::Same { shared: shared.clone(), new_key: key.is_some() },
            (None, None) => Joined::No,
        }
    }

    pub(super) fn add(&mut self, call: &Call, key: Option<&str>, shared: &Rc<Shared>) {
        self.by_binding.insert(call.binding(), shared.clone());
        self.add_key(call.agent(), key, shared);
    }

    pub(super) fn add_key(&mut self, agent: &AgentId, key: Option<&str>, shared: &Rc<Shared>) {
        if let Some(key) = key {
            shared.keys.borrow_mut().push(key.to_owned());
            self.by_key.insert((agent.clone(), key.to_owned()), shared.clone());
        }
    }

    /// The key turned out to stand for something else than this call.
    pub(super) fn forget_key(&mut self, agent: &AgentId, key: &str, shared: &Rc<Shared>) {
        let known = (agent.clone(), key.to_owned());
        if self.by_key.get(&known).is_some_and(|s| Rc::ptr_eq(s, shared)) {
            self.by_key.remove(&known);
        }
        shared.keys.borrow_mut().retain(|k| k != key);
    }

    pub(super) fn remove(&mut self, call: &Call, shared: &Rc<Shared>) {
        if self.by_binding.get(&call.binding()).is_some_and(|s| Rc::ptr_eq(s, shared)) {
            self.by_binding.remove(&call.binding());
        }
        for key in shared.keys.take() {
            self.by_key.remove(&(call.agent().clone(), key));
        }
    }

    /// How often this call was asked for while it is under way.
    pub(super) fn times(&self, call: &Call) -> u32 {
        self.by_binding.get(&call.binding()).map_or(1, |s| s.joined.get().saturating_add(1))
    }

    /// Whether the call with this id is under way.
    pub(super) fn has(&self, id: RequestId) -> bool {
        self.by_binding.values().any(|shared| shared.id() == Some(id))
    }

    pub(super) fn len(&self) -> usize {
        self.by_binding.len()
    }
}
