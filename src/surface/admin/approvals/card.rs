//! One question as a card: the gateway's own words first, the agent's set apart. The words are those of
//! [`text`](crate::approval::text), as on every channel; nothing is cut.

use std::time::Duration;

use maud::{Markup, html};

use crate::approval::YesTally;
use crate::approval::text::{QuestionField, asked_times, fields, said_yes};
use crate::base::clock::Timestamp;
use crate::base::ids::RequestId;
use crate::base::readable::{countdown, round_span, short_id};
use crate::base::safe_text::visible;
use crate::gate::{Gate, MAX_NOTE};
use crate::model::{Outcome, Question, QuestionEnd, Responder};
use crate::surface::admin::page::{self, Viewer};

/// What somebody hears who has said yes to a call that is not asked about any more.
pub(super) const STALE: &str = "The call was changed after this page showed it. Look again.";

/// A question that can be answered.
pub(super) fn open(gate: &Gate, viewer: &Viewer, question: &Question) -> Markup {
    let id = question.id;
    let (left, times) = (gate.approvals.time_left(id), gate.flights.times_asked(question));
    let action = viewer.root.to(&format!("/approvals/{id}"));
    let (note_id, title_id) = (format!("n-{id}"), format!("t-{id}"));
    html! {
        article.card.question id={ "q-" (id) } data-id=(id) aria-labelledby=(title_id) {
            (head(viewer, question, left, &title_id))
            label.choose {
                input type="checkbox" form="many" name="q" value={ (id) "." (question.call.shown_as()) };
                span.sr { "Choose this question" }
            }
            (body(question, times, &gate.tally(id)))
            form.answer method="post" action=(action) {
                (page::csrf(viewer))
                input type="hidden" name="digest" value=(question.call.shown_as());
                label.sr for=(note_id) { "Note for the agent" }
                input.note id=(note_id) name="note" disabled[left.is_zero()] maxlength=(MAX_NOTE) autocomplete="off" enterkeyhint="done" placeholder="Why not? A note for the agent";
                // The first button is the one that Enter in the note means.
                button.danger name="choice" value="deny" disabled[left.is_zero()] { "Deny" }
                @if !question.call.tool().is_permit() {
                    a.change href=(viewer.root.to(&format!("/approvals/{id}/edit"))) { "Change…" }
                }
                button.primary name="choice" value="approve" disabled[left.is_zero()] { "Approve" }
                @if let Some(offer) = &question.ask.grant {
                    div.more {
                        @for time in &offer.durations {
                            button name="choice" value={ "approve:" (time.as_secs()) } disabled[left.is_zero()] { "Approve for " (round_span(*time)) }
                        }
                    }
                }
            }
        }
    }
}

fn head(viewer: &Viewer, question: &Question, left: Duration, title_id: &str) -> Markup {
    let tool = question.call.tool();
    html! {
        header {
            h2 id=(title_id) { (visible(&tool.name)) }
            p.left data-left=(left.as_millis()) {
                span.number { (countdown(left)) } " left"
            }
        }
        p.does.soft { (visible(&tool.description)) }
        p.facts {
            span { "from " strong { (visible(question.call.agent().as_str())) } }
            @if let Some(risk) = tool.facts.risk.label() { span.tag.warn { (risk) } }
            span.soft { "asked " (moment(viewer, question.created)) }
            span.soft { "until " (moment(viewer, question.expires)) }
            span.soft title=(question.id) { "id " code { (short_id(&question.id.to_string())) } }
        }
    }
}

pub(super) fn body(question: &Question, times: u32, tally: &YesTally) -> Markup {
    // These stand in the head already.
    let said = ["tool", "does", "agent", "risk"];
    let shown =
        fields(question).into_iter().filter(|field| !said.contains(&field.label.as_str()) || field.by_agent);
    let (by_agent, own): (Vec<_>, Vec<_>) = shown.partition(|field| field.by_agent);
    let own: Vec<_> =
        own.into_iter().chain(said_yes(tally)).chain((times > 1).then(|| asked_times(times))).collect();
    html! {
        (list("own", &own))
        @if !by_agent.is_empty() {
            div.quoted {
                p.whose { "The agent's words" }
                (list("", &by_agent))
            }
        }
    }
}

fn list(class: &str, fields: &[QuestionField]) -> Markup {
    html! {
        dl class=(class) {
            @for field in fields {
                dt { (field.label.trim()) }
                dd { @for line in &field.lines { div { (line) } } }
            }
        }
    }
}

fn moment(viewer: &Viewer, at: Timestamp) -> Markup {
    html! { time datetime=(at) title=(viewer.zone.date_and_time(at)) { (viewer.zone.hour_and_minute(at)) } }
}

/// What takes the place of the buttons when a question has ended.
pub(super) fn ended(viewer: &Viewer, id: RequestId, text: &str) -> Markup {
    html! {
        div.ended {
            p { (text) }
            a href=(viewer.root.to(&format!("/audit/call/{id}"))) { "In the record" }
        }
    }
}

/// How a question ended, in a sentence for `me`.
pub(super) fn end_text(end: &QuestionEnd, me: &Responder) -> String {
    let by = |who: &Responder| if who == me { "you".to_owned() } else { visible(who.as_str()) };
    match end {
        QuestionEnd::Approved { by: who } => format!("Approved by {}", by(who)),
        QuestionEnd::Denied { by: who, note: None } => format!("Denied by {}", by(who)),
        QuestionEnd::Denied { by: who, note: Some(note) } => {
            format!("Denied by {}: {}", by(who), visible(note))
        }
        QuestionEnd::TimedOut => "Nobody answered in time, so it was not done".into(),
        QuestionEnd::Withdrawn => "The agent took it back".into(),
        QuestionEnd::Void(why) => format!("It was not done: {}", visible(&why.to_string())),
    }
}

pub(super) fn finished_text(outcome: &Outcome) -> String {
    match (outcome, outcome.reason().or(outcome.data_note())) {
        (Outcome::DeniedByPolicy(denial), _) => format!("It was not done: {}", visible(&denial.to_string())),
        (_, Some(more)) => format!("{}: {}", outcome.as_str(), visible(more)),
        (_, None) => outcome.as_str().to_owned(),
    }
}
