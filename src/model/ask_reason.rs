//! Why a person is asked, as people and programs are told.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One reason, in the owner's words. Its serde form is part of questions and of the record; values of arguments never
/// stand in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason")]
pub enum AskReason {
    #[serde(rename = "asked_by_rule")]
    Rule {
        /// Its description, else its pattern.
        rule: String,
    },
    #[serde(rename = "asked_by_default")]
    Default {
        /// None: neither a rule nor a default speaks of the call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rule: Option<String>,
    },
    #[serde(rename = "asked_by_flow")]
    Flow {
        /// Its description, else where from and where to.
        flow: String,
    },
    #[serde(rename = "asked_by_limit")]
    Limit {
        /// Its name.
        limit: String,
        /// `hourly-lights: the 21st call within 1 h, asked above 20`
        why: String,
    },
}

impl AskReason {
    /// Whether a rule or a default asks.
    pub(crate) fn is_by_rule(&self) -> bool {
        matches!(self, AskReason::Rule { .. } | AskReason::Default { .. })
    }
}

impl fmt::Display for AskReason {
    /// For people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskReason::Rule { rule } => write!(f, "a rule asks: {rule}"),
            AskReason::Default { rule: Some(rule) } => write!(f, "a default asks: {rule}"),
            AskReason::Default { rule: None } => f.write_str("no rule matched"),
            AskReason::Flow { flow } => write!(f, "its data would go somewhere: {flow}"),
            AskReason::Limit { why, .. } => f.write_str(why),
        }
    }
}
