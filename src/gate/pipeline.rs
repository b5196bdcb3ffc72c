//! The path of one call, top to bottom. Admission (`admit`) has made a [`Call`](crate::model::Call) of it; from here on every step is
//! written down before the next is taken.
//!
//! ```text
//! run ── replayed? ── decide ─┬─ denied ───────────────────────────────┐
//!                             ├─ allowed ── a slot ── claim ── execute ─┼─ finish
//!                             └─ asked ── await_answer ─┬─ approved ── a slot ── claim ── execute
//! resume (after a restart) ─────────────┘               └─ denied, timed out, withdrawn, void
//! ```

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::claiming::{Claimed, claim_at_once, claim_in_turn};
use super::flights::NoSlot;
use super::judged::{self, Judged};
use super::running::CallReply;
use super::setup::Setup;
use super::state::Gate;
use super::task::{Step, Task, replayed};
use crate::model::edit::changed_args;
use crate::model::{Action, Denial, Outcome, Question, QuestionEnd, Responder, Verdict};
use crate::service::{Attempt, CallSlot, PreparedCall};
use crate::store::{Claim, Stage};

/// Carries a new call from judgement to outcome and answers everybody who waits for it. The checks before took `checked`.
pub(super) async fn run(gate: Rc<Gate>, task: Task, checked: Duration) {
    let earlier = match &task.key {
        Some(key) => replayed(&gate, &task.call, task.session.as_deref(), key).await,
        None => Ok(None),
    };
    let (decision, reply) = match earlier {
        Ok(Some(reply)) => (None, reply),
        Ok(None) => decide(&gate, &task, checked).await,
        Err(outcome) => (None, task.reply(outcome)),
    };
    finish(&gate, &task, decision, reply);
}

/// Carries on with a question that was open when the gateway stopped, or whose approval was not yet acted on.
pub(super) async fn resume(gate: Rc<Gate>, task: Task, question: Arc<Question>, approved: bool) {
    let outcome = match approved {
        true => act_on_approval(&gate, &task, &question, None).await,
        false => await_answer(&gate, &task, &question).await,
    };
    finish(&gate, &task, Some(Action::Ask), task.reply(outcome));
}

fn finish(gate: &Gate, task: &Task, decision: Option<Action>, reply: CallReply) {
    gate.flights.running.borrow_mut().remove(&task.call, task.session.as_deref(), &task.flight);
    gate.ledger.metrics.replied(&task.call.tool().name, decision, &reply);
    task.flight.finish(reply);
}

/// Judged once; judged anew only when a reload changes the rules before they have let the call through.
async fn decide(gate: &Gate, task: &Task, checked: Duration) -> (Option<Action>, CallReply) {
    let began = Instant::now();
    let mut judged = Judged::new(gate, task, &gate.setup());
    gate.ledger.metrics.decided(checked + began.elapsed());
    loop {
        let decision = judged.verdict.decision;
        log::info!("request {} by {}: {decision} {}", task.id, task.call.agent(), task.call.tool().name);
        let (outcome, used) = match judged.verdict.forbidden() {
            Some(why) => (end(gate, task, judged.verdict, why.outcome()).await, None),
            None if decision == Action::Ask => (ask(gate, task, judged.verdict).await, None),
            None => match allow(gate, task, &mut judged).await {
                // Not the grant of the first judgement: that may have ended while the call waited.
                Ok(outcome) => (outcome, judged.verdict.grant),
                Err(NoSlot::Busy) => (end(gate, task, judged.release(), Outcome::Busy).await, None),
                Err(NoSlot::Overtaken(anew)) => {
                    judged = *anew;
                    continue;
                }
            },
        };
        let grant = used.and_then(|used| gate.grant_note(used));
        return (Some(decision), CallReply { grant, ..task.reply(outcome.unwrap_or_else(|early| early)) });
    }
}

/// Records a call together with its end.
async fn end(gate: &Gate, task: &Task, verdict: Verdict, outcome: Outcome) -> Step<Outcome> {
    task.record(gate, verdict, Stage::Settled(outcome.clone())).await?;
    Ok(outcome)
}

/// An allowed call is recorded and claimed at once, as soon as it has a slot.
async fn allow(gate: &Gate, task: &Task, judged: &mut Judged) -> Result<Step<Outcome>, NoSlot<Box<Judged>>> {
    if gate.flights.waiting() > 0 {
        // Requests with credentials and copies of bodies must not pile up in the queue; it is built anew when its turn comes.
        task.prepared.take();
    }
    let look = |setup: &Rc<Setup>| judged.still_allows(gate, task, setup);
    let slot = gate.flights.slot(&task.call, &gate.setup, look).await?;
    let _executing = gate.flights.begin().await;
    let turn = judged.turn(gate, task).await.map_err(NoSlot::Overtaken)?;
    let Some(reserved) = judged.reserved.take() else {
        return Ok(end(gate, task, judged.verdict.clone(), Outcome::TooManySessions).await);
    };
    let claim = match task.record_claimed(gate, judged.verdict.clone(), reserved).await {
        Ok(claim) => claim,
        Err(early) => return Ok(Err(early)),
    };
    drop(turn);
    let look = |setup: &Rc<Setup>| {
        judged.still_allows_claimed(gate, task, setup).map_err(|verdict| match verdict.forbidden() {
            Some(why) => why.outcome(),
            None => Outcome::DeniedByPolicy(Denial::by_rule(Some(ASKED_NOW.into()))),
        })
    };
    Ok(Ok(execute(gate, task, claim, slot, look).await))
}

