//! JSON scrubbed from text to text. As a tree it could be eighty times as large, and many answers are read at once.

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::scrub::{REPLACEMENT, Scrubber};

/// How deep an answer may be nested. Frames put it a little deeper, and common readers give up at 127.
const MAX_DEPTH: u8 = 100;

/// `text` as compact JSON, with the strings, member names and numbers at any depth scrubbed. Of members of one object
/// whose names are equal, then or before, the first stays. None when it is not JSON, or nested deeper than
/// [`MAX_DEPTH`].
pub fn scrubbed(scrubber: &Scrubber, text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut reader = serde_json::Deserializer::from_str(text);
    Piece { scrubber, out: &mut out, before: "", depth: MAX_DEPTH }.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    String::from_utf8(out).ok()
}

/// The next value, which is written behind `before`.
struct Piece<'a> {
    scrubber: &'a Scrubber,
    out: &'a mut Vec<u8>,
    before: &'static str,
    /// How much deeper it may go.
    depth: u8,
}

impl Piece<'_> {
    fn write<E: serde::de::Error>(self, value: impl Serialize) -> Result<(), E> {
        serde_json::to_writer(self.out, &value).map_err(E::custom)
    }

    fn number<E: serde::de::Error>(self, number: &Number) -> Result<(), E> {
        match self.scrubber.is_number(number) {
            true => self.write(REPLACEMENT),
            false => self.write(number),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Piece<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.out.extend_from_slice(self.before.as_bytes());
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Piece<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.write(())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.write(value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.number(&value.into())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.number(&value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("no number"))?;
        self.number(&number)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        match self.scrubber.is_in_text(text) {
            true => {
                let text = self.scrubber.text(text.to_owned());
                self.write(text)
            }
            false => self.write(text),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Piece { scrubber, out, depth, .. } = self;
        let depth = depth.checked_sub(1).ok_or_else(|| A::Error::custom("too deep"))?;
        out.push(b'[');
        let mut before = "";
        while items.next_element_seed(Piece { scrubber, out: &mut *out, before, depth })?.is_some() {
            before = ",";
        }
        out.push(b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Piece { scrubber, out, depth, .. } = self;
        let depth = depth.checked_sub(1).ok_or_else(|| A::Error::custom("too deep"))?;
        let mut names = HashSet::new();
        out.push(b'{');
        while let Some(name) = members.next_key::<String>()? {
            let name = scrubber.text(name);
            if names.contains(&name) {
                let mut unread = Vec::new();
                members.next_value_seed(Piece { scrubber, out: &mut unread, before: "", depth })?;
                continue;
            }
            if !names.is_empty() {
                out.push(b',');
            }
            serde_json::to_writer(&mut *out, &name).map_err(A::Error::custom)?;
            names.insert(name);
            members.next_value_seed(Piece { scrubber, out: &mut *out, before: ":", depth })?;
        }
        out.push(b'}');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::base::secret::Secret;

    fn clean(text: &str) -> Option<String> {
        let secrets: Vec<_> =
            ["hunter22", "123456", "12.5"].into_iter().map(|s| Secret::new(s.to_owned())).collect();
        scrubbed(&Scrubber::new(&secrets), text)
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
            "[1 2]",
            "{\"a\"}",
            "1 2",
            "nul",
            "\"\\ud800\"",
            "1e999",
            r#"{"a":1,"a":"\ud800"}"#,
            &deep(101),
        ] {
            assert_eq!(clean(text), None, "{text}");
        }
    }
}
