//! The record of what agents say that they did with their permits.

use rusqlite::{OptionalExtension as _, params};
use serde_json::json;

use super::error::StoreError;
use super::handle::Store;
use super::tx::Tx;
use super::{folding, kind};
use crate::base::clock::Timestamp;
use crate::base::ids::RequestId;
use crate::model::{AgentId, Report, ReportOutcome};

impl Store {
    /// Adds what the agent says of its permit, once.
    ///
    /// # Errors
    /// When nothing could be written.
    pub(crate) async fn report(
        &self,
        agent: AgentId,
        id: RequestId,
        told: Report,
        at: Timestamp,
    ) -> Result<ReportOutcome, StoreError> {
        self.submit(true, move |tx| report(tx, &agent, id, &told, at)).await
    }
}

/// Adds an agent's word on what it did with its permit. There is one for each, ever.
fn report(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    id: RequestId,
    report: &Report,
    at: Timestamp,
) -> Result<ReportOutcome, StoreError> {
    folding::fold(tx)?;
    let sql = "SELECT EXISTS (SELECT 1 FROM steps WHERE request_id = ?1 AND kind = 'reported')
               FROM calls WHERE request_id = ?1 AND agent = ?2 AND outcome = 'permitted'";
    let found =
        tx.db.prepare_cached(sql)?.query_row(params![id.to_string(), agent.as_str()], |row| row.get(0));
    Ok(match found.optional()? {
        None => ReportOutcome::Unknown,
        Some(true) => ReportOutcome::AlreadyReported,
        Some(false) => {
            let body = json!({"ok": report.ok, "detail": report.detail, "by": agent.as_str()});
            tx.append(at, kind::REPORTED, Some(id), &body)?;
            ReportOutcome::Reported
        }
    })
}
