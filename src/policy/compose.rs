//! The rules and the facts put together.

use super::rules::Rules;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::model::{Action, AgentId, Call, Reason, Rule, Step, Tool, Verdict, Void};

/// The owner's policy. Immutable; a reload makes a new one.
#[derive(Clone, Debug)]
pub struct Policy(Rules);

/// What counts for one call besides the rules, at one moment: from the owner's files and the gateway's own memory,
/// never from what the agent says.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whether there is such an agent.
    pub knows_agent: bool,
    /// The digest of the tool that has the name of the call's.
    pub tool: Option<Digest>,
    /// Until when this call is denied without asking, because people have denied it again and again.
    pub cool_down: Option<Timestamp>,
    pub open_questions: usize,
    /// How many it may have.
    pub max_open_questions: usize,
}

impl Facts {
    /// The facts that leave it to the rules: agent and tool are as the call has them, and nothing is remembered.
    pub fn unchanged(call: &Call) -> Facts {
        Facts {
            knows_agent: true,
            tool: Some(call.tool().digest),
            cool_down: None,
            open_questions: 0,
            max_open_questions: usize::MAX,
        }
    }

    /// What was checked must still be what would run, for an agent that there still is.
    fn changed(&self, call: &Call) -> Option<Reason> {
        if !self.knows_agent {
            return Some(Reason::AgentRemoved);
        }
        (self.tool != Some(call.tool().digest)).then_some(Reason::ToolChanged)
    }

    fn not_asked(&self) -> Option<Reason> {
        let too_many = self.open_questions >= self.max_open_questions;
        let cool_down = self.cool_down.map(|until| Reason::CoolDown { until });
        cool_down.or(too_many.then_some(Reason::TooManyPending))
    }
}

impl Policy {
    /// A policy of the two lists of permissions.yaml, each in the order of the file.
    pub fn new(rules: Vec<Rule>, defaults: Vec<Rule>) -> Policy {
        Policy(Rules::new(rules, defaults))
    }

    pub(crate) fn limits(&self) -> &[std::sync::Arc<crate::model::Limit>] {
        &[]
    }

    /// What is to be done with a new call. Asked once for each call; once more when a reload changes the rules before
    /// they have let it through.
    pub fn judge(&self, call: &Call, facts: &Facts) -> Verdict {
        match facts.changed(call) {
            Some(reason) => Verdict { reasons: vec![reason], ..Verdict::by_rule(Action::Deny, None) },
            None => with_facts(self.0.decide(call), facts),
        }
    }

    /// Whether nothing forbids a call now that was allowed or approved before. What only asks is not asked again.
    ///
    /// # Errors
    /// What forbids it.
    pub fn still_permitted(&self, call: &Call, facts: &Facts) -> Result<(), Void> {
        self.judge(call, facts).forbidden().map_or(Ok(()), Err)
    }

    /// [`Policy::judge`] of an unchanged call, with every rule that was looked at, in order of precedence; the last one
    /// decided unless none matched. Rules whose literal beginning rules them out are not looked at. Of several parts, the
    /// looks are those at the one that decided.
    pub fn judge_traced(&self, call: &Call, facts: &Facts) -> (Verdict, Vec<Step>) {
        let (verdict, trace) = self.0.trace(call);
        (with_facts(verdict, facts), trace)
    }

    /// What the rules say to each part of a call with a list that is judged element by element, in its order.
    pub(crate) fn judge_parts(&self, call: &Call) -> Vec<Verdict> {
        self.0.decide_parts(call)
    }

    /// Whether no call of `tool` by `agent` can ever be anything but denied, so that it need not be offered.
    pub fn always_denies(&self, agent: &AgentId, tool: &Tool) -> bool {
        self.0.always_deny(agent, tool)
    }
}

fn with_facts(mut verdict: Verdict, facts: &Facts) -> Verdict {
    if verdict.decision == Action::Ask {
        verdict.reasons.extend(facts.not_asked());
    }
    verdict
}
