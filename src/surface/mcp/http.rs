//! Messages as HTTP carries them.

use serde_json::Value;

use super::client::{Client, not_served};
use crate::net::front::{WebAnswer, WebBody};
use crate::protocol::mcp::era;
use crate::protocol::mcp::message::{self, Failure, INVALID_REQUEST};

pub(super) fn result(id: &Value, result: &str) -> WebAnswer {
    WebAnswer::new(200, "application/json", message::result(id, result))
}

/// The answer to `tools/list`.
///
/// # Errors
/// When the agent asks too often.
pub(super) fn list(client: &Client, id: &Value) -> Result<WebAnswer, Failure> {
    let tools = client.agent.list_for_mcp().map_err(not_served)?;
    Ok(result(id, &era::listed(&tools, client.is_modern)))
}

pub(super) fn failure(failure: &Failure, id: Option<&Value>) -> WebAnswer {
    WebAnswer::new(failure.status, "application/json", failure.text(id))
}

/// A refusal whose words are where clients look for them: some show no others.
pub(super) fn refusal(refusal: WebAnswer) -> WebAnswer {
    let WebBody::Whole(text) = &refusal.body else { return refusal };
    let spoken =
        failure(&Failure::new(refusal.status, INVALID_REQUEST, String::from_utf8_lossy(text).trim()), None);
    let others = refusal.headers.into_iter().filter(|(name, _)| *name != "content-type");
    others.fold(spoken, |answer, (name, value)| answer.with(name, value))
}

/// What a notification is answered with.
pub(super) fn accepted() -> WebAnswer {
    WebAnswer::new(202, "application/json", Vec::new())
}
