//! The versions of the protocol, and what is said in all of them.

use serde_json::{Map, Value, json};

use super::message::{Failure, INVALID_PARAMS, Message, UNSUPPORTED_VERSION};

/// The version without a handshake.
pub(crate) const MODERN: &str = "2026-07-28";
/// The versions with a handshake, the oldest first.
const LEGACY: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", NEWEST_LEGACY];
pub(crate) const NEWEST_LEGACY: &str = "2025-11-25";
pub(crate) const VERSION_HEADER: &str = "mcp-protocol-version";
pub(crate) const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";

pub(crate) fn is_legacy(version: &str) -> bool {
    LEGACY.contains(&version)
}

/// All of them, the newest first.
fn versions() -> Vec<&'static str> {
    [MODERN].into_iter().chain(LEGACY.into_iter().rev()).collect()
}

/// What every client may know of the gateway.
pub(crate) fn server_info() -> Value {
    json!({"name": "agentpass", "title": "agentpass", "version": env!("CARGO_PKG_VERSION")})
}

/// For the model: how calls behave here.
const INSTRUCTIONS: &str = "Calls are checked by the owner's policy; some wait until a person says yes. When a \
    result says that a call is pending, call agentpass_wait with its request_id instead of calling the tool again.";

/// How long a new client may keep a list, in milliseconds. It hears of changes earlier if it listens.
const TTL: u32 = 60_000;

/// What a new client says it can do.
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// Checks what a new client says of itself with every request.
///
/// # Errors
/// The error to answer.
pub(crate) fn check(message: &Message) -> Result<(), Failure> {
    let missing = |name: &str| Failure::new(400, INVALID_PARAMS, format!("_meta lacks {name}"));
    let version = message.meta(META_VERSION).and_then(Value::as_str).ok_or_else(|| missing(META_VERSION))?;
    if version != MODERN {
        let data = json!({"supported": versions(), "requested": version});
        return Err(Failure::new(400, UNSUPPORTED_VERSION, "Unsupported protocol version").with(data));
    }
    match message.meta(META_CAPABILITIES).is_some_and(Value::is_object) {
        true => Ok(()),
        false => Err(missing(META_CAPABILITIES)),
    }
}

/// The result of `server/discover`. Whether clients are told when the list of tools changes depends on what carries it.
pub(crate) fn discovered(tells_of_changes: bool) -> Value {
    json!({
        "resultType": "complete",
        "supportedVersions": versions(),
        "capabilities": capabilities(tells_of_changes),
        "instructions": INSTRUCTIONS,
        "ttlMs": TTL,
        "cacheScope": "private",
        "_meta": {"io.modelcontextprotocol/serverInfo": server_info()},
    })
}

/// The result of `initialize`.
pub(crate) fn initialized(params: &Map<String, Value>, tells_of_changes: bool) -> Value {
    let asked = params.get("protocolVersion").and_then(Value::as_str).unwrap_or_default();
    json!({
        "protocolVersion": if is_legacy(asked) { asked } else { NEWEST_LEGACY },
        "capabilities": capabilities(tells_of_changes),
        "serverInfo": server_info(),
        "instructions": INSTRUCTIONS,
    })
}

fn capabilities(tells_of_changes: bool) -> Value {
    match tells_of_changes {
        true => json!({"tools": {"listChanged": true}}),
        false => json!({"tools": {}}),
    }
}

/// The result of `tools/list`, from the elements of `tools` as JSON text.
pub(crate) fn listed(tools: &str, is_modern: bool) -> String {
    if !is_modern {
        return format!(r#"{{"tools":[{tools}]}}"#);
    }
    let meta = json!({"io.modelcontextprotocol/serverInfo": server_info()});
    format!(
        r#"{{"resultType":"complete","tools":[{tools}],"ttlMs":{TTL},"cacheScope":"private","_meta":{meta}}}"#
    )
}
