//! Reading the record: for the owner's commands and pages, beside a running gateway or without one. It can never write; every
//! function reads one snapshot.

mod anchor;
mod charts;
mod crosscheck;
mod export;
mod fault;
mod life;
mod list;
mod page;
mod scope;
mod search;
mod stats;
mod tables;
#[cfg(test)]
mod tests;
mod verify;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction};

use super::chain::ChainKey;
use super::error::StoreError;
use super::{files, schema};

pub use anchor::{Anchor, Anchored};
pub(crate) use charts::{Bar, Charts, Step, WAITS};
pub use fault::{Check, Wrong};
pub(crate) use list::{AuditRow, Shown};
pub use list::{Filter, Lookup};
pub use page::Wanted;
pub(crate) use page::{Page, Walk};
pub(crate) use stats::Stats;
pub use verify::verify_export;

/// Steps of SQLite's machine between two looks at the clock: some ten microseconds.
const STEPS: i32 = 1000;

/// Where the key of the record at `db` is.
pub(crate) fn key_path(db: &Path) -> PathBuf {
    files::beside(db, "key")
}

/// A read-only view of a record.
pub struct Reader {
    db: Connection,
    path: PathBuf,
    /// None when the key file is gone or not readable for this user.
    key: Option<ChainKey>,
}

impl Reader {
    /// Opens the record at `path` for reading.
    ///
    /// # Errors
    /// [`StoreError::Absent`] when there is none, [`StoreError::NewerSchema`], [`StoreError::Foreign`] and
    /// [`StoreError::Corrupt`] as for the gateway, [`StoreError::Unwritable`] when it may not be read.
    pub fn open(path: &Path) -> Result<Reader, StoreError> {
        let found = std::fs::canonicalize(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => StoreError::Absent(path.to_owned()),
            _ => StoreError::unwritable(path, &e),
        })?;
        // SQLite's own words for a missing permission would not name the file.
        std::fs::File::open(&found).map_err(|e| StoreError::unwritable(&found, &e))?;
        let db = schema::connect_reader(&found)?;
        scope::add_functions(&db)?;
        let key = ChainKey::read(&found).ok().flatten();
        Ok(Reader { db, path: found, key })
    }

    /// From now on until `patience` is over, it answers; whatever takes longer ends with [`StoreError::TooLong`].
    ///
    /// # Errors
    /// When SQLite does not take it.
    pub fn limit(&mut self, patience: Duration) -> Result<(), StoreError> {
        let begun = Instant::now();
        Ok(self.db.progress_handler(STEPS, Some(move || begun.elapsed() > patience))?)
    }

    /// Everything read through it is of one moment, however long it takes and whatever the gateway writes.
    fn snapshot(&mut self) -> Result<Transaction<'_>, StoreError> {
        Ok(self.db.transaction()?)
    }
}
