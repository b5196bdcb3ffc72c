//! The path of a request. Pure.
//!
//! Services differ in what they take for a separator or a way up: some decode before they split, some decode twice,
//! some drop what follows a `;`. So a segment with an argument is read in all these ways and refused when one of them
//! leads to another resource than the path in the tool file shows.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::base::template::{Template, TemplatePiece};
use crate::base::whole_regex::WholeRegex;
use crate::model::{Call, InvalidCall};

/// Everything but RFC 3986's unreserved characters is encoded.
const ENCODED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How often a segment is read: as it was meant, and decoded once and twice beyond that.
const READINGS: usize = 3;

/// A value as it stands in a URL.
pub(super) fn data(text: &str) -> String {
    utf8_percent_encode(text, &ENCODED).to_string()
}

/// The path of `call`, to be appended to the service's address.
///
/// # Errors
/// [`InvalidCall::Unsendable`] names the argument that makes a segment empty, `.` or `..`, or brings a separator into it that
/// the argument's `validate` does not spell out, in whichever way the segment is read.
pub(super) fn path<'c>(template: &'c Template, call: &'c Call) -> Result<String, InvalidCall> {
    let mut path = PathBuilder { call, done: String::new(), segment: PathSegment::default() };
    for piece in template.pieces() {
        match piece {
            TemplatePiece::Text(text) => path.push_parts(text, |path, part| {
                path.segment.push(part, &percent_decode_str(part).decode_utf8_lossy());
                Ok(())
            })?,
            TemplatePiece::Arg(name) => path.push_arg(name, &call.text(name)?)?,
            TemplatePiece::Segments(name) => {
                path.push_parts(&call.text(name)?, |path, part| path.push_arg(name, part))?;
            }
        }
    }
    path.end_segment()?;
    Ok(path.done)
}

/// A path under construction. Segments are judged when they are complete: `{a}{b}` and `.{a}` can make a `..` too.
struct PathBuilder<'c> {
    call: &'c Call,
    done: String,
    segment: PathSegment<'c>,
}

#[derive(Default)]
struct PathSegment<'c> {
    wire: String,
    text: String,
    /// Number of separators that are admitted, by reading.
    admitted: [usize; READINGS],
    arg: Option<&'c str>,
}

impl<'c> PathBuilder<'c> {
    /// Pushes what stands between the slashes of `text` into segments of their own.
    fn push_parts(
        &mut self,
        text: &str,
        push: impl Fn(&mut Self, &str) -> Result<(), InvalidCall>,
    ) -> Result<(), InvalidCall> {
        for (at, part) in text.split('/').enumerate() {
            if at > 0 {
                self.end_segment()?;
                self.done.push('/');
            }
            push(self, part)?;
        }
        Ok(())
    }

    fn push_arg(&mut self, name: &'c str, text: &str) -> Result<(), InvalidCall> {
        let validate = self.call.tool().args.get(name).and_then(|spec| spec.validate.as_ref());
        let fits = readings(text).is_some_and(|all| all.iter().all(|reading| is_admitted(reading, validate)));
        if !fits {
            return Err(InvalidCall::Unsendable { argument: name.to_owned() });
        }
        self.segment.push(&data(text), text);
        self.segment.arg = Some(name);
        Ok(())
    }

    fn end_segment(&mut self) -> Result<(), InvalidCall> {
        let segment = std::mem::take(&mut self.segment);
        match segment.arg {
            Some(name) if !segment.stays_in_place() => {
                Err(InvalidCall::Unsendable { argument: name.to_owned() })
            }
            Some(_) | None => {
                self.done.push_str(&segment.wire);
                Ok(())
            }
        }
    }
}

impl PathSegment<'_> {
    fn push(&mut self, wire: &str, text: &str) {
        self.wire.push_str(wire);
        self.text.push_str(text);
        for (count, reading) in self.admitted.iter_mut().zip(readings(text).iter().flatten()) {
            *count += separators(reading);
        }
    }

    /// Whether it is one segment that leads nowhere else. Pieces can make a separator together (`%2` and `F`) that none
    /// of them holds.
    fn stays_in_place(&self) -> bool {
        let Some(all) = readings(&self.text) else { return false };
        let is_whole = |(reading, admitted): (&String, &usize)| {
            separators(reading) <= *admitted && !reading.split(is_separator).any(climbs)
        };
        all.iter().zip(&self.admitted).all(is_whole)
    }
}

/// The ways in which a service may read a text: as it is, and decoded once and twice. None when decoding gives bytes
/// that are not UTF-8, as overlong forms of `/` and `.` do.
fn readings(text: &str) -> Option<[String; READINGS]> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(|t| folded(&t));
    let first = folded(text);
    let second = decoded(&first)?;
    let third = decoded(&second)?;
    Some([first, second, third])
}

/// Replaces characters that a service may fold into ASCII (NFKC, and what Windows does to names).
fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let mut folded = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{ff01}'..='\u{ff5e}' => folded.extend(char::from_u32(u32::from(c) - 0xfee0)),
            '\u{2024}' | '\u{fe52}' => folded.push('.'),
            '\u{2025}' | '\u{fe30}' => folded.push_str(".."),
            '\u{2044}' | '\u{2215}' | '\u{29f8}' => folded.push('/'),
            '\u{2100}' | '\u{2101}' | '\u{2105}' | '\u{2106}' => folded.push('/'),
            '\u{2216}' | '\u{29f5}' | '\u{fe68}' => folded.push('\\'),
            '\u{fe6a}' => folded.push('%'),
            '\u{fe54}' => folded.push(';'),
            other => folded.push(other),
        }
    }
    folded
}

fn is_separator(c: char) -> bool {
    matches!(c, '/' | '\\')
}

fn separators(text: &str) -> usize {
    text.chars().filter(|c| is_separator(*c)).count()
}

fn is_admitted(text: &str, validate: Option<&WholeRegex>) -> bool {
    let meant = |c| validate.is_some_and(|pattern| pattern.spells_out(c));
    text.chars().filter(|c| is_separator(*c)).all(meant)
}

/// Whether what stands between two separators is empty or leads upwards: also when a character at which readers end a
/// segment or a path follows, as in `..;x=1`, `..?` or `..#`, or when blanks and control characters surround it.
fn climbs(part: &str) -> bool {
    let name = part.split([';', '?', '#']).next().unwrap_or_default();
    matches!(name.trim_matches(|c: char| c.is_whitespace() || c.is_control()), "" | "." | "..")
}
