//! Tool arguments on the command line: `key=value` is text, `key:=JSON` is typed. Pure.

use serde_json::{Map, Value};

use crate::base::json::{JsonError, parse_strict};
use crate::protocol::frame::MAX_DEPTH;

/// Reads the arguments of a tool; `json_args` is the text of `--json-args`, whose members are added.
pub(crate) fn read(pairs: &[String], json_args: Option<&str>) -> Result<Map<String, Value>, String> {
    let mut args = json_args.map_or_else(|| Ok(Map::new()), object)?;
    for text in pairs {
        let (key, value) = pair(text)?;
        if args.insert(key.to_owned(), value).is_some() {
            return Err(format!("the argument {key:?} is given twice"));
        }
    }
    Ok(args)
}

/// Reads the plain `pairs` among `args` as what their tool declares them to be: `id=12` is a number where `id` is an
/// integer. What cannot be read so stays text, and the gateway says what is wrong with it.
pub(crate) fn typed<'k>(
    args: &mut Map<String, Value>,
    pairs: &[String],
    kind: impl Fn(&str) -> Option<&'k str>,
) {
    for text in pairs {
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.ends_with(':')) else {
            continue;
        };
        let wanted = match kind(name) {
            None | Some("string") => continue,
            Some(wanted) => wanted,
        };
        let fits = |read: &Value| match wanted {
            "integer" => read.is_i64() || read.is_u64(),
            "number" => read.is_number(),
            "boolean" => read.is_boolean(),
            "array" => read.is_array(),
            "object" => read.is_object(),
            _ => false,
        };
        if let Some(read) = json(value).ok().filter(fits) {
            args.insert(name.to_owned(), read);
        }
    }
}

/// Whether some plain pair reads as something other than text, so that it is worth asking what the tool declares.
pub(crate) fn may_be_typed(pairs: &[String]) -> bool {
    let plain = pairs.iter().filter_map(|text| text.split_once('=')).filter(|(name, _)| !name.ends_with(':'));
    plain.into_iter().any(|(_, value)| json(value).is_ok_and(|read| !read.is_string() && !read.is_null()))
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    match json(text).map_err(|e| format!("--json-args is not accepted: {e}"))? {
        Value::Object(args) => Ok(args),
        _ => Err("--json-args must be a JSON object".into()),
    }
}

fn pair(text: &str) -> Result<(&str, Value), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not key=value"))?;
    let (key, value) = match key.strip_suffix(':') {
        None => (key, Value::from(value)),
        Some(key) => (key, json(value).map_err(|e| format!("the value of {key:?} is not accepted: {e}"))?),
    };
    if key.is_empty() { Err(format!("{text:?} has no key")) } else { Ok((key, value)) }
}

fn json(text: &str) -> Result<Value, JsonError> {
    parse_strict(text.as_bytes(), MAX_DEPTH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn args(pairs: &[&str], json: Option<&str>) -> Result<Value, String> {
        let pairs: Vec<String> = pairs.iter().map(|p| (*p).to_owned()).collect();
        read(&pairs, json).map(Value::Object)
    }

    #[test]
    fn text_and_typed_values() {
        assert_eq!(args(&["a=1", "b:=1", "c="], None), Ok(json!({"a": "1", "b": 1, "c": ""})));
        assert_eq!(args(&["q=x=y", "e:={\"n\":[true]}"], None), Ok(json!({"q": "x=y", "e": {"n": [true]}})));
        assert_eq!(args(&["a=1"], Some("{\"b\":null}")), Ok(json!({"a": "1", "b": null})));
    }

    #[test]
    fn plain_pairs_become_what_the_tool_declares() {
        let kinds = [
            ("i", "integer"),
            ("n", "number"),
            ("b", "boolean"),
            ("l", "array"),
            ("s", "string"),
            ("i2", "integer"),
        ];
        let kind = |name: &str| kinds.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
        let pairs: Vec<String> =
            ["i=12", "n=1.5", "b=true", "l=[1]", "s=12", "i2=twelve", "free=7", "t:=\"3\""]
                .map(str::to_owned)
                .into();
        let mut args = read(&pairs, None).unwrap();
        typed(&mut args, &pairs, kind);
        let expected =
            json!({"i": 12, "n": 1.5, "b": true, "l": [1], "s": "12", "i2": "twelve", "free": "7", "t": "3"});
        assert_eq!(Value::Object(args), expected);
        assert!(may_be_typed(&pairs) && !may_be_typed(&["a=light.x".into(), "b:=1".into(), "c=null".into()]));
    }

    #[test]
    fn mistakes_are_named() {
        for (pairs, json, part) in [
            (vec!["foo"], None, "\"foo\" is not key=value"),
            (vec!["=x"], None, "no key"),
            (vec![":=1"], None, "no key"),
            (vec!["a:=x"], None, "not JSON"),
            (vec!["a:={\"k\":1,\"k\":2}"], None, "duplicate key"),
            (vec!["a:=9007199254740993"], None, "send it as text"),
            (vec!["a=1", "a=2"], None, "\"a\" is given twice"),
            (vec!["a=1"], Some("{\"a\":1}"), "\"a\" is given twice"),
            (vec![], Some("[]"), "must be a JSON object"),
            (vec![], Some("{"), "not JSON"),
        ] {
            let error = args(&pairs, json).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
