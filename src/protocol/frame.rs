//! One text frame from an agent: a request, a batch of requests, or something to be refused.
//!
//! Everything is parsed strictly: a request with a duplicate key, too deep or with an unsafe number is refused, under
//! its id if one can be read; the others of a batch are taken all the same.

use std::cell::Cell;

use serde_json::{Map, Value, json};

use super::code;
use super::salvage::{self, Shape, is_id};
use crate::base::json::{JsonError, MAX_VALUES, parse_strict, parse_within};

/// The deepest JSON taken, in containers.
pub const MAX_DEPTH: u8 = 32;
/// The most requests in one batch. More than a connection may have in flight would only be refused one by one.
pub const MAX_BATCH: usize = 100;

#[derive(Clone, Debug, PartialEq)]
pub struct RpcRequest {
    /// A string or a number, echoed in the reply.
    pub id: Value,
    pub method: String,
    /// Named parameters; an absent `params` is an empty object.
    pub params: Map<String, Value>,
}

/// A request that cannot be taken, with the id to answer to (null when none could be read).
#[derive(Clone, Debug, PartialEq)]
pub struct RefusedRequest {
    pub id: Value,
    pub error: WireError,
}

/// `error` of a JSON-RPC reply.
#[derive(Clone, Debug, PartialEq)]
pub struct WireError {
    /// One of [`super::code`].
    pub code: i64,
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
    Single(Result<RpcRequest, RefusedRequest>),
    /// A batch; answered as one array.
    Batch(Vec<Result<RpcRequest, RefusedRequest>>),
}

/// Reads one text frame.
///
/// # Errors
/// When nothing in it can be taken: no JSON, an empty or an oversized batch. Answered with id null.
pub fn parse(text: &str) -> Result<Frame, RefusedRequest> {
    match parse_strict(text.as_bytes(), MAX_DEPTH) {
        Ok(Value::Array(items)) if items.is_empty() => Err(invalid(Value::Null, "Empty batch")),
        Ok(Value::Array(items)) if items.len() > MAX_BATCH => Err(too_many()),
        Ok(Value::Array(items)) => Ok(Frame::Batch(items.into_iter().map(request).collect())),
        Ok(single) => Ok(Frame::Single(request(single))),
        Err(e) => in_parts(text, &e),
    }
}

/// Reads a frame that is not taken as a whole: each request of a batch by itself, and of what is refused the id.
fn in_parts(text: &str, e: &JsonError) -> Result<Frame, RefusedRequest> {
    match salvage::shape(text, MAX_BATCH) {
        None => Err(unread(Value::Null, &JsonError::Syntax)),
        Some(Shape::Single) => Ok(Frame::Single(Err(unread(salvage::id(text), e)))),
        Some(Shape::Wide) => Err(too_many()),
        Some(Shape::Batch(items)) => Ok(Frame::Batch(each(&items))),
    }
}

/// The requests of a batch. All together have as many values as one frame may: the shortest are read first, so that one
/// that is too large takes nothing from the others.
fn each(items: &[&str]) -> Vec<Result<RpcRequest, RefusedRequest>> {
    let left = Cell::new(MAX_VALUES);
    let mut order: Vec<(usize, &str)> = items.iter().copied().enumerate().collect();
    order.sort_by_key(|(_, item)| item.len());
    let read = |item: &str| match parse_within(item.as_bytes(), MAX_DEPTH - 1, &left) {
        Ok(value) => request(value),
        Err(e) => Err(unread(salvage::id(item), &e)),
    };
    let mut read: Vec<_> = order.into_iter().map(|(place, item)| (place, read(item))).collect();
    read.sort_by_key(|(place, _)| *place);
    read.into_iter().map(|(_, request)| request).collect()
}

fn too_many() -> RefusedRequest {
    let message = format!("More than {MAX_BATCH} requests in a batch");
    RefusedRequest { id: Value::Null, error: WireError::new(code::INVALID_REQUEST, "too_large", message) }
}

fn unread(id: Value, e: &JsonError) -> RefusedRequest {
    match e {
        JsonError::Syntax => {
            RefusedRequest { id, error: WireError::new(code::PARSE_ERROR, "parse_error", "Parse error") }
        }
        JsonError::Unsafe(why) => invalid(id, format!("Invalid request: {why}")),
    }
}

