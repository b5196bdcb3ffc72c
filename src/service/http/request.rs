//! Turns a call into the one HTTP request it stands for. Pure.
//!
//! Arguments are data and stay data: one encoded segment text in the path, one encoded value in the query, one line in
//! a header, a JSON value in the body. Whatever they hold, the request never leaves the service's scheme, host and
//! port, and never loses or changes its credentials.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};

use super::path::{data, path};
use super::request_body::body;
use crate::base::json::scalar_text;
use crate::base::secret::Secret;
use crate::base::template::{Template, TemplatePiece};
use crate::config::{Auth, Health, HttpService};
use crate::model::{Call, HttpTarget, InvalidCall, Method, RequestSpec};
use crate::net::client::HttpRequest;

/// The request of `call`, credentials included.
///
/// # Errors
/// [`InvalidCall::Unsendable`] names the argument whose value cannot stand in its place: an empty, `.` or `..` path segment
/// or what a service could take for one, an array or object outside the body, a required list without elements in the
/// query, a line break in a header.
/// [`InvalidCall::BadRequest`] when the whole is not a URL of this service, for instance longer than 64 KiB.
pub fn build(service: &HttpService, call: &Call) -> Result<HttpRequest, InvalidCall> {
    let HttpTarget { request: spec, .. } = call.tool().target.http().ok_or(InvalidCall::BadRequest)?;
    let mut request = bare(service, &spec.method, &path(&spec.path, call)?);
    if let Some(body) = body(spec, call)? {
        let is_set = request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if body.is_bound || !is_set {
            set_header(&mut request, "content-type", body.content_type);
        }
        request.body = Some(body.bytes);
    }
    add_query(&mut request, service, spec, call)?;
    add_headers(&mut request, spec, call)?;
    authorize(&mut request, &service.auth);
    check_origin(service, &request.url)?;
    request.timeout = Some(call.tool().timeout.unwrap_or(service.timeout));
    Ok(request)
}

/// The request that asks whether the service is well.
///
/// # Errors
/// [`InvalidCall::BadRequest`] when the configured path is not a URL of this service.
pub(super) fn probe(service: &HttpService, health: &Health) -> Result<HttpRequest, InvalidCall> {
    let mut request = bare(service, &health.method, &health.path);
    append(&mut request.url, auth_query(&service.auth));
    authorize(&mut request, &service.auth);
    check_origin(service, &request.url)?;
    Ok(request)
}

/// A request with the headers of its service, but without credentials.
pub(super) fn bare(service: &HttpService, method: &Method, path: &str) -> HttpRequest {
    let mut request = HttpRequest {
        method: method.as_str().to_owned(),
        url: format!("{}{path}", service.url.as_str()),
        headers: Vec::new(),
        body: None,
        timeout: None,
    };
    set_secret_headers(&mut request, &service.headers);
    request
}

pub(super) fn set_secret_headers(request: &mut HttpRequest, headers: &[(String, Secret)]) {
    headers.iter().for_each(|(name, value)| set_header(request, name, value.expose().to_owned()));
}

/// Each name stands once; the last value counts.
pub(super) fn set_header(request: &mut HttpRequest, name: &str, value: String) {
    request.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    request.headers.push((name.to_owned(), value));
}

fn append(url: &mut String, items: impl IntoIterator<Item = String>) {
    for item in items {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(&item);
    }
}

/// Whether an item has arguments and all of them are absent.
fn is_left_out(template: &Template, call: &Call) -> bool {
    template.args().next().is_some() && !template.args().any(|name| call.args().contains_key(name))
}

/// The credential comes last, and nothing else stands under its name.
fn add_query(
    request: &mut HttpRequest,
    service: &HttpService,
    spec: &RequestSpec,
    call: &Call,
) -> Result<(), InvalidCall> {
    let is_credential = |name: &str| matches!(&service.auth, Auth::Query { param, .. } if param == name);
    if let Some(template) = &spec.path_query {
        append(&mut request.url, [path_query(template, call)?]);
    }
    for (name, template) in &spec.query {
        if !is_left_out(template, call) && !is_credential(name) {
            append(&mut request.url, query_items(&data(name), template, call)?);
        }
    }
    append(&mut request.url, auth_query(&service.auth));
    Ok(())
}

