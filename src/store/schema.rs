//! The tables, and how an older database becomes a current one. A newer one is refused.
//!
//! `events` is the only truth about the past. What follows from it is folded into the other tables in batches (see
//! `projection.rs`; `projections` says how far each has come) and is checked against it by `audit verify`: `calls`, its
//! index for queries (one row per `requested` or `refused` event, under the same number), `steps`, `keys`, and `counts`
//! and `spans`, which say how many calls of which kind are where. Two tables hold what events do not: `open_calls` has
//! the arguments of questions in clear, only until they are claimed or settled, and `results` those that no event tells
//! whole, and which were received.
//!
//! A step of a call writes one page, at the end of `events`: to cards that wear out, every index of it would be one more.
//! So one way leads from an id to its events: `calls` has the first and the last, `steps` the others. Lists go by the
//! counts, calls under way are those in `open_calls`.

use std::path::Path;
use std::time::Instant;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::StoreError;
use super::wal;

/// "agpa": tells our databases from those of other programs.
const APPLICATION_ID: i64 = 0x6167_7061;

/// Bytes of a page of a new database. A call changes a few bytes on each of some nine pages, and all nine are written:
/// of 1, 2, 4 and 8 KiB they take 17, 27, 46 and 84 KB. With 1 KiB the events fill their pages badly (a record half as
/// large again).
const PAGE: u32 = 2048;

/// Memory of a reader, in KiB as SQLite counts it (negative): it lives for one question, and what it took stays with
/// the process. Reading a record from end to end needs no more.
const READER_CACHE: i64 = -512;

/// What is counted under limits. `audit verify` makes one of its own, and changes it as [`SESSIONS`] does.
pub(super) const COUNTERS: &str = "
CREATE TABLE IF NOT EXISTS counters (
  of TEXT NOT NULL, key TEXT NOT NULL, until INTEGER NOT NULL, name TEXT NOT NULL, agent TEXT NOT NULL,
  amount TEXT NOT NULL, first INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (of, key, until)
) STRICT, WITHOUT ROWID;
";

/// Counters say which session they end with.
pub(super) const SESSIONS: &str = "
ALTER TABLE counters ADD COLUMN begun INTEGER NOT NULL DEFAULT 0;
";

macro_rules! stops {
    () => {
        "
CREATE TABLE stops (
  agent TEXT PRIMARY KEY, by TEXT NOT NULL, at INTEGER NOT NULL, reason TEXT
) STRICT, WITHOUT ROWID;
"
    };
}
macro_rules! grants {
    () => {
        "
CREATE TABLE grants (
  grant_id TEXT PRIMARY KEY, seq INTEGER NOT NULL, body TEXT NOT NULL, until INTEGER NOT NULL, used INTEGER NOT NULL,
  ended TEXT, ended_by TEXT, ended_at INTEGER
) STRICT, WITHOUT ROWID;
"
    };
}
/// What is granted. `audit verify` makes one of its own.
pub(super) const GRANTS: &str = grants!();
/// Who is stopped, likewise.
pub(super) const STOPS: &str = stops!();
/// What agents have read, as `audit verify` makes it for itself.
pub(super) const READINGS: &str = "
CREATE TABLE readings (
  agent TEXT NOT NULL, session TEXT NOT NULL, source TEXT NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (agent, session, source)
) STRICT, WITHOUT ROWID;
";

