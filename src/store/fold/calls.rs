//! `calls`: one row per request, under the number of its first event. A row is written once per batch, whatever has
//! become of its call in it.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row, ToSql, params};

use crate::store::error::StoreError;
use crate::store::kind;
use crate::store::projection::{Event, Projection, Subject};

/// A row as it will be written.
struct CallRow {
    seq: i64,
    at: i64,
    agent: Arc<str>,
    session: Option<String>,
    tool: Arc<str>,
    decision: Option<String>,
    resolution: Option<String>,
    resolved_by: Option<String>,
    resolved_at: Option<i64>,
    outcome: String,
    finished_at: Option<i64>,
    finished_seq: Option<i64>,
    /// Begun in this batch: there is no row of it.
    new: bool,
    /// Whether an idempotency key may stand for it.
    keyed: bool,
}

/// The rows that a batch makes or changes, by request.
#[derive(Default)]
pub(super) struct Calls {
    changed: HashMap<String, CallRow>,
}

impl CallRow {
    fn begin(event: &Event<'_>) -> CallRow {
        let owned = |name| event.text(name).map(str::to_owned);
        CallRow {
            seq: event.seq,
            at: event.at.0,
            agent: event.text("agent").unwrap_or_default().into(),
            session: owned("session"),
            tool: event.text("tool").unwrap_or_default().into(),
            decision: owned("decision"),
            resolution: None,
            resolved_by: None,
            resolved_at: None,
            outcome: "pending".into(),
            finished_at: None,
            finished_seq: None,
            new: true,
            keyed: event.text("key").is_some(),
        }
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<CallRow> {
        Ok(CallRow {
            seq: row.get(0)?,
            at: row.get(1)?,
            agent: row.get(2)?,
            session: row.get(3)?,
            tool: row.get(4)?,
            decision: row.get(5)?,
            resolution: row.get(6)?,
            resolved_by: row.get(7)?,
            resolved_at: row.get(8)?,
            outcome: row.get(9)?,
            finished_at: row.get(10)?,
            finished_seq: row.get(11)?,
            new: false,
            keyed: true,
        })
    }

    fn answer(&mut self, event: &Event<'_>) {
        self.resolution = event.text("resolution").map(str::to_owned);
        self.resolved_by = event.text("by").map(str::to_owned);
        self.resolved_at = Some(event.at.0);
    }

    fn end(&mut self, event: &Event<'_>) {
        self.outcome = event.text("outcome").unwrap_or("unknown").to_owned();
        self.finished_at = Some(event.at.0);
        self.finished_seq = Some(event.seq);
    }

    fn write(&self, db: &Connection, id: &str) -> Result<(), StoreError> {
        let row = self;
        if row.new {
            let values = params![
                row.seq,
                id,
                row.at,
                row.agent,
                row.session,
                row.tool,
                row.decision,
                row.resolution,
                row.resolved_by,
                row.resolved_at,
                row.outcome,
                row.finished_at,
                row.finished_seq
            ];
            // A statement that may replace rows keeps a copy of every page that it changes, and hardly ever is there one.
            return match insert(db, "", values) {
                Err(rusqlite::Error::SqliteFailure(why, _)) if why.code == ErrorCode::ConstraintViolation => {
                    Ok(insert(db, "OR REPLACE", values)?)
                }
                inserted => Ok(inserted?),
            };
        }
        let sql =
            "UPDATE calls SET resolution = ?, resolved_by = ?, resolved_at = ?, outcome = ?, finished_at = ?,
                   finished_seq = ? WHERE seq = ?";
        let values = params![
            row.resolution,
            row.resolved_by,
            row.resolved_at,
            row.outcome,
            row.finished_at,
            row.finished_seq,
            row.seq
        ];
        db.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }
}

fn insert(db: &Connection, how: &str, values: &[&dyn ToSql]) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT {how} INTO calls (seq, request_id, at, agent, session, tool, decision, resolution, resolved_by,
         resolved_at, outcome, finished_at, finished_seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    );
    db.prepare_cached(&sql)?.execute(values)?;
    Ok(())
}

impl Calls {
    /// The call of an event that was folded here already.
    pub(super) fn subject(&self, db: &Connection, event: &Event<'_>) -> Result<Option<Subject>, StoreError> {
        let Some(id) = event.request_id else { return Ok(None) };
        if let Some(row) = self.changed.get(id) {
            let (agent, tool) = (row.agent.clone(), row.tool.clone());
            return Ok(Some(Subject { seq: row.seq, agent, tool, keyed: row.keyed }));
        }
        let sql = "SELECT seq, agent, tool FROM calls WHERE request_id = ?";
        let read = |row: &Row<'_>| {
            Ok(Subject { seq: row.get(0)?, agent: row.get(1)?, tool: row.get(2)?, keyed: true })
        };
        Ok(db.prepare_cached(sql)?.query_row([id], read).optional()?)
    }

    /// The row of a call that began earlier.
    fn change(
        &mut self,
        db: &Connection,
        id: &str,
        with: impl FnOnce(&mut CallRow),
    ) -> Result<(), StoreError> {
        if let Some(row) = self.changed.get_mut(id) {
            with(row);
            return Ok(());
        }
        let sql =
            "SELECT seq, at, agent, session, tool, decision, resolution, resolved_by, resolved_at, outcome,
                   finished_at, finished_seq FROM calls WHERE request_id = ?";
        let row = db.prepare_cached(sql)?.query_row([id], CallRow::read).optional()?;
        if let Some(mut row) = row {
            with(&mut row);
            self.changed.insert(id.to_owned(), row);
        }
        Ok(())
    }
}

impl Projection for Calls {
    fn name(&self) -> &'static str {
        "calls"
    }

    fn fold(&mut self, db: &Connection, event: &Event<'_>, _: Option<&Subject>) -> Result<(), StoreError> {
        let Some(id) = event.request_id else { return Ok(()) };
        match event.kind {
            kind::REQUESTED => drop(self.changed.insert(id.to_owned(), CallRow::begin(event))),
            kind::REFUSED => {
                let mut row = CallRow::begin(event);
                row.end(event);
                self.changed.insert(id.to_owned(), row);
            }
            kind::ANSWERED => self.change(db, id, |row| row.answer(event))?,
            kind::FINISHED => self.change(db, id, |row| row.end(event))?,
            kind::JOINED => self.changed.get_mut(id).into_iter().for_each(|row| row.keyed = true),
            _other => {}
        }
        Ok(())
    }

    fn write(&mut self, db: &Connection, _: i64, _: i64) -> Result<(), StoreError> {
        let mut rows: Vec<_> = self.changed.drain().collect();
        rows.sort_unstable_by_key(|(_, row)| row.seq);
        rows.iter().try_for_each(|(id, row)| row.write(db, id))
    }

    fn clear(&mut self, db: &Connection) -> Result<bool, StoreError> {
        db.execute("DELETE FROM calls", [])?;
        Ok(true)
    }

    fn forget(&mut self) {
        self.changed.clear();
    }
}
