//! JSON-RPC as MCP has it: one message per request, ids that are texts or whole numbers.

use serde_json::{Map, Value, json};

use crate::base::json::{JsonError, parse_strict};
use crate::net::front::WebAnswer;
use crate::protocol::frame::MAX_DEPTH;

/// Not JSON.
pub(super) const PARSE_ERROR: i64 = -32700;
pub(super) const INVALID_REQUEST: i64 = -32600;
pub(super) const METHOD_NOT_FOUND: i64 = -32601;
pub(super) const INVALID_PARAMS: i64 = -32602;
pub(super) const INTERNAL_ERROR: i64 = -32603;
/// A header says something else than the body (MCP 2026-07-28).
pub(super) const HEADER_MISMATCH: i64 = -32020;
/// No version that is spoken here (MCP 2026-07-28).
pub(super) const UNSUPPORTED_VERSION: i64 = -32022;

/// The longest id, in bytes.
const MAX_ID: usize = 256;

/// What a client has sent.
pub(super) enum Incoming {
    /// With an id it wants an answer, without it is a notification.
    Message(Message),
    /// An answer to a request of ours. There are none.
    Reply,
}

pub(super) struct Message {
    pub id: Option<Value>,
    pub method: String,
    pub params: Map<String, Value>,
}

pub(super) struct Failure {
    pub status: u16,
    pub code: i64,
    pub message: String,
    pub data: Option<Value>,
}

impl Failure {
    pub(super) fn new(status: u16, code: i64, message: impl Into<String>) -> Failure {
        Failure { status, code, message: message.into(), data: None }
    }

    pub(super) fn with(self, data: Value) -> Failure {
        Failure { data: Some(data), ..self }
    }

    /// An error in answer to the request with this id.
    pub(super) fn answer(&self, id: Option<&Value>) -> WebAnswer {
        WebAnswer::new(self.status, "application/json", self.text(id))
    }

    pub(super) fn text(&self, id: Option<&Value>) -> String {
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
pub(super) fn read(body: &[u8]) -> Result<Incoming, Failure> {
    let invalid = |why: &str| Failure::new(400, INVALID_REQUEST, format!("Invalid request: {why}"));
    let mut members = match parse_strict(body, MAX_DEPTH) {
        Ok(Value::Object(members)) => members,
        Ok(Value::Array(_)) => return Err(invalid("send one message per request")),
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
pub(super) fn result_text(id: &Value, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

pub(super) fn result(id: &Value, result: &str) -> WebAnswer {
    WebAnswer::new(200, "application/json", result_text(id, result))
}

/// What a notification is answered with.
pub(super) fn accepted() -> WebAnswer {
    WebAnswer::new(202, "application/json", Vec::new())
}

impl Message {
    /// `params._meta.<name>`
    pub(super) fn meta(&self, name: &str) -> Option<&Value> {
        self.params.get("_meta")?.get(name)
    }

    pub(super) fn is_notification(&self) -> bool {
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
