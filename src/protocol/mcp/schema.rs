//! From the tools that `list_tools` names to those of `tools/list`. One definition that a client cannot read makes it drop the
//! whole list, so what is not certain to be read everywhere is left out: the gateway checks every argument anyway.

use serde_json::{Map, Value, json};

use super::own::RESERVED;

/// The longest name that all clients take.
const MAX_NAME: usize = 48;

/// The definition of a tool, as `list_tools` describes it; None when clients cannot use its name.
pub(crate) fn definition(tool: &Value) -> Option<Value> {
    let name = tool.get("name")?.as_str().filter(|name| fits(name))?;
    let description = tool.get("description").and_then(Value::as_str).filter(|text| !text.is_empty());
    let none = Map::new();
    let args = tool.get("args").and_then(Value::as_object).unwrap_or(&none);
    let properties: Map<_, _> = args.iter().map(|(name, spec)| (name.clone(), argument(spec))).collect();
    let required = args.iter().filter(|(_, spec)| spec.get("required") == Some(&true.into()));
    let required: Vec<_> = required.map(|(name, _)| name).collect();
    let takes_more = tool.get("extra_args") != Some(&"refuse".into());
    let own = tool.get("input_schema").cloned();
    let schema = own.unwrap_or_else(|| json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": takes_more,
    }));
    let mut definition =
        json!({"name": name, "description": description.unwrap_or(name), "inputSchema": schema});
    if let (Some(kind), Some(members)) =
        (tool.get("kind").and_then(Value::as_str), definition.as_object_mut())
    {
        let hints = json!({"readOnlyHint": kind == "read", "destructiveHint": destroys(kind)});
        members.insert("annotations".into(), hints);
    }
    Some(definition)
}

/// Whether a tool of this name is offered to MCP clients.
pub(crate) fn fits(name: &str) -> bool {
    let usual = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(usual) && !name.starts_with(RESERVED)
}

/// Kinds that can do what cannot be taken back.
fn destroys(kind: &str) -> bool {
    ["delete", "pay", "deploy", "execute", "admin"].contains(&kind)
}

fn argument(spec: &Value) -> Value {
    let mut schema = match (spec.get("items"), spec.get("each") == Some(&true.into())) {
        (Some(items), false) => json!({"type": "array", "items": value(items)}),
        (Some(items), true) => json!({"anyOf": [value(items), {"type": "array", "items": value(items)}]}),
        (None, _) => Value::from(value(spec)),
    };
    if let Some(members) = schema.as_object_mut() {
        let kept = ["description", "default"].into_iter();
        members.extend(kept.filter_map(|name| Some((name.to_owned(), spec.get(name)?.clone()))));
    }
    schema
}

fn value(spec: &Value) -> Map<String, Value> {
    let Some(kind) = spec.get("type").and_then(Value::as_str) else {
        // Some clients know no lists of types.
        let scalars = ["string", "number", "boolean"].map(|kind| json!({"type": kind}));
        return Map::from_iter([("anyOf".to_owned(), scalars.to_vec().into())]);
    };
    let is_bytes = kind == "bytes";
    let encoding = is_bytes.then(|| ("contentEncoding".to_owned(), "base64".into()));
    let pattern = spec.get("validate").and_then(Value::as_str);
    let pattern = pattern.filter(|pattern| kind == "string" && is_portable(pattern));
    let pattern = pattern.map(|pattern| ("pattern".to_owned(), format!("^(?:{pattern})$").into()));
    let kind = if is_bytes { "string" } else { kind };
    [("type".to_owned(), kind.into())].into_iter().chain(encoding).chain(pattern).collect()
}

/// Whether ECMAScript reads a pattern as we do, in every mode.
fn is_portable(pattern: &str) -> bool {
    let usual = |c: char| c.is_ascii_alphanumeric() || " _,:;@+*?.|^$()[]-/#=~%".contains(c);
    let odd = ["(?", "[[", "[^]", "[]", "&&", "--", "~~"];
    pattern.chars().all(usual) && odd.iter().all(|odd| !pattern.contains(odd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_become_a_schema_that_every_client_reads() {
        let tool = json!({"name": "t", "description": "", "kind": "delete", "extra_args": "refuse", "args": {
            "a": {"required": true, "validate": "^[a-z]+$", "type": "string", "description": "first"},
            "b": {"required": false, "validate": "(?i)x", "type": "string"},
            "c": {"required": false, "items": {"type": "integer"}, "each": true, "type": "array"},
            "d": {"required": false, "type": "bytes"},
            "e": {"required": false, "default": 3},
        }});
        let made = definition(&tool).unwrap();
        assert_eq!(made["description"], "t");
        assert_eq!(made["annotations"], json!({"readOnlyHint": false, "destructiveHint": true}));
        let list = json!({"type": "array", "items": {"type": "integer"}});
        let schema = json!({"type": "object", "additionalProperties": false, "required": ["a"], "properties": {
            "a": {"type": "string", "pattern": "^(?:^[a-z]+$)$", "description": "first"},
            "b": {"type": "string"},
            "c": {"anyOf": [{"type": "integer"}, list]},
            "d": {"type": "string", "contentEncoding": "base64"},
            "e": {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}], "default": 3},
        }});
        assert_eq!(made["inputSchema"], schema);
    }

    #[test]
    fn names_that_a_client_cannot_use_are_not_offered() {
        for bad in ["", "a.b", "ä", "agentpass_wait", &"x".repeat(49)] {
            assert!(definition(&json!({"name": bad})).is_none(), "{bad}");
        }
        assert!(definition(&json!({"name": "a-B_9"})).is_some());
    }
}
