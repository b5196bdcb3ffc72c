//! `encoding:` and `body:` of a request.

use super::argument::ArgSpecs;
use super::at::{At, Name, Section};
use super::constant;
use super::templates::template;
use super::tree::YamlKind;
use crate::base::template::Template;
use crate::model::{ArgType, Encoding, Layout, Method, RequestSpec};

pub(crate) fn encoding(at: At<'_>) -> Option<Encoding> {
    at.choice(&Encoding::ALL.map(|encoding| (encoding.as_str(), encoding)))
}

/// Reads a layout: arguments in its texts, everything else as it stands.
pub(crate) fn layout(at: At<'_>, args: &ArgSpecs) -> Option<Layout> {
    match &at.node.kind {
        YamlKind::Text(_) => text(at, args),
        YamlKind::List(_) => {
            let nodes = at.items().into_iter().map(|item| layout(item, args));
            nodes.collect::<Option<Vec<_>>>().map(Layout::List)
        }
        YamlKind::Map(_) => {
            let members = at.entries().into_iter().map(|(name, at)| Some((member(name)?, layout(at, args)?)));
            members.collect::<Option<Vec<_>>>().map(Layout::Object)
        }
        YamlKind::Null | YamlKind::Bool(_) | YamlKind::Int(_) | YamlKind::Float => {
            constant::json(at).map(Layout::Constant)
        }
    }
}

fn member(name: Name<'_>) -> Option<String> {
    if name.text().contains(['{', '}']) {
        name.error("arguments can be used in values, not in names", "");
        return None;
    }
    Some(name.text().to_owned())
}

fn text(at: At<'_>, args: &ArgSpecs) -> Option<Layout> {
    let text = at.text()?;
    // One argument keeps its type, so any type will do.
    let name = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    match name.filter(|name| args.contains_key(*name)) {
        Some(name) => Some(Layout::Arg(name.to_owned())),
        None => template(at, &text, args, "a text").map(Layout::from),
    }
}

/// Leaves an error where encoding, body and the rest of the request contradict each other.
pub(crate) fn check(section: Section<'_>, request: &RequestSpec, args: &ArgSpecs) {
    if !check_method(section, &request.method) {
        return;
    }
    check_content_type(section, request);
    if let (Some(at), Some(_)) = (section.get("body_exclude"), &request.body) {
        let help = "only what body lays out is sent";
        at.error("body_exclude cannot be used with body", help);
    }
    let Some((at, body)) = section.get("body").zip(request.body.as_ref()) else {
        return check_bytes(section, request, args);
    };
    check_whole(at, body, args);
    match request.encoding() {
        Encoding::Json => {}
        Encoding::None => check_raw(at, body, args),
        Encoding::Form | Encoding::Multipart => check_fields(at, body, args),
    }
    check_bytes(section, request, args);
}

fn check_method(section: Section<'_>, method: &Method) -> bool {
    let encoded = section.get("encoding").filter(|at| at.text().is_some_and(|text| text != "none"));
    let sent = section.get("body").or(encoded).filter(|_| matches!(method, Method::Get | Method::Head));
    let help = "send the arguments in path and query";
    sent.is_none_or(|at| at.ensure(false, format!("{method} has no body"), help).is_some())
}

/// An argument that is the whole body must be there.
fn check_whole(at: At<'_>, body: &Layout, args: &ArgSpecs) {
    let Layout::Arg(name) = body else { return };
    if args.get(name).is_some_and(|spec| !spec.required && spec.default.is_none()) {
        let text = format!("argument {name} is the body and may be absent");
        at.error(text, "add required: true, or a default");
    }
}

fn check_raw(at: At<'_>, body: &Layout, args: &ArgSpecs) {
    let is_text = |kind: Option<ArgType>| kind.is_none_or(|kind| kind.is_scalar() || kind == ArgType::Bytes);
    let spec = match body {
        Layout::Arg(name) => args.get(name),
        _ => None,
    };
    if !spec.is_some_and(|spec| is_text(spec.kind) || spec.join.is_some()) {
        at.error("without an encoding the body is one text or bytes", "body: \"{file}\"");
    }
}

