//! Who is stopped. The events say it; the table beside them holds what stands, so that a start need not read a year of
//! events, and so that no stop is lifted because its event has become old.

use rusqlite::{Connection, params};

use super::error::StoreError;
use super::kind;
use super::projection::Body;
use crate::base::clock::Timestamp;
use crate::model::{AgentId, Responder, Stop};

/// The name of this projection.
pub(super) const NAME: &str = "stops";

/// The row that stands for everything. No agent has this name.
const EVERYTHING: &str = "";

/// Takes in an event: a stop, which names who it was by, or its end. The end of a run is called `stopped` as well.
pub(super) fn fold(db: &Connection, kind: &str, body: &Body, at: Timestamp) -> Result<(), StoreError> {
    let Some(by) = body.text("by") else { return Ok(()) };
    let agent = body.text("agent").unwrap_or(EVERYTHING);
    match kind {
        kind::STOPPED => {
            let sql = "INSERT OR REPLACE INTO stops (agent, by, at, reason) VALUES (?, ?, ?, ?)";
            db.prepare_cached(sql)?.execute(params![agent, by, at.0, body.text("reason")])?;
        }
        kind::RESUMED => {
            db.prepare_cached("DELETE FROM stops WHERE agent = ?")?.execute([agent])?;
        }
        _other => {}
    }
    Ok(())
}

/// All stops that stand, the general one first.
pub(super) fn read(db: &Connection) -> Result<Vec<Stop>, StoreError> {
    let mut statement = db.prepare("SELECT agent, by, at, reason FROM stops ORDER BY agent")?;
    let rows = statement.query_map([], |row| {
        let agent: String = row.get(0)?;
        Ok(Stop {
            agent: (agent != EVERYTHING).then(|| AgentId::configured(&agent)),
            by: Responder::recorded(&row.get::<_, String>(1)?),
            at: Timestamp(row.get(2)?),
            reason: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
