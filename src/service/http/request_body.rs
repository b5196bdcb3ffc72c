//! The body of a request, in which an argument is a value, whatever it holds. Pure, but for the random boundary between
//! the parts of a multipart body.

use serde_json::{Map, Value};

use super::path::data;
use crate::base::bytes;
use crate::base::digest::to_hex;
use crate::base::ids::random_bytes;
use crate::base::json::scalar_text;
use crate::model::{ArgType, Call, Encoding, InvalidCall, Layout, RequestSpec};

pub(super) struct RequestBody {
    pub(super) bytes: Vec<u8>,
    pub(super) content_type: String,
    /// Whether it makes no sense under another content type.
    pub(super) is_bound: bool,
}

/// The body of `call`; None where `spec` has none.
///
/// # Errors
/// [`InvalidCall::Unsendable`] for an argument that the encoding cannot express: a list of lists or of objects in a form.
/// [`InvalidCall::Undeclared`] for an argument that a form would confuse with another.
pub(super) fn body(spec: &RequestSpec, call: &Call) -> Result<Option<RequestBody>, InvalidCall> {
    if !spec.has_body() {
        return Ok(None);
    }
    let layout = spec.body.clone().unwrap_or_else(|| all_arguments(spec, call));
    let body = match spec.encoding() {
        Encoding::Json => json(&layout, call),
        Encoding::Form => form(&layout, call),
        Encoding::Multipart => multipart(&layout, call),
        Encoding::None => raw(&layout, call),
    };
    body.map(Some)
}

/// The body of a tool without a layout: every argument under its name.
fn all_arguments(spec: &RequestSpec, call: &Call) -> Layout {
    let sent_as = |name: &str| call.tool().args.get(name).and_then(|spec| spec.sent_as.clone());
    let sent = call.args().keys().filter(|name| !spec.body_exclude.contains(*name));
    let members = sent.map(|name| (sent_as(name).unwrap_or_else(|| name.clone()), Layout::Arg(name.clone())));
    Layout::Object(members.collect())
}

fn json(layout: &Layout, call: &Call) -> Result<RequestBody, InvalidCall> {
    let value = value(layout, call)?.unwrap_or_else(|| Value::Object(Map::new()));
    let bytes = serde_json::to_vec(&value).map_err(|_| InvalidCall::BadRequest)?;
    Ok(RequestBody { bytes, content_type: "application/json".to_owned(), is_bound: false })
}

fn raw(layout: &Layout, call: &Call) -> Result<RequestBody, InvalidCall> {
    let Layout::Arg(name) = layout else { return Err(InvalidCall::BadRequest) };
    let text = call.text(name)?;
    let (bytes, content_type) = match is_bytes(call, name) {
        true => (decoded(name, &text)?, "application/octet-stream"),
        false => (text.into_bytes(), "text/plain; charset=utf-8"),
    };
    Ok(RequestBody { bytes, content_type: content_type.to_owned(), is_bound: false })
}

/// What a layout stands for in this call; None when it is left out.
fn value(layout: &Layout, call: &Call) -> Result<Option<Value>, InvalidCall> {
    Ok(match layout {
        Layout::Constant(value) => Some(value.clone()),
        Layout::Arg(name) => call.joined(name).map(Value::String).or_else(|| call.args().get(name).cloned()),
        Layout::Text(template) => match template.args().all(|name| call.args().contains_key(name)) {
            true => Some(call.fill(template)?.into()),
            false => None,
        },
        Layout::List(layouts) => {
            let found = layouts.iter().filter_map(|layout| value(layout, call).transpose());
            let found = found.collect::<Result<Vec<_>, _>>()?;
            (layouts.is_empty() || !found.is_empty()).then_some(Value::Array(found))
        }
        Layout::Object(members) => {
            let mut found = Map::new();
            for (name, layout) in members {
                found.extend(value(layout, call)?.map(|value| (name.clone(), value)));
            }
            (members.is_empty() || !found.is_empty()).then_some(Value::Object(found))
        }
    })
}

fn form(layout: &Layout, call: &Call) -> Result<RequestBody, InvalidCall> {
    let pair = |(name, content): (String, _)| match content {
        Content::Text(text) => Ok(format!("{}={}", data(&name), data(&text))),
        Content::File(_) => Err(InvalidCall::BadRequest),
    };
    let pairs = fields(layout, call)?.into_iter().map(pair).collect::<Result<Vec<String>, _>>()?;
    let content_type = "application/x-www-form-urlencoded".to_owned();
    Ok(RequestBody { bytes: pairs.join("&").into_bytes(), content_type, is_bound: true })
}

