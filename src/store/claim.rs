//! Claims: "recorded before executed" as a type. A [`Claim`] is made in this file alone, together with the event that
//! says so, and a service runs nothing else.

use std::sync::Arc;

use super::codec;
use super::entry::NewCall;
use super::error::StoreError;
use super::kind;
use super::ledger;
use super::live::{CallState, Open};
use super::tx::Tx;
use crate::base::clock::Timestamp;
use crate::base::ids::RequestId;
use crate::model::{Call, Charge, Responder};

/// The right to execute one call once: the record says that it is being executed. There is one per call, ever, and it
/// cannot be copied; a service that has not sent anything gives it back.
///
/// Everybody who has one can read it, and nobody but this file can make or change one:
///
/// ```
/// # use agentpass::testing::{model::Responder, store::Claim};
/// fn read(claim: &Claim) -> Option<&Responder> {
///     claim.approved_by()
/// }
/// ```
///
/// ```compile_fail,E0451
/// # use agentpass::testing::{model::Responder, store::Claim};
/// fn forged(claim: Claim, by: Responder) -> Claim {
///     Claim { approved_by: Some(by), ..claim }
/// }
/// ```
#[derive(Debug)]
pub struct Claim {
    id: RequestId,
    call: Arc<Call>,
    approved_by: Option<Responder>,
    at: Timestamp,
}

impl Claim {
    pub fn id(&self) -> RequestId {
        self.id
    }

    pub fn call(&self) -> &Arc<Call> {
        &self.call
    }

    /// None when the policy allowed it without a question.
    pub fn approved_by(&self) -> Option<&Responder> {
        self.approved_by.as_ref()
    }

    pub fn at(&self) -> Timestamp {
        self.at
    }
}

/// Records an allowed call and claims it. It is never run again, so its arguments are not kept.
pub(super) fn allowed(tx: &mut Tx<'_>, new: &NewCall) -> Result<Claim, StoreError> {
    let open = ledger::begin(tx, new, None)?;
    tx.live.put(new.id, Open { state: CallState::Executing, ..open });
    Ok(Claim { id: new.id, call: new.call.clone(), approved_by: None, at: new.at })
}

/// Claims an approved call, if `call` is what was approved. Some exactly once for any call.
pub(super) fn approved(
    tx: &mut Tx<'_>,
    id: RequestId,
    call: &Arc<Call>,
    charges: &[Charge],
    at: Timestamp,
) -> Result<Option<Claim>, StoreError> {
    let Some(Open { state: CallState::Approved { by }, seq, binding, .. }) = tx.live.call(id).cloned() else {
        return Ok(None);
    };
    if binding != call.binding() {
        return Ok(None);
    }
    ledger::forget_secrets(tx, seq)?;
    tx.live.advance(id, CallState::Executing);
    // The next fold makes a row without arguments of a call that is still under way: the table stays on one page.
    tx.execute("DELETE FROM open_calls WHERE request_id = ?", [id.to_string()])?;
    tx.append(at, kind::EXECUTING, Some(id), &codec::executing(charges))?;
    Ok(Some(Claim { id, call: call.clone(), approved_by: Some(by), at }))
}
