//! `grants`: which were given, how often each was used, and which have ended. While the gateway runs, the gate knows by
//! itself; a start asks the events.

use rusqlite::Connection;

use crate::store::error::StoreError;
use crate::store::grants;
use crate::store::projection::{Event, Projection, Subject};

pub(super) struct Grants;

impl Projection for Grants {
    fn name(&self) -> &'static str {
        grants::NAME
    }

    fn fold(&mut self, db: &Connection, event: &Event<'_>, _: Option<&Subject>) -> Result<(), StoreError> {
        grants::fold(db, (event.seq, event.kind, event.at), &event.body)
    }

    fn write(&mut self, _: &Connection, _: i64, _: i64) -> Result<(), StoreError> {
        Ok(())
    }

    /// A grant whose event was dropped is not missed: no start believes in it.
    fn clear(&mut self, db: &Connection) -> Result<bool, StoreError> {
        db.execute("DELETE FROM grants", [])?;
        Ok(true)
    }

    fn forget(&mut self) {}
}
