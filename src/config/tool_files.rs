//! `tools:` of a service: which files it means, and all tools of all services under names that are unique.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::Glob;

use super::at::At;
use super::doc::Doc;
use super::finding::Finding;
use super::mcp_settings::McpService;
use super::mcp_tool;
use super::request::ToolService;
use super::tool::{self, DOING};
use crate::model::Tool;
use crate::protocol::mcp::own::RESERVED;
use crate::protocol::mcp::schema;

/// All tools so far.
#[derive(Default)]
pub(crate) struct Toolbox {
    /// By name.
    pub tools: BTreeMap<String, Arc<Tool>>,
    pub findings: Vec<Finding>,
    /// The file of each tool.
    pub(crate) origin: BTreeMap<String, PathBuf>,
}

impl Toolbox {
    pub(crate) fn add(&mut self, at: At<'_>, owner: &ToolService<'_>, share: &Path) {
        if let Some(mcp) = owner.mcp {
            return match mcp.tool_file.exists() {
                true => self.read(&mcp.tool_file, owner),
                false => at.warn(
                    format!("{} does not exist: {} has no tools yet", mcp.tool_file.display(), mcp.name),
                    &format!("run `agentpass mcp import {}`", mcp.name),
                ),
            };
        }
        let wanted = at.one_or_more();
        if wanted.is_empty() {
            at.error("tools names no file", "tools: \"tools/my_api.yaml\"");
        }
        for file in wanted.into_iter().filter_map(|item| find(item, share)).flatten() {
            self.read(&file, owner);
        }
    }

    fn read(&mut self, file: &Path, owner: &ToolService<'_>) {
        let doc = match Doc::open(file, DOING, None) {
            Ok(doc) => doc,
            Err(finding) => return self.findings.push(finding),
        };
        let entries = At::root(&doc).section("tools").need("tools").map(At::entries).unwrap_or_default();
        for (name, at) in entries {
            let Some(plain) = name.plain("a tool") else { continue };
            let exposed = owner.mcp.map_or_else(|| plain.to_owned(), |mcp| mcp.exposed(plain));
            if let (Some(other), Some(file)) = (self.tools.get(&exposed), self.origin.get(&exposed)) {
                let (here, there) = (owner.service, &other.service);
                let of = if here == there { String::new() } else { format!("this one is of {here}, ") };
                let help = format!("{of}the other one of {there} is in {}", file.display());
                name.error(format!("there is a tool \"{exposed}\" already"), &help);
                continue;
            }
            if exposed.starts_with(RESERVED) {
                let help = "choose another name; the gateway has tools of its own by such names";
                name.error(format!("names that begin with {RESERVED} are reserved"), help);
                continue;
            }
            let tool = match owner.mcp {
                Some(mcp) => mcp_tool::read(name, at, mcp),
                None => tool::read(name, at, owner),
            };
            if let Some(tool) = tool {
                if !tool.is_permit() && !schema::fits(&exposed) {
                    let help = "use at most 48 letters, digits, \"_\" and \"-\", or leave it to other agents";
                    name.warn(format!("MCP clients are not offered the tool \"{exposed}\""), help);
                }
                self.origin.insert(exposed.clone(), file.to_owned());
                self.tools.insert(exposed, Arc::new(tool));
            }
        }
        self.findings.extend(doc.finish());
    }
}

/// The findings in a file that is to become the tool file of an MCP server.
pub(crate) fn check_tool_file(service: &McpService, file: &Path) -> Vec<Finding> {
    let mut toolbox = Toolbox::default();
    toolbox.read(file, &ToolService::of_mcp(service));
    toolbox.findings
}

/// The files that one entry means: beside config.yaml, else in the package's directory.
fn find(at: At<'_>, share: &Path) -> Option<Vec<PathBuf>> {
    let text = at.filled()?;
    let places = [at.doc.dir().join(&text), share.join(&text)];
    for place in &places {
        let found = match is_glob(&text) {
            true => matching(at, place)?,
            false => place.exists().then(|| place.to_owned()).into_iter().collect(),
        };
        if !found.is_empty() {
            return Some(found);
        }
    }
    let [first, second] = places.map(|p| p.display().to_string());
    let looked = if first == second { first } else { format!("{first} and {second}") };
    at.fail(format!("there is no tool file {}", at.shown()), &format!("looked for {looked}"))
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// The files of a directory that match, by name. Hidden files are left out.
fn matching(at: At<'_>, place: &Path) -> Option<Vec<PathBuf>> {
    let (dir, name) = (place.parent().unwrap_or(place), place.file_name()?.to_str()?);
    let in_dir = at.text()?.rsplit_once('/').is_some_and(|(dir, _)| is_glob(dir));
    let help = "list the directories one by one";
    at.ensure(!in_dir, "a pattern may stand in the name of the file only", help)?;
    let glob = Glob::new(name).map(|glob| glob.compile_matcher());
    let glob =
        glob.map_err(|e| at.error(format!("this is not a pattern for files: {}", e.kind()), "")).ok()?;
    let Ok(entries) = fs::read_dir(dir) else { return Some(Vec::new()) };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|n| !n.starts_with('.') && glob.is_match(n)).collect();
    names.sort();
    Some(names.into_iter().map(|n| dir.join(n)).collect())
}
