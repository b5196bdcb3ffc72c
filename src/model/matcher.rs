//! Which calls a rule or a limit speaks of.

use std::collections::BTreeSet;

use super::agent::AgentId;
use super::condition::Condition;
use super::kind::Kind;
use super::risk::Risk;
use super::time_window::TimeWindow;
use crate::base::glob::Pattern;

/// All of it must fit. Empty lists fit everything.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// Of the signature.
    pub pattern: Pattern,
    /// The agents that are meant (globs and groups are already resolved); None means all.
    pub agents: Option<BTreeSet<AgentId>>,
    /// Some string, key, number or boolean in the arguments, at any depth, matches this too.
    pub any_value: Option<Pattern>,
    /// The tool is of one of these kinds.
    pub kinds: Vec<Kind>,
    /// The tool has one of these risks.
    pub risks: Vec<Risk>,
    /// All of them hold.
    pub when: Vec<Condition>,
    pub time: Option<TimeWindow>,
    /// The agent has read data with all of these labels.
    pub after: Vec<String>,
}

impl Matcher {
    /// Every call whose signature fits.
    pub fn of(pattern: Pattern) -> Matcher {
        Matcher {
            pattern,
            agents: None,
            any_value: None,
            kinds: Vec::new(),
            risks: Vec::new(),
            when: Vec::new(),
            time: None,
            after: Vec::new(),
        }
    }

    /// Whether it looks at nothing but the signature.
    pub fn is_pattern_alone(&self) -> bool {
        let Matcher { pattern: _, agents, any_value, kinds, risks, when, time, after } = self;
        let lists_are_empty = kinds.is_empty() && risks.is_empty() && when.is_empty() && after.is_empty();
        agents.is_none() && any_value.is_none() && time.is_none() && lists_are_empty
    }

    /// Whether it looks at nothing but agent, tool and signature: what it says of a signature never changes.
    pub fn ignores_circumstances(&self) -> bool {
        let Matcher { pattern: _, agents: _, any_value, kinds: _, risks: _, when, time, after } = self;
        any_value.is_none() && when.is_empty() && time.is_none() && after.is_empty()
    }
}
