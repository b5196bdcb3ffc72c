//! Events as evidence. What stands in a table beside the chain counts as far as an event says the same, and an event
//! counts when the key vouches for it. One hash proves an event with its number: its text was written by this gateway
//! under that number, whatever became of its neighbours.

use rusqlite::{Connection, OptionalExtension as _};
use serde_json::Value;

use super::chain::parse_id;
use super::chain::{self, ChainEvent, ChainKey, ChainLink};
use super::codec;
use super::error::StoreError;
use super::kind::{self, KEEP_KEYS};
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::model::Outcome;

/// What comes before event `seq`, as far as the database says.
fn before(db: &Connection, seq: i64) -> Result<Option<ChainLink>, StoreError> {
    let before = seq.saturating_sub(1);
    if let Some(event) = chain::event_at(db, before)? {
        return Ok(chain::link_of(&event).ok());
    }
    let anchor = chain::anchor(db).ok().flatten().as_ref().and_then(chain::unsealed);
    Ok(Some(anchor.unwrap_or(ChainLink::START)).filter(|link| link.seq == before))
}

/// Event `seq`, if it is what was recorded under this number.
pub(super) fn proven(db: &Connection, key: &ChainKey, seq: i64) -> Result<Option<ChainEvent>, StoreError> {
    let (Some(event), Some(before)) = (chain::event_at(db, seq)?, before(db, seq)?) else { return Ok(None) };
    Ok(key.proves(&before.hash, &event).then_some(event))
}

/// What an event says of an idempotency key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KeyBinding {
    pub(super) agent: String,
    pub(super) key: String,
    pub(super) id: RequestId,
    pub(super) digest: Digest,
}

impl KeyBinding {
    /// The key that this event binds; None when it binds none.
    pub(super) fn from_event(event: &ChainEvent, body: &Value) -> Option<KeyBinding> {
        if event.kind != kind::REQUESTED && event.kind != kind::JOINED {
            return None;
        }
        let text = |name| body.get(name).and_then(Value::as_str);
        Some(KeyBinding {
            agent: text("agent")?.to_owned(),
            key: text("key")?.to_owned(),
            id: parse_id(event.request_id.as_deref()?).ok()?,
            digest: Digest::parse(text("digest")?)?,
        })
    }

    /// The same from event `seq`, if it is proven.
    pub(super) fn at(db: &Connection, key: &ChainKey, seq: i64) -> Result<Option<KeyBinding>, StoreError> {
        let event = proven(db, key, seq)?;
        Ok(event.and_then(|event| KeyBinding::from_event(&event, &serde_json::from_str(&event.body).ok()?)))
    }

