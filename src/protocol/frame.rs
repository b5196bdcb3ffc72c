//! One text frame from an agent: a request, a batch of requests, or something to be refused.
//!
//! Everything is parsed strictly: duplicate keys, depth and unsafe numbers are refused for the whole frame.

use serde_json::{Map, Value, json};

use super::code;
use crate::base::json::{JsonError, parse_strict};

/// The deepest JSON taken, in containers.
pub const MAX_DEPTH: u8 = 32;
/// The most requests in one batch. More than a connection may have in flight would only be refused one by one.
pub const MAX_BATCH: usize = 100;

/// One JSON-RPC request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// A string or a number, echoed in the reply.
    pub id: Value,
    /// The method's name.
    pub method: String,
    /// Named parameters; an absent `params` is an empty object.
    pub params: Map<String, Value>,
}

/// A request that cannot be taken, with the id to answer to (null when none could be read).
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// The id it is answered with.
    pub id: Value,
    /// What is said.
    pub error: WireError,
}

/// `error` of a JSON-RPC reply.
#[derive(Clone, Debug, PartialEq)]
pub struct WireError {
    /// One of [`super::code`].
    pub code: i64,
    /// For people.
    pub message: String,
    /// `data.reason`, for programs.
    pub reason: &'static str,
    /// Further members of `data`.
    pub data: Map<String, Value>,
}

impl WireError {
    /// An error without further data.
    pub fn new(code: i64, reason: &'static str, message: impl Into<String>) -> WireError {
        WireError { code, message: message.into(), reason, data: Map::new() }
    }

    /// The same with one more member in `data`.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> WireError {
        self.data.insert(name.to_owned(), value.into());
        self
    }
}

/// What one text frame holds.
#[derive(Debug, PartialEq)]
pub enum Frame {
    /// One request, or the refusal of it.
    Single(Result<Request, Refused>),
    /// A batch; answered as one array.
    Batch(Vec<Result<Request, Refused>>),
}

/// Reads one text frame.
///
/// # Errors
/// When nothing in it can be taken: no JSON, unsafe JSON, an empty or an oversized batch. Answered with id null,
/// or with the id that could still be read.
pub fn parse(text: &str) -> Result<Frame, Refused> {
    let value = parse_strict(text.as_bytes(), MAX_DEPTH)
        .map_err(|e| Refused { id: Value::Null, error: unparsed(&e) })?;
    match value {
        Value::Array(items) if items.is_empty() => Err(invalid(Value::Null, "Empty batch")),
        Value::Array(items) if items.len() > MAX_BATCH => Err(Refused {
            id: Value::Null,
            error: WireError::new(
                code::INVALID_REQUEST,
                "too_large",
                format!("More than {MAX_BATCH} requests in a batch"),
            ),
        }),
        Value::Array(items) => Ok(Frame::Batch(items.into_iter().map(request).collect())),
        single => Ok(Frame::Single(request(single))),
    }
}

fn unparsed(e: &JsonError) -> WireError {
    match e {
        JsonError::Syntax => WireError::new(code::PARSE_ERROR, "parse_error", "Parse error"),
        JsonError::Unsafe(why) => {
            WireError::new(code::INVALID_REQUEST, "invalid_request", format!("Invalid request: {why}"))
        }
    }
}

fn invalid(id: Value, message: &str) -> Refused {
    Refused { id, error: WireError::new(code::INVALID_REQUEST, "invalid_request", message) }
}

fn request(value: Value) -> Result<Request, Refused> {
    let Value::Object(mut members) = value else {
        return Err(invalid(Value::Null, "Invalid request: not an object"));
    };
    let id = members.remove("id").unwrap_or(Value::Null);
    let echo = if is_id(&id) { id.clone() } else { Value::Null };
    if members.remove("jsonrpc") != Some("2.0".into()) {
        return Err(invalid(echo, "Invalid request: jsonrpc must be \"2.0\""));
    }
    let Some(Value::String(method)) = members.remove("method") else {
        return Err(invalid(echo, "Missing method"));
    };
    if !is_id(&id) {
        return Err(invalid(Value::Null, "Missing request id"));
    }
    let params = match members.remove("params") {
        None => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return Err(invalid(id, "Invalid request: params must be an object")),
    };
    match members.keys().next() {
        Some(_) => Err(invalid(id, "Invalid request: unknown member")),
        None => Ok(Request { id, method, params }),
    }
}

