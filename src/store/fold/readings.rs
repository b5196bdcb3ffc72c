//! `readings`: what agents have read, from the events that hand data out. While the gateway runs, the gate remembers by
//! itself; the table is what it begins with at the next start.

use rusqlite::Connection;
use serde_json::Value;

use crate::model::{AgentId, Reading, Source};
use crate::store::chain;
use crate::store::error::StoreError;
use crate::store::kind;
use crate::store::projection::{Event, Projection, Subject};
use crate::store::readings;

pub(super) struct Readings;

impl Projection for Readings {
    fn name(&self) -> &'static str {
        "readings"
    }

    fn fold(&mut self, db: &Connection, event: &Event<'_>, call: Option<&Subject>) -> Result<(), StoreError> {
        match event.kind {
            kind::FINISHED => remember(db, event, call.map(|call| &*call.agent)),
            kind::READ => remember(db, event, event.text("agent")),
            kind::FORGOTTEN => event.text("agent").map_or(Ok(()), |agent| readings::forget(db, agent)),
            _other => Ok(()),
        }
    }

    fn write(&mut self, _: &Connection, _: i64, _: i64) -> Result<(), StoreError> {
        Ok(())
    }

    /// What events said that retention has dropped still counts, and only the table says so: it stays.
    fn clear(&mut self, db: &Connection) -> Result<bool, StoreError> {
        let whole = chain::anchor(db)?.is_none();
        if whole {
            db.execute("DELETE FROM readings", [])?;
        }
        Ok(whole)
    }

    fn forget(&mut self) {}
}

fn remember(db: &Connection, event: &Event<'_>, agent: Option<&str>) -> Result<(), StoreError> {
    let Some(read) = event.body.get("read") else { return Ok(()) };
    let Some((agent, source)) = agent.zip(Source::of_json(read)) else { return Ok(()) };
    let session = read.get("session").and_then(Value::as_str).map(Into::into);
    readings::remember(db, &Reading { agent: AgentId::configured(agent), session, source, at: event.at })
}
