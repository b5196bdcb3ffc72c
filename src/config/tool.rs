//! One tool of a tool file: everything that can be wrong with it is found here, so that a call never meets it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::argument::{self, ArgSpecs};
use super::at::{At, Name, Section};
use super::body;
use super::facts::{self, Takes};
use super::request::{self, ToolService};
use super::response;
use super::services::{HandlerKind, timeout};
use super::templates;
use crate::base::digest::Digest;
use crate::base::json::canonical;
use crate::base::template::Template;
use crate::base::whole_regex::WholeRegex;
use crate::model::{
    ArgSpec, ArgType, HttpTarget, ItemSpec, Kind, Layout, RequestSpec, Target, Tool, ToolFacts,
};

pub(crate) const DOING: &str = "cannot load tools";

/// Reads one tool. None when there is no request that could be made.
pub(crate) fn read(name: Name<'_>, at: At<'_>, owner: &ToolService<'_>) -> Option<Tool> {
    let section = at.section("description kind risk cost tokens data idempotency signature args request response extra_args timeout");
    let declared = section.entries("args");
    let args: ArgSpecs = declared.iter().filter_map(|(name, at)| argument::read(*name, *at)).collect();
    let signature = section.read("signature", |at| signature(at, &args));
    argument::check_each(&declared, &args, signature.as_ref());
    let kind = section.read("kind", kind);
    let (target, extra_args) = match owner.handler {
        HandlerKind::Http => {
            let request = section.require("request", |at| request::read(at, &args, owner))?;
            body::check_names(&declared, &args, &request);
            let response =
                section.get("response").map(|at| response::read(at, owner.taken_header.as_deref()));
            let extra_args = extra_args(name, section, &request);
            (HttpTarget { request, response: response.unwrap_or_default() }.into(), extra_args)
        }
        HandlerKind::Permit | HandlerKind::Mcp => {
            nothing_is_sent(section);
            (Target::Permit, section.get("extra_args").and_then(read_extra_args).unwrap_or(false))
        }
    };
    let mut tool = Tool {
        description: argument::description(section).unwrap_or_default(),
        service: owner.service.to_owned(),
        kind: kind.unwrap_or_else(|| target.default_kind()),
        facts: facts::read(section, name.text(), Takes { args: &args, extra: extra_args }),
        signature,
        extra_args,
        timeout: section.read("timeout", timeout),
        args,
        ..Tool::new(name.text(), target)
    };
    tool.digest = digest(&tool, &owner.url);
    advise_unused(&tool, &declared);
    Some(tool)
}

pub(crate) fn kind(at: At<'_>) -> Option<Kind> {
    at.choice(&Kind::ALL.map(|kind| (kind.as_str(), kind)))
}

/// The signature in its one spelling: cut at the commas, trimmed, put together again with `, `.
pub(crate) fn signature(at: At<'_>, args: &ArgSpecs) -> Option<Template> {
    let text = at.text()?;
    if text.trim().is_empty() {
        return None;
    }
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let has_empty = parts.iter().any(|part| part.is_empty());
    at.ensure(!has_empty, "signature has an empty part", "remove the extra comma")?;
    at.ensure(!text.contains(char::is_control), "signature holds a control character", "")?;
    let template = templates::template(at, &parts.join(", "), args, templates::SIGNATURE)?;
    let touch = template.has_touching_args();
    at.ensure(
        !touch,
        "two arguments of the signature have nothing between them",
        "put text between them: {a}.{b}",
    )?;
    template.args().for_each(|arg| signed(at, arg, args));
    Some(template)
}

/// A person reads the signature and rules are matched against it: nothing secret, nothing of free form.
fn signed(at: At<'_>, arg: &str, args: &ArgSpecs) {
    let Some(spec) = args.get(arg) else { return };
    for (unfit, word) in [(spec.free_text, "free_text"), (spec.secret, "secret")] {
        let text = format!("argument {arg} is {word} and cannot be used in the signature");
        at.ensure(!unfit, text, "take it out of the signature");
    }
}

/// Unless the owner says otherwise, arguments that are not declared are taken where there is a body to put them in.
fn extra_args(name: Name<'_>, section: Section<'_>, request: &RequestSpec) -> bool {
    let has_body = request.has_body() && request.body.is_none();
    let Some(at) = section.get("extra_args") else {
        if has_body {
            let help =
                "extra_args: refuse takes the declared arguments only, allow (the default here) takes all";
            name.warn(format!("tool {} does not say what becomes of other arguments", name.text()), help);
        }
        return has_body;
    };
    let allowed = read_extra_args(at).unwrap_or(false);
    if allowed && request.body.is_some() {
        at.error("other arguments are not part of the body that is laid out", "extra_args: refuse");
    } else if allowed && !has_body {
        at.warn("other arguments are taken but go nowhere: there is no body", "extra_args: refuse");
    }
    allowed
}

