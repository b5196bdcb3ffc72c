//! The JSON of a question, the same wherever programs read it: `approvals --json`, webhooks, the API. Stable, because
//! other programs rely on it.

use serde_json::{Value, json};

use crate::model::edit::Edit;
use crate::model::{Outcome, Question, QuestionEnd, Responder, RuleRef};

pub(crate) fn question(question: &Question) -> Value {
    let call = &question.call;
    let mut shape = json!({
        "request_id": question.id.to_string(),
        "agent_id": call.agent().as_str(),
        "session_id": question.session,
        "tool": call.tool().name,
        "args": call.shown_args(),
        "signature": call.signature(),
        "digest": call.shown_as(),
        "reason": question.reason,
        "risk": call.tool().facts.risk.label(),
        "rule": question.rule.as_deref().map(RuleRef::to_json),
        "reasons": question.reasons,
        "created_at": question.created.to_string(),
        "expires_at": question.expires.to_string(),
    });
    if let (Some(members), Some(offer)) = (shape.as_object_mut(), &question.ask.grant) {
        members.insert("grant".into(), offer.to_json());
    }
    if let Some(members) = shape.as_object_mut() {
        let parts = (!call.parts().is_empty()).then(|| ("signatures".to_owned(), call.parts().into()));
        let edited = question.edit.as_deref().map(|edit| ("edited".to_owned(), edited(edit)));
        members.extend(parts.into_iter().chain(edited));
    }
    shape
}

/// What a person has changed, and the call as it was before that.
fn edited(edit: &Edit) -> Value {
    let Edit { asked, by, names } = edit;
    json!({
        "by": by.as_str(),
        "names": names,
        "asked": {"args": asked.shown_args(), "signature": asked.signature()},
    })
}

/// What came of a question: its shape with `resolution`, `resolved_by`, `outcome` and `reason`. The last is that of the
/// outcome; what the agent gave as one is `agent_reason`. Never any data of a result.
pub(crate) fn ended(shape: Value, end: Option<&QuestionEnd>, outcome: Option<&Outcome>) -> Value {
    let Value::Object(mut members) = shape else { return shape };
    let heard = end.and_then(QuestionEnd::outcome);
    let outcome = outcome.or(heard.as_ref());
    if !members.contains_key("agent_reason") {
        let said = members.remove("reason").unwrap_or_default();
        members.insert("agent_reason".into(), said);
    }
    if let Some(end) = end {
        members.insert("resolution".into(), end.as_str().into());
        members.insert("resolved_by".into(), end.by().map(Responder::as_str).into());
    }
    members.insert("outcome".into(), outcome.map(Outcome::as_str).into());
    members.insert("reason".into(), outcome.and_then(Outcome::reason).into());
    Value::Object(members)
}
