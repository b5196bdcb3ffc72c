//! The score of a tool: points for the words of its name and description, for arguments that steer much, and for what it
//! does. It knows words and no meaning: a high score says "look here", a low one says nothing.

use serde_json::Value;

use super::doubt::{Doubt, Weight};

const WORDS: [(u32, &str); 11] = [
    (10, "query url http"),
    (12, "key file path namespace slack"),
    (14, "create insert browser email"),
    (16, "write update release"),
    (18, "send role policy refund database cloud prod helm cluster"),
    (20, "remove migration production kubernetes sql"),
    (22, "deploy rollback permission token charge"),
    (24, "delete drop destroy truncate terraform kubectl secret payment iam"),
    (26, "command admin"),
    (28, "exec"),
    (30, "shell"),
];
const ARGUMENTS: [(u32, &str); 6] = [
    (24, "command cmd secret password sql"),
    (22, "token"),
    (20, "script permission"),
    (18, "policy"),
    (16, "path role amount cluster"),
    (14, "url query directory namespace"),
];
const ADMIN: &str = "admin permission role policy iam";
const EXECUTE: &str = "exec run shell command eval";
const WRITE: &str = "write create update delete remove insert drop send set add edit move put post patch commit \
                     deploy upload reset append truncate";

pub(super) fn score(tool: &Value, name: &str) -> u32 {
    let description = tool.get("description").and_then(Value::as_str).unwrap_or_default();
    let text = format!("{name} {description}").to_lowercase();
    let points = |table: &[(u32, &str)], text: &str| {
        let words =
            table.iter().flat_map(|(points, words)| words.split(' ').map(move |word| (*points, word)));
        words.filter(|(_, word)| text.contains(word)).map(|(points, _)| points).collect::<Vec<_>>()
    };
    let said: u32 = points(&WORDS, &text).iter().sum();
    let names = arguments(tool);
    let first =
        |name: &String| points(&ARGUMENTS, &name.to_lowercase()).into_iter().max().unwrap_or_default();
    let asked: u32 = names.iter().map(first).sum();
    let does = match () {
        () if has_word(name, ADMIN) => 38,
        () if has_word(name, EXECUTE) => 34,
        () if has_word(name, WRITE) => 22,
        () => 8,
    };
    let missing = if description.is_empty() { 6 } else { 0 } + if names.is_empty() { 4 } else { 0 };
    (said + asked + does + missing).min(100)
}

pub(super) fn doubts(tool: &Value, name: &str) -> Vec<Doubt> {
    let is_read_only = tool.pointer("/annotations/readOnlyHint") == Some(&true.into());
    let note = |code, text| Doubt::new(Weight::Note, code, "annotations", text);
    if tool.get("annotations").is_none() {
        return vec![note("no_annotations", "the server does not say whether it changes anything")];
    }
    if is_read_only && [ADMIN, EXECUTE, WRITE].iter().any(|words| has_word(name, words)) {
        let text = "it says that it only reads, and its name says something else";
        return vec![Doubt::new(Weight::Warning, "says_read_only", "annotations.readOnlyHint", text)];
    }
    Vec::new()
}

fn arguments(tool: &Value) -> Vec<String> {
    let properties = tool.pointer("/inputSchema/properties").and_then(Value::as_object);
    properties.into_iter().flat_map(|members| members.keys().cloned()).collect()
}

/// Whether one of the parts of a name is one of these words.
fn has_word(name: &str, words: &str) -> bool {
    let mut parts: Vec<String> = vec![String::new()];
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() || c.is_ascii_uppercase() {
            parts.push(String::new());
        }
        if let Some(last) = parts.last_mut().filter(|_| c.is_ascii_alphanumeric()) {
            last.push(c.to_ascii_lowercase());
        }
    }
    parts.iter().any(|part| words.split(' ').any(|word| word == part))
}
