//! `args:` of a tool.

use std::collections::BTreeMap;

use super::at::{At, Name, Section};
use super::constant;
use crate::base::template::Template;
use crate::base::whole_regex::WholeRegex;
use crate::model::{ArgSpec, ArgType, ItemSpec, arguments};

/// The declared arguments.
pub(crate) type Args = BTreeMap<String, ArgSpec>;

const KEYS: [&str; 11] = [
    "required",
    "validate",
    "type",
    "description",
    "secret",
    "free_text",
    "items",
    "join",
    "each",
    "default",
    "as",
];

/// The description of a tool or an argument.
pub(crate) fn description(section: Section<'_>) -> Option<String> {
    section.get("description").filter(|at| !at.is_null())?.text()
}

/// Reads one argument.
pub(crate) fn read(name: Name<'_>, at: At<'_>) -> Option<(String, ArgSpec)> {
    let plain = name.plain("an argument")?;
    let section = at.section(&KEYS);
    let flag = |key| section.get(key).and_then(At::flag).unwrap_or(false);
    let mut spec = ArgSpec {
        required: flag("required"),
        validate: section.get("validate").and_then(validate),
        kind: section.get("type").and_then(kind),
        description: description(section),
        secret: flag("secret"),
        free_text: flag("free_text"),
        items: section.get("items").and_then(items),
        join: section.get("join").and_then(join),
        each: section.get("each").and_then(each).unwrap_or(false),
        default: None,
        sent_as: section.get("as").and_then(sent_as),
    };
    single_values_only(section, spec.kind);
    arrays_only(section, &spec);
    spec.default = section.get("default").and_then(|at| default(at, plain, &spec));
    Some((plain.to_owned(), spec))
}

fn kind(at: At<'_>) -> Option<ArgType> {
    at.choice(&ArgType::ALL.map(|kind| (kind.as_str(), kind)))
}

fn item_kind(at: At<'_>) -> Option<ArgType> {
    let kinds = ArgType::ALL.into_iter().filter(|kind| *kind != ArgType::Bytes);
    at.choice(&kinds.map(|kind| (kind.as_str(), kind)).collect::<Vec<_>>())
}

fn validate(at: At<'_>) -> Option<WholeRegex> {
    let pattern = WholeRegex::new(&at.filled()?);
    pattern.map_or_else(|why| at.fail(format!("validate is not a usable pattern: {why}"), ""), Some)
}

fn single_values_only(section: Section<'_>, kind: Option<ArgType>) {
    if let (Some(at), Some(kind)) = (section.get("validate"), kind.filter(|kind| !kind.is_scalar())) {
        at.error(
            format!("validate has no meaning for {}", kind.with_article()),
            "it is matched against single values",
        );
    }
}

fn items(at: At<'_>) -> Option<ItemSpec> {
    let section = at.section(&["type", "validate"]);
    let spec = ItemSpec {
        kind: section.get("type").and_then(item_kind),
        validate: section.get("validate").and_then(validate),
    };
    single_values_only(section, spec.kind);
    Some(spec)
}

/// A name in the body; in a form, brackets would nest.
fn sent_as(at: At<'_>) -> Option<String> {
    let name = at.filled()?;
    match name.contains(|c: char| matches!(c, '[' | ']') || c.is_control()) {
        true => at.fail("as holds a bracket or a control character", "lay out the body with body: {…}"),
        false => Some(name),
    }
}

fn join(at: At<'_>) -> Option<String> {
    let text = at.text()?;
    match text.is_empty() {
        true => {
            at.fail("join is empty", "two lists would make the same text: put something between the elements")
        }
        false => Some(text),
    }
}

fn each(at: At<'_>) -> Option<bool> {
    match at.is_single().then(|| at.text()).flatten().as_deref() {
        Some("split") => at.fail("each: split does not exist", "agents send one call for each element"),
        _ => at.flag(),
    }
}

/// What has a meaning for arrays alone, and needs elements that are single values.
fn arrays_only(section: Section<'_>, spec: &ArgSpec) {
    for (key, wants_texts) in [("items", false), ("join", true), ("each", true)] {
        let Some(at) = section.get(key) else { continue };
        if spec.kind != Some(ArgType::Array) {
            at.error(format!("{key} has a meaning for arrays only"), "add type: array");
        }
        let element = spec.items.as_ref().and_then(|items| items.kind).filter(|kind| !kind.is_scalar());
        if let (true, Some(kind)) = (wants_texts, element) {
            at.error(format!("{key} needs elements that are single values, not {}", kind.with_article()), "");
        }
    }
}

/// The value that a call has without a word from the agent must be one that an agent could send.
fn default(at: At<'_>, name: &str, spec: &ArgSpec) -> Option<serde_json::Value> {
    if spec.required {
        return at.fail("a required argument has no use for a default", "remove one of the two");
    }
    let value = constant::json(at)?;
    if value.is_null() {
        return at.fail("default has no value", "");
    }
    match arguments::check_default(name, spec, value) {
        Ok(value) => Some(value),
        Err(why) => at.fail(format!("default does not fit: {why}"), ""),
    }
}

/// Leaves an error where `each` has no meaning: on an argument outside the signature, on more than one.
pub(crate) fn check_each(declared: &[(Name<'_>, At<'_>)], args: &Args, signature: Option<&Template>) {
    let mut others: Option<&str> = None;
    for (name, at) in declared.iter().filter(|(name, _)| args.get(name.text()).is_some_and(|spec| spec.each))
    {
        let Some(at) = at.open().get("each") else { continue };
        if !signature.is_some_and(|signature| signature.args().any(|arg| arg == name.text())) {
            at.error("each has no meaning outside the signature", "add the argument to the signature");
        } else if let Some(other) = others.replace(name.text()) {
            at.error(
                format!("each is said of {other} already"),
                "a call is judged by the elements of one list",
            );
        }
    }
}
