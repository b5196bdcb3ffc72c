//! What a person says to a question, and whether it counts.

use serde_json::Value;

use super::grant_offer::GrantWish;

/// The longest note, in characters.
pub(crate) const MAX_NOTE: usize = 500;

/// What a human says to a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// Yes, this call, once.
    Approve(Approval),
    /// No, with a note for the agent.
    Deny {
        /// Reaches the agent as `data.note`.
        note: Option<String>,
    },
    /// No, at once; a note for the agent may follow for a while (`approvals.note_seconds`).
    DenyNoteFollows,
}

/// A yes, and what belongs to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Approval {
    /// What it says yes to besides; None: this call alone.
    pub grant: Option<GrantWish>,
    /// Arguments to change before the call is made; None removes one. Empty: the call as it is shown.
    pub set: Vec<(String, Option<Value>)>,
    /// [`Call::shown_as`](super::Call::shown_as) of the call that the person saw; None where the channel does not say.
    pub seen: Option<String>,
}

impl Approval {
    /// Yes to the call as it is, once, from a channel that does not say what it showed.
    pub fn once() -> Approval {
        Approval::default()
    }
}

impl Choice {
    /// The same from somebody to whom the call was shown so.
    pub(crate) fn seen_as(self, shown_as: Option<String>) -> Choice {
        match self {
            Choice::Approve(approval) => Choice::Approve(Approval { seen: shown_as, ..approval }),
            other => other,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerOutcome {
    /// It was the first valid one and it counts.
    Resolved,
    /// Somebody was first, or the question was withdrawn.
    AlreadyResolved,
    /// There is no such question.
    Unknown,
    /// Too late.
    Expired,
    /// A yes that counts, and more people have to say it: so many have, so many must.
    Counted { have: u32, need: u32 },
    /// The question is not for this person to answer.
    NotApprover,
    /// The call was changed after it was shown: the person has to look again.
    Stale,
    /// It asks for what cannot be done, and why. The question is still open.
    Refused(String),
    /// The call as it was changed is denied, and why. The question is still open.
    Denied(String),
}

impl AnswerOutcome {
    /// The word on the control socket.
    pub fn as_str(&self) -> &'static str {
        match self {
            AnswerOutcome::Resolved => "resolved",
            AnswerOutcome::AlreadyResolved => "already_resolved",
            AnswerOutcome::Unknown => "unknown",
            AnswerOutcome::Expired => "expired",
            AnswerOutcome::Counted { .. } => "counted",
            AnswerOutcome::NotApprover => "not_approver",
            AnswerOutcome::Stale => "stale",
            AnswerOutcome::Refused(_) => "refused",
            AnswerOutcome::Denied(_) => "denied",
        }
    }
}
