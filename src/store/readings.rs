//! What agents have read of data that counts as being with them. The events say it; the table beside them holds the latest
//! of each kind, so that a start need not read a year of events, nor loses what retention drops.

use rusqlite::{Connection, params};
use serde_json::Value;

use super::error::StoreError;
use super::kind;
use super::projection::Body;
use crate::base::clock::Timestamp;
use crate::model::{AgentId, Reading, Source};

/// Rows dropped per step of [`expire`].
const STEP: usize = 500;

/// No reading counts for longer, in days: the longest time of `data.remember`.
const MOST_DAYS: i64 = 400;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Rows of an agent. It names its sessions itself, so those that have read nothing for the longest time make room.
const MOST_ROWS: usize = 10_000;

/// The name of this projection.
pub(super) const NAME: &str = "readings";

/// Takes in an event: what was handed to an agent, `caller` where it was its call's; or that a person lets it be forgotten.
pub(super) fn fold(
    db: &Connection,
    (kind, at): (&str, Timestamp),
    body: &Body<'_>,
    caller: Option<&str>,
) -> Result<(), StoreError> {
    let agent = match kind {
        kind::FINISHED => caller,
        kind::READ => body.text("agent"),
        kind::FORGOTTEN => return body.text("agent").map_or(Ok(()), |agent| forget(db, agent)),
        _other => None,
    };
    let Some((agent, read)) = agent.zip(body.get("read")) else { return Ok(()) };
    let Some(source) = Source::of_json(read) else { return Ok(()) };
    let session = read.get("session").and_then(Value::as_str).map(Into::into);
    remember(db, &Reading { agent: AgentId::configured(agent), session, source, at })
}

/// Whether [`expire`] drops nothing that was read then by an agent with so many rows.
pub(super) fn must_stay(at: Timestamp, now: Timestamp, rows: usize) -> bool {
    at.0 >= now.0.saturating_sub(MOST_DAYS * DAY_MS) && rows <= MOST_ROWS
}

/// Remembers it, in place of an earlier one of the same data in the same session.
fn remember(db: &Connection, reading: &Reading) -> Result<(), StoreError> {
    let Reading { agent, session, source, at } = reading;
    let (session, source) = (session_text(session.as_deref()), source.to_json().to_string());
    let sql = "INSERT INTO readings (agent, session, source, at) VALUES (?, ?, ?, ?)
               ON CONFLICT DO UPDATE SET at = max(at, excluded.at)";
    db.prepare_cached(sql)?.execute(params![agent.as_str(), session, source, at.0])?;
    Ok(())
}

/// A name in quotes, or null: no session's name is taken for none.
fn session_text(session: Option<&str>) -> String {
    Value::from(session).to_string()
}

/// All that is remembered, the oldest first.
pub(super) fn read(db: &Connection) -> Result<Vec<Reading>, StoreError> {
    let mut statement = db.prepare("SELECT agent, session, source, at FROM readings ORDER BY at")?;
    let mut rows = statement.query([])?;
    let mut readings = Vec::new();
    while let Some(row) = rows.next()? {
        let (session, source): (String, String) = (row.get(1)?, row.get(2)?);
        let wrong = || StoreError::Corrupt(format!("a reading of {source} in session {session}"));
        let session: Option<String> = serde_json::from_str(&session).map_err(|_| wrong())?;
        let read = serde_json::from_str(&source).ok().as_ref().and_then(Source::of_json);
        readings.push(Reading {
            agent: AgentId::configured(&row.get::<_, String>(0)?),
            session: session.map(Into::into),
            source: read.ok_or_else(wrong)?,
            at: Timestamp(row.get(3)?),
        });
    }
    Ok(readings)
}

/// A person lets it be forgotten what this agent has read.
fn forget(db: &Connection, agent: &str) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM readings WHERE agent = ?")?.execute([agent])?;
    Ok(())
}

/// Drops some of what counts no more, and of what is too much; true when more may be left.
pub(super) fn expire(db: &Connection, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "DELETE FROM readings WHERE (agent, session, source) IN
               (SELECT agent, session, source FROM readings WHERE at < ? LIMIT ?)";
    let old = now.0.saturating_sub(MOST_DAYS * DAY_MS);
    let dropped = db.prepare_cached(sql)?.execute(params![old, STEP as i64])?;
    let sql = "DELETE FROM readings WHERE (agent, session, source) IN
               (SELECT agent, session, source FROM
                 (SELECT agent, session, source, row_number() OVER (PARTITION BY agent ORDER BY at DESC) AS place
                  FROM readings) WHERE place > ?)";
    db.prepare_cached(sql)?.execute([MOST_ROWS as i64])?;
    Ok(dropped == STEP)
}
