//! Colour for people: on a terminal that has it, unless `NO_COLOR` says otherwise. It adds to words, and never stands
//! for one.

use std::env;

use super::terminal;

/// What a word means: allowed, done or up; denied, failed or down; waiting for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shade {
    Good,
    Bad,
    Open,
}

impl Shade {
    /// The shade of a decision or an outcome as the record names it.
    pub(crate) fn for_word(word: &str) -> Option<Shade> {
        match word {
            "allow" | "executed" | "permitted" | "approved" | "resolved" | "up" => Some(Shade::Good),
            "deny" | "denied" | "failed" | "unknown" | "DOWN" => Some(Shade::Bad),
            "ask" | "pending" => Some(Shade::Open),
            _ => None,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Shade::Good => "32",
            Shade::Bad => "31",
            Shade::Open => "33",
        }
    }
}

/// `text` in the colour of `shade`, where stdout shows colours.
pub(crate) fn on_stdout(text: &str, shade: Option<Shade>) -> String {
    painted(text, shade.filter(|_| terminal::is_stdout() && wanted()))
}

/// The same for stderr.
pub(crate) fn on_stderr(text: &str, shade: Option<Shade>) -> String {
    painted(text, shade.filter(|_| terminal::is_stderr() && wanted()))
}

fn painted(text: &str, shade: Option<Shade>) -> String {
    match shade {
        Some(shade) => format!("\x1b[{}m{text}\x1b[0m", shade.code()),
        None => text.to_owned(),
    }
}

/// See no-color.org.
fn wanted() -> bool {
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && env::var_os("TERM").is_some_and(|term| term != "dumb" && !term.is_empty())
}
