//! JSON-RPC as MCP has it: one message at a time, ids that are texts or whole numbers.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::base::json::{JsonError, parse_strict};
use crate::protocol::frame::MAX_DEPTH;

/// Not JSON.
pub(crate) const PARSE_ERROR: i64 = -32700;
pub(crate) const INVALID_REQUEST: i64 = -32600;
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
pub(crate) const INVALID_PARAMS: i64 = -32602;
pub(crate) const INTERNAL_ERROR: i64 = -32603;
/// A header says something else than the body (MCP 2026-07-28).
pub(crate) const HEADER_MISMATCH: i64 = -32020;
/// The server needs a capability that its client has not declared.
pub(crate) const CAPABILITY_MISSING: i64 = -32021;
/// No version that is spoken here (MCP 2026-07-28).
pub(crate) const UNSUPPORTED_VERSION: i64 = -32022;

/// The longest id, in bytes.
const MAX_ID: usize = 256;

/// What a client has sent.
pub(crate) enum Incoming {
    /// With an id it wants an answer, without it is a notification.
    Message(Message),
    /// An answer to a request of ours. There are none.
    Reply,
}

pub(crate) struct Message {
    pub id: Option<Value>,
    pub method: String,
    pub params: Map<String, Value>,
}

#[derive(Clone)]
pub(crate) struct Failure {
    /// Over HTTP.
    pub status: u16,
    pub code: i64,
    pub message: String,
    pub data: Option<Value>,
}

impl Failure {
    pub(crate) fn new(status: u16, code: i64, message: impl Into<String>) -> Failure {
        Failure { status, code, message: message.into(), data: None }
    }

    /// What a server behind us says that needs more of its client than we declare.
    pub(crate) fn missing_capability(message: &str, data: &Value) -> Failure {
        Failure::new(400, CAPABILITY_MISSING, message).with(data.clone())
    }

    pub(crate) fn with(self, data: Value) -> Failure {
        Failure { data: Some(data), ..self }
    }

    /// The frame of the error, in answer to the request with this id.
    pub(crate) fn text(&self, id: Option<&Value>) -> String {
        let mut error = json!({"code": self.code, "message": self.message});
        if let (Some(data), Some(members)) = (&self.data, error.as_object_mut()) {
            members.insert("data".into(), data.clone());
        }
        json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string()
    }
}

/// Reads the body of a request.
///
/// # Errors
/// The error to answer.
pub(crate) fn read(body: &[u8]) -> Result<Incoming, Failure> {
    let invalid = |why: &str| Failure::new(400, INVALID_REQUEST, format!("Invalid request: {why}"));
    let mut members = match parse_strict(body, MAX_DEPTH) {
        Ok(Value::Object(members)) => members,
        Ok(Value::Array(_)) => return Err(invalid("send one message at a time")),
        Ok(_) => return Err(invalid("not an object")),
        Err(JsonError::Syntax) => return Err(Failure::new(400, PARSE_ERROR, "Parse error")),
        Err(JsonError::Unsafe(why)) => return Err(invalid(&why)),
    };
    if members.get("jsonrpc") != Some(&"2.0".into()) {
        return Err(invalid("jsonrpc must be \"2.0\""));
    }
    let Some(method) = members.remove("method") else {
        let is_reply = members.contains_key("result") || members.contains_key("error");
        return if is_reply { Ok(Incoming::Reply) } else { Err(invalid("there is no method")) };
    };
    let Value::String(method) = method else { return Err(invalid("method must be a string")) };
    let id = match members.remove("id") {
        None => None,
        Some(Value::String(text)) if text.len() <= MAX_ID => Some(Value::String(text)),
        Some(Value::Number(number)) if !number.is_f64() => Some(Value::Number(number)),
        Some(_) => return Err(invalid("id must be a short string or a whole number")),
    };
    let params = match members.remove("params") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return Err(Failure::new(400, INVALID_PARAMS, "params must be an object")),
    };
    Ok(Incoming::Message(Message { id, method, params }))
}

/// The frame of a result that is JSON text already.
pub(crate) fn result(id: &Value, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

/// How far a call has come: seconds, which only grow.
pub(crate) fn progress(token: &Value, waited: Duration, message: &str) -> String {
    json!({
        "jsonrpc": "2.0",
        "method": "notifications/progress",
        "params": {"progressToken": token, "progress": waited.as_secs(), "message": message},
    })
    .to_string()
}

/// What a client hears whose call goes on: a person is being asked until `expires`, or it is being carried out.
pub(crate) fn waits_for(expires: Option<&str>) -> String {
    match expires {
        Some(expires) => format!("Waiting for a person, until {expires} at the latest"),
        None => "Being carried out".to_owned(),
    }
}

impl Message {
    /// `params._meta.<name>`
    pub(crate) fn meta(&self, name: &str) -> Option<&Value> {
        self.params.get("_meta")?.get(name)
    }

    pub(crate) fn is_notification(&self) -> bool {
        self.id.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(body: &str) -> Option<i64> {
        read(body.as_bytes()).err().map(|failure| failure.code)
    }

    #[test]
    fn one_message_is_taken_and_nothing_else() {
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#), None);
        assert_eq!(code(r#"{"jsonrpc":"2.0","result":{},"id":7}"#), None);
        for (body, expected) in [
            ("", PARSE_ERROR),
            ("{", PARSE_ERROR),
            ("[]", INVALID_REQUEST),
            (r#"[{"jsonrpc":"2.0","id":0,"method":"ping"}]"#, INVALID_REQUEST),
            (r#"{"id":0,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#, INVALID_PARAMS),
        ] {
            assert_eq!(code(body), Some(expected), "{body}");
        }
    }
}
