//! The rules, the flows, the limits and the facts put together.

use std::sync::Arc;

use super::facts::Facts;
use super::flows::Flows;
use super::limits::{Judgement, LimitLook, Limits, stricter};
use super::rules::{Place, Rules, could_match};
use super::stance::Stance;
use super::subject::Subject;
use crate::base::digest::Digest;
use crate::base::glob::Pattern;
use crate::model::{
    Action, AgentId, AskTerms, AskedCall, AskedPart, Call, DataPolicy, Flow, FlowLook, GrantOffer, GrantRule,
    Limit, Reason, Rule, RuleLook, Tool, Verdict, Void,
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
    /// What may be granted where a default asks, or no rule speaks of a call.
    pub grant: Option<GrantOffer>,
    /// Of everything that it was made of.
    pub digest: Option<Digest>,
}

impl Policy {
    pub fn new(parts: PolicyParts) -> Policy {
        let PolicyParts { rules, defaults, limits, flows, data, grant, digest } = parts;
        Policy {
            rules: Rules::new(rules, defaults, grant.as_ref()),
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
        match facts.stopped().or_else(|| facts.changed(call)) {
            Some(reason) => Verdict { policy: self.digest, ..Verdict::denied(reason) },
            None => {
                let subject = Subject::new(call, facts);
                let (by_rules, place) = self.rules.decide(&subject);
                self.composed(by_rules, place, &subject)
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
    pub fn judge_traced(&self, call: &Call, facts: &Facts<'_>) -> (Verdict, Vec<RuleLook>) {
        let subject = Subject::new(call, facts);
        let (verdict, place, trace) = self.rules.trace(&subject);
        let verdict = match facts.stopped() {
            Some(reason) => Verdict { policy: self.digest, ..Verdict::denied(reason) },
            None => self.composed(verdict, place, &subject),
        };
        (verdict, trace)
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
        let (by_rules, place) = self.rules.decide(&subject);
        let by_rules = self.granted(&by_rules, place, &subject).unwrap_or(by_rules);
        let before = stricter(by_rules.decision, strictest(&flows));
        self.limits.looks(call, &facts.moment(before), |limit, element| counts(limit, &subject, element))
    }

    /// What there is to say of each source of data on its way to the destination of the call.
    pub(crate) fn flow_looks(&self, call: &Call, facts: &Facts<'_>) -> Vec<FlowLook> {
        self.flows.look(call, &facts.read)
    }

    /// The rule that asks about a call, where one alone asks about all of it; what it is granted by counts for nothing.
    pub(crate) fn asking(&self, call: &Call, facts: &Facts<'_>) -> Option<GrantRule> {
        let subject = Subject::new(call, facts);
        let (by_rules, place) = self.rules.decide(&subject);
        let rule = self.rules.known_as(place);
        let parts = self.rules.asked(&subject, place);
        (by_rules.decision == Action::Ask && are_asked_by(&rule, &parts)).then_some(rule)
    }

    /// Whether there is (still) a rule of this identity.
    pub(crate) fn has_rule(&self, identity: Digest) -> bool {
        self.rules.knows(identity)
    }

    /// Whether this rule may ask about calls of this tool.
    pub(crate) fn may_ask(&self, identity: Digest, agent: &AgentId, tool: &Tool) -> bool {
        self.rules.may_ask(identity, agent, tool)
    }

    /// The strictest of rules, flows and limits counts. A grant counts when rules alone ask.
    fn composed(&self, by_rules: Verdict, place: Place, subject: &Subject<'_>) -> Verdict {
        if let Some(granted) = self.granted(&by_rules, place, subject) {
            let verdict = self.strictest_of(granted, subject);
            if verdict.decision == Action::Allow {
                return verdict;
            }
        }
        let mut verdict = self.strictest_of(by_rules, subject);
        if verdict.decision == Action::Ask {
            verdict.ask = self.terms(&verdict, place, subject);
        }
        verdict
    }

    /// What the rules say when a person has said yes before to what they ask about.
    fn granted(&self, by_rules: &Verdict, place: Place, subject: &Subject<'_>) -> Option<Verdict> {
        // While nobody knows what time it is, nobody knows what lasts.
        // And where several people, or only some, must say yes, nobody has said it before.
        if by_rules.decision != Action::Ask || !subject.facts.clock_set || by_rules.terms.is_for_some() {
            return None;
        }
        let Facts { grants, session, now, .. } = subject.facts;
        let parts = self.rules.asked(subject, place);
        let used = grants.covering(&AskedCall { call: subject.call, session: *session, parts }, *now)?;
        let reasons = vec![Reason::Granted { grant: used.id }];
        Some(Verdict { decision: Action::Allow, reasons, grant: Some(used), ..by_rules.clone() })
    }

    /// Nothing is granted where more than one rule asks, or something else does.
    fn terms(&self, verdict: &Verdict, place: Place, subject: &Subject<'_>) -> Arc<AskTerms> {
        let terms = self.rules.terms(place);
        let by_rule =
            |reason: &Reason| !matches!(reason, Reason::AskedByFlow { .. } | Reason::AskedByLimit { .. });
        let is_offered = || {
            let parts = self.rules.asked(subject, place);
            !verdict.terms.is_for_some()
                && verdict.reasons.iter().all(by_rule)
                && are_asked_by(&self.rules.known_as(place), &parts)
        };
        match terms.grant.is_none() || is_offered() {
            true => Arc::clone(terms),
            false => Arc::new(AskTerms { grant: None }),
        }
    }

    /// The strictest of the three; of a denial all reasons are kept.
    fn strictest_of(&self, by_rules: Verdict, subject: &Subject<'_>) -> Verdict {
        let flows = self.flow_looks(subject.call, subject.facts);
        let before_limits = stricter(by_rules.decision, strictest(&flows));
        let moment = subject.facts.moment(before_limits);
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

/// Whether some call of `tool` might have a signature that fits this pattern: never false by mistake.
pub(crate) fn may_fit(pattern: &Pattern, tool: &Tool) -> bool {
    could_match(pattern, tool)
}

fn are_asked_by(rule: &GrantRule, parts: &[AskedPart<'_>]) -> bool {
    parts.iter().all(|part| part.rule == Some(rule.identity))
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
