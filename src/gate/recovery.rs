//! After a crash or a restart: open questions are taken up with the same id, approvals that were not yet acted on
//! are acted on, and what no longer fits the configuration is void.
//!
//! Calls that were under way are "unknown" already: the store has settled them when it was opened.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::pipeline::{self, Task};
use super::running::Flight;
use super::state::Gate;
use super::{Executor, Setup};
use crate::approval::Channels;
use crate::base::clock::Clock;
use crate::model::{Action, Call, Outcome, Question, QuestionEnd, Risk, Void};
use crate::store::{OpenCall, Recovered, Store};

impl Gate {
    /// Opens the gate: what a crash left behind is settled or taken up again before anybody new is let in.
    pub(crate) fn open(
        executor: Executor,
        clock: Clock,
        store: Store,
        setup: Setup,
        channels: Rc<Channels>,
        recovered: Recovered,
    ) -> Rc<Gate> {
        let gate = Rc::new(Gate::new(executor, clock, store, setup, channels));
        take_up(&gate, recovered);
        gate
    }
}

fn take_up(gate: &Rc<Gate>, recovered: Recovered) {
    gate.ledger.metrics.found_cut_off(recovered.unknown);
    if recovered.unknown > 0 {
        log::warn!(
            "{} calls were under way when the gateway stopped; their results are unknown",
            recovered.unknown
        );
    }
    if let Some(found) = &recovered.rolled_back {
        log::error!(
            "the record is older than its exported head: {found}; `agentpass audit verify` says more"
        );
    }
    for open in recovered.open {
        match rebuild(gate, &open) {
            Ok(call) => resume(gate, open, Arc::new(call)),
            Err(why) => void(gate, open, why),
        }
    }
}

/// The same call as before, or why there is none.
fn rebuild(gate: &Gate, open: &OpenCall) -> Result<Call, Void> {
    let setup = gate.setup();
    if !setup.knows(&open.agent) {
        return Err(Void::AgentRemoved);
    }
    let tool = setup.tool(&open.tool).ok_or(Void::ToolChanged)?;
    let call = Call::new(open.agent.clone(), tool.clone(), open.args.clone());
    let call = call.ok().filter(|call| call.binding() == open.binding).ok_or(Void::ToolChanged)?;
    gate.forbids(&setup, &call).map_or(Ok(call), Err)
}

fn resume(gate: &Rc<Gate>, open: OpenCall, call: Arc<Call>) {
    // The wall clock may have been set back meanwhile; the time that is gone stays gone.
    let now = gate.clock.now().max(open.created.plus(open.age));
    let question = Arc::new(Question {
        id: open.id,
        call: call.clone(),
        session: open.session.clone(),
        reason: open.reason.clone(),
        risk: Risk::of(&call.tool().name),
        rule: open.rule.clone(),
        created: open.created,
        expires: open.expires,
    });
    let flight = Flight::new(open.id, call.digest());
    flight.set_recorded();
    gate.flights.running.borrow_mut().add(&call, open.key.as_deref(), &flight);
    let approved = open.approved_by.is_some();
    // An approval that could not be acted on before its deadline is too old to act on.
    let fresh = question.expires > now;
    if approved && !fresh {
        gate.flights.running.borrow_mut().remove(&call, &flight);
        return end(gate, &open, Outcome::TimedOut);
    }
    if !approved {
        gate.approvals.reserve(&question, now);
    }
    let OpenCall { id, created: at, session, reason, key, .. } = open;
    let task = Task { id, at, call, prepared: Cell::default(), session, reason, key, flight };
    gate.executor.spawn(pipeline::resume(gate.clone(), task, question, approved)).detach();
}

fn void(gate: &Rc<Gate>, open: OpenCall, why: Void) {
    log::warn!("request {} is void: {why}", open.id);
    let outcome = why.outcome();
    if open.approved_by.is_some() {
        return end(gate, &open, outcome);
    }
    gate.ledger.metrics.ended(&open.tool, Some(Action::Ask), &outcome);
    let owner = gate.clone();
    let task = async move {
        let now = owner.clock.now();
        if let Err(e) = owner.store.answer(open.id, &QuestionEnd::Void(why), Some(&outcome), now, true).await
        {
            log::error!("request {}: could not be recorded as void: {e}", open.id);
        }
    };
    gate.executor.spawn(task).detach();
}

fn end(gate: &Rc<Gate>, open: &OpenCall, outcome: Outcome) {
    gate.ledger.metrics.ended(&open.tool, Some(Action::Ask), &outcome);
    let (owner, id) = (gate.clone(), open.id);
    let task = async move {
        if let Err(e) = owner.store.settle(id, &outcome, owner.clock.now()).await {
            log::error!("request {id}: its outcome could not be recorded: {e}");
        }
    };
    gate.executor.spawn(task).detach();
}
