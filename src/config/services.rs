//! `services:` of config.yaml.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::at::{At, Name, Section};
use super::credential;
use super::http::{METHODS, header_name, headers, param, request_path};
use super::login;
use super::main_file::{path, warn_of_local};
use super::mcp;
use super::peer;
use super::settings::{Auth, ErrorMapping, Health, HttpService, PermitService, ServiceConfig};
use super::source;
use crate::base::secret::Secret;
use crate::model::Method;

const HTTP_KEYS: &str = "url auth handler handler_class timeout max_response_bytes ca_cert pin server_name \
                         allow_link_local headers health errors tools";
const PERMIT_KEYS: &str = "handler permit_ttl tools url";

/// What `handler:` of a service says: what its tools are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandlerKind {
    Http,
    Permit,
    Mcp,
}

/// One service; its `tools:` are read by `tool_files`. None when it has no usable name, address or credentials.
pub(crate) fn service(
    name: Name<'_>,
    at: At<'_>,
    (dir, state): (&Path, &Path),
) -> (HandlerKind, Option<ServiceConfig>) {
    let section = at.open();
    let plain = name.plain("a service");
    let kind = handler(section);
    let of = plain.unwrap_or_default();
    let service = match kind {
        HandlerKind::Http => http(of, section.known(HTTP_KEYS), dir).map(Arc::new).map(ServiceConfig::Http),
        HandlerKind::Permit => Some(ServiceConfig::Permit(permit(of, section.known(PERMIT_KEYS)))),
        HandlerKind::Mcp => {
            let service = mcp::service(name, section.known(mcp::KEYS), dir, state);
            service.map(Arc::new).map(ServiceConfig::Mcp)
        }
    };
    (kind, service.filter(|_| plain.is_some()))
}

/// A service that nobody calls: its agents act, once they are permitted to.
fn permit(name: &str, section: Section<'_>) -> PermitService {
    if let Some(at) = section.get("url") {
        at.error("a service of permits has no url: nobody is called", "remove it, or use handler: http");
    }
    let permit_ttl = section.read("permit_ttl", |at| at.seconds(1.0..=3600.0));
    PermitService { name: name.to_owned(), permit_ttl: permit_ttl.unwrap_or(Duration::from_secs(60)) }
}

fn http(name: &str, section: Section<'_>, dir: &Path) -> Option<HttpService> {
    let (url, socket) = section.require("url", peer::address).unzip();
    let auth = section.get("auth").map_or(Some(Auth::None), auth);
    if let (Some(at), Some(url), Some(auth)) = (section.get("url"), &url, &auth)
        && !matches!(auth, Auth::None)
    {
        warn_of_local(at, url);
    }
    let taken = auth.as_ref().and_then(header_of);
    Some(HttpService {
        name: name.to_owned(),
        timeout: section.read("timeout", timeout).unwrap_or(Duration::from_secs(30)),
        max_response_bytes: section.whole("max_response_bytes", 1..=64 << 20).unwrap_or(1 << 20),
        ca_cert: section.read("ca_cert", |at| certificate(at, dir)),
        peer: peer::peer(section, url.as_ref(), socket.flatten()),
        allow_link_local: section.flag("allow_link_local"),
        headers: section.get("headers").map(|at| headers(at, taken.as_deref())).unwrap_or_default(),
        health: section.read("health", health),
        errors: section.get("errors").map(errors).unwrap_or_default(),
        url: url?,
        auth: auth?,
    })
}

/// A time limit of a call, in seconds.
pub(crate) fn timeout(at: At<'_>) -> Option<Duration> {
    at.seconds(0.1..=3600.0)
}

fn handler(section: Section<'_>) -> HandlerKind {
    let Some(at) = section.get("handler") else {
        refuse_handler_class(section);
        return HandlerKind::Http;
    };
    match at.text().as_deref() {
        Some("http") => refuse_handler_class(section),
        Some("permit") => return HandlerKind::Permit,
        Some("mcp") => return HandlerKind::Mcp,
        Some("python") => {
            at.error("there is no handler python yet", "describe its HTTP interface in a tool file");
        }
        Some(_) => at.error(format!("unknown handler {}", at.shown()), "use http, permit or mcp"),
        None => {}
    }
    HandlerKind::Http
}

fn refuse_handler_class(section: Section<'_>) {
    let Some(at) = section.get("handler_class").filter(|at| !at.is_null()) else { return };
    if at.text().is_some_and(|class| !class.is_empty()) {
        at.error("handler_class has no meaning with handler http", "remove it");
    }
}

