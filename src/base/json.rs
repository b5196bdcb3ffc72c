//! Strict JSON from the network, and the canonical form that digests are taken of.
//!
//! What is hashed and shown must be what is sent. So duplicate keys are refused at any depth (plain serde_json
//! lets the last one win), and so are numbers that RFC 8785 cannot tell apart: integers beyond 2^53 - 1.

use std::cell::Cell;
use std::{fmt, io};

use serde::Serialize;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

/// The largest integer that every JSON implementation keeps exactly.
pub(crate) const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Why a text is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// It is not JSON (-32700 on the wire).
    Syntax,
    /// It is JSON, but not JSON that can be taken safely (-32600): duplicate key, too deep, unsafe number, half a
    /// character. The words say what to send instead.
    Unsafe(String),
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JsonError::Syntax => f.write_str("not JSON"),
            JsonError::Unsafe(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for JsonError {}

/// The most values in one text. A mebibyte can hold half a million, which would keep a small device busy for seconds.
pub const MAX_VALUES: u32 = 20_000;

/// Reads one JSON text at most `depth` containers deep and of at most [`MAX_VALUES`] values.
///
/// # Errors
/// See [`JsonError`].
pub fn parse_strict(bytes: &[u8], depth: u8) -> Result<Value, JsonError> {
    parse_within(bytes, depth, &Cell::new(MAX_VALUES))
}

/// [`parse_strict`] for one of several texts that share a number of values; it takes its own from `left`.
///
/// # Errors
/// See [`JsonError`].
pub(crate) fn parse_within(bytes: &[u8], depth: u8, left: &Cell<u32>) -> Result<Value, JsonError> {
    let mut de = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth, left }.deserialize(&mut de).map_err(|e| why(&e))?;
    de.end().map_err(|_| JsonError::Syntax)?;
    Ok(value)
}

fn why(e: &serde_json::Error) -> JsonError {
    let text = e.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    match text {
        // The grammar allows both (RFC 8259, 6 and 8.2); serde_json has no code for them but its words.
        "number out of range" => JsonError::Unsafe(TOO_BIG.to_owned()),
        "lone leading surrogate in hex escape" | "unexpected end of hex escape" => {
            JsonError::Unsafe(HALF_A_CHARACTER.to_owned())
        }
        _ if e.is_data() => JsonError::Unsafe(text.to_owned()),
        _ => JsonError::Syntax,
    }
}

const TOO_BIG: &str = "number beyond 2^53 - 1; send it as text";
const HALF_A_CHARACTER: &str =
    "half a character (an unpaired \\ud800 to \\udfff); send text that is not cut inside one";
const TOO_DEEP: &str = "nested too deeply; send the inner part as text";
const TOO_MANY: &str = "too many values; send fewer at once, or some of them as text";

/// The RFC 8785 form: equal values have equal bytes.
///
/// # Errors
/// Never for values that came through [`parse_strict`]; the serializer's own error otherwise.
pub(crate) fn canonical(value: &Value) -> Result<Vec<u8>, serde_json::Error> {
    // The canonicalizer sorts and buffers every member anew: a fifth of what it costs to record a call.
    if is_written_canonically(value) {
        serde_json::to_vec(value)
    } else {
        serde_json_canonicalizer::to_vec(value)
    }
}

/// Whether serde_json writes RFC 8785 by itself: it sorts members by their bytes, which is their order in UTF-16 for
/// ASCII, escapes strings alike, and prints safe integers alike but not fractions.
fn is_written_canonically(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => number.as_i64().is_some_and(|n| n.unsigned_abs() <= MAX_SAFE_INTEGER),
        Value::Array(items) => items.iter().all(is_written_canonically),
        Value::Object(members) => {
            members.iter().all(|(name, member)| name.is_ascii() && is_written_canonically(member))
        }
    }
}