/// One item, or one for each element of an array.
fn query_items(name: &str, template: &Template, call: &Call) -> Result<Vec<String>, InvalidCall> {
    let array = match template.pieces() {
        [] => return Ok(vec![name.to_owned()]),
        [TemplatePiece::Arg(arg)] if call.joined(arg).is_none() => {
            call.args().get(arg).map(|value| (arg, value))
        }
        _ => None,
    };
    let Some((arg, elements)) = array.and_then(|(arg, value)| Some((arg, value.as_array()?))) else {
        return Ok(vec![format!("{name}={}", data(&call.fill(template)?))]);
    };
    let unsendable = || InvalidCall::Unsendable { argument: arg.clone() };
    // An empty list would leave out the parameter: a request to delete these items would delete all.
    if elements.is_empty() && call.tool().args.get(arg).is_some_and(|spec| spec.required) {
        return Err(unsendable());
    }
    let texts = elements.iter().map(|element| scalar_text(element).ok_or_else(unsendable));
    texts.map(|text| Ok(format!("{name}={}", data(&text?)))).collect()
}

fn path_query(template: &Template, call: &Call) -> Result<String, InvalidCall> {
    let piece = |piece: &TemplatePiece| match piece {
        TemplatePiece::Text(text) => Ok(text.clone()),
        TemplatePiece::Arg(name) | TemplatePiece::Segments(name) => Ok(data(&call.text(name)?)),
    };
    template.pieces().iter().map(piece).collect()
}

fn auth_query(auth: &Auth) -> Option<String> {
    match auth {
        Auth::Query { param, token } => Some(format!("{}={}", data(param), data(token.expose()))),
        Auth::Bearer(_) | Auth::Header { .. } | Auth::Basic { .. } | Auth::Login(_) | Auth::None => None,
    }
}

fn add_headers(request: &mut HttpRequest, spec: &RequestSpec, call: &Call) -> Result<(), InvalidCall> {
    for (name, template) in spec.headers.iter().filter(|(_, template)| !is_left_out(template, call)) {
        let value = call.fill(template)?;
        if HeaderName::try_from(name).is_err() || HeaderValue::try_from(&value).is_err() {
            let argument = template.args().find(|arg| call.args().contains_key(*arg));
            return Err(argument
                .map_or(InvalidCall::BadRequest, |a| InvalidCall::Unsendable { argument: a.to_owned() }));
        }
        set_header(request, name, value);
    }
    Ok(())
}

/// Comes last, so that nothing a tool or an argument says can take the credential's place.
fn authorize(request: &mut HttpRequest, auth: &Auth) {
    match auth {
        Auth::Bearer(token) => set_header(request, "authorization", format!("Bearer {}", token.expose())),
        Auth::Header { name, token } => set_header(request, name, token.expose().to_owned()),
        Auth::Basic { username, password } => {
            let pair = STANDARD.encode(format!("{username}:{}", password.expose()));
            set_header(request, "authorization", format!("Basic {pair}"));
        }
        // The token of a login is added when the request is sent.
        Auth::Query { .. } | Auth::Login(_) | Auth::None => {}
    }
}

/// `url` with the credentials that stand in a URL.
pub(super) fn with_credentials(service: &HttpService, url: &str) -> String {
    let mut url = url.to_owned();
    append(&mut url, auth_query(&service.auth));
    url
}

/// The last line of defence: what was put together is still a URL of this service and of no other.
///
/// # Errors
/// [`InvalidCall::BadRequest`] when it is not.
pub(super) fn check_origin(service: &HttpService, url: &str) -> Result<(), InvalidCall> {
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
