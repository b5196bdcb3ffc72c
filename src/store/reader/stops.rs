//! Who is stopped against the events of the kill switch.

use rusqlite::Connection;

use crate::base::clock::Timestamp;
use crate::store::chain;
use crate::store::error::StoreError;
use crate::store::kind;
use crate::store::projection::Body;
use crate::store::schema;
use crate::store::stops;

/// Whether the table says what the events do, as far as it is folded. Where their beginning was dropped nobody can tell.
pub(super) fn agree(db: &Connection) -> Result<bool, StoreError> {
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version < schema::KEEPS_STOPS || chain::anchor(db)?.is_some() {
        return Ok(true);
    }
    let recorded = Connection::open_in_memory()?;
    recorded.execute_batch(schema::STOPS)?;
    let sql = "SELECT coalesce(max(folded), 0) FROM main.projections WHERE name = ?";
    let folded: i64 = db.query_row(sql, [stops::NAME], |row| row.get(0))?;
    let touches = format!("seq <= {folded} AND kind IN ('{}', '{}')", kind::STOPPED, kind::RESUMED);
    chain::find_event::<()>(db, &touches, |event| {
        let body: Body = serde_json::from_str(&event.body).unwrap_or_default();
        stops::fold(&recorded, &event.kind, &body, Timestamp(event.at))?;
        Ok(None)
    })?;
    Ok(stops::read(db)? == stops::read(&recorded)?)
}
