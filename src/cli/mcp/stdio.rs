//! Lines on standard input and output.

use std::io::{BufRead, BufReader, Read as _, stdin};

use smol::channel::{Receiver, Sender, bounded};
use smol::{Task, unblock};

use crate::base::safe_text::visible;
use crate::cli::output::{Audience, print};

/// The longest line taken, in bytes.
const MAX_LINE: usize = 16 << 20;
/// Answers that may wait to be written.
const BACKLOG: usize = 64;

/// What stands on a line.
pub(super) enum Line {
    Bytes(Vec<u8>),
    TooLong,
}

/// The lines of the input that are not blank, until it ends.
pub(super) fn lines() -> Receiver<Line> {
    let (send, lines) = bounded(1);
    let read = move || {
        let mut input = BufReader::new(stdin());
        loop {
            match line(&mut input) {
                Ok(Some(Line::Bytes(line))) if line.iter().all(u8::is_ascii_whitespace) => {}
                Ok(Some(line)) => match send.send_blocking(line) {
                    Ok(()) => {}
                    Err(_) => return,
                },
                Ok(None) => return,
                Err(e) => return log::error!("the input cannot be read: {}", visible(&e.to_string())),
            }
        }
    };
    unblock(read).detach();
    lines
}

/// One line; None at the end. Of one that is too long no more is kept than may be.
fn line(input: &mut impl BufRead) -> std::io::Result<Option<Line>> {
    let mut line = Vec::new();
    input.take(MAX_LINE as u64).read_until(b'\n', &mut line)?;
    if line.ends_with(b"\n") || line.len() < MAX_LINE {
        return Ok((!line.is_empty()).then_some(Line::Bytes(line)));
    }
    drop(line);
    loop {
        let found = input.fill_buf()?;
        match found.iter().position(|byte| *byte == b'\n') {
            _ if found.is_empty() => return Ok(Some(Line::TooLong)),
            None => {
                let all = found.len();
                input.consume(all);
            }
            Some(at) => {
                input.consume(at + 1);
                return Ok(Some(Line::TooLong));
            }
        }
    }
}

/// Where answers go, one a line, and the task that writes them until all senders are gone or nobody reads.
pub(super) fn writer() -> (Sender<String>, Task<()>) {
    let (send, answers) = bounded::<String>(BACKLOG);
    let write = move || {
        while let Ok(answer) = answers.recv_blocking() {
            match print(&answer) {
                Ok(Audience::Listening) => {}
                Ok(Audience::Gone) => return,
                Err(e) => return log::error!("{e}"),
            }
        }
    };
    (send, unblock(write))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        let long = "x".repeat(MAX_LINE + 10);
        let text = format!("a\n\n{long}\nb\n{long}");
        let mut input = BufReader::new(text.as_bytes());
        let mut all = Vec::new();
        while let Some(line) = line(&mut input).unwrap() {
            all.push(match line {
                Line::Bytes(line) => String::from_utf8(line).unwrap(),
                Line::TooLong => "(too long)".to_owned(),
            });
        }
        assert_eq!(all, ["a\n", "\n", "(too long)", "b\n", "(too long)"]);
    }
}
