//! JSON scrubbed from text to text. As a tree it could be eighty times as large, and many responses are read at once.
//!
//! Those who read JSON are stricter than those who write it: NaN, half a surrogate pair or a line break within a string
//! must not cost the whole response. What comes out is always strict JSON, and numbers stay as they were written, since
//! a double does not hold every integer.

use std::borrow::Cow;
use std::collections::HashSet;
use std::mem;

use super::scrubber::Scrubber;
use super::search::REPLACEMENT;

/// How deep a response may be nested. Frames put it a little deeper, and common readers give up at 127.
const MAX_DEPTH: u8 = 100;

/// Digits, without a power of ten, that no reader of JSON takes for infinite: the largest double has 309.
const SURELY_FINITE: usize = 300;

/// [`REPLACEMENT`] as a JSON string.
const QUOTED: &str = "\"[redacted]\"";
const _: () = assert!(QUOTED.len() == REPLACEMENT.len() + 2);

#[derive(Debug, PartialEq, Eq)]
pub(in crate::service) struct Scrubbed {
    pub(in crate::service) json: String,
    /// Whether a number that JSON or its readers cannot hold became null.
    pub(in crate::service) lost_numbers: bool,
    /// Whether half a surrogate pair became U+FFFD.
    pub(in crate::service) lost_characters: bool,
}

/// `text` as compact JSON with the strings, member names and numbers at any depth scrubbed. Of members of one object
/// whose names are equal, before or after scrubbing, the first stays. None when it is not JSON, or nested deeper than
/// [`MAX_DEPTH`].
pub(in crate::service) fn scrubbed(scrubber: &Scrubber, text: &str) -> Option<Scrubbed> {
    let out = Vec::with_capacity(text.len());
    let mut scan = Scan { scrubber, text, at: 0, out, lost_numbers: false, lost_characters: false };
    scan.value(MAX_DEPTH)?;
    scan.space();
    if scan.at < text.len() {
        return None;
    }
    let Scan { out, lost_numbers, lost_characters, .. } = scan;
    Some(Scrubbed { json: String::from_utf8(out).ok()?, lost_numbers, lost_characters })
}

