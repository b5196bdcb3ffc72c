//! How long questions have been open, by a clock that nobody can set: a question's deadline is wall-clock time, and
//! that may be set back while the gateway is down.
//!
//! `asked_up` says how long the machine had been running when the question was asked. In the same boot that gives its
//! age exactly. What was used up of its time is also written down now and then (`spent`); after the machine was
//! started anew, the age is that and the time since that start. The time without power is known by the wall clock
//! alone.

use rusqlite::{Connection, params};

use super::chain::{meta, set_meta};
use super::error::StoreError;
use crate::base::clock::Uptime;

/// The boot that every `asked_up` counts from.
const BOOT: &str = "boot";

/// Counts every age from this boot. Without a name, each is taken for a new one.
pub(super) fn take_over(db: &Connection, boot: Option<&str>) -> Result<(), StoreError> {
    if boot.is_some() && meta(db, BOOT)?.as_deref() == boot {
        return Ok(());
    }
    db.execute("UPDATE open_calls SET asked_up = -spent", [])?;
    set_meta(db, BOOT, boot.unwrap_or_default())
}

/// Writes down how old the open questions are. Writes nothing when there are none.
pub(super) fn write_down(db: &Connection, now: Uptime) -> Result<(), StoreError> {
    let sql = "UPDATE open_calls SET spent = ?1 - asked_up
               WHERE state IN ('open', 'approved') AND ?1 - asked_up > spent";
    db.prepare_cached(sql)?.execute(params![now.0])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema;

    /// A record with a question that was asked when the machine had been running for `up` milliseconds.
    fn asked(up: i64) -> Connection {
        let db = schema::in_memory().unwrap();
        take_over(&db, Some("first")).unwrap();
        let sql = "INSERT INTO open_calls (request_id, seq, agent, tool, binding, created, expires, state, asked_up)
                   VALUES ('a', 1, 'x', 'y', 'z', 0, 60000, 'open', ?)";
        db.execute(sql, [up]).unwrap();
        db
    }

    fn age(db: &Connection, now: i64) -> i64 {
        let up: i64 = db.query_row("SELECT asked_up FROM open_calls", [], |row| row.get(0)).unwrap();
        now - up
    }

    #[test]
    fn in_the_same_boot_it_is_exact() {
        let db = asked(100_000);
        take_over(&db, Some("first")).unwrap();
        assert_eq!(age(&db, 107_000), 7_000);
    }

    #[test]
    fn another_boot_adds_its_own_time_to_what_was_written_down() {
        let db = asked(100_000);
        write_down(&db, Uptime(107_000)).unwrap();
        take_over(&db, Some("second")).unwrap();
        assert_eq!(age(&db, 30_000), 37_000);
        write_down(&db, Uptime(31_000)).unwrap();
        take_over(&db, Some("third")).unwrap();
        assert_eq!(age(&db, 1_000), 39_000);
    }

    #[test]
    fn a_boot_without_a_name_is_a_new_one() {
        let db = asked(100_000);
        take_over(&db, None).unwrap();
        take_over(&db, None).unwrap();
        assert_eq!(age(&db, 5_000), 5_000);
    }

    #[test]
    fn what_was_used_up_never_shrinks() {
        let db = asked(100_000);
        write_down(&db, Uptime(107_000)).unwrap();
        write_down(&db, Uptime(90_000)).unwrap();
        take_over(&db, Some("second")).unwrap();
        assert_eq!(age(&db, 0), 7_000);
    }
}
