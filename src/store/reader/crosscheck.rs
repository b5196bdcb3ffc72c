//! The rows of `calls` against the events they stand for. The chain proves the events; this proves that what the
//! lists filter by is what the events say.

use rusqlite::{Connection, OptionalExtension as _, Row};
use serde_json::Value;

use super::fault::{Fault, Wrong};
use crate::store::chain::Event;
use crate::store::counts;
use crate::store::error::StoreError;
use crate::store::ledger::kind;

/// What a request's row must say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Facts {
    seq: i64,
    at: i64,
    agent: Option<String>,
    session: Option<String>,
    tool: Option<String>,
    decision: Option<String>,
    resolution: Option<String>,
    resolved_by: Option<String>,
    resolved_at: Option<i64>,
    outcome: Option<String>,
    finished_at: Option<i64>,
    finished_seq: Option<i64>,
}

const COLUMNS: &str =
    "request_id, seq, at, agent, session, tool, decision, resolution, resolved_by, resolved_at,
  outcome, finished_at, finished_seq";

/// Compares every row; how many, and the first fault.
pub(super) fn calls(db: &Connection) -> Result<(u64, Option<Fault>), StoreError> {
    if let Some(fault) = missing_row(db)? {
        return Ok((0, Some(fault)));
    }
    let mut statement = db.prepare(&format!("SELECT {COLUMNS} FROM calls ORDER BY seq"))?;
    let mut rows = statement.query([])?;
    let mut checked = 0;
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let stored = stored(row)?;
        let wrong = match recorded(db, &id)? {
            Some(facts) => difference(&stored, &facts).map(|column| Wrong::CallChanged { column }),
            None => Some(Wrong::CallInvented),
        };
        if let Some(wrong) = wrong {
            return Ok((checked, Some(Fault::call(stored.seq, id, wrong))));
        }
        checked += 1;
    }
    let agree = !counts::are_kept(db)? || counts::agree(db)?;
    Ok((checked, (!agree).then(|| Fault::record(Wrong::CountsChanged))))
}

/// A request that was recorded, but has no row under its number.
fn missing_row(db: &Connection) -> Result<Option<Fault>, StoreError> {
    let sql = "SELECT e.seq, e.request_id FROM events e WHERE e.kind IN (?, ?) AND NOT EXISTS
               (SELECT 1 FROM calls c WHERE c.seq = e.seq AND c.request_id = e.request_id) ORDER BY e.seq LIMIT 1";
    let row = db.query_row(sql, [kind::REQUESTED, kind::REFUSED], |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(row.optional()?.map(|(seq, id)| Fault::call(seq, id, Wrong::CallMissing)))
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Facts> {
    Ok(Facts {
        seq: row.get(1)?,
        at: row.get(2)?,
        agent: row.get(3)?,
        session: row.get(4)?,
        tool: row.get(5)?,
        decision: row.get(6)?,
        resolution: row.get(7)?,
        resolved_by: row.get(8)?,
        resolved_at: row.get(9)?,
        outcome: row.get(10)?,
        finished_at: row.get(11)?,
        finished_seq: row.get(12)?,
    })
}

/// What the events of a request add up to; None when it never began.
fn recorded(db: &Connection, id: &str) -> Result<Option<Facts>, StoreError> {
    let sql = format!("SELECT {} FROM events WHERE request_id = ? ORDER BY seq", Event::COLUMNS);
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query([id])?;
    let mut facts = None;
    while let Some(row) = rows.next()? {
        let event = Event::read(row)?;
        let body = serde_json::from_str(&event.body)?;
        match (event.kind.as_str(), &mut facts) {
            (kind::REQUESTED | kind::REFUSED, None) => facts = Some(beginning(&event, &body)),
            (_, Some(facts)) => fold(facts, &event, &body),
            (_, None) => return Ok(None),
        }
    }
    Ok(facts)
}

fn beginning(event: &Event, body: &Value) -> Facts {
    let refused = event.kind == kind::REFUSED;
    Facts {
        seq: event.seq,
        at: event.at,
        agent: text(body, "agent"),
        session: text(body, "session"),
        tool: text(body, "tool"),
        decision: text(body, "decision"),
        outcome: if refused { text(body, "outcome") } else { Some("pending".into()) },
        finished_at: refused.then_some(event.at),
        finished_seq: refused.then_some(event.seq),
        ..Facts::default()
    }
}

fn fold(facts: &mut Facts, event: &Event, body: &Value) {
    match event.kind.as_str() {
        kind::ANSWERED => {
            facts.resolution = text(body, "resolution");
            facts.resolved_by = text(body, "by");
            facts.resolved_at = Some(event.at);
        }
        kind::FINISHED => {
            facts.outcome = text(body, "outcome");
            facts.finished_at = Some(event.at);
            facts.finished_seq = Some(event.seq);
        }
        // `executing` and `noted` change no column; nothing else belongs to a request.
        _other => {}
    }
}

fn text(body: &Value, name: &str) -> Option<String> {
    body.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// The first column in which they differ.
fn difference(stored: &Facts, recorded: &Facts) -> Option<&'static str> {
    let equal = [
        ("seq", stored.seq == recorded.seq),
        ("at", stored.at == recorded.at),
        ("agent", stored.agent == recorded.agent),
        ("session", stored.session == recorded.session),
        ("tool", stored.tool == recorded.tool),
        ("decision", stored.decision == recorded.decision),
        ("resolution", stored.resolution == recorded.resolution),
        ("resolved_by", stored.resolved_by == recorded.resolved_by),
        ("resolved_at", stored.resolved_at == recorded.resolved_at),
        ("outcome", stored.outcome == recorded.outcome),
        ("finished_at", stored.finished_at == recorded.finished_at),
        ("finished_seq", stored.finished_seq == recorded.finished_seq),
    ];
    equal.into_iter().find(|(_, equal)| !equal).map(|(column, _)| column)
}
