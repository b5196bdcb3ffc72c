//! How many finished calls of which kind there are, per [`BUCKET`] events of the record and per day: totals, deep
//! pages and charts over a million calls without reading a million rows.
//!
//! A bucket is counted when the fold has passed it, and its calls that end later when they end. So the newest bucket is
//! not counted and the calls under way are not: readers look at both, which are few. It must never be the truth about
//! anything: `audit verify` compares it with `calls`.

use rusqlite::Connection;

use super::error::StoreError;
use super::schema;

/// Events in one bucket, as a power of two. Written into the tables: it can only change with a migration.
pub(super) const BUCKET: u32 = 13;

/// The columns of a row of `calls` as it is counted. `waited` stands for the time a person took to answer: -1 when
/// nobody did, else how many of [`WAITS`] it reached.
pub(super) const CELL: &str = "seq >> 13 AS bucket, at / 86400000 AS day, agent, tool, coalesce(decision, '') AS
  decision, coalesce(resolution, '') AS resolution, outcome, CASE
    WHEN resolution NOT IN ('approved', 'denied') OR resolved_by = 'cool_down' OR resolved_at IS NULL THEN -1
    WHEN resolved_at - at < 10000 THEN 0 WHEN resolved_at - at < 30000 THEN 1 WHEN resolved_at - at < 60000 THEN 2
    WHEN resolved_at - at < 120000 THEN 3 WHEN resolved_at - at < 300000 THEN 4
    WHEN resolved_at - at < 900000 THEN 5 WHEN resolved_at - at < 3600000 THEN 6 ELSE 7 END AS waited";

/// Seconds at which the next class of waiting times begins, as in [`CELL`].
pub(super) const WAITS: [u32; 7] = [10, 30, 60, 120, 300, 900, 3600];

/// The version of the tables from which on the newest bucket is not counted.
const LAZY: i64 = 4;

/// The name of this projection.
pub(super) const NAME: &str = "counts";

/// Counts a call that has ended, of a bucket that was counted before.
pub(super) fn ended(db: &Connection, seq: i64) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO counts SELECT {CELL}, 1 FROM calls WHERE seq = ?
         ON CONFLICT DO UPDATE SET n = n + 1"
    );
    db.prepare_cached(&sql)?.execute([seq])?;
    let sql = "INSERT INTO spans SELECT seq >> 13, at, at, 1 FROM calls WHERE seq = ? ON CONFLICT DO UPDATE
               SET first = min(first, excluded.first), last = max(last, excluded.last), n = n + 1";
    db.prepare_cached(sql)?.execute([seq])?;
    Ok(())
}

/// Counts again after the calls through `cut` were dropped. Buckets are counted as far as event `folded` has passed them.
pub(super) fn dropped(db: &Connection, cut: i64, folded: i64) -> Result<(), StoreError> {
    let bucket = cut >> BUCKET;
    db.prepare_cached("DELETE FROM counts WHERE bucket <= ?")?.execute([bucket])?;
    db.prepare_cached("DELETE FROM spans WHERE bucket <= ?")?.execute([bucket])?;
    if bucket < folded >> BUCKET { count(db, bucket) } else { Ok(()) }
}

/// Counts the calls of a bucket. What is counted of it already, which should be nothing, must not stand in the way of
/// the calls to come.
pub(super) fn count(db: &Connection, bucket: i64) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM counts WHERE bucket = ?")?.execute([bucket])?;
    db.prepare_cached("DELETE FROM spans WHERE bucket = ?")?.execute([bucket])?;
    let (first, end) = (bucket << BUCKET, bucket.saturating_add(1) << BUCKET);
    let rest = "FROM calls WHERE seq >= ? AND seq < ? AND outcome <> 'pending'";
    let sql = format!("INSERT INTO counts SELECT {CELL}, count(*) {rest} GROUP BY 1, 2, 3, 4, 5, 6, 7, 8");
    db.prepare_cached(&sql)?.execute([first, end])?;
    let sql = format!("INSERT INTO spans SELECT seq >> 13, min(at), max(at), count(*) {rest} GROUP BY 1");
    db.prepare_cached(&sql)?.execute([first, end])?;
    Ok(())
}

/// Whether this database has been opened by a program that counts: a reader leaves an older one as it is.
pub(super) fn are_kept(db: &Connection) -> Result<bool, StoreError> {
    let sql = "SELECT count(*) = 2 FROM sqlite_schema WHERE name IN ('counts', 'spans')";
    Ok(db.query_row(sql, [], |row| row.get(0))?)
}

/// The first number that is not counted: the bucket that the fold has come to, and all behind it.
pub(super) fn end(db: &Connection) -> Result<i64, StoreError> {
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let reached = match version {
        ..schema::FOLDED => newest(db)?,
        _ => {
            db.query_row("SELECT coalesce(max(folded), 0) FROM projections WHERE name = ?", [NAME], |row| {
                row.get(0)
            })?
        }
    };
    Ok(reached >> BUCKET << BUCKET)
}

/// The number of the newest event.
pub(super) fn newest(db: &Connection) -> Result<i64, StoreError> {
    Ok(db.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get(0))?)
}

/// Whether the tables say what `calls` says.
pub(super) fn agree(db: &Connection) -> Result<bool, StoreError> {
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let end = if version < LAZY { i64::MAX } else { end(db)? };
    let calls = format!("FROM calls WHERE seq < {end} AND outcome <> 'pending'");
    let counted = format!("SELECT {CELL}, count(*) {calls} GROUP BY 1, 2, 3, 4, 5, 6, 7, 8");
    let spans = format!("SELECT seq >> 13, min(at), max(at), count(*) {calls} GROUP BY 1");
    let differ = |kept: &str, real: &str| {
        let more = |a: &str, b: &str| format!("EXISTS (SELECT * FROM ({a}) EXCEPT SELECT * FROM ({b}))");
        format!("{} OR {}", more(kept, real), more(real, kept))
    };
    let (counts, spans) = (differ("SELECT * FROM counts", &counted), differ("SELECT * FROM spans", &spans));
    Ok(!db.query_row(&format!("SELECT {counts} OR {spans}"), [], |row| row.get::<_, bool>(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_bucket_before_its_time_stops_nothing() {
        let db = schema::in_memory().unwrap();
        db.execute_batch(
            "INSERT INTO calls (seq, request_id, at, agent, tool, outcome) VALUES (5, 'a', 7, 'pi', 't', 'refused');
             INSERT OR REPLACE INTO projections VALUES ('counts', 8192);
             INSERT INTO spans VALUES (0, 0, 0, 9);
             INSERT INTO counts SELECT 0, 0, agent, tool, '', '', outcome, -1, 9 FROM calls;",
        )
        .unwrap();
        assert!(!agree(&db).unwrap());
        count(&db, 0).unwrap();
        assert!(agree(&db).unwrap());
    }
}
