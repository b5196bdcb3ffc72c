//! A read-only connection to a record.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction};

use super::{scope, tail};
use crate::store::chain::ChainKey;
use crate::store::error::StoreError;
use crate::store::{files, schema};

/// Steps of SQLite's machine between two looks at the clock: some ten microseconds.
const STEPS: i32 = 1000;

/// Where the key of the record at `db` is.
pub(crate) fn key_path(db: &Path) -> PathBuf {
    files::sibling(db, "key")
}

/// A read-only view of a record.
pub struct Reader {
    pub(super) db: Connection,
    pub(super) path: PathBuf,
    /// None when the key file is gone or not readable for this user.
    pub(super) key: Option<ChainKey>,
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
        schema::stand_in_for_steps(&db)?;
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
    pub(super) fn snapshot(&mut self) -> Result<Transaction<'_>, StoreError> {
        let tx = self.db.transaction()?;
        tail::fold(&tx)?;
        Ok(tx)
    }
}
