//! `/approvals/`: the open questions as cards, and the answers given to them here.
//!
//! Everything works with plain forms. The script adds the countdown, and cards that come and change by themselves. It
//! must never decide whether an answer counts: the gate does, as for every other channel.

mod card;
pub(super) mod edit;
mod feed;
mod several;

use std::rc::Rc;
use std::time::Duration;

use maud::{Markup, html};
use serde_json::json;
use smol::Timer;

pub(super) use feed::feed;

use super::form::field;
use super::page::{self, HTML, Here, JSON, Viewer};
use super::site::Admin;
use crate::base::ids::RequestId;
use crate::base::readable::short_id;
use crate::base::safe_text::visible;
use crate::gate::MAX_NOTE;
use crate::model::{AnswerOutcome, Approval, Choice, GrantWish};
use crate::net::front::{WebAnswer, WebRequest};

/// `GET /approvals/`. `?about=<id>` also says what became of that question, which was answered just before.
pub(super) async fn page(admin: &Admin, viewer: &Viewer, request: &WebRequest) -> WebAnswer {
    let about = field(&request.query, "about").and_then(|id| RequestId::parse(&id));
    let notices = match about {
        Some(id) => vec![(id, end_of(admin, viewer, id).await)],
        None => Vec::new(),
    };
    list(admin, viewer, &notices)
}

/// The open questions below what there is to say of some.
fn list(admin: &Admin, viewer: &Viewer, notices: &[(RequestId, String)]) -> WebAnswer {
    let open = admin.gate.approvals.questions();
    let title = if open.is_empty() { "Approvals".to_owned() } else { format!("({}) Approvals", open.len()) };
    let main = html! {
        div.titled {
            h1 { "Waiting for you" }
            p.live #live role="status" { noscript { a href=(viewer.root.to("/approvals/")) { "Reload for new questions" } } }
        }
        @for (id, text) in notices {
            p.notice role="status" { "Question " code { (short_id(&id.to_string())) } ": " (text) }
        }
        p.sr #told aria-live="polite" {}
        div #cards {
            @for question in &open { (card::open(&admin.gate, viewer, question)) }
        }
        (several::form(viewer, open.is_empty()))
        (nothing(open.is_empty()))
    };
    page::page(viewer, Here::Approvals, &title, &["approvals.js"], &main)
}

fn nothing(is_shown: bool) -> Markup {
    html! {
        div.nothing #nothing hidden[!is_shown] {
            p { strong { "Nothing waits for you." } }
            p.soft { "Questions show up here by themselves." }
        }
    }
}

/// `POST /approvals/several` with `choice` and a `q` for each chosen question: each is an answer of its own.
pub(super) async fn answer_several(admin: &Rc<Admin>, viewer: &Viewer, request: &WebRequest) -> WebAnswer {
    let body = String::from_utf8_lossy(&request.body);
    let is_yes = match field(&body, "choice").as_deref() {
        Some("approve") => true,
        Some("deny") => false,
        Some(_) | None => return page::text(400, "choose approve or deny"),
    };
    let mut notices = Vec::new();
    for (id, seen) in several::chosen(&body) {
        let choice = match is_yes {
            true => Choice::Approve(Approval { seen: Some(seen), ..Approval::once() }),
            false => Choice::Deny { note: None },
        };
        let said = match admin.gate.answer(&id.to_string(), choice, viewer.by.clone()).await {
            Ok(answered) => end_after(admin, viewer, id, &answered.outcome).await,
            Err(_) => NOT_RECORDED.to_owned(),
        };
        notices.push((id, said));
    }
    list(admin, viewer, &notices)
}

