//! The tables as they will be once the gateway has folded its newest events. It does so every second, and not at all
//! after it was killed; whoever reads must not see less than what is recorded. So a reader folds for itself, in memory:
//! tables of the same names, in SQLite's own temporary database, stand before those that they complete. They are
//! gone with the transaction in which they were made.

use rusqlite::Connection;

use crate::store::counts::{self, BUCKET};
use crate::store::error::StoreError;
use crate::store::fold::Tables;
use crate::store::schema;

/// A table that takes in the unfolded events in place of another.
struct StandIn {
    table: &'static str,
    /// Columns by which its rows are found; those of the first are unique.
    keys: &'static [&'static str],
    /// Which rows it begins with.
    begins: &'static str,
    /// What becomes of it.
    then: Then,
}

enum Then {
    /// It holds all there is.
    Stays,
    /// It completes the other, whose rows with the same key it replaces.
    Joins(&'static str),
    /// No reader looks at it.
    Goes,
}

const TOUCHED: &str = "request_id IN (SELECT request_id FROM main.events WHERE request_id IS NOT NULL
    AND seq > (SELECT min(folded) FROM main.projections))";
const TOUCHED_BUCKETS: &str = "bucket IN (SELECT seq >> 13 FROM temp.calls)";

/// In the order in which they are made and put in place.
const TABLES: [StandIn; 12] = [
    StandIn { table: "projections", keys: &["name"], begins: "true", then: Then::Stays },
    StandIn {
        table: "calls",
        keys: &["seq", "request_id"],
        begins: TOUCHED,
        then: Then::Joins("t.seq = m.seq"),
    },
    StandIn {
        table: "steps",
        keys: &["request_id, seq"],
        begins: "false",
        then: Then::Joins("t.request_id = m.request_id AND t.seq = m.seq"),
    },
    StandIn {
        table: "keys",
        keys: &["agent, key", "request_id"],
        begins: TOUCHED,
        then: Then::Joins("t.agent = m.agent AND t.key = m.key"),
    },
    StandIn { table: "open_calls", keys: &["request_id"], begins: "true", then: Then::Stays },
    StandIn {
        table: "counts",
        keys: &["bucket, day, agent, tool, decision, resolution, outcome, waited"],
        begins: TOUCHED_BUCKETS,
        then: Then::Joins("t.bucket = m.bucket"),
    },
    StandIn {
        table: "spans",
        keys: &["bucket"],
        begins: TOUCHED_BUCKETS,
        then: Then::Joins("t.bucket = m.bucket"),
    },
    StandIn { table: "results", keys: &["seq"], begins: "false", then: Then::Goes },
    StandIn { table: "counters", keys: &["of, key, until"], begins: "false", then: Then::Goes },
    StandIn { table: "readings", keys: &["agent, session, source"], begins: "false", then: Then::Goes },
    StandIn { table: "grants", keys: &["grant_id"], begins: "false", then: Then::Goes },
    StandIn { table: "stops", keys: &["agent"], begins: "true", then: Then::Goes },
];

/// Puts the unfolded events, if there are any, before the eyes of whoever reads in this transaction.
pub(super) fn fold(db: &Connection) -> Result<(), StoreError> {
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version < schema::FOLDED {
        return Ok(());
    }
    let newest = counts::newest(db)?;
    let sql = "SELECT coalesce(min(folded), 0) FROM main.projections";
    let folded: i64 = db.query_row(sql, [], |row| row.get(0))?;
    if folded >= newest {
        return Ok(());
    }
    let missing = if version < schema::KNOWN { Some(schema::in_memory()?) } else { None };
    TABLES.iter().try_for_each(|one| one.make(db, missing.as_ref()))?;
    let mut tables = Tables::of_a_reader();
    let counted = counts::end(db)? >> BUCKET;
    let mut from = folded;
    loop {
        let (through, _) = tables.fold(db, i64::MAX)?;
        if through >= newest || through == from {
            break;
        }
        from = through;
    }
    for one in &TABLES {
        one.put_in_place(db)?;
        if one.table == "calls" {
            // Only now can all calls of a bucket be seen.
            (counted..newest >> BUCKET).try_for_each(|bucket| counts::count(db, bucket))?;
        }
    }
    Ok(())
}

impl StandIn {
    /// `current` has the tables of the current version, where those of this record are older. It may lack some then that
    /// only folding asks for.
    fn make(&self, db: &Connection, current: Option<&Connection>) -> Result<(), StoreError> {
        let StandIn { table, keys, begins, then } = self;
        let mut sql = match (then, current) {
            (Then::Goes, Some(current)) => {
                let sql = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?";
                let made: String = current.query_row(sql, [table], |row| row.get(0))?;
                format!("{};", made.replacen("CREATE TABLE", "CREATE TEMP TABLE", 1))
            }
            _ => format!("CREATE TEMP TABLE {table} AS SELECT * FROM main.{table} WHERE {begins};"),
        };
        for (n, columns) in keys.iter().enumerate() {
            let unique = if n == 0 { "UNIQUE" } else { "" };
            sql.push_str(&format!("CREATE {unique} INDEX temp.{table}_by_{n} ON {table}({columns});"));
        }
        Ok(db.execute_batch(&sql)?)
    }

    fn put_in_place(&self, db: &Connection) -> Result<(), StoreError> {
        let table = self.table;
        let sql = match self.then {
            Then::Stays => return Ok(()),
            Then::Goes => format!("DROP TABLE temp.{table}"),
            Then::Joins(same) => format!(
                "ALTER TABLE temp.{table} RENAME TO tail_of_{table};
                 CREATE TEMP VIEW {table} AS SELECT * FROM main.{table} m
                 WHERE NOT EXISTS (SELECT 1 FROM temp.tail_of_{table} t WHERE {same})
                 UNION ALL SELECT * FROM temp.tail_of_{table}"
            ),
        };
        Ok(db.execute_batch(&sql)?)
    }
}
