//! The owner's files and what they say to a call, for commands that need no running gateway.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::exit::Exit;
use super::terminal;
use crate::base::clock::Clock;
use crate::base::zone::Zone;
use crate::config::{self, Config, Finding, Paths};
use crate::gate::explain::{Explanation, Rules, explain};
use crate::gate::policy_of;
use crate::model::{AgentId, Call, InvalidCall, Tool};
use crate::policy::{Facts, Policy};
use crate::service;

pub(crate) struct OwnerFiles {
    pub config: Config,
    policy: Policy,
}

impl OwnerFiles {
    /// Reads the files. Warnings are left to `check`.
    ///
    /// # Errors
    /// The exit code of a configuration that cannot be used, whose findings have been shown.
    pub(crate) fn load(paths: &Paths) -> Result<OwnerFiles, Exit> {
        let loaded = config::load(paths).map_err(|findings| unusable(&findings))?;
        let policy = policy_of(loaded.permissions);
        Ok(OwnerFiles { config: loaded.config, policy })
    }

    pub(crate) fn tools(&self) -> &BTreeMap<String, Arc<Tool>> {
        &self.config.tools
    }

    /// The agent that is meant: the given one, else the only one, else "default".
    pub(crate) fn agent(&self, given: Option<&str>) -> AgentId {
        match (given, self.config.agents.as_slice()) {
            (Some(name), _) => AgentId::configured(name),
            (None, [only]) => only.id.clone(),
            (None, _) => AgentId::configured("default"),
        }
    }

    /// What would become of a call.
    pub(crate) fn explain(&self, agent: &AgentId, tool: &str, args: Map<String, Value>) -> Explanation {
        let check = |call: &Call| match self.config.services.iter().find(|s| s.name == call.tool().service) {
            Some(config) => service::check(config, call),
            None => Err(InvalidCall::BadRequest),
        };
        let (tools, policy) = (&self.config.tools, &self.policy);
        let now = Clock::system().now();
        let facts = |call: &Call| Facts::unchanged(call).at(now, Zone::system());
        explain(&Rules { tools, policy, check: &check, facts: &facts }, agent, tool, args)
    }
}

/// Shows what is wrong with files.
pub(crate) fn unusable(findings: &[Finding]) -> Exit {
    findings.iter().for_each(|finding| terminal::note(&finding.to_string()));
    Exit::BAD_CONFIGURATION
}
