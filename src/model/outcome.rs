//! Every way a request can end. A new one is a variant and its line in [`Outcome::facts`], and in
//! [`Outcome::details`] if it has something to add: the wire, the record and people are told no more than that.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::denial::Denial;
use super::invalid_call::InvalidCall;
use super::output::{Lost, Output};
use crate::base::clock::Timestamp;

/// How a request ended. Its serde form is the column of a result in the record, without an executed call's data;
/// names are never changed once released.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Outcome {
    /// The service did it: it answered 2xx, whatever became of the answer.
    Executed(Output),
    /// The agent may do it itself now. Nobody was called.
    Permitted(Permit),
    /// A human said no.
    DeniedByUser {
        /// The human's words for the agent.
        note: Option<String>,
    },
    /// The agent took the question back.
    Withdrawn,
    /// Nobody answered in time.
    TimedOut,
    DeniedByPolicy(Denial),
    /// The tool changed between question and execution.
    ApprovalVoid,
    /// The server behind it does not offer the tool as its owner has imported it.
    ToolChanged,
    /// The agent was removed between question and execution.
    AgentRemoved,
    /// The calls of this agent, or all, are stopped until a person resumes them.
    KillSwitch,
    /// Certainly not done: too many other calls were running for as long as it may take.
    Busy,
    /// Certainly not done: the service was not reached.
    ServiceUnreachable,
    /// A read that took too long.
    ServiceTimeout,
    ServiceError {
        /// HTTP status; None when the answer was not usable HTTP.
        status: Option<u16>,
        /// A configured text or our own, scrubbed.
        message: String,
        /// Whole seconds until it is worth trying again, when the service said so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
    /// Certainly not done: an MCP server needs a capability that its client has not declared.
    CapabilityMissing {
        /// The server's words, scrubbed.
        message: String,
        /// What the server says of it, scrubbed: `requiredCapabilities`.
        mcp_data: Value,
    },
    /// The answer to a read is larger than `max_response_bytes`.
    ResponseTooLarge,
    /// No such tool for this agent.
    UnknownTool {
        /// As asked for, cut to a bound.
        tool: String,
    },
    /// It may have been done or not: the gateway or the connection died in the middle.
    UnknownResult,
    /// The record could not be written, so nothing was done.
    StoreUnavailable,
    /// The question could not be put to anybody.
    ApprovalUnavailable,
    /// The arguments do not fit the tool.
    Invalid(InvalidCall),
    /// The same idempotency key with another call.
    IdempotencyConflict,
    /// The question would be longer than `approvals.max_question_chars`.
    TooLargeToShow,
    /// Too many requests this minute.
    RateLimited {
        /// Whole seconds until it is worth trying again, at least 1.
        retry_after: u64,
    },
    /// Too many open questions or calls of this agent.
    TooManyPending,
    /// The agent has as many live sessions as it may have.
    TooManySessions,
}

/// Leave to act, handed out once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permit {
    pub permit_id: String,
    /// Nothing may be begun on it from then on.
    pub expires_at: Timestamp,
}

/// The sorts of ends that the record and the wire tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Executed,
    Permitted,
    DeniedByUser,
    DeniedByPolicy,
    Withdrawn,
    TimedOut,
    /// Certainly not done.
    Failed,
    /// It may have been done.
    Unknown,
    NoSuchTool,
    Invalid,
    Limited,
}

