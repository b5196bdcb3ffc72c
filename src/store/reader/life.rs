//! In which order the events of a call may come: asked, answered, claimed, finished, each at most once (an approval may
//! still become void or be denied, and one of several people may have said yes before), edited only while nobody has
//! answered, and nothing is executed after a question that nobody approved.

use serde_json::Value;

use super::fault::FaultKind;
use crate::store::chain::ChainEvent;
use crate::store::error::StoreError;
use crate::store::kind;

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallLife {
    Asked,
    Approved,
    /// Claimed: allowed at once, or after its approval.
    Executing,
    /// It will not be executed: denied, timed out, withdrawn, void.
    Declined,
    /// Ended with its first event, or with what follows it at once.
    Settled,
    /// Nothing more may come.
    Ended,
}

impl CallLife {
    /// What its first event makes of it.
    pub(super) fn begin(event: &ChainEvent) -> Result<CallLife, StoreError> {
        let body: Value = serde_json::from_str(&event.body)?;
        Ok(match body.get("then").and_then(Value::as_str) {
            Some("asked") => CallLife::Asked,
            Some("executing") => CallLife::Executing,
            Some(_) | None => CallLife::Settled,
        })
    }

    pub(super) fn is_executing(self) -> bool {
        self == CallLife::Executing
    }

    /// Goes on with one event of it; what is wrong when that may not follow.
    pub(super) fn step(&mut self, event: &ChainEvent) -> Result<Option<FaultKind>, StoreError> {
        let body: Value = serde_json::from_str(&event.body)?;
        let text = |name| body.get(name).and_then(Value::as_str);
        let out_of_order = || Some(FaultKind::OutOfOrder { kind: event.kind.clone() });
        let next = match (event.kind.as_str(), *self) {
            (kind::REQUESTED | kind::REFUSED | kind::JOINED, life) => life,
            (kind::COUNTED | kind::EDITED, CallLife::Asked) => CallLife::Asked,
            (kind::ANSWERED, CallLife::Asked) if text("resolution") == Some("approved") => CallLife::Approved,
            (kind::ANSWERED, CallLife::Asked | CallLife::Settled) => CallLife::Declined,
            (kind::ANSWERED, CallLife::Approved)
                if matches!(text("resolution"), Some("void" | "withdrawn" | "denied")) =>
            {
                CallLife::Declined
            }
            (kind::EXECUTING, CallLife::Approved) => CallLife::Executing,
            (kind::EXECUTING, CallLife::Asked | CallLife::Declined | CallLife::Settled) => {
                return Ok(Some(FaultKind::NotApproved));
            }
            (kind::FINISHED, CallLife::Ended) => return Ok(out_of_order()),
            (kind::FINISHED, life) if was_sent(text("outcome"), text("reason")) && !life.is_executing() => {
                return Ok(Some(FaultKind::NotApproved));
            }
            (kind::FINISHED, _) => CallLife::Ended,
            (_, _) => return Ok(out_of_order()),
        };
        *self = next;
        Ok(None)
    }
}

/// Whether a call that ended like this has been claimed for certain.
fn was_sent(outcome: Option<&str>, reason: Option<&str>) -> bool {
    let after = ["service_error", "service_timeout", "response_too_large"];
    matches!(outcome, Some("executed" | "permitted")) || reason.is_some_and(|reason| after.contains(&reason))
}
