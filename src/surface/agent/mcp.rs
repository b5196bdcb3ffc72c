//! What MCP clients see of the gateway, whichever way they reach it.

use serde_json::{Value, json};

use super::{AgentHandle, NotServed};
use crate::protocol::mcp::own::{self, WAIT};

impl AgentHandle {
    /// The elements of `tools`, joined by commas: the owner's and the gateway's own.
    ///
    /// # Errors
    /// When the agent asks too often.
    pub(crate) fn list_for_mcp(&self) -> Result<String, NotServed> {
        let owners = self.list_from(&self.agents.mcp_tools)?;
        let own = own::definitions(self.may_explain(), owners.has_permits).map(|tool| tool.to_string());
        let owners = Some(owners.json.to_string()).filter(|json| !json.is_empty());
        Ok(owners.into_iter().chain(own).collect::<Vec<_>>().join(","))
    }

    /// Whether it may ask about what it does itself.
    pub(crate) fn has_permits(&self) -> bool {
        self.agents.mcp_tools.get(self.gate(), self.id()).has_permits
    }

    /// Its calls that wait for a person, and its results not received yet. Nothing counts as received by that.
    ///
    /// # Errors
    /// When the record cannot be read, or the agent has had its share of it.
    pub(crate) async fn open_work(&self) -> Result<Value, NotServed> {
        let results = self.pending_results().await?;
        let questions = self.gate().approvals.questions();
        let own = questions.iter().filter(|question| question.call.agent() == self.id());
        let open: Vec<_> = own
            .map(|question| {
                json!({
                    "request_id": question.id.to_string(),
                    "tool": question.call.tool().name,
                    "signature": question.call.signature(),
                    "expires_at": question.expires.to_string(),
                })
            })
            .collect();
        let results: Vec<_> = results
            .iter()
            .map(|result| {
                json!({
                    "request_id": result.request_id.to_string(),
                    "tool": result.tool_name,
                    "signature": result.signature,
                    "expires_at": result.expires_at.to_string(),
                })
            })
            .collect();
        Ok(json!({"waiting_for_a_person": open, "results": results, "fetch_with": WAIT}))
    }
}
