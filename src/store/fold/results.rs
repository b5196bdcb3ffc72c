//! `results`, as far as an event tells the whole result: such a one need not be written beside its event, and when its
//! agent has received it by the time of the fold, it never is. All others are stored with the event that ends their
//! call.

use std::sync::Arc;

use rusqlite::Connection;

use crate::base::clock::Timestamp;
use crate::base::ids::RequestId;
use crate::store::codec::ToldResult;
use crate::store::error::StoreError;
use crate::store::kind;
use crate::store::projection::{Event, Projection, Subject};

/// A result as its event tells it.
pub(in crate::store) struct EventResult {
    /// The number of its call's first event.
    pub(in crate::store) seq: i64,
    pub(in crate::store) id: RequestId,
    pub(in crate::store) agent: Arc<str>,
    pub(in crate::store) at: Timestamp,
    /// A key may ask for it again.
    pub(in crate::store) keyed: bool,
    pub(in crate::store) told: ToldResult,
}

/// Gathers them; `inbox` keeps them, because others may have to make room.
#[derive(Default)]
pub(super) struct Results {
    pub(super) gathered: Vec<EventResult>,
}

impl Projection for Results {
    fn name(&self) -> &'static str {
        "results"
    }

    fn fold(&mut self, db: &Connection, event: &Event<'_>, call: Option<&Subject>) -> Result<(), StoreError> {
        let Some(call) = call else { return Ok(()) };
        match event.kind {
            kind::FINISHED => {
                let id = event.request_id.and_then(RequestId::parse);
                let (Some(id), Some(told)) = (id, ToldResult::read(|name| event.body.get(name))) else {
                    return Ok(());
                };
                let keyed = call.keyed && has_key(db, event.request_id)?;
                let (seq, agent, at) = (call.seq, call.agent.clone(), event.at);
                self.gathered.push(EventResult { seq, id, agent, at, keyed, told });
            }
            kind::JOINED => {
                db.prepare_cached("UPDATE results SET keyed = 1 WHERE seq = ?")?.execute([call.seq])?;
                self.gathered
                    .iter_mut()
                    .filter(|kept| kept.seq == call.seq)
                    .for_each(|kept| kept.keyed = true);
            }
            _other => {}
        }
        Ok(())
    }

    fn write(&mut self, _: &Connection, _: i64, _: i64) -> Result<(), StoreError> {
        Ok(())
    }

    /// Which results were received stands in no event: what is there stays.
    fn clear(&mut self, _: &Connection) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn forget(&mut self) {
        self.gathered.clear();
    }
}

fn has_key(db: &Connection, id: Option<&str>) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM keys WHERE request_id = ?)";
    Ok(db.prepare_cached(sql)?.query_row([id], |row| row.get(0))?)
}
