//! What a server sends to us, its client.

use std::cell::Cell;

use serde_json::{Value, json};

use super::message::METHOD_NOT_FOUND;
use crate::base::json::{JsonError, parse_within};

/// Lists of tools hold schemas: they are larger and deeper than what agents send.
const MAX_VALUES: u32 = 400_000;
const MAX_DEPTH: u8 = 64;

pub(crate) enum FromServer {
    /// It wants an answer under this id.
    Request {
        id: Value,
        method: String,
    },
    Notification,
    Reply {
        id: Value,
        result: Result<Value, ServerError>,
    },
}

pub(crate) struct ServerError {
    pub code: i64,
    pub message: String,
}

pub(crate) enum NotReadable {
    /// Something else than a message: servers print notes and banners.
    Noise,
    /// A message that must not be read: too deep, too many values, a name that stands twice.
    Refused(String),
}

/// JSON of a server.
///
/// # Errors
/// When it is none, or too deep, or too much.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    parse_within(bytes, MAX_DEPTH, &Cell::new(MAX_VALUES))
}

/// # Errors
/// When this is no message, or none that may be read.
pub(crate) fn read(line: &[u8]) -> Result<FromServer, NotReadable> {
    let mut members = match parse(line) {
        Ok(Value::Object(members)) => members,
        Ok(_) | Err(JsonError::Syntax) => return Err(NotReadable::Noise),
        Err(JsonError::Unsafe(why)) => return Err(NotReadable::Refused(why)),
    };
    if members.get("jsonrpc") != Some(&"2.0".into()) {
        return Err(NotReadable::Noise);
    }
    let id = members.remove("id").filter(|id| !id.is_null());
    match (members.remove("method"), id) {
        (Some(Value::String(method)), Some(id)) => Ok(FromServer::Request { id, method }),
        (Some(Value::String(_)), None) => Ok(FromServer::Notification),
        (None, Some(id)) => {
            let result = members.remove("result");
            Ok(FromServer::Reply { id, result: result.ok_or_else(|| error(members.get("error"))) })
        }
        _ => Err(NotReadable::Noise),
    }
}

fn error(error: Option<&Value>) -> ServerError {
    let member = |name: &str| error?.get(name);
    ServerError {
        code: member("code").and_then(Value::as_i64).unwrap_or_default(),
        message: member("message").and_then(Value::as_str).unwrap_or("no reason given").to_owned(),
    }
}

/// The answer to what a server asks for: we have declared nothing, and a request without an answer keeps some from ending.
pub(crate) fn answer(id: &Value, method: &str) -> Value {
    match method {
        "ping" => json!({"jsonrpc": "2.0", "id": id, "result": {}}),
        _ => {
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": METHOD_NOT_FOUND, "message": "Method not found"}})
        }
    }
}
