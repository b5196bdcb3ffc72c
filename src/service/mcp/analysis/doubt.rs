//! One finding about a tool.

use crate::base::safe_text::visible;

/// The most of a server's text that a finding repeats, in characters.
const SHOWN: usize = 80;

/// How much a finding weighs, the heaviest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// The tool cannot be used.
    Unusable,
    /// It speaks to the model, or of what is none of its business.
    Warning,
    /// Worth knowing.
    Note,
}

impl Weight {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Weight::Unusable => "unusable",
            Weight::Warning => "warning",
            Weight::Note => "note",
        }
    }
}

pub(crate) struct Doubt {
    pub weight: Weight,
    /// For programs.
    pub code: &'static str,
    /// Where in the tool's definition.
    pub place: String,
    pub text: String,
}

impl Doubt {
    pub(super) fn new(weight: Weight, code: &'static str, place: &str, text: impl Into<String>) -> Doubt {
        Doubt { weight, code, place: shown(place), text: text.into() }
    }
}

/// A server's text as a finding has it.
pub(super) fn shown(text: &str) -> String {
    let short: String = text.chars().take(SHOWN).collect();
    let mark = if short.len() < text.len() { "…" } else { "" };
    format!("{}{mark}", visible(&short))
}
