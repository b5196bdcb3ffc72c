//! Parts of HTTP requests that the owner's files name: methods, paths, headers, query parameters.

use super::at::At;
use super::credential;
use crate::base::secret::Secret;
use crate::base::url::{check_chars, check_path};
use crate::model::Method;

pub(crate) const METHODS: [(&str, Method); 6] = [
    ("GET", Method::Get),
    ("HEAD", Method::Head),
    ("POST", Method::Post),
    ("PUT", Method::Put),
    ("PATCH", Method::Patch),
    ("DELETE", Method::Delete),
];

/// Headers that belong to the connection or decide how a body is read: nobody sets them by hand.
const OWN_HEADERS: &str = "host content-length transfer-encoding connection keep-alive proxy-authorization \
                           proxy-connection te trailer upgrade expect accept-encoding";

/// Whether a header of this name may be set in addition to the one that carries the credentials.
pub(crate) fn check_header(name: &str, taken: Option<&str>) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    if !is_header_name(name) {
        return Err(format!("\"{}\" is not the name of a header", name.escape_debug()));
    }
    if OWN_HEADERS.split(' ').any(|own| own == lower) {
        return Err(format!("the header {name} is set by the gateway itself"));
    }
    if taken == Some(lower.as_str()) {
        return Err(format!("the header {name} carries the credentials of the service"));
    }
    Ok(())
}

/// The name of a header that is to carry credentials.
pub(crate) fn header_name(at: At<'_>) -> Option<String> {
    let name = at.text()?;
    check_header(&name, None).map_or_else(|why| at.fail(why, ""), |()| Some(name))
}

/// A token of HTTP (RFC 9110), at most 128 bytes.
pub(crate) fn is_header_name(name: &str) -> bool {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    (1..=128).contains(&name.len()) && name.chars().all(token)
}

/// Headers with constant values; `taken` carries the credentials already.
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
    at.ensure(!value.contains(char::is_control), format!("{name} holds control characters"), "")?;
    Some(Secret::new(value))
}

/// The name of a query parameter.
pub(crate) fn param(at: At<'_>) -> Option<String> {
    let name = at.filled()?;
    at.ensure(!name.contains(char::is_control), format!("{} holds control characters", at.name()), "")?;
    Some(name)
}

/// A constant path of a service, with or without a query.
pub(crate) fn request_path(at: At<'_>) -> Option<String> {
    let text = at.text()?;
    let (path, query) = text.split_once('?').unwrap_or((&text, ""));
    let checked = check_path(path).and_then(|()| check_chars(query));
    checked.map_or_else(|why| at.fail(format!("path {why}"), ""), |()| Some(text.clone()))
}
