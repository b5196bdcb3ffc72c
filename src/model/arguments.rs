//! Checks arguments against what the tool declares.

use serde_json::{Map, Value};

use super::invalid_call::{FORBIDDEN, InvalidCall, MAX_STRING};
use super::mcp_target::McpTarget;
use super::tool::{ArgSpec, ArgType, Tool};
use crate::base::bytes;
use crate::base::json::scalar_text;
use crate::base::json_schema::Misfit;
use crate::base::whole_regex::WholeRegex;

/// The most elements of a list that is judged element by element.
pub(crate) const MAX_EACH: usize = 128;

/// The longest base64 text of bytes, in bytes.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;

/// What a list that is judged element by element must be.
const EACH: &str = "a value or an array of 1 to 128 of them";

/// Brings the arguments into the one form in which they are judged, shown and sent: null counts as absent, what is
/// absent gets its default, and a single value for a list that is judged element by element becomes a list of one.
pub(super) fn normalise(tool: &Tool, args: &mut Map<String, Value>) {
    args.retain(|_, value| !value.is_null());
    for (name, spec) in &tool.args {
        if let (Some(default), false) = (&spec.default, args.contains_key(name)) {
            args.insert(name.clone(), default.clone());
        }
        if let Some(value) = args.get_mut(name) {
            listed(spec, value);
        }
    }
}

fn listed(spec: &ArgSpec, value: &mut Value) {
    if spec.each && scalar_text(value).is_some() {
        *value = Value::Array(vec![value.take()]);
    }
}

/// The default of an argument, checked as if an agent had sent it.
pub(crate) fn check_default(name: &str, spec: &ArgSpec, mut value: Value) -> Result<Value, InvalidCall> {
    listed(spec, &mut value);
    check_declared(name, spec, &value).map(|()| value)
}

/// What people and rules can rely on first, then what the server's schema says.
fn check_by_schema(tool: &Tool, mcp: &McpTarget, args: &Map<String, Value>) -> Result<(), InvalidCall> {
    for (name, value) in args {
        let spec = tool.args.get(name);
        if spec.is_none() {
            check_text(name, name, false)?;
        }
        check_strings(name, value, spec.is_some_and(|spec| spec.free_text))?;
    }
    mcp.schema.check(&mcp.arguments(args).into()).map_err(|misfit| match misfit {
        Misfit::Missing(path) => InvalidCall::Missing { argument: shortened(&path) },
        Misfit::Undeclared(path) => InvalidCall::Undeclared { argument: shortened(&path) },
        Misfit::Wrong(path, must_be) => {
            InvalidCall::WrongType { argument: shortened(&path), must_be: must_be.into() }
        }
    })
}

/// Checks first that no required argument is missing, then each argument by name.
pub(super) fn check(tool: &Tool, args: &Map<String, Value>) -> Result<(), InvalidCall> {
    if let Some(mcp) = tool.target.mcp() {
        return check_by_schema(tool, mcp, args);
    }
    let missing = tool.args.iter().find(|(name, spec)| spec.required && !args.contains_key(*name));
    if let Some((name, _)) = missing {
        return Err(InvalidCall::Missing { argument: name.clone() });
    }
    args.iter().try_for_each(|(name, value)| check_arg(tool, name, value))
}

fn check_arg(tool: &Tool, name: &str, value: &Value) -> Result<(), InvalidCall> {
    match tool.args.get(name) {
        Some(spec) => check_declared(name, spec, value),
        // Two values for one name in the body: nobody could say which one counts.
        None if tool.args.values().any(|spec| spec.sent_as.as_deref() == Some(name)) => {
            Err(InvalidCall::Undeclared { argument: shortened(name) })
        }
        None if tool.extra_args => {
            check_text(name, name, false)?;
            check_strings(name, value, false)
        }
        None => Err(InvalidCall::Undeclared { argument: shortened(name) }),
    }
}

fn check_declared(name: &str, spec: &ArgSpec, value: &Value) -> Result<(), InvalidCall> {
    match (spec.kind, value) {
        // It may be longer than other texts, and base64 has no character that is refused.
        (Some(ArgType::Bytes), Value::String(text)) if text.len() > MAX_BYTES => {
            return Err(InvalidCall::TooLong { argument: shortened(name) });
        }
        (Some(ArgType::Bytes), _) => {}
        _ => check_strings(name, value, spec.free_text)?,
    }
    check_type(name, spec, value)?;
    check_pattern(name, spec, value)?;
    check_list(name, spec, value)
}

/// An undeclared name is the agent's text, so it is cut before an error echoes it.
fn shortened(name: &str) -> String {
    name.chars().take(64).collect()
}

