//! What would become of a call, and why, without doing anything. Decision and trace are the policy's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Gate, Submission};
use crate::approval::text;
use crate::base::decimal::Decimal;
use crate::base::ids::RequestId;
use crate::model::{
    Action, AgentId, Bound, Call, Charge, FlowLook, InvalidCall, Question, Reason, RuleLook, RuleRef, Tool,
    Verdict,
};
use crate::policy::{Facts, LimitLook, Policy};

/// What would become of a call. [`to_json`](Explanation::to_json) is the shape that other programs rely on.
#[derive(Debug)]
pub(crate) enum Explanation {
    Judged {
        /// What rules were matched against.
        signature: String,
        /// Of a list that is judged element by element, each signature and the decision on it; the strictest counts.
        parts: Vec<(String, Verdict)>,
        verdict: Verdict,
        /// The rules looked at, in order of precedence; the last one decided, unless none matched.
        trace: Vec<RuleLook>,
        /// What the limits say that speak of the call.
        limits: Vec<LimitLook>,
        /// What the flows say to the data that would go out.
        flows: Vec<FlowLook>,
    },
    /// It would be refused before the policy is asked.
    Invalid {
        reason: &'static str,
        message: String,
        argument: Option<String>,
        /// The character in it that is refused, and what is valid.
        forbidden: Option<(String, String)>,
    },
}

/// What a call is explained by.
pub(crate) struct Rules<'r, 'f> {
    pub tools: &'r BTreeMap<String, Arc<Tool>>,
    pub policy: &'r Policy,
    /// What the tool's service says of a call, as the gate would ask it.
    pub check: &'r dyn Fn(&Call) -> Result<(), InvalidCall>,
    pub facts: &'r dyn Fn(&Call) -> Facts<'f>,
    /// Why the agent says it wants this: a person would be shown that too.
    pub reason: Option<String>,
}

/// Explains a call of `tool` with `args` by `agent`.
pub(crate) fn explain(
    rules: &Rules<'_, '_>,
    agent: &AgentId,
    tool: &str,
    args: Map<String, Value>,
) -> Explanation {
    let Rules { tools, policy, check, facts, .. } = rules;
    let Some(known) = tools.get(tool) else {
        let message = format!("Unknown tool: {tool}");
        return Explanation::Invalid { reason: "unknown_tool", message, argument: None, forbidden: None };
    };
    let call = Call::new(agent.clone(), known.clone(), args);
    match call.and_then(|call| check(&call).map(|()| call)) {
        Err(why) => Explanation::Invalid {
            reason: why.reason(),
            message: why.to_string(),
            argument: why.argument().map(str::to_owned),
            forbidden: why.forbidden(),
        },
        Ok(call) => {
            let facts = facts(&call);
            let (mut verdict, trace) = policy.judge_traced(&call, &facts);
            let limits = policy.limit_looks(&call, &facts);
            let flows = policy.flow_looks(&call, &facts);
            let parts = call.parts().iter().cloned().zip(policy.judge_parts(&call, &facts)).collect();
            let signature = call.signature().to_owned();
            if is_too_large(rules, call, &facts, &verdict) {
                verdict.reasons.push(Reason::TooLargeToShow);
            }
            Explanation::Judged { signature, parts, verdict, trace, limits, flows }
        }
    }
}

/// Whether a person would be asked, but by a question that is too long.
fn is_too_large(rules: &Rules<'_, '_>, call: Call, facts: &Facts<'_>, verdict: &Verdict) -> bool {
    if verdict.decision != Action::Ask || facts.cool_down.is_some() {
        return false;
    }
    let question = Question {
        id: RequestId::random(),
        call: Arc::new(call),
        edit: None,
        session: facts.session.map(str::to_owned),
        reason: rules.reason.clone(),
        rule: verdict.rule.clone(),
        reasons: verdict.asked(),
        ask: verdict.ask.clone(),
        terms: verdict.terms.clone(),
        created: facts.now,
        expires: facts.now,
    };
    text::length(&question) > facts.max_question_chars
}

