//! The tools that the gateway adds to the owner's: to wait for a call, to see what is open, to ask why. They do nothing that
//! another front does not offer, and touch no service.

use serde_json::{Map, Value, json};

use super::client::Client;
use crate::base::ids::RequestId;
use crate::base::slots::Slot;
use crate::gate::{Submission, Ticket};
use crate::protocol::mcp::result::{ToolResult, WAIT};
use crate::surface::agent::NotServed;

/// Lists what is open and what has not been received.
const PENDING: &str = "agentpass_pending";
/// Says what would become of a call.
const EXPLAIN: &str = "agentpass_explain";

/// What one of these tools leads to.
pub(super) enum Own {
    Result(ToolResult),
    /// The call to wait for.
    Wait(Ticket, Slot),
}

/// The elements of `tools` for this client: the owner's and these.
///
/// # Errors
/// When the agent asks too often.
pub(super) fn list(client: &Client) -> Result<String, NotServed> {
    let owners = client.agent.list_from(&client.mcp.lists)?;
    let explains = client.agent.may_explain();
    let own = definitions().into_iter().filter(|(name, _)| explains || *name != EXPLAIN);
    let own = own.map(|(_, definition)| definition.to_string());
    let all: Vec<_> =
        Some(owners.json.to_string()).filter(|json| !json.is_empty()).into_iter().chain(own).collect();
    Ok(all.join(","))
}

fn definitions() -> [(&'static str, Value); 3] {
    let tool = |name: &'static str, description: &str, properties: Value, required: Value| {
        let schema = json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
        let hints = json!({"readOnlyHint": true, "destructiveHint": false});
        let definition =
            json!({"name": name, "description": description, "inputSchema": schema, "annotations": hints});
        (name, definition)
    };
    [
        tool(
            WAIT,
            "Waits for a call that is pending until a person has answered, and returns its result.",
            json!({"request_id": {"type": "string", "description": "The request that the pending result names"}}),
            json!(["request_id"]),
        ),
        tool(
            PENDING,
            "Lists calls that wait for a person and results not received yet.",
            json!({}),
            json!([]),
        ),
        tool(
            EXPLAIN,
            "Says what would become of a call, and why, without making it.",
            json!({"tool": {"type": "string"}, "arguments": {"type": "object"}}),
            json!(["tool"]),
        ),
    ]
}

/// Runs one of these tools; None when it is another one.
pub(super) async fn run(
    client: &Client,
    name: &str,
    args: &Map<String, Value>,
) -> Option<Result<Own, NotServed>> {
    match name {
        WAIT => Some(wait(client, args).await),
        PENDING => Some(pending(client).await.map(Own::Result)),
        EXPLAIN if client.agent.may_explain() => Some(explain(client, args).map(Own::Result)),
        _ => None,
    }
}

async fn wait(client: &Client, args: &Map<String, Value>) -> Result<Own, NotServed> {
    let id = args.get("request_id").and_then(Value::as_str).and_then(RequestId::parse);
    let Some(id) = id else {
        return Ok(Own::Result(ToolResult::text("request_id is not the id of a request.", true)));
    };
    wait_for(client, id).await
}

/// The call with this id, or its result.
///
/// # Errors
/// When the agent asks too often, or the record cannot be read.
pub(super) async fn wait_for(client: &Client, id: RequestId) -> Result<Own, NotServed> {
    if let Some(ticket) = client.agent.gate().ticket(client.agent.id(), id) {
        let slot = client.agent.inbox_slot()?;
        return Ok(Own::Wait(ticket, slot));
    }
    let _slot = client.agent.inbox_slot()?;
    let Some(result) = client.agent.pending_result(id).await? else {
        let text = "There is no such request under way, and no result of it waits: it was received already, or never was.";
        return Ok(Own::Result(ToolResult::text(text, true)));
    };
    client.transit.offer(&client.agent.gate().inbox, id);
    Ok(Own::Result(ToolResult::waiting(&id.to_string(), &result.result)))
}

async fn pending(client: &Client) -> Result<ToolResult, NotServed> {
    let _slot = client.agent.inbox_slot()?;
    let results = client.agent.pending_results().await?;
    let questions = client.agent.gate().approvals.questions();
    let own = questions.iter().filter(|question| question.call.agent() == client.agent.id());
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
    Ok(ToolResult::json(&json!({"waiting_for_a_person": open, "results": results, "fetch_with": WAIT})))
}

fn explain(client: &Client, args: &Map<String, Value>) -> Result<ToolResult, NotServed> {
    let tool = args.get("tool").and_then(Value::as_str).unwrap_or_default();
    let arguments = args.get("arguments").and_then(Value::as_object).cloned().unwrap_or_default();
    let request = Submission { tool: tool.to_owned(), args: arguments, ..Submission::default() };
    let why = client.agent.explain(request)?;
    Ok(ToolResult::json(&why))
}
