//! What the gateway returns, read leniently: a member that is missing or of another type reads as empty.

use serde_json::{Map, Value};

use crate::base::clock::Timestamp;

/// A call that was carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolResult {
    /// What the service returned; null when that was lost.
    pub data: Value,
    /// Why there is no data, in one word: the service did it, but its answer cannot be used.
    pub data_lost: Option<String>,
    /// What is missing from the data or was changed in it, for people.
    pub data_note: Option<String>,
    /// The gateway's id of the call; empty from gateways that send none.
    pub request_id: String,
    /// Set where the agent may do it itself: how many seconds the permit still counts.
    pub expires_in: Option<u64>,
    /// The outcome of an earlier call with the same idempotency key; nothing ran now.
    pub replayed: bool,
    /// The grant that let it through: `grant_id`, `until` and `uses_left`.
    pub grant: Option<Value>,
    /// The arguments that a person has changed, by name.
    pub edited: Option<Value>,
}

impl ToolResult {
    pub(super) fn read(mut reply: Value) -> ToolResult {
        ToolResult {
            data: take(&mut reply, "data"),
            data_lost: member(&reply, "data_lost"),
            data_note: member(&reply, "data_note"),
            request_id: text(&reply, "request_id"),
            expires_in: reply.get("expires_in").and_then(Value::as_u64),
            replayed: reply.get("replayed").and_then(Value::as_bool).unwrap_or_default(),
            grant: reply.get("grant").cloned(),
            edited: reply.get("edited").cloned(),
        }
    }
}

/// A human is being asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// The gateway's id of the call; [`super::Client::cancel`] takes it.
    pub request_id: String,
    /// When the question ends, by the gateway's clock.
    pub expires_at: Option<Timestamp>,
}

impl Pending {
    pub(super) fn read(params: &Value) -> Pending {
        let expires_at = Timestamp::parse(&text(params, "expires_at"));
        Pending { request_id: text(params, "request_id"), expires_at }
    }
}

/// One tool.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolInfo {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// The service it belongs to.
    pub service: String,
    /// Its arguments, by name.
    pub args: Vec<ArgInfo>,
    /// All that the gateway said about it.
    pub json: Value,
}

/// One argument of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct ArgInfo {
    /// Its name.
    pub name: String,
    /// Whether a call without it is refused.
    pub required: bool,
    /// Its declared JSON type.
    pub kind: Option<String>,
    /// The pattern that the whole value must match.
    pub validate: Option<String>,
    /// What it is for.
    pub description: String,
}

impl ToolInfo {
    pub(super) fn read(json: Value) -> ToolInfo {
        let args = json.get("args").and_then(Value::as_object);
        ToolInfo {
            name: text(&json, "name"),
            description: text(&json, "description"),
            service: text(&json, "service"),
            args: args.map(arguments).unwrap_or_default(),
            json,
        }
    }
}

fn arguments(args: &Map<String, Value>) -> Vec<ArgInfo> {
    let maybe = |arg: &Value, name: &str| arg.get(name).and_then(Value::as_str).map(str::to_owned);
    let read = |(name, arg): (&String, &Value)| ArgInfo {
        name: name.clone(),
        kind: maybe(arg, "type"),
        validate: maybe(arg, "validate"),
        required: arg.get("required").and_then(Value::as_bool).unwrap_or_default(),
        description: text(arg, "description"),
    };
    args.iter().map(read).collect()
}

/// The outcome of an earlier call.
#[derive(Clone, Debug, PartialEq)]
pub struct PendingResult {
    /// The gateway's id of the call.
    pub request_id: String,
    /// The tool.
    pub tool_name: String,
    /// Its arguments.
    pub args: Value,
    /// `{"status", "data", "reason"}`; `status` is `executed`, `permitted`, `denied` or `error`.
    pub result: Value,
    /// All that the gateway said, `args` and `result` as the JSON texts that they are on the wire.
    pub json: Value,
}

impl PendingResult {
    pub(super) fn read(json: Value) -> PendingResult {
        PendingResult {
            request_id: text(&json, "request_id"),
            tool_name: text(&json, "tool_name"),
            args: embedded(&json, "args"),
            result: embedded(&json, "result"),
            json,
        }
    }
}

/// The array under `name`.
pub(super) fn list(reply: &Value, name: &str) -> Vec<Value> {
    reply.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// JSON in a JSON text; what is no JSON stays a text.
fn embedded(value: &Value, name: &str) -> Value {
    let inner = value.get(name).cloned().unwrap_or_default();
    inner.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(inner)
}

fn text(value: &Value, name: &str) -> String {
    member(value, name).unwrap_or_default()
}

fn member(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn take(value: &mut Value, name: &str) -> Value {
    value.get_mut(name).map(Value::take).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_what_is_there() {
        let got =
            ToolResult::read(json!({"status": "executed", "data": [1], "request_id": "r", "replayed": true}));
        let whole = ToolResult {
            data: json!([1]),
            data_lost: None,
            expires_in: None,
            data_note: None,
            request_id: "r".into(),
            replayed: true,
            grant: None,
            edited: None,
        };
        assert_eq!(got, whole);
        let got = ToolResult::read(json!({"data": null, "data_lost": "cut_off", "data_note": 7}));
        assert_eq!((got.data_lost.as_deref(), got.data_note), (Some("cut_off"), None));
        let got = PendingResult::read(json!({"request_id": "r", "args": "{\"a\":1}", "result": "{"}));
        assert_eq!((got.args, got.result), (json!({"a": 1}), json!("{")));
        let got = ToolInfo::read(json!({"name": "t", "args": {"a": {"required": true}, "b": 7}}));
        assert_eq!(got.args.iter().map(|a| a.required).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn nothing_from_the_wire_is_trusted_to_have_a_type() {
        for odd in
            [json!(null), json!([]), json!("x"), json!({"name": 7, "args": [], "data": {}, "result": []})]
        {
            ToolResult::read(odd.clone());
            ToolInfo::read(odd.clone());
            PendingResult::read(odd.clone());
            assert_eq!(Pending::read(&odd).expires_at, None);
            assert_eq!(list(&odd, "tools"), Vec::<Value>::new());
        }
    }
}
