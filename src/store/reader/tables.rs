//! What is kept beside the events for those who come back: results and idempotency keys, against the events.

use std::time::Duration;

use rusqlite::Connection;

use super::fault::{Fault, FaultKind};
use crate::base::clock::{Clock, Timestamp};
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::store::chain::{self, ChainKey, ChainLink};
use crate::store::error::StoreError;
use crate::store::proof::{self, KeyBinding, asked_by, vouches_for};
use crate::store::{keys, schema, story};

/// The first row that the events, which are proven up to `last`, do not bear out.
pub(super) fn compare(db: &Connection, key: &ChainKey, last: ChainLink) -> Result<Option<Fault>, StoreError> {
    if let Some(fault) = results(db, key)? {
        return Ok(Some(fault));
    }
    if let Some(fault) = key_rows(db, key)? {
        return Ok(Some(fault));
    }
    missing_keys(db, key, last)
}

fn results(db: &Connection, key: &ChainKey) -> Result<Option<Fault>, StoreError> {
    let sql = "SELECT r.seq, r.agent, r.outcome, r.data, c.request_id, c.finished_seq
               FROM results r LEFT JOIN calls c ON c.seq = r.seq ORDER BY r.seq";
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (seq, agent): (i64, String) = (row.get(0)?, row.get(1)?);
        let (outcome, data): (String, Option<String>) = (row.get(2)?, row.get(3)?);
        let id = row.get::<_, Option<String>>(4)?.unwrap_or_default();
        let columns = (outcome.as_str(), data.as_deref());
        let asked = asked_by(db, key, seq, &agent)?.is_some();
        if !asked || !vouches_for((db, key), &id, row.get(5)?, columns)? {
            return Ok(Some(Fault::call(seq, id, FaultKind::ResultChanged)));
        }
    }
    Ok(None)
}

/// Rows of keys that no event binds. Those of calls that retention has dropped cannot be compared.
fn key_rows(db: &Connection, key: &ChainKey) -> Result<Option<Fault>, StoreError> {
    let some_dropped = chain::anchor(db)?.is_some();
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let mut statement = db.prepare("SELECT agent, key, request_id, digest FROM keys")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, digest): (String, String) = (row.get(2)?, row.get(3)?);
        let fault =
            |seq: Option<i64>| Fault { seq, request_id: Some(id.clone()), wrong: FaultKind::KeyChanged };
        let read = RequestId::parse(&id).zip(Digest::parse(&digest));
        let Some((id, digest)) = read else { return Ok(Some(fault(None))) };
        let binding = KeyBinding { agent: row.get(0)?, key: row.get(1)?, id, digest };
        let first = proof::first_of(db, id)?;
        let without_event = version < schema::EVERY_KEY_HAS_ITS_EVENT && binding.is_asked_for(db, key)?;
        let dropped = first.is_none() && some_dropped;
        if !dropped && !without_event && !binding.is_bound(db, key)? {
            return Ok(Some(fault(first)));
        }
    }
    Ok(None)
}

/// Keys that are to be remembered and have no row. A run tells for how long it remembers them.
fn missing_keys(db: &Connection, key: &ChainKey, last: ChainLink) -> Result<Option<Fault>, StoreError> {
    let Some(kept) = proof::kept_keys(db, key)?.map(Duration::from_millis) else { return Ok(None) };
    let newest = chain::event_at(db, last.seq)?.map_or(Timestamp(0), |event| Timestamp(event.at));
    let now = Clock::system().now().max(newest);
    let events = story::read((db, key), (now, kept), (last.seq, i64::MAX))?;
    for (KeyBinding { agent, key, id, digest }, _) in events.keys {
        let row = keys::row(db, &agent, &key)?;
        if row.is_none_or(|(kept, kept_digest, _)| kept != id.to_string() || kept_digest != digest.hex()) {
            let seq = proof::first_of(db, id)?;
            return Ok(Some(Fault { seq, request_id: Some(id.to_string()), wrong: FaultKind::KeyChanged }));
        }
    }
    Ok(None)
}