/// Step n leads from version n to n + 1. Steps are never changed once released.
const MIGRATIONS: [&str; 10] = [
    "
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE events (
  seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, request_id TEXT,
  body TEXT NOT NULL, hash BLOB NOT NULL
) STRICT;
CREATE INDEX events_request ON events(request_id) WHERE request_id IS NOT NULL;

CREATE TABLE calls (
  seq INTEGER PRIMARY KEY, request_id TEXT NOT NULL UNIQUE, at INTEGER NOT NULL,
  agent TEXT NOT NULL, session TEXT, tool TEXT NOT NULL, decision TEXT,
  resolution TEXT, resolved_by TEXT, resolved_at INTEGER,
  outcome TEXT NOT NULL, finished_at INTEGER, finished_seq INTEGER
) STRICT;
CREATE INDEX calls_at ON calls(at);
CREATE INDEX calls_agent ON calls(agent);
CREATE INDEX calls_tool ON calls(tool);
CREATE INDEX calls_outcome ON calls(outcome);
CREATE INDEX calls_session ON calls(session) WHERE session IS NOT NULL;

CREATE TABLE open_calls (
  request_id TEXT PRIMARY KEY, seq INTEGER NOT NULL, agent TEXT NOT NULL, tool TEXT NOT NULL,
  args TEXT, binding TEXT NOT NULL, session TEXT, reason TEXT, key TEXT, rule TEXT,
  created INTEGER NOT NULL, expires INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('open', 'approved', 'executing')), approved_by TEXT
) STRICT;

CREATE TABLE results (
  seq INTEGER PRIMARY KEY, request_id TEXT NOT NULL UNIQUE, agent TEXT NOT NULL,
  outcome TEXT NOT NULL, data TEXT, size INTEGER NOT NULL,
  created INTEGER NOT NULL, expires INTEGER NOT NULL,
  received INTEGER NOT NULL, keyed INTEGER NOT NULL
) STRICT;
CREATE INDEX results_agent ON results(agent, received, size);
CREATE INDEX results_expires ON results(expires);