/// What the agent hears of a call that was allowed when it was claimed, and that a person is to be asked about now.
const ASKED_NOW: &str = "a person is to be asked since the rules have changed; ask for it again";

/// Records a question, unless nobody is to be asked.
async fn ask(gate: &Gate, task: &Task, verdict: Verdict) -> Step<Outcome> {
    // It holds credentials, and a question can be open for long.
    task.prepared.take();
    let expires = task.at.plus(gate.setup().config.approval_timeout);
    let terms = (verdict.ask.clone(), verdict.terms.clone());
    let question = task.question(verdict.rule.clone(), verdict.asked(), terms, expires);
    if let Some((stage, outcome)) = judged::not_asked(&gate.setup().config.approvals, &verdict, &question) {
        task.record(gate, verdict, stage).await?;
        return Ok(outcome);
    }
    // Nothing was waited for since the judgement, so no agent gets past its limit by asking faster than the disk writes.
    gate.approvals.reserve(&question, question.created);
    if let Err(early) = task.record(gate, verdict, Stage::Asked { expires: question.expires }).await {
        gate.approvals.forget(question.id);
        return Err(early);
    }
    Ok(await_answer(gate, task, &question).await)
}

/// The question is on disk; from here on it can be answered.
async fn await_answer(gate: &Gate, task: &Task, question: &Arc<Question>) -> Outcome {
    // The result is complete only when the note to a denial has come.
    let _held = gate.inbox.hold(question.id);
    task.flight.set_asked(question.expires);
    let forbids =
        |setup: &Setup, question: &Question| gate.forbids(setup, &question.call, question.session.as_deref());
    let approve =
        async |question: &Arc<Question>, by: &Responder| claim_at_once(gate, task, question, by).await;
    let ((end, question), claimed) = &mut gate.approvals.ask(question, &gate.setup, forbids, approve).await;
    let now = gate.clock.now();
    gate.ledger.answered(&gate.setup(), &task.call, end, now);
    gate.ledger.metrics.waited(question, end, now.since(question.created));
    match end {
        QuestionEnd::Approved { .. } => act_on_approval(gate, task, question, claimed.take()).await,
        QuestionEnd::Denied { note, .. } => {
            let later = gate.approvals.note(question).await;
            Outcome::DeniedByUser { note: note.clone().or(later) }
        }
        QuestionEnd::TimedOut => Outcome::TimedOut,
        QuestionEnd::Withdrawn => Outcome::Withdrawn,
        QuestionEnd::Void(why) => why.outcome(),
    }
}

/// An approved call is not judged again: it is claimed, unless it is already, and executed unless something forbids it now.
async fn act_on_approval(
    gate: &Gate,
    task: &Task,
    question: &Arc<Question>,
    claimed: Option<Claimed>,
) -> Outcome {
    let approved = &question.call;
    gate.approvals.may_be_overruled(question);
    let look = |setup: &Rc<Setup>| {
        gate.forbids(setup, approved, task.session.as_deref()).map_or(Ok(()), |why| Err(why.outcome()))
    };
    let (claimed, _executing) = match claimed {
        Some((claim, slot, executing)) => (Ok(Some((claim, slot))), executing),
        None => claim_in_turn(gate, task, approved, look).await,
    };
    let overruled = gate.approvals.claimed(task.id);
    let outcome = match (claimed, overruled) {
        (Ok(Some((claim, slot))), _) => execute(gate, task, claim, slot, look).await,
        (Err(_), Some(denied)) => {
            task.settle(gate, &denied, None).await;
            denied
        }
        (Ok(None), Some(denied)) => denied,
        (Ok(None), None) => {
            log::error!("request {}: somebody else has claimed it", task.id);
            Outcome::UnknownResult
        }
        // The agent hears "not executed", so no later start may execute it.
        (Err(early), None) => {
            task.settle(gate, &early, None).await;
            early
        }
    };
    gate.approvals.channels.tell(|channel| channel.finished(question, &outcome));
    outcome
}

/// The call is claimed on disk: it runs once, here. `look` says whether it may still be made as the setup in force has it.
async fn execute(
    gate: &Gate,
    task: &Task,
    claim: Claim,
    slot: CallSlot,
    look: impl FnMut(&Rc<Setup>) -> Step<()>,
) -> Outcome {
    let edited = changed_args(&task.call, claim.call());
    let (mut outcome, slot) = send(gate, claim, task.prepared.take(), slot, look).await;
    if let Outcome::Executed(output) = &mut outcome {
        output.edited = edited;
    }
    gate.ended(task, &outcome);
    task.settle(gate, &outcome, slot).await;
    log::info!("request {} ended: {}", task.id, outcome.as_str());
    outcome
}

/// Sends a call as the setup in force has it. That may have become another one while the disk was busy, and again
/// while a connection was made: then nothing has been sent, and the call is looked at anew.
async fn send(
    gate: &Gate,
    mut claim: Claim,
    mut prepared: Option<PreparedCall>,
    mut slot: CallSlot,
    mut look: impl FnMut(&Rc<Setup>) -> Step<()>,
) -> (Outcome, Option<CallSlot>) {
    let call = claim.call().clone();
    loop {
        let (setup, began) = (gate.setup(), Instant::now());
        if let Err(early) = look(&setup) {
            return (early, None);
        }
        match setup.services.run(claim, prepared.take(), slot).await {
            Attempt::Overtaken(unused, back) => (claim, slot) = (unused, back),
            Attempt::Ended { outcome, slot } => {
                setup.services.heard(call.tool(), &outcome, gate.clock.now());
                gate.ledger.metrics.executed(&call.tool().service, began.elapsed());
                return (outcome, slot);
            }
        }
    }
}