struct Scan<'a> {
    scrubber: &'a Scrubber,
    text: &'a str,
    at: usize,
    out: Vec<u8>,
    lost_numbers: bool,
    lost_characters: bool,
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Skips spaces, and the next character if it is this one.
    fn take(&mut self, wanted: u8) -> bool {
        self.space();
        let there = self.peek() == Some(wanted);
        self.at += usize::from(there);
        there
    }

    /// `depth` says how much deeper it may go.
    fn value(&mut self, depth: u8) -> Option<()> {
        if self.take(b'{') {
            self.object(depth.checked_sub(1)?)
        } else if self.take(b'[') {
            self.array(depth.checked_sub(1)?)
        } else if self.take(b'"') {
            let text = self.string()?;
            self.write_text(text)
        } else {
            self.word()
        }
    }

    fn array(&mut self, depth: u8) -> Option<()> {
        let mut is_first = true;
        self.list(b'[', b']', |scan| {
            if !mem::take(&mut is_first) {
                scan.out.push(b',');
            }
            scan.value(depth)
        })
    }

    fn object(&mut self, depth: u8) -> Option<()> {
        let mut names = HashSet::new();
        self.list(b'{', b'}', |scan| scan.member(&mut names, depth))
    }

    /// What stands between brackets, of which the first is taken already.
    fn list(&mut self, open: u8, close: u8, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.out.push(open);
        if !self.take(close) {
            item(self)?;
            while !self.take(close) {
                self.take(b',').then(|| item(self))??;
            }
        }
        self.out.push(close);
        Some(())
    }

    fn member(&mut self, names: &mut HashSet<String>, depth: u8) -> Option<()> {
        self.take(b'"').then_some(())?;
        let name = self.scrubber.text(self.string()?.into_owned());
        self.take(b':').then_some(())?;
        let before = self.out.len();
        if !names.is_empty() {
            self.out.push(b',');
        }
        serde_json::to_writer(&mut self.out, &name).ok()?;
        self.out.push(b':');
        self.value(depth)?;
        if !names.insert(name) {
            self.out.truncate(before);
        }
        Some(())
    }

    fn write_text(&mut self, text: Cow<'a, str>) -> Option<()> {
        match self.scrubber.is_in_text(&text) {
            true => serde_json::to_writer(&mut self.out, &self.scrubber.text(text.into_owned())).ok(),
            false => serde_json::to_writer(&mut self.out, &*text).ok(),
        }
    }

    /// The text from here to the closing quote, with its escapes resolved.
    fn string(&mut self) -> Option<Cow<'a, str>> {
        let mut read = Cow::Borrowed("");
        loop {
            let rest = self.rest();
            let plain = rest.get(..memchr::memchr2(b'"', b'\\', rest.as_bytes())?)?;
            self.at += plain.len() + 1;
            read += plain;
            if rest.as_bytes().get(plain.len()) == Some(&b'"') {
                return Some(read);
            }
            read.to_mut().push(self.escape()?);
        }
    }

    /// The character of an escape, whose backslash is skipped already.
    fn escape(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += 1;
        Some(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => self.unit_or_pair()?,
            _ => return None,
        })
    }

    fn unit_or_pair(&mut self) -> Option<char> {
        let first = self.unit()?;
        let mut units = vec![first];
        let after = self.at;
        if (0xd800..0xdc00).contains(&first) && self.rest().starts_with("\\u") {
            self.at += 2;
            units.push(self.unit()?);
        }
        let read = char::decode_utf16(units).next()?;
        if read.is_err() {
            self.lost_characters = true;
            self.at = after;
        }
        Some(read.unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn unit(&mut self) -> Option<u16> {
        let digits = self.rest().get(..4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        self.at += 4;
        u16::from_str_radix(digits, 16).ok()
    }

    /// A number, null, true or false, or what some writers put where JSON has no number.
    fn word(&mut self) -> Option<()> {
        let ends = |c: char| c.is_ascii_whitespace() || matches!(c, ',' | ']' | '}' | ':' | '"' | '[' | '{');
        let word = self.rest().split(ends).next()?;
        self.at += word.len();
        let written = match word {
            "null" | "true" | "false" => word,
            _ if is_number(word) => self.number(word),
            _ if is_no_number(word) => self.no_number(),
            _ => return None,
        };
        self.out.extend_from_slice(written.as_bytes());
        Some(())
    }

    fn number(&mut self, word: &'a str) -> &'a str {
        if self.scrubber.is_number(word) {
            return QUOTED;
        }
        let may_be_infinite = word.len() > SURELY_FINITE || word.contains(['e', 'E']);
        if may_be_infinite && !word.parse::<f64>().is_ok_and(f64::is_finite) {
            return self.no_number();
        }
        word
    }

    fn no_number(&mut self) -> &'static str {
        self.lost_numbers = true;
        "null"
    }
}

/// The grammar of RFC 8259.
fn is_number(word: &str) -> bool {
    let unsigned = word.strip_prefix('-').unwrap_or(word);
    let (mantissa, power) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let power = power.strip_prefix(['+', '-']).unwrap_or(power);
    digits(whole) && (whole == "0" || !whole.starts_with('0')) && digits(fraction) && digits(power)
}

/// NaN and the infinities, as Python, JavaScript and C print them.
fn is_no_number(word: &str) -> bool {
    let unsigned = word.strip_prefix(['-', '+']).unwrap_or(word);
    ["nan", "inf", "infinity"].into_iter().any(|name| unsigned.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::base::secret::Secret;

    fn clean(text: &str) -> Option<String> {
        let secrets: Vec<_> =
            ["hunter22", "123456", "12.5"].into_iter().map(|s| Secret::new(s.to_owned())).collect();
        scrubbed(&Scrubber::new(&secrets), text).map(|clean| clean.json)
    }

    #[test]
    fn strings_names_and_numbers_at_any_depth() {
        let found =
            r#" {"z": ["x hunter22", {"hunter22": 123456}], "n": 1234567, "t": "1234567", "f":12.50 } "#;
        let left = r#"{"z":["x [redacted]",{"[redacted]":"[redacted]"}],"n":1234567,"t":"[redacted]7","f":"[redacted]"}"#;
        assert_eq!(clean(found).unwrap(), left);
        assert_eq!(clean(r#""hunt\u0065r22""#).unwrap(), r#""[redacted]""#, "spelled with an escape");
    }

    #[test]
    fn names_that_are_equal_or_become_equal_are_one() {
        assert_eq!(clean(r#"{"a":1,"a":[2,{"b":3}],"b":4}"#).unwrap(), r#"{"a":1,"b":4}"#);
        assert_eq!(clean(r#"{"hunter22":1,"a":2,"123456":3}"#).unwrap(), r#"{"[redacted]":1,"a":2}"#);
    }

    #[test]
    fn everything_else_stays_what_it_is() {
        let value =
            json!({"a": [], "b": {}, "c": [null, true, false, -1, 0.1, 1e300, u64::MAX, "\u{7}\"\\é😀"]});
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let copy = clean(&text).unwrap();
            assert_eq!(serde_json::from_str::<Value>(&copy).unwrap(), value);
            assert_eq!(copy.len(), value.to_string().len());
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let deep = |n| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(clean(&deep(100)).is_some());
        for text in [
            "",
            "{",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":1,}",
            "{a:1}",
            "1 2",
            "nul",
            "\"",
            "\"a",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u+123\"",
            "\"\\ud800\\u12\"",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "-",
            "0x10",
            "1é",
            "[1]]",
            "'a'",
            &deep(101),
        ] {
            assert_eq!(clean(text), None, "{text}");
        }
    }

    #[test]
    fn what_other_writers_write_is_read_and_told() {
        let read = |text: &str| {
            let Scrubbed { json, lost_numbers, lost_characters } =
                scrubbed(&Scrubber::new(&[]), text).unwrap();
            serde_json::from_str::<Value>(&json).unwrap();
            (json, lost_numbers, lost_characters)
        };
        let told = |json: &str, numbers, characters| (json.to_owned(), numbers, characters);
        let odd = read("[NaN, -Infinity,Infinity ,nan,-inf,1e999, -1E+400]");
        assert_eq!(odd, told("[null,null,null,null,null,null,null]", true, false));
        assert_eq!(read(&"9".repeat(400)), told("null", true, false));
        assert_eq!(read(r#""a\ud800b\udc00""#), told("\"a\u{fffd}b\u{fffd}\"", false, true));
        assert_eq!(read(r#""\ud800\ud83d\ude00""#), told("\"\u{fffd}😀\"", false, true));
        assert_eq!(read("\"a\n\tb\u{1}\""), told(r#""a\n\tb\u0001""#, false, false));
    }

    #[test]
    fn numbers_are_passed_on_digit_by_digit() {
        for number in ["12345678901234567890123", "-0", "0.30000000000000004", "1.50E+2", "1e-400"] {
            assert_eq!(clean(number).unwrap(), number);
        }
    }
}
