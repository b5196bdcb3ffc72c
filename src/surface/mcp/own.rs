//! The tools that the gateway adds to the owner's: to wait for a call, to see what is open, to ask why. They do nothing that
//! another front does not offer. What coding agents ask is a call like others.

use serde_json::{Map, Value};

use super::client::Client;
use crate::base::ids::RequestId;
use crate::base::slots::Slot;
use crate::gate::{Submission, Ticket};
use crate::protocol::mcp::own::{EXPLAIN, PENDING, WAIT};
use crate::protocol::mcp::result::ToolResult;
use crate::surface::agent::NotServed;

/// What one of these tools leads to.
pub(super) enum Own {
    Result(ToolResult),
    /// The call to wait for.
    Wait(Ticket, Slot),
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
        return Ok(Own::Result(ToolResult::no_such_request()));
    };
    client.transit.offer(&client.agent.gate().inbox, id);
    Ok(Own::Result(ToolResult::waiting(&id.to_string(), &result.result)))
}

async fn pending(client: &Client) -> Result<ToolResult, NotServed> {
    let _slot = client.agent.inbox_slot()?;
    Ok(ToolResult::json(&client.agent.open_work().await?))
}

fn explain(client: &Client, args: &Map<String, Value>) -> Result<ToolResult, NotServed> {
    let tool = args.get("tool").and_then(Value::as_str).unwrap_or_default();
    let arguments = args.get("arguments").and_then(Value::as_object).cloned().unwrap_or_default();
    let request = Submission { tool: tool.to_owned(), args: arguments, ..Submission::default() };
    let why = client.agent.explain(request)?;
    Ok(ToolResult::json(&why))
}
