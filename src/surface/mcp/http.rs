//! Messages as HTTP carries them.

use serde_json::Value;

use crate::net::front::WebAnswer;
use crate::protocol::mcp::message::{self, Failure};

pub(super) fn result(id: &Value, result: &str) -> WebAnswer {
    WebAnswer::new(200, "application/json", message::result(id, result))
}

pub(super) fn failure(failure: &Failure, id: Option<&Value>) -> WebAnswer {
    WebAnswer::new(failure.status, "application/json", failure.text(id))
}

/// What a notification is answered with.
pub(super) fn accepted() -> WebAnswer {
    WebAnswer::new(202, "application/json", Vec::new())
}
