//! `keys`: which call an idempotency key stands for, and until when that is remembered. While the gateway runs, `live`
//! answers; the rows are for keys whose events retention has dropped.

use std::time::Duration;

use rusqlite::{Connection, params};

use crate::model::Outcome;
use crate::store::error::StoreError;
use crate::store::kind;
use crate::store::projection::{Event, Projection, Subject};

pub(super) struct Keys {
    /// How long a key is remembered after its call has ended.
    pub(super) keep: Duration,
}

impl Projection for Keys {
    fn name(&self) -> &'static str {
        "keys"
    }

    fn fold(&mut self, db: &Connection, event: &Event<'_>, call: Option<&Subject>) -> Result<(), StoreError> {
        let Some(id) = event.request_id else { return Ok(()) };
        let until = event.at.plus(self.keep).0;
        match event.kind {
            kind::REQUESTED | kind::JOINED => {
                let words = (event.text("agent"), event.text("key"), event.text("digest"));
                let (Some(agent), Some(key), Some(digest)) = words else { return Ok(()) };
                let sql = "INSERT OR REPLACE INTO keys (agent, key, request_id, digest, expires) VALUES (?, ?, ?, ?, ?)";
                db.prepare_cached(sql)?.execute(params![agent, key, id, digest, until])?;
            }
            // A call that was not sent and may be repeated must not stand in its own way.
            kind::FINISHED if !event.text("reason").is_none_or(Outcome::keeps_key) => {
                db.prepare_cached("DELETE FROM keys WHERE request_id = ?")?.execute([id])?;
            }
            kind::FINISHED if call.is_none_or(|call| call.keyed) => {
                let sql = "UPDATE keys SET expires = ? WHERE request_id = ?";
                db.prepare_cached(sql)?.execute(params![until, id])?;
            }
            _other => {}
        }
        Ok(())
    }

    fn write(&mut self, _: &Connection, _: i64, _: i64) -> Result<(), StoreError> {
        Ok(())
    }

    /// Keys of calls whose events were dropped stay: nothing else knows of them.
    fn clear(&mut self, db: &Connection) -> Result<bool, StoreError> {
        let sql = "DELETE FROM keys WHERE EXISTS (SELECT 1 FROM events e JOIN calls c ON c.seq = e.seq
                   WHERE c.request_id = keys.request_id)";
        db.execute(sql, [])?;
        Ok(true)
    }

    fn forget(&mut self) {}
}
