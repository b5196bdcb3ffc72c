//! The versions of the protocol, and what is said in all of them.

use serde_json::{Value, json};

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
pub(crate) fn versions() -> Vec<&'static str> {
    [MODERN].into_iter().chain(LEGACY.into_iter().rev()).collect()
}

/// What every client may know of the gateway.
pub(crate) fn server_info() -> Value {
    json!({"name": "agentpass", "title": "agentpass", "version": env!("CARGO_PKG_VERSION")})
}

/// For the model: how calls behave here.
pub(crate) const INSTRUCTIONS: &str = "Calls are checked by the owner's policy; some wait until a person says yes. When a \
    result says that a call is pending, call agentpass_wait with its request_id instead of calling the tool again.";
