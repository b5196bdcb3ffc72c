//! What can go wrong with the record, and what the owner can do about it.

use std::fmt;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why the record could not be opened, written or read. Texts are causes ("could not … : <cause>").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// A newer agentpass made this database.
    NewerSchema {
        path: PathBuf,
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// A SQLite database of some other program.
    Foreign(PathBuf),
    /// SQLite finds the file damaged, or it is no database.
    Corrupt(String),
    /// A directory or file cannot be made, opened or written.
    Unwritable {
        path: PathBuf,
        /// The system's words.
        cause: String,
    },
    /// Another gateway holds this database.
    AlreadyRunning(PathBuf),
    /// There are events, but the key that binds them is gone.
    KeyMissing(PathBuf),
    /// The key does not fit the last event: another key, or a changed tail.
    KeyMismatch {
        path: PathBuf,
        /// The event that does not fit.
        seq: i64,
    },
    /// No space left for the database.
    Full,
    /// More jobs wait than the queue holds; nothing was recorded.
    Overloaded,
    Stopped,
    /// The idempotency key belongs to another request that is still remembered.
    KeyInUse,
    /// There is no open call of this id to settle.
    NotOpen,
    /// Somebody else has changed what is needed here: the record's own events do not bear it out.
    Forged(String),
    /// There is no database yet.
    Absent(PathBuf),
    /// A query was stopped because it took too long.
    TooLong,
    /// Anything else SQLite says.
    Sql(String),
    /// A stored value cannot be read, or a value cannot be stored.
    Encoding(String),
}

/// What the owner can do about a record that was changed from outside.
pub(super) const REMEDY: &str =
    "run `agentpass audit verify`, then restore a backup or move the database aside";

impl StoreError {
    /// What the owner can do, when there is something.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            StoreError::NewerSchema { .. } => "install the newer agentpass again, or move the database aside".into(),
            StoreError::Foreign(_) => "set storage.path to a file of its own".into(),
            StoreError::Corrupt(_) => {
                "move the database and its .key and .head files aside together, or restore a backup of all three".into()
            }
            StoreError::Unwritable { path, .. } => {
                format!("make {} writable for the user that runs agentpass, or change storage.path", path.display())
            }
            StoreError::AlreadyRunning(_) => {
                "stop the other gateway, or give this one its own storage.path".into()
            }
            StoreError::KeyMissing(path) => {
                format!("restore {}, or move the database aside to begin a new record", path.display())
            }
            StoreError::Forged(_) => REMEDY.into(),
            StoreError::KeyMismatch { .. } => {
                "run `agentpass audit verify`, then restore the right key or move the database aside".into()
            }
            StoreError::Full => "free some space, or lower storage.max_mb".into(),
            StoreError::Absent(_) => "start the gateway once, or check storage.path".into(),
            StoreError::TooLong => "ask for a shorter time, or for less".into(),
            StoreError::Overloaded
            | StoreError::Stopped
            | StoreError::KeyInUse
            | StoreError::NotOpen
            | StoreError::Encoding(_) => return None,
            StoreError::Sql(_) => "look after the disk it is on: space, quota, mount, the system's log".into(),
        })
    }

    /// Whether the disk or the database is at fault, rather than this one job.
    pub(super) fn is_of_the_disk(&self) -> bool {
        match self {
            StoreError::KeyInUse
            | StoreError::NotOpen
            | StoreError::Forged(_)
            | StoreError::TooLong
            | StoreError::Encoding(_) => false,
            StoreError::NewerSchema { .. }
            | StoreError::Foreign(_)
            | StoreError::Corrupt(_)
            | StoreError::Unwritable { .. }
            | StoreError::AlreadyRunning(_)
            | StoreError::KeyMissing(_)
            | StoreError::KeyMismatch { .. }
            | StoreError::Full
            | StoreError::Overloaded
            | StoreError::Stopped
            | StoreError::Absent(_)
            | StoreError::Sql(_) => true,
        }
    }

    pub(super) fn unwritable(path: &Path, cause: &std::io::Error) -> StoreError {
        StoreError::Unwritable { path: path.to_owned(), cause: cause.to_string().to_lowercase() }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::NewerSchema { path, found, known } => write!(
                f,
                "{} was written by a newer agentpass (schema {found}, this one knows {known})",
                path.display()
            ),
            StoreError::Foreign(path) => write!(f, "{} belongs to another program", path.display()),
            StoreError::Corrupt(why) => write!(f, "the database is damaged or no database: {why}"),
            StoreError::Unwritable { path, cause } => write!(f, "{}: {cause}", path.display()),
            StoreError::AlreadyRunning(path) => write!(f, "another gateway is using {}", path.display()),
            StoreError::KeyMissing(path) => write!(f, "the key of the record is missing: {}", path.display()),
            StoreError::KeyMismatch { path, seq } => {
                write!(f, "event {seq}, the last one, does not fit the key {}", path.display())
            }
            StoreError::Full => f.write_str("no space left for the record"),
            StoreError::Overloaded => f.write_str("too many records are waiting for the disk"),
            StoreError::Stopped => f.write_str("the store is closed"),
            StoreError::KeyInUse => f.write_str("the idempotency key is in use"),
            StoreError::NotOpen => f.write_str("the call is not open"),
            StoreError::Forged(what) => write!(f, "the record was changed from outside: {what}"),
            StoreError::Absent(path) => write!(f, "there is no record at {}", path.display()),
            StoreError::TooLong => f.write_str("it took too long"),
            StoreError::Sql(why) => write!(f, "sqlite: {why}"),
            StoreError::Encoding(why) => write!(f, "a stored value cannot be read or written: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<rusqlite::Error> for StoreError {
    fn from(e: rusqlite::Error) -> StoreError {
        match e.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full,
            Some(ErrorCode::OperationInterrupted) => StoreError::TooLong,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt(e.to_string()),
            _ => StoreError::Sql(e.to_string()),
        }
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(e: serde_json::Error) -> StoreError {
        StoreError::Encoding(e.to_string())
    }
}
