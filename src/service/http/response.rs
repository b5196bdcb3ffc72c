//! Reads a service's response: a value, or an error in words. Pure.
//!
//! The bytes are the service's and may be hostile. They become data and nothing else, and nothing leaves this module
//! that the scrubber has not seen whole, before any cut.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::json_path;
use super::response_text::{self, ContentKind, NotText};
use crate::base::clock::Timestamp;
use crate::base::json_text::JsonText;
use crate::base::safe_text::visible;
use crate::config::HttpService;
use crate::model::{HttpTarget, Kind, Lost, Method, Outcome, Output, ResponseSpec, Tool};
use crate::net::client::HttpResponse;
use crate::service::scrub::{Scrubber, json};

/// The most characters of an error body in a message.
const MAX_EXCERPT_CHARS: usize = 500;

/// The longest wait that an agent is told, in seconds: a day.
const MAX_RETRY_AFTER: u64 = 86_400;

/// The value of a response without a body.
const NOTHING: &str = "null";

const LOST_NUMBERS: &str = "numbers that JSON cannot hold (NaN, Infinity) are null";
const LOST_CHARACTERS: &str = "what is no character is U+FFFD";

/// Scrubbed JSON, and a note on what was changed in it besides.
struct Clean {
    json: String,
    note: Option<String>,
}

/// Why a body cannot be used, and a note on what it was.
type Unusable = (Lost, Option<String>);

/// The outcome of a call with this response.
pub fn outcome(service: &HttpService, tool: &Tool, response: HttpResponse, scrubber: &Scrubber) -> Outcome {
    let Some(HttpTarget { request, response: spec }) = tool.target.http() else {
        return Outcome::UnknownResult;
    };
    let status = response.status;
    if !is_success(status) {
        return refused(service, spec, response, scrubber);
    }
    let headers = headers(spec, &response, scrubber);
    let is_empty = request.method == Method::Head || status == 204 || response.body.is_empty();
    let read = match is_empty {
        true => Ok(Clean { json: NOTHING.to_owned(), note: None }),
        false => read(spec, response, scrubber),
    };
    match read {
        Ok(Clean { json, .. }) if !is_ok(spec, &json) => {
            let message = format!("Service says that it failed: {}", excerpt(&json));
            Outcome::ServiceError { status: Some(status), message, retry_after: None }
        }
        Ok(Clean { json, note }) => {
            let json = with_headers(wrapped(spec, json), headers);
            Outcome::Executed(Output { note, ..JsonText::made(json).into() })
        }
        Err((why, note)) => lost(tool.kind, status, why, note),
    }
}

/// Whether the body tells success too, where it is asked.
fn is_ok(spec: &ResponseSpec, json: &str) -> bool {
    let Some(ok) = &spec.ok else { return true };
    let found = json_path::single(json, &ok.at);
    let same = |wanted: &Value, found: &Value| {
        wanted == found || wanted.as_f64().is_some_and(|wanted| found.as_f64() == Some(wanted))
    };
    found.is_some_and(|found| ok.among.iter().any(|wanted| same(wanted, &found)))
}

