//! `readings`: what agents have read, from the events that hand data out. While the gateway runs, the gate remembers by
//! itself; the table is what it begins with at the next start.

use rusqlite::Connection;

use crate::store::chain;
use crate::store::error::StoreError;
use crate::store::projection::{Event, Projection, Subject};
use crate::store::readings;

pub(super) struct Readings;

impl Projection for Readings {
    fn name(&self) -> &'static str {
        readings::NAME
    }

    fn fold(&mut self, db: &Connection, event: &Event<'_>, call: Option<&Subject>) -> Result<(), StoreError> {
        readings::fold(db, (event.kind, event.at), &event.body, call.map(|call| &*call.agent))
    }

    fn write(&mut self, _: &Connection, _: i64, _: i64) -> Result<(), StoreError> {
        Ok(())
    }

    /// What events said that retention has dropped still counts, and only the table says so: it stays.
    fn clear(&mut self, db: &Connection) -> Result<bool, StoreError> {
        let whole = chain::anchor(db)?.is_none();
        if whole {
            db.execute("DELETE FROM readings", [])?;
        }
        Ok(whole)
    }

    fn forget(&mut self) {}
}
