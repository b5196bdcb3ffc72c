//! `args:` of a tool.

use std::collections::BTreeMap;

use super::at::{At, Name, Section};
use super::constant;
use crate::base::template::Template;
use crate::base::whole_regex::WholeRegex;
use crate::model::{ArgSpec, ArgType, ItemSpec, arguments};

/// The declared arguments by name.
pub(crate) type ArgSpecs = BTreeMap<String, ArgSpec>;

const KEYS: &str = "required validate type description secret free_text items join each default as";

/// The description of a tool or an argument.
pub(crate) fn description(section: Section<'_>) -> Option<String> {
    section.get("description").filter(|at| !at.is_null())?.text()
}

pub(crate) fn read(name: Name<'_>, at: At<'_>) -> Option<(String, ArgSpec)> {
    let plain = name.plain("an argument")?;
    let section = at.section(KEYS);
    let mut spec = ArgSpec {
        required: section.flag("required"),
        validate: section.read("validate", validate),
        kind: section.read("type", kind),
        description: description(section),
        secret: section.flag("secret"),
        free_text: section.flag("free_text"),
        items: section.read("items", items),
        join: section.read("join", join),
        each: section.read("each", each).unwrap_or(false),
        default: None,
        sent_as: section.read("as", sent_as),
    };
    single_values_only(section, spec.kind);
    arrays_only(section, &spec);
    spec.default = section.read("default", |at| default(at, plain, &spec));
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
        let text = format!("validate has no meaning for {}", kind.with_article());
        at.error(text, "it is matched against single values");
    }
}

fn items(at: At<'_>) -> Option<ItemSpec> {
    let section = at.section("type validate");
    let spec =
        ItemSpec { kind: section.read("type", item_kind), validate: section.read("validate", validate) };
    single_values_only(section, spec.kind);
    Some(spec)
}

/// A name in the body; in a form, brackets would nest.
fn sent_as(at: At<'_>) -> Option<String> {
    let name = at.filled()?;
    let is_plain = !name.contains(|c: char| matches!(c, '[' | ']') || c.is_control());
    at.ensure(is_plain, "as holds a bracket or a control character", "lay out the body with body: {…}")?;
    Some(name)
}

fn join(at: At<'_>) -> Option<String> {
    let text = at.text()?;
    let help = "two lists would make the same text: put something between the elements";
    at.ensure(!text.is_empty(), "join is empty", help)?;
    Some(text)
}

fn each(at: At<'_>) -> Option<bool> {
    let is_split = at.is_single() && at.text().as_deref() == Some("split");
    at.ensure(!is_split, "each: split does not exist", "agents send one call for each element")?;
    at.flag()
}

/// What has a meaning for arrays alone, and needs elements that are single values.
fn arrays_only(section: Section<'_>, spec: &ArgSpec) {
    for (key, wants_texts) in [("items", false), ("join", true), ("each", true)] {
        let Some(at) = section.get(key) else { continue };
        if spec.kind != Some(ArgType::Array) {
            at.error(format!("{key} only applies to arrays"), "add type: array");
        }
        let element = spec.items.as_ref().and_then(|items| items.kind).filter(|kind| !kind.is_scalar());
        if let (true, Some(kind)) = (wants_texts, element) {
            at.error(format!("{key} needs elements that are single values, not {}", kind.with_article()), "");
        }
    }
}

/// What a call without the argument has must be something that an agent could send.
fn default(at: At<'_>, name: &str, spec: &ArgSpec) -> Option<serde_json::Value> {
    at.ensure(!spec.required, "a required argument has no use for a default", "remove one of the two")?;
    let value = constant::json(at)?;
    at.ensure(!value.is_null(), "default has no value", "")?;
    let checked = arguments::check_default(name, spec, value);
    checked.map_or_else(|why| at.fail(format!("default does not fit: {why}"), ""), Some)
}

/// Leaves an error where `each` has no meaning: outside the signature, or on a second argument.
pub(crate) fn check_each(declared: &[(Name<'_>, At<'_>)], args: &ArgSpecs, signature: Option<&Template>) {
    let mut others: Option<&str> = None;
    let is_each = |name: &Name<'_>| args.get(name.text()).is_some_and(|spec| spec.each);
    for (name, at) in declared.iter().filter(|(name, _)| is_each(name)) {
        let Some(at) = at.open().get("each") else { continue };
        if !signature.is_some_and(|signature| signature.args().any(|arg| arg == name.text())) {
            at.error("each only applies to arguments in the signature", "add the argument to the signature");
        } else if let Some(other) = others.replace(name.text()) {
            let help = "a call is judged by the elements of one list";
            at.error(format!("each is said of {other} already"), help);
        }
    }
}
