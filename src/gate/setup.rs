//! What the owner has set: one immutable value, swapped whole by a reload.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::network::Network;
use crate::base::secret::TokenHash;
use crate::config::{AgentConfig, Config, CoolDown, Loaded, Permissions};
use crate::model::{AgentId, Tool};
use crate::policy::Policy;
use crate::service::{Scrubber, ServiceSetupError, Services, SlotShares};

/// Everything about the gateway that a reload may change.
pub struct Setup {
    /// The tools by name.
    pub tools: BTreeMap<String, Arc<Tool>>,
    /// The rules.
    pub policy: Policy,
    /// The services that run the tools.
    pub services: Services,
    /// Every configured credential.
    pub scrubber: Arc<Scrubber>,
    /// How long a question stays open.
    pub approval_timeout: Duration,
    /// The longest question that is put to a person, in characters.
    pub max_question_chars: usize,
    /// When people are no longer asked about a call that they denied again and again.
    pub cool_down: Option<CoolDown>,
    /// How long a denial waits for its note, where one may follow.
    pub note_window: Duration,
    /// Whether people are reminded of a question when half of its time is over.
    pub reminder: bool,
    /// Origins that may open a WebSocket from a browser.
    pub allowed_origins: Vec<String>,
    /// Proxies whose word on who asks is believed.
    pub trusted_proxies: Vec<Network>,
    agents: Vec<AgentConfig>,
    shares: SlotShares,
    requests_per_minute: u32,
    pending_approvals: u32,
}

impl Setup {
    /// Makes the services' clients and compiles the policy.
    ///
    /// # Errors
    /// When a service's TLS settings cannot be used.
    pub fn new(loaded: Loaded) -> Result<Setup, ServiceSetupError> {
        Setup::made(loaded, None)
    }

    /// The setup that takes the place of `earlier`.
    ///
    /// # Errors
    /// As for [`Setup::new`].
    pub fn after(earlier: &Setup, loaded: Loaded) -> Result<Setup, ServiceSetupError> {
        Setup::made(loaded, Some(earlier))
    }

    fn made(loaded: Loaded, earlier: Option<&Setup>) -> Result<Setup, ServiceSetupError> {
        let Loaded { config, permissions, .. } = loaded;
        let Permissions { rules, defaults } = permissions;
        let Config { tools, services, agents, secrets, rate_limit, gateway, approvals, .. } = config;
        let scrubber = Scrubber::new(&secrets);
        let scrubber = Arc::new(match earlier {
            Some(earlier) => scrubber.continuing(&earlier.scrubber),
            None => scrubber,
        });
        let shares = SlotShares::new(config.max_concurrent_calls, agents.len(), services.len());
        Ok(Setup {
            tools,
            policy: Policy::new(rules, defaults),
            services: Services::new(&services, scrubber.clone())?,
            scrubber,
            approval_timeout: config.approval_timeout,
            max_question_chars: approvals.max_question_chars,
            cool_down: approvals.cool_down,
            note_window: approvals.note_window,
            reminder: approvals.reminder,
            allowed_origins: gateway.allowed_origins,
            trusted_proxies: gateway.trusted_proxies,
            agents,
            shares,
            requests_per_minute: rate_limit.max_requests_per_minute,
            pending_approvals: rate_limit.max_pending_approvals,
        })
    }

    /// Who has the token with this hash. Every configured hash is compared, so that the time taken says nothing.
    pub(crate) fn authenticate(&self, given: &TokenHash) -> Option<AgentId> {
        let known = self.agents.iter().fold(None, |found, agent| match agent.token.matches(given) {
            true => Some(agent),
            false => found,
        });
        known.map(|agent| agent.id.clone())
    }

    /// Whether this agent may ask why.
    pub fn may_explain(&self, agent: &AgentId) -> bool {
        self.agent(agent).is_some_and(|a| a.may_explain)
    }

    /// Requests this agent may make in a minute.
    pub(crate) fn requests_per_minute(&self, agent: &AgentId) -> u32 {
        self.agent(agent).and_then(|a| a.max_requests_per_minute).unwrap_or(self.requests_per_minute)
    }

    /// Questions this agent may have open.
    pub(crate) fn pending_approvals(&self, agent: &AgentId) -> usize {
        let limit = self.agent(agent).and_then(|a| a.max_pending_approvals).unwrap_or(self.pending_approvals);
        usize::try_from(limit).unwrap_or(usize::MAX)
    }

    /// Names of all configured agents.
    pub fn agents(&self) -> impl Iterator<Item = &AgentId> {
        self.agents.iter().map(|a| &a.id)
    }

    /// Whether there is (still) such an agent.
    pub fn knows(&self, agent: &AgentId) -> bool {
        self.agent(agent).is_some()
    }

    /// How the places for calls at once are shared out.
    pub(super) fn shares(&self) -> SlotShares {
        self.shares
    }

    fn agent(&self, id: &AgentId) -> Option<&AgentConfig> {
        self.agents.iter().find(|a| a.id == *id)
    }
}
