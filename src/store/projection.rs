//! State that follows from events. Events are the truth; a projection is what becomes of them when they are folded in
//! order, each once: a table, or what memory is filled from at a start. It follows them in batches, so that a step of a
//! call costs one append however much is derived from it.
//!
//! A projection never asks whether a step may happen and never says that it did: `live` knows that, and the events do.
//! Whatever it keeps can be emptied and folded again (`agentpass audit rebuild`).

use std::fmt;
use std::sync::Arc;

use rusqlite::{Connection, Row};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::chain::ChainEvent;
use super::error::StoreError;
use crate::base::clock::Timestamp;

/// A recorded event.
pub(super) struct Event<'a> {
    pub(super) seq: i64,
    pub(super) at: Timestamp,
    pub(super) kind: &'a str,
    pub(super) request_id: Option<&'a str>,
    /// Without what is [`SKIPPED`]; empty when somebody else has written what is no JSON.
    pub(super) body: Body<'a>,
}

/// What an event says, by name.
pub(super) enum Body<'a> {
    Read(Vec<(&'a str, Value)>),
    Kept(&'a [(String, Value)]),
}

impl Default for Body<'_> {
    fn default() -> Self {
        Body::Kept(&[])
    }
}

/// An event that was appended just now: the fold that comes soon need not read it again.
pub(super) struct FreshEvent {
    seq: i64,
    at: Timestamp,
    kind: String,
    request_id: Option<String>,
    body: Vec<(String, Value)>,
}

/// Texts that may be long and that no projection keeps: they are not even read.
const SKIPPED: [&str; 6] = ["args", "set", "signature", "signatures", "rule", "message"];

impl<'de> Deserialize<'de> for Body<'de> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Body<'de>, D::Error> {
        source.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Body<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event's body")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> Result<Body<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = source.next_key::<&str>()? {
            if SKIPPED.contains(&name) {
                source.next_value::<IgnoredAny>()?;
            } else {
                members.push((name, source.next_value()?));
            }
        }
        Ok(Body::Read(members))
    }
}

impl Body<'_> {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Body::Read(members) => members.iter().find(|(member, _)| *member == name).map(|(_, value)| value),
            Body::Kept(members) => members.iter().find(|(member, _)| member == name).map(|(_, value)| value),
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }
}

impl FreshEvent {
    pub(super) fn new(event: ChainEvent, body: &Value) -> FreshEvent {
        let ChainEvent { seq, at, kind, request_id, body: _, hash: _ } = event;
        let members = body.as_object().into_iter().flatten();
        let kept = members.filter(|(name, _)| !SKIPPED.contains(&name.as_str()));
        let body = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        FreshEvent { seq, at: Timestamp(at), kind, request_id, body }
    }

    pub(super) fn seq(&self) -> i64 {
        self.seq
    }

    /// As it would be read.
    pub(super) fn event(&self) -> Event<'_> {
        let FreshEvent { seq, at, kind, request_id, body } = self;
        Event { seq: *seq, at: *at, kind, request_id: request_id.as_deref(), body: Body::Kept(body) }
    }
}

impl<'a> Event<'a> {
    /// Columns in the order in which [`Event::read`] takes them.
    pub(super) const COLUMNS: &'static str = "seq, at, kind, request_id, body";

    /// What somebody else has written reads as an event that says nothing: `audit verify` names it, and no fold ends
    /// there for ever.
    pub(super) fn read(row: &'a Row<'_>) -> rusqlite::Result<Event<'a>> {
        let text = |column| row.get_ref(column).map(|value| value.as_str().ok());
        Ok(Event {
            seq: row.get(0)?,
            at: Timestamp(row.get(1)?),
            kind: text(2)?.unwrap_or_default(),
            request_id: text(3)?,
            body: text(4)?.and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default(),
        })
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.body.text(name)
    }
}

/// The call that an event belongs to, as its `requested` or `refused` event says.
pub(super) struct Subject {
    /// Number of that event.
    pub(super) seq: i64,
    pub(super) agent: Arc<str>,
    pub(super) tool: Arc<str>,
    /// Whether an idempotency key may stand for it.
    pub(super) keyed: bool,
}

/// Something that is folded from events. How far it has come is kept in the database, under its name, in the transaction
/// that also holds what was folded.
pub(super) trait Projection: Send {
    /// Never changed once released: it leads to the position.
    fn name(&self) -> &'static str;

    /// Takes in one event. `call` is None when the event belongs to no call, or the beginning of its call was dropped.
    fn fold(&mut self, db: &Connection, event: &Event<'_>, call: Option<&Subject>) -> Result<(), StoreError>;

    /// The end of a batch that led from one event (folded before) through another: what was gathered is written.
    fn write(&mut self, db: &Connection, from: i64, through: i64) -> Result<(), StoreError>;

    /// Empties it, to be folded again from the first event that is kept. What events do not say stays; false: nothing of
    /// it is folded again.
    fn clear(&mut self, db: &Connection) -> Result<bool, StoreError>;

    /// The transaction failed: what was gathered is gone.
    fn forget(&mut self);
}
