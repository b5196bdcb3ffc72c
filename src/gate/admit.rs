//! Admission: what is checked before the policy is asked, and joining what is under way already.
//!
//! Nothing here waits. A request that is refused is recorded by a task of its own, then answered.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::Gate;
use super::pipeline;
use super::rate::TooMany;
use super::running::{CallReply, Flight, Instead, Joined, Ticket};
use super::task::{self, Task};
use crate::base::ids::RequestId;
use crate::base::json;
use crate::model::{AgentId, Call, InvalidCall, Outcome};
use crate::service::{PreparedCall, Scrubber};
use crate::store::{RefusedRequest, StoreError};

/// The longest argument name in an error, in characters.
const MAX_NAME: usize = 64;

/// A call as an agent asks for it: read, not yet checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Submission {
    pub tool: String,
    pub args: Map<String, Value>,
    /// Shown to the person who is asked.
    pub reason: Option<String>,
    /// The agent's own name for what it is doing.
    pub session: Option<String>,
    /// The same key never leads to a second execution.
    pub key: Option<String>,
    /// Whether it is for what agents perform themselves, or for what is performed for them; tools of the other sort are
    /// unknown then.
    pub permits: Option<bool>,
}

impl Gate {
    /// Takes a request in. The call goes on whatever becomes of the ticket.
    pub(crate) fn submit(self: &Rc<Self>, agent: &AgentId, mut request: Submission) -> Ticket {
        // Under the name that is recorded and shown, calls of the session are joined and counted.
        request.session = request.session.map(|name| self.setup().scrubber.text(name));
        let size = || json::length(&request.args) + request.reason.as_ref().map_or(0, String::len);
        let per_minute = self.setup().requests_per_minute(agent);
        let counted = self.ledger.count(agent, per_minute, size);
        if self.stops.of(agent).is_some() {
            return self.stopped(agent, &request, counted.is_ok());
        }
        if let Err(too_many) = counted {
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
        self.ledger.count_unread(agent, self.setup().requests_per_minute(agent), reason);
    }

    /// Every request hears that calls are stopped; those past the rate are not written down.
    fn stopped(self: &Rc<Self>, agent: &AgentId, request: &Submission, is_recorded: bool) -> Ticket {
        let outcome = Outcome::KillSwitch;
        if is_recorded {
            return self.refuse(agent, request, outcome);
        }
        self.ledger.metrics.ended(&request.tool, None, &outcome);
        Ticket::ended(CallReply::new(outcome, None))
    }

    /// Only the first refusal of a flood is written down: a flood must not wear out the disk.
    fn flooded(self: &Rc<Self>, agent: &AgentId, request: &Submission, too_many: TooMany) -> Ticket {
        let outcome = Outcome::RateLimited { retry_after: too_many.retry_after };
        if too_many.first {
            return self.refuse(agent, request, outcome);
        }
        self.ledger.metrics.ended(&request.tool, None, &outcome);
        Ticket::ended(CallReply::new(outcome, None))
    }

    fn normalise(&self, agent: &AgentId, request: &Submission) -> Result<(Call, PreparedCall), Outcome> {
        let setup = self.setup();
        let known = setup.tool(&request.tool);
        let known = known.filter(|tool| request.permits.is_none_or(|permits| permits == tool.is_permit()));
        let Some(tool) = known else {
            return Err(Outcome::UnknownTool { tool: setup.scrubber.text(request.tool.clone()) });
        };
        if setup.services.blocks(tool) {
            return Err(Outcome::ToolChanged);
        }
        if tool.facts.key_required && request.key.is_none() {
            return Err(Outcome::Invalid(InvalidCall::Missing { argument: "idempotency_key".to_owned() }));
        }
        refuse_leaks(&setup.scrubber, request).map_err(Outcome::Invalid)?;
        let call = Call::new(agent.clone(), tool.clone(), request.args.clone()).map_err(Outcome::Invalid)?;
        let prepared = setup.services.check(&call).map_err(Outcome::Invalid)?;
        Ok((call, prepared))
    }

    fn refuse(self: &Rc<Self>, agent: &AgentId, request: &Submission, outcome: Outcome) -> Ticket {
        self.ledger.metrics.ended(&request.tool, None, &outcome);
        let (gate, flight) = (self.clone(), Rc::new(Flight::default()));
        let scrubber = self.setup().scrubber.clone();
        let refusal = RefusedRequest {
            id: RequestId::random(),
            at: self.clock.now(),
            agent: agent.clone(),
            tool: scrubber.text(request.tool.clone()),
            session: request.session.clone(),
            outcome,
        };
        let ticket = Ticket::new(flight.clone());
        let task = async move {
            let (id, outcome) = (refusal.id, refusal.outcome.clone());
            let recorded = gate.store.refuse(refusal).await;
            log::info!("request {id} refused: {}", outcome.reason().unwrap_or_default());
            flight.finish(CallReply::new(outcome, recorded.is_ok().then_some(id)));
        };
        self.spawn(task);
        ticket
    }

    fn join_or_start(
        self: &Rc<Self>,
        call: Arc<Call>,
        prepared: PreparedCall,
        request: Submission,
        checked: Duration,
    ) -> Ticket {
        let joined =
            self.flights.running.borrow().join(&call, request.session.as_deref(), request.key.as_deref());
        match joined {
            Joined::Same { flight, new_key }
                if call.tool().is_permit() && (new_key || request.key.is_none()) =>
            {
                self.without_permit(&flight)
            }
            Joined::Same { flight, new_key: false } => {
                self.ledger.metrics.total(|totals| totals.joined += 1);
                // The same key is the same request, sent again after its connection was lost.
                if request.key.is_none() {
                    self.asked_again(&flight);
                }
                self.reading_too(call, request.session, flight)
            }
            Joined::Same { flight, new_key: true } => {
                let key = request.key.unwrap_or_default();
                self.join_with_key(call, request.session, key, flight)
            }
            Joined::Conflict => self.refuse(call.agent(), &request, Outcome::IdempotencyConflict),
            Joined::No if !self.has_session_room(call.agent(), request.session.as_deref()) => {
                self.refuse(call.agent(), &request, Outcome::TooManySessions)
            }
            Joined::No => self.start(call, prepared, request, checked),
        }
    }

    fn start(
        self: &Rc<Self>,
        call: Arc<Call>,
        prepared: PreparedCall,
        request: Submission,
        checked: Duration,
    ) -> Ticket {
        let id = RequestId::random();
        let flight = Flight::new(id, &call, request.session.as_deref());
        self.flights.running.borrow_mut().add(
            &call,
            request.session.as_deref(),
            request.key.as_deref(),
            &flight,
        );
        let reason = request.reason.map(|text| self.setup().scrubber.text(text));
        let session = request.session;
        let at = self.clock.now();
        let (key, prepared) = (request.key, Cell::new(Some(prepared)));
        let task = Task { id, at, call, prepared, session, reason, key, flight: flight.clone() };
        self.spawn(pipeline::run(self.clone(), task, checked));
        Ticket::new(flight)
    }

    /// The caller's own key must lead to this call later too, so it is on disk before the caller is answered; unless
    /// it stands for an earlier call already.
    fn join_with_key(
        self: &Rc<Self>,
        call: Arc<Call>,
        session: Option<String>,
        key: String,
        flight: Rc<Flight>,
    ) -> Ticket {
        let (gate, own) = (self.clone(), Rc::new(Instead::default()));
        self.flights.running.borrow_mut().add_key(call.agent(), Some(&key), &flight);
        let ticket = Ticket::with_key(flight.clone(), own.clone());
        let task = async move {
            let bound = gate.bind_key(&call, session.as_deref(), &key, &flight).await;
            match &bound {
                Err(instead) => {
                    gate.ledger.metrics.replied(&call.tool().name, None, instead);
                    gate.flights.running.borrow_mut().forget_key(call.agent(), &key, &flight);
                }
                Ok(()) => {
                    gate.ledger.metrics.total(|totals| totals.joined += 1);
                    gate.asked_again(&flight);
                }
            }
            own.settle(bound.err());
        };
        self.spawn(task);
        ticket
    }

    /// Whoever joins a call for a permit shares its question and what is said against it, but not the permit: that is for
    /// one action. Asked for again, it is judged and counted as a call of its own.
    fn without_permit(self: &Rc<Self>, flight: &Rc<Flight>) -> Ticket {
        self.ledger.metrics.total(|totals| totals.joined += 1);
        self.asked_again(flight);
        let (ticket, own) = (Ticket::new(flight.clone()), Rc::new(Instead::default()));
        let (joined, instead) = (ticket.clone(), own.clone());
        let task = async move {
            let permitted = matches!(joined.reply().await.outcome, Outcome::Permitted(_));
            instead.settle(permitted.then(|| CallReply::new(Outcome::Busy, None)));
        };
        self.spawn(task);
        ticket.with_reading(own)
    }

    /// Who joins a call of another session by its key reads in a session of its own, which is on record before the outcome
    /// is told.
    fn reading_too(self: &Rc<Self>, call: Arc<Call>, session: Option<String>, flight: Rc<Flight>) -> Ticket {
        let (elsewhere, ticket) = (!flight.is_in(session.as_deref()), Ticket::new(flight));
        if !elsewhere || call.tool().source().is_none() {
            return ticket;
        }
        let (gate, reading) = (self.clone(), Rc::new(Instead::default()));
        let (joined, own) = (ticket.clone(), reading.clone());
        let task = async move {
            let outcome = joined.reply().await.outcome;
            let read = gate.replays(&call, session.as_deref(), &outcome).await;
            own.settle(read.err().map(|e| {
                log::error!("an outcome is not told, the record cannot be written: {e}");
                CallReply::new(Outcome::StoreUnavailable, None)
            }));
        };
        self.spawn(task);
        ticket.with_reading(reading)
    }

    /// A place at a call of `agent`'s that is under way.
    pub(crate) fn ticket(&self, agent: &AgentId, id: RequestId) -> Option<Ticket> {
        self.flights.running.borrow().of(agent, id).cloned().map(Ticket::new)
    }

    /// A place at the call of `agent`'s under way that `key` leads to.
    pub(crate) fn named(&self, agent: &AgentId, key: &str) -> Option<Ticket> {
        self.flights.running.borrow().named(agent, key).cloned().map(Ticket::new)
    }

    /// From now on `key` leads to the call with this id, which is under way, and after its end to its outcome. Nobody has
    /// asked once more. False: it has ended already, or the record cannot be written.
    pub(crate) async fn name(self: &Rc<Self>, agent: &AgentId, id: RequestId, key: String) -> bool {
        let flight = self.flights.running.borrow().of(agent, id).cloned();
        let Some((flight, digest)) = flight.and_then(|flight| Some((flight.clone(), flight.digest()?)))
        else {
            return false;
        };
        if flight.in_record().await != Some(id) {
            return false;
        }
        let named = self.store.alias(agent, &key, id, digest, self.clock.now()).await;
        if self.flights.running.borrow().of(agent, id).is_some() {
            self.flights.running.borrow_mut().add_key(agent, Some(&key), &flight);
        }
        named.inspect_err(|e| log::error!("request {id}: a key could not be kept: {e}")).is_ok()
    }

    fn has_session_room(&self, agent: &AgentId, session: Option<&str>) -> bool {
        self.ledger.counters.borrow().admits_session(agent, &session.map(Arc::from), self.clock.now())
    }

    /// An identical call has joined; who is being asked should know.
    fn asked_again(&self, flight: &Flight) {
        flight.count();
        if let Some(question) = flight.id().and_then(|id| self.approvals.question(id)) {
            let times = self.flights.times_asked(&question);
            self.approvals.channels.tell(|channel| channel.asked_again(&question, times));
        }
    }

    /// Writes down that `key` stands for a call under way. An error is what the caller hears instead: what the key stands
    /// for already, or that it could not be kept, because then a retry would be executed again.
    async fn bind_key(
        &self,
        call: &Call,
        session: Option<&str>,
        key: &str,
        flight: &Flight,
    ) -> Result<(), CallReply> {
        let instead = |outcome| CallReply::new(outcome, None);
        // Not before the call itself is on record: a key stands for what a later start can find.
        let id = flight.in_record().await.ok_or_else(|| instead(Outcome::StoreUnavailable))?;
        match self.store.alias(call.agent(), key, id, call.digest(), self.clock.now()).await {
            Ok(()) => Ok(()),
            Err(StoreError::KeyInUse) => {
                match task::replayed(self, call, session, key).await.map_err(instead)? {
                    Some(earlier) if earlier.request_id != Some(id) => Err(earlier),
                    Some(_) => Ok(()),
                    // Its time was over between the two looks.
                    None => Err(instead(Outcome::StoreUnavailable)),
                }
            }
            Err(e) => {
                log::error!("request {id}: an idempotency key could not be kept: {e}");
                Err(instead(Outcome::StoreUnavailable))
            }
        }
    }
}

/// An agent that sends a credential back to us must not get it into the record or a chat, nor an argument's name with
/// one into an error.
fn refuse_leaks(scrubber: &Scrubber, request: &Submission) -> Result<(), InvalidCall> {
    let is_in_text = |text: &str| scrubber.is_in_text(text);
    let leaked = request.args.iter().find(|(name, value)| is_in_text(name) || scrubber.is_in(value));
    if let Some((name, _)) = leaked {
        let shown = scrubber.text(name.clone());
        return Err(InvalidCall::Forbidden { argument: shown.chars().take(MAX_NAME).collect(), char: None });
    }
    match &request.key {
        // Two keys must never become one, so a key is refused rather than scrubbed.
        Some(key) if is_in_text(key) => {
            Err(InvalidCall::Forbidden { argument: "idempotency_key".to_owned(), char: None })
        }
        Some(_) | None => Ok(()),
    }
}