fn invalid(id: Value, message: impl Into<String>) -> RefusedRequest {
    RefusedRequest { id, error: WireError::new(code::INVALID_REQUEST, "invalid_request", message) }
}

fn request(value: Value) -> Result<RpcRequest, RefusedRequest> {
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
        None => Ok(RpcRequest { id, method, params }),
    }
}

/// A successful reply.
pub fn result(id: &Value, result: Value) -> Value {
    message([("result", result), ("id", id.clone())])
}

pub(crate) fn error(id: &Value, error: &WireError) -> Value {
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
            (r#"{"jsonrpc":"2.0","method":"x","method":"y","id":2}"#, code::INVALID_REQUEST, 2.into()),
            (r#"{"id":"n","params":{"args":{"a":9007199254740992}}}"#, code::INVALID_REQUEST, "n".into()),
            (r#"{"params":{"a":"\ud83d"},"\u0069d":7}"#, code::INVALID_REQUEST, 7.into()),
            (r#"{"id":7,"params":{"a":"\ud83d"}"#, code::PARSE_ERROR, Value::Null),
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

    /// The ids of a batch: of those that are taken, and of those that are not.
    fn ids(text: &str) -> (Vec<Value>, Vec<Value>) {
        let Frame::Batch(items) = parse(text).unwrap() else { panic!("{text}") };
        let (taken, refused): (Vec<_>, Vec<_>) = items.into_iter().partition(Result::is_ok);
        (
            taken.into_iter().filter_map(Result::ok).map(|request| request.id).collect(),
            refused.into_iter().filter_map(Result::err).map(|refused| refused.id).collect(),
        )
    }

    #[test]
    fn one_bad_request_costs_its_neighbours_nothing() {
        let fine = |id: u8| format!(r#"{{"jsonrpc":"2.0","method":"x","id":{id}}}"#);
        let zeros = "0,".repeat(MAX_VALUES as usize);
        let deep = format!("{}{}", "[".repeat(MAX_DEPTH.into()), "]".repeat(MAX_DEPTH.into()));
        for bad in ["1e22", r#""\udfff""#, r#"{"a":1,"a":1}"#, &format!("[{zeros}0]"), &deep] {
            let batch = format!(r#"[{}, {{"params":{{"a":{bad}}},"id":2}},{} ,7 ]"#, fine(1), fine(3));
            assert_eq!(ids(&batch), (vec![1.into(), 3.into()], vec![2.into(), Value::Null]), "{bad:.40}");
        }
    }

    #[test]
    fn a_batch_has_no_more_values_than_one_request_may_have() {
        let many = format!("[{}0]", "0,".repeat(MAX_VALUES as usize / 4));
        let item = |id: u8| format!(r#"{{"jsonrpc":"2.0","method":"x","params":{{"a":{many}}},"id":{id}}}"#);
        let batch = format!("[{}]", (10..15).map(item).collect::<Vec<_>>().join(","));
        let (taken, refused) = ids(&batch);
        assert_eq!((taken.len(), refused.len()), (3, 2));
        assert!(refused.iter().all(Value::is_u64));
    }

    #[test]
    fn nothing_is_taken_that_the_strict_reading_refuses() {
        let nested = |depth: u8| {
            let depth = usize::from(depth);
            format!("{}{}", "[".repeat(depth), "]".repeat(depth))
        };
        // The array and the request are two levels, beside a neighbour that makes each be read by itself.
        let batch = |depth| {
            format!(r#"[1e22,{{"jsonrpc":"2.0","method":"x","params":{{"a":{}}},"id":1}}]"#, nested(depth))
        };
        assert_eq!(ids(&batch(MAX_DEPTH - 3)).0, [Value::from(1)]);
        assert_eq!(ids(&batch(MAX_DEPTH - 2)).0, [Value::Null; 0]);
        for broken in
            ["[1e22,]", "[1e22 1]", "[1e22,1", "[,1e22]", "[1e22]]", "[1e22] 1", "[1e22x]", "1e22,1"]
        {
            assert_eq!(code_of(broken).0, code::PARSE_ERROR, "{broken}");
        }
    }
}
