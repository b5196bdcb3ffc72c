//! Admission: what is checked before the policy is asked, and joining what is under way already.
//!
//! Nothing here waits. A request that is refused is recorded by a task of its own, then answered.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::Gate;
use super::budget::Budget;
use super::limits::TooMany;
use super::pipeline::{self, Task};
use super::running::{Joined, OwnKey, Reply, Shared, Ticket};
use crate::base::ids::RequestId;
use crate::base::json;
use crate::model::{AgentId, Call, InvalidCall, Outcome};
use crate::service::{Prepared, Scrubber};
use crate::store::{Refusal, StoreError};

/// The longest argument name in an error, in characters.
const MAX_NAME: usize = 64;

/// Bytes of arguments and reason that come with a request.
const USUAL: usize = 2048;

/// What larger requests of one agent may bring beyond [`USUAL`] at once, in bytes, and in a minute in the long run. All
/// of it is kept in the record, from which it pushes what others did before.
pub(super) fn detail() -> Budget {
    Budget::new(16 << 20, 64 << 10)
}

/// What requests other than calls may cost at once, and in a minute in the long run. A tool that is listed costs one.
pub(super) fn errands() -> Budget {
    Budget::new(30_000, 30_000)
}

/// What an agent asks for, read but not yet checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// The tool's name.
    pub tool: String,
    /// Its arguments.
    pub args: Map<String, Value>,
    /// Shown to the human.
    pub reason: Option<String>,
    /// The agent's own name for what it is doing.
    pub session: Option<String>,
    /// The same key never leads to a second execution.
    pub key: Option<String>,
}

impl Gate {
    /// Takes a request in. The call goes on whatever becomes of the ticket.
    pub(crate) fn submit(self: &Rc<Self>, agent: &AgentId, request: Request) -> Ticket {
        if let Err(too_many) = self.count(agent).and_then(|()| self.weigh(agent, &request)) {
            return self.flooded(agent, &request, too_many);
        }
        let began = Instant::now();
        match self.normalise(agent, &request) {
            Ok((call, prepared)) => self.join_or_start(Arc::new(call), prepared, request, began.elapsed()),
            Err(outcome) => self.refuse(agent, &request, outcome),
        }
    }

    /// Counts a request that was refused for this reason before it came this far: every one counts against the rate.
    pub(crate) fn count_refused(&self, agent: &AgentId, reason: &'static str) {
        let limit = self.setup().requests_per_minute(agent);
        self.limits.borrow_mut().spend(agent, limit);
        self.metrics.refused_unread(reason);
    }

    fn count(&self, agent: &AgentId) -> Result<(), TooMany> {
        let limit = self.setup().requests_per_minute(agent);
        self.limits.borrow_mut().count(agent, limit)
    }

    fn weigh(&self, agent: &AgentId, request: &Request) -> Result<(), TooMany> {
        let size = json::length(&request.args) + request.reason.as_ref().map_or(0, String::len);
        let beyond = u64::try_from(size.saturating_sub(USUAL)).unwrap_or(u64::MAX);
        self.detail.borrow_mut().spend(agent, beyond)
    }

    /// Takes the `cost` of a request that is no call from what `agent` has for those.
    ///
    /// # Errors
    /// When nothing is left: seconds until something is.
    pub(crate) fn spend(&self, agent: &AgentId, cost: u64) -> Result<(), u64> {
        let spent = self.errands.borrow_mut().spend(agent, cost);
        spent.inspect_err(|_| self.metrics.refused_errand()).map_err(|too_many| too_many.retry_after)
    }

    /// Takes what the answer to such a request turned out to cost besides.
    pub(crate) fn charge(&self, agent: &AgentId, cost: u64) {
        self.errands.borrow_mut().charge(agent, cost);
    }

    /// Only the first refusal of a flood is written down: a flood must not wear out the disk.
    fn flooded(self: &Rc<Self>, agent: &AgentId, request: &Request, too_many: TooMany) -> Ticket {
        let outcome = Outcome::RateLimited { retry_after: too_many.retry_after };
        if too_many.first {
            return self.refuse(agent, request, outcome);
        }
        self.metrics.ended(&request.tool, None, &outcome);
        Ticket::ended(Reply { outcome, request_id: None, replayed: false })
    }

    fn normalise(&self, agent: &AgentId, request: &Request) -> Result<(Call, Prepared), Outcome> {
        let setup = self.setup();
        let Some(tool) = setup.tools.get(&request.tool) else {
            return Err(Outcome::UnknownTool { tool: setup.scrubber.text(request.tool.clone()) });
        };
        refuse_leaks(&setup.scrubber, request).map_err(Outcome::Invalid)?;
        let call = Call::new(agent.clone(), tool.clone(), request.args.clone()).map_err(Outcome::Invalid)?;
        let prepared = setup.services.check(&call).map_err(Outcome::Invalid)?;
        Ok((call, prepared))
    }

    fn refuse(self: &Rc<Self>, agent: &AgentId, request: &Request, outcome: Outcome) -> Ticket {
        self.metrics.ended(&request.tool, None, &outcome);
        let (gate, shared) = (self.clone(), Rc::new(Shared::default()));
        let scrubber = self.setup().scrubber.clone();
        let refusal = Refusal {
            id: RequestId::random(),
            at: self.clock.now(),
            agent: agent.clone(),
            tool: scrubber.text(request.tool.clone()),
            session: request.session.clone().map(|text| scrubber.text(text)),
            outcome,
        };
        let ticket = Ticket::new(shared.clone());
        let task = async move {
            let (id, outcome) = (refusal.id, refusal.outcome.clone());
            let recorded = gate.store.refuse(refusal).await;
            log::info!("request {id} refused: {}", outcome.reason().unwrap_or_default());
            shared.finish(Reply { outcome, request_id: recorded.is_ok().then_some(id), replayed: false });
        };
        self.executor.spawn(task).detach();
        ticket
    }

