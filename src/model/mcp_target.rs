//! A call of a tool that an MCP server offers.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::base::digest::Digest;
use crate::base::json::canonical;
use crate::base::json_schema::JsonSchema;

/// What a server says of a tool that its owner has looked at. A change in any of it is another tool.
const PINNED: [&str; 6] = ["name", "title", "description", "inputSchema", "outputSchema", "annotations"];

/// One tool of an MCP server, as its owner has imported it.
#[derive(Clone, Debug)]
pub struct McpTarget {
    /// Its name there.
    pub(crate) upstream: String,
    /// What its arguments must be.
    pub(crate) schema: JsonSchema,
    /// Digest of its definition there.
    pub(crate) pin: Digest,
    /// The arguments that must be there and may be null: absent in a call, null for the server.
    pub(crate) nulls: BTreeSet<String>,
}

impl McpTarget {
    /// The arguments as the server gets them.
    pub(crate) fn arguments(&self, args: &Map<String, Value>) -> Map<String, Value> {
        let absent = self.nulls.iter().filter(|name| !args.contains_key(*name));
        let mut args = args.clone();
        args.extend(absent.map(|name| (name.clone(), Value::Null)).collect::<Vec<_>>());
        args
    }
}

/// SHA-256 over the canonical form of what is pinned of a definition.
pub(crate) fn pin(definition: &Value) -> Digest {
    let kept = PINNED.iter().filter_map(|name| Some(((*name).to_owned(), definition.get(name)?.clone())));
    let kept = Value::Object(kept.collect());
    Digest::sha256(&canonical(&kept).unwrap_or_else(|_| kept.to_string().into_bytes()))
}
