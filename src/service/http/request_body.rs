//! The body of a request: an argument in it is a value, whatever it holds. Pure, but for the boundary between the parts
//! of a multipart body, which is random.

use serde_json::{Map, Value};

use super::path::data;
use crate::base::bytes;
use crate::base::digest::to_hex;
use crate::base::ids::random_bytes;
use crate::model::call::scalar_text;
use crate::model::{ArgType, Call, Encoding, InvalidCall, Node};

/// A body and what it is.
pub(crate) struct Body {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its content type.
    pub content_type: String,
    /// Whether it makes no sense under another content type.
    pub(crate) is_bound: bool,
}

/// The body of `call`; None when it has none.
///
/// # Errors
/// [`InvalidCall::Unsendable`] when an argument cannot stand in this encoding: a list of lists or of objects in a form.
/// [`InvalidCall::Undeclared`] for an argument that a form would mistake for another.
pub(crate) fn body(call: &Call) -> Result<Option<Body>, InvalidCall> {
    let request = &call.tool().request;
    if !request.has_body() {
        return Ok(None);
    }
    let layout = request.body.clone().unwrap_or_else(|| all_arguments(call));
    match request.encoding() {
        Encoding::Json => json(&layout, call).map(Some),
        Encoding::Form => form(&layout, call).map(Some),
        Encoding::Multipart => multipart(&layout, call).map(Some),
        Encoding::None => raw(&layout, call),
    }
}

/// The body of a tool that lays out none: every argument under its name.
fn all_arguments(call: &Call) -> Node {
    let tool = call.tool();
    let sent = call.args().keys().filter(|name| !tool.request.body_exclude.contains(*name));
    let named = |name: &String| tool.args.get(name).and_then(|spec| spec.sent_as.clone());
    Node::Object(
        sent.map(|name| (named(name).unwrap_or_else(|| name.clone()), Node::Arg(name.clone()))).collect(),
    )
}

fn json(layout: &Node, call: &Call) -> Result<Body, InvalidCall> {
    let value = value(layout, call)?.unwrap_or_else(|| Value::Object(Map::new()));
    let bytes = serde_json::to_vec(&value).map_err(|_| InvalidCall::BadRequest)?;
    Ok(Body { bytes, content_type: "application/json".to_owned(), is_bound: false })
}

/// One argument as it is.
fn raw(layout: &Node, call: &Call) -> Result<Option<Body>, InvalidCall> {
    let Node::Arg(name) = layout else { return Err(InvalidCall::BadRequest) };
    let text = call.text(name)?;
    let (bytes, content_type) = match is_bytes(call, name) {
        true => (decoded(name, &text)?, "application/octet-stream"),
        false => (text.into_bytes(), "text/plain; charset=utf-8"),
    };
    Ok(Some(Body { bytes, content_type: content_type.to_owned(), is_bound: false }))
}

/// What a layout stands for in this call; None when it is left out.
fn value(node: &Node, call: &Call) -> Result<Option<Value>, InvalidCall> {
    Ok(match node {
        Node::Constant(value) => Some(value.clone()),
        Node::Arg(name) => call.joined(name).map(Value::String).or_else(|| call.args().get(name).cloned()),
        Node::Text(template) => match template.args().all(|name| call.args().contains_key(name)) {
            true => Some(call.fill(template)?.into()),
            false => None,
        },
        Node::List(nodes) => {
            let found = nodes.iter().filter_map(|node| value(node, call).transpose());
            let found = found.collect::<Result<Vec<_>, _>>()?;
            (nodes.is_empty() || !found.is_empty()).then_some(Value::Array(found))
        }
        Node::Object(members) => {
            let member = |(name, node): &(String, Node)| Ok((name.clone(), value(node, call)?));
            let found = members.iter().map(member).collect::<Result<Vec<_>, InvalidCall>>()?;
            let found: Map<_, _> = found.into_iter().filter_map(|(name, v)| Some((name, v?))).collect();
            (members.is_empty() || !found.is_empty()).then_some(Value::Object(found))
        }
    })
}

/// One field of a form.
struct Field {
    name: String,
    content: Content,
}

enum Content {
    Text(String),
    File(Vec<u8>),
}

