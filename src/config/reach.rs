//! Which signatures the calls of a tool can have at all, so that a rule that none of them matches is found.

use std::cell::OnceCell;

use crate::base::glob::Pattern;
use crate::base::language::Language;
use crate::base::template::{Template, TemplatePiece};
use crate::model::invalid_call::FORBIDDEN;
use crate::model::{ArgSpec, ArgType, Tool};

/// Steps spent on following all patterns together. When they are used up, a pattern counts as one that matches: advice
/// must not slow a start down.
pub(crate) const BUDGET: usize = 2_000_000;

/// The signatures of one tool.
pub(crate) struct Reach<'a> {
    pub(crate) tool: &'a Tool,
    head: String,
    language: OnceCell<Language>,
}

impl<'a> Reach<'a> {
    pub(crate) fn new(tool: &'a Tool) -> Reach<'a> {
        let head = tool.signature.as_ref().map_or_else(|| tool.name.clone(), |_| format!("{}(", tool.name));
        Reach { tool, head, language: OnceCell::new() }
    }

    /// Whether some call of the tool can have a signature that `pattern` matches. True in doubt.
    pub(crate) fn meets(&self, pattern: &Pattern, budget: &mut usize) -> bool {
        let Some(signature) = &self.tool.signature else { return pattern.matches(&self.tool.name) };
        let prefix = pattern.literal_prefix();
        if !self.head.starts_with(prefix) && !prefix.starts_with(&self.head) {
            return false;
        }
        self.is_whole_in(pattern) || self.language(signature).meets(pattern, budget)
    }

    /// Whether `pattern` matches every call of the tool.
    pub(crate) fn is_whole_in(&self, pattern: &Pattern) -> bool {
        match self.tool.signature {
            Some(_) => pattern.covers(&self.head, ")"),
            None => pattern.matches(&self.head),
        }
    }

    /// A signature as the tool file writes it, for people.
    pub(crate) fn shown(&self) -> String {
        self.tool.signature.as_ref().map_or_else(|| self.head.clone(), |s| format!("{}{s})", self.head))
    }

    fn language(&self, signature: &Template) -> &Language {
        self.language.get_or_init(|| {
            let mut language = Language::default();
            language.text(&self.head);
            signature.pieces().iter().for_each(|piece| self.add(&mut language, piece));
            language.text(")");
            language
        })
    }

    fn add(&self, language: &mut Language, piece: &TemplatePiece) {
        match piece {
            TemplatePiece::Text(text) => language.text(text),
            TemplatePiece::Arg(name) | TemplatePiece::Segments(name) => match self.tool.args.get(name) {
                Some(spec) => add_value(language, spec),
                None => language.anything_but(&FORBIDDEN),
            },
        }
    }
}

fn add_value(language: &mut Language, spec: &ArgSpec) {
    let (kind, validate) = match (&spec.items, spec.each) {
        (Some(items), true) => (items.kind, &items.validate),
        (None, true) => (None, &None),
        (_, false) => (spec.kind, &spec.validate),
    };
    let by_type = match kind {
        Some(ArgType::Integer) => Some("-?[0-9]+"),
        Some(ArgType::Number) => Some("[-+.0-9eE]+"),
        Some(ArgType::Boolean) => Some("true|false"),
        Some(ArgType::String | ArgType::Array | ArgType::Object | ArgType::Bytes) | None => None,
    };
    match validate.as_ref().map(|pattern| pattern.as_str()).or(by_type) {
        Some(pattern) => language.matching(pattern, &FORBIDDEN, !spec.required),
        None => language.anything_but(&FORBIDDEN),
    }
}
