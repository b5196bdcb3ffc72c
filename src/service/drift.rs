//! What a server offers now, against what its owner has imported.

use std::collections::BTreeMap;

use crate::base::digest::Digest;
use crate::base::safe_text::visible;

/// Tools by their names at the server, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drift {
    pub changed: Vec<String>,
    pub vanished: Vec<String>,
    /// Never offered until they are imported.
    pub new: Vec<String>,
}

impl Drift {
    pub(super) fn between(pins: &BTreeMap<String, Digest>, live: &BTreeMap<String, Option<Digest>>) -> Drift {
        let mut drift = Drift::default();
        for (name, pin) in pins {
            match live.get(name) {
                None => drift.vanished.push(name.clone()),
                Some(now) if *now != Some(*pin) => drift.changed.push(name.clone()),
                Some(_) => {}
            }
        }
        drift.new = live.keys().filter(|name| !pins.contains_key(*name)).cloned().collect();
        drift
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.vanished.is_empty() && self.new.is_empty()
    }

    /// How many tools are not what was imported.
    pub(super) fn broken(&self) -> usize {
        self.changed.len() + self.vanished.len()
    }

    /// `changed: a, b; new: c`, in the server's own words. Empty: no drift.
    pub(crate) fn listed(&self) -> String {
        let list = |names: &[String]| names.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
        let parts = [("changed", &self.changed), ("vanished", &self.vanished), ("new", &self.new)];
        let parts = parts.into_iter().filter(|(_, names)| !names.is_empty());
        let parts: Vec<String> = parts.map(|(word, names)| format!("{word}: {}", list(names))).collect();
        parts.join("; ")
    }

    /// For people, safe to show.
    pub(super) fn words(&self, service: &str, blocks: bool) -> String {
        let blocked = match (self.broken(), blocks) {
            (0, _) => "",
            (_, true) => " What has changed or vanished is blocked.",
            (_, false) => " It can be called all the same (on_change: warn).",
        };
        format!(
            "The MCP server {service} does not offer what was imported: {}.{blocked} `agentpass mcp diff {service}` shows it.",
            visible(&self.listed())
        )
    }
}

/// Names of one kind in a message.
const MOST: usize = 10;
