//! What is doubtful about the tools that a server offers. The same list gives the same findings, on every machine.
//!
//! | file | what |
//! |---|---|
//! | `doubt` | one finding |
//! | `texts` | hidden characters, instructions to the model, and whatever else stands in a tool's texts |
//! | `schemas` | what a schema must be so that clients and the gateway can check by it |
//! | `risk` | the score: what a tool may do, by its words |
//!
//! The words of a finding hold nothing of the server's that is not spelled out.

mod doubt;
mod risk;
mod schemas;
mod texts;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use self::doubt::{Doubt, Weight, shown};

/// Names that the gateway's own tools have.
const OWN: &str = "agentpass_";
const MAX_NAME: usize = 48;
/// From so many tools on, a model chooses worse, and what they can do together grows.
const MANY_TOOLS: [usize; 2] = [10, 25];
const ADDED_BY_MANY: u32 = 8;

/// What is to be said of one tool.
pub(crate) struct ToolReport {
    /// As it may be shown.
    pub name: String,
    /// 0 to 100.
    pub score: u32,
    pub doubts: Vec<Doubt>,
}

impl ToolReport {
    pub(crate) fn to_json(&self) -> Value {
        let doubt = |doubt: &Doubt| json!({"weight": doubt.weight.as_str(), "code": doubt.code, "place": doubt.place, "text": doubt.text});
        json!({
            "name": self.name,
            "score": self.score,
            "label": label(self.score),
            "usable": self.is_usable(),
            "findings": self.doubts.iter().map(doubt).collect::<Vec<_>>(),
        })
    }

    fn is_usable(&self) -> bool {
        self.doubts.iter().all(|doubt| doubt.weight != Weight::Unusable)
    }
}

pub(crate) struct Report {
    /// 0 to 100: the highest of a tool's, and more for many tools.
    pub score: u32,
    pub tools: Vec<ToolReport>,
}

impl Report {
    pub(crate) fn to_json(&self) -> Value {
        let tools = self.tools.iter().map(ToolReport::to_json).collect::<Vec<_>>();
        json!({"score": self.score, "label": label(self.score), "tools": tools})
    }
}

/// What a score is called.
pub(crate) fn label(score: u32) -> &'static str {
    match score {
        0..25 => "low",
        25..50 => "medium",
        50..75 => "high",
        _ => "critical",
    }
}

/// Looks at the tools of one server.
pub(crate) fn analyze(tools: &[Value]) -> Report {
    let names: BTreeSet<&str> = tools.iter().filter_map(name).collect();
    let mut met = BTreeSet::new();
    let tools: Vec<ToolReport> = tools.iter().map(|tool| look_at(tool, &names, &mut met)).collect();
    let highest = tools.iter().map(|tool| tool.score).max().unwrap_or_default();
    let many = MANY_TOOLS.iter().filter(|many| tools.len() > **many).count();
    let added = u32::try_from(many).unwrap_or_default() * ADDED_BY_MANY;
    Report { score: (highest + added).min(100), tools }
}

fn name(tool: &Value) -> Option<&str> {
    tool.get("name")?.as_str()
}

fn look_at<'t>(tool: &'t Value, all: &BTreeSet<&'t str>, met: &mut BTreeSet<&'t str>) -> ToolReport {
    let Some(name) = name(tool) else {
        let doubt = Doubt::new(Weight::Unusable, "no_name", "name", "it has no name");
        return ToolReport { name: "(without a name)".into(), score: 100, doubts: vec![doubt] };
    };
    let mut doubts = names(name, met.insert(name));
    doubts.extend(texts::doubts(tool, name, all));
    doubts.extend(schemas::doubts(tool));
    doubts.extend(risk::doubts(tool, name));
    doubts.sort_by_key(|doubt| doubt.weight);
    let floor = doubts.iter().map(|doubt| floor(doubt.code)).max().unwrap_or_default();
    ToolReport { name: shown(name), score: risk::score(tool, name).max(floor), doubts }
}

/// The least score of a tool with such a finding, whatever else it says.
fn floor(code: &str) -> u32 {
    match code {
        "hidden_characters" => 100,
        "instruction" => 90,
        "secret_path" => 75,
        "odd_parameter" | "encoded_text" => 50,
        _ => 0,
    }
}

fn names(name: &str, is_new: bool) -> Vec<Doubt> {
    let unusable = |code, text| Doubt::new(Weight::Unusable, code, "name", text);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut doubts = Vec::new();
    if name.is_empty() || !name.chars().all(is_plain) {
        doubts.push(unusable("bad_name", "only ASCII letters, digits, _ and - may stand in a name"));
    }
    if name.len() > MAX_NAME {
        doubts.push(unusable("long_name", "it has more than 48 characters"));
    }
    if name.starts_with(OWN) {
        doubts.push(unusable("reserved_name", "names that begin with agentpass_ are the gateway's own"));
    }
    if !is_new {
        doubts.push(unusable("same_name", "another tool of this server has the same name"));
    }
    doubts
}

#[cfg(test)]
mod tests;
