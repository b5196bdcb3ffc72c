//! The rows of `calls` against the events they stand for. The chain proves the events; this proves that what the
//! lists filter by is what the events say.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::Value;

use super::fault::{Fault, FaultKind};
use super::life::CallLife;
use crate::store::chain::parse_id;
use crate::store::chain::{self, ChainEvent};
use crate::store::counts;
use crate::store::error::StoreError;
use crate::store::kind;
use crate::store::questions::{AskedCall, QuestionRow};

/// What a request's row must say.
#[derive(Debug, Default, PartialEq, Eq)]
struct RowFacts {
    request_id: String,
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

/// What the events of a call have said so far, and its row.
struct Begun {
    recorded: RowFacts,
    stored: RowFacts,
    life: CallLife,
}

/// Compares every row; how many, and the first fault.
pub(super) fn calls(db: &Connection) -> Result<(u64, Option<Fault>), StoreError> {
    let mut walk = CallWalk::default();
    let fault = match walk.all_events(db)? {
        Some(fault) => Some(fault),
        None => invented(db, walk.calls)?,
    };
    let agree = fault.is_some() || !counts::are_kept(db)? || counts::agree(db)?;
    Ok((walk.calls, fault.or_else(|| (!agree).then(|| Fault::record(FaultKind::CountsChanged)))))
}

/// Goes through the events once. It keeps in mind the calls that were under way at that point, which are few however
/// long the record is.
#[derive(Default)]
struct CallWalk {
    under_way: HashMap<String, Begun>,
    calls: u64,
}

impl CallWalk {
    fn all_events(&mut self, db: &Connection) -> Result<Option<Fault>, StoreError> {
        let sql =
            format!("SELECT {} FROM events WHERE request_id IS NOT NULL ORDER BY seq", ChainEvent::COLUMNS);
        let mut statement = db.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let event = ChainEvent::read(row)?;
            if let Some(fault) = self.step(db, &event)? {
                return Ok(Some(fault));
            }
        }
        self.still_open(db)
    }

    /// What has begun and not ended, oldest first, against its row in `open_calls`; and rows of nothing that is open.
    fn still_open(&self, db: &Connection) -> Result<Option<Fault>, StoreError> {
        let mut begun: Vec<_> = self.under_way.values().collect();
        begun.sort_unstable_by_key(|call| call.recorded.seq);
        for call in begun {
            if let Some(fault) = difference(call) {
                return Ok(Some(fault));
            }
            if let Some(wrong) = open_difference(db, call)? {
                return Ok(Some(Fault::call(call.recorded.seq, call.recorded.request_id.clone(), wrong)));
            }
        }
        let mut statement = db.prepare("SELECT seq, request_id FROM open_calls ORDER BY seq")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id: String = row.get(1)?;
            if !self.under_way.contains_key(&id) {
                return Ok(Some(Fault::call(row.get(0)?, id, FaultKind::OpenInvented)));
            }
        }
        Ok(None)
    }

    fn step(&mut self, db: &Connection, event: &ChainEvent) -> Result<Option<Fault>, StoreError> {
        let id = event.request_id.as_deref().unwrap_or_default();
        let mut call = match event.kind.as_str() {
            kind::REQUESTED | kind::REFUSED => match row_of(db, event)? {
                Some(stored) => {
                    self.calls += 1;
                    Begun { recorded: beginning(event)?, stored, life: CallLife::begin(event)? }
                }
                None => return Ok(Some(Fault::call(event.seq, id.to_owned(), FaultKind::CallMissing))),
            },
            _later => match self.under_way.remove(id) {
                Some(begun) => begun,
                None => return self.after_the_end(db, event),
            },
        };
        if let Some(wrong) = call.life.step(event)? {
            return Ok(Some(Fault::call(event.seq, id.to_owned(), wrong)));
        }
        fold(&mut call.recorded, event)?;
        if call.recorded.finished_seq.is_none() {
            self.under_way.insert(id.to_owned(), call);
            return Ok(None);
        }
        Ok(difference(&call))
    }

    /// A note comes after the end, and sometimes one more key. What began before the first event that is kept has no
    /// row any more.
    fn after_the_end(&self, db: &Connection, event: &ChainEvent) -> Result<Option<Fault>, StoreError> {
        if event.kind == kind::NOTED || event.kind == kind::JOINED || event.kind == kind::TAMPERED {
            return Ok(None);
        }
        let sql = "SELECT EXISTS (SELECT 1 FROM calls WHERE request_id = ?)";
        let ended: bool = db.prepare_cached(sql)?.query_row([&event.request_id], |row| row.get(0))?;
        let id = event.request_id.clone().unwrap_or_default();
        let wrong = FaultKind::OutOfOrder { kind: event.kind.clone() };
        Ok(ended.then(|| Fault::call(event.seq, id, wrong)))
    }
}

