//! What permissions.yaml may name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::settings::AgentConfig;
use crate::model::{GrantOffer, Tool};

/// What rules may name: the agents of config.yaml and its tools.
pub(crate) struct KnownNames<'a> {
    pub agents: &'a [AgentConfig],
    pub tools: &'a BTreeMap<String, Arc<Tool>>,
    /// `approvals.grant`.
    pub grant: Option<&'a GrantOffer>,
    /// The file of each tool.
    pub tool_files: &'a BTreeMap<String, PathBuf>,
}
