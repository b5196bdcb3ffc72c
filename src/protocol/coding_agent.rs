//! The tools that coding agents have, and the calls that stand for their use: the names of `tools/coding-agent.yaml`.

use serde_json::{Map, Value, json};

/// The call that stands for the use of a tool.
pub(crate) fn call(name: &str, input: &Map<String, Value>) -> (&'static str, Map<String, Value>) {
    match name {
        "Bash" => {
            let known =
                ["command", "description", "timeout", "run_in_background", "dangerouslyDisableSandbox"];
            ("code_bash", named(input, None, &known))
        }
        "Write" | "Edit" | "MultiEdit" | "NotebookEdit" => {
            let path = if name == "NotebookEdit" { "notebook_path" } else { "file_path" };
            let known = ["content", "old_string", "new_string", "replace_all", "edits"];
            ("code_edit", named(input, Some(path), &known))
        }
        "Read" => ("code_read", named(input, Some("file_path"), &[])),
        "Glob" | "Grep" => ("code_read", named(input, Some("path"), &["pattern"])),
        "WebFetch" | "WebSearch" => ("code_web", named(input, None, &["url", "query", "prompt"])),
        "Task" | "Agent" => (
            "code_task",
            named(input, None, &["description", "prompt", "subagent_type", "run_in_background"]),
        ),
        other => match other.strip_prefix("mcp__").and_then(|rest| rest.split_once("__")) {
            Some((server, tool)) => {
                ("code_mcp", map(json!({"server": server, "tool": tool, "arguments": input})))
            }
            None => ("code_other", map(json!({"name": other, "input": input}))),
        },
    }
}

/// The arguments under their own names, the file that `path` names as `path`, and the rest under `other`: all is shown.
fn named(input: &Map<String, Value>, path: Option<&str>, known: &[&str]) -> Map<String, Value> {
    let (mut args, mut other) = (Map::new(), Map::new());
    for (name, value) in input {
        match (path == Some(name.as_str()), known.contains(&name.as_str())) {
            (true, _) => args.insert("path".to_owned(), value.clone()),
            (_, true) => args.insert(name.clone(), value.clone()),
            _ => other.insert(name.clone(), value.clone()),
        };
    }
    if !other.is_empty() {
        args.insert("other".to_owned(), other.into());
    }
    args
}

fn map(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}

/// What a coding agent is told of a call that was denied.
pub(crate) fn why_denied(reason: &str, note: Option<&str>, rule: Option<&str>, message: &str) -> String {
    match (reason, note, rule) {
        ("denied_by_user", Some(note), _) => format!("Denied by a person: {note}"),
        ("denied_by_user", None, _) => "Denied by a person".to_owned(),
        (_, _, Some(rule)) => format!("Denied by policy: {rule}"),
        _ => message.to_owned(),
    }
}