/// What is wrong with the row of an open call.
fn open_difference(db: &Connection, call: &Begun) -> Result<Option<FaultKind>, StoreError> {
    let RowFacts { request_id, seq, resolution, resolved_by, .. } = &call.recorded;
    let sql = format!("SELECT {} FROM open_calls WHERE request_id = ? AND seq = ?", QuestionRow::COLUMNS);
    let row = db.prepare_cached(&sql)?.query_row(params![request_id, seq], QuestionRow::read).optional()?;
    let Some(row) = row else { return Ok(Some(FaultKind::OpenMissing)) };
    if call.life.is_executing() {
        return Ok((row.state != "executing").then_some(FaultKind::OpenChanged { column: "state" }));
    }
    let Some(event) = chain::event_at(db, *seq)? else { return Ok(Some(FaultKind::OpenMissing)) };
    let asked = AskedCall {
        id: parse_id(request_id)?,
        body: serde_json::from_str(&event.body)?,
        event,
        approved_by: resolved_by.clone().filter(|_| resolution.as_deref() == Some("approved")),
    };
    Ok(asked.difference(&row).map(|column| FaultKind::OpenChanged { column }))
}

/// The row of the call that begins with this event.
fn row_of(db: &Connection, event: &ChainEvent) -> Result<Option<RowFacts>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM calls WHERE seq = ? AND request_id = ?");
    Ok(db.prepare_cached(&sql)?.query_row(params![event.seq, event.request_id], stored).optional()?)
}

/// A row that no event speaks of, where there are more than the events have begun.
fn invented(db: &Connection, begun: u64) -> Result<Option<Fault>, StoreError> {
    let rows: i64 = db.query_row("SELECT count(*) FROM calls", [], |row| row.get(0))?;
    if u64::try_from(rows) == Ok(begun) {
        return Ok(None);
    }
    let sql =
        "SELECT seq, request_id FROM calls c WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.seq = c.seq
               AND e.request_id = c.request_id AND e.kind IN (?, ?)) ORDER BY seq LIMIT 1";
    let row = db.query_row(sql, [kind::REQUESTED, kind::REFUSED], |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(row.optional()?.map(|(seq, id)| Fault::call(seq, id, FaultKind::CallInvented)))
}

fn stored(row: &Row<'_>) -> rusqlite::Result<RowFacts> {
    Ok(RowFacts {
        request_id: row.get(0)?,
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

fn beginning(event: &ChainEvent) -> Result<RowFacts, StoreError> {
    let (body, refused) = (&serde_json::from_str(&event.body)?, event.kind == kind::REFUSED);
    Ok(RowFacts {
        request_id: event.request_id.clone().unwrap_or_default(),
        seq: event.seq,
        at: event.at,
        agent: text(body, "agent"),
        session: text(body, "session"),
        tool: text(body, "tool"),
        decision: text(body, "decision"),
        outcome: if refused { text(body, "outcome") } else { Some("pending".into()) },
        finished_at: refused.then_some(event.at),
        finished_seq: refused.then_some(event.seq),
        ..RowFacts::default()
    })
}

fn fold(facts: &mut RowFacts, event: &ChainEvent) -> Result<(), StoreError> {
    match event.kind.as_str() {
        kind::ANSWERED => {
            let body = serde_json::from_str(&event.body)?;
            facts.resolution = text(&body, "resolution");
            facts.resolved_by = text(&body, "by");
            facts.resolved_at = Some(event.at);
        }
        kind::FINISHED => {
            facts.outcome = text(&serde_json::from_str(&event.body)?, "outcome");
            facts.finished_at = Some(event.at);
            facts.finished_seq = Some(event.seq);
        }
        // `executing` and `noted` change no column; what begins a call is known already.
        _other => {}
    }
    Ok(())
}

fn text(body: &Value, name: &str) -> Option<String> {
    body.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// The first column in which row and events differ.
fn difference(Begun { recorded, stored, .. }: &Begun) -> Option<Fault> {
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
    let (column, _) = equal.into_iter().find(|(_, equal)| !equal)?;
    Some(Fault::call(stored.seq, stored.request_id.clone(), FaultKind::CallChanged { column }))
}
