//! Reading the record: for the owner's commands, beside a running gateway or without one. It can never write; every
//! function reads one snapshot.

mod crosscheck;
mod export;
mod fault;
mod list;
mod stats;
mod verify;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction};

use super::chain::ChainKey;
use super::error::StoreError;
use super::{files, schema};

pub use fault::{Check, Fault, Wrong};
pub use list::{AuditRow, Filter, Lookup, Shown};
pub use stats::Stats;
pub use verify::verify_export;

/// Where the key of the record at `db` is.
pub fn key_path(db: &Path) -> PathBuf {
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
        let key = ChainKey::read(&found).ok().flatten();
        Ok(Reader { db, path: found, key })
    }

    /// Everything read through it is of one moment, however long it takes and whatever the gateway writes.
    fn snapshot(&mut self) -> Result<Transaction<'_>, StoreError> {
        Ok(self.db.transaction()?)
    }
}
