//! A call on its way, and what the record takes of it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::counters::Reservation;
use super::recording::until_recorded;
use super::running::{CallReply, Flight};
use super::sessions::SessionName;
use super::state::Gate;
use crate::base::clock::Timestamp;
use crate::base::ids::RequestId;
use crate::model::{AskReason, AskTerms, Call, Outcome, Question, Responder, RuleRef, Terms, Verdict};
use crate::service::{CallSlot, PreparedCall};
use crate::store::{Claim, NewCall, Stage, StoreError};

/// A call goes on, or it ends early with this outcome.
pub(super) type Step<T> = Result<T, Outcome>;

/// A call on its way.
pub(super) struct Task {
    pub id: RequestId,
    /// When it was admitted: the time in the record and on the question.
    pub at: Timestamp,
    pub call: Arc<Call>,
    /// The call as it is to be sent, until it is.
    pub prepared: Cell<Option<PreparedCall>>,
    pub session: Option<String>,
    pub reason: Option<String>,
    pub key: Option<String>,
    pub flight: Rc<Flight>,
}

impl Task {
    pub(super) fn session_name(&self) -> SessionName {
        self.session.as_deref().map(Arc::from)
    }

    pub(super) fn reply(&self, outcome: Outcome) -> CallReply {
        CallReply::new(outcome, Some(self.id))
    }

    pub(super) fn question(
        &self,
        rule: Option<Arc<RuleRef>>,
        reasons: Vec<AskReason>,
        (ask, terms): (Arc<AskTerms>, Terms),
        expires: Timestamp,
    ) -> Arc<Question> {
        Arc::new(Question {
            id: self.id,
            call: self.call.clone(),
            edit: None,
            session: self.session.clone(),
            reason: self.reason.clone(),
            rule,
            reasons,
            ask,
            terms,
            created: self.at,
            expires,
        })
    }

    /// Records a call that is not executed now.
    pub(super) async fn record(&self, gate: &Gate, verdict: Verdict, stage: Stage) -> Step<()> {
        let recorded = gate.store.record(self.new_call(verdict), stage, self.durable()).await;
        recorded.map_err(|e| self.not_recorded(&e))?;
        self.flight.set_recorded();
        Ok(())
    }

    /// Records an allowed call and claims it. What was reserved for it counts from then on.
    pub(super) async fn record_claimed(
        &self,
        gate: &Gate,
        verdict: Verdict,
        reserved: Reservation,
    ) -> Step<Claim> {
        let verdict = Verdict { charges: reserved.charges().to_vec(), ..verdict };
        // A use of a grant that a power cut could take back would be one more.
        let durable = self.durable() || verdict.grant.is_some();
        let claim = gate.store.record_claimed(self.new_call(verdict), durable).await;
        let claim = claim.map_err(|e| self.not_recorded(&e))?;
        reserved.confirm(gate.clock.now());
        self.flight.set_recorded();
        Ok(claim)
    }

    /// Claims the call that was approved. None: somebody else has.
    pub(super) async fn claim(
        &self,
        gate: &Gate,
        approved: &Arc<Call>,
        reserved: Reservation,
    ) -> Step<Option<Claim>> {
        let (charges, now) = (reserved.charges().to_vec(), gate.clock.now());
        let claim = gate.store.claim(self.id, approved.clone(), charges, now, self.durable()).await;
        let claim = claim.map_err(|e| self.not_recorded(&e))?;
        if claim.is_some() {
            reserved.confirm(now);
        }
        Ok(claim)
    }

    /// Writes down a yes and claims the call that was approved; whether the yes counted.
    ///
    /// # Errors
    /// When nothing could be written.
    pub(super) async fn approve_and_claim(
        &self,
        gate: &Gate,
        (approved, by): (&Arc<Call>, &Responder),
        reserved: Reservation,
    ) -> Result<(bool, Option<Claim>), StoreError> {
        let (charges, now) = (reserved.charges().to_vec(), gate.clock.now());
        let yes = (self.id, by.clone());
        let written =
            gate.store.approve_and_claim(yes, approved.clone(), charges, now, self.durable()).await?;
        if written.1.is_some() {
            reserved.confirm(now);
        }
        Ok(written)
    }

    /// Writes the outcome down. When that fails the agent still hears it, and the writing is tried again until it
    /// succeeds; until then it keeps its `slot`. A call that was executing becomes "unknown" if the gateway restarts
    /// before.
    pub(super) async fn settle(&self, gate: &Gate, outcome: &Outcome, slot: Option<CallSlot>) {
        let (id, store, clock) = (self.id, gate.store.clone(), gate.clock.clone());
        let Err(e) = store.settle(id, outcome, clock.now()).await else { return };
        log::error!("request {id}: its outcome could not be recorded: {e}");
        let outcome = outcome.clone();
        gate.spawn(until_recorded(format!("request {id}: its outcome"), async move || {
            let _kept = &slot;
            store.settle(id, &outcome, clock.now()).await
        }));
    }

    /// Calls with side effects wait for the disk, and those that hand out data which counts as being with the agent.
    fn durable(&self) -> bool {
        let tool = self.call.tool();
        tool.kind.has_side_effects() || tool.source().is_some()
    }

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

    fn not_recorded(&self, e: &StoreError) -> Outcome {
        log::error!("request {}: not executed, the record cannot be written: {e}", self.id);
        Outcome::StoreUnavailable
    }
}

/// The outcome of an earlier call with the same idempotency key, if there is one. What was allowed then may hold what a
/// rule forbids by now: that is not told again.
pub(super) async fn replayed(
    gate: &Gate,
    call: &Call,
    session: Option<&str>,
    key: &str,
) -> Step<Option<CallReply>> {
    let found = gate.store.replay(call.agent(), key, gate.clock.now()).await.map_err(|e| {
        log::error!("not executed, the record cannot be read: {e}");
        Outcome::StoreUnavailable
    });
    let found = found?;
    if gate.stops.of(call.agent()).is_some() {
        return Err(Outcome::KillSwitch);
    }
    let Some(earlier) = found else { return Ok(None) };
    if earlier.digest != call.digest() {
        return Err(Outcome::IdempotencyConflict);
    }
    let outcome = earlier.outcome.unwrap_or(Outcome::UnknownResult);
    if let (Outcome::Executed(_) | Outcome::Permitted(_), Some(why)) =
        (&outcome, gate.denied_by_rule(call, session))
    {
        // Marked as a reply to what was done before: it does not read as a call that was never made.
        return Ok(Some(CallReply { replayed: true, ..CallReply::new(why.outcome(), Some(earlier.id)) }));
    }
    gate.replays(call, session, &outcome).await.map_err(|e| {
        log::error!("request {}: not told again, the record cannot be written: {e}", earlier.id);
        Outcome::StoreUnavailable
    })?;
    Ok(Some(CallReply { replayed: true, ..CallReply::new(outcome, Some(earlier.id)) }))
}