/// `POST /approvals/<id>` with `choice` and `note`. The script is answered with JSON, a plain form with the page.
pub(super) async fn answer(
    admin: &Rc<Admin>,
    viewer: &Viewer,
    id: &str,
    request: &WebRequest,
) -> Option<WebAnswer> {
    let id = RequestId::parse(id)?;
    let body = String::from_utf8_lossy(&request.body);
    let choice = match field(&body, "choice").as_deref() {
        Some("approve") => match edit::carried(&body) {
            Ok(set) => Choice::Approve(Approval { seen: field(&body, "digest"), set, ..Approval::once() }),
            Err(why) => return Some(page::text(400, why)),
        },
        Some(choice) if choice.starts_with("approve:") => {
            let seconds = choice.strip_prefix("approve:").and_then(|text| text.parse().ok());
            let Some(seconds) = seconds else { return Some(page::text(400, "choose approve or deny")) };
            let grant = Some(GrantWish { duration: Duration::from_secs(seconds), uses: None });
            Choice::Approve(Approval { grant, seen: field(&body, "digest"), ..Approval::once() })
        }
        Some("deny") => Choice::Deny { note: note(&body) },
        Some(_) | None => {
            return Some(page::text(400, "choose approve or deny"));
        }
    };
    let answered = admin.gate.answer(&id.to_string(), choice, viewer.by.clone()).await;
    if request.header("accept") != "application/json" {
        let still_open =
            answered.as_ref().ok().and_then(|answered| status_of(&answered.outcome).zip(Some(answered)));
        let Some((status, answered)) = still_open else {
            return Some(page::elsewhere(&viewer.root, &format!("/approvals/?about={id}")));
        };
        let said = end_after(admin, viewer, id, &answered.outcome).await;
        return Some(WebAnswer { status, ..list(admin, viewer, &[(id, said)]) });
    }
    let (outcome, end) = match answered {
        Ok(answered) => (answered.outcome.as_str(), end_after(admin, viewer, id, &answered.outcome).await),
        Err(_) => ("failed", NOT_RECORDED.to_owned()),
    };
    // If not, the card stays: the feed reports what becomes of the question, if anything does.
    let stays = ["counted", "not_approver", "stale", "refused", "denied"].contains(&outcome);
    let is_over = !stays && ![NOT_RECORDED, BEING_ANSWERED, STILL_OPEN].contains(&end.as_str());
    let end = card::ended(viewer, id, &end).into_string();
    let body = json!({"request_id": id.to_string(), "outcome": outcome, "is_over": is_over, "end": end});
    Some(page::data(200, JSON, body.to_string()))
}

/// The status of the page after an answer that leaves its question open.
fn status_of(outcome: &AnswerOutcome) -> Option<u16> {
    match outcome {
        AnswerOutcome::NotApprover => Some(403),
        AnswerOutcome::Stale => Some(409),
        AnswerOutcome::Refused(_) => Some(400),
        AnswerOutcome::Denied(_) => Some(200),
        _ => None,
    }
}

const BEING_ANSWERED: &str = "Somebody is answering this question right now.";
const NOT_APPROVER: &str = "You are not among those whose answers to this question count.";
const STILL_OPEN: &str = "This question is still open.";
/// Another answer takes a moment to be recorded: how often to look for it, and the pause between.
const LOOKS: usize = 20;
const LOOK_AGAIN: Duration = Duration::from_millis(25);
const NOT_RECORDED: &str =
    "Your answer could not be recorded, so it does not count. The question is still open.";

fn note(body: &str) -> Option<String> {
    let note = field(body, "note")?;
    // Browsers count a line break as one character and send two.
    let note: String = note.replace("\r\n", "\n").trim().chars().take(MAX_NOTE).collect();
    (!note.is_empty()).then_some(note)
}

/// `GET /approvals/<id>/end`: how a question ended, for a page that was away meanwhile.
pub(super) async fn end(admin: &Admin, viewer: &Viewer, id: &str) -> Option<WebAnswer> {
    let id = RequestId::parse(id)?;
    let text = end_of(admin, viewer, id).await;
    Some(page::data(200, HTML, card::ended(viewer, id, &text).into_string()))
}

async fn end_after(admin: &Admin, viewer: &Viewer, id: RequestId, outcome: &AnswerOutcome) -> String {
    match outcome {
        AnswerOutcome::Resolved | AnswerOutcome::AlreadyResolved => end_of(admin, viewer, id).await,
        AnswerOutcome::Expired => "Too late: the time to answer is over.".into(),
        AnswerOutcome::Unknown => "There is no such question.".into(),
        AnswerOutcome::Counted { have, need } => counted(*have, *need),
        AnswerOutcome::NotApprover => NOT_APPROVER.into(),
        AnswerOutcome::Stale => card::STALE.into(),
        AnswerOutcome::Refused(why) | AnswerOutcome::Denied(why) => visible(why),
    }
}

/// What an open question has to say to who is looking at it.
fn still_open(admin: &Admin, viewer: &Viewer, id: RequestId) -> String {
    let tally = admin.gate.tally(id);
    match admin.gate.admits(id, &viewer.by) {
        false => NOT_APPROVER.into(),
        true if tally.yes.contains(&viewer.by) => counted(tally.have, tally.need),
        true => STILL_OPEN.into(),
    }
}

fn counted(have: u32, need: u32) -> String {
    format!("Your yes counts: {have} of {need}. The question stays open for the others.")
}

/// How a question ended, or that it has not.
async fn end_of(admin: &Admin, viewer: &Viewer, id: RequestId) -> String {
    if admin.gate.approvals.question(id).is_some() {
        return still_open(admin, viewer, id);
    }
    for _ in 0..LOOKS {
        match admin.gate.store().question(id).await {
            Ok(Some(record)) => match &record.end {
                Some(end) => return card::end_text(end, &viewer.by),
                None => Timer::after(LOOK_AGAIN).await,
            },
            Ok(None) => return "There is no such question.".into(),
            Err(e) => {
                log::error!("the record cannot be read: {e}");
                return "The record cannot be read right now.".into();
            }
        };
    }
    BEING_ANSWERED.into()
}
