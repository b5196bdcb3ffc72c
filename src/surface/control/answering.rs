//! Answers to questions: what they may say, and what becomes of them.

use std::rc::Rc;

use serde_json::{Map, Value, json};

use crate::gate::{CannotAnswer, Gate, MAX_NOTE};
use crate::model::edit::{ArgChanges, changes_of};
use crate::model::{AnswerOutcome, Approval, Choice, Responder};
use crate::surface::members::{text, wish};
use crate::surface::shapes;

/// A yes: `digest` says to which call, `set` what is to be changed in it.
///
/// # Errors
/// What is wrong with it.
pub(super) fn approve(members: &mut Map<String, Value>) -> Result<Choice, String> {
    let (seen, set, grant) = (text(members, "digest")?, changes(members)?, wish(members)?);
    Ok(Choice::Approve(Approval { grant, set, seen }))
}

/// `set`: an object of arguments with their new values; null removes one.
///
/// # Errors
/// When it is something else.
pub(super) fn changes(members: &mut Map<String, Value>) -> Result<ArgChanges, String> {
    match members.remove("set") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(set)) => Ok(changes_of(set)),
        Some(_) => Err("set must be an object".into()),
    }
}

/// # Errors
/// When the note is too long.
pub(super) fn deny(members: &mut Map<String, Value>) -> Result<Choice, String> {
    let note = text(members, "note")?.map(|n| n.trim().to_owned()).filter(|n| !n.is_empty());
    match &note {
        Some(n) if n.chars().count() > MAX_NOTE => Err(format!("a note has at most {MAX_NOTE} characters")),
        Some(_) | None => Ok(Choice::Deny { note }),
    }
}

pub(super) async fn answer(gate: &Rc<Gate>, id: &str, choice: Choice, by: &Responder) -> Value {
    let granted = if let Choice::Approve(Approval { grant, .. }) = &choice { *grant } else { None };
    match gate.answer(id, choice, by.clone()).await {
        Ok(answered) => {
            let mut shown = shapes::answered(&answered);
            let granted = granted.filter(|_| answered.outcome == AnswerOutcome::Resolved);
            let grant = granted.and(answered.id).and_then(|id| gate.grant(id));
            if let (Some(members), Some(grant)) = (shown.as_object_mut(), grant) {
                members.insert("grant".into(), shapes::grant(&grant));
            }
            shown
        }
        Err(e) => not_answered(&e),
    }
}

/// What the question would be with these changes. Nothing is done.
pub(super) fn preview(gate: &Rc<Gate>, id: &str, changes: &ArgChanges, by: &Responder) -> Value {
    match gate.preview(id, changes, by) {
        Ok(Ok(preview)) => {
            let times = gate.flights.times_asked(&preview.question);
            json!({"preview": shapes::question(&preview.question, times, &preview.tally), "of": preview.of})
        }
        Ok(Err(answered)) => shapes::answered(&answered),
        Err(e) => not_answered(&e),
    }
}

fn not_answered(e: &CannotAnswer) -> Value {
    match e {
        CannotAnswer::Several => shapes::failure(
            "several questions begin with this id",
            Some("give more of it; `agentpass approvals` shows them"),
        ),
        CannotAnswer::Store(e) => shapes::failure(
            &format!("the answer could not be recorded: {e}"),
            Some("the question is still open"),
        ),
    }
}