/// The headers that the tool hands on; None when it hands on none.
fn headers(spec: &ResponseSpec, response: &HttpResponse, scrubber: &Scrubber) -> Option<Map<String, Value>> {
    let wanted = Some(&spec.headers).filter(|names| !names.is_empty())?;
    let value = |name: &String| {
        let values: Vec<&str> = response.header(name).collect();
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

fn wrapped(spec: &ResponseSpec, json: String) -> String {
    match &spec.wrap {
        Some(key) => format!("{{{}:{json}}}", Value::from(key.as_str())),
        None => json,
    }
}

/// The outcome of a call whose service sent this status and then nothing usable. A service that answered 2xx did it,
/// and an agent repeats what failed: so only a read can fail for want of a response.
pub(super) fn lost(kind: Kind, status: u16, why: Lost, note: Option<String>) -> Outcome {
    if !is_success(status) {
        return Outcome::ServiceError { status: Some(status), message: by_status(status), retry_after: None };
    }
    if kind.has_side_effects() {
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

/// Reads a body as what its content type says, or as what it looks like when there is none.
fn read(spec: &ResponseSpec, response: HttpResponse, scrubber: &Scrubber) -> Result<Clean, Unusable> {
    let HttpResponse { content_type, body, .. } = response;
    let content_type = content_type.as_deref();
    let (kind, size) = (ContentKind::new(content_type), body.len());
    if spec.binary && kind == ContentKind::Other {
        return bytes(content_type, &body, scrubber);
    }
    let (text, damaged) = match response_text::decode(body, content_type, spec.charset) {
        Ok(decoded) => (decoded.text, decoded.damaged),
        Err(NotText::Binary(body)) if spec.binary => return bytes(content_type, &body, scrubber),
        Err(NotText::Compressed) => return Err((Lost::Compressed, None)),
        Err(NotText::Binary(_)) => {
            let what = response_text::described(content_type, size);
            return Err((Lost::Binary, Some(scrubber.text(what))));
        }
    };
    let quoted = |text| {
        let json = Value::String(scrubber.text(text)).to_string();
        Clean { json, note: note(false, damaged) }
    };
    match kind {
        ContentKind::Json => from_json(&text, damaged, scrubber).ok_or((Lost::BadJson, None)),
        ContentKind::Text | ContentKind::Other => Ok(quoted(text)),
        // Without a content type "nan" is a text.
        ContentKind::Missing => {
            let clean = from_json(&text, damaged, scrubber);
            let clean = clean.filter(|clean| clean.json != NOTHING || text == NOTHING);
            Ok(clean.unwrap_or_else(|| quoted(text)))
        }
    }
}

/// Nothing can be replaced in bytes: with a credential in them they are lost.
fn bytes(content_type: Option<&str>, body: &[u8], scrubber: &Scrubber) -> Result<Clean, Unusable> {
    if scrubber.is_in_bytes(body) {
        return Err((Lost::Credential, None));
    }
    let kind = Value::from(content_type.map(|kind| scrubber.text(kind.to_owned())));
    let (size, text) = (body.len(), STANDARD.encode(body));
    let json = format!("{{\"base64\":\"{text}\",\"bytes\":{size},\"content_type\":{kind}}}");
    Ok(Clean { json, note: None })
}

/// Tolerates a byte order mark, as RFC 8259 allows.
fn from_json(text: &str, damaged: bool, scrubber: &Scrubber) -> Option<Clean> {
    let clean = json::scrubbed(scrubber, text.strip_prefix('\u{feff}').unwrap_or(text))?;
    Some(Clean { json: clean.json, note: note(clean.lost_numbers, clean.lost_characters || damaged) })
}

fn note(lost_numbers: bool, lost_characters: bool) -> Option<String> {
    let notes = [lost_numbers.then_some(LOST_NUMBERS), lost_characters.then_some(LOST_CHARACTERS)];
    let notes: Vec<&str> = notes.into_iter().flatten().collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

/// What the agent is told about a status that is no success.
fn refused(
    service: &HttpService,
    spec: &ResponseSpec,
    response: HttpResponse,
    scrubber: &Scrubber,
) -> Outcome {
    let retry_after = retry_after(&response);
    let HttpResponse { status, content_type, body, .. } = response;
    let readable = || response_text::readable(&body, content_type.as_deref(), spec.charset);
    let excerpt = || excerpt(&scrubber.text(readable()));
    let message = match service.errors.iter().find(|mapping| mapping.status == status) {
        Some(mapping) => scrubber.text(filled(&mapping.message, status, &excerpt())),
        None if tells_its_body(status) && !body.is_empty() => format!("{}: {}", by_status(status), excerpt()),
        None => by_status(status),
    };
    Outcome::ServiceError { status: Some(status), message, retry_after }
}

/// `Retry-After` of an overloaded service: seconds, or a time, which is compared with the service's own clock.
fn retry_after(response: &HttpResponse) -> Option<u64> {
    if !matches!(response.status, 429 | 503) {
        return None;
    }
    let value = response.header("retry-after").next()?.trim();
    let at = |text: &str| Timestamp::parse_http_date(text.trim());
    let seconds = value.parse().ok().or_else(|| {
        let now = response.header("date").next().and_then(at)?;
        Some(at(value)?.since(now).as_secs())
    });
    seconds.map(|seconds: u64| seconds.clamp(1, MAX_RETRY_AFTER))
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

/// The beginning of a scrubbed body on one line, with invisible characters spelled out.
fn excerpt(body: &str) -> String {
    let text = body.trim().replace(['\r', '\n', '\t'], " ");
    match text.char_indices().nth(MAX_EXCERPT_CHARS) {
        Some((end, _)) => visible(text.get(..end).unwrap_or_default()) + "… (cut)",
        None => visible(&text),
    }
}
