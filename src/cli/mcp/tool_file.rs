//! The text of the tool file of an MCP server. JSON is YAML, and the same tools make the same bytes.

use serde_json::{Map, Value};

use super::server::Offered;
use crate::config::OWNERS;
use crate::model::Kind;

/// Words that say what a tool does where it does not say it itself.
const GUESSES: [(Kind, &[&str]); 4] = [
    (Kind::Delete, &["delete", "remove", "drop", "erase", "purge"]),
    (Kind::Execute, &["execute", "exec", "run", "shell", "command", "eval"]),
    (Kind::Pay, &["pay", "refund", "charge", "purchase"]),
    (Kind::Send, &["send", "email", "publish", "post"]),
];

pub(super) fn render(service: &str, tools: &[(&Offered, Option<&Map<String, Value>>)]) -> String {
    let mut text = format!(
        "# The tools of the MCP server \"{service}\", written by `agentpass mcp import {service}`.\n\
         # Yours to change, and kept by the next import: {}.\n\
         # All the rest is the server's own and pinned by its digest.\ntools:",
        OWNERS.join(", ")
    );
    if tools.is_empty() {
        text.push_str(" {}");
    }
    text.push('\n');
    for (tool, own) in tools {
        text.push_str(&format!("  {}:\n", Value::from(tool.name.as_str())));
        write(&mut text, tool, *own);
    }
    text
}

fn write(text: &mut String, tool: &Offered, own: Option<&Map<String, Value>>) {
    let guess = Value::from(guessed(&tool.definition).as_str());
    for key in OWNERS {
        match own.and_then(|own| own.get(key)) {
            Some(value) if key != "kind" || *value != guess => line(text, key, value),
            None if key != "kind" => {}
            Some(_) | None => text.push_str(&format!("    kind: {guess} # guessed: look at it\n")),
        }
    }
    line(text, "digest", &tool.digest().into());
    for (key, member) in [
        ("title", "title"),
        ("description", "description"),
        ("annotations", "annotations"),
        ("input_schema", "inputSchema"),
        ("output_schema", "outputSchema"),
    ] {
        if let Some(value) = tool.definition.get(member) {
            line(text, key, value);
        }
    }
}

/// Strings of JSON have no line breaks in them, so that what is indented here is never a part of one.
fn line(text: &mut String, key: &str, value: &Value) {
    let json = format!("{value:#}").replace('\n', "\n    ");
    text.push_str(&format!("    {key}: {json}\n"));
}

/// What the server says of itself counts as a hint, and only its name against it.
fn guessed(definition: &Value) -> Kind {
    let name = definition.get("name").and_then(Value::as_str).unwrap_or_default().to_lowercase();
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let by_word =
        words.find_map(|word| GUESSES.iter().find(|(_, words)| words.contains(&word)).map(|(kind, _)| *kind));
    let hint = |name: &str| definition.pointer(&format!("/annotations/{name}")).and_then(Value::as_bool);
    match (by_word, hint("readOnlyHint")) {
        (Some(kind), _) => kind,
        (None, Some(true)) => Kind::Read,
        (None, _) => Kind::Write,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_are_guessed_from_names_before_hints() {
        for (name, hint, kind) in [
            ("read_file", json!(true), Kind::Read),
            ("read_file", json!(null), Kind::Write),
            ("delete_file", json!(true), Kind::Delete),
            ("shell", json!(null), Kind::Execute),
            ("mailer-send", json!(false), Kind::Send),
            ("runner", json!(true), Kind::Read),
        ] {
            let definition = json!({"name": name, "annotations": {"readOnlyHint": hint}});
            assert_eq!(guessed(&definition), kind, "{name}");
        }
    }
}
