//! Reads the ids of the requests in a frame that the strict reader refuses, so that the peer hears of the refusal.
//! Nothing that is read here is ever acted upon.
//!
//! Each function goes over the text once, keeps no value, and does not recurse however deep the text is.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::base::json::MAX_SAFE_INTEGER;

/// What the text of a frame is at its top.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shape<'t> {
    /// Anything but an array.
    Single,
    /// An array: the text of each element.
    Batch(Vec<&'t str>),
    /// An array of more elements than were to be read.
    Wide,
}

/// The shape of `text`, or None when it is not JSON. Of an array that has more than `most` elements nothing is kept.
pub(crate) fn shape(text: &str, most: usize) -> Option<Shape<'_>> {
    match text.trim_start_matches(is_space).strip_prefix('[') {
        None => serde_json::from_str::<IgnoredAny>(text).ok().map(|_| Shape::Single),
        Some(rest) => elements(rest, most),
    }
}

fn elements(mut rest: &str, most: usize) -> Option<Shape<'_>> {
    let mut items = Vec::new();
    loop {
        let (item, behind) = first_value(rest)?;
        if items.len() == most {
            return Some(Shape::Wide);
        }
        items.push(item);
        let behind = behind.trim_start_matches(is_space);
        if let Some(end) = behind.strip_prefix(']') {
            return end.trim_start_matches(is_space).is_empty().then_some(Shape::Batch(items));
        }
        rest = behind.strip_prefix(',')?;
    }
}

/// The first JSON value of `text`, and what comes behind it.
fn first_value(text: &str) -> Option<(&str, &str)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    text.split_at_checked(values.byte_offset())
}

/// White space as JSON knows it (RFC 8259, 2).
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// The longest id that is a string, in bytes.
const MAX_ID: usize = 256;

/// Strings (of a sane length) and numbers; null, which JSON-RPC allows but nobody can match, is none.
pub(super) fn is_id(id: &Value) -> bool {
    match id {
        Value::String(text) => text.len() <= MAX_ID,
        Value::Number(_) => true,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

/// The id of the request in `text`; null when there is none, or more than one.
pub(crate) fn id(text: &str) -> Value {
    let mut de = serde_json::Deserializer::from_str(text);
    de.deserialize_map(IdVisitor).unwrap_or_default()
}

/// Finds the one member `id` of an object.
struct IdVisitor;

impl<'de> Visitor<'de> for IdVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut found = None;
        while let Some(is_id) = map.next_key_seed(IsId)? {
            if !is_id {
                map.next_value::<IgnoredAny>()?;
            } else if found.replace(echo(map.next_value::<&RawValue>()?.get())).is_some() {
                return Err(A::Error::custom("more than one id"));
            }
        }
        Ok(found.unwrap_or_default())
    }
}

/// Whether a key is `id`. As bytes, since it may be text that no string can hold.
struct IsId;

impl<'de> DeserializeSeed<'de> for IsId {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<bool, D::Error> {
        d.deserialize_bytes(self)
    }
}

impl Visitor<'_> for IsId {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<bool, E> {
        Ok(key == b"id")
    }
}

/// An id as it is echoed: null for what is none, or cannot be given back as it came.
fn echo(text: &str) -> Value {
    // A container is not even read: it may be of any depth.
    let is_plain = text.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit());
    let id = Some(text).filter(|_| is_plain).and_then(|text| serde_json::from_str(text).ok());
    id.filter(|id: &Value| is_id(id) && !is_rounded(id)).unwrap_or_default()
}

/// Integers beyond 64 bits become fractions.
fn is_rounded(id: &Value) -> bool {
    id.is_f64() && id.as_f64().is_some_and(|number| number.abs() > MAX_SAFE_INTEGER as f64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_one_id_at_the_top() {
        let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(MAX_ID + 1));
        for (text, found) in [
            (r#"{"id":7}"#, json!(7)),
            (r#"{"a":{"id":1},"id":"x","b":[{"id":2}]}"#, json!("x")),
            (r#"{"\ud800":1,"id":5}"#, json!(5)),
            (r#"{"i\u0064":5}"#, json!(5)),
            (r#"{"id":18446744073709551615}"#, json!(u64::MAX)),
            (r#"{"id":-9223372036854775808}"#, json!(i64::MIN)),
            (r#"{"id":1.5}"#, json!(1.5)),
            // Not as it came, twice, or no id at all.
            (r#"{"id":18446744073709551616}"#, json!(null)),
            (r#"{"id":1e400}"#, json!(null)),
            (r#"{"id":"\ud800"}"#, json!(null)),
            (r#"{"id":1,"id":1}"#, json!(null)),
            (r#"{"id":1,"\u0069d":2}"#, json!(null)),
            (r#"{"id":[[1]],"id":2}"#, json!(null)),
            (r#"{"id":{"id":1}}"#, json!(null)),
            (r#"{"id":true}"#, json!(null)),
            (r#"{"ID":1}"#, json!(null)),
            (r#"[{"id":1}]"#, json!(null)),
            (r#"{"id":1"#, json!(null)),
            ("7", json!(null)),
            (&long, json!(null)),
        ] {
            assert_eq!(id(text), found, "{text}");
        }
    }

    #[test]
    fn elements_are_cut_where_they_end() {
        let text = " [ {\"a\":\"],[\"} ,1e400,\"\\ud800\",[[]] , null]\n";
        let items = vec![" {\"a\":\"],[\"}", "1e400", "\"\\ud800\"", "[[]]", " null"];
        assert_eq!(shape(text, 5), Some(Shape::Batch(items)));
        assert_eq!(shape(text, 4), Some(Shape::Wide));
        assert_eq!(shape(" {} ", 1), Some(Shape::Single));
        for broken in ["", "{", "[", "[]]", "[1,]", "[1 2]", "[1] 2", "[,]", "\u{a0}1", "[\u{a0}1]"] {
            assert_eq!(shape(broken, 9), None, "{broken}");
        }
    }

    #[test]
    fn no_depth_and_no_width_is_too_much() {
        let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
        assert_eq!(shape(&deep, 1), Some(Shape::Batch(vec![&deep[1..deep.len() - 1]])));
        assert_eq!(id(&format!(r#"{{"a":{deep},"id":3,"b":{deep}}}"#)), json!(3));
        assert_eq!(id(&format!(r#"{{"id":{deep}}}"#)), json!(null));
        assert_eq!(shape(&format!("[{}1]", "1,".repeat(500_000)), 100), Some(Shape::Wide));
    }
}
