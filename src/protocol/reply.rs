//! What the gateway sends, as the client reads it. Lenient where [`super::frame`] is strict: a newer gateway may
//! say more.

use serde_json::{Map, Value};

use super::frame::MAX_DEPTH;
use crate::base::json::{JsonError, parse_strict};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ServerMessage {
    /// The answer to the request with this id.
    Reply {
        id: Value,
        /// `result`, or `error`.
        body: Result<Value, ReplyError>,
    },
    /// Something the gateway says on its own.
    Notification {
        /// For example `approval_pending`.
        method: String,
        params: Value,
    },
}

/// `error` of a reply.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplyError {
    /// One of [`super::code`], or a newer one.
    pub code: i64,
    pub message: String,
    /// `data`, empty when absent.
    pub data: Map<String, Value>,
}

/// A result may be as deep as a service makes it; serde_json's own bound is 128.
const RESULT_DEPTH: u8 = 120;
const _: () = assert!(RESULT_DEPTH > MAX_DEPTH);

/// Reads one message.
///
/// # Errors
/// When it is not JSON or neither reply nor notification.
pub(crate) fn parse(text: &str) -> Result<ServerMessage, JsonError> {
    let value: Value = match parse_strict(text.as_bytes(), RESULT_DEPTH) {
        Ok(value) => value,
        // A service may answer with numbers or keys that we would not take from an agent.
        Err(JsonError::Unsafe(_)) => serde_json::from_str(text).map_err(|_| JsonError::Syntax)?,
        Err(JsonError::Syntax) => return Err(JsonError::Syntax),
    };
    message(value).ok_or_else(|| JsonError::Unsafe("neither a reply nor a notification".into()))
}

fn message(value: Value) -> Option<ServerMessage> {
    let Value::Object(mut members) = value else { return None };
    if let Some(Value::String(method)) = members.remove("method") {
        let params = members.remove("params").unwrap_or(Value::Null);
        return Some(ServerMessage::Notification { method, params });
    }
    let id = members.remove("id").unwrap_or(Value::Null);
    let body = match (members.remove("result"), members.remove("error")) {
        (_, Some(error)) => Err(reply_error(error)?),
        (Some(result), None) => Ok(result),
        (None, None) => return None,
    };
    Some(ServerMessage::Reply { id, body })
}

fn reply_error(error: Value) -> Option<ReplyError> {
    let Value::Object(mut members) = error else { return None };
    let code = members.get("code")?.as_i64()?;
    let message = members.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
    let data = match members.remove("data") {
        Some(Value::Object(data)) => data,
        _ => Map::new(),
    };
    Some(ReplyError { code, message, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_replies_errors_and_notifications() {
        let ok = parse(r#"{"jsonrpc":"2.0","result":{"a":1},"id":1}"#).unwrap();
        assert!(matches!(ok, ServerMessage::Reply { body: Ok(_), .. }));
        let no =
            parse(r#"{"jsonrpc":"2.0","error":{"code":-32001,"message":"Denied by user"},"id":1}"#).unwrap();
        let ServerMessage::Reply { body: Err(e), .. } = no else { panic!("{no:?}") };
        assert_eq!((e.code, e.message.as_str()), (-32001, "Denied by user"));
        let note = parse(r#"{"jsonrpc":"2.0","method":"approval_pending","params":{}}"#).unwrap();
        assert!(matches!(note, ServerMessage::Notification { .. }));
        assert!(parse("{}").is_err());
        assert!(parse("nope").is_err());
    }

    #[test]
    fn a_result_may_hold_numbers_that_requests_may_not() {
        assert!(parse(r#"{"jsonrpc":"2.0","result":1e300,"id":1}"#).is_ok());
    }
}
