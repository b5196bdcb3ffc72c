//! `stops`: who is stopped, from the events of the kill switch. While the gateway runs, the gate knows by itself; the table
//! is what it begins with at the next start.

use rusqlite::Connection;

use crate::store::chain;
use crate::store::error::StoreError;
use crate::store::projection::{Event, Projection, Subject};
use crate::store::stops;

pub(super) struct Stops;

impl Projection for Stops {
    fn name(&self) -> &'static str {
        stops::NAME
    }

    fn fold(&mut self, db: &Connection, event: &Event<'_>, _: Option<&Subject>) -> Result<(), StoreError> {
        stops::fold(db, event.kind, &event.body, event.at)
    }

    fn write(&mut self, _: &Connection, _: i64, _: i64) -> Result<(), StoreError> {
        Ok(())
    }

    /// A stop stands also when retention has dropped its event, and only the table says so then: it stays.
    fn clear(&mut self, db: &Connection) -> Result<bool, StoreError> {
        let whole = chain::anchor(db)?.is_none();
        if whole {
            db.execute("DELETE FROM stops", [])?;
        }
        Ok(whole)
    }

    fn forget(&mut self) {}
}