fn multipart(layout: &Layout, call: &Call) -> Result<RequestBody, InvalidCall> {
    let boundary = to_hex(&random_bytes::<16>().map_err(|_| InvalidCall::BadRequest)?);
    let mut bytes = Vec::new();
    for (name, content) in fields(layout, call)? {
        let name = quoted(&name);
        let (about, content) = match content {
            Content::Text(text) => (String::new(), text.into_bytes()),
            Content::File(content) => {
                (format!("; filename=\"{name}\"\r\nContent-Type: application/octet-stream"), content)
            }
        };
        let head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{about}\r\n\r\n");
        bytes.extend(head.into_bytes());
        bytes.extend(content);
        bytes.extend(b"\r\n");
    }
    bytes.extend(format!("--{boundary}--\r\n").into_bytes());
    Ok(RequestBody {
        bytes,
        content_type: format!("multipart/form-data; boundary={boundary}"),
        is_bound: true,
    })
}

/// A field's name as browsers write it (HTML, "multipart/form-data encoding algorithm").
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// The fields of a form, by name.
type Fields = Vec<(String, Content)>;

enum Content {
    Text(String),
    File(Vec<u8>),
}

fn fields(layout: &Layout, call: &Call) -> Result<Fields, InvalidCall> {
    let mut fields = Vec::new();
    match layout {
        Layout::Object(members) => {
            for (name, layout) in members {
                check_name(name, layout, call)?;
                add_layout(&mut fields, name.clone(), layout, call)?;
            }
        }
        Layout::Arg(name) => {
            let members = call.args().get(name).and_then(Value::as_object);
            for (member, value) in members.ok_or_else(|| unsendable(name))? {
                member_name("", member)
                    .and_then(|field| add_value(&mut fields, field, value))
                    .ok_or_else(|| unsendable(name))?;
            }
        }
        Layout::Constant(_) | Layout::Text(_) | Layout::List(_) => return Err(InvalidCall::BadRequest),
    }
    Ok(fields)
}

/// Some services read `a.b` and `a b` as `a_b`: a name of the agent's choice must not become a declared one.
fn check_name(name: &str, layout: &Layout, call: &Call) -> Result<(), InvalidCall> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let is_undeclared = matches!(layout, Layout::Arg(arg) if !call.tool().args.contains_key(arg));
    let is_odd = name.is_empty() || !name.chars().all(is_plain);
    match is_undeclared && is_odd {
        true => Err(InvalidCall::Undeclared { argument: name.chars().take(64).collect() }),
        false => Ok(()),
    }
}

fn add_layout(fields: &mut Fields, name: String, layout: &Layout, call: &Call) -> Result<(), InvalidCall> {
    match layout {
        Layout::Object(members) => members
            .iter()
            .try_for_each(|(member, layout)| add_layout(fields, format!("{name}[{member}]"), layout, call)),
        Layout::List(layouts) => layouts.iter().try_for_each(|layout| match layout {
            Layout::Object(_) | Layout::List(_) => Err(InvalidCall::BadRequest),
            Layout::Arg(_) | Layout::Text(_) | Layout::Constant(_) => {
                add_layout(fields, format!("{name}[]"), layout, call)
            }
        }),
        Layout::Arg(arg) if is_bytes(call, arg) && call.args().contains_key(arg) => {
            fields.push((name, Content::File(decoded(arg, &call.text(arg)?)?)));
            Ok(())
        }
        Layout::Arg(_) | Layout::Text(_) | Layout::Constant(_) => {
            let Some(value) = value(layout, call)? else { return Ok(()) };
            let error = layout.args().first().map_or(InvalidCall::BadRequest, |arg| unsendable(arg));
            if is_required(layout, call) && is_empty(&value) {
                return Err(error);
            }
            add_value(fields, name, &value).ok_or(error)
        }
    }
}

fn is_required(layout: &Layout, call: &Call) -> bool {
    matches!(layout, Layout::Arg(arg) if call.tool().args.get(arg).is_some_and(|spec| spec.required))
}

/// Whether a form would hold nothing of it, as if it had not been given.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(is_empty),
        Value::Null => true,
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Adds a value under a name, nested as far as it is. None when it could be read in two ways: a list of lists or of
/// objects, or a member's name with a bracket.
fn add_value(fields: &mut Fields, name: String, value: &Value) -> Option<()> {
    match value {
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            fields.push((name, Content::Text(scalar_text(value)?)));
        }
        Value::Array(items) => {
            for item in items {
                fields.push((format!("{name}[]"), Content::Text(scalar_text(item)?)));
            }
        }
        Value::Object(members) => {
            for (member, value) in members {
                add_value(fields, member_name(&name, member)?, value)?;
            }
        }
    }
    Some(())
}

fn member_name(name: &str, member: &str) -> Option<String> {
    let fits = !member.is_empty() && !member.contains(|c: char| matches!(c, '[' | ']') || c.is_control());
    match (fits, name) {
        (false, _) => None,
        (true, "") => Some(member.to_owned()),
        (true, name) => Some(format!("{name}[{member}]")),
    }
}

fn is_bytes(call: &Call, name: &str) -> bool {
    call.tool().args.get(name).is_some_and(|spec| spec.kind == Some(ArgType::Bytes))
}

fn decoded(name: &str, text: &str) -> Result<Vec<u8>, InvalidCall> {
    bytes::decode(text).ok_or_else(|| unsendable(name))
}

fn unsendable(name: &str) -> InvalidCall {
    InvalidCall::Unsendable { argument: name.to_owned() }
}
