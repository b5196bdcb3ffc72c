//! `counters`: what is counted under limits, from the charges in the events of claims. While the gateway runs, the gate
//! counts by itself; the table is what it begins with at the next start.

use rusqlite::Connection;

use crate::store::chain;
use crate::store::counters;
use crate::store::error::StoreError;
use crate::store::projection::{Event, Projection, Subject};

#[derive(Default)]
pub(super) struct Counters(counters::Charges);

impl Projection for Counters {
    fn name(&self) -> &'static str {
        counters::NAME
    }

    fn fold(&mut self, db: &Connection, event: &Event<'_>, _: Option<&Subject>) -> Result<(), StoreError> {
        self.0.fold(db, event.kind, &event.body, event.at)
    }

    fn write(&mut self, db: &Connection, _: i64, _: i64) -> Result<(), StoreError> {
        self.0.write(db)
    }

    /// What was charged by calls that retention has dropped still counts, and only the table says so: it stays.
    fn clear(&mut self, db: &Connection) -> Result<bool, StoreError> {
        let whole = chain::anchor(db)?.is_none();
        if whole {
            db.execute("DELETE FROM counters", [])?;
        }
        Ok(whole)
    }

    fn forget(&mut self) {
        self.0.forget();
    }
}
