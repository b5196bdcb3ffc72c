//! From outcomes to results.

use serde_json::Value;

use crate::gate::CallReply;
use crate::model::Outcome;
use crate::protocol::mcp::result::{Ending, ToolResult};

pub(super) fn of(reply: &CallReply) -> ToolResult {
    let CallReply { outcome, request_id, replayed, grant } = reply;
    let id = request_id.map(|id| id.to_string());
    let mut details = outcome.details();
    if let Outcome::Executed(output) = outcome {
        details.extend(grant.map(|grant| ("grant".to_owned(), grant.to_json())));
        details.extend(id.map(|id| ("request_id".to_owned(), id.into())));
        details.extend(replayed.then(|| ("replayed".to_owned(), true.into())));
        return ToolResult::data(output.data.as_str(), details);
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