fn check_fields(at: At<'_>, body: &Layout, args: &ArgSpecs) {
    let is_section = match body {
        Layout::Object(_) => true,
        Layout::Arg(name) => args.get(name).is_some_and(|spec| spec.kind == Some(ArgType::Object)),
        Layout::Constant(_) | Layout::Text(_) | Layout::List(_) => false,
    };
    if !is_section {
        at.error("the body of a form is a section of fields", "");
    }
    if has_deep_lists(body) {
        at.error("a form holds no lists of lists or sections", "");
    }
}

fn has_deep_lists(node: &Layout) -> bool {
    match node {
        Layout::Constant(_) | Layout::Arg(_) | Layout::Text(_) => false,
        Layout::List(nodes) => nodes.iter().any(|node| matches!(node, Layout::List(_) | Layout::Object(_))),
        Layout::Object(members) => members.iter().any(|(_, node)| has_deep_lists(node)),
    }
}

/// Bytes are text in JSON, files in a multipart body, and nothing in a form.
fn check_bytes(section: Section<'_>, request: &RequestSpec, args: &ArgSpecs) {
    let Some(at) = section.get("encoding").filter(|_| request.encoding() == Encoding::Form) else { return };
    let is_bytes = |name: &&str| args.get(*name).is_some_and(|spec| spec.kind == Some(ArgType::Bytes));
    let sent = |name: &&str| !request.body_exclude.contains(*name);
    let found = match &request.body {
        Some(body) => body.args().into_iter().find(is_bytes),
        None => args.keys().map(String::as_str).filter(sent).find(is_bytes),
    };
    if let Some(name) = found {
        at.error(format!("argument {name} is bytes and cannot be sent in a form"), "use encoding: multipart");
    }
}

fn check_content_type(section: Section<'_>, request: &RequestSpec) {
    let is_it = |name: &str| name.eq_ignore_ascii_case("content-type");
    let Some((_, content_type)) = request.headers.iter().find(|(name, _)| is_it(name)) else { return };
    let Some((_, at)) = section.entries("headers").into_iter().find(|(name, _)| is_it(name.text())) else {
        return;
    };
    let encoding = request.encoding();
    if !request.has_body() || fits(content_type, encoding) {
        return;
    }
    let text = format!("this Content-Type contradicts encoding: {}", encoding.as_str());
    match request.encoding.is_some() || request.body.is_some() {
        true => at.error(text, "remove one of the two: the encoding sets it"),
        // The encoding was not asked for, and the service may not care.
        false => at.warn(text, "add encoding: json, form, multipart or none"),
    }
}

fn fits(content_type: &Template, encoding: Encoding) -> bool {
    let text = content_type.to_string().to_ascii_lowercase();
    let essence = text.split(';').next().unwrap_or_default().trim();
    match encoding {
        Encoding::Json => matches!(essence, "application/json" | "text/json") || essence.ends_with("+json"),
        Encoding::Form => essence == "application/x-www-form-urlencoded",
        Encoding::Multipart => false,
        Encoding::None => true,
    }
}

/// Leaves an error where `as` has no meaning, or gives two arguments one name.
pub(crate) fn check_names(declared: &[(Name<'_>, At<'_>)], args: &ArgSpecs, request: &RequestSpec) {
    let takes_all = request.has_body() && request.body.is_none();
    for (name, at) in declared {
        let Some(at) = at.open().get("as") else { continue };
        let Some(sent_as) = args.get(name.text()).and_then(|spec| spec.sent_as.as_deref()) else { continue };
        let others = args.iter().filter(|(other, _)| *other != name.text());
        let mut names = others
            .filter(|(other, _)| !request.body_exclude.contains(*other))
            .map(|(other, spec)| spec.sent_as.as_deref().unwrap_or(other));
        if !takes_all || request.body_exclude.contains(name.text()) {
            let text = "as renames an argument in a body of all arguments, and this one is not sent there";
            at.error(text, "remove it");
        } else if names.any(|other| other == sent_as) {
            at.error(format!("another argument is sent as {sent_as} already"), "");
        }
    }
}
