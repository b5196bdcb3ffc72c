//! A verdict, what it has charged, the rules that it was made under, and what it means for a question.

use std::ptr;
use std::rc::{Rc, Weak};

use smol::lock::RwLockReadGuard;

use super::cool_down;
use super::counters::Reservation;
use super::grants::{GrantHold, HeldGrant};
use super::kill_switch;
use super::limits;
use super::setup::Setup;
use super::state::Gate;
use super::task::{Step, Task};
use crate::approval::text;
use crate::base::clock::Timestamp;
use crate::config::ApprovalConfig;
use crate::model::{Action, Call, Charge, Outcome, Question, Reason, Responder, Verdict};
use crate::policy::{Facts, NothingCounted};
use crate::store::Stage;

/// What the policy said to a call under one setup.
pub(super) struct Judged {
    pub verdict: Verdict,
    /// What an allowed call was charged, at once: nobody else may take its place while it waits. None also when it would
    /// open one session too many.
    pub reserved: Option<Reservation>,
    /// When it was said, and charged.
    at: Timestamp,
    /// What the agent carried, where that counts.
    carried: u64,
    /// Weak, because credentials of an old setup must not stay in memory for as long as a question is open.
    setup: Weak<Setup>,
}

impl Judged {
    pub(super) fn new(gate: &Gate, task: &Task, setup: &Rc<Setup>) -> Judged {
        let call = &task.call;
        let (agent, session, now) = (call.agent(), task.session_name(), gate.clock.now());
        gate.ledger.counters.borrow_mut().called(agent, &session, now);
        gate.ledger.memory.borrow_mut().called(agent, &session, setup.conduct.session_idle, now);
        let verdict = {
            let (counters, grants) = (gate.counters(), gate.ledger.grants.borrow());
            let facts = gate.facts(setup, call, task.session.as_deref(), &*counters);
            setup.policy.judge(call, &Facts { grants: &*grants, ..facts })
        };
        limits::heed(gate, call, &verdict);
        kill_switch::denied(gate, call, &verdict);
        let allowed = verdict.decision == Action::Allow;
        let held = verdict.grant.map(|used| GrantHold::take(&gate.ledger.grants, used));
        let reserved = allowed.then(|| reserve(gate, task, verdict.charges.clone())).flatten();
        let reserved = reserved.map(|reserved| reserved.with_grant(held));
        let carried = gate.carried_version(setup, call);
        Judged { verdict, reserved, at: now, carried, setup: Rc::downgrade(setup) }
    }

    /// Nobody was asked about an allowed call, so it is judged anew, without what it was charged, under another setup, when
    /// its agent has read something meanwhile that counts, when its grant has ended, when the time forbids it by now, and
    /// when it is charged and has waited: it counts from when it is made, in the window of that time.
    ///
    /// # Errors
    /// The new judgement, when it does not allow the call.
    pub(super) fn still_allows(
        &mut self,
        gate: &Gate,
        task: &Task,
        setup: &Rc<Setup>,
    ) -> Result<(), Box<Judged>> {
        let forbidden = || gate.forbids(setup, &task.call, task.session.as_deref()).is_some();
        let has_read = self.carried != gate.carried_version(setup, &task.call);
        let ended = self.verdict.grant.is_some_and(|used| !gate.grant_lasts(used.id));
        let has_waited = self.is_charged() && gate.clock.now() != self.at;
        if !self.is_under(setup) || has_read || ended || has_waited || forbidden() {
            self.reserved = None;
            let anew = Judged::new(gate, task, setup);
            if anew.verdict.decision != Action::Allow {
                return Err(Box::new(anew));
            }
            *self = anew;
        }
        Ok(())
    }

