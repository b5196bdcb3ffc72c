//! What is wiped from the table of open calls must be gone from its pages. SQLite overwrites a row that is deleted, but
//! not the copies that earlier splits have left in the free part of other pages; pages of a table that is emptied as a
//! whole it does overwrite.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::error::StoreError;

/// Empties the table and puts what is still open into fresh pages. Open calls are few.
pub(super) fn open_calls(db: &Connection) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached("SELECT * FROM open_calls")?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    let mut left: Vec<Vec<Value>> = Vec::new();
    while let Some(row) = rows.next()? {
        left.push((0..columns).map(|column| row.get(column)).collect::<Result<_, _>>()?);
    }
    drop(rows);
    db.prepare_cached("DELETE FROM open_calls")?.execute([])?;
    let places = vec!["?"; columns].join(", ");
    let mut insert = db.prepare_cached(&format!("INSERT INTO open_calls VALUES ({places})"))?;
    for row in left {
        insert.execute(params_from_iter(row))?;
    }
    Ok(())
}
