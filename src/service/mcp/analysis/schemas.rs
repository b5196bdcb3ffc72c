//! What a schema must be. One tool with a bad one makes all tools vanish in some clients.

use serde_json::Value;

use super::doubt::{Doubt, Weight};

const MAX_DEPTH: usize = 32;
const MAX_SCHEMAS: usize = 1000;

pub(super) fn doubts(tool: &Value) -> Vec<Doubt> {
    let mut found = Vec::new();
    match tool.get("inputSchema") {
        Some(schema) => input(schema, &mut found),
        None => {
            found.push(Doubt::new(
                Weight::Unusable,
                "no_schema",
                "inputSchema",
                "there is no schema of its arguments",
            ));
        }
    }
    if let Some(output) = tool.get("outputSchema") {
        if output.get("type").and_then(Value::as_str) != Some("object") {
            let text = "older clients show no tools at all when this is not of type object";
            found.push(Doubt::new(Weight::Warning, "output_schema", "outputSchema", text));
        }
        references(output, "outputSchema", &mut found);
    }
    if tool.pointer("/execution/taskSupport").and_then(Value::as_str) == Some("required") {
        let text = "it can be called as a task only";
        found.push(Doubt::new(Weight::Unusable, "task_only", "execution.taskSupport", text));
    }
    found
}

fn input(schema: &Value, found: &mut Vec<Doubt>) {
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        let text = "the arguments must be of type object";
        found.push(Doubt::new(Weight::Unusable, "schema_root", "inputSchema", text));
    }
    let combined =
        ["anyOf", "oneOf", "allOf", "not", "if"].into_iter().find(|word| schema.get(word).is_some());
    if let Some(word) = combined {
        let text = format!("some models refuse {word} at the top");
        found.push(Doubt::new(Weight::Warning, "schema_combined", "inputSchema", text));
    }
    let is_open = schema.get("additionalProperties") != Some(&false.into());
    let has_none = schema.get("properties").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty);
    if has_none && is_open && schema.get("additionalProperties").is_some() {
        let text = "it names no argument and takes any";
        found.push(Doubt::new(Weight::Warning, "free_form", "inputSchema", text));
    }
    references(schema, "inputSchema", found);
}

/// References that leave the schema, and schemas that would take long to check by.
fn references(schema: &Value, place: &str, found: &mut Vec<Doubt>) {
    let (mut count, mut left) = (0_usize, vec![(schema, 1_usize)]);
    let mut unusable = |code, text: &str| found.push(Doubt::new(Weight::Unusable, code, place, text));
    while let Some((value, depth)) = left.pop() {
        count += usize::from(value.is_object());
        if depth > MAX_DEPTH || count > MAX_SCHEMAS {
            return unusable("schema_too_large", "it is nested deeper than 32 or has more than 1,000 parts");
        }
        let reference = value.get("$ref").and_then(Value::as_str);
        if reference.is_some_and(|reference| !reference.starts_with('#')) {
            return unusable(
                "schema_reference",
                "it refers to something outside of itself, which is never fetched",
            );
        }
        match value {
            Value::Array(items) => left.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(members) => left.extend(members.values().map(|member| (member, depth + 1))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}