impl Outcome {
    /// What every end has: its sort, the snake_case reason and the text on the wire. Texts of the seed's table stay as
    /// they are; internal causes never appear here.
    fn facts(&self) -> (Sort, &'static str, Cow<'_, str>) {
        use Sort::{DeniedByPolicy, Failed, Invalid, Limited};
        let (sort, reason, message) = match self {
            Outcome::Executed(_) => (Sort::Executed, "executed", "Executed"),
            Outcome::Permitted(_) => (Sort::Permitted, "permitted", "Permitted"),
            Outcome::DeniedByUser { .. } => (Sort::DeniedByUser, "denied_by_user", "Denied by user"),
            Outcome::Withdrawn => (Sort::Withdrawn, "withdrawn", "Withdrawn by the agent"),
            Outcome::TimedOut => (Sort::TimedOut, "approval_timed_out", "Approval timed out"),
            Outcome::DeniedByPolicy(denial) => (DeniedByPolicy, denial.reason(), "Denied by policy"),
            Outcome::ApprovalVoid => {
                (DeniedByPolicy, "approval_void", "Denied by policy: the tool changed after it was asked for")
            }
            Outcome::ToolChanged => (
                DeniedByPolicy,
                "tool_changed",
                "Denied by policy: the tool is not what the owner has looked at any more",
            ),
            Outcome::AgentRemoved => {
                (DeniedByPolicy, "agent_removed", "Denied by policy: the agent was removed")
            }
            Outcome::KillSwitch => (
                DeniedByPolicy,
                "kill_switch",
                "Denied by policy: calls are stopped until the owner resumes them",
            ),
            Outcome::Busy => (Failed, "busy", "Not sent: too many calls are running; it can be repeated"),
            Outcome::ServiceUnreachable => (Failed, "service_unreachable", "Service unreachable"),
            Outcome::ServiceTimeout => (Failed, "service_timeout", "Service did not answer in time"),
            Outcome::ServiceError { message, .. } | Outcome::CapabilityMissing { message, .. } => {
                (Failed, "service_error", message.as_str())
            }
            Outcome::ResponseTooLarge => (Failed, "response_too_large", "The service's answer is too large"),
            Outcome::UnknownTool { tool } => {
                return (Sort::NoSuchTool, "unknown_tool", format!("Unknown tool: {tool}").into());
            }
            Outcome::UnknownResult => (
                Sort::Unknown,
                "unknown_result",
                "Result unknown: the call may or may not have been executed",
            ),
            Outcome::StoreUnavailable => {
                (Failed, "store_unavailable", "Not executed: the gateway cannot write its record")
            }
            Outcome::ApprovalUnavailable => {
                (Failed, "approval_unavailable", "Not executed: nobody can be asked")
            }
            Outcome::Invalid(why) => return (Invalid, why.reason(), why.to_string().into()),
            Outcome::IdempotencyConflict => {
                (Invalid, "idempotency_conflict", "The idempotency key was used for another call")
            }
            Outcome::TooLargeToShow => {
                (Invalid, "too_large_to_show", "Too large to be shown to the approver")
            }
            Outcome::RateLimited { .. } => (Limited, "rate_limited", "Rate limit exceeded"),
            Outcome::TooManyPending => (Limited, "too_many_pending", "Too many pending approvals"),
            Outcome::TooManySessions => (Limited, "too_many_sessions", "Too many sessions"),
        };
        (sort, reason, message.into())
    }

    /// What some ends have besides, named as in the `data` of wire errors.
    pub(crate) fn details(&self) -> Map<String, Value> {
        let details = match self {
            Outcome::DeniedByPolicy(denial) => return denial.details(),
            Outcome::Executed(Output { lost, note, edited, .. }) => vec![
                ("data_lost", lost.map(Lost::as_str).into()),
                ("data_note", note.as_deref().into()),
                ("edited", Some(edited.clone()).filter(|names| !names.is_empty()).into()),
            ],
            Outcome::Permitted(Permit { permit_id, expires_at }) => {
                vec![("permit_id", permit_id.as_str().into()), ("expires_at", expires_at.to_string().into())]
            }
            Outcome::DeniedByUser { note } => vec![("note", note.as_deref().into())],
            Outcome::ServiceError { status, retry_after, .. } => {
                vec![("status", (*status).into()), ("retry_after", (*retry_after).into())]
            }
            Outcome::CapabilityMissing { mcp_data, .. } => vec![("mcp_data", mcp_data.clone())],
            Outcome::Invalid(why) => vec![("argument", why.argument().into())],
            Outcome::RateLimited { retry_after } => vec![("retry_after", (*retry_after).into())],
            _without => vec![],
        };
        let known = details.into_iter().filter(|(_, value): &(_, Value)| !value.is_null());
        known.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    pub(crate) fn sort(&self) -> Sort {
        self.facts().0
    }

    /// The word in the record (`outcome`).
    pub fn as_str(&self) -> &'static str {
        match self.sort() {
            Sort::Executed => "executed",
            Sort::Permitted => "permitted",
            Sort::DeniedByUser | Sort::DeniedByPolicy => "denied",
            Sort::Withdrawn => "withdrawn",
            Sort::TimedOut => "timed_out",
            Sort::Failed => "failed",
            Sort::Unknown => "unknown",
            Sort::NoSuchTool | Sort::Invalid | Sort::Limited => "refused",
        }
    }

    /// The reason on the wire and in the record; None for success.
    pub fn reason(&self) -> Option<&'static str> {
        let (_, reason, _) = self.facts();
        (!self.is_success()).then_some(reason)
    }

    /// Whether the agent got what it asked for: it was done, or it may do it.
    pub(crate) fn is_success(&self) -> bool {
        matches!(self.sort(), Sort::Executed | Sort::Permitted)
    }

    /// Whether an idempotency key goes on standing for a call that ended for this reason. A call that was not made, and
    /// may be made later, must not stand in its own way.
    pub(crate) fn keeps_key(reason: &str) -> bool {
        let passing = ["busy", "limit_reached", "flow_denied", "kill_switch", "too_many_sessions"];
        !passing.contains(&reason)
    }

    /// What the data of a call that was made are, besides text: `image, 34 kB`.
    pub(crate) fn data_note(&self) -> Option<&str> {
        if let Outcome::Executed(output) = self { output.note.as_deref() } else { None }
    }

    /// Why a call was not made, for people.
    pub(crate) fn explained(&self) -> String {
        match self {
            Outcome::DeniedByPolicy(denial) => format!("Denied by policy: {denial}"),
            other => other.message(),
        }
    }

    /// The text on the wire.
    pub fn message(&self) -> String {
        self.facts().2.into_owned()
    }
}
