//! The path of a request. Pure.
//!
//! Services differ in what they take for a separator or a way up: some decode before they split, some decode twice, some
//! drop what follows a `;`. So a segment with an argument in it is read in all these ways, and refused when one of them
//! leads to another resource than the path that the tool file shows.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::base::template::Piece;
use crate::base::whole_regex::WholeRegex;
use crate::model::{Call, InvalidCall};

/// Arguments: everything but RFC 3986's unreserved characters is encoded.
const DATA: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How often a segment is read: as it was meant, and decoded once and twice beyond that.
const READINGS: usize = 3;

/// A value as it stands in a URL.
pub(crate) fn data(text: &str) -> String {
    utf8_percent_encode(text, &DATA).to_string()
}

/// The path of `call` behind the service's address.
///
/// # Errors
/// [`InvalidCall::Unsendable`] names the argument with which a segment is empty, `.` or `..`, or holds a separator that
/// the argument's `validate` does not spell out, whichever way the segment is read.
pub(crate) fn path(call: &Call) -> Result<String, InvalidCall> {
    let mut path = Path { call, done: String::new(), segment: Segment::default() };
    for piece in call.tool().request.path.pieces() {
        match piece {
            Piece::Text(text) => path.push_literal(text)?,
            Piece::Arg(name) => path.push_arg(name, &call.text(name)?)?,
            Piece::Segments(name) => path.push_segments(name, &call.text(name)?)?,
        }
    }
    path.end_segment()?;
    Ok(path.done)
}

/// A path under construction. Segments are judged when they are whole: `{a}{b}` and `.{a}` can make a `..` too.
struct Path<'c> {
    call: &'c Call,
    done: String,
    segment: Segment<'c>,
}

#[derive(Default)]
struct Segment<'c> {
    /// As it is sent.
    wire: String,
    /// As it is meant.
    text: String,
    /// Separators that are admitted, by reading.
    admitted: [usize; READINGS],
    /// The last argument in it.
    arg: Option<&'c str>,
}

impl<'c> Path<'c> {
    fn push_literal(&mut self, text: &str) -> Result<(), InvalidCall> {
        for (at, part) in text.split('/').enumerate() {
            if at > 0 {
                self.next_segment()?;
            }
            let meant = percent_decode_str(part).decode_utf8_lossy();
            self.segment.push(part, &meant);
        }
        Ok(())
    }

    fn push_segments(&mut self, name: &'c str, text: &str) -> Result<(), InvalidCall> {
        for (at, part) in text.split('/').enumerate() {
            if at > 0 {
                self.next_segment()?;
            }
            self.push_arg(name, part)?;
        }
        Ok(())
    }

    fn push_arg(&mut self, name: &'c str, text: &str) -> Result<(), InvalidCall> {
        let validate = self.call.tool().args.get(name).and_then(|spec| spec.validate.as_ref());
        let fits = readings(text).is_some_and(|all| all.iter().all(|reading| is_admitted(reading, validate)));
        if !fits {
            return Err(InvalidCall::Unsendable(name.to_owned()));
        }
        self.segment.push(&data(text), text);
        self.segment.arg = Some(name);
        Ok(())
    }

    fn next_segment(&mut self) -> Result<(), InvalidCall> {
        self.end_segment()?;
        self.done.push('/');
        Ok(())
    }

    fn end_segment(&mut self) -> Result<(), InvalidCall> {
        let segment = std::mem::take(&mut self.segment);
        match segment.arg {
            Some(name) if !segment.stays_in_place() => Err(InvalidCall::Unsendable(name.to_owned())),
            Some(_) | None => {
                self.done.push_str(&segment.wire);
                Ok(())
            }
        }
    }
}

impl Segment<'_> {
    fn push(&mut self, wire: &str, text: &str) {
        self.wire.push_str(wire);
        self.text.push_str(text);
        for (count, reading) in self.admitted.iter_mut().zip(readings(text).iter().flatten()) {
            *count += separators(reading);
        }
    }

    /// Whether it is one segment that leads nowhere else. Pieces can make a separator (`%2` and `F`) that none of them
    /// holds.
    fn stays_in_place(&self) -> bool {
        let Some(all) = readings(&self.text) else { return false };
        let is_whole = |(reading, admitted): (&String, &usize)| {
            separators(reading) <= *admitted && !reading.split(is_separator).any(climbs)
        };
        all.iter().zip(&self.admitted).all(is_whole)
    }
}

/// The ways in which a service may read a text: as it is, and decoded again. None when that gives bytes that are no text:
/// overlong forms of `/` and `.` are such.
fn readings(text: &str) -> Option<[String; READINGS]> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(|t| plain(&t));
    let first = plain(text);
    let second = decoded(&first)?;
    let third = decoded(&second)?;
    Some([first, second, third])
}

/// Characters that a service may fold into ASCII (NFKC, and what Windows does to names) as what they become.
fn plain(text: &str) -> String {
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

/// Whether what stands between two separators is nothing or leads upwards: also with something behind it at which a
/// reader ends a segment or a path, as in `..;x=1`, `..?` or `..#`, or with blanks and control characters around it.
fn climbs(part: &str) -> bool {
    let name = part.split([';', '?', '#']).next().unwrap_or_default();
    matches!(name.trim_matches(|c: char| c.is_whitespace() || c.is_control()), "" | "." | "..")
}
