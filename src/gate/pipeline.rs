//! The path of one call, top to bottom. Admission (`admit`) has made a [`Call`] of it; from here on every step is
//! written down before the next is taken.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::{Timer, future};

use super::running::{Reply, Shared};
use super::turn::NoPlace;
use super::{Gate, Setup};
use crate::approval::text;
use crate::base::clock::Timestamp;
use crate::base::ids::RequestId;
use crate::base::slots::Slot;
use crate::model::{Action, Call, Outcome, Question, QuestionEnd, Responder, Risk, Verdict, Void};
use crate::service::{Attempt, CallSlot, Prepared};
use crate::store::{Claim, NewCall, Stage, StoreError};

/// A call on its way.
pub(super) struct Task {
    pub id: RequestId,
    /// When it was admitted: the time in the record and on the question.
    pub at: Timestamp,
    pub call: Arc<Call>,
    pub session: Option<String>,
    pub reason: Option<String>,
    pub key: Option<String>,
    pub shared: Rc<Shared>,
    /// How long the checks took.
    pub checked: Duration,
    /// What the policy said; None until it was asked.
    pub decision: Cell<Option<Action>>,
    /// The call as it is to be sent, until it is.
    pub prepared: Cell<Option<Prepared>>,
}

/// Why a call ends early. Every `?` below is one.
type Step<T> = Result<T, Outcome>;

/// Carries a new call from judgement to outcome and answers everybody who waits for it.
pub(super) async fn run(gate: Rc<Gate>, task: Task) {
    let earlier = match &task.key {
        Some(key) => replayed(&gate, &task.call, key).await,
        None => Ok(None),
    };
    let reply = match earlier {
        Ok(Some(reply)) => reply,
        Ok(None) => task.reply(decide(&gate, &task).await),
        Err(outcome) => task.reply(outcome),
    };
    finish(&gate, &task, reply);
}

/// Carries on with a question that was open when the gateway stopped, or whose approval was not yet acted on.
pub(super) async fn resume(gate: Rc<Gate>, task: Task, question: Arc<Question>, approved: bool) {
    let outcome = match approved {
        true => act_on_approval(&gate, &task, &question).await,
        false => await_answer(&gate, &task, question).await,
    };
    let reply = task.reply(outcome.unwrap_or_else(|early| early));
    finish(&gate, &task, reply);
}

async fn decide(gate: &Rc<Gate>, task: &Task) -> Outcome {
    let began = Instant::now();
    let mut judged = judge(&gate.setup(), &task.call);
    gate.metrics.decided(task.checked + began.elapsed());
    let outcome = loop {
        let action = judged.action();
        task.decision.set(Some(action));
        log::info!("request {} by {}: {action} {}", task.id, task.call.agent(), task.call.tool().name);
        break match judged {
            Judged::Denied(verdict, why) => end(gate, task, verdict, why.outcome()).await,
            Judged::Asked(verdict) => ask(gate, task, verdict).await,
            Judged::Allowed(verdict) => match gate.turn(&task.call, still_allowed(&task.call)).await {
                Ok((place, verdict)) => allow(gate, task, verdict, place).await,
                Err(NoPlace::Busy) => end(gate, task, verdict, Outcome::Busy).await,
                Err(NoPlace::Overtaken(anew)) => {
                    judged = anew;
                    continue;
                }
            },
        };
    };
    outcome.unwrap_or_else(|early| early)
}

/// Records a call together with its end.
async fn end(gate: &Gate, task: &Task, verdict: Verdict, outcome: Outcome) -> Step<Outcome> {
    record(gate, task, verdict, Stage::Settled(outcome.clone())).await?;
    Ok(outcome)
}

async fn allow(gate: &Rc<Gate>, task: &Task, verdict: Verdict, place: CallSlot) -> Step<Outcome> {
    let _executing = executing(gate).await;
    let claim = gate.store.record_claimed(new_call(task, verdict), durable(&task.call)).await;
    let claim = claim.map_err(|e| store_failed(task, &e))?;
    task.shared.set_recorded();
    Ok(execute(gate, task, claim, place, no_longer_allowed).await)
}

async fn ask(gate: &Rc<Gate>, task: &Task, verdict: Verdict) -> Step<Outcome> {
    // It holds credentials, and a question can be open for long.
    task.prepared.take();
    if let Some(note) = gate.not_asked(&task.call) {
        log::info!("request {}: {note}", task.id);
        let (by, stage_note) = (Responder::cool_down(), note.clone());
        record(gate, task, verdict, Stage::Denied { by, note: stage_note }).await?;
        return Ok(Outcome::DeniedByUser { note: Some(note) });
    }
    let question = Arc::new(question(gate, task, &verdict));
    if let Err(refusal) = reserve(gate, &question) {
        record(gate, task, verdict, Stage::Settled(refusal.clone())).await?;
        return Ok(refusal);
    }
    let recorded = record(gate, task, verdict, Stage::Asked { expires: question.expires }).await;
    if let Err(outcome) = recorded {
        gate.desk.borrow_mut().forget(question.id);
        return Err(outcome);
    }
    await_answer(gate, task, question).await
}

