//! `POST /approvals/api/resolve`: an answer, with one of the words that say what it was worth.

use std::rc::Rc;

use serde_json::{Value, json};

use super::client::Client;
use super::reply::{failure, reply};
use crate::approval::claims;
use crate::base::ids::RequestId;
use crate::base::json::parse_strict;
use crate::gate::{Answered, MAX_NOTE};
use crate::model::edit::changes_of;
use crate::model::{AnswerOutcome, Approval, Choice, QuestionEnd, Responder};
use crate::net::front::{WebAnswer, WebRequest};
use crate::protocol::frame::MAX_DEPTH;
use crate::surface::admin::site::Admin;
use crate::surface::members;

struct Wish {
    id: String,
    choice: Choice,
    /// Which call was seen; None where the program does not say.
    seen: Option<String>,
    actor: String,
}

pub(super) async fn answer(admin: &Rc<Admin>, client: &Client, request: &WebRequest) -> WebAnswer {
    let wish = match parse(&request.body) {
        Ok(wish) => wish,
        Err(why) => return failure(400, &why),
    };
    let Some(id) = RequestId::parse(&wish.id) else { return outcome(&AnswerOutcome::Unknown) };
    if let (Some(seen), Some(open)) =
        (&wish.seen, admin.gate.approvals.questions().iter().find(|q| q.id == id))
        && open.call.shown_as() != *seen
    {
        return outcome(&AnswerOutcome::Stale);
    }
    let by = Responder::new(&client.channel, &wish.actor);
    match admin.gate.answer(&id.to_string(), wish.choice, by).await {
        Ok(answered) => outcome(&remembered(answered)),
        Err(_) => failure(503, "the answer could not be recorded; the question is still open"),
    }
}

/// What an answer was worth, by the record too, which remembers longer than the desk.
pub(super) fn remembered(answered: Answered) -> AnswerOutcome {
    match (answered.outcome, answered.ended) {
        (AnswerOutcome::Unknown, Some(QuestionEnd::TimedOut)) => AnswerOutcome::Expired,
        (AnswerOutcome::Unknown, Some(_)) => AnswerOutcome::AlreadyResolved,
        (outcome, _) => outcome,
    }
}

fn outcome(outcome: &AnswerOutcome) -> WebAnswer {
    let status = match outcome {
        AnswerOutcome::Refused(_) => 400,
        AnswerOutcome::Stale => 409,
        _ => 200,
    };
    let mut body = json!({"outcome": outcome.as_str().to_ascii_uppercase()});
    if let (Some(members), AnswerOutcome::Counted { have, need }) = (body.as_object_mut(), outcome) {
        members.insert("have".into(), (*have).into());
        members.insert("need".into(), (*need).into());
    }
    if let (Some(members), AnswerOutcome::Refused(why) | AnswerOutcome::Denied(why)) =
        (body.as_object_mut(), outcome)
    {
        members.insert("why".into(), why.as_str().into());
    }
    reply(status, &body)
}

fn parse(body: &[u8]) -> Result<Wish, String> {
    let Ok(Value::Object(mut members)) = parse_strict(body, MAX_DEPTH) else {
        return Err("the body must be a JSON object".into());
    };
    let id = members::text(&mut members, "request_id")?.ok_or("request_id is missing")?;
    let approved = match members.remove("approved") {
        Some(Value::Bool(approved)) => approved,
        Some(_) => return Err("approved must be true or false".into()),
        None => return Err("approved is missing".into()),
    };
    let note = members::text(&mut members, "note")?
        .map(|note| note.trim().to_owned())
        .filter(|note| !note.is_empty());
    if note.as_ref().is_some_and(|note| note.chars().count() > MAX_NOTE) {
        return Err(format!("a note has at most {MAX_NOTE} characters"));
    }
    let grant = members::wish(&mut members)?;
    if grant.is_some() && !approved {
        return Err("a denial grants nothing".into());
    }
    let seen = members::text(&mut members, "digest")?;
    let set = match members.remove("set") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Object(set)) if approved => changes_of(set),
        Some(Value::Object(_)) => return Err("set goes with approved: true".into()),
        Some(_) => return Err("set must be an object".into()),
    };
    let actor = members::text(&mut members, "actor")?.unwrap_or_else(|| "api".to_owned());
    claims::check_name(&actor).map_err(|why| format!("actor {why}"))?;
    if let Some(name) = members.keys().next() {
        return Err(format!("unknown member {name}"));
    }
    let choice = match approved {
        true => Choice::Approve(Approval { seen: seen.clone(), set, grant }),
        false => Choice::Deny { note },
    };
    Ok(Wish { id, choice, seen, actor })
}
