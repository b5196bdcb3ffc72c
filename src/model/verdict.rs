//! What the policy said, and why.

use std::sync::Arc;

use super::rule::{Action, RuleRef};

/// The policy's decision on one call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a verdict is an obligation"]
pub struct Verdict {
    /// What is to be done.
    pub action: Action,
    /// The rule that decided; None when no rule matched and the fallback (ask) holds.
    pub rule: Option<Arc<RuleRef>>,
}

/// One rule that was looked at on the way to a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The rule.
    pub rule: Arc<RuleRef>,
    /// Whether it matched, or what kept it from matching.
    pub why: Why,
}

/// Whether a rule matched a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It matched.
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
