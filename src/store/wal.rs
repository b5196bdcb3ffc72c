//! When the write-ahead log is moved into the database: SQLite would do it inside the COMMIT of some unlucky call, with
//! two waits for the disk. Here it happens between two batches, when nothing else is to be done, and under a load that
//! never pauses only at every [`MOST`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::Connection;

use super::error::StoreError;

/// Bytes of log that are moved as soon as there is time.
const MUCH: u64 = 4 << 20;

/// Bytes of log that are moved although calls wait, for less than a second where a card writes 10 MB in one. A start after
/// a crash reads it once.
const MOST: u64 = 8 << 20;

/// Bytes that the file keeps for the next round: writing them again is cheaper than letting it grow.
pub(super) const KEPT: i64 = 8 << 20;

/// How long to wait for somebody else's lock.
pub(super) const BUSY: Duration = Duration::from_secs(2);

/// No call for so long: there is time.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// How much of the log is to be moved.
pub(super) struct Wal {
    /// Pages in the log, as SQLite says after each commit.
    pages: Arc<AtomicU64>,
    /// How many of them have been seen to. When all are moved, SQLite begins anew at the front of the log.
    moved: u64,
    /// What `pages` was when it was last looked at.
    looked: u64,
    page_size: u64,
}

impl Wal {
    /// Takes the place of SQLite's own rule on this connection.
    pub(super) fn watch(db: &mut Connection) -> Result<Wal, StoreError> {
        let pages = Arc::new(AtomicU64::new(0));
        let seen = pages.clone();
        db.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count| {
            seen.store(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        let page_size = db.pragma_query_value(None, "page_size", |row| row.get::<_, u32>(0))?.into();
        Ok(Wal { pages, moved: 0, looked: 0, page_size })
    }

    fn waiting(&mut self) -> u64 {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.looked {
            self.moved = 0;
        }
        self.looked = pages;
        pages.saturating_sub(self.moved).saturating_mul(self.page_size)
    }

    pub(super) fn is_much(&mut self) -> bool {
        self.waiting() >= MUCH
    }

    pub(super) fn is_too_much(&mut self) -> bool {
        self.waiting() >= MOST
    }

    /// Moves what it can. A reader that needs the log keeps the file as long as it is, nothing else.
    pub(super) fn move_on(&mut self, db: &Connection) {
        self.checkpoint(db, "PRAGMA wal_checkpoint(PASSIVE)");
    }

    /// Empties the file as well: wiped content must not live on in it. A reader that holds it delays this to the next
    /// time.
    pub(super) fn empty(&mut self, db: &Connection) {
        self.checkpoint(db, "PRAGMA wal_checkpoint(TRUNCATE)");
    }

    fn checkpoint(&mut self, db: &Connection, sql: &str) {
        let left = db
            .busy_timeout(Duration::ZERO)
            .and_then(|()| db.query_row(sql, [], |row| row.get::<_, i64>(1)))
            .and_then(|left| db.busy_timeout(BUSY).map(|()| left));
        if left == Ok(0) {
            self.pages.store(0, Ordering::Relaxed);
        }
        // What a reader has kept from being moved is not tried again before there is as much once more.
        self.moved = self.pages.load(Ordering::Relaxed);
        if let Err(e) = left {
            log::warn!("the write-ahead log could not be moved into the record: {e}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::RequestId;
    use crate::store::schema;

    fn write(db: &Connection, mib: u64) {
        let sql = format!("INSERT INTO meta VALUES (hex(randomblob(8)), hex(zeroblob({})))", mib << 19);
        db.execute_batch(&sql).unwrap();
    }

    #[test]
    fn the_log_is_moved_when_there_is_much_of_it_and_as_often_as_that() {
        let dir = std::env::temp_dir().join(format!("agentpass-wal-{}", RequestId::random()));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("a.db");
        std::fs::write(&path, "").unwrap();
        let (mut db, _) = schema::connect(&path).unwrap();
        let mut wal = Wal::watch(&mut db).unwrap();
        for round in 0..3 {
            write(&db, 3);
            assert!(!wal.is_much(), "round {round}");
            write(&db, 2);
            assert!(wal.is_much() && !wal.is_too_much(), "round {round}");
            write(&db, 12);
            assert!(wal.is_too_much(), "round {round}");
            match round {
                0 => wal.move_on(&db),
                _ => wal.empty(&db),
            }
            assert!(!wal.is_much(), "round {round}");
        }
        let reader = schema::connect_reader(&path).unwrap();
        let held = reader.unchecked_transaction().unwrap();
        held.query_row("SELECT count(*) FROM meta", [], |_| Ok(())).unwrap();
        write(&db, 5);
        wal.move_on(&db);
        assert!(!wal.is_much(), "a reader that needs the log is not pressed");
        write(&db, 5);
        assert!(wal.is_much());
        drop(held);
        wal.empty(&db);
        assert_eq!(std::fs::metadata(dir.join("a.db-wal")).unwrap().len(), 0);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
