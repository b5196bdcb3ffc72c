//! The kill switch in the record: an event when it is pressed and one when it is released.

use serde_json::json;

use super::error::StoreError;
use super::handle::Store;
use super::kind;
use crate::base::clock::Timestamp;
use crate::model::{AgentId, Responder, Stop};

impl Store {
    /// Records that calls are stopped; on disk when this returns.
    ///
    /// # Errors
    /// When nothing could be written: the next start does not know of it.
    pub(crate) async fn stop(&self, stop: Stop) -> Result<(), StoreError> {
        let Stop { agent, by, at, reason } = stop;
        let agent = agent.as_ref().map(AgentId::as_str);
        let body = json!({"agent": agent, "by": by.as_str(), "reason": reason});
        self.submit(true, move |tx| tx.append(at, kind::STOPPED, None, &body).map(drop)).await
    }

    /// Records that a person lets calls through again: of this agent, or everything that was stopped as a whole.
    ///
    /// # Errors
    /// When nothing could be written; they must then stay stopped.
    pub(crate) async fn resume(
        &self,
        at: Timestamp,
        agent: Option<&AgentId>,
        by: &Responder,
    ) -> Result<(), StoreError> {
        let body = json!({"agent": agent.map(AgentId::as_str), "by": by.as_str()});
        self.submit(true, move |tx| tx.append(at, kind::RESUMED, None, &body).map(drop)).await
    }
}
