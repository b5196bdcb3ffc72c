//! What agents have used of what they may use, what is counted, and what they have read. Only the latter two, and grants, outlive a
//! restart.

use std::cell::RefCell;
use std::rc::Rc;

use smol::lock::RwLock;

use super::breaker::{Denials, Trips};
use super::budget::Budget;
use super::cool_down::CoolDowns;
use super::counters::CounterBook;
use super::grants::GrantBook;
use super::memory::Memory;
use super::metrics::Metrics;
use super::rate::{RateLimits, TooMany};
use super::setup::Setup;
use crate::base::clock::Timestamp;
use crate::base::slots::KeyedSlots;
use crate::config::CircuitBreaker;
use crate::model::{AgentId, Call, QuestionEnd, Reading, Stop};
use crate::store::{KeptCounter, KeptGrant, SessionCall};

/// Bytes of arguments and reason that come with a request.
const USUAL: usize = 2048;

/// What is kept over a restart.
pub(crate) struct Kept {
    pub counted: Vec<KeptCounter>,
    pub called: Vec<SessionCall>,
    pub read: Vec<Reading>,
    pub grants: Vec<KeptGrant>,
    pub stops: Vec<Stop>,
}

/// What agents have used.
pub(crate) struct Ledger {
    allowances: RefCell<Allowances>,
    /// What has been counted under limits. A restart takes it up.
    pub(super) counters: Rc<RefCell<CounterBook>>,
    /// Held by claims that charge something while they are written down: a limit counts anew between them, so that memory
    /// and events agree on what came before.
    pub(super) claims: RwLock<()>,
    /// What people have said yes to beforehand. A restart takes it up too.
    pub(super) grants: Rc<RefCell<GrantBook>>,
    /// What agents have read. A restart takes it up too.
    pub(super) memory: RefCell<Memory>,
    pub(crate) connections: KeyedSlots<AgentId>,
    pub(crate) metrics: Metrics,
    pub(crate) started: Timestamp,
}

/// What each agent may still ask for, and be denied before the circuit breaker trips; what people are not asked again.
struct Allowances {
    requests: RateLimits,
    /// What larger requests of one agent may bring beyond [`USUAL`], in bytes. All of it is kept in the record, from which it
    /// pushes what others did before.
    bytes: Budget,
    /// What requests other than calls may cost. A tool that is listed costs one.
    errands: Budget,
    denials: Denials,
    cool_downs: CoolDowns,
}

impl Default for Allowances {
    fn default() -> Allowances {
        Allowances {
            requests: RateLimits::default(),
            bytes: Budget::new(16 << 20, 64 << 10),
            errands: Budget::new(30_000, 30_000),
            denials: Denials::default(),
            cool_downs: CoolDowns::default(),
        }
    }
}

impl Ledger {
    pub(super) fn new(setup: &Setup, started: Timestamp, kept: Kept) -> Ledger {
        let Kept { counted, called, read, grants, stops: _ } = kept;
        Ledger {
            allowances: RefCell::default(),
            counters: Rc::new(RefCell::new(CounterBook::take_up(
                counted,
                &called,
                setup.conduct.session_idle,
                started,
            ))),
            claims: RwLock::default(),
            grants: Rc::new(RefCell::new(GrantBook::take_up(grants, started))),
            memory: RefCell::new(Memory::take_up(read, started)),
            connections: KeyedSlots::default(),
            metrics: Metrics::new(setup),
            started,
        }
    }

    /// Counts a request of `size` bytes. So many of `agent` fit into a minute.
    ///
    /// # Errors
    /// When there is no room for it.
    pub(super) fn count(
        &self,
        agent: &AgentId,
        per_minute: u32,
        size: impl FnOnce() -> usize,
    ) -> Result<(), TooMany> {
        let mut allowances = self.allowances.borrow_mut();
        allowances.requests.count(agent, per_minute)?;
        let beyond = u64::try_from(size().saturating_sub(USUAL)).unwrap_or(u64::MAX);
        allowances.bytes.spend(agent, beyond)
    }

    /// Counts a request that was refused for this reason before anybody read which tool it is about.
    pub(super) fn count_unread(&self, agent: &AgentId, per_minute: u32, reason: &'static str) {
        self.allowances.borrow_mut().requests.spend(agent, per_minute);
        self.metrics.refused_unread(reason);
    }

    /// Takes the `cost` of a request that is no call from what `agent` has for those.
    ///
    /// # Errors
    /// When nothing is left: seconds until something is.
    pub(crate) fn spend(&self, agent: &AgentId, cost: u64) -> Result<(), u64> {
        let spent = self.allowances.borrow_mut().errands.spend(agent, cost);
        spent
            .inspect_err(|_| self.metrics.total(|totals| totals.refused_errands += 1))
            .map_err(|too_many| too_many.retry_after)
    }

    /// Takes what the answer to such a request turned out to cost besides.
    pub(crate) fn charge(&self, agent: &AgentId, cost: u64) {
        self.allowances.borrow_mut().errands.charge(agent, cost);
    }

    /// Counts a denial by the policy.
    pub(super) fn denied(&self, agent: &AgentId, breaker: CircuitBreaker, now: Timestamp) -> Trips {
        self.allowances.borrow_mut().denials.count(agent, breaker, now)
    }

    /// A new setup is in force.
    pub(super) fn configured(&self, setup: &Setup) {
        self.counters.borrow_mut().set_session_idle(setup.conduct.session_idle);
        self.metrics.configured(setup);
    }

    /// A question ended. Only what people say counts towards the cool-down.
    pub(super) fn answered(&self, setup: &Setup, call: &Call, end: &QuestionEnd, now: Timestamp) {
        let Some(rule) = setup.config.approvals.cool_down else { return };
        let cool_downs = &mut self.allowances.borrow_mut().cool_downs;
        match end {
            QuestionEnd::Denied { .. } => cool_downs.denied(call.digest(), rule, now),
            QuestionEnd::Approved { .. } => cool_downs.approved(call.digest()),
            QuestionEnd::TimedOut | QuestionEnd::Withdrawn | QuestionEnd::Void(_) => {}
        }
    }

    /// Until when nobody is asked about this call; None when somebody is.
    pub(super) fn cool_down(&self, setup: &Setup, call: &Call, now: Timestamp) -> Option<Timestamp> {
        setup.config.approvals.cool_down?;
        self.allowances.borrow().cool_downs.until(call.digest(), now)
    }
}
