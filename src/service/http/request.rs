//! Turns a call into the one HTTP request it stands for. Pure.
//!
//! Arguments are data and stay data: in the path one encoded segment text, in the query one encoded value, in a
//! header one line, in the body a JSON value. Whatever they hold, the request must never leave the service's
//! scheme, host and port, and never lose or change its credentials.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::Value;

use super::path::{data, path};
use super::request_body::body;
use crate::base::template::{Piece, Template};
use crate::config::{Auth, Health, ServiceConfig};
use crate::model::call::{InvalidCall, scalar_text};
use crate::model::{Call, Tool};
use crate::net::client::HttpRequest;

/// The request of `call`, credentials included.
///
/// # Errors
/// [`InvalidCall::Unsendable`] names the argument whose value cannot stand at its place: an empty, `.` or `..`
/// path segment or what a service could take for one, an array or object outside the body, a required list without
/// elements in the query, a line break in a header.
/// [`InvalidCall::BadRequest`] when the whole makes no URL of this service, as when it is longer than 64 KiB.
pub fn build(service: &ServiceConfig, call: &Call) -> Result<HttpRequest, InvalidCall> {
    let tool = call.tool();
    let args = Args(call);
    let mut url = format!("{}{}", service.url.as_str(), path(call)?);
    let mut headers = Headers::default();
    let body = body(call)?;
    body.iter().for_each(|body| headers.set("content-type", body.content_type.clone()));
    query(service, tool, &args)?.iter().fold('?', |mark, item| append(&mut url, mark, item));
    service.headers.iter().for_each(|(name, value)| headers.set(name, value.expose().to_owned()));
    let bound = body.iter().filter(|body| body.is_bound);
    bound.for_each(|body| headers.set("content-type", body.content_type.clone()));
    tool_headers(tool, &args, &mut headers)?;
    authorize(&service.auth, &mut headers);
    check_origin(service, &url)?;
    let timeout = Some(tool.timeout.unwrap_or(service.timeout));
    let method = tool.request.method.as_str().to_owned();
    Ok(HttpRequest { method, url, headers: headers.0, body: body.map(|body| body.bytes), timeout })
}

/// The request that asks whether the service is well.
///
/// # Errors
/// [`InvalidCall::BadRequest`] when the configured path makes no URL of this service.
pub(crate) fn probe(service: &ServiceConfig, health: &Health) -> Result<HttpRequest, InvalidCall> {
    let url = with_credentials(service, &format!("{}{}", service.url.as_str(), health.path));
    let mut headers = Headers::default();
    service.headers.iter().for_each(|(name, value)| headers.set(name, value.expose().to_owned()));
    authorize(&service.auth, &mut headers);
    check_origin(service, &url)?;
    Ok(HttpRequest {
        method: health.method.as_str().to_owned(),
        url,
        headers: headers.0,
        body: None,
        timeout: None,
    })
}

/// The arguments as texts.
struct Args<'a>(&'a Call);

impl Args<'_> {
    fn has(&self, name: &str) -> bool {
        self.0.args().contains_key(name)
    }

    fn text(&self, name: &str) -> Result<String, InvalidCall> {
        self.0.text(name)
    }

    /// The array that a template is, when it is one argument and nothing else.
    fn list(&self, template: &Template) -> Option<(&str, &[Value])> {
        let [Piece::Arg(name)] = template.pieces() else { return None };
        let (name, value) = self.0.args().get_key_value(name)?;
        if self.0.joined(name).is_some() { None } else { Some((name, value.as_array()?)) }
    }

    /// Whether an item that only arguments give a meaning has none of them.
    fn leave_out(&self, template: &Template) -> bool {
        template.args().next().is_some() && !template.args().any(|name| self.has(name))
    }
}

fn append(url: &mut String, mark: char, item: &str) -> char {
    url.push(mark);
    url.push_str(item);
    '&'
}

/// The query items in order, the credential last and alone under its name.
fn query(service: &ServiceConfig, tool: &Tool, args: &Args) -> Result<Vec<String>, InvalidCall> {
    let mut items = Vec::new();
    if let Some(template) = &tool.request.path_query {
        items.push(path_query(template, args)?);
    }
    for (name, template) in &tool.request.query {
        if !args.leave_out(template) && !is_auth_param(&service.auth, name) {
            items.extend(query_items(name, template, args)?);
        }
    }
    items.extend(auth_query(&service.auth));
    Ok(items)
}

