//! What permissions.yaml may name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::channel_settings::ChannelConfig;
use super::settings::AgentConfig;
use crate::model::{GrantOffer, People, Tool};

/// What rules may name: the agents, people, channels and tools of config.yaml.
pub(crate) struct KnownNames<'a> {
    pub agents: &'a [AgentConfig],
    pub people: &'a People,
    /// By name, the local one and the pages aside.
    pub channels: &'a BTreeMap<String, ChannelConfig>,
    /// How long a question is open.
    pub approval_timeout: Duration,
    pub tools: &'a BTreeMap<String, Arc<Tool>>,
    /// `approvals.grant`.
    pub grant: Option<&'a GrantOffer>,
    /// The file of each tool.
    pub tool_files: &'a BTreeMap<String, PathBuf>,
}
