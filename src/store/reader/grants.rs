//! Grants, their uses and their ends against the events.

use rusqlite::Connection;
use rusqlite::types::Value as Sql;

use crate::base::clock::Timestamp;
use crate::store::chain;
use crate::store::error::StoreError;
use crate::store::grants;
use crate::store::kind;
use crate::store::projection::Body;
use crate::store::schema;

/// Whether the table says what the events do, as far as it is folded. Retention drops a grant with its event, so those that
/// are left have all their events.
pub(super) fn agree(db: &Connection) -> Result<bool, StoreError> {
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version < schema::KEEPS_STOPS {
        return Ok(true);
    }
    let recorded = Connection::open_in_memory()?;
    recorded.execute_batch(schema::GRANTS)?;
    let sql = "SELECT coalesce(max(folded), 0) FROM main.projections WHERE name = ?";
    let folded: i64 = db.query_row(sql, [grants::NAME], |row| row.get(0))?;
    let touches = format!(
        "seq <= {folded} AND (kind IN ('{}', '{}') OR (kind = '{}' AND body LIKE '%\"grant_id\"%'))",
        kind::GRANTED,
        kind::GRANT_ENDED,
        kind::REQUESTED
    );
    chain::find_event::<()>(db, &touches, |event| {
        let body: Body = serde_json::from_str(&event.body).unwrap_or_default();
        grants::fold(&recorded, (event.seq, &event.kind, Timestamp(event.at)), &body)?;
        Ok(None)
    })?;
    Ok(rows(db)? == rows(&recorded)?)
}

fn rows(db: &Connection) -> Result<Vec<[Sql; 8]>, StoreError> {
    let sql =
        "SELECT grant_id, seq, body, until, used, ended, ended_by, ended_at FROM grants ORDER BY grant_id";
    let mut statement = db.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        let mut cells = [const { Sql::Null }; 8];
        for (at, cell) in cells.iter_mut().enumerate() {
            *cell = row.get(at)?;
        }
        Ok(cells)
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