CREATE TABLE keys (
  agent TEXT NOT NULL, key TEXT NOT NULL, request_id TEXT NOT NULL,
  digest TEXT NOT NULL, expires INTEGER NOT NULL, PRIMARY KEY (agent, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_request ON keys(request_id);
CREATE INDEX keys_expires ON keys(expires);
",
    "
ALTER TABLE open_calls ADD COLUMN asked_up INTEGER NOT NULL DEFAULT 0;
ALTER TABLE open_calls ADD COLUMN spent INTEGER NOT NULL DEFAULT 0;
",
    "
CREATE TABLE counts (
  bucket INTEGER NOT NULL, day INTEGER NOT NULL, agent TEXT NOT NULL, tool TEXT NOT NULL, decision TEXT NOT NULL,
  resolution TEXT NOT NULL, outcome TEXT NOT NULL, waited INTEGER NOT NULL, n INTEGER NOT NULL,
  PRIMARY KEY (bucket, day, agent, tool, decision, resolution, outcome, waited)
) STRICT, WITHOUT ROWID;
CREATE TABLE spans (
  bucket INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, n INTEGER NOT NULL
) STRICT;
CREATE INDEX calls_decision ON calls(decision) WHERE decision IS NOT NULL;
CREATE INDEX calls_resolution ON calls(resolution) WHERE resolution IS NOT NULL;
INSERT INTO counts SELECT seq >> 13, at / 86400000, agent, tool, coalesce(decision, ''), coalesce(resolution, ''),
  outcome, CASE
    WHEN resolution NOT IN ('approved', 'denied') OR resolved_by = 'cool_down' OR resolved_at IS NULL THEN -1
    WHEN resolved_at - at < 10000 THEN 0 WHEN resolved_at - at < 30000 THEN 1 WHEN resolved_at - at < 60000 THEN 2
    WHEN resolved_at - at < 120000 THEN 3 WHEN resolved_at - at < 300000 THEN 4
    WHEN resolved_at - at < 900000 THEN 5 WHEN resolved_at - at < 3600000 THEN 6 ELSE 7 END, count(*)
  FROM calls WHERE outcome <> 'pending' GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;
INSERT INTO spans SELECT seq >> 13, min(at), max(at), count(*) FROM calls WHERE outcome <> 'pending' GROUP BY 1;
",
    // No IN in a CHECK: SQLite sets up a table with a cache of its own to look it up, for every row.
    // Arguments and results move first, while deleted content is overwritten. What an index says, its table says too:
    // its pages are let go as they are.
    "
ALTER TABLE open_calls RENAME TO old_open_calls;
CREATE TABLE open_calls (
  request_id TEXT PRIMARY KEY, seq INTEGER NOT NULL, agent TEXT NOT NULL, tool TEXT NOT NULL,
  args TEXT, binding TEXT NOT NULL, session TEXT, reason TEXT, key TEXT, rule TEXT,
  created INTEGER NOT NULL, expires INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state = 'open' OR state = 'approved' OR state = 'executing'), approved_by TEXT,
  asked_up INTEGER NOT NULL DEFAULT 0, spent INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
INSERT INTO open_calls SELECT * FROM old_open_calls;
DROP TABLE old_open_calls;

ALTER TABLE results RENAME TO old_results;
CREATE TABLE results (
  seq INTEGER PRIMARY KEY, agent TEXT NOT NULL, received INTEGER NOT NULL, keyed INTEGER NOT NULL,
  created INTEGER NOT NULL, expires INTEGER NOT NULL, size INTEGER NOT NULL, outcome TEXT NOT NULL, data TEXT
) STRICT;
INSERT INTO results SELECT seq, agent, received, keyed, created, expires, size, outcome, data FROM old_results;
DROP TABLE old_results;
CREATE INDEX results_waiting ON results(agent, seq) WHERE received = 0;

PRAGMA secure_delete = FAST;
DROP INDEX events_request;
CREATE INDEX events_between ON events(request_id)
  WHERE kind = 'answered' OR kind = 'executing' OR kind = 'noted';
DROP INDEX calls_at;
DROP INDEX calls_agent;
DROP INDEX calls_tool;
DROP INDEX calls_outcome;
DROP INDEX calls_decision;
DROP INDEX calls_resolution;
DELETE FROM counts WHERE bucket >= (SELECT max(seq) >> 13 FROM events);
DELETE FROM spans WHERE bucket >= (SELECT max(seq) >> 13 FROM events);
PRAGMA secure_delete = ON;
",
    "
PRAGMA secure_delete = FAST;
DROP INDEX events_between;
CREATE INDEX events_between ON events(request_id)
  WHERE kind = 'answered' OR kind = 'executing' OR kind = 'noted' OR kind = 'joined';
PRAGMA secure_delete = ON;
",
    COUNTERS,
    // What there is was folded when it was written.
    "
CREATE TABLE projections (name TEXT PRIMARY KEY, folded INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO projections SELECT column1, (SELECT coalesce(max(seq), 0) FROM events)
  FROM (VALUES ('calls'), ('steps'), ('keys'), ('open_calls'), ('counts'), ('results'), ('counters'));
CREATE TABLE steps (
  request_id TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, PRIMARY KEY (request_id, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO steps SELECT request_id, seq, kind FROM events WHERE request_id IS NOT NULL
  AND (kind = 'answered' OR kind = 'executing' OR kind = 'noted' OR kind = 'joined') ORDER BY 1, 2;
PRAGMA secure_delete = FAST;
DROP INDEX events_between;
PRAGMA secure_delete = ON;
",
    "
CREATE TABLE readings (
  agent TEXT NOT NULL, session TEXT NOT NULL, source TEXT NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (agent, session, source)
) STRICT, WITHOUT ROWID;
INSERT INTO projections SELECT 'readings', coalesce(max(seq), 0) FROM events;
",
    concat!(
        grants!(),
        "INSERT INTO projections SELECT 'grants', coalesce(max(seq), 0) FROM events;\n",
        stops!(),
        "INSERT INTO projections SELECT 'stops', coalesce(max(seq), 0) FROM events;\n",
    ),
    SESSIONS,
];

/// From this version on there is `steps`, and `projections` says how far tables have followed the events.
pub(super) const FOLDED: i64 = 7;

/// From this version on there are `grants` and `stops`.
pub(super) const KEEPS_STOPS: i64 = 9;
/// From this version on there is `readings`.
pub(super) const REMEMBERED: i64 = 8;

/// From this version on every idempotency key has an event that binds it, also the keys of callers who joined a call.
pub(super) const EVERY_KEY_HAS_ITS_EVENT: i64 = 5;

/// The version this program writes.
pub(super) const KNOWN: i64 = MIGRATIONS.len() as i64;

/// Opens the writing connection and brings the tables up to date. Gives the version they were of as well.
pub(super) fn connect(path: &Path) -> Result<(Connection, i64), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(wal::BUSY)?;
    // Before anything is written: a database of somebody else is left exactly as it is.
    let version = check_version(&db, path)?;
    pragmas(&db)?;
    migrate(&mut db, version)?;
    db.set_prepared_statement_cache_capacity(64);
    Ok((db, version))
}

/// Opens a connection that can only read, of the version this program knows.
pub(super) fn connect_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(wal::BUSY)?;
    db.pragma_update(None, "trusted_schema", false)?;
    db.pragma_update(None, "cache_size", READER_CACHE)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    match check_version(&db, path)? {
        0 => Err(StoreError::Absent(path.to_owned())),
        _ => Ok(db),
    }
}

/// Lets a reader find in an older database what `steps` says in a current one.
pub(super) fn stand_in_for_steps(db: &Connection) -> Result<(), StoreError> {
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version < FOLDED {
        // In the words of its index.
        let sql = "CREATE TEMP VIEW steps AS SELECT request_id, seq, kind FROM main.events
                   WHERE kind = 'answered' OR kind = 'executing' OR kind = 'noted' OR kind = 'joined'";
        db.execute_batch(sql)?;
    }
    Ok(())
}

/// Empty tables of the current version.
pub(super) fn in_memory() -> Result<Connection, StoreError> {
    let mut db = Connection::open_in_memory()?;
    migrate(&mut db, 0)?;
    Ok(db)
}

/// A database as an older program left it.
#[cfg(test)]
pub(super) fn at_version(path: &Path, version: usize) -> Connection {
    let db = Connection::open(path).unwrap();
    pragmas(&db).unwrap();
    MIGRATIONS.iter().take(version).for_each(|step| db.execute_batch(step).unwrap());
    db.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
    db.pragma_update(None, "user_version", version as i64).unwrap();
    db
}

fn pragmas(db: &Connection) -> Result<(), StoreError> {
    db.pragma_update(None, "trusted_schema", false)?;
    // Changes nothing where there are tables already.
    db.pragma_update(None, "page_size", PAGE)?;
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::Sql(format!("this file system allows no write-ahead log (mode {mode})")));
    }
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "secure_delete", true)?;
    db.pragma_update(None, "journal_size_limit", wal::KEPT)?;
    Ok(())
}

fn check_version(db: &Connection, path: &Path) -> Result<i64, StoreError> {
    let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (version, owner) = (pragma("user_version")?, pragma("application_id")?);
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (version, owner) {
        (0, 0) if tables == 0 => Ok(0),
        (found, APPLICATION_ID) if found > KNOWN => {
            Err(StoreError::NewerSchema { path: path.to_owned(), found, known: KNOWN })
        }
        (found, APPLICATION_ID) => Ok(found),
        _ => Err(StoreError::Foreign(path.to_owned())),
    }
}

fn migrate(db: &mut Connection, version: i64) -> Result<(), StoreError> {
    let done = usize::try_from(version).unwrap_or(0);
    let begun = Instant::now();
    let older = (1..KNOWN).contains(&version);
    if older {
        log::info!("the record is brought from version {version} to {KNOWN}; a large one takes some seconds");
    }
    for (step, to) in MIGRATIONS.iter().zip(1i64..).skip(done) {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(step)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", to)?;
        tx.commit()?;
    }
    if older {
        log::info!("the record is of version {KNOWN} now, after {:.1} s", begun.elapsed().as_secs_f64());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
