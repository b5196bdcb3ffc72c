//! The shape of every error on stderr: what could not be done, why, where, and what helps.

use std::fmt;

use super::colour::{Shade, on_stderr};
use super::exit::Exit;
use super::terminal;
use crate::base::safe_text::visible;

/// The longest cause shown, in characters. Causes may come from the other side of a connection.
const MAX_CAUSE: usize = 2000;

/// Why a command failed. Lower case, no full stop.
#[derive(Debug, PartialEq)]
#[must_use]
pub(crate) struct Trouble {
    exit: Exit,
    what: String,
    cause: String,
    at: Option<String>,
    help: Option<String>,
}

impl Trouble {
    /// "could not `what`: `cause`".
    pub(crate) fn new(exit: Exit, what: impl Into<String>, cause: impl fmt::Display) -> Trouble {
        Trouble { exit, what: what.into(), cause: cause.to_string(), at: None, help: None }
    }

    /// Where it happened: a file with its line, a request.
    pub(crate) fn at(mut self, place: impl Into<String>) -> Trouble {
        self.at = Some(place.into());
        self
    }

    /// Whether there was no answer, so that nothing is known to have been done.
    pub(crate) fn is_about_connection(&self) -> bool {
        self.exit == Exit::CONNECTION
    }

    /// What to do about it.
    pub(crate) fn help(mut self, remedy: impl Into<String>) -> Trouble {
        self.help = Some(remedy.into());
        self
    }

    /// What to do about it, if anything is known to help.
    pub(crate) fn maybe_help(mut self, remedy: Option<impl Into<String>>) -> Trouble {
        self.help = remedy.map(Into::into).or(self.help);
        self
    }

    /// Prints it to stderr and returns the exit code.
    pub(crate) fn report(&self) -> Exit {
        let text = self.to_string();
        let name = "agentpass:";
        let rest = text.strip_prefix(name).unwrap_or(&text);
        terminal::note(&format!("{}{rest}", on_stderr(name, Some(Shade::Bad))));
        self.exit
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "agentpass: could not {}: {}", visible(&self.what), cause(&self.cause))?;
        if let Some(at) = &self.at {
            write!(f, "\n  at {}", visible(at))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {}", visible(help))?;
        }
        Ok(())
    }
}

/// One safe line that begins in lower case (a word such as `JSON` or `TLS` stays) and is not endless.
fn cause(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next();
    let is_word = letters.clone().next().is_none_or(|second| !second.is_uppercase());
    let first = first.map(|c| if is_word { c.to_ascii_lowercase() } else { c });
    let cut = if text.chars().nth(MAX_CAUSE).is_some() { " … (cut)" } else { "" };
    let line: String = first.into_iter().chain(letters).take(MAX_CAUSE).collect();
    visible(&line) + cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_why_where_and_what_helps() {
        let trouble =
            Trouble::new(Exit::FAILED, "run t", "No\nsuch \u{1b}[31mthing").at("request 7").help("do x");
        assert_eq!(
            trouble.to_string(),
            "agentpass: could not run t: no⟨U+000A⟩such ⟨U+001B⟩[31mthing\n  at request 7\n  help: do x"
        );
    }

    #[test]
    fn causes_begin_in_lower_case_and_end() {
        assert_eq!(cause("Denied by user"), "denied by user");
        assert_eq!(cause("TLS failed"), "TLS failed");
        assert_eq!((cause(""), cause("X")), (String::new(), "x".into()));
        assert!(cause(&"é".repeat(5000)).ends_with("é … (cut)"));
    }
}