/// The text of a string, a number or a boolean; None for containers and null.
pub(crate) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Bytes of `text` as a JSON string, with its quotes and escapes.
pub(crate) fn text_length(text: &str) -> usize {
    let length = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0x00..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(length).sum::<usize>() + 2
}

/// Bytes of `value` as JSON.
pub(crate) fn length(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // What cannot be written counts as far as it came.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// Carries the depth and the number of values that are left.
struct Strict<'l> {
    depth: u8,
    left: &'l Cell<u32>,
}

impl<'l> Strict<'l> {
    fn deeper<E: de::Error>(&self) -> Result<u8, E> {
        self.depth.checked_sub(1).ok_or_else(|| E::custom(TOO_DEEP))
    }

    fn within(depth: u8, left: &'l Cell<u32>) -> Strict<'l> {
        Strict { depth, left }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;
    fn deserialize<D: de::Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        let left = self.left.get().checked_sub(1).ok_or_else(|| de::Error::custom(TOO_MANY))?;
        self.left.set(left);
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Value, E> {
        if v > MAX_SAFE_INTEGER { Err(too_big()) } else { Ok(v.into()) }
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Value, E> {
        if v.unsigned_abs() > MAX_SAFE_INTEGER { Err(too_big()) } else { Ok(v.into()) }
    }

    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Value, E> {
        if v.fract() != 0.0 {
            return Number::from_f64(v).map(Value::Number).ok_or_else(too_big);
        }
        if v.abs() > MAX_SAFE_INTEGER as f64 {
            return Err(too_big());
        }
        Ok(Value::from(v as i64))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Strict::within(depth, self.left))? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut members = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(Strict::within(depth, self.left))?;
            match members.entry(key) {
                Entry::Vacant(free) => drop(free.insert(value)),
                Entry::Occupied(taken) => return Err(repeated(taken.key())),
            }
        }
        Ok(Value::Object(members))
    }
}

fn too_big<E: de::Error>() -> E {
    E::custom(TOO_BIG)
}

fn repeated<E: de::Error>(key: &str) -> E {
    let shown: String = key.chars().take(SHOWN_OF_A_KEY).collect();
    E::custom(format_args!("duplicate key {shown:?}; send each key once"))
}

/// Characters of a key that an error repeats.
const SHOWN_OF_A_KEY: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Value, JsonError> {
        parse_strict(text.as_bytes(), 3)
    }

    #[test]
    fn lengths_are_those_of_what_is_written() {
        let all: String = (0u8..=0x7f).map(char::from).chain("é\u{2028}\u{9b}🦀".chars()).collect();
        assert_eq!(text_length(&all), Value::from(all.as_str()).to_string().len());
        let value = serde_json::json!({"a": [1.5, null, all]});
        assert_eq!(length(&value), value.to_string().len());
    }

    #[test]
    fn takes_json_and_nothing_else() {
        assert_eq!(parse("[1,{\"a\":[]}]").unwrap().to_string(), "[1,{\"a\":[]}]");
        for bad in ["", "{", "[1,]", "NaN", "01", "{} {}", "\u{feff}1", "'a'"] {
            assert_eq!(parse(bad), Err(JsonError::Syntax), "{bad}");
        }
        assert_eq!(parse_strict(b"\"\xff\"", 3), Err(JsonError::Syntax));
    }

