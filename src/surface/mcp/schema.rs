//! The list of tools as MCP has it. One definition that a client cannot read makes it drop the whole list, so what is not
//! certain to be read everywhere is left out: the gateway checks every argument anyway.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::model::{ArgSpec, ArgType, ItemSpec, Kind, Tool};

/// The longest name that all clients take.
const MAX_NAME: usize = 48;

/// Whether a tool can be offered under its name.
pub(crate) fn fits(name: &str) -> bool {
    let usual = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(usual) && !name.starts_with("agentpass_")
}

/// The elements of `tools`, joined by commas, in the order of their names.
pub(super) fn list(tools: &[Arc<Tool>]) -> String {
    let mut tools: Vec<_> = tools.iter().filter(|tool| fits(&tool.name)).collect();
    tools.sort_by(|a, b| a.name.cmp(&b.name));
    tools.iter().map(|tool| definition(tool).to_string()).collect::<Vec<_>>().join(",")
}

fn definition(tool: &Tool) -> Value {
    let description = if tool.description.is_empty() { &tool.name } else { &tool.description };
    let properties: Map<_, _> = tool.args.iter().map(|(name, spec)| (name.clone(), argument(spec))).collect();
    let required: Vec<_> = tool.args.iter().filter(|(_, spec)| spec.required).map(|(name, _)| name).collect();
    json!({
        "name": tool.name,
        "description": description,
        "inputSchema": {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": tool.extra_args,
        },
        "annotations": {"readOnlyHint": !tool.kind.has_side_effects(), "destructiveHint": destroys(tool.kind)},
    })
}

/// Kinds that can do what cannot be taken back.
fn destroys(kind: Kind) -> bool {
    match kind {
        Kind::Delete | Kind::Pay | Kind::Deploy | Kind::Execute | Kind::Admin => true,
        Kind::Read | Kind::Write | Kind::Send | Kind::Export => false,
    }
}

fn argument(spec: &ArgSpec) -> Value {
    let value = described(spec.kind, spec.validate.as_ref().map(|v| v.as_str()));
    let mut schema = match (&spec.items, spec.each) {
        (Some(items), false) => json!({"type": "array", "items": item(items)}),
        (Some(items), true) => json!({"anyOf": [item(items), {"type": "array", "items": item(items)}]}),
        (None, _) => Value::from(value),
    };
    if let Some(members) = schema.as_object_mut() {
        members.extend(spec.description.as_deref().map(|text| ("description".to_owned(), text.into())));
        let default = spec.default.clone().filter(|_| !spec.secret);
        members.extend(default.map(|value| ("default".to_owned(), value)));
    }
    schema
}

fn item(items: &ItemSpec) -> Value {
    described(items.kind, items.validate.as_ref().map(|v| v.as_str())).into()
}

fn described(kind: Option<ArgType>, pattern: Option<&str>) -> Map<String, Value> {
    let words = match kind {
        None => json!(["string", "number", "boolean"]),
        Some(ArgType::Bytes) => json!("string"),
        Some(kind) => json!(kind.as_str()),
    };
    let encoding = (kind == Some(ArgType::Bytes)).then(|| ("contentEncoding".to_owned(), "base64".into()));
    let is_text = kind == Some(ArgType::String);
    let pattern = pattern.filter(|pattern| is_text && is_portable(pattern));
    let pattern = pattern.map(|pattern| ("pattern".to_owned(), format!("^(?:{pattern})$").into()));
    [("type".to_owned(), words)].into_iter().chain(encoding).chain(pattern).collect()
}

/// Whether ECMAScript reads a pattern as we do, in every mode.
fn is_portable(pattern: &str) -> bool {
    let usual = |c: char| c.is_ascii_alphanumeric() || " _,:;@+*?.|^$()[]-/#=~%".contains(c);
    let odd = ["(?", "[[", "[^]", "[]", "&&", "--", "~~"];
    pattern.chars().all(usual) && odd.iter().all(|odd| !pattern.contains(odd))
}
