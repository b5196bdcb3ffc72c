//! The path of one call, top to bottom. Admission (`admit`) has made a [`Call`] of it; from here on every step is
//! written down before the next is taken.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cool_down;
use super::flights::NoPlace;
use super::recording::until_recorded;
use super::running::{Flight, Reply};
use super::setup::Setup;
use super::state::Gate;
use crate::approval::text;
use crate::base::clock::Timestamp;
use crate::base::ids::RequestId;
use crate::model::{Action, Call, Outcome, Question, QuestionEnd, Reason, Responder, Risk, Verdict};
use crate::service::{Attempt, CallSlot, Prepared};
use crate::store::{Claim, NewCall, Stage, StoreError};

/// A call on its way.
pub(super) struct Task {
    pub id: RequestId,
    /// When it was admitted: the time in the record and on the question.
    pub at: Timestamp,
    pub call: Arc<Call>,
    /// The call as it is to be sent, until it is.
    pub prepared: Cell<Option<Prepared>>,
    pub session: Option<String>,
    pub reason: Option<String>,
    pub key: Option<String>,
    pub flight: Rc<Flight>,
}

/// A call goes on, or it ends early. Every `?` below is such an end.
type Step<T> = Result<T, Outcome>;

/// Carries a new call from judgement to outcome and answers everybody who waits for it. The checks before took `checked`.
pub(super) async fn run(gate: Rc<Gate>, task: Task, checked: Duration) {
    let earlier = match &task.key {
        Some(key) => replayed(&gate, &task.call, key).await,
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
        true => act_on_approval(&gate, &task, &question).await,
        false => await_answer(&gate, &task, &question).await,
    };
    let reply = task.reply(outcome.unwrap_or_else(|early| early));
    finish(&gate, &task, Some(Action::Ask), reply);
}

fn finish(gate: &Gate, task: &Task, decision: Option<Action>, reply: Reply) {
    gate.flights.running.borrow_mut().remove(&task.call, &task.flight);
    gate.ledger.metrics.replied(&task.call.tool().name, decision, &reply);
    task.flight.finish(reply);
}

/// What the policy said to a call, and the setup that it said so under.
struct Judged {
    verdict: Verdict,
    setup: Rc<Setup>,
}

fn judge(gate: &Gate, call: &Call, setup: &Rc<Setup>) -> Judged {
    let verdict = setup.policy.judge(call, &gate.facts(setup, call));
    Judged { verdict, setup: setup.clone() }
}

/// Judged once; judged anew only when a reload changes the rules before they have let the call through.
async fn decide(gate: &Rc<Gate>, task: &Task, checked: Duration) -> (Option<Action>, Reply) {
    let began = Instant::now();
    let mut judged = judge(gate, &task.call, &gate.setup());
    gate.ledger.metrics.decided(checked + began.elapsed());
    loop {
        let decision = judged.verdict.decision;
        log::info!("request {} by {}: {decision} {}", task.id, task.call.agent(), task.call.tool().name);
        let outcome = match (judged.verdict.forbidden(), decision) {
            (Some(why), _) => end(gate, task, judged.verdict, why.outcome()).await,
            (None, Action::Ask) => ask(gate, task, judged.verdict).await,
            (None, _) => match turn(gate, task, &mut judged).await {
                Ok(place) => allow(gate, task, judged, place).await,
                Err(NoPlace::Busy) => end(gate, task, judged.verdict, Outcome::Busy).await,
                Err(NoPlace::Overtaken(anew)) => {
                    judged = anew;
                    continue;
                }
            },
        };
        return (Some(decision), task.reply(outcome.unwrap_or_else(|early| early)));
    }
}

/// Records a call together with its end.
async fn end(gate: &Gate, task: &Task, verdict: Verdict, outcome: Outcome) -> Step<Outcome> {
    record(gate, task, verdict, Stage::Settled(outcome.clone())).await?;
    Ok(outcome)
}

async fn ask(gate: &Rc<Gate>, task: &Task, verdict: Verdict) -> Step<Outcome> {
    // It holds credentials, and a question can be open for long.
    task.prepared.take();
    let (setup, question) = (gate.setup(), Arc::new(question(gate, task, &verdict)));
    let settings = &setup.config.approvals;
    match (verdict.not_asked(), settings.cool_down) {
        (Some(Reason::CoolDown { until }), Some(rule)) => {
            let (by, note) = (Responder::cool_down(), cool_down::note(rule, until));
            log::info!("request {}: {note}", task.id);
            record(gate, task, verdict, Stage::Denied { by, note: note.clone() }).await?;
            return Ok(Outcome::DeniedByUser { note: Some(note) });
        }
        _ if text::length(&question) > settings.max_question_chars => {
            return end(gate, task, verdict, Outcome::TooLargeToShow).await;
        }
        (Some(_), _) => return end(gate, task, verdict, Outcome::TooManyPending).await,
        (None, _) => {}
    }
    // Nothing was waited for since the judgement, so no agent gets past its limit by asking faster than the disk writes.
    gate.approvals.reserve(&question, question.created);
    if let Err(early) = record(gate, task, verdict, Stage::Asked { expires: question.expires }).await {
        gate.approvals.forget(question.id);
        return Err(early);
    }
    await_answer(gate, task, &question).await
}

