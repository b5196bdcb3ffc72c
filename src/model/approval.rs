//! The words of asking a human.

use std::fmt;
use std::sync::Arc;

use super::agent::AgentId;
use super::answer::Approval;
use super::ask_reason::AskReason;
use super::ask_terms::AskTerms;
use super::call::Call;
use super::denial::Denial;
use super::edit::Edit;
use super::outcome::Outcome;
use super::people_terms::Terms;
use super::responder::Responder;
use super::rule::RuleRef;
use crate::base::clock::Timestamp;
use crate::base::ids::RequestId;

/// One question to a human. Every channel shows the same one.
#[derive(Clone, Debug)]
pub struct Question {
    pub id: RequestId,
    /// The call that is made after a yes.
    pub call: Arc<Call>,
    /// Set: a person has changed it.
    pub edit: Option<Arc<Edit>>,
    /// The agent's session, in its own words (at most 128 bytes).
    pub session: Option<String>,
    /// Why the agent says it wants this (at most 500 characters).
    pub reason: Option<String>,
    /// The rule that decided; None for the fallback. It allows the call where only a flow or a limit asks.
    pub rule: Option<Arc<RuleRef>>,
    /// Rules, then flows, then limits. Empty in records that are older than these.
    pub reasons: Vec<AskReason>,
    /// The terms on which it is asked.
    pub ask: Arc<AskTerms>,
    /// How many people must say yes, and who, as it was when it was asked.
    pub terms: Terms,
    pub(crate) created: Timestamp,
    /// When it stops counting.
    pub expires: Timestamp,
}

impl Question {
    /// The call as the agent asked for it.
    pub fn asked(&self) -> &Arc<Call> {
        self.edit.as_ref().map_or(&self.call, |edit| &edit.asked)
    }

    /// Whether a yes is to the call that is asked about now. One that does not say what it was shown is to the call as the
    /// agent asked for it.
    pub(crate) fn is_meant_by(&self, yes: &Approval) -> bool {
        match &yes.seen {
            Some(seen) => self.call.shown_as() == *seen,
            None => self.edit.is_none(),
        }
    }

    /// The same question about the call as `by` has changed it.
    pub(crate) fn with_call(&self, call: Arc<Call>, by: Responder) -> Question {
        let edit = Edit::of(self.asked(), &call, by).map(Arc::new);
        // What the agent asked for may be granted; this is another call, once.
        Question { call, edit, ask: Arc::default(), ..self.clone() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuestionEnd {
    /// A human said yes.
    Approved { by: Responder },
    /// A human said no.
    Denied {
        by: Responder,
        /// Why, for the agent.
        note: Option<String>,
    },
    /// Nobody answered in time.
    TimedOut,
    /// The agent took it back.
    Withdrawn,
    /// What was asked is no longer what would run.
    Void(Void),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Void {
    /// The tool has changed, or there is none of its name any more.
    ToolChanged,
    /// The agent that asked is not configured any more.
    AgentRemoved,
    /// What came meanwhile denies it.
    Denied(Denial),
    /// Somebody has stopped the calls of this agent, or all.
    Stopped { by: Responder },
    /// The record says that it had ended before.
    Ended,
}

impl Void {
    /// What the agent hears.
    pub fn outcome(&self) -> Outcome {
        match self {
            Void::ToolChanged => Outcome::ApprovalVoid,
            Void::AgentRemoved => Outcome::AgentRemoved,
            Void::Denied(denial) => Outcome::DeniedByPolicy(denial.clone()),
            Void::Stopped { .. } => Outcome::KillSwitch,
            Void::Ended => Outcome::UnknownResult,
        }
    }
}

impl fmt::Display for Void {
    /// For people, to go on with after "it is void: ".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Void::ToolChanged => f.write_str("the tool has changed since it was asked for"),
            Void::AgentRemoved => f.write_str("the agent that asked was removed"),
            Void::Denied(denial) => match denial.by_rule_alone() {
                Some(None) => f.write_str("a rule denies it now"),
                Some(Some(rule)) => write!(f, "a rule denies it now: {rule}"),
                None => denial.fmt(f),
            },
            Void::Stopped { by } => write!(f, "stopped by {by}"),
            Void::Ended => f.write_str("it had ended before"),
        }
    }
}

impl QuestionEnd {
    /// The word in the record (`resolution`).
    pub fn as_str(&self) -> &'static str {
        match self {
            QuestionEnd::Approved { .. } => "approved",
            QuestionEnd::Denied { .. } => "denied",
            QuestionEnd::TimedOut => "timed_out",
            QuestionEnd::Withdrawn | QuestionEnd::Void(Void::Stopped { .. }) => "withdrawn",
            QuestionEnd::Void(_) => "void",
        }
    }

    /// What the agent hears of it, where it did not lead to an execution.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        match self {
            QuestionEnd::Approved { .. } => None,
            QuestionEnd::Denied { note, .. } => Some(Outcome::DeniedByUser { note: note.clone() }),
            QuestionEnd::TimedOut => Some(Outcome::TimedOut),
            QuestionEnd::Withdrawn => Some(Outcome::Withdrawn),
            QuestionEnd::Void(why) => Some(why.outcome()),
        }
    }

    /// Who answered or stopped it, when somebody did.
    pub fn by(&self) -> Option<&Responder> {
        match self {
            QuestionEnd::Approved { by }
            | QuestionEnd::Denied { by, .. }
            | QuestionEnd::Void(Void::Stopped { by }) => Some(by),
            QuestionEnd::TimedOut | QuestionEnd::Withdrawn | QuestionEnd::Void(_) => None,
        }
    }
}

/// What the record says of a question and of its call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QuestionRecord {
    pub(crate) agent: AgentId,
    pub(crate) tool: String,
    /// None when the record does not say how it ended.
    pub(crate) end: Option<QuestionEnd>,
    pub(crate) at: Option<Timestamp>,
    /// Who wrote the note, where it came after the denial.
    pub(crate) note_by: Option<Responder>,
    /// The outcome's word ([`Outcome::as_str`]); `pending` while the call is under way.
    pub(crate) outcome: String,
    /// As [`Outcome::data_note`] gives it.
    pub(crate) data_note: Option<String>,
}
