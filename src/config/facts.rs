//! What a tool file says for the policy alone: `risk`, `cost`, `tokens`, `data` and `idempotency` of a tool.

use std::collections::BTreeSet;

use super::argument::ArgSpecs;
use super::at::{At, Section};
use crate::model::tool_facts::UNTRUSTED;
use crate::model::{Amount, ArgSpec, ArgType, DataFacts, Risk, ToolFacts};

/// What a tool's facts may name: its arguments.
#[derive(Clone, Copy)]
pub(crate) struct Takes<'a> {
    pub args: &'a ArgSpecs,
    /// Whether there may be others.
    pub extra: bool,
}

/// Reads the facts of the tool with this name.
pub(crate) fn read(section: Section<'_>, name: &str, takes: Takes<'_>) -> ToolFacts {
    let unsaid = ToolFacts::of(name);
    ToolFacts {
        risk: section.read("risk", risk).unwrap_or(unsaid.risk),
        cost: section.read("cost", |at| amount(at, takes)).unwrap_or(unsaid.cost),
        tokens: section.read("tokens", |at| amount(at, takes)).unwrap_or(unsaid.tokens),
        data: section.read("data", |at| data(at, takes)),
        key_required: section.read("idempotency", |at| at.choice(&[("required", ())])).is_some(),
    }
}

pub(crate) fn risk(at: At<'_>) -> Option<Risk> {
    at.choice(&Risk::ALL.map(|risk| (risk.as_str(), risk)))
}

/// A number, or the argument that holds it.
fn amount(at: At<'_>, takes: Takes<'_>) -> Option<Amount> {
    if at.is_single() {
        return at.amount().map(Amount::Fixed);
    }
    let name = argument(at, takes, "a number", |spec| {
        matches!(spec.kind, None | Some(ArgType::Integer | ArgType::Number))
    })?;
    let is_secret = takes.args.get(&name).is_some_and(|spec| spec.secret);
    let text = format!("argument {name} is secret, and amounts stand in the record");
    at.ensure(!is_secret, text, "remove secret: true, or give a number")?;
    Some(Amount::Arg(name))
}

fn data(at: At<'_>, takes: Takes<'_>) -> Option<DataFacts> {
    let section = at.section("from labels untrusted to domain fields records");
    let lists = |spec: &ArgSpec| spec.kind == Some(ArgType::Array);
    let receives = |spec: &ArgSpec| matches!(spec.kind, None | Some(ArgType::String | ArgType::Array));
    let counts = |spec: &ArgSpec| {
        matches!(spec.kind, None | Some(ArgType::Integer | ArgType::Number | ArgType::Array))
    };
    let mut facts = DataFacts {
        from: section.read("from", word),
        labels: section.get("labels").map(|at| words(at, "the tool has no labels")).unwrap_or_default(),
        to: section.read("to", word),
        domain: section.read("domain", |at| argument(at, takes, "a receiver", receives)),
        fields: section.read("fields", |at| argument(at, takes, "a list of names", lists)),
        records: section.read("records", |at| argument(at, takes, "a number or a list", counts)),
    };
    if section.flag("untrusted") {
        facts.labels.insert(UNTRUSTED.to_owned());
    }
    if section.get("to").is_none() {
        let bounds = ["domain", "fields", "records"].into_iter().filter_map(|key| section.key(key));
        bounds.for_each(|key| {
            key.error(
                format!("{} has no meaning without to", key.text()),
                "name the destination: to: webhook",
            )
        });
    }
    let says_something =
        ["from", "labels", "untrusted", "to"].into_iter().any(|key| section.get(key).is_some());
    at.ensure(says_something, "data says neither what is read nor where it goes", "add from, labels or to")?;
    Some(facts)
}

/// The words of a list that means nothing when it is empty.
pub(crate) fn words(at: At<'_>, so: &str) -> BTreeSet<String> {
    let items = at.one_or_more();
    let help = format!("remove {}", at.name());
    at.ensure(!items.is_empty(), format!("{} is empty, so that {so}", at.name()), &help);
    items.into_iter().filter_map(word).collect()
}

/// A name of data: a source, a label, a destination.
pub(crate) fn word(at: At<'_>) -> Option<String> {
    let text = at.filled()?;
    let fits = text.trim() == text && text.chars().count() <= 64 && !text.contains(char::is_control);
    let help = "use at most 64 characters, without spaces around them";
    at.ensure(fits, format!("{} is not a name for data", at.shown()), help)?;
    Some(text)
}

/// `{arg: name}`: an argument that can hold `what`.
fn argument(at: At<'_>, takes: Takes<'_>, what: &str, fits: impl Fn(&ArgSpec) -> bool) -> Option<String> {
    let at = at.section("arg").need("arg")?;
    let name = at.filled()?;
    match takes.args.get(&name) {
        None if takes.extra => {}
        None => return at.fail(format!("argument {name} is not declared"), "add it under args"),
        Some(spec) if fits(spec) => {}
        Some(spec) => {
            let kind = spec.kind.map_or("a single value", ArgType::with_article);
            return at.fail(format!("argument {name} is {kind} and cannot hold {what}"), "");
        }
    }
    Some(name)
}
