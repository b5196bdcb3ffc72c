//! Texts of a tool file in which arguments stand: `{name}`.

use super::argument::ArgSpecs;
use super::at::At;
use crate::base::template::{Template, TemplatePiece};

/// The place that rules are matched against: a list stands there only when each of its elements is judged.
pub(crate) const SIGNATURE: &str = "the signature";

/// A template whose arguments are all declared texts.
pub(crate) fn template(at: At<'_>, text: &str, args: &ArgSpecs, place: &str) -> Option<Template> {
    let template = parsed(at, text, args, place)?;
    let mut pieces = template.pieces().iter();
    match pieces.find(|piece| matches!(piece, TemplatePiece::Segments(_))) {
        Some(_) => {
            at.fail(format!("{{argument...}} cannot be used in {place}"), "it stands in the path only")
        }
        None => Some(template),
    }
}

pub(crate) fn parsed(at: At<'_>, text: &str, args: &ArgSpecs, place: &str) -> Option<Template> {
    let template = declared(at, text, args)?;
    for (name, spec) in template.args().filter_map(|name| args.get_key_value(name)) {
        let is_text = match place {
            SIGNATURE => spec.each,
            _ => spec.join.is_some(),
        };
        if let Some(kind) = spec.kind.filter(|kind| !kind.is_scalar() && !is_text) {
            at.error(format!("argument {name} is {} and cannot be used in {place}", kind.with_article()), "");
        }
    }
    Some(template)
}

/// A template whose arguments are all declared.
pub(crate) fn declared(at: At<'_>, text: &str, args: &ArgSpecs) -> Option<Template> {
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(why) => return at.fail(format!("{why} in {}", at.name()), "write {argument}"),
    };
    for name in template.args().filter(|name| !args.contains_key(*name)) {
        at.error(format!("argument {name} is not declared"), "add it under args");
    }
    Some(template)
}
