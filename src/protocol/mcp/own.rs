//! The tools that the gateway adds to the owner's: to wait for a call, to see what is open, to ask why, to ask for a permit.
//! They touch no service.

use serde_json::{Value, json};

/// The names that begin so are the gateway's.
pub(crate) const RESERVED: &str = "agentpass_";
/// Waits for a call that is pending.
pub(crate) const WAIT: &str = "agentpass_wait";
/// Lists what is open and what has not been received.
pub(crate) const PENDING: &str = "agentpass_pending";
/// Says what would become of a call.
pub(crate) const EXPLAIN: &str = "agentpass_explain";
/// Asks whether a coding agent may use a tool of its own.
pub(crate) const PERMISSION: &str = "agentpass_permission";

/// Their definitions, the last two where the agent `explains` and has tools of `permits`.
pub(crate) fn definitions(explains: bool, permits: bool) -> impl Iterator<Item = Value> {
    let always = [
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
    ];
    let explain = || {
        tool(
            EXPLAIN,
            "Says what would become of a call, and why, without making it.",
            json!({"tool": {"type": "string"}, "arguments": {"type": "object"}}),
            json!(["tool"]),
        )
    };
    let permission = || {
        tool(
            PERMISSION,
            "For coding agents that ask before they use a tool of their own: may it be used? Answers allow or deny as JSON.",
            json!({
                "tool_name": {"type": "string", "description": "The coding agent's tool, such as Bash"},
                "input": {"type": "object", "description": "What it is to be used with"},
                "tool_use_id": {"type": "string", "description": "This one use of it"},
            }),
            json!(["tool_name", "input"]),
        )
    };
    always.into_iter().chain(explains.then(explain)).chain(permits.then(permission))
}

fn tool(name: &str, description: &str, properties: Value, required: Value) -> Value {
    let schema = json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
    let hints = json!({"readOnlyHint": true, "destructiveHint": false});
    json!({"name": name, "description": description, "inputSchema": schema, "annotations": hints})
}
