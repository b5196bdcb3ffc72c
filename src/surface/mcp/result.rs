//! From outcomes to results.

use serde_json::Value;

use crate::gate::{CallReply, Gate};
use crate::model::{Outcome, Sort};
use crate::protocol::coding_agent::why_denied;
use crate::protocol::mcp::permission::NOBODY;
use crate::protocol::mcp::result::{Ending, ToolResult};

/// What a coding agent is told that asks for permission.
///
/// # Errors
/// Why it may not, for its model.
pub(super) fn decision(gate: &Gate, reply: &CallReply) -> Result<(), String> {
    let outcome = &reply.outcome;
    if let Some(left) = gate.permit_left(outcome) {
        return if left > 0 { Ok(()) } else { Err("the permit is over".to_owned()) };
    }
    let (reason, details) = (outcome.reason().unwrap_or_default(), outcome.details());
    let text = |name: &str| details.get(name).and_then(Value::as_str);
    Err(match outcome.sort() {
        Sort::DeniedByUser | Sort::DeniedByPolicy => {
            why_denied(reason, text("note"), text("rule"), &outcome.explained())
        }
        Sort::TimedOut => NOBODY.to_owned(),
        _ => format!("agentpass could not decide: {}", outcome.message()),
    })
}

pub(super) fn of(reply: &CallReply) -> ToolResult {
    let CallReply { outcome, request_id, replayed, grant } = reply;
    let id = request_id.map(|id| id.to_string());
    let mut details = outcome.details();
    if let Outcome::Executed(output) = outcome {
        details.extend(grant.map(|grant| ("grant".to_owned(), grant.to_json())));
        details.extend(id.map(|id| ("request_id".to_owned(), id.into())));
        details.extend(replayed.then(|| ("replayed".to_owned(), true.into())));
        let data = output.data.as_str();
        let content = output.is_content.then(|| ToolResult::content(data, &details)).flatten();
        return content.unwrap_or_else(|| ToolResult::data(data, details));
    }
    if let Outcome::Permitted(_) = outcome {
        return ToolResult::permitted(&id.unwrap_or_default());
    }
    let ending = Ending {
        reason: outcome.reason().unwrap_or_default(),
        message: &outcome.explained(),
        note: details.get("note").and_then(Value::as_str),
        retry_after: details.get("retry_after").and_then(Value::as_u64),
        request_id: id.as_deref(),
    };
    ending.result()
}
