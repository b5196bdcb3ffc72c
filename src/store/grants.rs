//! Grants in the record. Events say which were given, used and ended; the table beside them says where to look: a start
//! believes a grant only as far as proven events tell of it and of every use since.

use rusqlite::{Connection, params};
use serde_json::{Value, json};

use super::entry::KeptGrant;
use super::error::StoreError;
use super::kind;
use super::projection::Body;
use crate::base::clock::{Timestamp, Uptime, boot_id};
use crate::model::{Grant, GrantEnd, GrantUse};

/// The name of this projection.
pub(super) const NAME: &str = "grants";

/// Ended grants that a start shows.
const MOST_SHOWN: usize = 1000;

/// The member `grant` of the event of a claim.
pub(super) fn used(used: GrantUse) -> Value {
    json!({"grant_id": used.id.to_string(), "uses": used.uses})
}

/// What the event of a claim says of the grant that let it through: which, and how often it was used.
pub(super) fn use_in(grant: &Value) -> Option<(&str, u32)> {
    let uses = grant.get("uses")?.as_u64().and_then(|uses| u32::try_from(uses).ok())?;
    Some((grant.get("grant_id")?.as_str()?, uses))
}

/// A grant as its event has it.
pub(super) fn of_event(body: &Value) -> Option<KeptGrant> {
    let grant = Grant::of_json(body.get("grant")?)?;
    let boot = body.get("boot").and_then(Value::as_str);
    let is_this_boot = boot.is_some() && boot == boot_id().as_deref();
    let ends_up = body.get("ends_up").and_then(Value::as_i64).map(Uptime).filter(|_| is_this_boot);
    Some(KeptGrant { grant, used: 0, end: None, ends_up })
}

/// Takes in an event.
pub(super) fn fold(
    db: &Connection,
    (seq, kind, at): (i64, &str, Timestamp),
    body: &Body<'_>,
) -> Result<(), StoreError> {
    match kind {
        kind::GRANTED => {
            let Some(grant) = body.get("grant") else { return Ok(()) };
            let id = grant.get("grant_id").and_then(Value::as_str);
            let until = grant.get("until").and_then(Value::as_i64);
            let sql =
                "INSERT OR REPLACE INTO grants (grant_id, seq, body, until, used) VALUES (?, ?, ?, ?, 0)";
            if let Some((id, until)) = id.zip(until) {
                db.prepare_cached(sql)?.execute(params![id, seq, grant.to_string(), until])?;
            }
        }
        kind::REQUESTED => {
            if let Some((id, uses)) = body.get("grant").and_then(use_in) {
                let sql = "UPDATE grants SET used = used + ? WHERE grant_id = ?";
                db.prepare_cached(sql)?.execute(params![uses, id])?;
            }
        }
        kind::GRANT_ENDED => {
            let sql = "UPDATE grants SET ended = ?, ended_by = ?, ended_at = ?
                       WHERE grant_id = ? AND ended IS NULL";
            let values = params![body.text("why"), body.text("by"), at.0, body.text("grant_id")];
            db.prepare_cached(sql)?.execute(values)?;
        }
        _other => {}
    }
    Ok(())
}

/// The number of the event with which the oldest grant began that may last.
pub(super) fn oldest(db: &Connection) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT min(seq) FROM grants WHERE ended IS NULL";
    Ok(db.query_row(sql, [], |row| row.get(0))?)
}

/// Those that may last as the table has it, by id.
pub(super) fn unended(db: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = db.prepare("SELECT grant_id FROM grants WHERE ended IS NULL")?;
    let ids = statement.query_map([], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// The newest of those that have ended, for people.
pub(super) fn ended(db: &Connection) -> Result<Vec<KeptGrant>, StoreError> {
    let sql = "SELECT body, used, ended, ended_by, ended_at FROM grants WHERE ended IS NOT NULL
               ORDER BY ended_at DESC LIMIT ?";
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([MOST_SHOWN as i64])?;
    let mut ended = Vec::new();
    while let Some(row) = rows.next()? {
        let body: String = row.get(0)?;
        let grant = serde_json::from_str(&body).ok().as_ref().and_then(Grant::of_json);
        let (word, by): (String, Option<String>) = (row.get(2)?, row.get(3)?);
        let end = Some((GrantEnd::recorded(&word, by.as_deref()), Timestamp(row.get(4)?)));
        let used = row.get(1)?;
        ended.extend(grant.map(|grant| KeptGrant { grant, used, end, ends_up: None }));
    }
    Ok(ended)
}
