//! Clients of 2026-07-28: no handshake and no session; every request says its version, and headers repeat what the body says
//! so that proxies can read it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::client::Client;
use super::listen::tell_of_changes;
use super::{call, http, stream};
use crate::net::front::{WebAnswer, WebRequest};
use crate::protocol::mcp::era::{self, META_VERSION, VERSION_HEADER};
use crate::protocol::mcp::message::{Failure, HEADER_MISMATCH, METHOD_NOT_FOUND, Message};

const META_SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// Answers a request.
pub(super) async fn answer(client: Client, request: &WebRequest, message: Message) -> WebAnswer {
    if message.is_notification() {
        return http::accepted();
    }
    let id = message.id.clone().unwrap_or_default();
    let answered = match check(request, &message) {
        Err(failure) => Err(failure),
        Ok(()) => match message.method.as_str() {
            "server/discover" => Ok(http::result(&id, &era::discovered(true).to_string())),
            "tools/list" => http::list(&client, &id),
            "tools/call" => call::answer(client, None, message).await,
            "subscriptions/listen" => Ok(listen(&client, message)),
            _ => Err(Failure::new(404, METHOD_NOT_FOUND, "Method not found")),
        },
    };
    answered.unwrap_or_else(|failure| http::failure(&failure, Some(&id)))
}

fn check(request: &WebRequest, message: &Message) -> Result<(), Failure> {
    let mismatch = |name: &str| Failure::new(400, HEADER_MISMATCH, format!("Header mismatch: {name}"));
    let version = message.meta(META_VERSION).and_then(Value::as_str);
    if version.is_some_and(|version| request.header(VERSION_HEADER).trim() != version) {
        return Err(mismatch("MCP-Protocol-Version"));
    }
    era::check(message)?;
    if request.header("mcp-method").trim() != message.method {
        return Err(mismatch("Mcp-Method"));
    }
    let name = message.params.get("name").and_then(Value::as_str);
    if message.method == "tools/call" && decoded(request.header("mcp-name").trim()).as_deref() != name {
        return Err(mismatch("Mcp-Name"));
    }
    Ok(())
}

/// A header's value, which may be wrapped in base64 where it is no plain text. None when it cannot be read, or is empty.
fn decoded(value: &str) -> Option<String> {
    match value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        Some(text) => String::from_utf8(BASE64_STANDARD.decode(text).ok()?).ok(),
        None => Some(value.to_owned()).filter(|value| !value.is_empty()),
    }
}

/// Tells the client when its list of tools may have changed, until it leaves.
fn listen(client: &Client, message: Message) -> WebAnswer {
    let id = message.id.unwrap_or_default();
    let wanted = message.params.get("notifications").and_then(|wanted| wanted.get("toolsListChanged"));
    let honoured = if wanted == Some(&true.into()) { json!({"toolsListChanged": true}) } else { json!({}) };
    let meta = json!({ META_SUBSCRIPTION: id });
    let note = |method: &str, mut params: Value| {
        if let Some(members) = params.as_object_mut() {
            members.insert("_meta".into(), meta.clone());
        }
        json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string()
    };
    let first = note("notifications/subscriptions/acknowledged", json!({"notifications": honoured}));
    let changed = note("notifications/tools/list_changed", json!({}));
    let changed = (honoured != json!({})).then_some(changed);
    let (answer, events) = stream::open();
    tell_of_changes(client, None, events, Some(first), changed);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_names_are_read() {
        assert_eq!(decoded("plain").as_deref(), Some("plain"));
        assert_eq!(decoded("=?base64?w6Q=?=").as_deref(), Some("ä"));
        assert_eq!((decoded(""), decoded("=?base64?!?=")), (None, None));
    }
}
