//! Reads what a service answered: a value, or an error in words. Pure.
//!
//! The bytes are the service's and may be hostile. They become data and nothing else; nothing leaves this module
//! that the scrubber has not seen whole, before any cut.

use serde_json::Value;

use super::body::{self, Kind, NoText, Text};
use super::scrub::Scrubber;
use super::scrub_json;
use crate::base::json_text::JsonText;
use crate::base::safe_text::visible;
use crate::config::{ErrorMapping, ServiceConfig};
use crate::model::{Answer, Lost, Method, Outcome, Tool};
use crate::net::client::HttpResponse;

/// The most characters of an error body that go into a message.
pub const MAX_EXCERPT_CHARS: usize = 500;

/// The value of an answer without a body.
const NOTHING: &str = "null";

const LOST_NUMBERS: &str = "numbers that JSON cannot hold (NaN, Infinity) are null";
const LOST_CHARACTERS: &str = "what is no character is U+FFFD";

/// An answer that cannot be used, and what is known of it.
type Unusable = (Lost, Option<String>);

/// The outcome that an answer stands for.
pub fn outcome(service: &ServiceConfig, tool: &Tool, answer: HttpResponse, scrubber: &Scrubber) -> Outcome {
    let status = answer.status;
    if !is_success(status) {
        return refused(service, answer, scrubber);
    }
    let empty = tool.request.method == Method::Head || status == 204 || answer.body.is_empty();
    match if empty { Ok((NOTHING.to_owned(), None)) } else { read(answer, scrubber) } {
        Ok((json, note)) => {
            Outcome::Executed(Answer { data: JsonText::made(wrapped(tool, json)), lost: None, note })
        }
        Err((why, note)) => lost(tool, status, why, note),
    }
}

/// What it means that a service answered with this status, and then nothing that can be used. A service that answered
/// 2xx did it, and an agent repeats what failed: only a read can fail for want of its answer.
pub fn lost(tool: &Tool, status: u16, why: Lost, note: Option<String>) -> Outcome {
    if !is_success(status) {
        return Outcome::ServiceError { status: Some(status), message: by_status(status) };
    }
    if tool.kind.has_side_effects() {
        return Outcome::Executed(Answer::lost(why, note));
    }
    let message = match why {
        Lost::TooLarge => return Outcome::ResponseTooLarge,
        Lost::CutOff => "Service closed the connection".to_owned(),
        Lost::BadJson => "Service answered with broken JSON".to_owned(),
        Lost::Compressed => "Service answered with compressed data that was not asked for".to_owned(),
        Lost::Credential => "Service answered with bytes that hold a credential".to_owned(),
        Lost::Binary => format!("Service answered with binary data ({})", note.unwrap_or_default()),
    };
    Outcome::ServiceError { status: Some(status), message }
}

fn is_success(status: u16) -> bool {
    (200..=299).contains(&status)
}

fn wrapped(tool: &Tool, json: String) -> String {
    match &tool.wrap {
        Some(key) => format!("{{{}:{json}}}", Value::from(key.as_str())),
        None => json,
    }
}

/// The scrubbed JSON text of a body: what its content type says, or what it looks like when it says nothing. And what
/// was changed in it besides.
fn read(answer: HttpResponse, scrubber: &Scrubber) -> Result<(String, Option<String>), Unusable> {
    let HttpResponse { content_type, body, .. } = answer;
    let (kind, size) = (Kind::of(content_type.as_deref()), body.len());
    let Text { text, damaged } =
        body::text(body, content_type.as_deref(), None).map_err(|why| match why {
            NoText::Compressed => (Lost::Compressed, None),
            NoText::Binary(_) => {
                (Lost::Binary, Some(scrubber.text(body::described(content_type.as_deref(), size))))
            }
        })?;
    let quoted = |text| (Value::String(scrubber.text(text)).to_string(), note(false, damaged));
    match kind {
        Kind::Json => from_json(&text, damaged, scrubber).ok_or((Lost::BadJson, None)),
        Kind::Text | Kind::Other => Ok(quoted(text)),
        // Without a word from the service "nan" is a text.
        Kind::Unsaid => {
            let json =
                from_json(&text, damaged, scrubber).filter(|(json, _)| json != "null" || text == "null");
            Ok(json.unwrap_or_else(|| quoted(text)))
        }
    }
}

/// A byte order mark is tolerated, as RFC 8259 allows.
fn from_json(text: &str, damaged: bool, scrubber: &Scrubber) -> Option<(String, Option<String>)> {
    let clean = scrub_json::scrubbed(scrubber, text.strip_prefix('\u{feff}').unwrap_or(text))?;
    Some((clean.json, note(clean.lost_numbers, clean.lost_characters || damaged)))
}

fn note(lost_numbers: bool, lost_characters: bool) -> Option<String> {
    let notes = [(lost_numbers, LOST_NUMBERS), (lost_characters, LOST_CHARACTERS)];
    let notes: Vec<_> = notes.into_iter().filter(|(there, _)| *there).map(|(_, note)| note).collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

/// What the agent is told about a status that is no success.
fn refused(service: &ServiceConfig, answer: HttpResponse, scrubber: &Scrubber) -> Outcome {
    let HttpResponse { status, content_type, body, .. } = answer;
    let excerpt = || excerpt(&scrubber.text(body::readable(&body, content_type.as_deref())));
    let mapping = |m: &&ErrorMapping| m.status == status;
    let message = match service.errors.iter().find(mapping) {
        Some(mapping) => scrubber.text(filled(&mapping.message, status, &excerpt())),
        None if tells_its_body(status) && !body.is_empty() => format!("{}: {}", by_status(status), excerpt()),
        None => by_status(status),
    };
    Outcome::ServiceError { status: Some(status), message }
}

fn by_status(status: u16) -> String {
    match status {
        401 | 403 => format!("Service refused the gateway's credentials ({status})"),
        404 => "Not found at the service (404)".to_owned(),
        300..=399 => format!("Service answered with a redirect ({status}); redirects are not followed"),
        _ => format!("Service error {status}"),
    }
}

fn tells_its_body(status: u16) -> bool {
    !matches!(status, 300..=399 | 401 | 403 | 404)
}

/// Replaces `{body}` and `{status}` once: a body that holds them stays as it is.
fn filled(message: &str, status: u16, excerpt: &str) -> String {
    let parts = message.split("{body}").map(|part| part.replace("{status}", &status.to_string()));
    parts.collect::<Vec<_>>().join(excerpt)
}

/// The beginning of a scrubbed body on one line, invisible characters spelled out.
fn excerpt(body: &str) -> String {
    let text = body.trim().replace(['\r', '\n', '\t'], " ");
    match text.char_indices().nth(MAX_EXCERPT_CHARS) {
        Some((end, _)) => visible(text.get(..end).unwrap_or_default()) + "… (cut)",
        None => visible(&text),
    }
}
