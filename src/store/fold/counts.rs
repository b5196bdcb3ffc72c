//! `counts` and `spans`: a bucket is counted when the fold has passed it, and its calls that end later when they end.

use rusqlite::Connection;

use crate::store::counts::{self, BUCKET};
use crate::store::error::StoreError;
use crate::store::kind;
use crate::store::projection::{Event, Projection, Subject};

/// The calls that ended in this batch.
#[derive(Default)]
pub(super) struct Counts {
    ended: Vec<i64>,
}

impl Projection for Counts {
    fn name(&self) -> &'static str {
        counts::NAME
    }

    fn fold(&mut self, _: &Connection, event: &Event<'_>, call: Option<&Subject>) -> Result<(), StoreError> {
        self.ended.extend(call.filter(|_| event.kind == kind::FINISHED).map(|call| call.seq));
        Ok(())
    }

    fn write(&mut self, db: &Connection, from: i64, through: i64) -> Result<(), StoreError> {
        let counted = from >> BUCKET;
        for seq in self.ended.drain(..).filter(|seq| seq >> BUCKET < counted) {
            counts::ended(db, seq)?;
        }
        (counted..through >> BUCKET).try_for_each(|bucket| counts::count(db, bucket))
    }

    fn clear(&mut self, db: &Connection) -> Result<bool, StoreError> {
        db.execute("DELETE FROM counts", [])?;
        db.execute("DELETE FROM spans", [])?;
        Ok(true)
    }

    fn forget(&mut self) {
        self.ended.clear();
    }
}
