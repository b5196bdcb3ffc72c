//! What agents have read against the events that handed data out.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _};

use crate::base::clock::{Clock, Timestamp};
use crate::model::{AgentId, Reading};
use crate::store::chain;
use crate::store::error::StoreError;
use crate::store::readings;
use crate::store::schema;

/// Whether the table says what the events do, as far as it is folded. Where their beginning was dropped nobody can tell.
pub(super) fn agree(db: &Connection) -> Result<bool, StoreError> {
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version < schema::REMEMBERED || chain::anchor(db)?.is_some() {
        return Ok(true);
    }
    let recorded = handed_out(db)?;
    let of_agent = |agent: &AgentId| recorded.iter().filter(|reading| reading.agent == *agent).count();
    let kept = by_place(readings::read(db)?);
    let newest = chain::last_event(db)?.map_or(Timestamp(0), |event| Timestamp(event.at));
    let now = newest.max(Clock::system().now());
    let invented = {
        let recorded = by_place(recorded.clone());
        kept.iter().any(|(place, at)| recorded.get(place) != Some(at))
    };
    let must_stay = |reading: &&Reading| readings::must_stay(reading.at, now, of_agent(&reading.agent));
    let lost = recorded.iter().filter(must_stay).any(|reading| !kept.contains_key(&place(reading)));
    Ok(!invented && !lost)
}

/// Where something was read, and what.
type Place = (AgentId, Option<String>, String);

fn place(reading: &Reading) -> Place {
    let Reading { agent, session, source, .. } = reading;
    (agent.clone(), session.as_deref().map(str::to_owned), source.to_json().to_string())
}

fn by_place(readings: Vec<Reading>) -> HashMap<Place, Timestamp> {
    readings.iter().map(|reading| (place(reading), reading.at)).collect()
}

/// What the events say, from a table beside the record.
fn handed_out(db: &Connection) -> Result<Vec<Reading>, StoreError> {
    let recorded = Connection::open_in_memory()?;
    recorded.execute_batch(schema::READINGS)?;
    let sql = "SELECT coalesce(max(folded), 0) FROM main.projections WHERE name = ?";
    let folded: i64 = db.query_row(sql, [readings::NAME], |row| row.get(0))?;
    let touches = "(body LIKE '%\"read\":{%' OR kind = 'forgotten')";
    chain::find_event::<()>(db, &format!("seq <= {folded} AND {touches}"), |event| {
        let body = serde_json::from_str(&event.body).unwrap_or_default();
        let agent = match &event.request_id {
            Some(id) => caller(db, id)?,
            None => None,
        };
        readings::fold(&recorded, (&event.kind, Timestamp(event.at)), &body, agent.as_deref())?;
        Ok(None)
    })?;
    readings::read(&recorded)
}

/// Whose call it was.
fn caller(db: &Connection, id: &str) -> Result<Option<String>, StoreError> {
    let sql = "SELECT agent FROM main.calls WHERE request_id = ?";
    Ok(db.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?)
}
