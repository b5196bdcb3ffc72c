//! What can still be told of a frame that the strict reading refuses: how many requests it has and their ids, so that
//! whoever asked hears of the refusal. Nothing that is read here is ever acted upon.
//!
//! Each function goes over the text once, keeps no value, and does not recurse however deep the text is.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::frame::MAX_ID;
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

/// The id of the request in `text`; null when there is none, or more than one.
pub(crate) fn id(text: &str) -> Value {
    let mut de = serde_json::Deserializer::from_str(text);
    de.deserialize_map(RequestId).unwrap_or_default()
}

/// Finds the one member `id` of an object.
struct RequestId;

impl<'de> Visitor<'de> for RequestId {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut found = None;
        while let Some(is_id) = map.next_key_seed(IsId)? {
            if !is_id {
                map.next_value::<IgnoredAny>()?;
            } else if found.replace(map.next_value_seed(Echo)?).is_some() {
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
struct Echo;

impl<'de> DeserializeSeed<'de> for Echo {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Echo {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(if text.len() <= MAX_ID { text.into() } else { Value::Null })
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    /// Integers beyond 64 bits arrive here too, rounded.
    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(if number.abs() <= MAX_SAFE_INTEGER as f64 { number.into() } else { Value::Null })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        while map.next_key_seed(IsId)?.is_some() {
            map.next_value::<IgnoredAny>()?;
        }
        Ok(Value::Null)
    }
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
