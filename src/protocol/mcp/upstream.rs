//! What a server sends to us, its client.

use std::cell::Cell;
use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::message::METHOD_NOT_FOUND;
use crate::base::json::{JsonError, length, parse_within};

/// Lists of tools hold schemas: they are larger and deeper than what agents send.
const MAX_VALUES: u32 = 400_000;
const MAX_DEPTH: u8 = 64;
/// Of an error's data, in bytes of JSON.
const MAX_ERROR_DATA: usize = 4096;

pub(crate) enum FromServer {
    /// It wants an answer under this id.
    Request {
        id: Value,
        method: String,
    },
    Notification(String),
    Reply {
        id: Value,
        /// The text of the result.
        result: Result<String, ServerError>,
    },
}

pub(crate) struct ServerError {
    pub code: i64,
    pub message: String,
    /// Null: none, or too much.
    pub data: Value,
}

pub(crate) enum NotReadable {
    /// Something else than a message: servers print notes and banners.
    Noise,
    /// What must not be read: too deep, or too many values.
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
    let text = String::from_utf8_lossy(line);
    let members: BTreeMap<String, &RawValue> =
        serde_json::from_str(&text).map_err(|_| match parse(line) {
            Err(JsonError::Unsafe(why)) => NotReadable::Refused(why),
            Ok(_) | Err(JsonError::Syntax) => NotReadable::Noise,
        })?;
    let value = |name: &str| members.get(name).and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
    if value("jsonrpc") != Some("2.0".into()) {
        return Err(NotReadable::Noise);
    }
    let id = value("id").filter(|id| !id.is_null());
    match (value("method"), id) {
        (Some(Value::String(method)), Some(id)) => Ok(FromServer::Request { id, method }),
        (Some(Value::String(method)), None) => Ok(FromServer::Notification(method)),
        (None, Some(id)) => {
            let result = members.get("result").map(|result| result.get().to_owned());
            Ok(FromServer::Reply { id, result: result.ok_or_else(|| error(value("error").as_ref())) })
        }
        _ => Err(NotReadable::Noise),
    }
}

fn error(error: Option<&Value>) -> ServerError {
    let member = |name: &str| error?.get(name);
    let data = member("data").filter(|data| length(data) <= MAX_ERROR_DATA);
    ServerError {
        code: member("code").and_then(Value::as_i64).unwrap_or_default(),
        message: member("message").and_then(Value::as_str).unwrap_or("no reason given").to_owned(),
        data: data.cloned().unwrap_or_default(),
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
