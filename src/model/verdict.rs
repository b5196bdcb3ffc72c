//! What the policy said, and why.

use std::sync::Arc;

use super::approval::Void;
use super::charge::Charge;
use super::denial::Denial;
use super::rule::{Action, RuleRef};
use crate::base::clock::Timestamp;

/// The policy's decision on one call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a verdict is an obligation"]
pub struct Verdict {
    pub decision: Action,
    /// The rule that decided. None: no rule matched, so a person is asked; or the facts decided.
    pub rule: Option<Arc<RuleRef>>,
    /// What the facts say besides.
    pub reasons: Vec<Reason>,
    /// What the call counts under the limits that it touches.
    pub charges: Vec<Charge>,
}

/// What speaks against a call, or against asking about it, besides the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The agent is not configured (any more). Denies.
    AgentRemoved,
    /// The tool is not what it was when the call was checked. Denies.
    ToolChanged,
    /// People have denied this call so often that it is denied without asking until then.
    CoolDown { until: Timestamp },
    /// The agent has as many open questions as it may have, so this one is not asked.
    TooManyPending,
    /// The call would make more of something than this limit lets through. Denies.
    LimitReached {
        limit: Arc<str>,
        /// When time alone would make room for it.
        room_at: Option<Timestamp>,
    },
    /// This limit asks.
    AskedByLimit {
        limit: Arc<str>,
        /// For people.
        why: String,
    },
}

impl Verdict {
    /// What the rules say alone.
    pub fn by_rule(decision: Action, rule: Option<Arc<RuleRef>>) -> Verdict {
        Verdict { decision, rule, reasons: Vec::new(), charges: Vec::new() }
    }

    /// What forbids the call; None when it is not denied.
    pub(crate) fn forbidden(&self) -> Option<Void> {
        if self.decision != Action::Deny {
            return None;
        }
        let changed = self.reasons.iter().find_map(|reason| match reason {
            Reason::AgentRemoved => Some(Void::AgentRemoved),
            Reason::ToolChanged => Some(Void::ToolChanged),
            Reason::CoolDown { .. }
            | Reason::TooManyPending
            | Reason::LimitReached { .. }
            | Reason::AskedByLimit { .. } => None,
        });
        let rule = || self.rule.as_ref().and_then(|rule| rule.description.clone());
        Some(changed.unwrap_or_else(|| Void::Denied(Denial::by_rule(rule()))))
    }

    /// Why nobody is asked about the call, though the rules ask.
    pub(crate) fn not_asked(&self) -> Option<Reason> {
        self.reasons.first().cloned().filter(|_| self.decision == Action::Ask)
    }
}

/// One rule that was looked at on the way to a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub rule: Arc<RuleRef>,
    /// Whether it matched, or what kept it from matching.
    pub why: Why,
}

/// Whether a rule matched a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Matched,
    /// Its pattern does not match the signature.
    Pattern,
    /// It does not speak of this agent.
    Agents,
    /// No value in the arguments matches its `any_value`.
    AnyValue,
}

impl Why {
    /// For people: what happened, in a few words.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Matched => "matched",
            Why::Pattern => "pattern does not match the signature",
            Why::Agents => "not a rule for this agent",
            Why::AnyValue => "no argument value matches any_value",
        }
    }
}
