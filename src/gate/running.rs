//! The calls that are under way, and those who wait for them.
//!
//! A call belongs to the gate. A caller holds a [`Ticket`]: losing it loses a listener, never a call.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Value, json};
use smol::lock::OnceCell;

use super::sessions::SessionName;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::model::{AgentId, Call, Outcome};

/// How a request ended, as its callers hear it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CallReply {
    pub outcome: Outcome,
    /// Its id in the record; None when nothing was recorded (a flood is counted, not written down).
    pub request_id: Option<RequestId>,
    /// Whether this is the outcome of an earlier call with the same idempotency key.
    pub replayed: bool,
    /// The grant that let it through.
    pub grant: Option<GrantNote>,
}

/// What an agent hears of a grant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct GrantNote {
    pub id: RequestId,
    pub until: Timestamp,
    /// None: any number.
    pub uses_left: Option<u32>,
}

impl GrantNote {
    pub(crate) fn to_json(self) -> Value {
        let GrantNote { id, until, uses_left } = self;
        json!({"grant_id": id.to_string(), "until": until.to_string(), "uses_left": uses_left})
    }
}

impl CallReply {
    /// To a request that is in the record under this id, if it is.
    pub(crate) fn new(outcome: Outcome, request_id: Option<RequestId>) -> CallReply {
        CallReply { outcome, request_id, replayed: false, grant: None }
    }
}

/// One call under way. What becomes known of it is set once, at the latest when it ends.
#[derive(Default)]
pub(super) struct Flight {
    /// None: it was refused before it became a call.
    call: Option<(RequestId, Digest)>,
    agent: Option<AgentId>,
    session: SessionName,
    keys: RefCell<Vec<String>>,
    joined: Cell<u32>,
    recorded: OnceCell<bool>,
    /// When the question about it expires; None: it ended without one.
    asked: OnceCell<Option<Timestamp>>,
    reply: OnceCell<CallReply>,
}

impl Flight {
    pub(super) fn new(id: RequestId, call: &Call, session: Option<&str>) -> Rc<Flight> {
        let (call, agent) = (Some((id, call.digest())), Some(call.agent().clone()));
        Rc::new(Flight { call, agent, session: session.map(Arc::from), ..Flight::default() })
    }

    /// Whether its call was made in this session.
    pub(super) fn is_in(&self, session: Option<&str>) -> bool {
        self.session.as_deref() == session
    }

    pub(super) fn id(&self) -> Option<RequestId> {
        self.call.map(|(id, _)| id)
    }

    pub(super) fn digest(&self) -> Option<Digest> {
        self.call.map(|(_, digest)| digest)
    }

    pub(super) fn set_recorded(&self) {
        set(&self.recorded, true);
    }

    /// Waits until it is known which call in the record answers this one: itself, or an earlier one with its key. None
    /// when none does.
    pub(super) async fn in_record(&self) -> Option<RequestId> {
        match self.recorded.wait().await {
            true => self.id(),
            false => self.reply.get().filter(|reply| reply.replayed)?.request_id,
        }
    }

    /// One more caller has asked for the same.
    pub(super) fn count(&self) {
        self.joined.set(self.joined.get().saturating_add(1));
    }

    /// A person is being asked until `expires`.
    pub(super) fn set_asked(&self, expires: Timestamp) {
        set(&self.asked, Some(expires));
    }

    pub(super) fn finish(&self, reply: CallReply) {
        set(&self.reply, reply);
        set(&self.recorded, false);
        set(&self.asked, None);
    }
}

/// What was set first stays. It never blocks: nobody fills the cell in another way.
fn set<T>(cell: &OnceCell<T>, value: T) {
    let _ = cell.set_blocking(value);
}

/// A caller's place at a call under way.
#[derive(Clone)]
pub(crate) struct Ticket {
    flight: Rc<Flight>,
    /// When this caller joined with an idempotency key of its own: what that stands for, where it is another call.
    key: Option<Rc<Instead>>,
    /// When it joined from another session: whether what it reads could be recorded.
    reading: Option<Rc<Instead>>,
}

/// What a caller hears instead of how the call ended that it joined; None: just that.
#[derive(Default)]
pub(super) struct Instead(OnceCell<Option<CallReply>>);

impl Instead {
    pub(super) fn settle(&self, instead: Option<CallReply>) {
        set(&self.0, instead);
    }
}

impl Ticket {
    pub(super) fn new(flight: Rc<Flight>) -> Ticket {
        Ticket { flight, key: None, reading: None }
    }

    pub(super) fn with_key(flight: Rc<Flight>, key: Rc<Instead>) -> Ticket {
        Ticket { key: Some(key), ..Ticket::new(flight) }
    }

    /// The outcome is told when `reading` is settled, not before.
    pub(super) fn with_reading(self, reading: Rc<Instead>) -> Ticket {
        Ticket { reading: Some(reading), ..self }
    }

    /// A ticket of something that has ended already.
    pub(super) fn ended(reply: CallReply) -> Ticket {
        let flight = Rc::new(Flight::default());
        flight.finish(reply);
        Ticket::new(flight)
    }

    /// The id of the call in the record; None when it was refused before it became one.
    pub(crate) fn id(&self) -> Option<RequestId> {
        self.flight.id()
    }

