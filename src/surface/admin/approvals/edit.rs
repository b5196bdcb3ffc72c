//! `/approvals/<id>/edit`: a call with other arguments. First a form, then the whole changed call with what it was, which
//! is what is approved. Plain forms do all of it.

use maud::{Markup, html};
use serde_json::{Map, Value};

use super::card;
use crate::approval::text::typed;
use crate::base::ids::RequestId;
use crate::base::json::parse_strict;
use crate::base::safe_text::{visible, visible_name};
use crate::gate::{Answered, CannotAnswer, Preview};
use crate::model::edit::{ArgChanges, changes_of};
use crate::model::{AnswerOutcome, ArgType, Question};
use crate::net::front::{WebAnswer, WebRequest};
use crate::protocol::frame::MAX_DEPTH;
use crate::surface::admin::form::field;
use crate::surface::admin::page::{self, Here, Viewer};
use crate::surface::admin::site::Admin;

/// A text longer than this gets more than one line.
const ONE_LINE: usize = 60;

/// One argument in the form.
struct Row {
    name: String,
    /// As the form has it.
    text: String,
    /// What is typed is a text, whatever it looks like.
    is_text: bool,
    is_required: bool,
    /// The call does not have it.
    is_absent: bool,
}

/// `GET /approvals/<id>/edit`.
pub(crate) fn form(admin: &Admin, viewer: &Viewer, id: &str) -> Option<WebAnswer> {
    let question = open(admin, RequestId::parse(id)?)?;
    Some(shown(admin, viewer, &question, &rows(&question), None))
}

/// `POST /approvals/<id>/edit`: shows what would be approved, or the form again and why not.
pub(crate) fn preview(admin: &Admin, viewer: &Viewer, id: &str, request: &WebRequest) -> Option<WebAnswer> {
    let question = open(admin, RequestId::parse(id)?)?;
    let body = String::from_utf8_lossy(&request.body);
    if field(&body, "digest").is_none_or(|seen| seen != question.call.shown_as()) {
        let answer = shown(admin, viewer, &question, &rows(&question), Some(card::STALE));
        return Some(WebAnswer { status: 409, ..answer });
    }
    let (typed, changes) = read(&rows(&question), &body);
    let (status, why) = match admin.gate.preview(&question.id.to_string(), &changes, &viewer.by) {
        Ok(Ok(preview)) => return Some(confirm(viewer, &question, &preview, &changes)),
        Ok(Err(Answered { outcome: AnswerOutcome::Refused(why), .. })) => (400, visible(&why)),
        Ok(Err(Answered { outcome: AnswerOutcome::Denied(why), .. })) => (200, visible(&why)),
        Ok(Err(_)) | Err(CannotAnswer::Several | CannotAnswer::Store(_)) => return None,
    };
    let answer = shown(admin, viewer, &question, &typed, Some(&why));
    Some(WebAnswer { status, ..answer })
}

/// The changes that a form carries from the page that showed what comes of them.
pub(super) fn carried(body: &str) -> Result<ArgChanges, &'static str> {
    match field(body, "set").map(|set| parse_strict(set.as_bytes(), MAX_DEPTH)) {
        None => Ok(Vec::new()),
        Some(Ok(Value::Object(set))) => Ok(changes_of(set)),
        Some(_) => Err("set must be a JSON object"),
    }
}

fn open(admin: &Admin, id: RequestId) -> Option<std::sync::Arc<Question>> {
    admin.gate.approvals.questions().into_iter().find(|question| question.id == id)
}

/// What can be changed: neither secrets nor bytes, which are not shown.
fn rows(question: &Question) -> Vec<Row> {
    let (call, tool) = (&question.call, question.call.tool());
    let declared = tool.args.iter().filter(|(_, spec)| !spec.secret && spec.kind != Some(ArgType::Bytes));
    let declared = declared.map(|(name, spec)| {
        let is_text = spec.kind == Some(ArgType::String);
        (name, is_text, spec.required, call.args().get(name))
    });
    let others = call.args().iter().filter(|(name, _)| !tool.args.contains_key(*name));
    let others = others.map(|(name, value)| (name, false, false, Some(value)));
    let row = |(name, is_text, is_required, value): (&String, bool, bool, Option<&Value>)| Row {
        name: name.clone(),
        text: value.map(|value| as_typed(value, is_text)).unwrap_or_default(),
        is_text,
        is_required,
        is_absent: value.is_none(),
    };
    declared.chain(others).map(row).collect()
}

