//! `agentpass mcp diff`: what a server offers now, against what was imported.

use std::collections::BTreeMap;

use argh::FromArgs;
use serde_json::{Map, Value, json};

use super::server::{ask, find};
use crate::base::safe_text::visible;
use crate::cli::files::{paths, unusable};
use crate::cli::{Exit, Trouble, output};
use crate::config::pinned;

/// Show what an MCP server offers now that was not imported so: changed, vanished and new tools, and what has changed in
/// each. Nothing is called and nothing is written.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "diff",
    error_code(1, "something differs"),
    error_code(5, "the server gives no list"),
    error_code(78, "config.yaml or the tool file cannot be used")
)]
pub(crate) struct DiffArgs {
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// config.yaml (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
    /// the service, by its name in config.yaml
    #[argh(positional)]
    pub service: String,
}

const MEMBERS: [&str; 5] = ["title", "description", "inputSchema", "outputSchema", "annotations"];

pub(crate) fn run(args: &DiffArgs) -> Result<Exit, Trouble> {
    let service = match find(&paths(args.config.as_deref(), None), &args.service) {
        Ok(service) => service,
        Err(exit) => return Ok(exit),
    };
    let known = match service.tool_file.exists().then(|| pinned(&service.tool_file)).transpose() {
        Ok(known) => known.unwrap_or_default(),
        Err(finding) => return Ok(unusable(&[finding])),
    };
    let offered = ask(&service, "compare the tools")?;
    let live: BTreeMap<&str, &Value> =
        offered.iter().map(|tool| (tool.name.as_str(), &tool.definition)).collect();
    let mut changed = Map::new();
    for (name, before) in &known {
        let Some(now) = live.get(name.as_str()) else { continue };
        let members = MEMBERS.into_iter().filter(|member| before.get(*member) != now.get(*member));
        let members: Map<String, Value> = members
            .map(|member| (member.to_owned(), json!({"before": before.get(member), "now": now.get(member)})))
            .collect();
        if !members.is_empty() {
            changed.insert(name.clone(), members.into());
        }
    }
    let vanished: Vec<&String> = known.keys().filter(|name| !live.contains_key(name.as_str())).collect();
    let new: Vec<&str> = live.keys().filter(|name| !known.contains_key(**name)).copied().collect();
    let is_same = changed.is_empty() && vanished.is_empty() && new.is_empty();
    let all = json!({"service": service.name, "same": is_same, "changed": changed, "vanished": vanished, "new": new});
    output::print(&if args.json { output::json(&all) } else { text(&all) })?;
    Ok(if is_same { Exit::DONE } else { Exit::DENIED })
}

/// The server's words are shown with what hides in them spelled out.
fn text(all: &Value) -> String {
    let mut lines = Vec::new();
    for (name, members) in all.get("changed").and_then(Value::as_object).into_iter().flatten() {
        lines.push(format!("changed: {}", visible(name)));
        for (member, values) in members.as_object().into_iter().flatten() {
            let value = |side: &str| match values.get(side) {
                None | Some(Value::Null) => "nothing".to_owned(),
                Some(value) => visible(&value.to_string()),
            };
            lines.push(format!("  {member}\n    - {}\n    + {}", value("before"), value("now")));
        }
    }
    for word in ["vanished", "new"] {
        let names = all.get(word).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        lines.extend(names.map(|name| format!("{word}: {}", visible(name))));
    }
    let service = all.get("service").and_then(Value::as_str).unwrap_or_default();
    match lines.is_empty() {
        true => lines.push(format!("{service} offers what was imported")),
        false => lines.push(format!("`agentpass mcp import {service}` takes what it offers now")),
    }
    lines.join("\n")
}