    /// Until when a person is being asked; None when nobody is.
    pub(crate) fn asked_until(&self) -> Option<Timestamp> {
        self.flight.asked.get().copied().flatten()
    }

    /// Whether nobody else has asked for the same.
    pub(crate) fn is_alone(&self) -> bool {
        self.flight.joined.get() == 0
    }

    /// Waits until a person is asked: the request's id and when the question expires. None when it ended without.
    pub(crate) async fn asked(&self) -> Option<(RequestId, Timestamp)> {
        if self.instead().await.is_some() {
            return None;
        }
        let expires = (*self.flight.asked.wait().await)?;
        Some((self.flight.id()?, expires))
    }

    /// Waits until the call has ended.
    pub(crate) async fn reply(&self) -> CallReply {
        let reply = match self.instead().await {
            Some(reply) => reply,
            None => self.flight.reply.wait().await.clone(),
        };
        match &self.reading {
            Some(reading) => reading.0.wait().await.clone().unwrap_or(reply),
            None => reply,
        }
    }

    async fn instead(&self) -> Option<CallReply> {
        self.key.as_ref()?.0.wait().await.clone()
    }
}

/// All calls under way, by what they are and by their idempotency keys.
#[derive(Default)]
pub(super) struct Running {
    by_binding: HashMap<Binding, Rc<Flight>>,
    by_key: HashMap<(AgentId, String), Rc<Flight>>,
}

/// A call's binding, within one session.
type Binding = Digest;

fn binding(call: &Call, session: Option<&str>) -> Binding {
    let binding = call.binding();
    session.map_or(binding, |name| Digest::sha256(&[&binding.0, name.as_bytes()].concat()))
}

/// What is under way for a new request.
pub(super) enum Joined {
    No,
    /// The same call: wait for it. `new_key` when the caller's key is not the one it runs under.
    Same {
        flight: Rc<Flight>,
        new_key: bool,
    },
    /// Another call under the same idempotency key.
    Conflict,
}

impl Running {
    /// Identical calls join within one session: its limits are its own. A key stands for one call in all of them.
    pub(super) fn join(&self, call: &Call, session: Option<&str>, key: Option<&str>) -> Joined {
        let known = key.and_then(|k| self.by_key.get(&(call.agent().clone(), k.to_owned())));
        match (known, self.by_binding.get(&binding(call, session))) {
            (Some(flight), _) if flight.call.is_some_and(|(_, digest)| digest == call.digest()) => {
                Joined::Same { flight: flight.clone(), new_key: false }
            }
            (Some(_), _) => Joined::Conflict,
            (None, Some(flight)) => Joined::Same { flight: flight.clone(), new_key: key.is_some() },
            (None, None) => Joined::No,
        }
    }

    pub(super) fn add(&mut self, call: &Call, session: Option<&str>, key: Option<&str>, flight: &Rc<Flight>) {
        self.by_binding.insert(binding(call, session), flight.clone());
        self.add_key(call.agent(), key, flight);
    }

    pub(super) fn add_key(&mut self, agent: &AgentId, key: Option<&str>, flight: &Rc<Flight>) {
        if let Some(key) = key {
            flight.keys.borrow_mut().push(key.to_owned());
            self.by_key.insert((agent.clone(), key.to_owned()), flight.clone());
        }
    }

    /// The key turned out to stand for something else than this call.
    pub(super) fn forget_key(&mut self, agent: &AgentId, key: &str, flight: &Rc<Flight>) {
        let known = (agent.clone(), key.to_owned());
        if self.by_key.get(&known).is_some_and(|f| Rc::ptr_eq(f, flight)) {
            self.by_key.remove(&known);
        }
        flight.keys.borrow_mut().retain(|k| k != key);
    }

    pub(super) fn remove(&mut self, call: &Call, session: Option<&str>, flight: &Rc<Flight>) {
        let binding = binding(call, session);
        if self.by_binding.get(&binding).is_some_and(|f| Rc::ptr_eq(f, flight)) {
            self.by_binding.remove(&binding);
        }
        for key in flight.keys.take() {
            self.by_key.remove(&(call.agent().clone(), key));
        }
    }

    /// How often this call was asked for while it is under way.
    pub(super) fn times(&self, call: &Call, session: Option<&str>) -> u32 {
        self.by_binding.get(&binding(call, session)).map_or(1, |f| f.joined.get().saturating_add(1))
    }

    /// The call of `agent`'s with this id, while it is under way.
    pub(super) fn of(&self, agent: &AgentId, id: RequestId) -> Option<&Rc<Flight>> {
        let is_it = |flight: &&Rc<Flight>| flight.id() == Some(id) && flight.agent.as_ref() == Some(agent);
        self.by_binding.values().find(is_it)
    }

    /// The call under way that this key of `agent`'s leads to.
    pub(super) fn named(&self, agent: &AgentId, key: &str) -> Option<&Rc<Flight>> {
        self.by_key.get(&(agent.clone(), key.to_owned()))
    }

    /// Whether the call with this id is under way.
    pub(super) fn has(&self, id: RequestId) -> bool {
        self.by_binding.values().any(|flight| flight.id() == Some(id))
    }

    pub(super) fn len(&self) -> usize {
        self.by_binding.len()
    }
}
