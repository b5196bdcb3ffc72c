//! In which order the events of a call may come: asked, answered, claimed, finished, each at most once (an approval may
//! still become void), and nothing is executed after a question that nobody approved.

use serde_json::Value;

use super::fault::Wrong;
use crate::store::chain::Event;
use crate::store::error::StoreError;
use crate::store::kind;

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// A question.
    Asked,
    /// Approved.
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

impl Life {
    /// What its first event makes of it.
    pub(super) fn of(event: &Event) -> Result<Life, StoreError> {
        let body: Value = serde_json::from_str(&event.body)?;
        Ok(match body.get("then").and_then(Value::as_str) {
            Some("asked") => Life::Asked,
            Some("executing") => Life::Executing,
            Some(_) | None => Life::Settled,
        })
    }

    pub(super) fn is_executing(self) -> bool {
        self == Life::Executing
    }

    /// Goes on with one event of it; what is wrong when that may not follow.
    pub(super) fn step(&mut self, event: &Event) -> Result<Option<Wrong>, StoreError> {
        let body: Value = serde_json::from_str(&event.body)?;
        let text = |name| body.get(name).and_then(Value::as_str);
        let out_of_order = || Some(Wrong::OutOfOrder { kind: event.kind.clone() });
        let next = match (event.kind.as_str(), *self) {
            (kind::REQUESTED | kind::REFUSED | kind::JOINED, life) => life,
            (kind::ANSWERED, Life::Asked) if text("resolution") == Some("approved") => Life::Approved,
            (kind::ANSWERED, Life::Asked | Life::Settled) => Life::Declined,
            (kind::ANSWERED, Life::Approved) if text("resolution") == Some("void") => Life::Declined,
            (kind::EXECUTING, Life::Approved) => Life::Executing,
            (kind::EXECUTING, Life::Asked | Life::Declined | Life::Settled) => {
                return Ok(Some(Wrong::NotApproved));
            }
            (kind::FINISHED, Life::Ended) => return Ok(out_of_order()),
            (kind::FINISHED, life) if was_sent(text("outcome"), text("reason")) && !life.is_executing() => {
                return Ok(Some(Wrong::NotApproved));
            }
            (kind::FINISHED, _) => Life::Ended,
            (_, _) => return Ok(out_of_order()),
        };
        *self = next;
        Ok(None)
    }
}

/// Whether a call that ended like this has been at its service for certain.
fn was_sent(outcome: Option<&str>, reason: Option<&str>) -> bool {
    let after = ["service_error", "service_timeout", "response_too_large"];
    outcome == Some("executed") || reason.is_some_and(|reason| after.contains(&reason))
}