fn as_typed(value: &Value, is_text: bool) -> String {
    match value {
        Value::String(text) if is_text => text.clone(),
        other => typed(other),
    }
}

/// The rows as they were sent back, and what differs from the call.
fn read(rows: &[Row], body: &str) -> (Vec<Row>, ArgChanges) {
    let mut changes = Vec::new();
    let read = |(place, row): (usize, &Row)| {
        // Browsers send two characters for each line break.
        let text = lines(&field(body, &format!("a{place}")).unwrap_or_default());
        let is_absent = field(body, &format!("o{place}")).is_some();
        match (is_absent, row.is_absent) {
            (true, false) => changes.push((row.name.clone(), None)),
            (false, true) => changes.push((row.name.clone(), Some(value_of(&text, row.is_text)))),
            (false, false) if text != lines(&row.text) => {
                changes.push((row.name.clone(), Some(value_of(&text, row.is_text))));
            }
            (true, true) | (false, false) => {}
        }
        Row { name: row.name.clone(), text, is_absent, ..*row }
    };
    let typed = rows.iter().enumerate().map(read).collect();
    (typed, changes)
}

fn lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// What is no JSON is a text.
fn value_of(text: &str, is_text: bool) -> Value {
    let json = (!is_text).then(|| parse_strict(text.as_bytes(), MAX_DEPTH).ok()).flatten();
    json.filter(|value| !value.is_null()).unwrap_or_else(|| text.into())
}

fn shown(
    admin: &Admin,
    viewer: &Viewer,
    question: &Question,
    rows: &[Row],
    why_not: Option<&str>,
) -> WebAnswer {
    let action = viewer.root.to(&format!("/approvals/{}/edit", question.id));
    let main = html! {
        p.back { a href=(viewer.root.to("/approvals/")) { "← Approvals" } }
        h1 { "Change the call" }
        @if let Some(why) = why_not { p.notice role="alert" { "Not like this: " (why) } }
        article.card.question { (card::body(question, 1, &admin.gate.tally(question.id))) }
        form.edit.card method="post" action=(action) {
            (page::csrf(viewer))
            input type="hidden" name="digest" value=(question.call.shown_as());
            @for (place, row) in rows.iter().enumerate() { (argument(place, row)) }
            p.soft { "Numbers, true, false, lists and objects are written as JSON. Secret arguments cannot be changed." }
            div.answer { button.primary { "Show the changed call" } }
        }
    };
    page::page(viewer, Here::Approvals, "Change the call", &[], &main)
}

fn argument(place: usize, row: &Row) -> Markup {
    let (text, out) = (format!("a{place}"), format!("o{place}"));
    let is_long = row.text.contains('\n') || row.text.chars().count() > ONE_LINE;
    html! {
        div.argument {
            label.mono for=(text) { (visible_name(&row.name)) }
            @if is_long {
                // A line break right after the tag is not part of the text.
                textarea id=(text) name=(text) rows="4" autocomplete="off" spellcheck="false" { "\n" (row.text) }
            } @else {
                input id=(text) name=(text) value=(row.text) autocomplete="off" spellcheck="false";
            }
            @if !row.is_required {
                label.out { input type="checkbox" name=(out) checked[row.is_absent]; " leave it out" }
            }
        }
    }
}

/// The whole changed call, with the form that approves just that.
fn confirm(viewer: &Viewer, question: &Question, preview: &Preview, changes: &ArgChanges) -> WebAnswer {
    let changed = &preview.question;
    let set: Map<String, Value> =
        changes.iter().map(|(name, value)| (name.clone(), value.clone().unwrap_or_default())).collect();
    let to = |end: &str| viewer.root.to(&format!("/approvals/{}{end}", question.id));
    let main = html! {
        p.back { a href=(to("/edit")) { "← Change it otherwise" } }
        h1 { "Approve the changed call?" }
        article.card.question {
            h2 { (visible(&changed.call.tool().name)) }
            (card::body(changed, 1, &preview.tally))
            form.answer method="post" action=(to("")) {
                (page::csrf(viewer))
                input type="hidden" name="digest" value=(question.call.shown_as());
                input type="hidden" name="set" value=(Value::Object(set).to_string());
                a.button href=(viewer.root.to("/approvals/")) { "Not now" }
                button.primary name="choice" value="approve" { "Approve this call" }
            }
        }
    };
    page::page(viewer, Here::Approvals, "Approve the changed call", &[], &main)
}
