//! Reads what a service answered: a value, or an error in words. Pure.
//!
//! The bytes are the service's and may be hostile. They become data and nothing else; nothing leaves this module
//! that the scrubber has not seen whole, before any cut.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::lookup;
use super::response_text::{self, Kind, NoText, Text};
use crate::base::clock::Timestamp;
use crate::base::json_text::JsonText;
use crate::base::safe_text::visible;
use crate::config::{ErrorMapping, ServiceConfig};
use crate::model::{Lost, Method, Outcome, Output, Tool};
use crate::net::client::HttpResponse;
use crate::service::scrub::{Scrubber, json};

/// The most characters of an error body that go into a message.
pub(crate) const MAX_EXCERPT_CHARS: usize = 500;

/// The longest time after which an agent is told to come back, in seconds: a day.
const LONGEST_PAUSE: u64 = 86_400;

/// The value of an answer without a body.
const NOTHING: &str = "null";

const LOST_NUMBERS: &str = "numbers that JSON cannot hold (NaN, Infinity) are null";
const LOST_CHARACTERS: &str = "what is no character is U+FFFD";

/// An answer that cannot be used, and what is known of it.
type Unusable = (Lost, Option<String>);

/// The outcome that an answer stands for.
pub fn outcome(
    service: &ServiceConfig,
    tool: &Tool,
    mut answer: HttpResponse,
    scrubber: &Scrubber,
) -> Outcome {
    let status = answer.status;
    if !is_success(status) {
        return refused(service, tool, answer, scrubber);
    }
    let empty = tool.request.method == Method::Head || status == 204 || answer.body.is_empty();
    let headers = headers(tool, &answer, scrubber);
    answer.body.truncate(if empty { 0 } else { usize::MAX });
    match if empty { Ok((NOTHING.to_owned(), None)) } else { read(tool, answer, scrubber) } {
        Ok((json, _)) if !is_ok(tool, &json) => {
            let message = format!("Service says that it failed: {}", excerpt(&json));
            Outcome::ServiceError { status: Some(status), message, retry_after: None }
        }
        Ok((json, note)) => {
            let json = with_headers(wrapped(tool, json), headers);
            Outcome::Executed(Output { data: JsonText::made(json), lost: None, note })
        }
        Err((why, note)) => lost(tool, status, why, note),
    }
}

/// Whether the body says so too, where it is asked.
fn is_ok(tool: &Tool, json: &str) -> bool {
    let Some(ok) = &tool.response.ok else { return true };
    let said = lookup::single(json, &ok.at);
    let same = |wanted: &Value, said: &Value| {
        wanted == said || wanted.as_f64().is_some_and(|wanted| said.as_f64() == Some(wanted))
    };
    said.is_some_and(|said| ok.among.iter().any(|wanted| same(wanted, &said)))
}

/// Those that the tool hands on; None when it hands none on.
fn headers(tool: &Tool, answer: &HttpResponse, scrubber: &Scrubber) -> Option<Map<String, Value>> {
    let wanted = Some(&tool.response.headers).filter(|names| !names.is_empty())?;
    let value = |name: &String| {
        let values: Vec<&str> = answer.header(name).collect();
        (!values.is_empty()).then(|| (name.clone(), scrubber.text(values.join(", ")).into()))
    };
    Some(wanted.iter().filter_map(value).collect())
}

fn with_headers(json: String, headers: Option<Map<String, Value>>) -> String {
    match headers {
        Some(headers) => format!("{{\"data\":{json},\"headers\":{}}}", Value::Object(headers)),
        None => json,
    }
}