/// The question is on disk; from here on it can be answered.
async fn await_answer(gate: &Rc<Gate>, task: &Task, question: &Arc<Question>) -> Step<Outcome> {
    // The result is complete only when the note to a denial has come.
    let _held = gate.inbox.hold(question.id);
    task.flight.set_asked(question.expires);
    let forbids = |setup: &Setup| gate.forbids(setup, &task.call);
    let answer = gate.approvals.ask(question, &gate.setup, forbids).await;
    let now = gate.clock.now();
    gate.ledger.answered(&gate.setup(), &task.call, &answer, now);
    gate.ledger.metrics.waited(question, &answer, now.since(question.created));
    match answer {
        QuestionEnd::Approved { .. } => act_on_approval(gate, task, question).await,
        QuestionEnd::Denied { note, .. } => {
            let later = gate.approvals.note(question).await;
            Ok(Outcome::DeniedByUser { note: note.or(later) })
        }
        QuestionEnd::TimedOut => Ok(Outcome::TimedOut),
        QuestionEnd::Withdrawn => Ok(Outcome::Withdrawn),
        QuestionEnd::Void(why) => Ok(why.outcome()),
    }
}

async fn act_on_approval(gate: &Rc<Gate>, task: &Task, question: &Arc<Question>) -> Step<Outcome> {
    let look = |setup: &Rc<Setup>| permitted(gate, task, setup);
    let place = gate.flights.place(&task.call, &gate.setup, look).await;
    let _executing = gate.flights.begin().await;
    let claimed = match place {
        Ok(place) => claim(gate, task, place).await,
        Err(NoPlace::Busy) => Err(Outcome::Busy),
        Err(NoPlace::Overtaken(early)) => Err(early),
    };
    let outcome = match claimed {
        Ok(Some((claim, place))) => execute(gate, task, claim, place, look).await,
        Ok(None) => {
            log::error!("request {}: somebody else has claimed it", task.id);
            Outcome::UnknownResult
        }
        // The agent hears "not executed", so no later start may execute it.
        Err(early) => {
            settle(gate, task, &early, None).await;
            early
        }
    };
    gate.approvals.channels.tell(|channel| channel.finished(question, &outcome));
    Ok(outcome)
}

async fn claim(gate: &Gate, task: &Task, place: CallSlot) -> Step<Option<(Claim, CallSlot)>> {
    let claim = gate.store.claim(task.id, task.call.clone(), gate.clock.now(), durable(task)).await;
    claim.map(|claim| claim.map(|claim| (claim, place))).map_err(|e| store_failed(task, &e))
}

/// A call that a person has approved is not judged again, but nothing may forbid it.
fn permitted(gate: &Gate, task: &Task, setup: &Setup) -> Step<()> {
    gate.forbids(setup, &task.call).map_or(Ok(()), |why| Err(why.outcome()))
}

/// Waits until an allowed call may run.
async fn turn(gate: &Gate, task: &Task, judged: &mut Judged) -> Result<CallSlot, NoPlace<Judged>> {
    let look = |setup: &Rc<Setup>| still_allowed(gate, task, setup, judged);
    gate.flights.place(&task.call, &gate.setup, look).await
}

/// Nobody was asked about an allowed call, so under other rules it is judged anew.
///
/// # Errors
/// The new judgement, when it does not allow the call.
fn still_allowed(gate: &Gate, task: &Task, setup: &Rc<Setup>, judged: &mut Judged) -> Result<(), Judged> {
    if !Rc::ptr_eq(setup, &judged.setup) {
        let anew = judge(gate, &task.call, setup);
        if anew.verdict.decision != Action::Allow {
            return Err(anew);
        }
        *judged = anew;
    }
    Ok(())
}

/// What its agent hears of a call that was allowed when it was claimed, and that a person is to be asked about now.
const ASKED_NOW: &str = "a person is to be asked since the rules have changed; ask for it again";

async fn allow(gate: &Rc<Gate>, task: &Task, mut judged: Judged, place: CallSlot) -> Step<Outcome> {
    let _executing = gate.flights.begin().await;
    let claim = gate.store.record_claimed(task.new_call(judged.verdict.clone()), durable(task)).await;
    let claim = claim.map_err(|e| store_failed(task, &e))?;
    task.flight.set_recorded();
    let look = |setup: &Rc<Setup>| {
        still_allowed(gate, task, setup, &mut judged).map_err(|anew| match anew.verdict.forbidden() {
            Some(why) => why.outcome(),
            None => Outcome::DeniedByPolicy { rule: Some(ASKED_NOW.into()) },
        })
    };
    Ok(execute(gate, task, claim, place, look).await)
}

