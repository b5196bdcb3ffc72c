//! What config.yaml says of an MCP server behind the gateway, checked. No I/O, no YAML.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::base::digest::Digest;
use crate::base::secret::Secret;
use crate::model::Tool;

/// An MCP server whose tools agents may call. Defaults stand in brackets.
#[derive(Clone, Debug)]
pub struct McpService {
    /// Its key in config.yaml.
    pub name: String,
    pub(crate) program: McpProgram,
    /// What the names of its tools begin with (the service's name), before `__`; empty: nothing.
    pub(crate) prefix: String,
    /// How it is greeted (both ways, the older one first).
    pub(crate) era: Option<McpEra>,
    /// Whether a tool that has changed since it was imported is blocked (yes).
    pub(crate) blocks_changed: bool,
    /// For a whole call (30 s).
    pub(crate) timeout: Duration,
    /// The longest result (1 MiB).
    pub(crate) max_response_bytes: u64,
    /// Where its imported tools are.
    pub(crate) tool_file: PathBuf,
    /// What was imported: the digest of each definition, by the name at the server.
    pub(crate) pins: BTreeMap<String, Digest>,
}

/// Which handshake a server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum McpEra {
    /// `initialize` (2024-11-05 to 2025-11-25).
    Legacy,
    /// None (2026-07-28).
    Modern,
}

/// A server that the gateway starts and ends.
#[derive(Clone, Debug)]
pub(crate) struct McpProgram {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What it gets beside `PATH`, `HOME`, `LANG` and `TZ`.
    pub env: Vec<McpVariable>,
    /// The directory that it runs in.
    pub dir: PathBuf,
    /// For how long it may have nothing to do (10 min).
    pub idle_stop: Duration,
    /// For each of its processes (2048).
    pub max_memory_mib: u32,
}

/// A variable of the server's environment.
#[derive(Clone, Debug)]
pub(crate) struct McpVariable {
    pub name: String,
    pub value: Secret,
    /// It comes from a variable of the owner's: another value is the same setting, rotated.
    pub is_secret: bool,
}

impl McpService {
    /// With the pins of the tools that were read for it.
    pub(crate) fn with_pins(mut self, tools: &BTreeMap<String, Arc<Tool>>) -> McpService {
        let own = tools.values().filter(|tool| tool.service == self.name);
        let pins = own.filter_map(|tool| tool.target.mcp()).map(|mcp| (mcp.upstream.clone(), mcp.pin));
        self.pins = pins.collect();
        self
    }

    /// The name under which agents know a tool.
    pub(crate) fn exposed(&self, tool: &str) -> String {
        match self.prefix.as_str() {
            "" => tool.to_owned(),
            prefix => format!("{prefix}__{tool}"),
        }
    }

    /// What it is, for digests: who changes it changes every tool.
    pub(crate) fn address(&self) -> Value {
        let setting = |it: &McpVariable| json!([it.name, (!it.is_secret).then(|| it.value.expose())]);
        let env: Vec<Value> = self.program.env.iter().map(setting).collect();
        json!([self.program.command, env])
    }

    /// Whether a running server of `other` is what this one asks for.
    pub(crate) fn is_same_server(&self, other: &McpService) -> bool {
        let env = |service: &McpService| -> Vec<(String, String)> {
            let pair = |it: &McpVariable| (it.name.clone(), it.value.expose().to_owned());
            service.program.env.iter().map(pair).collect()
        };
        let (own, others) = (&self.program, &other.program);
        self.name == other.name
            && own.command == others.command
            && (&own.dir, own.idle_stop, own.max_memory_mib)
                == (&others.dir, others.idle_stop, others.max_memory_mib)
            && self.era == other.era
            && env(self) == env(other)
    }
}
