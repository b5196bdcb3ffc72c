//! The only writer to stdout. It must never panic because nobody reads.

use std::io::{self, ErrorKind};

use serde_json::Value;

use super::terminal::write;
use super::{Exit, Trouble};

/// Whether anybody still reads stdout. Commands that print without end stop at [`Audience::Gone`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    Listening,
    /// The pipe is closed; that is no error.
    Gone,
}

/// Writes `text` and a newline to stdout.
///
/// # Errors
/// When it cannot be written for another reason than a closed pipe, such as a full disk.
pub(crate) fn print(text: &str) -> Result<Audience, Trouble> {
    match write(io::stdout().lock(), text) {
        Ok(()) => Ok(Audience::Listening),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(Audience::Gone),
        Err(e) => Err(Trouble::new(Exit::FAILED, "write the output", e)),
    }
}

/// Prints the last text of a command.
pub(crate) fn finish(text: &str) -> Result<Exit, Trouble> {
    print(text).map(|_| Exit::DONE)
}

/// JSON with an indent of two. Characters that steer a terminal or hide text are written as JSON escapes, which
/// mean the same to every parser.
pub(crate) fn json(value: &Value) -> String {
    // `{:#}` of a Value is its pretty form, and cannot fail.
    safe(format!("{value:#}"))
}

/// The same in one line.
pub(crate) fn json_line(value: &Value) -> String {
    safe(value.to_string())
}

fn safe(json: String) -> String {
    if !json.contains(steers) {
        return json;
    }
    let safe = |c: char| if steers(c) { format!("\\u{:04x}", u32::from(c)) } else { c.into() };
    json.chars().map(safe).collect()
}

/// DEL, C1 controls, bidirectional and zero-width format characters; serde_json escapes C0 itself. All of them lie
/// outside ASCII's printable part, so in JSON they can only stand within strings.
fn steers(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_is_pretty_and_cannot_steer_a_terminal() {
        assert_eq!(json(&json!({"a": [1, "ü"]})), "{\n  \"a\": [\n    1,\n    \"ü\"\n  ]\n}");
        let sly = json!({"k\u{9b}": "\u{1b}[31m\u{7f}\u{9b}31m\u{202e}\u{200b}"});
        let text = json(&sly);
        assert!(!text.contains(|c: char| (c.is_control() && c != '\n') || steers(c)), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), sly);
    }
}
