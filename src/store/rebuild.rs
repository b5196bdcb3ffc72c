//! `audit rebuild`: the tables that follow from events are emptied and folded again, while no gateway runs. What events
//! do not say stays: the arguments of open questions, which results were received, and keys of dropped calls.

use std::path::Path;
use std::time::Duration;

use super::chain::{self, Chain, ChainKey};
use super::entry::StoreOptions;
use super::error::StoreError;
use super::files::RecordFiles;
use super::writer::RecordWriter;
use super::{opening, proof, schema};

/// Rebuilds the record at `path`. Gives the number of its last event. When it is interrupted, the next start goes on.
///
/// # Errors
/// As for opening it: [`StoreError::Absent`], [`StoreError::AlreadyRunning`], a missing or wrong key, a newer schema.
pub fn rebuild(path: &Path) -> Result<i64, StoreError> {
    if !path.exists() {
        return Err(StoreError::Absent(path.to_owned()));
    }
    let files = RecordFiles::prepare(path)?;
    let (db, _) = schema::connect(&files.db)?;
    let key = ChainKey::load(&files.db, false)?;
    opening::check_tail(&db, &key, &files)?;
    let head = chain::head(&db)?;
    let keep_keys = Duration::from_millis(proof::kept_keys(&db, &key)?.unwrap_or(0));
    let options = StoreOptions {
        path: path.to_owned(),
        sync_all: false,
        retain_days: 0,
        max_mb: 0,
        keep_results: Duration::ZERO,
        keep_keys,
    };
    let mut writer = RecordWriter::new(db, Chain::new(key, head), files, options)?;
    writer.try_transact(true, |tx| tx.tables.clear(tx.db))?;
    writer.catch_up()?;
    writer.settle_log();
    Ok(head.seq)
}
