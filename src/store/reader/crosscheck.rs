//! The rows of `calls` against the events they stand for. The chain proves the events; this proves that what the
//! lists filter by is what the events say.

use std::collections::{BTreeMap, HashMap};

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::Value;

use super::counters;
use super::fault::{Fault, FaultKind};
use super::grants;
use super::life::CallLife;
use super::readings;
use super::stops;
use crate::store::chain::parse_id;
use crate::store::chain::{self, ChainEvent};
use crate::store::counts;
use crate::store::error::StoreError;
use crate::store::kind;
use crate::store::questions::{AskedCall, QuestionRow};

/// The columns of a row of `calls` that events speak of, in the order in which a difference is looked for.
const COLUMNS: [&str; 12] = [
    "seq",
    "at",
    "agent",
    "session",
    "tool",
    "decision",
    "resolution",
    "resolved_by",
    "resolved_at",
    "outcome",
    "finished_at",
    "finished_seq",
];

/// What a request's row says, or must say, by column; one that is not set is null.
type Columns = BTreeMap<&'static str, Sql>;

/// What the events of a call have said so far, and its row.
struct Begun {
    seq: i64,
    request_id: String,
    recorded: Columns,
    stored: Columns,
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
    let fault = fault.or_else(|| (!agree).then(|| Fault::record(FaultKind::CountsChanged)));
    let agree = fault.is_some() || counters::agree(db)?;
    let fault = fault.or_else(|| (!agree).then(|| Fault::record(FaultKind::CountersChanged)));
    let agree = fault.is_some() || stops::agree(db)?;
    let fault = fault.or_else(|| (!agree).then(|| Fault::record(FaultKind::StopsChanged)));
    let agree = fault.is_some() || grants::agree(db)?;
    let fault = fault.or_else(|| (!agree).then(|| Fault::record(FaultKind::GrantsChanged)));
    let agree = fault.is_some() || readings::agree(db)?;
    Ok((walk.calls, fault.or_else(|| (!agree).then(|| Fault::record(FaultKind::ReadingsChanged)))))
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
        match chain::find_event(db, "request_id IS NOT NULL", |event| self.step(db, event))? {
            Some(fault) => Ok(Some(fault)),
            None => self.still_open(db),
        }
    }

    /// What has begun and not ended, oldest first, against its row in `open_calls`; and rows of nothing that is open.
    fn still_open(&self, db: &Connection) -> Result<Option<Fault>, StoreError> {
        let mut begun: Vec<_> = self.under_way.values().collect();
        begun.sort_unstable_by_key(|call| call.seq);
        for call in begun {
            if let Some(fault) = difference(call) {
                return Ok(Some(fault));
            }
            if let Some(wrong) = open_difference(db, call)? {
                return Ok(Some(Fault::call(call.seq, call.request_id.clone(), wrong)));
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
                    Begun {
                        seq: event.seq,
                        request_id: id.to_owned(),
                        recorded: beginning(event)?,
                        stored,
                        life: CallLife::begin(event)?,
                    }
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
        if !call.recorded.contains_key("finished_seq") {
            self.under_way.insert(id.to_owned(), call);
            return Ok(None);
        }
        Ok(difference(&call))
    }

    /// A note comes after the end, and sometimes one more key or the agent's report. What began before the first event
    /// that is kept has no row any more.
    fn after_the_end(&self, db: &Connection, event: &ChainEvent) -> Result<Option<Fault>, StoreError> {
        let after = [kind::NOTED, kind::JOINED, kind::REPORTED, kind::TAMPERED];
        if after.contains(&event.kind.as_str()) {
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
    let Begun { request_id, seq, recorded, .. } = call;
    let sql = format!("SELECT {} FROM open_calls WHERE request_id = ? AND seq = ?", QuestionRow::COLUMNS);
    let row = db.prepare_cached(&sql)?.query_row(params![request_id, seq], QuestionRow::read).optional()?;
    let Some(row) = row else { return Ok(Some(FaultKind::OpenMissing)) };
    if call.life.is_executing() {
        return Ok((row.state != "executing").then_some(FaultKind::OpenChanged { column: "state" }));
    }
    let Some(event) = chain::event_at(db, *seq)? else { return Ok(Some(FaultKind::OpenMissing)) };
    let approved_by = match (recorded.get("resolution"), recorded.get("resolved_by")) {
        (Some(Sql::Text(resolution)), Some(Sql::Text(by))) if resolution == "approved" => Some(by.clone()),
        _ => None,
    };
    let (id, body) = (parse_id(request_id)?, serde_json::from_str(&event.body)?);
    // What an edit says stands in its event alone, and so does who has said yes.
    let asked = AskedCall { id, body, event, edits: Vec::new(), approved_by, counted: Vec::new() };
    Ok(asked.difference(&row).map(|column| FaultKind::OpenChanged { column }))
}

/// The row of the call that begins with this event.
fn row_of(db: &Connection, event: &ChainEvent) -> Result<Option<Columns>, StoreError> {
    let sql = format!("SELECT {} FROM calls WHERE seq = ? AND request_id = ?", COLUMNS.join(", "));
    let read = |row: &Row<'_>| COLUMNS.into_iter().map(|name| Ok((name, row.get(name)?))).collect();
    Ok(db.prepare_cached(&sql)?.query_row(params![event.seq, event.request_id], read).optional()?)
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

fn beginning(event: &ChainEvent) -> Result<Columns, StoreError> {
    let body = serde_json::from_str(&event.body)?;
    let mut columns = Columns::from([("seq", event.seq.into()), ("at", event.at.into())]);
    for name in ["agent", "session", "tool", "decision"] {
        columns.insert(name, text(&body, name));
    }
    match event.kind == kind::REFUSED {
        true => end(&mut columns, &body, event),
        false => drop(columns.insert("outcome", "pending".to_owned().into())),
    }
    Ok(columns)
}

fn fold(columns: &mut Columns, event: &ChainEvent) -> Result<(), StoreError> {
    match event.kind.as_str() {
        kind::ANSWERED => {
            let body = serde_json::from_str(&event.body)?;
            let answered = [
                ("resolution", text(&body, "resolution")),
                ("resolved_by", text(&body, "by")),
                ("resolved_at", event.at.into()),
            ];
            columns.extend(answered);
        }
        kind::FINISHED => end(columns, &serde_json::from_str(&event.body)?, event),
        // `executing` and `noted` change no column; what begins a call is known already.
        _other => {}
    }
    Ok(())
}

fn end(columns: &mut Columns, body: &Value, event: &ChainEvent) {
    let ended = [
        ("outcome", text(body, "outcome")),
        ("finished_at", event.at.into()),
        ("finished_seq", event.seq.into()),
    ];
    columns.extend(ended);
}

fn text(body: &Value, name: &str) -> Sql {
    body.get(name).and_then(Value::as_str).map_or(Sql::Null, |text| text.to_owned().into())
}

/// The first column in which row and events differ.
fn difference(Begun { seq, request_id, recorded, stored, .. }: &Begun) -> Option<Fault> {
    let null = Sql::Null;
    let differs = |name: &&str| stored.get(name).unwrap_or(&null) != recorded.get(name).unwrap_or(&null);
    let column = COLUMNS.into_iter().find(differs)?;
    Some(Fault::call(*seq, request_id.clone(), FaultKind::CallChanged { column }))
}