/// What it means that a service answered with this status, and then nothing that can be used. A service that answered
/// 2xx did it, and an agent repeats what failed: only a read can fail for want of its answer.
pub(crate) fn lost(tool: &Tool, status: u16, why: Lost, note: Option<String>) -> Outcome {
    if !is_success(status) {
        return Outcome::ServiceError { status: Some(status), message: by_status(status), retry_after: None };
    }
    if tool.kind.has_side_effects() {
        return Outcome::Executed(Output::lost(why, note));
    }
    let message = match why {
        Lost::TooLarge => return Outcome::ResponseTooLarge,
        Lost::CutOff => "Service closed the connection".to_owned(),
        Lost::BadJson => "Service answered with broken JSON".to_owned(),
        Lost::Compressed => "Service answered with compressed data that was not asked for".to_owned(),
        Lost::Credential => "Service answered with bytes that hold a credential".to_owned(),
        Lost::Binary => format!("Service answered with binary data ({})", note.unwrap_or_default()),
    };
    Outcome::ServiceError { status: Some(status), message, retry_after: None }
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
fn read(
    tool: &Tool,
    answer: HttpResponse,
    scrubber: &Scrubber,
) -> Result<(String, Option<String>), Unusable> {
    let HttpResponse { content_type, body, .. } = answer;
    let content_type = content_type.as_deref();
    let (kind, size) = (Kind::of(content_type), body.len());
    if tool.response.binary && kind == Kind::Other {
        return bytes(content_type, &body, scrubber);
    }
    let Text { text, damaged } = match response_text::text(body, content_type, tool.response.charset) {
        Ok(text) => text,
        Err(NoText::Binary(body)) if tool.response.binary => return bytes(content_type, &body, scrubber),
        Err(NoText::Compressed) => return Err((Lost::Compressed, None)),
        Err(NoText::Binary(_)) => {
            return Err((Lost::Binary, Some(scrubber.text(response_text::described(content_type, size)))));
        }
    };
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

/// Nothing can be replaced in bytes: with a credential in them they are lost.
fn bytes(
    content_type: Option<&str>,
    body: &[u8],
    scrubber: &Scrubber,
) -> Result<(String, Option<String>), Unusable> {
    if scrubber.is_in_bytes(body) {
        return Err((Lost::Credential, None));
    }
    let kind = Value::from(content_type.map(|kind| scrubber.text(kind.to_owned())));
    let (size, text) = (body.len(), STANDARD.encode(body));
    Ok((format!("{{\"base64\":\"{text}\",\"bytes\":{size},\"content_type\":{kind}}}"), None))
}

/// A byte order mark is tolerated, as RFC 8259 allows.
fn from_json(text: &str, damaged: bool, scrubber: &Scrubber) -> Option<(String, Option<String>)> {
    let clean = json::scrubbed(scrubber, text.strip_prefix('\u{feff}').unwrap_or(text))?;
    Some((clean.json, note(clean.lost_numbers, clean.lost_characters || damaged)))
}

fn note(lost_numbers: bool, lost_characters: bool) -> Option<String> {
    let notes = [(lost_numbers, LOST_NUMBERS), (lost_characters, LOST_CHARACTERS)];
    let notes: Vec<_> = notes.into_iter().filter(|(there, _)| *there).map(|(_, note)| note).collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

/// What the agent is told about a status that is no success.
fn refused(service: &ServiceConfig, tool: &Tool, answer: HttpResponse, scrubber: &Scrubber) -> Outcome {
    let retry_after = retry_after(&answer);
    let HttpResponse { status, content_type, body, .. } = answer;
    let readable = || response_text::readable(&body, content_type.as_deref(), tool.response.charset);
    let excerpt = || excerpt(&scrubber.text(readable()));
    let mapping = |m: &&ErrorMapping| m.status == status;
    let message = match service.errors.iter().find(mapping) {
        Some(mapping) => scrubber.text(filled(&mapping.message, status, &excerpt())),
        None if tells_its_body(status) && !body.is_empty() => format!("{}: {}", by_status(status), excerpt()),
        None => by_status(status),
    };
    Outcome::ServiceError { status: Some(status), message, retry_after }
}

/// `Retry-After` of those who have too much to do: seconds, or a time, which is compared with the service's own clock.
fn retry_after(answer: &HttpResponse) -> Option<u64> {
    if !matches!(answer.status, 429 | 503) {
        return None;
    }
    let said = answer.header("retry-after").next()?.trim();
    let at = |text: &str| Timestamp::parse_http_date(text.trim());
    let seconds = said.parse().ok().or_else(|| {
        let now = answer.header("date").next().and_then(at)?;
        Some(at(said)?.since(now).as_secs())
    });
    seconds.map(|seconds: u64| seconds.clamp(1, LONGEST_PAUSE))
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