/// The call is claimed on disk: it runs once, here.
async fn execute(
    gate: &Rc<Gate>,
    task: &Task,
    claim: Claim,
    place: CallSlot,
    look: impl FnMut(&Rc<Setup>) -> Step<()>,
) -> Outcome {
    let (outcome, place) = send(gate, claim, task.prepared.take(), place, look).await;
    settle(gate, task, &outcome, place).await;
    log::info!("request {} ended: {}", task.id, outcome.as_str());
    outcome
}

/// Sends a call as the setup in force has it. That may have become another one while the disk was busy, and again
/// while a connection was made: then nothing has been sent, and the call is looked at anew.
async fn send(
    gate: &Gate,
    mut claim: Claim,
    mut prepared: Option<Prepared>,
    mut place: CallSlot,
    mut look: impl FnMut(&Rc<Setup>) -> Step<()>,
) -> (Outcome, Option<CallSlot>) {
    let call = claim.call().clone();
    loop {
        let (setup, began) = (gate.setup(), Instant::now());
        if let Err(early) = look(&setup) {
            return (early, None);
        }
        match setup.services.run(claim, prepared.take(), place).await {
            Attempt::Overtaken(unused, back) => (claim, place) = (unused, back),
            Attempt::Ended { outcome, slot } => {
                setup.services.heard(call.tool(), &outcome, gate.clock.now());
                gate.ledger.metrics.executed(&call.tool().service, began.elapsed());
                return (outcome, slot);
            }
        }
    }
}

/// Writes the outcome down. When that fails the agent still hears it, and the writing is tried again until it
/// succeeds; until then it keeps its `place`. A call that was executing becomes "unknown" if the gateway restarts before.
async fn settle(gate: &Rc<Gate>, task: &Task, outcome: &Outcome, place: Option<CallSlot>) {
    let Err(e) = gate.store.settle(task.id, outcome, gate.clock.now()).await else { return };
    log::error!("request {}: its outcome could not be recorded: {e}", task.id);
    let (later, id, outcome) = (gate.clone(), task.id, outcome.clone());
    gate.spawn(until_recorded(format!("request {id}: its outcome"), async move || {
        let _kept = &place;
        later.store.settle(id, &outcome, later.clock.now()).await
    }));
}

async fn record(gate: &Gate, task: &Task, verdict: Verdict, stage: Stage) -> Step<()> {
    let recorded = gate.store.record(task.new_call(verdict), stage, durable(task)).await;
    recorded.map_err(|e| store_failed(task, &e))?;
    task.flight.set_recorded();
    Ok(())
}

/// The outcome of an earlier call with the same idempotency key, if there is one.
pub(super) async fn replayed(gate: &Gate, call: &Call, key: &str) -> Step<Option<Reply>> {
    let found = gate.store.replay(call.agent(), key, gate.clock.now()).await.map_err(|e| {
        log::error!("not executed, the record cannot be read: {e}");
        Outcome::StoreUnavailable
    });
    let Some(earlier) = found? else { return Ok(None) };
    if earlier.digest != call.digest() {
        return Err(Outcome::IdempotencyConflict);
    }
    let outcome = earlier.outcome.unwrap_or(Outcome::UnknownResult);
    Ok(Some(Reply { outcome, request_id: Some(earlier.id), replayed: true }))
}

fn question(gate: &Gate, task: &Task, verdict: &Verdict) -> Question {
    Question {
        id: task.id,
        call: task.call.clone(),
        session: task.session.clone(),
        reason: task.reason.clone(),
        risk: Risk::of(&task.call.tool().name),
        rule: verdict.rule.clone(),
        created: task.at,
        expires: task.at.plus(gate.setup().config.approval_timeout),
    }
}

/// Calls with side effects wait for the disk.
fn durable(task: &Task) -> bool {
    task.call.tool().kind.has_side_effects()
}

fn store_failed(task: &Task, e: &StoreError) -> Outcome {
    log::error!("request {}: not executed, the record cannot be written: {e}", task.id);
    Outcome::StoreUnavailable
}

impl Task {
    fn new_call(&self, decision: Verdict) -> NewCall {
        NewCall {
            id: self.id,
            at: self.at,
            call: self.call.clone(),
            session: self.session.clone(),
            reason: self.reason.clone(),
            key: self.key.clone(),
            decision,
        }
    }

    fn reply(&self, outcome: Outcome) -> Reply {
        Reply::new(outcome, Some(self.id))
    }
}