/// Strings (of a sane length) and numbers; null, which JSON-RPC allows but nobody can match, is none.
fn is_id(id: &Value) -> bool {
    match id {
        Value::String(text) => text.len() <= 256,
        Value::Number(_) => true,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

/// A successful reply.
pub fn result(id: &Value, result: Value) -> Value {
    message([("result", result), ("id", id.clone())])
}

/// An error reply.
pub fn error(id: &Value, error: &WireError) -> Value {
    let mut data = error.data.clone();
    data.insert("reason".into(), error.reason.into());
    let said = json!({"code": error.code, "message": error.message, "data": data});
    message([("error", said), ("id", id.clone())])
}

/// A notification from the gateway.
pub fn notification(method: &str, params: Value) -> Value {
    message([("method", method.into()), ("params", params)])
}

/// Moves its members, where `json!` would copy them: a result may be large.
fn message(members: [(&str, Value); 2]) -> Value {
    [("jsonrpc", "2.0".into())].into_iter().chain(members).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(text: &str) -> (i64, Value) {
        let refused = match parse(text) {
            Err(refused) | Ok(Frame::Single(Err(refused))) => refused,
            other => panic!("taken: {other:?}"),
        };
        (refused.error.code, refused.id)
    }

    #[test]
    fn takes_a_request() {
        let frame = parse(r#"{"jsonrpc":"2.0","method":"list_tools","id":7}"#).unwrap();
        let Frame::Single(Ok(request)) = frame else { panic!("{frame:?}") };
        assert_eq!((request.method.as_str(), request.id), ("list_tools", Value::from(7)));
    }

    #[test]
    fn refuses_with_the_right_code_and_id() {
        for (text, code, id) in [
            ("{", code::PARSE_ERROR, Value::Null),
            ("[]", code::INVALID_REQUEST, Value::Null),
            ("7", code::INVALID_REQUEST, Value::Null),
            (r#"{"jsonrpc":"2.0","id":1}"#, code::INVALID_REQUEST, 1.into()),
            (r#"{"jsonrpc":"2.0","method":"x"}"#, code::INVALID_REQUEST, Value::Null),
            (r#"{"jsonrpc":"2.0","method":"x","id":null}"#, code::INVALID_REQUEST, Value::Null),
            (r#"{"jsonrpc":"1.0","method":"x","id":"a"}"#, code::INVALID_REQUEST, "a".into()),
            (r#"{"method":"x","id":"a"}"#, code::INVALID_REQUEST, "a".into()),
            (r#"{"jsonrpc":"2.0","method":"x","id":2,"params":[]}"#, code::INVALID_REQUEST, 2.into()),
            (r#"{"jsonrpc":"2.0","method":"x","id":2,"extra":1}"#, code::INVALID_REQUEST, 2.into()),
            (r#"{"jsonrpc":"2.0","method":"x","id":2,"id":3}"#, code::INVALID_REQUEST, Value::Null),
        ] {
            assert_eq!(code_of(text), (code, id), "{text}");
        }
    }

    #[test]
    fn a_batch_keeps_its_order_and_its_refusals() {
        let frame = parse(r#"[{"jsonrpc":"2.0","method":"a","id":1},2]"#).unwrap();
        let Frame::Batch(items) = frame else { panic!("{frame:?}") };
        assert!(matches!(items.as_slice(), [Ok(_), Err(_)]));
        let wide = format!("[{}1]", "1,".repeat(MAX_BATCH));
        assert_eq!(code_of(&wide).0, code::INVALID_REQUEST);
    }
}
