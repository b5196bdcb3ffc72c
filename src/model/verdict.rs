//! What the policy said, and why.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize as _;
use serde_json::{Value, json};

use super::approval::Void;
use super::ask_reason::AskReason;
use super::ask_terms::AskTerms;
use super::charge::Charge;
use super::denial::{Denial, DenialReason};
use super::grant::GrantUse;
use super::people_terms::Terms;
use super::responder::Responder;
use super::rule::{Action, RuleList, RuleRef};
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::base::readable::short_id;

/// The policy's decision on one call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a verdict is an obligation"]
pub struct Verdict {
    pub decision: Action,
    /// The rule that decided. None: no rule matched, so a person is asked; or the facts decided.
    pub rule: Option<Arc<RuleRef>>,
    /// Why it is denied, or why a person is asked: rules, then flows, then limits. Then, what the facts say.
    pub reasons: Vec<Reason>,
    /// On what terms rules ask.
    pub terms: Terms,
    /// What the call counts under the limits that it touches.
    pub charges: Vec<Charge>,
    /// The grant that turned the ask of a rule into allow.
    pub grant: Option<GrantUse>,
    /// The terms on which a person is asked.
    pub ask: Arc<AskTerms>,
    /// The digest of the policy that decided, where it has one.
    pub policy: Option<Digest>,
}

/// What speaks against a call, or against asking about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The calls of this agent, or all, are stopped. Denies.
    Stopped {
        by: Responder,
    },
    /// The agent is not configured (any more). Denies.
    AgentRemoved,
    /// The tool is not what it was when the call was checked. Denies.
    ToolChanged,
    DeniedByRule(Arc<RuleRef>),
    AskedByRule(Arc<RuleRef>),
    /// None: neither a rule nor a default speaks of the call.
    AskedByDefault(Option<Arc<RuleRef>>),
    /// The call would send data where it must not go. Denies.
    FlowDenied {
        /// Its description, else where from and where to.
        flow: String,
    },
    AskedByFlow {
        flow: String,
    },
    /// The call would make more of something than this limit lets through. Denies.
    LimitReached {
        limit: Arc<str>,
        /// Whole seconds until time alone makes room for it.
        retry_after: Option<u64>,
    },
    /// This limit asks.
    AskedByLimit {
        limit: Arc<str>,
        /// For people.
        why: String,
    },
    /// A person has said yes before. Allows.
    Granted {
        grant: RequestId,
    },
    /// People have denied this call so often that it is denied without asking until then.
    CoolDown {
        until: Timestamp,
    },
    /// The agent has as many open questions as it may have, so this one is not asked.
    TooManyPending,
    /// The question would be too long to be read, so it is not asked.
    TooLargeToShow,
}

impl Verdict {
    /// What the rules say alone.
    pub fn by_rule(decision: Action, rule: Option<Arc<RuleRef>>) -> Verdict {
        let reason = match (decision, &rule) {
            (Action::Allow, _) | (Action::Deny, None) => None,
            (Action::Deny, Some(rule)) => Some(Reason::DeniedByRule(rule.clone())),
            (Action::Ask, Some(rule)) if rule.list == RuleList::Rules => {
                Some(Reason::AskedByRule(rule.clone()))
            }
            (Action::Ask, rule) => Some(Reason::AskedByDefault(rule.clone())),
        };
        let reasons = reason.into_iter().collect();
        let (terms, charges, grant, ask, policy) = Default::default();
        Verdict { decision, rule, reasons, terms, charges, grant, ask, policy }
    }

    /// Denied for a reason that no rule gives.
    pub(crate) fn denied(reason: Reason) -> Verdict {
        Verdict { reasons: vec![reason], ..Verdict::by_rule(Action::Deny, None) }
    }

    /// What forbids the call; None when it is not denied.
    pub(crate) fn forbidden(&self) -> Option<Void> {
        if self.decision != Action::Deny {
            return None;
        }
        let changed = self.reasons.iter().find_map(|reason| match reason {
            Reason::Stopped { by } => Some(Void::Stopped { by: by.clone() }),
            Reason::AgentRemoved => Some(Void::AgentRemoved),
            Reason::ToolChanged => Some(Void::ToolChanged),
            _ => None,
        });
        Some(changed.unwrap_or_else(|| Void::Denied(self.denial())))
    }

    /// All reasons for a denial. Time heals it where it heals each of them.
    fn denial(&self) -> Denial {
        let denies = |rule: &&Arc<RuleRef>| rule.action == Action::Deny;
        let healed = |reason: &Reason| match reason {
            Reason::LimitReached { retry_after, .. } => *retry_after,
            _ => None,
        };
        let seconds: Option<Vec<u64>> = self.reasons.iter().map(healed).collect();
        Denial {
            rule: self.rule.as_ref().filter(denies).and_then(|rule| rule.description.clone()),
            reasons: self.reasons.iter().filter_map(Reason::denial).collect(),
            retry_after: seconds.and_then(|seconds| seconds.into_iter().max()),
        }
    }

    /// Why a person is asked.
    pub(crate) fn asked(&self) -> Vec<AskReason> {
        self.reasons.iter().filter_map(Reason::asked).collect()
    }

    /// Why nobody is asked about the call, though the policy asks.
    pub(crate) fn not_asked(&self) -> Option<Reason> {
        let is_against =
            |reason: &&Reason| matches!(reason, Reason::CoolDown { .. } | Reason::TooManyPending);
        self.reasons.iter().find(is_against).filter(|_| self.decision == Action::Ask).cloned()
    }
}