fn read_extra_args(at: At<'_>) -> Option<bool> {
    at.choice(&[("allow", true), ("refuse", false)])
}

/// The keys of a tool that say how it is called, where nobody is.
fn nothing_is_sent(section: Section<'_>) {
    for key in ["request", "response", "timeout"] {
        if let Some(at) = section.get(key) {
            at.error(format!("a tool of permits has no {key}: the agent acts itself"), "remove it");
        }
    }
}

fn advise_unused(tool: &Tool, declared: &[(Name<'_>, At<'_>)]) {
    let Some(HttpTarget { request, .. }) = tool.target.http() else { return };
    let mut used: BTreeSet<&str> = request.path.args().collect();
    used.extend(request.path_query.iter().flat_map(Template::args));
    used.extend(request.query.iter().chain(&request.headers).flat_map(|(_, t)| t.args()));
    used.extend(tool.signature.iter().flat_map(Template::args));
    used.extend(request.body.iter().flat_map(Layout::args));
    let takes_all = request.has_body() && request.body.is_none();
    let in_body = |name: &str| takes_all && !request.body_exclude.contains(name);
    for (name, _) in declared.iter().filter(|(n, _)| !used.contains(n.text()) && !in_body(n.text())) {
        name.warn(format!("argument {} of tool {} is used nowhere", name.text(), tool.name), "");
    }
}

/// Everything that decides what a call of this tool does. What was added to the files later takes part only where it is
/// used: a question that is open over an upgrade stays bound to the same digest.
fn digest(tool: &Tool, url: &str) -> Digest {
    let text = |template: &Template| template.to_string();
    let pairs =
        |items: &[(String, Template)]| items.iter().map(|(n, t)| json!([n, text(t)])).collect::<Vec<_>>();
    let args: Map<_, _> = tool.args.iter().map(|(n, spec)| (n.clone(), arg_json(spec))).collect();
    let mut all = json!({
        "service": tool.service,
        "url": url,
        "name": tool.name,
        "description": tool.description,
        "signature": tool.signature.as_ref().map(text),
        "args": args,
        "extra_args": tool.extra_args,
        "timeout": tool.timeout.map(|t| t.as_secs_f64()),
    });
    let target = match tool.target.http() {
        Some(HttpTarget { request, response }) => json!({
            "method": request.method.as_str(),
            "path": text(&request.path),
            "path_query": request.path_query.as_ref().map(text),
            "query": pairs(&request.query),
            "headers": pairs(&request.headers),
            "body_exclude": request.body_exclude,
            "wrap": response.wrap,
        }),
        None => json!({"handler": "permit"}),
    };
    if let (Some(all), Value::Object(target)) = (all.as_object_mut(), target) {
        all.extend(target);
    }
    let kind = Some(tool.kind).filter(|kind| *kind != tool.target.default_kind());
    add(&mut all, "kind", kind.map(|kind| kind.as_str().into()));
    let facts = Some(&tool.facts).filter(|facts| **facts != ToolFacts::of(&tool.name));
    add(&mut all, "facts", facts.map(ToolFacts::source));
    if let Some(HttpTarget { request, response }) = tool.target.http() {
        add(&mut all, "encoding", request.encoding.map(|encoding| encoding.as_str().into()));
        add(&mut all, "body", request.body.as_ref().map(Layout::source));
        add(&mut all, "response", response.source());
    }
    Digest::sha256(&canonical(&all).unwrap_or_else(|_| all.to_string().into_bytes()))
}

fn arg_json(spec: &ArgSpec) -> Value {
    let mut all = json!({
        "required": spec.required,
        "validate": spec.validate.as_ref().map(WholeRegex::as_str),
        "type": spec.kind.map(ArgType::as_str),
        "description": spec.description,
        "secret": spec.secret,
        "free_text": spec.free_text,
    });
    add(&mut all, "items", spec.items.as_ref().map(items_json));
    add(&mut all, "join", spec.join.as_deref().map(Value::from));
    add(&mut all, "each", spec.each.then_some(true.into()));
    add(&mut all, "default", spec.default.clone());
    add(&mut all, "as", spec.sent_as.as_deref().map(Value::from));
    all
}

fn items_json(items: &ItemSpec) -> Value {
    json!({"type": items.kind.map(ArgType::as_str), "validate": items.validate.as_ref().map(WholeRegex::as_str)})
}

fn add(all: &mut Value, name: &str, value: Option<Value>) {
    if let (Some(members), Some(value)) = (all.as_object_mut(), value) {
        members.insert(name.to_owned(), value);
    }
}
