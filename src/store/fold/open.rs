//! `open_calls`: the calls that have not ended. The row of a question is no projection: it is made and wiped with the
//! question's own events, because it alone has the arguments in clear. Here it only learns what was answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, params};

use crate::store::error::StoreError;
use crate::store::kind;
use crate::store::projection::{Event, Projection, Subject};

/// A call that is being executed.
struct ExecutingRow {
    seq: i64,
    agent: Arc<str>,
    tool: Arc<str>,
    binding: String,
    key: Option<String>,
    created: i64,
    /// It may have a row from when it was a question.
    asked: bool,
}

/// The calls of a batch that have begun to be executed and not ended, by request.
#[derive(Default)]
pub(super) struct Open {
    executing: BTreeMap<String, ExecutingRow>,
}

impl Open {
    fn begin(&mut self, id: &str, event: &Event<'_>, call: &Subject) {
        let owned = |name| event.text(name).map(str::to_owned);
        let row = ExecutingRow {
            seq: call.seq,
            agent: call.agent.clone(),
            tool: call.tool.clone(),
            binding: owned("binding").unwrap_or_default(),
            key: owned("key"),
            created: event.at.0,
            asked: event.kind == kind::EXECUTING,
        };
        self.executing.insert(id.to_owned(), row);
    }
}

impl Projection for Open {
    fn name(&self) -> &'static str {
        "open_calls"
    }

    fn fold(&mut self, db: &Connection, event: &Event<'_>, call: Option<&Subject>) -> Result<(), StoreError> {
        let (Some(id), Some(call)) = (event.request_id, call) else { return Ok(()) };
        match event.kind {
            kind::REQUESTED if event.text("then") == Some("executing") => self.begin(id, event, call),
            kind::EXECUTING => self.begin(id, event, call),
            kind::ANSWERED if event.text("resolution") == Some("approved") => {
                let sql = "UPDATE open_calls SET state = 'approved', approved_by = ?
                           WHERE request_id = ? AND state = 'open'";
                db.prepare_cached(sql)?.execute(params![event.text("by"), id])?;
            }
            kind::FINISHED => {
                let begun_here = self.executing.remove(id).is_some_and(|row| !row.asked);
                if !begun_here {
                    db.prepare_cached("DELETE FROM open_calls WHERE request_id = ?")?.execute([id])?;
                }
            }
            _other => {}
        }
        Ok(())
    }

    fn write(&mut self, db: &Connection, _: i64, _: i64) -> Result<(), StoreError> {
        let sql =
            "INSERT INTO open_calls (request_id, seq, agent, tool, binding, key, created, expires, state)
                   VALUES (?, ?, ?, ?, ?, ?, ?, 0, 'executing')
                   ON CONFLICT DO UPDATE SET state = 'executing', args = NULL WHERE state <> 'executing'";
        let mut insert = db.prepare_cached(sql)?;
        for (id, row) in &self.executing {
            let ExecutingRow { seq, agent, tool, binding, key, created, asked: _ } = row;
            insert.execute(params![id, seq, agent, tool, binding, key, created])?;
        }
        self.executing.clear();
        Ok(())
    }

    fn clear(&mut self, db: &Connection) -> Result<bool, StoreError> {
        db.execute("DELETE FROM open_calls WHERE state = 'executing'", [])?;
        db.execute("UPDATE open_calls SET state = 'open', approved_by = NULL WHERE state = 'approved'", [])?;
        Ok(true)
    }

    fn forget(&mut self) {
        self.executing.clear();
    }
}