/// The question is on disk; from here on it can be answered.
async fn await_answer(gate: &Rc<Gate>, task: &Task, question: Arc<Question>) -> Step<Outcome> {
    let waiter = gate.register_waiter(question.id);
    gate.desk.borrow_mut().open(question.id);
    task.shared.set_asked(question.expires);
    gate.channels.tell(|channel| channel.asked(&question));
    let settlement = gate.settlement(&question, &waiter).await;
    gate.drop_waiter(question.id);
    gate.metrics.waited(&question, &settlement, gate.clock.now().since(question.created));
    match settlement {
        QuestionEnd::Approved { .. } => act_on_approval(gate, task, &question).await,
        QuestionEnd::Denied { note, .. } => {
            let later = gate.note_after(&question).await;
            Ok(Outcome::DeniedByUser { note: note.or(later) })
        }
        QuestionEnd::TimedOut => Ok(Outcome::TimedOut),
        QuestionEnd::Withdrawn => Ok(Outcome::Withdrawn),
        QuestionEnd::Void(why) => Ok(why.outcome()),
    }
}

async fn act_on_approval(gate: &Rc<Gate>, task: &Task, question: &Arc<Question>) -> Step<Outcome> {
    let turn = gate.turn(&task.call, |setup| drift(setup, &task.call).map_or(Ok(()), Err)).await;
    let _executing = executing(gate).await;
    let claimed = match turn {
        Ok((place, ())) => claim(gate, task, place).await,
        Err(NoPlace::Busy) => Err(Outcome::Busy),
        Err(NoPlace::Overtaken(why)) => Err(why.outcome()),
    };
    let outcome = match claimed {
        Ok(Some((claim, place))) => {
            let refuse: Refuse = |setup, call| drift(setup, call).map(|why| why.outcome());
            execute(gate, task, claim, place, refuse).await
        }
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
    gate.channels.tell(|channel| channel.finished(question, &outcome));
    Ok(outcome)
}

async fn claim(gate: &Gate, task: &Task, place: CallSlot) -> Step<Option<(Claim, CallSlot)>> {
    let claim = gate.store.claim(task.id, task.call.clone(), gate.clock.now(), durable(&task.call)).await;
    claim.map(|claim| claim.map(|claim| (claim, place))).map_err(|e| store_failed(task, &e))
}

/// What the setup in force makes of a call.
enum Judged {
    Allowed(Verdict),
    Asked(Verdict),
    Denied(Verdict, Void),
}

impl Judged {
    fn action(&self) -> Action {
        match self {
            Judged::Allowed(_) => Action::Allow,
            Judged::Asked(_) => Action::Ask,
            Judged::Denied(..) => Action::Deny,
        }
    }
}

/// What was checked must still be what would run, for an agent that there still is; then the rules decide.
fn judge(setup: &Setup, call: &Call) -> Judged {
    let same = setup.tools.get(&call.tool().name).is_some_and(|now| now.digest == call.tool().digest);
    let gone = |why| Judged::Denied(Verdict { action: Action::Deny, rule: None }, why);
    if !setup.knows(call.agent()) {
        return gone(Void::AgentRemoved);
    }
    if !same {
        return gone(Void::ToolChanged);
    }
    let verdict = setup.policy.judge(call);
    match verdict.action {
        Action::Allow => Judged::Allowed(verdict),
        Action::Ask => Judged::Asked(verdict),
        Action::Deny => {
            let rule = verdict.rule.as_ref().and_then(|rule| rule.description.clone());
            Judged::Denied(verdict, Void::Denied { rule })
        }
    }
}

/// A call that waits and that is to be asked about now has not been allowed.
fn still_allowed(call: &Call) -> impl Fn(&Setup) -> Result<Verdict, Judged> {
    |setup| match judge(setup, call) {
        Judged::Allowed(verdict) => Ok(verdict),
        other => Err(other),
    }
}

/// Why a call that was allowed or approved may not be made any more. What only asks is not asked again.
pub(super) fn drift(setup: &Setup, call: &Call) -> Option<Void> {
    match judge(setup, call) {
        Judged::Denied(_, why) => Some(why),
        Judged::Allowed(_) | Judged::Asked(_) => None,
    }
}

/// What becomes of a claimed call instead of being sent; None when it may be sent.
type Refuse = fn(&Setup, &Call) -> Option<Outcome>;

/// What its agent hears of a call that was allowed when it was claimed, and that a person is to be asked about now.
const ASKED_NOW: &str = "a person is to be asked since the rules have changed; ask for it again";

/// Nobody was asked about this call, so it is not made when somebody is to be asked now.
fn no_longer_allowed(setup: &Setup, call: &Call) -> Option<Outcome> {
    match judge(setup, call) {
        Judged::Allowed(_) => None,
        Judged::Asked(_) => Some(Outcome::DeniedByPolicy { rule: Some(ASKED_NOW.into()) }),
        Judged::Denied(_, why) => Some(why.outcome()),
    }
}

/// The call is claimed on disk: it runs once, here.
async fn execute(gate: &Rc<Gate>, task: &Task, claim: Claim, place: CallSlot, refuse: Refuse) -> Outcome {
    let (outcome, place) = send(gate, claim, task.prepared.take(), place, refuse).await;
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
    refuse: Refuse,
) -> (Outcome, Option<CallSlot>) {
    let call = claim.call().clone();
    loop {
        let (setup, began) = (gate.setup(), Instant::now());
        if let Some(refused) = refuse(&setup, &call) {
            return (refused, None);
        }
        match setup.services.run(claim, prepared.take(), place).await {
            Attempt::Overtaken(unused, back) => (claim, place) = (unused, back),
            Attempt::Ended { outcome, slot } => {
                setup.services.heard(call.tool(), &outcome, gate.clock.now());
                gate.metrics.executed(&call.tool().service, began.elapsed());
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
    gate.executor.spawn(settle_later(gate.clone(), task.id, outcome.clone(), place)).detach();
}

async fn settle_later(gate: Rc<Gate>, id: RequestId, outcome: Outcome, _place: Option<CallSlot>) {
    loop {
        Timer::after(RETRY).await;
        match gate.store.settle(id, &outcome, gate.clock.now()).await {
            Ok(()) => return log::info!("request {id}: its outcome is recorded now"),
            Err(StoreError::NotOpen | StoreError::Stopped) => return,
            Err(e) => log::debug!("request {id}: its outcome can still not be recorded: {e}"),
        }
    }
}

/// How long to wait before something that could not be recorded is tried again. Nothing new begins meanwhile, so
/// there are never more of these than calls that were open.
pub(super) const RETRY: Duration = Duration::from_secs(5);

async fn record(gate: &Gate, task: &Task, verdict: Verdict, stage: Stage) -> Step<()> {
    let recorded = gate.store.record(new_call(task, verdict), stage, durable(&task.call)).await;
    recorded.map_err(|e| store_failed(task, &e))?;
    task.shared.set_recorded();
    Ok(())
}

fn new_call(task: &Task, decision: Verdict) -> NewCall {
    NewCall {
        id: task.id,
        at: task.at,
        call: task.call.clone(),
        session: task.session.clone(),
        reason: task.reason.clone(),
        key: task.key.clone(),
        decision,
    }
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
        expires: task.at.plus(gate.setup().approval_timeout),
    }
}

/// Keeps a place on the desk, so that no agent gets past its limit by asking faster than the disk writes.
fn reserve(gate: &Gate, question: &Arc<Question>) -> Step<()> {
    let setup = gate.setup();
    let mut desk = gate.desk.borrow_mut();
    if text::length(question) > setup.max_question_chars {
        return Err(Outcome::TooLargeToShow);
    }
    let agent = question.call.agent();
    if desk.count_of(agent) >= setup.pending_approvals(agent) {
        return Err(Outcome::TooManyPending);
    }
    desk.reserve(question.clone(), question.created);
    Ok(())
}

/// Calls with side effects wait for the disk.
pub(super) fn durable(call: &Call) -> bool {
    call.tool().kind.has_side_effects()
}

fn store_failed(task: &Task, e: &StoreError) -> Outcome {
    log::error!("request {}: not executed, the record cannot be written: {e}", task.id);
    Outcome::StoreUnavailable
}

fn finish(gate: &Gate, task: &Task, reply: Reply) {
    gate.running.borrow_mut().remove(&task.call, &task.shared);
    gate.metrics.replied(&task.call.tool().name, task.decision.get(), &reply);
    task.shared.finish(reply);
}

/// Counts a call from before it is claimed until its end is written down, so that stopping waits for it. Never returns
/// once the gateway is stopping: what is on disk by then is taken up at the next start.
async fn executing(gate: &Gate) -> Slot {
    if gate.stopping.get() {
        return future::pending().await;
    }
    gate.executing.count()
}

impl Task {
    fn reply(&self, outcome: Outcome) -> Reply {
        Reply { outcome, request_id: Some(self.id), replayed: false }
    }
}