/// One item, or one for each element of an array.
fn query_items(name: &str, template: &Template, args: &Args) -> Result<Vec<String>, InvalidCall> {
    let name = data(name);
    if template.pieces().is_empty() {
        return Ok(vec![name]);
    }
    let Some((list, elements)) = args.list(template) else {
        return Ok(vec![format!("{name}={}", data(&args.0.fill(template)?))]);
    };
    // Without one the parameter would be gone: what deletes these items would delete all.
    let is_required = args.0.tool().args.get(list).is_some_and(|spec| spec.required);
    if elements.is_empty() && is_required {
        return Err(InvalidCall::Unsendable(list.to_owned()));
    }
    let item = |element| match scalar_text(element) {
        Some(text) => Ok(format!("{name}={}", data(&text))),
        None => Err(InvalidCall::Unsendable(list.to_owned())),
    };
    elements.iter().map(item).collect()
}

fn path_query(template: &Template, args: &Args) -> Result<String, InvalidCall> {
    template
        .pieces()
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => Ok(text.clone()),
            Piece::Arg(name) | Piece::Segments(name) => Ok(data(&args.text(name)?)),
        })
        .collect()
}

fn is_auth_param(auth: &Auth, name: &str) -> bool {
    matches!(auth, Auth::Query { param, .. } if param == name)
}

fn auth_query(auth: &Auth) -> Option<String> {
    match auth {
        Auth::Query { param, token } => Some(format!("{}={}", data(param), data(token.expose()))),
        Auth::Bearer(_) | Auth::Header { .. } | Auth::Basic { .. } | Auth::Login(_) | Auth::None => None,
    }
}

/// Header lines; each name once, the last one set wins.
#[derive(Default)]
struct Headers(Vec<(String, String)>);

impl Headers {
    fn set(&mut self, name: &str, value: String) {
        self.0.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.0.push((name.to_owned(), value));
    }
}

fn tool_headers(tool: &Tool, args: &Args, headers: &mut Headers) -> Result<(), InvalidCall> {
    for (name, template) in tool.request.headers.iter().filter(|(_, template)| !args.leave_out(template)) {
        let value = args.0.fill(template)?;
        if !is_header_line(name, &value) {
            let argument = template.args().find(|a| args.has(a));
            return Err(argument.map_or(InvalidCall::BadRequest, |a| InvalidCall::Unsendable(a.to_owned())));
        }
        headers.set(name, value);
    }
    Ok(())
}

fn is_header_line(name: &str, value: &str) -> bool {
    HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok()
}

/// Comes last, so that nothing a tool or an argument says can stand in the credential's place.
fn authorize(auth: &Auth, headers: &mut Headers) {
    match auth {
        Auth::Bearer(token) => headers.set("authorization", format!("Bearer {}", token.expose())),
        Auth::Header { name, token } => headers.set(name, token.expose().to_owned()),
        Auth::Basic { username, password } => {
            let pair = STANDARD.encode(format!("{username}:{}", password.expose()));
            headers.set("authorization", format!("Basic {pair}"));
        }
        // The token of a session comes last of all, when it is known.
        Auth::Query { .. } | Auth::Login(_) | Auth::None => {}
    }
}

/// `url` with the credentials that stand in a URL, alone under their name.
pub(crate) fn with_credentials(service: &ServiceConfig, url: &str) -> String {
    let mut url = url.to_owned();
    let mark = if url.contains('?') { '&' } else { '?' };
    auth_query(&service.auth).iter().fold(mark, |mark, item| append(&mut url, mark, item));
    url
}

/// The last line of defence: what was put together is still a URL of this service and of no other.
///
/// # Errors
/// [`InvalidCall::BadRequest`] when it is not.
pub(crate) fn check_origin(service: &ServiceConfig, url: &str) -> Result<(), InvalidCall> {
    let origin = |text: &str| {
        let uri: Uri = text.parse().ok()?;
        let authority = uri.authority()?.as_str().to_ascii_lowercase();
        let clean = !authority.contains('@') && !uri.host()?.is_empty();
        clean.then_some((uri.scheme_str()?.to_owned(), authority))
    };
    match (origin(service.url.as_str()), origin(url)) {
        (Some(own), Some(built)) if own == built && !url.contains('#') => Ok(()),
        _ => Err(InvalidCall::BadRequest),
    }
}
