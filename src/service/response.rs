//! Reads what a service answered: a value, or an error in words. Pure.
//!
//! The bytes are the service's and may be hostile. They become data and nothing else; nothing leaves this module
//! that the scrubber has not seen whole, before any cut.

use serde_json::Value;

use super::scrub::Scrubber;
use super::scrub_json;
use crate::base::json_text::JsonText;
use crate::base::safe_text::visible;
use crate::config::{ErrorMapping, ServiceConfig};
use crate::model::{Method, Outcome, Tool};
use crate::net::client::HttpResponse;

/// The most characters of an error body that go into a message.
pub const MAX_EXCERPT_CHARS: usize = 500;

/// The value of an answer without a body.
const NOTHING: &str = "null";

/// How compressed bodies begin (gzip, zstd, zlib at its three levels); none was asked for.
const COMPRESSED: [&[u8]; 5] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x78\x01", b"\x78\x9c", b"\x78\xda"];

/// The outcome that an answer stands for.
pub fn outcome(service: &ServiceConfig, tool: &Tool, answer: HttpResponse, scrubber: &Scrubber) -> Outcome {
    let status = answer.status;
    if !(200..=299).contains(&status) {
        let message = refusal(&service.errors, status, &answer.body, scrubber);
        return Outcome::ServiceError { status: Some(status), message };
    }
    let empty = tool.request.method == Method::Head || status == 204;
    match if empty { Ok(NOTHING.to_owned()) } else { read(answer, scrubber) } {
        Ok(json) => Outcome::Executed(JsonText::made(wrapped(tool, json))),
        Err(why) => Outcome::ServiceError { status: Some(status), message: why.to_owned() },
    }
}

fn wrapped(tool: &Tool, json: String) -> String {
    match &tool.wrap {
        Some(key) => format!("{{{}:{json}}}", Value::from(key.as_str())),
        None => json,
    }
}

/// The scrubbed JSON text of a body: what its content type says, or what it looks like when it says nothing.
fn read(answer: HttpResponse, scrubber: &Scrubber) -> Result<String, &'static str> {
    if answer.body.is_empty() {
        return Ok(NOTHING.to_owned());
    }
    let text = String::from_utf8(answer.body).map_err(|e| not_text(e.as_bytes()))?;
    let quoted = |text| Value::String(scrubber.text(text)).to_string();
    match answer.content_type.as_deref().map(is_json) {
        Some(true) => from_json(&text, scrubber).ok_or("Service answered with broken JSON"),
        Some(false) => Ok(quoted(text)),
        None => Ok(from_json(&text, scrubber).unwrap_or_else(|| quoted(text))),
    }
}

/// A byte order mark is tolerated, as RFC 8259 allows.
fn from_json(text: &str, scrubber: &Scrubber) -> Option<String> {
    scrub_json::scrubbed(scrubber, text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(essence.as_str(), "application/json" | "text/json") || essence.ends_with("+json")
}

fn not_text(body: &[u8]) -> &'static str {
    match COMPRESSED.iter().any(|start| body.starts_with(start)) {
        true => "Service answered with compressed data that was not asked for",
        false => "Service answered with data that is not UTF-8 text",
    }
}

/// What the agent is told about a status that is no success.
fn refusal(mappings: &[ErrorMapping], status: u16, body: &[u8], scrubber: &Scrubber) -> String {
    let excerpt = || excerpt(&scrubber.text(String::from_utf8_lossy(body).into_owned()));
    if let Some(mapping) = mappings.iter().find(|m| m.status == status) {
        return scrubber.text(filled(&mapping.message, status, &excerpt()));
    }
    match status {
        401 | 403 => format!("Service refused the gateway's credentials ({status})"),
        404 => "Not found at the service (404)".to_owned(),
        300..=399 => format!("Service answered with a redirect ({status}); redirects are not followed"),
        _ if body.is_empty() => format!("Service error {status}"),
        _ => format!("Service error {status}: {}", excerpt()),
    }
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