impl Reason {
    /// What it decides alone; None: it only speaks against asking.
    pub fn decision(&self) -> Option<Action> {
        match self {
            Reason::Stopped { .. }
            | Reason::AgentRemoved
            | Reason::ToolChanged
            | Reason::DeniedByRule(_)
            | Reason::FlowDenied { .. }
            | Reason::LimitReached { .. } => Some(Action::Deny),
            Reason::AskedByRule(_)
            | Reason::AskedByDefault(_)
            | Reason::AskedByFlow { .. }
            | Reason::AskedByLimit { .. } => Some(Action::Ask),
            Reason::Granted { .. } => Some(Action::Allow),
            Reason::CoolDown { .. } | Reason::TooManyPending | Reason::TooLargeToShow => None,
        }
    }

    /// What the agent hears of a denial.
    fn denial(&self) -> Option<DenialReason> {
        match self {
            Reason::DeniedByRule(rule) => Some(DenialReason::Rule { rule: rule.name().to_owned() }),
            Reason::FlowDenied { flow } => Some(DenialReason::Flow { flow: flow.clone() }),
            Reason::LimitReached { limit, .. } => Some(DenialReason::Limit { limit: limit.to_string() }),
            _ => None,
        }
    }

    /// What people hear of a question.
    fn asked(&self) -> Option<AskReason> {
        Some(match self {
            Reason::AskedByRule(rule) => AskReason::Rule { rule: rule.name().to_owned() },
            Reason::AskedByDefault(rule) => {
                AskReason::Default { rule: rule.as_ref().map(|rule| rule.name().to_owned()) }
            }
            Reason::AskedByFlow { flow } => AskReason::Flow { flow: flow.clone() },
            Reason::AskedByLimit { limit, why } => {
                AskReason::Limit { limit: limit.to_string(), why: why.clone() }
            }
            _ => return None,
        })
    }

    /// The shape of `reasons`, everywhere. Values of arguments never stand in it.
    pub fn to_json(&self) -> Value {
        match self {
            // Agents may read it, and who it was is none of their business.
            Reason::Stopped { .. } => json!({"reason": "kill_switch"}),
            Reason::AgentRemoved => json!({"reason": "agent_removed"}),
            Reason::ToolChanged => json!({"reason": "approval_void"}),
            Reason::CoolDown { until } => json!({"reason": "cool_down", "until": until.to_string()}),
            Reason::TooManyPending => json!({"reason": "too_many_pending"}),
            Reason::TooLargeToShow => json!({"reason": "too_large_to_show"}),
            Reason::Granted { grant } => json!({"reason": "granted", "grant_id": grant.to_string()}),
            Reason::DeniedByRule(_) | Reason::FlowDenied { .. } | Reason::LimitReached { .. } => {
                json!(self.denial())
            }
            Reason::AskedByRule(_)
            | Reason::AskedByDefault(_)
            | Reason::AskedByFlow { .. }
            | Reason::AskedByLimit { .. } => json!(self.asked()),
        }
    }
}

/// Recorded reasons for people: a list of what [`Reason::to_json`] made.
pub(crate) fn reasons_in_words(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(in_words).collect()
}

fn in_words(json: &Value) -> String {
    let asked = AskReason::deserialize(json).map(|reason| reason.to_string());
    if let Some(grant) = json.get("grant_id").and_then(Value::as_str) {
        return format!("granted before: {}", short_id(grant));
    }
    let denied = asked.or_else(|_| DenialReason::deserialize(json).map(|reason| reason.to_string()));
    denied
        .unwrap_or_else(|_| json.get("reason").and_then(Value::as_str).unwrap_or_default().replace('_', " "))
}

/// One rule that was looked at on the way to a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleLook {
    pub rule: Arc<RuleRef>,
    /// Whether it matched, or what kept it from matching.
    pub why: Why,
}

/// Whether a rule matched a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    Matched,
    /// Nobody knows what stands at this path, which counts against the call.
    MatchedInDoubt(Arc<str>),
    /// Nobody knows what time it is, which counts against the call.
    MatchedWithoutClock,
    /// Its pattern does not match the signature.
    Pattern,
    /// It does not speak of this agent.
    Agents,
    Kinds,
    Risk,
    /// It does not count now, or nobody knows whether it does.
    Time,
    /// The agent has not read what it speaks of.
    After,
    /// No value in the arguments matches its `any_value`.
    AnyValue,
    /// The condition on this path does not hold, or nobody knows whether it does.
    When(Arc<str>),
}

impl Why {
    pub fn is_match(&self) -> bool {
        *self == Why::Matched || self.is_in_doubt()
    }

    /// Whether it matched only because something is unknown.
    pub fn is_in_doubt(&self) -> bool {
        matches!(self, Why::MatchedInDoubt(_) | Why::MatchedWithoutClock)
    }
}

impl fmt::Display for Why {
    /// For people: what happened, in a few words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Matched => "matched",
            Why::MatchedInDoubt(path) => return write!(f, "matched: {path} is unknown, which counts"),
            Why::MatchedWithoutClock => "matched: the clock is not set, which counts",
            Why::Pattern => "pattern does not match the signature",
            Why::Agents => "not a rule for this agent",
            Why::Kinds => "not a rule for this kind of tool",
            Why::Risk => "not a rule for tools of this risk",
            Why::Time => "not at this time",
            Why::After => "the agent has not read such data",
            Why::AnyValue => "no argument value matches any_value",
            Why::When(path) => return write!(f, "the condition on {path} does not hold"),
        })
    }
}
