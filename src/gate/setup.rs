//! What the owner has set: one immutable value, swapped whole by a reload.

use std::cell::RefCell;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::once_flag::OnceFlag;
use crate::base::secret::TokenHash;
use crate::config::{AgentConfig, CircuitBreaker, Config, Loaded, Permissions};
use crate::model::{AgentId, Call, GrantOffer, Remember, Responder, Tool};
use crate::policy::{Facts, Policy, PolicyParts};
use crate::service::{Scrubber, ServiceSetupError, Services, SlotShares};

/// Everything about the gateway that a reload may change.
pub struct Setup {
    /// What config.yaml and the tool files say. What the scrubber looks for has moved into `scrubber`.
    pub config: Config,
    pub(crate) policy: Policy,
    pub(crate) services: Services,
    /// Every configured credential.
    pub scrubber: Arc<Scrubber>,
    pub(super) conduct: Conduct,
}

/// What permissions.yaml says of agents besides what [`Policy`] judges by.
#[derive(Clone, Copy)]
pub(super) struct Conduct {
    /// How long a session without a call lives.
    pub session_idle: Duration,
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Whether a denial by a flow or a limit ends the agent's grants.
    pub revoke_on_violation: bool,
    /// How long what an agent has read counts as being with it.
    pub remember: Remember,
    /// Whether a rule or a limit asks what an agent has read.
    asks_after: bool,
}

impl Conduct {
    fn new(permissions: &Permissions) -> Conduct {
        Conduct {
            session_idle: permissions.session_idle,
            circuit_breaker: permissions.circuit_breaker,
            revoke_on_violation: permissions.revoke_on_violation,
            remember: permissions.data.remember,
            asks_after: permissions.matchers().any(|matcher| !matcher.after.is_empty()),
        }
    }
}

impl Setup {
    /// Makes the services' clients and compiles the policy. `earlier`: the setup whose place it takes.
    ///
    /// # Errors
    /// When a service's TLS settings cannot be used.
    pub fn new(loaded: Loaded, earlier: Option<&Setup>) -> Result<Setup, ServiceSetupError> {
        let Loaded { mut config, permissions, .. } = loaded;
        let scrubber = Scrubber::new(&mem::take(&mut config.secrets));
        let scrubber = Arc::new(match earlier {
            Some(earlier) => scrubber.continuing(&earlier.scrubber),
            None => scrubber,
        });
        let conduct = Conduct::new(&permissions);
        let policy = policy_of(permissions, config.approvals.grant.clone());
        let before = earlier.map(|earlier| &earlier.services);
        let services = Services::after(&config.services, scrubber.clone(), before)?;
        Ok(Setup { config, policy, services, scrubber, conduct })
    }

    /// The same with clients of its own for the services, to take its own place: what has been sent is seen through, what
    /// has not is looked at again.
    ///
    /// # Errors
    /// When a service's TLS settings cannot be used.
    pub(super) fn renewed(&self) -> Result<Setup, ServiceSetupError> {
        Ok(Setup {
            config: self.config.clone(),
            policy: self.policy.clone(),
            services: Services::after(&self.config.services, self.scrubber.clone(), Some(&self.services))?,
            scrubber: self.scrubber.clone(),
            conduct: self.conduct,
        })
    }

    pub(crate) fn tool(&self, name: &str) -> Option<&Arc<Tool>> {
        self.config.tools.get(name)
    }

    /// The agent whose token has this hash. Every configured hash is compared, so that the time taken says nothing.
    pub(crate) fn authenticate(&self, given: &TokenHash) -> Option<AgentId> {
        let known = self.config.agents.iter().fold(None, |found, agent| match agent.token.matches(given) {
            true => Some(agent),
            false => found,
        });
        known.map(|agent| agent.id.clone())
    }

    /// Whether this agent may ask why.
    pub fn may_explain(&self, agent: &AgentId) -> bool {
        self.agent(agent).is_some_and(|a| a.may_explain)
    }

    pub(crate) fn requests_per_minute(&self, agent: &AgentId) -> u32 {
        let own = self.agent(agent).and_then(|a| a.max_requests_per_minute);
        own.unwrap_or(self.config.rate_limit.max_requests_per_minute)
    }

    /// Whether there is (still) such an agent.
    pub fn knows(&self, agent: &AgentId) -> bool {
        self.agent(agent).is_some()
    }

    /// Whether what this one has said still counts: channels that are gone have no people, and of others only those who
    /// are allowed.
    pub(super) fn may_answer(&self, by: &Responder) -> bool {
        let identity = by.identity();
        let (channel, user) = identity.split_once(':').unwrap_or_default();
        match self.config.channels.get(channel) {
            Some(channel) => channel.takes_answers_of(user),
            None => matches!(channel, "local" | "web"),
        }
    }

    /// Whether it counts for this call what its agent has read.
    pub(super) fn looks_at_data(&self, call: &Call) -> bool {
        self.conduct.asks_after || call.tool().facts.data.as_ref().is_some_and(|data| data.to.is_some())
    }

    /// How the places for calls at once are shared out.
    pub(super) fn shares(&self) -> SlotShares {
        SlotShares::new(
            self.config.max_concurrent_calls,
            self.config.agents.len(),
            self.config.services.len(),
        )
    }

    /// What the owner's files say of a call besides the rules.
    pub(super) fn facts<'a>(&self, call: &Call) -> Facts<'a> {
        let agent = self.agent(call.agent());
        let own = agent.and_then(|agent| agent.max_pending_approvals);
        let limit = own.unwrap_or(self.config.rate_limit.max_pending_approvals);
        Facts {
            knows_agent: agent.is_some(),
            tool: self
                .tool(&call.tool().name)
                .filter(|tool| !self.services.blocks(tool))
                .map(|tool| tool.digest),
            max_open_questions: usize::try_from(limit).unwrap_or(usize::MAX),
            max_question_chars: self.config.approvals.max_question_chars,
            ..Facts::unchanged(call)
        }
    }

    fn agent(&self, id: &AgentId) -> Option<&AgentConfig> {
        self.config.agents.iter().find(|a| a.id == *id)
    }
}

/// The policy that permissions.yaml describes.
pub(crate) fn policy_of(permissions: Permissions, grant: Option<GrantOffer>) -> Policy {
    let Permissions { rules, defaults, limits, flows, data, digest, .. } = permissions;
    Policy::new(PolicyParts { rules, defaults, limits, flows, data, grant, digest: Some(digest) })
}

/// The setup in force, and who waits for the next one.
pub(super) struct CurrentSetup {
    setup: RefCell<Rc<Setup>>,
    replaced: RefCell<Rc<OnceFlag>>,
}

impl CurrentSetup {
    pub(super) fn new(setup: Setup) -> CurrentSetup {
        CurrentSetup { setup: RefCell::new(Rc::new(setup)), replaced: RefCell::default() }
    }

    pub(super) fn get(&self) -> Rc<Setup> {
        self.setup.borrow().clone()
    }

    /// Set by the next reload.
    pub(super) fn replaced(&self) -> Rc<OnceFlag> {
        self.replaced.borrow().clone()
    }

    /// Puts another setup in force. Whoever waits looks again, and the services of the old one send nothing more.
    pub(super) fn replace(&self, setup: Setup) {
        self.setup.replace(Rc::new(setup)).services.retire();
        self.wake();
    }

    /// Whoever waits looks again.
    pub(super) fn wake(&self) {
        self.replaced.replace(Rc::default()).set();
    }
}
