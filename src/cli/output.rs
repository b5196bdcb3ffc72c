//! The only writer to stdout and stderr. It must never panic because nobody reads.

use std::io::{self, ErrorKind, IsTerminal as _, Write};

use serde_json::Value;

use super::{Exit, Trouble};

/// Whether anybody still reads stdout. Commands that print without end stop at [`Audience::Gone`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// It was written.
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

/// Writes `text` and a newline to stderr; if that fails there is nobody left to tell.
pub(crate) fn note(text: &str) {
    write(io::stderr().lock(), text).ok();
}

/// Replaces the current line of the terminal on stderr; an empty text clears it.
pub(crate) fn replace_line(text: &str) {
    let mut stderr = io::stderr().lock();
    stderr.write_all(format!("\r\x1b[K{text}").as_bytes()).and_then(|()| stderr.flush()).ok();
}

/// Writes over the beginning of the current line of the terminal on stderr; what is typed behind it stays.
pub(crate) fn update_line(text: &str) {
    let mut stderr = io::stderr().lock();
    stderr.write_all(format!("\x1b7\r{text}\x1b8").as_bytes()).and_then(|()| stderr.flush()).ok();
}

/// Puts a line above the current one of the terminal on stderr; what is typed there stays. `text` must fit.
pub(crate) fn line_above(text: &str) {
    let mut stderr = io::stderr().lock();
    // Make room below and come back; insert a line here, write on it, return to the column one line lower.
    let moves = format!("\x1bD\x1b[A\x1b7\x1b[L\r{text}\x1b8\x1b[B");
    stderr.write_all(moves.as_bytes()).and_then(|()| stderr.flush()).ok();
}

/// Whether a person looks at stdout.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether a person looks at stderr.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

fn write(mut to: impl Write, text: &str) -> io::Result<()> {
    to.write_all(format!("{text}\n").as_bytes())?;
    to.flush()
}

/// JSON with an indent of two. Characters that steer a terminal or hide text are written as JSON escapes, which
/// mean the same to every parser.
pub(crate) fn json(value: &Value) -> String {
    // `{:#}` of a Value is its pretty form, and cannot fail.
    let pretty = format!("{value:#}");
    if !pretty.contains(steers) {
        return pretty;
    }
    let mut safe = String::with_capacity(pretty.len());
    for c in pretty.chars() {
        if steers(c) {
            safe.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            safe.push(c);
        }
    }
    safe
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