fn auth(at: At<'_>) -> Option<Auth> {
    type Reader = fn(Section<'_>) -> Option<Auth>;
    let types: [(&str, (&str, Reader)); 6] = [
        ("bearer", ("type token", bearer_auth)),
        ("header", ("type token header_name", header_auth)),
        ("query", ("type token query_param", query_auth)),
        ("basic", ("type username password", basic_auth)),
        ("login", ("type request take send expires logout", login::read)),
        ("none", ("type", |_| Some(Auth::None))),
    ];
    let section = at.open();
    let (keys, read) = section.require("type", |at| at.choice(&types))?;
    read(section.known(keys))
}

fn bearer_auth(section: Section<'_>) -> Option<Auth> {
    section.require("token", credential::bearer).map(Auth::Bearer)
}

fn header_auth(section: Section<'_>) -> Option<Auth> {
    let (name, token) = (section.require("header_name", header_name), token(section));
    Some(Auth::Header { name: name?, token: token? })
}

fn query_auth(section: Section<'_>) -> Option<Auth> {
    let (param, token) = (section.require("query_param", param), token(section));
    Some(Auth::Query { param: param?, token: token? })
}

fn token(section: Section<'_>) -> Option<Secret> {
    section.require("token", credential::token)
}

fn basic_auth(section: Section<'_>) -> Option<Auth> {
    let username = section.require("username", |at| {
        let name = at.filled()?;
        let fits = !name.contains(|c: char| c == ':' || c.is_control());
        at.ensure(fits, "username holds a colon or a control character", "").map(|()| name)
    });
    let at = section.need("password")?;
    let password = credential::text(at)?;
    let username = username?;
    let sent = STANDARD.encode(format!("{username}:{}", password.expose()));
    at.doc.secrets.borrow_mut().push(Secret::new(sent));
    Some(Auth::Basic { username, password })
}

/// The header that carries the credentials, in lower case.
pub(crate) fn header_of(auth: &Auth) -> Option<String> {
    match auth {
        Auth::Bearer(_) | Auth::Basic { .. } => Some("authorization".into()),
        Auth::Header { name, .. } => Some(name.to_ascii_lowercase()),
        Auth::Login(login) => Some(login.header.to_ascii_lowercase()),
        Auth::Query { .. } | Auth::None => None,
    }
}

/// A file of PEM certificates.
pub(crate) fn certificate(at: At<'_>, dir: &Path) -> Option<Vec<u8>> {
    let file = path(at, dir)?;
    let bytes =
        source::read_bytes(&file).map_err(|why| at.error(format!("{}: {why}", file.display()), "")).ok()?;
    let wrong = format!("{} holds no PEM certificate", file.display());
    at.ensure(is_pem(&bytes), wrong, "it begins with -----BEGIN CERTIFICATE-----")?;
    Some(bytes)
}

/// Whether there is a certificate, and all that stands between the markers is base64 of DER.
fn is_pem(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1).peekable();
    let is_der = |block: &str| {
        let Some((inner, _)) = block.split_once("-----END CERTIFICATE-----") else { return false };
        let compact: String = inner.split_whitespace().collect();
        STANDARD.decode(compact).is_ok_and(|der| der.first() == Some(&0x30))
    };
    blocks.peek().is_some() && blocks.all(is_der)
}

fn health(at: At<'_>) -> Option<Health> {
    if at.is_null() {
        return None;
    }
    let section = at.section("method path expect_status");
    let path = section.get("path").map_or(Some("/".into()), request_path);
    Some(Health {
        method: section.read("method", |at| at.choice(&METHODS)).unwrap_or(Method::Get),
        expect_status: section.whole("expect_status", 100..=599).unwrap_or(200),
        path: path?,
    })
}

fn errors(at: At<'_>) -> Vec<ErrorMapping> {
    let mut found: Vec<ErrorMapping> = Vec::new();
    for item in at.items() {
        let section = item.section("status message");
        let status = section.require("status", |at| Some((at, at.whole(400..=599)?)));
        let message = section.require("message", At::filled);
        let (Some((at, status)), Some(message)) = (status, message) else { continue };
        if found.iter().any(|other| other.status == status) {
            at.error(format!("status {status} is given twice"), "");
        }
        found.push(ErrorMapping { status, message });
    }
    found
}
