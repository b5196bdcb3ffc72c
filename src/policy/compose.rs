//! The rules and the facts put together.

use super::facts::Facts;
use super::rules::Rules;
use super::subject::Subject;
use crate::model::{Action, AgentId, Call, Rule, Step, Tool, Verdict, Void};

/// The owner's policy. Immutable; a reload makes a new one.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Rules,
}

/// What a policy is made of, as permissions.yaml has it.
#[derive(Clone, Debug, Default)]
pub struct PolicyParts {
    /// Deny, then ask always, allow, ask, wherever they stand.
    pub rules: Vec<Rule>,
    /// The first match decides.
    pub defaults: Vec<Rule>,
}

impl Policy {
    pub fn new(parts: PolicyParts) -> Policy {
        let PolicyParts { rules, defaults } = parts;
        Policy { rules: Rules::new(rules, defaults) }
    }

    pub(crate) fn limits(&self) -> &[std::sync::Arc<crate::model::Limit>] {
        &[]
    }

    /// What is to be done with a new call. Asked once for each call; once more when a reload changes the rules before
    /// they have let it through.
    pub fn judge(&self, call: &Call, facts: &Facts) -> Verdict {
        match facts.changed(call) {
            Some(reason) => Verdict::denied(reason),
            None => with_facts(self.rules.decide(&Subject::new(call, facts)), facts),
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
        let (verdict, trace) = self.rules.trace(&Subject::new(call, facts));
        (with_facts(verdict, facts), trace)
    }

    /// What the rules say to each part of a call with a list that is judged element by element, in its order.
    pub(crate) fn judge_parts(&self, call: &Call, facts: &Facts) -> Vec<Verdict> {
        self.rules.decide_parts(&Subject::new(call, facts))
    }

    /// Whether no call of `tool` by `agent` can ever be anything but denied, so that it need not be offered.
    pub fn always_denies(&self, agent: &AgentId, tool: &Tool) -> bool {
        self.rules.always_deny(agent, tool)
    }
}

fn with_facts(mut verdict: Verdict, facts: &Facts) -> Verdict {
    if verdict.decision == Action::Ask {
        verdict.reasons.extend(facts.not_asked());
    }
    verdict
}
