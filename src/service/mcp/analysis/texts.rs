//! What stands in the texts of a tool's definition. A model reads all of it: names, defaults and titles too.

use std::collections::BTreeSet;

use serde_json::Value;

use super::doubt::{Doubt, Weight, shown};
use crate::base::json::length;
use crate::base::safe_text::visible;

const MAX_DESCRIPTION: usize = 4096;
const MAX_TEXT: usize = 1024;
const MAX_TOOL: usize = 64 * 1024;
/// The longest run of base64 or hexadecimal signs that is no finding.
const MAX_RUN: usize = 64;
/// The most of a name that stands in a place, in characters.
const MAX_STEP: usize = 40;
/// Findings of one kind in one tool; the rest would say the same.
const MAX_OF_A_KIND: usize = 3;

/// What tells a model what to do, instead of what the tool does. In lower case, with single spaces.
const INSTRUCTIONS: [&str; 24] = [
    "<important>",
    "<system>",
    "[system]",
    "ignore previous",
    "ignore all previous",
    "ignore the previous",
    "disregard previous",
    "disregard the above",
    "new instructions:",
    "you are now",
    "do not tell",
    "don't tell",
    "do not mention",
    "never tell the user",
    "without telling",
    "without informing",
    "always call this",
    "always use this tool first",
    "call this tool first",
    "before any other tool",
    "before using any other",
    "will not work unless",
    "also sends",
    "secretly",
];
/// Files and variables that hold credentials.
const SECRETS: [&str; 14] = [
    ".ssh/",
    "id_rsa",
    "id_ed25519",
    ".aws/",
    "aws_secret",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".git-credentials",
    ".kube/config",
    "/etc/shadow",
    "mcp.json",
    "private_key",
    "secret_key",
];
/// Parameters through which a model would hand over what it was told.
const ODD: [&str; 9] = [
    "sidenote",
    "side_note",
    "system_prompt",
    "systemprompt",
    "conversation",
    "conversation_history",
    "chain_of_thought",
    "chat_history",
    "reasoning_trace",
];

pub(super) fn doubts(tool: &Value, name: &str, all: &BTreeSet<&str>) -> Vec<Doubt> {
    let mut found = Found::default();
    walk(tool, "", false, &mut |place, text, is_name| {
        look_at(place, text, is_name, &mut found);
        if place == "description" {
            other_tool(text, name, all, &mut found);
        }
    });
    if length(tool) > MAX_TOOL {
        found.add(Doubt::new(Weight::Warning, "too_long", "", "the whole definition is longer than 64 kB"));
    }
    found.0
}

/// The first findings of each kind.
#[derive(Default)]
struct Found(Vec<Doubt>);

impl Found {
    fn add(&mut self, doubt: Doubt) {
        if self.0.iter().filter(|other| other.code == doubt.code).count() < MAX_OF_A_KIND {
            self.0.push(doubt);
        }
    }
}

/// All strings, the names of members too. `is_name`: of a parameter.
fn walk(value: &Value, place: &str, are_parameters: bool, visit: &mut dyn FnMut(&str, &str, bool)) {
    // Every text below gets the place anew: a long name would be copied as often.
    let short = |name: &str| name.chars().take(MAX_STEP).collect::<String>();
    let below = |name: &str| if place.is_empty() { short(name) } else { format!("{place}.{}", short(name)) };
    match value {
        Value::String(text) => visit(place, text, false),
        Value::Array(items) => items.iter().for_each(|item| walk(item, place, false, visit)),
        Value::Object(members) => {
            for (name, value) in members {
                let place = below(name);
                visit(&place, name, are_parameters);
                walk(value, &place, name == "properties" && !are_parameters, visit);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn look_at(place: &str, text: &str, is_name: bool, found: &mut Found) {
    // Newlines and tabs are how descriptions are laid out; nothing else that does not show is.
    let lines = || text.split(['\n', '\r', '\t']);
    if let Some(line) = lines().find(|line| hides(line)) {
        let words = format!("it holds characters that do not show: {}", shown(around_hidden(line)));
        found.add(Doubt::new(Weight::Unusable, "hidden_characters", place, words));
    }
    let lower = text.to_lowercase();
    let lower = lower.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut warn = |code, words: String| found.add(Doubt::new(Weight::Warning, code, place, words));
    if let Some(phrase) = INSTRUCTIONS.iter().find(|phrase| lower.contains(**phrase)) {
        warn("instruction", format!("it tells the model what to do: \"{phrase}\""));
    }
    if let Some(secret) = SECRETS.iter().find(|secret| lower.contains(**secret)) {
        warn("secret_path", format!("it names a place of credentials: {secret}"));
    }
    if is_name && ODD.contains(&lower.as_str()) {
        warn("odd_parameter", format!("the parameter {lower} asks for what a tool does not need"));
    }
    if text.split(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c))).any(|run| run.len() > MAX_RUN)
    {
        warn(
            "encoded_text",
            "it holds a long run of letters and digits, which may be a text in disguise".into(),
        );
    }
    if text.len() > if place == "description" { MAX_DESCRIPTION } else { MAX_TEXT } {
        warn("too_long", format!("a text of {} bytes", text.len()));
    }
    if text.contains("<!--") || text.contains("```") {
        warn("markup", "it holds a comment or a code fence, which a person may not be shown".into());
    }
    let is_address = |word: &str| {
        let host = word.split_once('@').map(|(user, host)| !user.is_empty() && host.contains('.'));
        word.contains("http://") || word.contains("https://") || host.unwrap_or_default()
    };
    let is_schema_name = place.ends_with("$schema") || place.ends_with("$id");
    if let Some(word) = lower.split(' ').find(|word| is_address(word)).filter(|_| !is_schema_name) {
        found.add(Doubt::new(Weight::Note, "address", place, format!("it names {}", shown(word))));
    }
}

/// `⟨` itself is spelled out too, but it is no hidden character.
fn hides(line: &str) -> bool {
    visible(&line.replace('⟨', "")).contains('⟨')
}

/// The line from shortly before its first character beyond ASCII that hides something.
fn around_hidden(line: &str) -> &str {
    let first = line.char_indices().find(|(_, c)| hides(&c.to_string()));
    let start = first.map_or(0, |(at, _)| at.saturating_sub(20));
    let start = (start..=line.len()).find(|at| line.is_char_boundary(*at)).unwrap_or_default();
    line.get(start..).unwrap_or(line)
}

/// Whole words only, and only names that no sentence would hold by chance.
fn other_tool(text: &str, own: &str, all: &BTreeSet<&str>, found: &mut Found) {
    let is_told = |name: &&str| *name != own && name.len() > 4 && name.contains(['_', '-']);
    let mut words = text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-')));
    if let Some(other) = words.find(|word| is_told(word) && all.contains(word)) {
        let words = format!("it speaks of another tool: {}", shown(other));
        found.add(Doubt::new(Weight::Note, "speaks_of_tool", "description", words));
    }
}
