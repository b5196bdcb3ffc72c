//! Claiming an approved call: with the yes itself when it can be sent at once, else when its turn has come.

use std::rc::Rc;
use std::sync::Arc;

use smol::future;

use super::flights::NoSlot;
use super::judged;
use super::offered::Written;
use super::setup::Setup;
use super::state::Gate;
use super::task::{Step, Task};
use crate::base::slots::Slot;
use crate::model::{Call, Outcome, Question, QuestionEnd, Responder};
use crate::service::CallSlot;
use crate::store::Claim;

/// A claimed call with its slot, counted among those that are executed.
pub(super) type Claimed = (Claim, CallSlot, Slot);

/// Writes down a yes, and claims the call with it when nothing stands in the way of that: then nobody waits for anything
/// between the two.
pub(super) async fn claim_at_once(
    gate: &Gate,
    task: &Task,
    question: &Arc<Question>,
    by: &Responder,
) -> Written<Claimed> {
    let approved = &question.call;
    let look = |setup: &Rc<Setup>| gate.forbids(setup, approved, task.session.as_deref()).map_or(Ok(()), Err);
    let slot = future::poll_once(gate.flights.slot(approved, &gate.setup, look)).await;
    let executing = future::poll_once(gate.flights.begin()).await;
    let turn = gate.ledger.claims.try_read();
    if let (Some(Ok(slot)), Some(executing), Some(_turn)) = (slot, executing, &turn)
        && let Some(reserved) = judged::charge_unless_forbidden(gate, task, approved)
    {
        let (counted, claim) = task.approve_and_claim(gate, (approved, by), reserved).await?;
        return Ok((counted, claim.map(|claim| (claim, slot, executing))));
    }
    drop(turn);
    let (end, durable) = (QuestionEnd::Approved { by: by.clone() }, approved.tool().kind.has_side_effects());
    Ok((gate.store.answer(task.id, &end, None, gate.clock.now(), durable).await?, None))
}

/// Claims an approved call when its turn has come. None: somebody else has.
pub(super) async fn claim_in_turn(
    gate: &Gate,
    task: &Task,
    approved: &Arc<Call>,
    look: impl FnMut(&Rc<Setup>) -> Step<()>,
) -> (Step<Option<(Claim, CallSlot)>>, Slot) {
    let slot = gate.flights.slot(approved, &gate.setup, look).await;
    let executing = gate.flights.begin().await;
    let slot = match slot {
        Ok(slot) => slot,
        Err(NoSlot::Busy) => return (Err(Outcome::Busy), executing),
        Err(NoSlot::Overtaken(early)) => return (Err(early), executing),
    };
    let _turn = gate.ledger.claims.read().await;
    gate.approvals.objections_heard(task.id).await;
    // Nothing is waited for between the charge and the claim: many approved calls do not pass a limit together.
    let claim = match judged::charge_approved(gate, task, approved) {
        Ok(reserved) => task.claim(gate, approved, reserved).await,
        Err(early) => Err(early),
    };
    (claim.map(|claim| claim.map(|claim| (claim, slot))), executing)
}