fn form(layout: &Node, call: &Call) -> Result<Body, InvalidCall> {
    let pair = |field: Field| match field.content {
        Content::Text(text) => Ok(format!("{}={}", data(&field.name), data(&text))),
        Content::File(_) => Err(InvalidCall::BadRequest),
    };
    let pairs = fields(layout, call)?.into_iter().map(pair).collect::<Result<Vec<_>, _>>()?;
    let content_type = "application/x-www-form-urlencoded".to_owned();
    Ok(Body { bytes: pairs.join("&").into_bytes(), content_type, is_bound: true })
}

fn multipart(layout: &Node, call: &Call) -> Result<Body, InvalidCall> {
    let boundary = to_hex(&random_bytes::<16>().map_err(|_| InvalidCall::BadRequest)?);
    let mut bytes = Vec::new();
    for Field { name, content } in fields(layout, call)? {
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
    Ok(Body { bytes, content_type: format!("multipart/form-data; boundary={boundary}"), is_bound: true })
}

/// A field's name as browsers write it (HTML, "multipart/form-data encoding algorithm").
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

fn fields(layout: &Node, call: &Call) -> Result<Vec<Field>, InvalidCall> {
    let mut fields = Vec::new();
    match layout {
        Node::Object(members) => {
            for (name, node) in members {
                check_name(name, node, call)?;
                add_node(&mut fields, name.clone(), node, call)?;
            }
        }
        Node::Arg(name) => match call.args().get(name) {
            Some(Value::Object(members)) => {
                for (member, value) in members {
                    add(&mut fields, member_name("", member).ok_or_else(|| unsendable(name))?, value)
                        .ok_or_else(|| unsendable(name))?;
                }
            }
            _ => return Err(unsendable(name)),
        },
        Node::Constant(_) | Node::Text(_) | Node::List(_) => return Err(InvalidCall::BadRequest),
    }
    Ok(fields)
}

/// Some services read `a.b` and `a b` as `a_b`: a name of the agent's choice must not become a declared one.
fn check_name(name: &str, node: &Node, call: &Call) -> Result<(), InvalidCall> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let is_undeclared = matches!(node, Node::Arg(arg) if !call.tool().args.contains_key(arg));
    let is_odd = name.is_empty() || !name.chars().all(is_plain);
    match is_undeclared && is_odd {
        true => Err(InvalidCall::Undeclared(name.chars().take(64).collect())),
        false => Ok(()),
    }
}

fn add_node(fields: &mut Vec<Field>, name: String, node: &Node, call: &Call) -> Result<(), InvalidCall> {
    match node {
        Node::Object(members) => members
            .iter()
            .try_for_each(|(member, node)| add_node(fields, format!("{name}[{member}]"), node, call)),
        Node::List(nodes) => nodes.iter().try_for_each(|node| match node {
            Node::Object(_) | Node::List(_) => Err(InvalidCall::BadRequest),
            Node::Arg(_) | Node::Text(_) | Node::Constant(_) => {
                add_node(fields, format!("{name}[]"), node, call)
            }
        }),
        Node::Arg(arg) if is_bytes(call, arg) && call.args().contains_key(arg) => {
            let content = Content::File(decoded(arg, &call.text(arg)?)?);
            fields.push(Field { name, content });
            Ok(())
        }
        Node::Arg(_) | Node::Text(_) | Node::Constant(_) => {
            let Some(value) = value(node, call)? else { return Ok(()) };
            let about = node.args().first().map_or(InvalidCall::BadRequest, |arg| unsendable(arg));
            if is_required(node, call) && is_empty(&value) {
                return Err(about);
            }
            add(fields, name, &value).ok_or(about)
        }
    }
}

fn is_required(node: &Node, call: &Call) -> bool {
    matches!(node, Node::Arg(arg) if call.tool().args.get(arg).is_some_and(|spec| spec.required))
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

/// Adds a value under a name, nested as far as it is. None when it cannot be said in one way only: a list of lists or of
/// objects, or a member's name that holds what nests.
fn add(fields: &mut Vec<Field>, name: String, value: &Value) -> Option<()> {
    match value {
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            fields.push(Field { name, content: Content::Text(scalar_text(value)?) });
        }
        Value::Array(items) => {
            for item in items {
                let content = Content::Text(scalar_text(item)?);
                fields.push(Field { name: format!("{name}[]"), content });
            }
        }
        Value::Object(members) => {
            for (member, value) in members {
                add(fields, member_name(&name, member)?, value)?;
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
    InvalidCall::Unsendable(name.to_owned())
}
