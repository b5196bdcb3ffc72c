//! `auth: {type: login}`: a request that gives a token, where the token is in its answer, and how calls show it.

use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::at::{At, Section};
use super::constant::json_with;
use super::credential;
use super::http::{METHODS, header_name, headers, is_header_name, request_path};
use super::settings::{Auth, Login, LoginRequest, Take};
use crate::base::secret::Secret;
use crate::model::Method;

/// What stands for the token in `send.value`.
const TOKEN: &str = "{token}";

/// Reads `auth:`.
pub(crate) fn read(section: Section<'_>) -> Option<Auth> {
    let request = section.require("request", |at| exchange(at, true));
    let take = section.require("take", take);
    let send = match (section.get("send"), &take) {
        (None, Some(Take::Cookie(name))) => Some(("Cookie".to_owned(), format!("{name}={TOKEN}"))),
        _ => section.require("send", send),
    };
    let expires = section.read("expires", |at| at.seconds(1.0..=31_536_000.0));
    let logout = section.read("logout", |at| exchange(at, false));
    let (header, value) = send?;
    let (before, after) = value.split_once(TOKEN)?;
    Some(Auth::Login(Arc::new(Login {
        request: request?,
        take: take?,
        header,
        before: before.to_owned(),
        after: after.to_owned(),
        expires,
        logout,
    })))
}

fn exchange(at: At<'_>, with_body: bool) -> Option<LoginRequest> {
    let section = at.section(if with_body { "method path headers body encoding" } else { "method path" });
    let method = section.require("method", |at| at.choice(&METHODS));
    let path = section.require("path", request_path);
    let form = section.read("encoding", |at| at.choice(&[("json", false), ("form", true)]));
    let body = section.get("body").filter(|at| !at.is_null());
    let headers = section.get("headers").map(|at| headers(at, Some("content-type"))).unwrap_or_default();
    if let (Some(at), Some(Method::Get | Method::Head)) = (body, &method) {
        at.error("a GET request has no body", "method: POST");
    }
    let body = match body {
        None => None,
        Some(at) if form == Some(true) => Some(("application/x-www-form-urlencoded", fields(at)?)),
        Some(at) => Some(("application/json", json_with(at, text)?.to_string())),
    };
    let body = body.map(|(kind, text)| (kind, Secret::new(text)));
    Some(LoginRequest { method: method?, path: path?, headers, body })
}

/// What comes from a variable or stands under a telling name is a secret. The name of a user is none: it stands in too
/// many answers.
fn text(at: At<'_>) -> Option<String> {
    let name = at.name().to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let telling = has(&["pass", "pw", "token", "key", "secret", "pin"]);
    match telling || (at.has_variable() && !has(&["user", "name", "mail"])) {
        true => credential::text(at).map(|secret| secret.expose().to_owned()),
        false => at.text(),
    }
}

fn fields(at: At<'_>) -> Option<String> {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let fields = at.entries().into_iter();
    let pairs = fields.map(|(name, at)| Some(format!("{}={}", encoded(name.text()), encoded(&text(at)?))));
    Some(pairs.collect::<Option<Vec<_>>>()?.join("&"))
}

fn take(at: At<'_>) -> Option<Take> {
    let section = at.section("json header cookie");
    let found = [section.get("json"), section.get("header"), section.get("cookie")];
    match found {
        [Some(at), None, None] => pointer(at).map(Take::Json),
        [None, Some(at), None] => token_name(at).map(Take::Header),
        [None, None, Some(at)] => token_name(at).map(Take::Cookie),
        _ => at.fail("take must say one place", "json: /session/sid, header: NAME or cookie: NAME"),
    }
}

/// RFC 6901.
fn pointer(at: At<'_>) -> Option<String> {
    let text = at.filled()?;
    let wrong = format!("{} is no JSON pointer", at.shown());
    at.ensure(text.starts_with('/'), wrong, "it begins with a slash: /session/sid")?;
    Some(text)
}

/// The name of a header or a cookie: both are tokens of HTTP.
fn token_name(at: At<'_>) -> Option<String> {
    let name = at.filled()?;
    at.ensure(is_header_name(&name), format!("{} is no name", at.shown()), "")?;
    Some(name)
}

/// The header that shows the token, and its value with [`TOKEN`] in it.
fn send(at: At<'_>) -> Option<(String, String)> {
    let section = at.section("header value");
    let header = section.require("header", header_name);
    let value = section.get("value").map_or(Some(TOKEN.to_owned()), |at| {
        let value = at.filled()?;
        let is_plain = !value.contains(|c: char| !c.is_ascii() || c.is_control());
        let wrong = "value must hold {token} once, and nothing beyond ASCII";
        let fits = is_plain && value.matches(TOKEN).count() == 1;
        at.ensure(fits, wrong, "value: \"Bearer {token}\"").map(|()| value)
    });
    Some((header?, value?))
}
