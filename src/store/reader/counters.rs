//! What is counted under limits against the charges in the events of claims.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::base::clock::{Clock, Timestamp};
use crate::store::chain;
use crate::store::counters;
use crate::store::error::StoreError;
use crate::store::projection::Body;
use crate::store::schema;

/// Whether the table says what the events do, as far as it is folded. Where their beginning was dropped nobody can tell.
pub(super) fn agree(db: &Connection) -> Result<bool, StoreError> {
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version < schema::FOLDED || chain::anchor(db)?.is_some() {
        return Ok(true);
    }
    let recorded = charged(db)?;
    let newest = chain::last_event(db)?.map_or(Timestamp(0), |event| Timestamp(event.at));
    let now = newest.max(Clock::system().now());
    let same = |one: &Connection, other: &Connection, condition: &str| -> Result<bool, StoreError> {
        let sql = format!("SELECT of, key, until, amount FROM main.counters WHERE {condition}");
        let mut statement = one.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (of, key, until): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let amount: String = row.get(3)?;
            let sql = "SELECT amount FROM main.counters WHERE of = ? AND key = ? AND until = ?";
            let there: Option<String> =
                other.prepare_cached(sql)?.query_row(params![of, key, until], |row| row.get(0)).optional()?;
            if there != Some(amount) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    // Sessions end without an event.
    let lasting = format!("until > {} AND json_type(key, '$.session') IS NULL", now.0);
    Ok(same(db, &recorded, "true")? && same(&recorded, db, &lasting)?)
}

/// A table of what the events say, beside the record.
fn charged(db: &Connection) -> Result<Connection, StoreError> {
    let recorded = Connection::open_in_memory()?;
    recorded.execute_batch(schema::COUNTERS)?;
    recorded.execute_batch(schema::SESSIONS)?;
    let sql = "SELECT coalesce(max(folded), 0) FROM main.projections WHERE name = ?";
    let folded: i64 = db.query_row(sql, [counters::NAME], |row| row.get(0))?;
    let touches = "(body LIKE '%\"charges\":[%' OR kind = 'limit_reset')";
    let mut charges = counters::Charges::default();
    chain::find_event::<()>(db, &format!("seq <= {folded} AND {touches}"), |event| {
        let body: Body = serde_json::from_str(&event.body).unwrap_or_default();
        charges.fold(&recorded, &event.kind, &body, Timestamp(event.at))?;
        Ok(None)
    })?;
    charges.write(&recorded)?;
    Ok(recorded)
}
