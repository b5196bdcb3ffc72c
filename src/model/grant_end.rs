//! Why a grant lets nothing through any more.

use std::fmt;

use super::responder::Responder;

/// Why a grant lets nothing through any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantEnd {
    Expired,
    UsedUp,
    Revoked {
        by: Responder,
    },
    /// The kill switch.
    Stopped {
        by: Responder,
    },
    AgentRemoved,
    ToolChanged,
    RuleChanged,
    /// Whoever gave it is no approver any more.
    PersonRemoved,
    /// Nobody knows how often it was used: the record was changed from outside.
    Doubted,
}

impl GrantEnd {
    /// The word in the record.
    pub fn as_str(&self) -> &'static str {
        match self {
            GrantEnd::Expired => "expired",
            GrantEnd::UsedUp => "used_up",
            GrantEnd::Revoked { .. } => "revoked",
            GrantEnd::Stopped { .. } => "stopped",
            GrantEnd::AgentRemoved => "agent_removed",
            GrantEnd::ToolChanged => "tool_changed",
            GrantEnd::RuleChanged => "rule_changed",
            GrantEnd::PersonRemoved => "person_removed",
            GrantEnd::Doubted => "doubted",
        }
    }

    pub fn by(&self) -> Option<&Responder> {
        match self {
            GrantEnd::Revoked { by } | GrantEnd::Stopped { by } => Some(by),
            _ => None,
        }
    }

    /// Reads back what the record holds.
    pub fn recorded(word: &str, by: Option<&str>) -> GrantEnd {
        let by = || Responder::recorded(by.unwrap_or_default());
        match word {
            "expired" => GrantEnd::Expired,
            "used_up" => GrantEnd::UsedUp,
            "revoked" => GrantEnd::Revoked { by: by() },
            "stopped" => GrantEnd::Stopped { by: by() },
            "agent_removed" => GrantEnd::AgentRemoved,
            "tool_changed" => GrantEnd::ToolChanged,
            "rule_changed" => GrantEnd::RuleChanged,
            "person_removed" => GrantEnd::PersonRemoved,
            _ => GrantEnd::Doubted,
        }
    }
}

impl fmt::Display for GrantEnd {
    /// For people, to go on with after "ended: ".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GrantEnd::Expired => "its time is over",
            GrantEnd::UsedUp => "used up",
            GrantEnd::Revoked { by } => return write!(f, "revoked by {by}"),
            GrantEnd::Stopped { by } => return write!(f, "stopped by {by}"),
            GrantEnd::AgentRemoved => "the agent was removed",
            GrantEnd::ToolChanged => "a tool that it covers has changed",
            GrantEnd::RuleChanged => "the rule has changed",
            GrantEnd::PersonRemoved => "whoever gave it is no approver any more",
            GrantEnd::Doubted => "the record was changed from outside",
        })
    }
}
