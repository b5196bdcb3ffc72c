//! After a crash or a restart: open questions are taken up with the same id, approvals that were not yet acted on
//! are acted on, and what no longer fits the configuration is void.
//!
//! Calls that were under way are "unknown" already: the store has settled them when it was opened.

use std::cell::Cell;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::ledger::Kept;
use super::pipeline;
use super::running::Flight;
use super::state::Gate;
use super::task::Task;
use super::{Executor, Setup};
use crate::approval::Channels;
use crate::base::clock::Clock;
use crate::base::digest::Digest;
use crate::model::edit::with_changes;
use crate::model::{Action, Call, Outcome, QuestionEnd, Void};
use crate::store::{KeptEdit, OpenCall, Recovered, Store};

impl Gate {
    /// Opens the gate: what a crash left behind is settled or taken up again before anybody new is let in.
    pub(crate) fn open(
        executor: Executor,
        clock: Clock,
        store: Store,
        setup: Setup,
        channels: Rc<Channels>,
        mut recovered: Recovered,
    ) -> Rc<Gate> {
        let kept = Kept {
            counted: mem::take(&mut recovered.counted),
            called: mem::take(&mut recovered.called),
            read: mem::take(&mut recovered.read),
            grants: mem::take(&mut recovered.grants),
            stops: mem::take(&mut recovered.stops),
        };
        let gate = Rc::new(Gate::new(executor, clock, store, setup, channels, kept));
        // Before anybody is let in: the configuration may have changed while no gateway ran.
        gate.review_grants(&gate.setup());
        gate.stops.all().iter().for_each(|read| gate.end_stopped_grants(&read.stop));
        gate.spawn(gate.clone().keep_grants());
        take_up(&gate, recovered);
        gate
    }
}

fn take_up(gate: &Rc<Gate>, recovered: Recovered) {
    let cut_off = u64::try_from(recovered.unknown).unwrap_or(u64::MAX);
    gate.ledger.metrics.total(|totals| totals.cut_off = cut_off);
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
            Ok(calls) => resume(gate, open, calls),
            Err(why) => void(gate, open, why),
        }
    }
}

/// A call as it was asked for, and as it is asked about now.
struct Rebuilt {
    asked: Arc<Call>,
    call: Arc<Call>,
}

/// The same call as before, or why there is none.
fn rebuild(gate: &Gate, open: &OpenCall) -> Result<Rebuilt, Void> {
    let setup = gate.setup();
    if !setup.knows(&open.agent) {
        return Err(Void::AgentRemoved);
    }
    let tool = setup.tool(&open.tool).ok_or(Void::ToolChanged)?;
    let made = |args: Map<String, Value>, binding: Digest| {
        let call = Call::new(open.agent.clone(), tool.clone(), args).ok();
        call.filter(|call| call.binding() == binding).map(Arc::new).ok_or(Void::ToolChanged)
    };
    let asked = made(open.args.clone(), open.binding)?;
    let call = match &open.edit {
        Some(edit) => made(with_changes(asked.args().clone(), &edit.changes), edit.binding)?,
        None => asked.clone(),
    };
    gate.forbids(&setup, &call, open.session.as_deref()).map_or(Ok(Rebuilt { asked, call }), Err)
}

fn resume(gate: &Rc<Gate>, open: OpenCall, calls: Rebuilt) {
    let Rebuilt { asked, call } = calls;
    // The wall clock may have been set back meanwhile; the time that is gone stays gone.
    let now = gate.clock.now().max(open.created.plus(open.age));
    let approved = open.approved_by.is_some();
    if approved && open.expires <= now {
        // An approval that could not be acted on before its deadline is too old to act on.
        return end(gate, open, Outcome::TimedOut, None);
    }
    let flight = Flight::new(open.id, &asked, open.session.as_deref());
    flight.set_recorded();
    gate.flights.running.borrow_mut().add(&asked, open.session.as_deref(), open.key.as_deref(), &flight);
    let OpenCall { id, created: at, session, reason, key, rule, reasons, expires, edit, .. } = open;
    let (ask, terms, counted) = (open.ask, open.terms, open.counted);
    let task = Task { id, at, call: asked, prepared: Cell::default(), session, reason, key, flight };
    let question = task.question(rule, reasons, (ask, terms), expires);
    let question = match edit {
        Some(KeptEdit { by, .. }) => Arc::new(question.with_call(call, by)),
        None => question,
    };
    if !approved {
        gate.approvals.reserve(&question, now);
        gate.approvals.said_yes(id, counted);
    }
    gate.spawn(pipeline::resume(gate.clone(), task, question, approved));
}

fn void(gate: &Gate, open: OpenCall, why: Void) {
    log::warn!("request {} is void: {why}", open.id);
    let outcome = why.outcome();
    // An approval has been answered already.
    let end_of_question = open.approved_by.is_none().then_some(QuestionEnd::Void(why));
    end(gate, open, outcome, end_of_question);
}

/// Writes down how a call ended, and its question if that was open.
fn end(gate: &Gate, open: OpenCall, outcome: Outcome, question: Option<QuestionEnd>) {
    gate.ledger.metrics.ended(&open.tool, Some(Action::Ask), &outcome);
    let (id, now, store) = (open.id, gate.clock.now(), gate.store.clone());
    gate.spawn(async move {
        let written = match question {
            Some(end) => store.answer(id, &end, Some(&outcome), now, true).await.map(drop),
            None => store.settle(id, &outcome, now).await,
        };
        if let Err(e) = written {
            log::error!("request {id}: its outcome could not be recorded: {e}");
        }
    });
}
