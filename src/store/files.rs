//! The files of a record: the database, its key, its exported head and its lock. All of them 0600, a directory made
//! here 0700.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::error::StoreError;

/// The database's real path and the lock that keeps a second gateway away for as long as this lives.
#[derive(Debug)]
pub(super) struct RecordFiles {
    pub(super) db: PathBuf,
    _lock: File,
}

impl RecordFiles {
    /// Makes what is missing and takes the lock.
    pub(super) fn prepare(path: &Path) -> Result<RecordFiles, StoreError> {
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.map_err(|e| StoreError::unwritable(dir, &e))?;
        }
        private(path)?;
        // Two names of one database must meet at one lock.
        let db = fs::canonicalize(path).map_err(|e| StoreError::unwritable(path, &e))?;
        let lock = private(&sibling(&db, "lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(RecordFiles { db, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StoreError::AlreadyRunning(db)),
            Err(TryLockError::Error(e)) => Err(StoreError::unwritable(&db, &e)),
        }
    }
}

/// `<db>.<suffix>`.
pub(super) fn sibling(db: &Path, suffix: &str) -> PathBuf {
    let mut name = db.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// Opens or makes a file that only its owner can read.
fn private(path: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.map_err(|e| StoreError::unwritable(path, &e))?;
    let open_to_others = file.metadata().is_ok_and(|m| m.permissions().mode() & 0o077 != 0);
    if open_to_others {
        let closed = file.set_permissions(Permissions::from_mode(0o600));
        closed.map_err(|e| StoreError::unwritable(path, &e))?;
    }
    Ok(file)
}

/// Puts `bytes` in the place of `path` at once: a reader sees the old content or the new, also after a power cut.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = sibling(path, "new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

/// Makes the names in the directory of `path` durable.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
