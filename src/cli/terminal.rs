//! The only writer to stderr, and what is known of the terminal. It must never panic because nobody reads.

use std::io::{self, IsTerminal as _, Write};

use rustix::termios::{QueueSelector, tcflush};

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

/// Asks a question that only `y` or `yes` says yes to. What was typed before it was on the screen is no answer.
pub(crate) fn confirm(question: &str) -> bool {
    let _ = tcflush(rustix::stdio::stdin(), QueueSelector::IFlush);
    replace_line(question);
    let mut typed = String::new();
    let read = io::stdin().read_line(&mut typed);
    read.is_ok() && matches!(typed.trim().to_lowercase().as_str(), "y" | "yes")
}

pub(crate) fn is_stdout() -> bool {
    io::stdout().is_terminal()
}

pub(crate) fn is_stderr() -> bool {
    io::stderr().is_terminal()
}

/// The width of the terminal on stdout in columns; None when there is none.
pub(crate) fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    (size.ws_col > 0).then(|| usize::from(size.ws_col))
}

/// Writes `text` and a newline.
pub(crate) fn write(mut to: impl Write, text: &str) -> io::Result<()> {
    to.write_all(format!("{text}\n").as_bytes())?;
    to.flush()
}
