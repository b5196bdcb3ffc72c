//! `steps`: the events of a call between its first and its last, which `calls` knows. An index of the events themselves
//! would be one more page that each of these events writes.

use rusqlite::{Connection, params};

use crate::store::error::StoreError;
use crate::store::kind;
use crate::store::projection::{Event, Projection, Subject};

pub(super) struct Steps;

impl Projection for Steps {
    fn name(&self) -> &'static str {
        "steps"
    }

    fn fold(&mut self, db: &Connection, event: &Event<'_>, _: Option<&Subject>) -> Result<(), StoreError> {
        let Some(id) = event.request_id.filter(|_| kind::STEPS.contains(&event.kind)) else { return Ok(()) };
        let sql = "INSERT OR REPLACE INTO steps (request_id, seq, kind) VALUES (?, ?, ?)";
        db.prepare_cached(sql)?.execute(params![id, event.seq, event.kind])?;
        Ok(())
    }

    fn write(&mut self, _: &Connection, _: i64, _: i64) -> Result<(), StoreError> {
        Ok(())
    }

    fn clear(&mut self, db: &Connection) -> Result<bool, StoreError> {
        db.execute("DELETE FROM steps", [])?;
        Ok(true)
    }

    fn forget(&mut self) {}
}
