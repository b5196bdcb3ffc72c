//! What would become of a call, and why, without doing anything. Decision and trace are the policy's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::model::{Action, AgentId, Call, InvalidCall, Reason, RuleList, RuleRef, Step, Tool, Verdict};
use crate::policy::{Facts, Policy};

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
        trace: Vec<Step>,
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
pub(crate) struct Rules<'r> {
    pub tools: &'r BTreeMap<String, Arc<Tool>>,
    pub policy: &'r Policy,
    /// What the tool's service says of a call, as the gate would ask it.
    pub check: &'r dyn Fn(&Call) -> Result<(), InvalidCall>,
    pub facts: &'r dyn Fn(&Call) -> Facts,
}

/// Explains a call of `tool` with `args` by `agent`.
pub(crate) fn explain(
    rules: &Rules<'_>,
    agent: &AgentId,
    tool: &str,
    args: Map<String, Value>,
) -> Explanation {
    let Rules { tools, policy, check, facts } = rules;
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
            let (verdict, trace) = policy.judge_traced(&call, &facts(&call));
            let parts = call.parts().iter().cloned().zip(policy.judge_parts(&call)).collect();
            Explanation::Judged { signature: call.signature().to_owned(), parts, verdict, trace }
        }
    }
}

impl Explanation {
    /// The stable JSON shape of `explain`.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Explanation::Judged { signature, parts, verdict, trace } => {
                let mut shown = json!({
                    "decision": verdict.decision.as_str(),
                    "signature": signature,
                    "rule": verdict.rule.as_deref().map(RuleRef::to_json),
                    "reasons": reasons_json(verdict),
                    "trace": trace.iter().map(step_json).collect::<Vec<_>>(),
                });
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
                "reason": reason,
                "message": message,
                "argument": argument,
                "character": forbidden.as_ref().map(|(character, _)| character),
                "valid": forbidden.as_ref().map(|(_, valid)| valid),
            }),
        }
    }
}

/// Why the call is not simply made: what the rules say, then what the facts say.
fn reasons_json(verdict: &Verdict) -> Vec<Value> {
    let is_rule = verdict.rule.as_ref().is_some_and(|rule| rule.list == RuleList::Rules);
    let by_rule = match (verdict.decision, is_rule) {
        (Action::Ask, true) => Some("asked_by_rule"),
        (Action::Ask, false) => Some("asked_by_default"),
        (Action::Deny, _) if verdict.rule.is_some() => Some("denied_by_policy"),
        (Action::Deny | Action::Allow, _) => None,
    };
    let by_rule = by_rule.map(|reason| json!({"reason": reason}));
    by_rule.into_iter().chain(verdict.reasons.iter().map(reason_json)).collect()
}

fn reason_json(reason: &Reason) -> Value {
    match reason {
        Reason::AgentRemoved => json!({"reason": "agent_removed"}),
        Reason::ToolChanged => json!({"reason": "approval_void"}),
        Reason::CoolDown { until } => json!({"reason": "cool_down", "until": until.to_string()}),
        Reason::TooManyPending => json!({"reason": "too_many_pending"}),
        Reason::LimitReached { limit, .. } => json!({"reason": "limit_reached", "limit": **limit}),
        Reason::AskedByLimit { limit, .. } => json!({"reason": "asked_by_limit", "limit": **limit}),
    }
}

fn part_json((signature, verdict): &(String, Verdict)) -> Value {
    json!({"signature": signature, "decision": verdict.decision.as_str()})
}

fn step_json(step: &Step) -> Value {
    let mut shown = step.rule.to_json();
    if let Some(members) = shown.as_object_mut() {
        members.insert("matched".into(), (step.why == crate::model::Why::Matched).into());
        members.insert("why".into(), step.why.as_str().into());
    }
    shown
}
