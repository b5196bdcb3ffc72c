//! What is counted under limits. The events of claims carry every charge; the table beside them holds what still counts,
//! so that a start need not read a year of events, nor loses what retention drops.

use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::Value;

use super::entry::LiveSessions;
use super::error::StoreError;
use super::kind;
use super::projection::Body;
use crate::base::clock::Timestamp;
use crate::base::decimal::Decimal;
use crate::base::digest::Digest;
use crate::model::{AgentId, Charge, Charging, CounterId, CounterKey, Part};

/// Rows dropped per step of [`expire`].
const STEP: usize = 500;

/// The name of this projection.
pub(super) const NAME: &str = "counters";

/// Takes in an event: what a claim charges, or that a limit counts anew.
pub(super) fn fold(db: &Connection, kind: &str, body: &Body, at: Timestamp) -> Result<(), StoreError> {
    match kind {
        kind::REQUESTED | kind::EXECUTING => {
            let charges = body.get("charges").and_then(Value::as_array);
            let charges: Vec<_> = charges.into_iter().flatten().filter_map(Charge::of_json).collect();
            charge(db, &charges, at)
        }
        kind::LIMIT_RESET => forget(db, body.text("of"), body.text("agent")),
        _other => Ok(()),
    }
}

/// Counts the charges of a claim that was made at `at`.
fn charge(db: &Connection, charges: &[Charge], at: Timestamp) -> Result<(), StoreError> {
    for charge in charges {
        let Charge { limit, counter, agent, part, how, anew } = charge;
        let (of, key) = (counter.limit.hex(), counter.key.to_json().to_string());
        if *anew {
            db.prepare_cached("DELETE FROM counters WHERE of = ? AND key = ?")?.execute(params![of, key])?;
        }
        let sql = "SELECT amount FROM counters WHERE of = ? AND key = ? AND until = ?";
        let kept: Option<String> =
            db.prepare_cached(sql)?.query_row(params![of, key, part.until.0], |row| row.get(0)).optional()?;
        let kept = kept.map(|text| amount(&text)).transpose()?;
        let amount = match (how, kept) {
            (Charging::Sum, kept) => {
                kept.unwrap_or_default().checked_add(part.amount).unwrap_or(Decimal::MAX)
            }
            (Charging::First, kept) => kept.map_or(part.amount, |kept| kept.min(part.amount)),
        };
        let sql = "INSERT OR REPLACE INTO counters (of, key, until, name, agent, amount, first, at)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        let first = *how == Charging::First;
        let name: &str = limit;
        let values = params![of, key, part.until.0, name, agent.as_str(), amount.to_string(), first, at.0];
        db.prepare_cached(sql)?.execute(values)?;
    }
    Ok(())
}

fn amount(text: &str) -> Result<Decimal, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt(format!("a counter holds {text}")))
}

/// What still counts, and when it was last charged.
pub(super) fn read(db: &Connection, now: Timestamp) -> Result<Vec<(Charge, Timestamp)>, StoreError> {
    let sql = "SELECT of, key, until, name, agent, amount, first, at FROM counters WHERE until > ? ORDER BY of, key";
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([now.0])?;
    let mut counted = Vec::new();
    // The parts of a counter follow each other.
    let mut before: Option<(String, String, CounterId)> = None;
    while let Some(row) = rows.next()? {
        let (of, key): (String, String) = (row.get(0)?, row.get(1)?);
        let counter = match before.take() {
            Some((last_of, last_key, counter)) if last_of == of && last_key == key => counter,
            _ => counter_of(&of, &key)?,
        };
        let part = Part { until: Timestamp(row.get(2)?), amount: amount(&row.get::<_, String>(5)?)? };
        let charge = Charge {
            limit: row.get::<_, String>(3)?.into(),
            counter: counter.clone(),
            agent: AgentId::configured(&row.get::<_, String>(4)?),
            part,
            how: if row.get(6)? { Charging::First } else { Charging::Sum },
            anew: false,
        };
        before = Some((of, key, counter));
        counted.push((charge, Timestamp(row.get(7)?)));
    }
    Ok(counted)
}

fn counter_of(of: &str, key: &str) -> Result<CounterId, StoreError> {
    let wrong = || StoreError::Corrupt(format!("a counter is called {of} {key}"));
    let json = serde_json::from_str(key).map_err(|_| wrong())?;
    let limit = Digest::parse(of).ok_or_else(wrong)?;
    Ok(CounterId { limit, key: CounterKey::of_json(&json).ok_or_else(wrong)? })
}

/// A limit counts anew: of this agent, or of all.
fn forget(db: &Connection, of: Option<&str>, agent: Option<&str>) -> Result<(), StoreError> {
    let sql = "DELETE FROM counters WHERE of = ?1 AND (?2 IS NULL OR key ->> '$.agent' = ?2)";
    db.prepare_cached(sql)?.execute(params![of, agent])?;
    Ok(())
}

/// Forgets sessions that were last charged before, but for those that live: calls that are not claimed keep them too. The
/// table has to be folded.
pub(super) fn end_sessions(
    db: &Connection,
    idle_since: Timestamp,
    live: &LiveSessions,
) -> Result<(), StoreError> {
    let sql = "SELECT DISTINCT key FROM counters WHERE at < ? AND json_type(key, '$.session') IS NOT NULL";
    let mut statement = db.prepare_cached(sql)?;
    let keys = statement.query_map([idle_since.0], |row| row.get::<_, String>(0))?;
    for text in keys.collect::<Result<Vec<_>, _>>()? {
        let key = serde_json::from_str(&text).ok().and_then(|json| CounterKey::of_json(&json));
        let session = key.and_then(|key| Some((key.agent?, key.session?)));
        if session.is_none_or(|session| !live.contains(&session)) {
            let sql = "DELETE FROM counters WHERE key = ? AND at < ?";
            db.prepare_cached(sql)?.execute(params![text, idle_since.0])?;
        }
    }
    Ok(())
}

/// Drops some of what counts no more; true when more may be left.
pub(super) fn expire(db: &Connection, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "DELETE FROM counters WHERE (of, key, until) IN
               (SELECT of, key, until FROM counters WHERE until <= ? LIMIT ?)";
    Ok(db.prepare_cached(sql)?.execute(params![now.0, STEP as i64])? == STEP)
}