    #[test]
    fn refuses_duplicates_depth_and_unsafe_numbers() {
        for bad in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            "[[[[]]]]",
            "9007199254740992",
            "-9007199254740992",
            "18446744073709551616",
            "1e300",
            "1e400",
        ] {
            assert!(matches!(parse(bad), Err(JsonError::Unsafe(_))), "{bad}");
        }
    }

    #[test]
    fn refuses_more_values_than_a_small_device_can_take() {
        let many = |count: usize| format!("[{}0]", "0,".repeat(count - 2));
        assert!(parse(&many(MAX_VALUES as usize)).is_ok());
        assert_eq!(parse(&many(MAX_VALUES as usize + 1)), Err(JsonError::Unsafe(TOO_MANY.into())));
        let left = Cell::new(3);
        assert!(parse_within(b"[1,2]", 3, &left).is_ok());
        assert!(parse_within(b"1", 3, &left).is_err());
    }

    #[test]
    fn what_the_grammar_allows_is_no_error_of_syntax() {
        for half in [
            r#""\ud83d""#,
            r#""\ud83d.""#,
            r#""\ud83d\n""#,
            r#""\ud83d\u0041""#,
            r#""\udc00""#,
            r#"{"\ud83d":1}"#,
        ] {
            assert_eq!(parse(half), Err(JsonError::Unsafe(HALF_A_CHARACTER.into())), "{half}");
        }
        assert_eq!(parse(r#""\ud83d\ude00""#).unwrap(), Value::from("😀"));
        assert_eq!(parse("1e400"), Err(JsonError::Unsafe(TOO_BIG.into())));
    }

    #[test]
    fn an_error_says_which_key_and_no_more_of_it_than_fits() {
        let said = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(said(r#"{"a\n":1,"a\n":2}"#), r#"duplicate key "a\n"; send each key once"#);
        let long = "k".repeat(10_000);
        assert!(said(&format!(r#"{{"{long}":1,"{long}":2}}"#)).len() < 200);
    }

    #[test]
    fn integral_floats_become_integers_so_that_equal_digests_mean_equal_bytes() {
        assert_eq!(parse("[1.0,1e3,-0.0]").unwrap().to_string(), "[1,1000,0]");
        assert_eq!(parse("9007199254740991").unwrap(), Value::from(MAX_SAFE_INTEGER));
        assert_eq!(parse("0.1").unwrap().to_string(), "0.1");
    }

    /// A value that depends on `seed` alone.
    fn any_value(seed: &mut u64, depth: u8) -> Value {
        let mut roll = |sides: u64| {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*seed >> 33) % sides
        };
        let text = |n: u64| char::from_u32(u32::try_from(n).unwrap()).unwrap_or('\u{e000}');
        match roll(if depth == 0 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => Value::Bool(roll(2) == 0),
            2 => Value::from(roll(1 << 31).cast_signed() - (1 << 30)),
            3 => Value::from([MAX_SAFE_INTEGER, MAX_SAFE_INTEGER + 1, u64::MAX, 1 << 60][roll(4) as usize]),
            4 => Value::from(roll(1000) as f64 / 8.0),
            5 => Value::from(format!("{}{}{}", text(roll(0x24)), text(roll(0x100)), text(roll(0x11_0000)))),
            6 => (0..roll(4)).map(|_| any_value(seed, depth - 1)).collect(),
            _ => {
                let names = (0..roll(5)).map(|_| format!("{}{}", text(roll(0x80)), text(roll(0x80))));
                let mut names: Vec<_> = names.collect();
                if roll(4) == 0 {
                    names.extend(["\u{ffff}".into(), "\u{10000}".into()]);
                }
                names.into_iter().map(|name| (name, any_value(seed, depth - 1))).collect::<Map<_, _>>().into()
            }
        }
    }

    #[test]
    fn the_short_way_to_the_canonical_form_ends_at_the_same_bytes() {
        let (mut seed, mut short) = (7, 0);
        for _ in 0..20_000 {
            let value = any_value(&mut seed, 3);
            short += usize::from(is_written_canonically(&value) && value.is_object());
            assert_eq!(canonical(&value).ok(), serde_json_canonicalizer::to_vec(&value).ok(), "{value}");
        }
        assert!(short > 200, "only {short} objects went the short way");
    }

    #[test]
    fn a_number_cannot_be_injected_as_an_object() {
        let sly = r#"{"$serde_json::private::Number":"7"}"#;
        assert!(parse(sly).unwrap().is_object());
    }
}