    /// Whether an event binds this key like that.
    pub(super) fn is_bound(&self, db: &Connection, key: &ChainKey) -> Result<bool, StoreError> {
        let sql = "SELECT seq FROM steps WHERE request_id = ? AND kind = 'joined'";
        let mut statement = db.prepare_cached(sql)?;
        let joined = statement.query_map([self.id.to_string()], |row| row.get::<_, i64>(0))?;
        let joined = joined.collect::<Result<Vec<_>, _>>()?;
        for seq in first_of(db, self.id)?.into_iter().chain(joined) {
            if KeyBinding::at(db, key, seq)?.as_ref() == Some(self) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether its agent has made just this request, be it with another key.
    pub(super) fn is_asked_for(&self, db: &Connection, key: &ChainKey) -> Result<bool, StoreError> {
        let Some(seq) = first_of(db, self.id)? else { return Ok(false) };
        let Some(event) = asked_by(db, key, seq, &self.agent)? else { return Ok(false) };
        let body: Value = serde_json::from_str(&event.body)?;
        let same = body.get("digest").and_then(Value::as_str) == Some(&self.digest.hex());
        Ok(same && event.request_id == Some(self.id.to_string()))
    }
}

/// The number of the event that began a request, as its row says.
pub(super) fn first_of(db: &Connection, id: RequestId) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT seq FROM calls WHERE request_id = ?";
    Ok(db.prepare_cached(sql)?.query_row([id.to_string()], |row| row.get(0)).optional()?)
}

/// Event `seq`, if it is a proven request of this agent.
pub(super) fn asked_by(
    db: &Connection,
    key: &ChainKey,
    seq: i64,
    agent: &str,
) -> Result<Option<ChainEvent>, StoreError> {
    let event = proven(db, key, seq)?.filter(|event| event.kind == kind::REQUESTED);
    Ok(event.filter(|event| {
        let body: Value = serde_json::from_str(&event.body).unwrap_or_default();
        body.get("agent").and_then(Value::as_str) == Some(agent)
    }))
}

/// How long the last run remembered keys, in milliseconds. None when an older program made the record, which bound keys
/// of joined calls without an event; 0 when that cannot be told.
pub(super) fn kept_keys(db: &Connection, key: &ChainKey) -> Result<Option<u64>, StoreError> {
    let sql = "SELECT seq FROM events WHERE kind = 'started' ORDER BY seq DESC LIMIT 1";
    let seq: Option<i64> = db.query_row(sql, [], |row| row.get(0)).optional()?;
    let Some(seq) = seq else { return Ok(None) };
    let Some(event) = proven(db, key, seq)? else { return Ok(Some(0)) };
    let body: Value = serde_json::from_str(&event.body)?;
    Ok(body.get(KEEP_KEYS).and_then(Value::as_u64))
}

/// Whether the row of a result says what the record says of this request's end, which is event `finished`.
pub(super) fn vouches_for(
    (db, key): (&Connection, &ChainKey),
    id: &str,
    finished: Option<i64>,
    (outcome, data): (&str, Option<&str>),
) -> Result<bool, StoreError> {
    let Some(finished) = finished else { return Ok(false) };
    let Some(event) = proven(db, key, finished)? else { return Ok(false) };
    let Ok(mut body) = serde_json::from_str::<Value>(&event.body) else { return Ok(false) };
    if event.kind != kind::FINISHED || event.request_id.as_deref() != Some(id) {
        return Ok(false);
    }
    if is_result_of(outcome, data, &body) {
        return Ok(true);
    }
    let Some(note) = note_of(db, key, id)? else { return Ok(false) };
    if let Some(body) = body.as_object_mut() {
        body.entry("note").or_insert(note);
    }
    Ok(is_result_of(outcome, data, &body))
}

/// Whether the columns of a result say what a `finished` event says. Texts that only explain a reason are not compared:
/// another version may word them otherwise.
fn is_result_of(outcome: &str, data: Option<&str>, finished: &Value) -> bool {
    let recorded = |name: &str| finished.get(name).and_then(Value::as_str);
    if let Some(data) = data {
        let Ok(tag) = serde_json::from_str::<Value>(outcome) else { return false };
        let same = |kept: &str, name: &str| tag.get(kept) == finished.get(name);
        let digest = Digest::sha256(data.as_bytes()).hex();
        return same("is", "outcome")
            && recorded("outcome") == Some("executed")
            && recorded("result_digest") == Some(&digest)
            && same("lost", "data_lost")
            && same("note", "data_note")
            && same("edited", "edited");
    }
    let Ok(outcome) = codec::decode(outcome, None) else { return false };
    let of_the_service = matches!(outcome, Outcome::ServiceError { .. } | Outcome::CapabilityMissing { .. });
    let mut expected = codec::ending(&outcome);
    let mut finished = finished.as_object().cloned().unwrap_or_default();
    // Says what the agent may have read, which is no part of the outcome.
    finished.remove("read");
    for body in [&mut expected, &mut finished] {
        body.retain(|name, _| of_the_service || name != "message");
    }
    expected == finished
}

/// The reason that followed a denial.
fn note_of(db: &Connection, key: &ChainKey, id: &str) -> Result<Option<Value>, StoreError> {
    let sql = "SELECT seq FROM steps WHERE request_id = ? AND kind = 'noted'";
    let seq: Option<i64> = db.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?;
    let Some(event) = seq.map(|seq| proven(db, key, seq)).transpose()?.flatten() else { return Ok(None) };
    let fits = event.kind == kind::NOTED && event.request_id.as_deref() == Some(id);
    let body: Option<Value> = serde_json::from_str(&event.body).ok().filter(|_| fits);
    Ok(body.and_then(|body| body.get("note").cloned()))
}
