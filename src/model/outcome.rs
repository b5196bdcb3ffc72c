//! Every way a request can end.

use super::invalid_call::InvalidCall;
use super::output::Output;

/// How a request ended. The one function that turns it into wire errors is `surface::rpc`'s.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The service did it: it answered 2xx, whatever became of the answer.
    Executed(Output),
    /// A human said no.
    DeniedByUser {
        /// The human's words for the agent.
        note: Option<String>,
    },
    /// The agent took the question back.
    Withdrawn,
    /// Nobody answered in time.
    TimedOut,
    /// The policy said no.
    DeniedByPolicy {
        /// The rule's description, when it has one.
        rule: Option<String>,
    },
    /// The tool changed between question and execution.
    ApprovalVoid,
    /// The agent was removed between question and execution.
    AgentRemoved,
    /// The owner stopped everything.
    KillSwitch,
    /// Certainly not done: too many other calls were running for as long as it may take.
    Busy,
    /// Certainly not done: the service was not reached.
    ServiceUnreachable,
    /// A read that took too long.
    ServiceTimeout,
    /// The service answered with an error.
    ServiceError {
        /// HTTP status; None when the answer was not usable HTTP.
        status: Option<u16>,
        /// A configured text or our own, scrubbed.
        message: String,
        /// Whole seconds until it is worth trying again, when the service said so.
        retry_after: Option<u64>,
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
}

impl Outcome {
    /// The word in the record (`outcome`).
    pub fn as_str(&self) -> &'static str {
        match self {
            Outcome::Executed(_) => "executed",
            Outcome::DeniedByUser { .. }
            | Outcome::DeniedByPolicy { .. }
            | Outcome::ApprovalVoid
            | Outcome::AgentRemoved
            | Outcome::KillSwitch => "denied",
            Outcome::Withdrawn => "withdrawn",
            Outcome::TimedOut => "timed_out",
            Outcome::Busy
            | Outcome::ServiceUnreachable
            | Outcome::ServiceTimeout
            | Outcome::ServiceError { .. }
            | Outcome::ResponseTooLarge
            | Outcome::StoreUnavailable
            | Outcome::ApprovalUnavailable => "failed",
            Outcome::UnknownResult => "unknown",
            Outcome::UnknownTool { .. }
            | Outcome::Invalid(_)
            | Outcome::IdempotencyConflict
            | Outcome::TooLargeToShow
            | Outcome::RateLimited { .. }
            | Outcome::TooManyPending => "refused",
        }
    }

    /// The snake_case reason on the wire and in the inbox; None for success.
    pub fn reason(&self) -> Option<&'static str> {
        Some(match self {
            Outcome::Executed(_) => return None,
            Outcome::DeniedByUser { .. } => "denied_by_user",
            Outcome::Withdrawn => "withdrawn",
            Outcome::TimedOut => "approval_timed_out",
            Outcome::DeniedByPolicy { .. } => "denied_by_policy",
            Outcome::ApprovalVoid => "approval_void",
            Outcome::AgentRemoved => "agent_removed",
            Outcome::KillSwitch => "kill_switch",
            Outcome::Busy => "busy",
            Outcome::ServiceUnreachable => "service_unreachable",
            Outcome::ServiceTimeout => "service_timeout",
            Outcome::ServiceError { .. } => "service_error",
            Outcome::ResponseTooLarge => "response_too_large",
            Outcome::UnknownTool { .. } => "unknown_tool",
            Outcome::UnknownResult => "unknown_result",
            Outcome::StoreUnavailable => "store_unavailable",
            Outcome::ApprovalUnavailable => "approval_unavailable",
            Outcome::Invalid(why) => why.reason(),
            Outcome::IdempotencyConflict => "idempotency_conflict",
            Outcome::TooLargeToShow => "too_large_to_show",
            Outcome::RateLimited { .. } => "rate_limited",
            Outcome::TooManyPending => "too_many_pending",
        })
    }

    /// The text on the wire. Texts of the seed's table stay as they are; internal causes never appear here.
    pub fn message(&self) -> String {
        match self {
            Outcome::Executed(_) => "Executed".into(),
            Outcome::DeniedByUser { .. } => "Denied by user".into(),
            Outcome::Withdrawn => "Withdrawn by the agent".into(),
            Outcome::TimedOut => "Approval timed out".into(),
            Outcome::DeniedByPolicy { .. } => "Denied by policy".into(),
            Outcome::ApprovalVoid => "Denied by policy: the tool changed after it was asked for".into(),
            Outcome::AgentRemoved => "Denied by policy: the agent was removed".into(),
            Outcome::KillSwitch => "Denied by policy: the owner has stopped all calls".into(),
            Outcome::Busy => "Not sent: too many calls are running; it can be repeated".into(),
            Outcome::ServiceUnreachable => "Service unreachable".into(),
            Outcome::ServiceTimeout => "Service did not answer in time".into(),
            Outcome::ServiceError { message, .. } => message.clone(),
            Outcome::ResponseTooLarge => "The service's answer is too large".into(),
            Outcome::UnknownTool { tool } => format!("Unknown tool: {tool}"),
            Outcome::UnknownResult => "Result unknown: the call may or may not have been executed".into(),
            Outcome::StoreUnavailable => "Not executed: the gateway cannot write its record".into(),
            Outcome::ApprovalUnavailable => "Not executed: nobody can be asked".into(),
            Outcome::Invalid(why) => why.to_string(),
            Outcome::IdempotencyConflict => "The idempotency key was used for another call".into(),
            Outcome::TooLargeToShow => "Too large to be shown to the approver".into(),
            Outcome::RateLimited { .. } => "Rate limit exceeded".into(),
            Outcome::TooManyPending => "Too many pending approvals".into(),
        }
    }
}
