//! The parameters of each method, read strictly: an unknown member, a wrong type or an excess length is refused.

use serde_json::{Map, Value};

use super::code;
use super::frame::WireError;

/// The longest `reason`, in characters.
pub const MAX_REASON: usize = 500;
/// The longest `session_id` and `idempotency_key`, in bytes.
pub const MAX_KEY: usize = 128;
/// The longest tool name, in bytes.
pub const MAX_TOOL: usize = 128;

/// Parameters of `tool_request` and `explain`.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ToolRequest {
    pub tool: String,
    pub args: Map<String, Value>,
    /// Shown to the human.
    pub reason: Option<String>,
    /// The agent's own name for what it is doing.
    pub session_id: Option<String>,
    /// The same key never leads to a second execution.
    pub idempotency_key: Option<String>,
    /// Whether it is for what the agent performs itself, or for what is performed for it; None: it does not matter.
    pub permits: Option<bool>,
}

/// Parameters of `auth`.
///
/// # Errors
/// As for all readers here: -32600 with the member's name.
pub fn auth(mut params: Map<String, Value>) -> Result<String, WireError> {
    let token = text(&mut params, "token", 4096)?.ok_or_else(|| bad("Missing token"))?;
    nothing_else(&params)?;
    Ok(token)
}

/// Parameters of `tool_request`.
///
/// # Errors
/// -32600 for a missing tool name, a wrong type, an excess length or an unknown member.
pub fn tool_request(mut params: Map<String, Value>) -> Result<ToolRequest, WireError> {
    let tool = text(&mut params, "tool", MAX_TOOL)?.filter(|t| !t.is_empty());
    let tool = tool.ok_or_else(|| bad("Missing tool name"))?;
    let args = match params.remove("args") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(args)) => args,
        Some(_) => return Err(bad("args must be an object")),
    };
    let reason = text(&mut params, "reason", MAX_REASON * 4)?;
    if reason.as_ref().is_some_and(|r| r.chars().count() > MAX_REASON) {
        return Err(too_long("reason"));
    }
    let session_id = text(&mut params, "session_id", MAX_KEY)?;
    let idempotency_key = text(&mut params, "idempotency_key", MAX_KEY)?;
    let permits = match params.remove("permits") {
        None | Some(Value::Null) => None,
        Some(Value::Bool(permits)) => Some(permits),
        Some(_) => return Err(bad("permits must be true or false")),
    };
    nothing_else(&params)?;
    Ok(ToolRequest { tool, args, reason, session_id, idempotency_key, permits })
}

/// Parameters of `list_tools`: whether for MCP clients.
///
/// # Errors
/// -32600 as above.
pub(crate) fn list_tools(mut params: Map<String, Value>) -> Result<bool, WireError> {
    let front = text(&mut params, "for", MAX_KEY)?;
    nothing_else(&params)?;
    match front.as_deref() {
        None => Ok(false),
        Some("mcp") => Ok(true),
        Some(_) => Err(bad("for must be \"mcp\"")),
    }
}

/// Parameters of `cancel` and `wait`: the request id as text.
///
/// # Errors
/// -32600 as above.
pub(crate) fn cancel(mut params: Map<String, Value>) -> Result<String, WireError> {
    let id = text(&mut params, "request_id", MAX_KEY)?.ok_or_else(|| bad("Missing request_id"))?;
    nothing_else(&params)?;
    Ok(id)
}

/// Parameters of `report`: the request id as text, whether it went well, and the agent's words.
///
/// # Errors
/// -32600 as above.
pub(crate) fn report(mut params: Map<String, Value>) -> Result<(String, bool, Option<String>), WireError> {
    let id = text(&mut params, "request_id", MAX_KEY)?.ok_or_else(|| bad("Missing request_id"))?;
    let ok = params
        .remove("ok")
        .as_ref()
        .and_then(Value::as_bool)
        .ok_or_else(|| bad("ok must be true or false"))?;
    let detail = text(&mut params, "detail", MAX_REASON * 4)?;
    if detail.as_ref().is_some_and(|detail| detail.chars().count() > MAX_REASON) {
        return Err(too_long("detail"));
    }
    nothing_else(&params)?;
    Ok((id, ok, detail))
}

/// For methods without parameters.
///
/// # Errors
/// -32600 when there is any.
pub(crate) fn nothing_else(params: &Map<String, Value>) -> Result<(), WireError> {
    match params.keys().next() {
        Some(name) => {
            let name: String = name.chars().take(64).collect();
            Err(bad(&format!("Unknown parameter: {name}")))
        }
        None => Ok(()),
    }
}

fn text(params: &mut Map<String, Value>, name: &str, max: usize) -> Result<Option<String>, WireError> {
    match params.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= max => Ok(Some(text)),
        Some(Value::String(_)) => Err(too_long(name)),
        Some(_) => Err(bad(&format!("{name} must be a string"))),
    }
}

fn too_long(name: &str) -> WireError {
    WireError::new(code::INVALID_REQUEST, "too_large", format!("{name} is too long"))
}

fn bad(message: &str) -> WireError {
    WireError::new(code::INVALID_REQUEST, "invalid_request", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(params: Value) -> Result<ToolRequest, WireError> {
        let Value::Object(params) = params else { panic!("not an object") };
        tool_request(params)
    }

    #[test]
    fn reads_all_members() {
        let got = read(
            json!({"tool": "t", "args": {"a": 1}, "reason": "r", "session_id": "s", "idempotency_key": "k"}),
        );
        let got = got.unwrap();
        assert_eq!((got.tool.as_str(), got.idempotency_key.as_deref()), ("t", Some("k")));
    }

    #[test]
    fn refuses_what_is_not_in_the_contract() {
        for bad in [
            json!({}),
            json!({"tool": ""}),
            json!({"tool": 7}),
            json!({"tool": "t", "args": []}),
            json!({"tool": "t", "agent_id": "root"}),
            json!({"tool": "t", "approved": true}),
            json!({"tool": "t", "reason": "x".repeat(MAX_REASON + 1)}),
            json!({"tool": "t", "session_id": "x".repeat(MAX_KEY + 1)}),
            json!({"tool": "x".repeat(MAX_TOOL + 1)}),
        ] {
            assert_eq!(read(bad.clone()).unwrap_err().code, code::INVALID_REQUEST, "{bad}");
        }
        assert!(read(json!({"tool": "t", "reason": "ä".repeat(MAX_REASON)})).is_ok());
    }
}
