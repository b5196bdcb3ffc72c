//! `agentpass mcp import`: what a server offers becomes the tools that there are.

use std::path::{Path, PathBuf};

use argh::FromArgs;
use serde_json::json;

use super::server::{Offered, ask, find, kept};
use super::tool_file::render;
use crate::base::glob::Pattern;
use crate::base::readable::counted;
use crate::base::safe_text::visible;
use crate::cli::files::{paths, unusable};
use crate::cli::replace_file::NextFile;
use crate::cli::{Exit, Trouble, output};
use crate::config::{Finding, McpService, check_tool_file};

/// Ask an MCP server of config.yaml for its tools, and write them into its tool file. Only tools in that file exist. What you
/// have written there of kinds, risks, signatures and costs is kept. It takes effect with the next reload.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "import",
    example = "agentpass mcp import files --include 'read_*' --include 'list_*'",
    error_code(5, "the server gives no list"),
    error_code(78, "config.yaml or the tool file cannot be used")
)]
pub(crate) struct ImportArgs {
    /// only tools whose name at the server matches this pattern; may be repeated
    #[argh(option, arg_name = "glob")]
    pub include: Vec<String>,
    /// print what was imported as JSON
    #[argh(switch)]
    pub json: bool,
    /// config.yaml (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
    /// the service, by its name in config.yaml
    #[argh(positional)]
    pub service: String,
}

const WHAT: &str = "import the tools";

pub(crate) fn run(args: &ImportArgs) -> Result<Exit, Trouble> {
    let paths = paths(args.config.as_deref(), None);
    let service = match find(&paths, &args.service) {
        Ok(service) => service,
        Err(exit) => return Ok(exit),
    };
    match import(&service, &args.include, WHAT)? {
        Ok(imported) => {
            imported.file.put().map_err(failed)?;
            let text = if args.json { imported.report.to_json() } else { imported.report.to_text() };
            output::finish(&text)
        }
        Err(exit) => Ok(exit),
    }
}

/// An import that has not been put in its place.
pub(super) struct Imported {
    pub(super) file: NextFile,
    pub(super) report: ImportReport,
}

/// What is told of an import.
pub(super) struct ImportReport {
    service: String,
    path: PathBuf,
    /// The names under which agents know them.
    tools: Vec<String>,
    /// Names and why.
    left_out: Vec<(String, String)>,
    doubts: Vec<(String, u32, String)>,
}

pub(super) fn failed((path, e): (PathBuf, std::io::Error)) -> Trouble {
    Trouble::new(Exit::FAILED, WHAT, e).at(path.display().to_string())
}

/// Asks the server and writes what it says beside the tool file. The error is an exit whose findings have been shown.
pub(super) fn import(
    service: &McpService,
    include: &[String],
    what: &'static str,
) -> Result<Result<Imported, Exit>, Trouble> {
    let patterns: Vec<Pattern> = include.iter().map(|text| Pattern::new(text)).collect();
    let own = match kept(&service.tool_file) {
        Ok(own) => own,
        Err(exit) => return Ok(Err(exit)),
    };
    let offered = ask(service, what)?;
    let wanted = |tool: &&Offered| patterns.is_empty() || patterns.iter().any(|p| p.matches(&tool.name));
    let (usable, not): (Vec<_>, Vec<_>) =
        offered.iter().filter(wanted).partition(|tool| tool.unusable.is_none());
    let tools: Vec<_> = usable.iter().map(|tool| (*tool, own.get(&tool.name))).collect();
    let file = NextFile::write(&service.tool_file, &render(&service.name, &tools)).map_err(failed)?;
    // What is put in force must be what was written down.
    let findings = check_tool_file(service, &file.path);
    if findings.iter().any(Finding::is_error) {
        return Ok(Err(unusable(&findings)));
    }
    let report = ImportReport {
        service: service.name.clone(),
        path: service.tool_file.clone(),
        tools: usable.iter().map(|tool| service.exposed(&tool.name)).collect(),
        left_out: not
            .iter()
            .map(|tool| (visible(&tool.name), tool.unusable.clone().unwrap_or_default()))
            .collect(),
        doubts: usable
            .iter()
            .flat_map(|tool| tool.doubts.iter().map(|doubt| (tool.name.clone(), tool.score, doubt.clone())))
            .collect(),
    };
    Ok(Ok(Imported { file, report }))
}

impl ImportReport {
    fn to_json(&self) -> String {
        let left_out: Vec<_> =
            self.left_out.iter().map(|(name, why)| json!({"name": name, "why": why})).collect();
        let doubts: Vec<_> = self
            .doubts
            .iter()
            .map(|(name, score, text)| json!({"name": name, "score": score, "text": text}))
            .collect();
        output::json(&json!({
            "service": self.service,
            "file": self.path.display().to_string(),
            "tools": self.tools,
            "left_out": left_out,
            "findings": doubts,
        }))
    }

    pub(super) fn to_text(&self) -> String {
        let mut lines = vec![format!("{} in {}", counted(self.tools.len(), "tool"), show(&self.path))];
        lines.extend(self.tools.iter().map(|name| format!("  {name}")));
        lines.extend(self.left_out.iter().map(|(name, why)| format!("left out: {name}: {why}")));
        lines.extend(
            self.doubts.iter().map(|(name, score, text)| format!("doubtful: {name} ({score}): {text}")),
        );
        if let Some(first) = self.tools.first() {
            let all = first.split_once("__").map_or(first.as_str(), |(prefix, _)| prefix);
            lines.push("\nLines for permissions.yaml, to begin with:\n".to_owned());
            lines.push(format!("  rules:\n    - {{pattern: \"{all}*\", action: ask}}\n"));
            lines.push(format!(
                "Look at each kind in {}, then: agentpass check && agentpass reload",
                show(&self.path)
            ));
        }
        lines.join("\n")
    }
}

fn show(path: &Path) -> String {
    path.display().to_string()
}
