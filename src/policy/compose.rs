//! The rules, the flows, the limits and the facts put together.

use std::sync::Arc;

use super::facts::Facts;
use super::flows::Flows;
use super::limits::{Judgement, LimitLook, Limits, stricter};
use super::rules::Rules;
use super::stance::Stance;
use super::subject::Subject;
use crate::base::digest::Digest;
use crate::model::{
    Action, AgentId, Call, DataPolicy, Flow, FlowLook, Limit, Reason, Rule, Step, Tool, Verdict, Void,
};

/// The owner's policy. Immutable; a reload makes a new one.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Rules,
    flows: Flows,
    limits: Limits,
    digest: Option<Digest>,
}

/// What a policy is made of, as permissions.yaml has it.
#[derive(Clone, Debug, Default)]
pub struct PolicyParts {
    /// Deny, then ask always, allow, ask, wherever they stand.
    pub rules: Vec<Rule>,
    /// The first match decides.
    pub defaults: Vec<Rule>,
    pub limits: Vec<Limit>,
    pub flows: Vec<Flow>,
    pub data: DataPolicy,
    /// Of everything that it was made of.
    pub digest: Option<Digest>,
}

impl Policy {
    pub fn new(parts: PolicyParts) -> Policy {
        let PolicyParts { rules, defaults, limits, flows, data, digest } = parts;
        Policy {
            rules: Rules::new(rules, defaults),
            flows: Flows::new(flows, data),
            limits: Limits::new(limits),
            digest,
        }
    }

    /// In the order of the file.
    pub(crate) fn limits(&self) -> &[Arc<Limit>] {
        self.limits.all()
    }

    /// What is to be done with a new call. Asked once for each call; once more when a reload changes the rules before
    /// they have let it through.
    pub fn judge(&self, call: &Call, facts: &Facts<'_>) -> Verdict {
        match facts.changed(call) {
            Some(reason) => Verdict { policy: self.digest, ..Verdict::denied(reason) },
            None => {
                let subject = Subject::new(call, facts);
                self.composed(self.rules.decide(&subject), &subject)
            }
        }
    }

    /// Whether nothing forbids a call now that was allowed or approved before. What only asks is not asked again.
    ///
    /// # Errors
    /// What forbids it.
    pub fn still_permitted(&self, call: &Call, facts: &Facts<'_>) -> Result<(), Void> {
        self.judge(call, facts).forbidden().map_or(Ok(()), Err)
    }

    /// [`Policy::judge`] of an unchanged call, with every rule that was looked at, in order of precedence; the last one
    /// decided unless none matched. Rules whose literal beginning rules them out are not looked at. Of several parts, the
    /// looks are those at the one that decided.
    pub fn judge_traced(&self, call: &Call, facts: &Facts<'_>) -> (Verdict, Vec<Step>) {
        let subject = Subject::new(call, facts);
        let (verdict, trace) = self.rules.trace(&subject);
        (self.composed(verdict, &subject), trace)
    }

    /// What the rules say to each part of a call with a list that is judged element by element, in its order.
    pub(crate) fn judge_parts(&self, call: &Call, facts: &Facts<'_>) -> Vec<Verdict> {
        self.rules.decide_parts(&Subject::new(call, facts))
    }

    /// Whether no call of `tool` by `agent` can ever be anything but denied, so that it need not be offered.
    pub fn always_denies(&self, agent: &AgentId, tool: &Tool) -> bool {
        self.rules.always_deny(agent, tool)
    }

    /// What each limit says that speaks of the call, and what it has counted.
    pub(crate) fn limit_looks(&self, call: &Call, facts: &Facts<'_>) -> Vec<LimitLook> {
        let subject = Subject::new(call, facts);
        let flows = self.flow_looks(call, facts);
        let asks = self.rules.decide(&subject).decision == Action::Ask || strictest(&flows) == Action::Ask;
        self.limits.looks(call, &facts.moment(asks), |limit, element| counts(limit, &subject, element))
    }

    /// What there is to say of each source of data on its way to the destination of the call.
    pub(crate) fn flow_looks(&self, call: &Call, facts: &Facts<'_>) -> Vec<FlowLook> {
        self.flows.look(call, &facts.read)
    }

    /// The strictest of rules, flows and limits counts; of a denial all reasons are kept.
    fn composed(&self, by_rules: Verdict, subject: &Subject<'_>) -> Verdict {
        let flows = self.flow_looks(subject.call, subject.facts);
        let before_limits = stricter(by_rules.decision, strictest(&flows));
        let moment = subject.facts.moment(before_limits == Action::Ask);
        let said = self.limits.judge(subject.call, &moment, |limit, element| counts(limit, subject, element));
        let Judgement { decision, reasons, charges } = said;
        let decision = stricter(before_limits, decision);
        let mut verdict = Verdict { decision, charges, policy: self.digest, ..by_rules };
        for reason in flows.iter().filter_map(reason) {
            // Several sources may be on the same way.
            if !verdict.reasons.contains(&reason) {
                verdict.reasons.push(reason);
            }
        }
        verdict.reasons.extend(reasons);
        // What asks is no reason for a denial.
        verdict.reasons.retain(|reason| reason.decision().is_none_or(|alone| alone == decision));
        if decision == Action::Ask {
            verdict.reasons.extend(subject.facts.not_asked());
        }
        verdict
    }
}

fn strictest(looks: &[FlowLook]) -> Action {
    looks.iter().fold(Action::Allow, |strictest, look| stricter(strictest, look.decision))
}

fn reason(look: &FlowLook) -> Option<Reason> {
    match look.decision {
        Action::Deny => Some(Reason::FlowDenied { flow: look.name() }),
        Action::Ask => Some(Reason::AskedByFlow { flow: look.name() }),
        Action::Allow => None,
    }
}

/// Whether a limit counts this element of a call, or the whole. What is unknown counts.
fn counts(limit: &Limit, subject: &Subject<'_>, element: Option<usize>) -> bool {
    subject.examine_rest(&limit.matcher, element, Stance::Forbids).is_match()
}
