//! `POST /approvals/answer/CHANNEL/ID/SHOWN`: an answer by whoever has the token that a message carried. It answers that
//! question, as it was shown, and does nothing else. Reading changes nothing: programs that look at links open them.

use std::rc::Rc;
use std::time::Duration;

use serde_json::json;

use super::reply::{failure, reply, unauthorized};
use super::resolve::remembered;
use crate::approval::claims;
use crate::base::ids::RequestId;
use crate::base::json::parse_strict;
use crate::base::secret::TokenHash;
use crate::model::{AnswerOutcome, Responder};
use crate::net::front::{WebAnswer, WebRequest};
use crate::protocol::frame::MAX_DEPTH;
use crate::surface::admin::page;
use crate::surface::admin::site::Admin;
use crate::surface::admin::visitor::{Visit, Visitor};

/// How long after its end a question is spoken of to those who had been asked.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// `path` is what follows `/approvals/answer/`.
pub(super) async fn answer(admin: &Rc<Admin>, visit: &Visit<'_>, path: &str) -> WebAnswer {
    // Pages of any origin may show a token; there is nothing else here that a page could use.
    let shared = |answer: WebAnswer| answer.with("access-control-allow-origin", "*");
    match visit.request.method() {
        "OPTIONS" => shared(page::data(204, "text/plain", ""))
            .with("access-control-allow-methods", "POST")
            .with("access-control-allow-headers", "authorization, content-type")
            .with("access-control-max-age", "600"),
        "POST" => shared(posted(admin, visit.visitor, visit.request, path).await),
        _ => shared(failure(405, "POST only").with("allow", "POST")),
    }
}

async fn posted(admin: &Rc<Admin>, visitor: &Visitor, request: &WebRequest, path: &str) -> WebAnswer {
    let given = request.bearer().map(|token| TokenHash::new(&token));
    let parts: Vec<_> = path.split('/').collect();
    let &[channel, id, shown_as] = parts.as_slice() else {
        return unauthorized(admin, visitor, given.is_some());
    };
    let setup = admin.gate.setup();
    let bound_to = setup.config.channels.get(channel).and_then(|channel| channel.answer_token());
    let (Some(id), Some((identity, name))) = (RequestId::parse(id), bound_to) else {
        return unauthorized(admin, visitor, given.is_some());
    };
    let right = admin.gate.answer_token(channel, &identity, id, shown_as);
    if !given.is_some_and(|given| given.matches(&TokenHash::new(right.expose()))) {
        return unauthorized(admin, visitor, given.is_some());
    }
    let Ok(body) = parse_strict(&request.body, MAX_DEPTH) else {
        return failure(400, "the body must be a JSON object");
    };
    let (choice, by) = match claims::decision(body) {
        Ok(read) => read,
        Err(why) => return failure(400, &why),
    };
    let open = admin.gate.approvals.questions().into_iter().find(|question| question.id == id);
    if open.is_some_and(|question| question.call.shown_as() != shown_as) {
        return told(&AnswerOutcome::Stale);
    }
    let choice = choice.seen_as(Some(shown_as.to_owned()));
    let by = Responder::new(channel, by.as_deref().unwrap_or(name));
    match admin.gate.answer(&id.to_string(), choice, by).await {
        Ok(answered) => told(&lately(admin, id, remembered(answered)).await),
        Err(_) => failure(503, "the answer could not be recorded; the question is still open"),
    }
}

/// What ended long ago is unknown here.
async fn lately(admin: &Admin, id: RequestId, outcome: AnswerOutcome) -> AnswerOutcome {
    if !matches!(outcome, AnswerOutcome::AlreadyResolved | AnswerOutcome::Expired) {
        return outcome;
    }
    let record = admin.gate.store().question(id).await.ok().flatten();
    let at = record.and_then(|record| record.at);
    match at {
        Some(at) if admin.gate.clock().now().since(at) >= REMEMBERED => AnswerOutcome::Unknown,
        _ => outcome,
    }
}

fn told(outcome: &AnswerOutcome) -> WebAnswer {
    let status = match outcome {
        AnswerOutcome::Resolved | AnswerOutcome::Counted { .. } | AnswerOutcome::Denied(_) => 200,
        AnswerOutcome::NotApprover => 403,
        AnswerOutcome::AlreadyResolved | AnswerOutcome::Stale => 409,
        AnswerOutcome::Unknown => 404,
        AnswerOutcome::Expired => 410,
        AnswerOutcome::Refused(_) => 400,
    };
    let mut body = json!({"outcome": outcome.as_str()});
    if let (Some(members), AnswerOutcome::Refused(why) | AnswerOutcome::Denied(why)) =
        (body.as_object_mut(), outcome)
    {
        members.insert("why".into(), why.as_str().into());
    }
    reply(status, &body)
}
