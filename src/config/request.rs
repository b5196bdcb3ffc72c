//! `request:` of a tool: arguments may stand in path, query and header values only, never in scheme, host or port.

use std::collections::BTreeSet;

use super::argument::ArgSpecs;
use super::at::At;
use super::body;
use super::http::{METHODS, check_header, param};
use super::mcp_settings::McpService;
use super::services::HandlerKind;
use super::templates::{self, declared, template};
use crate::base::template::{Template, TemplatePiece};
use crate::base::url::{check_chars, check_path};
use crate::model::{ArgType, Method, RequestSpec};

/// The longest method, in bytes.
const MAX_METHOD: usize = 32;

/// The service that a tool file belongs to.
pub(crate) struct ToolService<'a> {
    pub service: &'a str,
    pub(crate) handler: HandlerKind,
    /// Empty when it is wrong.
    pub url: String,
    /// What it is, where it is an MCP server.
    pub(crate) mcp: Option<&'a McpService>,
    /// The header that carries its credentials, in lower case.
    pub(crate) taken_header: Option<String>,
    /// The query parameter that carries its credentials.
    pub(crate) taken_param: Option<String>,
}

impl<'a> ToolService<'a> {
    pub(crate) fn of_mcp(mcp: &'a McpService) -> ToolService<'a> {
        ToolService {
            service: &mcp.name,
            handler: HandlerKind::Mcp,
            url: String::new(),
            mcp: Some(mcp),
            taken_header: None,
            taken_param: None,
        }
    }
}

/// Reads a request. None when method or path is missing or wrong.
pub(crate) fn read(at: At<'_>, args: &ArgSpecs, owner: &ToolService<'_>) -> Option<RequestSpec> {
    let section = at.section("method path query headers body_exclude encoding body");
    let method = section.require("method", method);
    let path = section.require("path", |at| path(at, args, owner));
    let query = section.get("query").map(|at| query(at, args, owner)).unwrap_or_default();
    let headers = section.get("headers").map(|at| headers(at, args, owner)).unwrap_or_default();
    let body_exclude = section.get("body_exclude").map(|at| body_exclude(at, args)).unwrap_or_default();
    let (path, path_query) = path?;
    let encoding = section.read("encoding", body::encoding);
    let body = section.read("body", |at| body::layout(at, args));
    let request =
        RequestSpec { method: method?, path, path_query, query, headers, body_exclude, encoding, body };
    body::check(section, &request, args);
    Some(request)
}

fn method(at: At<'_>) -> Option<Method> {
    let text = at.text()?;
    if let Some((_, known)) = METHODS.iter().find(|(word, _)| *word == text) {
        return Some(known.clone());
    }
    let fits = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "!#$%&'*+-.^_`|~".contains(c);
    let for_tools = !matches!(text.as_str(), "CONNECT" | "TRACE");
    at.ensure(for_tools, format!("tools cannot use the method {text}"), "")?;
    let is_method = (1..=MAX_METHOD).contains(&text.len()) && text.chars().all(fits);
    let wrong = format!("{} is not a method", at.shown());
    at.ensure(is_method, wrong, "methods are words in capitals: GET, PROPFIND")?;
    Some(Method::Other(text.into()))
}

fn path(at: At<'_>, args: &ArgSpecs, owner: &ToolService<'_>) -> Option<(Template, Option<Template>)> {
    let text = at.text()?;
    let (path_text, query_text) = text.split_once('?').map_or((text.as_str(), None), |(p, q)| (p, Some(q)));
    let has_second = query_text.is_some_and(|query| query.contains('?'));
    at.ensure(!has_second, "path holds a second \"?\"", "write %3F for a literal one")?;
    let path = templates::parsed(at, path_text, args, "the path")?;
    let help = "put slashes around it: /files/{path...}";
    at.ensure(has_whole_segments(&path), "{argument...} stands for whole segments", help)?;
    let query = match query_text.filter(|q| !q.is_empty()) {
        None => None,
        Some(text) => Some(template(at, text, args, "the query")?),
    };
    // What is left when every argument is a plain letter must be a path and a query as they stand.
    let stand_in = |t: &Template| t.render(|_| "x".into());
    let literal_query = query.as_ref().map(stand_in).unwrap_or_default();
    if let Err(why) = check_path(&stand_in(&path)).and_then(|()| check_chars(&literal_query)) {
        return at.fail(format!("path {why}"), "");
    }
    let names = literal_query.split('&').filter_map(|pair| pair.split('=').next());
    names.for_each(|name| check_param(at, name, owner));
    Some((path, query))
}

/// Whether every `{name...}` has a slash before it, and behind it one or the end.
fn has_whole_segments(path: &Template) -> bool {
    let mut before = "";
    let mut pieces = path.pieces().iter().peekable();
    while let Some(piece) = pieces.next() {
        let ends_well = match pieces.peek() {
            Some(TemplatePiece::Text(text)) => text.starts_with('/'),
            Some(TemplatePiece::Arg(_) | TemplatePiece::Segments(_)) => false,
            None => true,
        };
        match piece {
            TemplatePiece::Segments(_) if !before.ends_with('/') || !ends_well => return false,
            TemplatePiece::Text(text) => before = text,
            TemplatePiece::Arg(_) | TemplatePiece::Segments(_) => before = "",
        }
    }
    true
}

fn check_param(at: At<'_>, name: &str, owner: &ToolService<'_>) {
    if owner.taken_param.as_deref() == Some(name) {
        at.error(format!("the query parameter {name} carries the credentials of the service"), "");
    }
}

fn query(at: At<'_>, args: &ArgSpecs, owner: &ToolService<'_>) -> Vec<(String, Template)> {
    let mut found = Vec::new();
    for (name, value) in at.entries() {
        if name.text().is_empty() || name.text().contains(char::is_control) {
            name.error("this is not the name of a query parameter", "");
        }
        check_param(value, name.text(), owner);
        found.extend(query_value(value, args).map(|t| (name.text().to_owned(), t)));
    }
    found
}

/// A text, one array that repeats the name, or nothing: a name without a value.
fn query_value(at: At<'_>, args: &ArgSpecs) -> Option<Template> {
    if at.is_single() && at.text()?.is_empty() {
        return Template::parse("").ok();
    }
    let text = param(at)?;
    let name = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let spec = name.and_then(|name| args.get(name));
    let holds_texts = |kind: Option<ArgType>| kind.is_none_or(ArgType::is_scalar);
    match spec.filter(|spec| spec.kind == Some(ArgType::Array)) {
        Some(spec) if spec.items.as_ref().is_none_or(|items| holds_texts(items.kind)) => {
            declared(at, &text, args)
        }
        Some(_) | None => template(at, &text, args, "the query"),
    }
}

fn headers(at: At<'_>, args: &ArgSpecs, owner: &ToolService<'_>) -> Vec<(String, Template)> {
    let mut found: Vec<(String, Template)> = Vec::new();
    for (name, value) in at.entries() {
        if let Err(why) = check_header(name.text(), owner.taken_header.as_deref()) {
            name.error(why, "");
        }
        if found.iter().any(|(other, _)| other.eq_ignore_ascii_case(name.text())) {
            name.error(format!("the header {} is given twice", name.text()), "");
        }
        let template = param(value).and_then(|text| template(value, &text, args, "a header"));
        found.extend(template.map(|t| (name.text().to_owned(), t)));
    }
    found
}

fn body_exclude(at: At<'_>, args: &ArgSpecs) -> BTreeSet<String> {
    let declared = |item: At<'_>| {
        let name = item.filled()?;
        let missing = format!("argument {} is not declared", item.shown());
        item.ensure(args.contains_key(&name), missing, "add it under args").map(|()| name)
    };
    at.items().into_iter().filter_map(declared).collect()
}