impl Gate {
    /// What would become of a call now, and why. Nothing is done.
    pub(crate) fn explain(&self, agent: &AgentId, request: Submission) -> Explanation {
        let setup = self.setup();
        let Submission { tool, args, reason, session, .. } = request;
        let session = session.map(|name| setup.scrubber.text(name));
        let reason = reason.map(|text| setup.scrubber.text(text));
        let check = |call: &Call| setup.services.check(call).map(drop);
        let (counters, grants) = (self.counters(), self.ledger.grants.borrow());
        let facts = |call: &Call| {
            let facts = self.facts(&setup, call, session.as_deref(), &*counters);
            let facts = Facts { grants: &*grants, ..facts };
            match self.flights.would_join(call, session.as_deref()) {
                // It waits for the answer to the question that is open.
                true => Facts { cool_down: None, open_questions: 0, max_question_chars: usize::MAX, ..facts },
                false => facts,
            }
        };
        let (tools, policy) = (&setup.config.tools, &setup.policy);
        explain(&Rules { tools, policy, check: &check, facts: &facts, reason }, agent, &tool, args)
    }
}

impl Explanation {
    /// Whether a yes to it may say yes to more.
    pub(crate) fn offers_a_grant(&self) -> bool {
        matches!(self, Explanation::Judged { verdict, .. } if verdict.ask.grant.is_some())
    }

    /// None: it would be refused before the policy is asked.
    pub(crate) fn decision(&self) -> Option<Action> {
        match self {
            Explanation::Judged { verdict, .. } => Some(verdict.decision),
            Explanation::Invalid { .. } => None,
        }
    }

    /// What it would count under limits.
    pub(crate) fn charges(&self) -> &[Charge] {
        match self {
            Explanation::Judged { verdict, .. } => &verdict.charges,
            Explanation::Invalid { .. } => &[],
        }
    }

    /// The stable JSON shape of `explain`.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Explanation::Judged { signature, parts, verdict, trace, limits, flows } => {
                let mut shown = json!({
                    "decision": verdict.decision.as_str(),
                    "signature": signature,
                    "rule": verdict.rule.as_deref().map(RuleRef::to_json),
                    "reasons": verdict.reasons.iter().map(Reason::to_json).collect::<Vec<_>>(),
                    "trace": trace.iter().map(step_json).collect::<Vec<_>>(),
                    "limits": limits.iter().map(limit_json).collect::<Vec<_>>(),
                    "flows": flows.iter().map(flow_json).collect::<Vec<_>>(),
                });
                if let (Some(members), Action::Ask, false) =
                    (shown.as_object_mut(), verdict.decision, verdict.terms.is_empty())
                {
                    members.insert("terms".into(), verdict.terms.to_json());
                }
                if let (Some(members), false) = (shown.as_object_mut(), parts.is_empty()) {
                    members.insert("signatures".into(), parts.iter().map(part_json).collect());
                }
                shown
            }
            Explanation::Invalid { reason, message, argument, forbidden } => json!({
                "decision": "invalid",
                "signature": null,
                "rule": null,
                "reasons": [],
                "trace": [],
                "limits": [],
                "flows": [],
                "reason": reason,
                "message": message,
                "argument": argument,
                "character": forbidden.as_ref().map(|(character, _)| character),
                "valid": forbidden.as_ref().map(|(_, valid)| valid),
            }),
        }
    }
}

fn limit_json(look: &LimitLook) -> Value {
    let LimitLook { limit, count, after, resets_at, .. } = look;
    let amount = |amount: &Option<Decimal>| amount.map(|amount| limit.count.to_json(amount));
    json!({
        "name": *limit.name,
        "count": amount(count),
        "after": amount(after),
        "ask_above": amount(&limit.ask_above),
        "deny_above": amount(&limit.deny_above),
        "resets_at": resets_at.map(|at| at.to_string()),
    })
}

fn flow_json(look: &FlowLook) -> Value {
    json!({
        "from": look.source.from,
        "to": look.to,
        "labels": look.source.labels,
        "action": look.decision.as_str(),
        "flow": look.flow,
        "broken": look.broken.map(Bound::as_str),
    })
}

fn part_json((signature, verdict): &(String, Verdict)) -> Value {
    json!({"signature": signature, "decision": verdict.decision.as_str()})
}

fn step_json(step: &RuleLook) -> Value {
    let mut shown = step.rule.to_json();
    if let Some(members) = shown.as_object_mut() {
        members.insert("matched".into(), step.why.is_match().into());
        members.insert("why".into(), step.why.to_string().into());
    }
    shown
}