fn check_type(name: &str, spec: &ArgSpec, value: &Value) -> Result<(), InvalidCall> {
    let wrong = |words: &'static str| {
        Err(InvalidCall::WrongType { argument: name.to_owned(), must_be: words.into() })
    };
    if !is_of(spec.kind, value) {
        return wrong(words(spec.kind).0);
    }
    match (&spec.items, value) {
        (Some(items), Value::Array(all)) if !all.iter().all(|item| is_of(items.kind, item)) => {
            wrong(words(items.kind).1)
        }
        _ => Ok(()),
    }
}

fn is_of(kind: Option<ArgType>, value: &Value) -> bool {
    match kind {
        None => scalar_text(value).is_some(),
        Some(ArgType::String) => value.is_string(),
        Some(ArgType::Integer) => value.is_i64() || value.is_u64(),
        Some(ArgType::Number) => value.is_number(),
        Some(ArgType::Boolean) => value.is_boolean(),
        Some(ArgType::Array) => value.is_array(),
        Some(ArgType::Object) => value.is_object(),
        Some(ArgType::Bytes) => value.as_str().is_some_and(|text| bytes::decode(text).is_some()),
    }
}

/// What a value of this type is called, and an array of such values.
fn words(kind: Option<ArgType>) -> (&'static str, &'static str) {
    match kind {
        None => ("a string, a number or a boolean", "an array of strings, numbers or booleans"),
        Some(ArgType::String) => ("a string", "an array of strings"),
        Some(ArgType::Integer) => ("an integer", "an array of integers"),
        Some(ArgType::Number) => ("a number", "an array of numbers"),
        Some(ArgType::Boolean) => ("a boolean", "an array of booleans"),
        Some(ArgType::Array) => ("an array", "an array of arrays"),
        Some(ArgType::Object) => ("an object", "an array of objects"),
        Some(ArgType::Bytes) => ("bytes as base64 text", "an array of bytes"),
    }
}

fn check_pattern(name: &str, spec: &ArgSpec, value: &Value) -> Result<(), InvalidCall> {
    let fits = |pattern: &Option<WholeRegex>, value: &Value| {
        pattern.as_ref().is_none_or(|p| scalar_text(value).is_some_and(|text| p.matches(&text)))
    };
    let elements_fit = match (&spec.items, value) {
        (Some(items), Value::Array(all)) => all.iter().all(|item| fits(&items.validate, item)),
        _ => true,
    };
    match elements_fit && fits(&spec.validate, value) {
        true => Ok(()),
        false => Err(InvalidCall::NoMatch { argument: name.to_owned() }),
    }
}

/// What `each` and `join` require of a list beyond the types of its elements.
fn check_list(name: &str, spec: &ArgSpec, value: &Value) -> Result<(), InvalidCall> {
    let Value::Array(items) = value else { return Ok(()) };
    let texts = || items.iter().map(scalar_text);
    if spec.each && (!(1..=MAX_EACH).contains(&items.len()) || texts().any(|text| text.is_none())) {
        return Err(InvalidCall::WrongType { argument: name.to_owned(), must_be: EACH.into() });
    }
    let Some(join) = &spec.join else { return Ok(()) };
    for text in texts() {
        match text {
            None => {
                return Err(InvalidCall::WrongType {
                    argument: name.to_owned(),
                    must_be: words(None).1.into(),
                });
            }
            // The service would read two elements, and no rule or pattern has seen the second.
            Some(text) if text.contains(join.as_str()) => {
                return Err(InvalidCall::Forbidden { argument: name.to_owned(), char: join.chars().next() });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Every string in `value`, object keys included. Depth is bounded by the parser.
fn check_strings(name: &str, value: &Value, free: bool) -> Result<(), InvalidCall> {
    match value {
        Value::String(text) => check_text(name, text, free),
        Value::Array(items) => items.iter().try_for_each(|v| check_strings(name, v, free)),
        Value::Object(members) => members.iter().try_for_each(|(key, v)| {
            check_text(name, key, free)?;
            check_strings(name, v, free)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn check_text(name: &str, text: &str, free: bool) -> Result<(), InvalidCall> {
    if text.len() > MAX_STRING {
        return Err(InvalidCall::TooLong { argument: shortened(name) });
    }
    let refused = |c: char| match free {
        true => c.is_control() && !matches!(c, '\n' | '\r' | '\t'),
        false => c.is_control() || FORBIDDEN.contains(&c),
    };
    let found = text.chars().find(|c| refused(*c));
    found.map_or(Ok(()), |c| Err(InvalidCall::Forbidden { argument: shortened(name), char: Some(c) }))
}
