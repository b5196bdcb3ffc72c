//! Parts of HTTP requests that the owner's files name: methods, paths, headers, query parameters.

use super::at::At;
use super::credential;
use crate::base::secret::Secret;
use crate::base::url::{check_chars, check_path};
use crate::model::Method;

/// The methods as words.
pub(crate) const METHODS: [(&str, Method); 6] = [
    ("GET", Method::Get),
    ("HEAD", Method::Head),
    ("POST", Method::Post),
    ("PUT", Method::Put),
    ("PATCH", Method::Patch),
    ("DELETE", Method::Delete),
];

/// Headers that belong to the connection or decide how a body is read: nobody sets them by hand.
const OWN_HEADERS: [&str; 12] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "accept-encoding",
];

/// Whether a header of this name may be set in addition to the one that carries the credentials.
///
/// # Errors
/// Why not.
pub(crate) fn check_header(name: &str, taken: Option<&str>) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    if !is_header_name(name) {
        return Err(format!("\"{}\" is not the name of a header", name.escape_debug()));
    }
    if OWN_HEADERS.contains(&lower.as_str()) {
        return Err(format!("the header {name} is set by the gateway itself"));
    }
    if taken == Some(lower.as_str()) {
        return Err(format!("the header {name} carries the credentials of the service"));
    }
    Ok(())
}

/// A token of HTTP (RFC 9110), at most 128 bytes.
pub(crate) fn is_header_name(name: &str) -> bool {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    (1..=128).contains(&name.len()) && name.chars().all(token)
}

/// Headers with constant values.
pub(crate) fn headers(at: At<'_>, taken: Option<&str>) -> Vec<(String, Secret)> {
    let mut found: Vec<(String, Secret)> = Vec::new();
    for (name, value) in at.entries() {
        let repeated = found.iter().any(|(other, _)| other.eq_ignore_ascii_case(name.text()));
        match check_header(name.text(), taken) {
            Err(why) => name.error(why, ""),
            Ok(()) if repeated => name.error(format!("the header {} is given twice", name.text()), ""),
            Ok(()) => found.extend(header_value(name.text(), value).map(|v| (name.text().to_owned(), v))),
        }
    }
    found
}

/// A value that is no credential (`application/json`) must not be scrubbed from results: only what comes from a
/// variable or stands in a header with a telling name is remembered as a secret.
fn header_value(name: &str, at: At<'_>) -> Option<Secret> {
    let lower = name.to_ascii_lowercase();
    let telling = ["auth", "token", "key", "secret", "cookie", "password"].iter().any(|w| lower.contains(w));
    if telling || at.has_variable() {
        return credential::token(at);
    }
    let value = at.filled()?;
    if value.contains(char::is_control) {
        return at.fail(format!("{name} holds control characters"), "");
    }
    Some(Secret::new(value))
}

/// The name of a query parameter.
pub(crate) fn param(at: At<'_>) -> Option<String> {
    let name = at.filled()?;
    let fits = !name.contains(char::is_control);
    if fits { Some(name) } else { at.fail(format!("{} holds control characters", at.name()), "") }
}

/// A constant path of a service, with or without a query.
pub(crate) fn request_path(at: At<'_>) -> Option<String> {
    let text = at.text()?;
    let (path, query) = text.split_once('?').unwrap_or((&text, ""));
    match check_path(path).and_then(|()| check_chars(query)) {
        Ok(()) => Some(text),
        Err(why) => at.fail(format!("path {why}"), ""),
    }
}
