//! What the commands about one server of config.yaml have in common.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::base::json_schema::JsonSchema;
use crate::cli::{Exit, Trouble, files};
use crate::config::{self, McpService, Paths};
use crate::model::mcp_target::pin;
use crate::service::child::Program;
use crate::service::mcp::analysis::analyze;
use crate::service::mcp::list;

/// For the handshake, and again for the list.
const PATIENCE: Duration = Duration::from_secs(60);

/// One tool as the server describes it.
pub(super) struct Offered {
    pub(super) name: String,
    pub(super) definition: Value,
    /// Why it cannot be used; None: it can.
    pub(super) unusable: Option<String>,
    pub(super) score: u32,
    /// What is doubtful about it besides.
    pub(super) doubts: Vec<String>,
}

impl Offered {
    pub(super) fn digest(&self) -> String {
        format!("sha256:{}", pin(&self.definition).hex())
    }
}

pub(super) fn find(paths: &Paths, name: &str) -> Result<McpService, Exit> {
    config::mcp_server(paths, name).map_err(|findings| files::unusable(&findings))
}

/// Starts the server, asks what it offers and ends it. By name, so that the same tools make the same file.
pub(super) fn ask(service: &McpService, what: &'static str) -> Result<Vec<Offered>, Trouble> {
    let own = &service.program;
    let env = own.env.iter().map(|it| (it.name.clone(), it.value.expose().into())).collect();
    let dir = own.dir.is_dir().then(|| own.dir.clone());
    let program = Program { command: own.command.clone(), env, memory_mib: own.max_memory_mib, dir };
    let listing = smol::block_on(list(&program, service.era, PATIENCE)).map_err(|e| {
        let words = e.last_words.join("; ");
        let words = Some(words).filter(|words| !words.is_empty());
        Trouble::new(Exit::FAILED, what, &e).maybe_help(words.map(|words| format!("its last words: {words}")))
    })?;
    let report = analyze(&listing.tools);
    let mut offered: Vec<Offered> = listing
        .tools
        .into_iter()
        .zip(report.tools)
        .map(|(definition, looked)| look(definition, &looked.to_json()))
        .collect();
    offered.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(offered)
}

fn look(definition: Value, report: &Value) -> Offered {
    let findings = report.get("findings").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |finding: &Value, name: &str| {
        finding.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let said = |finding: &Value| match text(finding, "place") {
        place if place.is_empty() => text(finding, "text"),
        place => format!("{place}: {}", text(finding, "text")),
    };
    let (bad, doubtful): (Vec<_>, Vec<_>) =
        findings.iter().partition(|finding| text(finding, "weight") == "unusable");
    let schema = definition.get("inputSchema").cloned().unwrap_or_default();
    let unusable = bad
        .first()
        .map(|finding| said(finding))
        .or_else(|| JsonSchema::new(schema).err().map(|why| format!("inputSchema: {why}")));
    Offered {
        name: definition.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
        unusable,
        score: report
            .get("score")
            .and_then(Value::as_u64)
            .and_then(|score| score.try_into().ok())
            .unwrap_or(100),
        doubts: doubtful.into_iter().map(said).collect(),
        definition,
    }
}

/// What the tool file holds now: what is the owner's of each tool.
pub(super) fn kept(
    file: &Path,
) -> Result<std::collections::BTreeMap<String, serde_json::Map<String, Value>>, Exit> {
    if !file.exists() {
        return Ok(Default::default());
    }
    config::of_owner(file).map_err(|finding| files::unusable(&[finding]))
}
