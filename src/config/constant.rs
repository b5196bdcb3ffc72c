//! Values in a YAML file that are handed on as JSON.

use serde_json::{Map, Number, Value};

use super::at::{At, Name};
use super::tree::YamlKind;
use crate::base::json::MAX_SAFE_INTEGER;

/// The value as JSON. Numbers are taken as agents' are: integers up to 2^53 - 1, and a number without a fraction is an
/// integer however it is written.
pub(crate) fn json(at: At<'_>) -> Option<Value> {
    json_with(at, |at| at.text())
}

/// The same, with texts read by `text`.
pub(crate) fn json_with(at: At<'_>, text: fn(At<'_>) -> Option<String>) -> Option<Value> {
    match &at.node.kind {
        YamlKind::Null => Some(Value::Null),
        YamlKind::Bool(flag) => Some(Value::Bool(*flag)),
        YamlKind::Int(number) => integer(at, *number),
        YamlKind::Float => fraction(at),
        YamlKind::Text(_) => text(at).map(Value::String),
        YamlKind::List(_) => {
            let items = at.items().into_iter().map(|item| json_with(item, text));
            items.collect::<Option<Vec<_>>>().map(Value::Array)
        }
        YamlKind::Map(_) => {
            let member =
                |(name, at): (Name<'_>, At<'_>)| Some((name.text().to_owned(), json_with(at, text)?));
            at.entries().into_iter().map(member).collect::<Option<Map<_, _>>>().map(Value::Object)
        }
    }
}

fn integer(at: At<'_>, number: i128) -> Option<Value> {
    let exact = i64::try_from(number).ok().filter(|n| n.unsigned_abs() <= MAX_SAFE_INTEGER);
    exact.map(Value::from).or_else(|| inexact(at))
}

fn fraction(at: At<'_>) -> Option<Value> {
    let number: f64 = at.text()?.parse().ok().filter(|n: &f64| n.is_finite()).or_else(|| inexact(at))?;
    match number.fract() == 0.0 {
        true if number.abs() > MAX_SAFE_INTEGER as f64 => inexact(at),
        true => Some(Value::from(number as i64)),
        false => Number::from_f64(number).map(Value::Number),
    }
}

fn inexact<T>(at: At<'_>) -> Option<T> {
    at.fail(
        format!("{} is not a number that JSON keeps exactly", at.shown()),
        "put quotes around it to make it text",
    )
}
