//! Who asks.

use std::fmt;
use std::sync::Arc;

/// The configured name of an agent. On the wire it is fixed by authentication and never read from params;
/// the record reads it back from its own rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentId(Arc<str>);

impl AgentId {
    /// The agent of this name in the configuration or in the record.
    pub fn configured(name: &str) -> AgentId {
        AgentId(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
