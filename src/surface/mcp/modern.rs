//! Clients of 2026-07-28: no handshake and no session; every request says its version, and headers repeat what the body says
//! so that proxies can read it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::client::{Client, not_served};
use super::listen::tell_of_changes;
use super::{call, http};
use super::{own, stream};
use crate::net::front::{WebAnswer, WebRequest};
use crate::protocol::mcp::era::{self, INSTRUCTIONS, META_VERSION, VERSION_HEADER, server_info};
use crate::protocol::mcp::message::{
    Failure, HEADER_MISMATCH, INVALID_PARAMS, METHOD_NOT_FOUND, Message, UNSUPPORTED_VERSION,
};

const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const META_SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
/// How long a client may keep a list, in milliseconds. It hears of changes earlier if it listens.
const TTL: u32 = 60_000;

/// Answers a request.
pub(super) async fn answer(client: Client, request: &WebRequest, message: Message) -> WebAnswer {
    if message.is_notification() {
        return http::accepted();
    }
    let id = message.id.clone().unwrap_or_default();
    let answered = match check(request, &message) {
        Err(failure) => Err(failure),
        Ok(()) => match message.method.as_str() {
            "server/discover" => Ok(http::result(&id, &discover())),
            "tools/list" => list(&client, &id),
            "tools/call" => call::answer(client, None, message).await,
            "subscriptions/listen" => Ok(listen(&client, message)),
            _ => Err(Failure::new(404, METHOD_NOT_FOUND, "Method not found")),
        },
    };
    answered.unwrap_or_else(|failure| http::failure(&failure, Some(&id)))
}

fn check(request: &WebRequest, message: &Message) -> Result<(), Failure> {
    let missing = |name: &str| Failure::new(400, INVALID_PARAMS, format!("_meta lacks {name}"));
    let mismatch = |name: &str| Failure::new(400, HEADER_MISMATCH, format!("Header mismatch: {name}"));
    let version = message.meta(META_VERSION).and_then(Value::as_str).ok_or_else(|| missing(META_VERSION))?;
    if request.header(VERSION_HEADER).trim() != version {
        return Err(mismatch("MCP-Protocol-Version"));
    }
    if version != era::MODERN {
        let data = json!({"supported": era::versions(), "requested": version});
        return Err(Failure::new(400, UNSUPPORTED_VERSION, "Unsupported protocol version").with(data));
    }
    if !message.meta(META_CAPABILITIES).is_some_and(Value::is_object) {
        return Err(missing(META_CAPABILITIES));
    }
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

fn discover() -> String {
    json!({
        "resultType": "complete",
        "supportedVersions": era::versions(),
        "capabilities": {"tools": {"listChanged": true}},
        "instructions": INSTRUCTIONS,
        "ttlMs": TTL,
        "cacheScope": "private",
        "_meta": {"io.modelcontextprotocol/serverInfo": server_info()},
    })
    .to_string()
}

fn list(client: &Client, id: &Value) -> Result<WebAnswer, Failure> {
    let tools = own::list(client).map_err(not_served)?;
    let meta = json!({"io.modelcontextprotocol/serverInfo": server_info()});
    let result = format!(
        r#"{{"resultType":"complete","tools":[{tools}],"ttlMs":{TTL},"cacheScope":"private","_meta":{meta}}}"#
    );
    Ok(http::result(id, &result))
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