    fn join_or_start(
        self: &Rc<Self>,
        call: Arc<Call>,
        prepared: Prepared,
        request: Request,
        checked: Duration,
    ) -> Ticket {
        let joined = self.running.borrow().join(&call, request.key.as_deref());
        match joined {
            Joined::Same { shared, new_key: false } => {
                self.metrics.joined();
                // The same key is the same request, sent again after its connection was lost.
                if request.key.is_none() {
                    self.asked_again(&shared);
                }
                Ticket::new(shared)
            }
            Joined::Same { shared, new_key: true } => {
                self.join_with_key(call, request.key.unwrap_or_default(), shared)
            }
            Joined::Conflict => self.refuse(call.agent(), &request, Outcome::IdempotencyConflict),
            Joined::No => self.start(call, prepared, request, checked),
        }
    }

    fn start(
        self: &Rc<Self>,
        call: Arc<Call>,
        prepared: Prepared,
        request: Request,
        checked: Duration,
    ) -> Ticket {
        let id = RequestId::random();
        let shared = Shared::new(id, call.digest());
        self.running.borrow_mut().add(&call, request.key.as_deref(), &shared);
        let scrub = |text: Option<String>| text.map(|t| self.setup().scrubber.text(t));
        let (session, reason) = (scrub(request.session), scrub(request.reason));
        let at = self.clock.now();
        let (key, decision, shared_too) = (request.key, Cell::default(), shared.clone());
        let prepared = Cell::new(Some(prepared));
        let task =
            Task { id, at, call, session, reason, key, shared: shared_too, checked, decision, prepared };
        self.executor.spawn(pipeline::run(self.clone(), task)).detach();
        Ticket::new(shared)
    }

    /// The caller's own key must lead to this call later too, so it is on disk before the caller is answered; unless
    /// it stands for an earlier call already.
    fn join_with_key(self: &Rc<Self>, call: Arc<Call>, key: String, shared: Rc<Shared>) -> Ticket {
        let (gate, own) = (self.clone(), Rc::new(OwnKey::default()));
        self.running.borrow_mut().add_key(call.agent(), Some(&key), &shared);
        let ticket = Ticket::with_key(shared.clone(), own.clone());
        let task = async move {
            let bound = gate.bind_key(&call, &key, &shared).await;
            match &bound {
                Err(instead) => {
                    gate.metrics.replied(&call.tool().name, None, instead);
                    gate.running.borrow_mut().forget_key(call.agent(), &key, &shared);
                }
                Ok(()) => {
                    gate.metrics.joined();
                    gate.asked_again(&shared);
                }
            }
            own.settle(bound.err());
        };
        self.executor.spawn(task).detach();
        ticket
    }

    /// An identical call has joined; who is being asked should know.
    fn asked_again(&self, shared: &Shared) {
        shared.count();
        let question = shared.id().and_then(|id| self.desk.borrow().get(id));
        if let Some(question) = question {
            let times = self.times_asked(&question);
            self.channels.tell(|channel| channel.asked_again(&question, times));
        }
    }

    /// Writes down that `key` stands for a call under way. An error is what the caller hears instead: what the key stands
    /// for already, or that it could not be kept, because then a retry would be executed again.
    async fn bind_key(&self, call: &Call, key: &str, shared: &Shared) -> Result<(), Reply> {
        let instead = |outcome| Reply { outcome, request_id: None, replayed: false };
        // Not before the call itself is on record: a key stands for what a later start can find.
        let id = shared.in_record().await.ok_or_else(|| instead(Outcome::StoreUnavailable))?;
        match self.store.alias(call.agent(), key, id, call.digest(), self.clock.now()).await {
            Ok(()) => Ok(()),
            Err(StoreError::KeyInUse) => match pipeline::replayed(self, call, key).await.map_err(instead)? {
                Some(earlier) if earlier.request_id != Some(id) => Err(earlier),
                Some(_) => Ok(()),
                // Its time was over between the two looks.
                None => Err(instead(Outcome::StoreUnavailable)),
            },
            Err(e) => {
                log::error!("request {id}: an idempotency key could not be kept: {e}");
                Err(instead(Outcome::StoreUnavailable))
            }
        }
    }
}

/// An agent that sends a credential back to us must not get it into the record or a chat, nor an argument's name with
/// one into an error.
fn refuse_leaks(scrubber: &Scrubber, request: &Request) -> Result<(), InvalidCall> {
    let is_in_text = |text: &str| scrubber.is_in_text(text);
    let leaked = request.args.iter().find(|(name, value)| is_in_text(name) || scrubber.is_in(value));
    if let Some((name, _)) = leaked {
        let shown = scrubber.text(name.clone());
        return Err(InvalidCall::Forbidden(shown.chars().take(MAX_NAME).collect(), None));
    }
    match &request.key {
        // Two keys must never become one, so a key is refused rather than scrubbed.
        Some(key) if is_in_text(key) => Err(InvalidCall::Forbidden("idempotency_key".to_owned(), None)),
        Some(_) | None => Ok(()),
    }
}