    /// The turn of a call to be claimed. Where it charges something, no limit counts anew as long as this is held; where that
    /// had to be waited for, the call is looked at once more.
    ///
    /// # Errors
    /// The new judgement, when it does not allow the call.
    pub(super) async fn turn<'g>(
        &mut self,
        gate: &'g Gate,
        task: &Task,
    ) -> Result<Option<RwLockReadGuard<'g, ()>>, Box<Judged>> {
        if !self.is_charged() {
            return Ok(None);
        }
        let at_once = gate.ledger.claims.try_read();
        if at_once.is_some() {
            return Ok(at_once);
        }
        let turn = gate.ledger.claims.read().await;
        self.still_allows(gate, task, &gate.setup())?;
        Ok(Some(turn))
    }

    fn is_charged(&self) -> bool {
        self.reserved.as_ref().is_some_and(|reserved| !reserved.charges().is_empty())
    }

    /// [`Judged::still_allows`] of a call that has been claimed, and so has been counted.
    ///
    /// # Errors
    /// The new verdict, when it does not allow the call.
    pub(super) fn still_allows_claimed(
        &mut self,
        gate: &Gate,
        task: &Task,
        setup: &Rc<Setup>,
    ) -> Result<(), Box<Verdict>> {
        if !self.is_under(setup) || gate.stops.of(task.call.agent()).is_some() {
            let book = gate.ledger.grants.borrow();
            let held = HeldGrant { book: &book, used: self.verdict.grant };
            let facts = gate.facts(setup, &task.call, task.session.as_deref(), &NothingCounted);
            let verdict = setup.policy.judge(&task.call, &Facts { grants: &held, ..facts });
            if verdict.decision != Action::Allow {
                return Err(Box::new(verdict));
            }
            self.setup = Rc::downgrade(setup);
        }
        Ok(())
    }

    /// The verdict on a call that is not made now; what it was charged is taken back.
    pub(super) fn release(self) -> Verdict {
        self.verdict
    }

    fn is_under(&self, setup: &Rc<Setup>) -> bool {
        ptr::eq(Rc::as_ptr(setup), self.setup.as_ptr())
    }
}

/// What becomes of a call that nobody is asked about, though the rules ask.
pub(super) fn not_asked(
    config: &ApprovalConfig,
    verdict: &Verdict,
    question: &Question,
) -> Option<(Stage, Outcome)> {
    let outcome = match (verdict.not_asked(), config.cool_down) {
        (Some(Reason::CoolDown { until }), Some(rule)) => {
            let (by, note) = (Responder::cool_down(), cool_down::note(rule, until));
            log::info!("request {}: {note}", question.id);
            return Some((
                Stage::Denied { by, note: note.clone() },
                Outcome::DeniedByUser { note: Some(note) },
            ));
        }
        _ if text::length(question) > config.max_question_chars => Outcome::TooLargeToShow,
        (Some(_), _) => Outcome::TooManyPending,
        (None, _) => return None,
    };
    Some((Stage::Settled(outcome.clone()), outcome))
}

/// The verdict on a call that a person says yes to, with what has been counted by now.
pub(super) fn approvable(gate: &Gate, setup: &Setup, call: &Call, session: Option<&str>) -> Verdict {
    let counters = gate.counters();
    let facts = gate.facts(setup, call, session, &*counters);
    setup.policy.judge(call, &Facts { asked: true, ..facts })
}

/// Charges an approved call right before it is claimed. It is not judged again, but what forbids it now counts.
///
/// # Errors
/// What forbids it.
pub(super) fn charge_approved(gate: &Gate, task: &Task, approved: &Call) -> Step<Reservation> {
    let verdict = approvable(gate, &gate.setup(), approved, task.session.as_deref());
    if let Some(why) = verdict.forbidden() {
        limits::heed(gate, approved, &verdict);
        kill_switch::denied(gate, approved, &verdict);
        return Err(why.outcome());
    }
    reserve(gate, task, verdict.charges).ok_or(Outcome::TooManySessions)
}

/// Charges an approved call that is claimed at once. None: something forbids it now, or its session; whoever waits for its
/// turn says what.
pub(super) fn charge_unless_forbidden(gate: &Gate, task: &Task, approved: &Call) -> Option<Reservation> {
    let verdict = approvable(gate, &gate.setup(), approved, task.session.as_deref());
    if verdict.forbidden().is_some() { None } else { reserve(gate, task, verdict.charges) }
}

/// None: the call would open one session too many.
fn reserve(gate: &Gate, task: &Task, charges: Vec<Charge>) -> Option<Reservation> {
    let (agent, now) = (task.call.agent(), gate.clock.now());
    Reservation::new(&gate.ledger.counters, agent, &task.session_name(), charges, now)
}
