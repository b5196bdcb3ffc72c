//! The JSON of a question, the same wherever programs read it: `approvals --json`, webhooks, the API. Stable, because
//! other programs rely on it.

use serde_json::{Value, json};

use super::text;
use crate::model::{Question, RuleRef};

/// An open question that was asked for so many times.
pub(crate) fn question(question: &Question, times: u32) -> Value {
    let call = &question.call;
    let again = (times > 1).then(|| text::asked_times(times));
    let fields: Vec<_> = text::fields(question).into_iter().chain(again).collect();
    let mut shape = json!({
        "request_id": question.id.to_string(),
        "agent_id": call.agent().as_str(),
        "session_id": question.session,
        "tool": call.tool().name,
        "description": call.tool().description,
        "args": call.shown_args(),
        "signature": call.signature(),
        "digest": call.shown_as(),
        "reason": question.reason,
        "risk": call.tool().facts.risk.label(),
        "rule": question.rule.as_deref().map(RuleRef::to_json),
        "reasons": question.reasons,
        "created_at": question.created.to_string(),
        "expires_at": question.expires.to_string(),
        "times_asked": times,
        "shown": fields.iter().map(shown).collect::<Vec<_>>(),
    });
    if let (Some(members), false) = (shape.as_object_mut(), call.parts().is_empty()) {
        members.insert("signatures".into(), call.parts().into());
    }
    shape
}

/// Text for people, rendered here so that every command line shows the same.
fn shown(field: &text::QuestionField) -> Value {
    json!({"label": field.label, "lines": field.lines})
}
