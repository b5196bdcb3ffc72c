//! `handler: mcp` in `services:`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::at::{At, Name, Section};
use super::main_file::path;
use super::mcp_settings::{McpEra, McpProgram, McpService, McpVariable};
use crate::base::secret::Secret;

pub(crate) const KEYS: &str = "handler command env prefix tools era on_change idle_stop max_memory_mb timeout max_response_bytes url auth";

/// Said wherever somebody gives the address of one.
pub(crate) const OVER_HTTP: &str = "MCP servers over HTTP cannot be put behind the gateway yet";

/// What follows from sharing a user.
pub(crate) const CHILD_CAN: &str = "this child can read all secrets and answer questions";

/// One MCP server. None when it cannot be started.
pub(crate) fn service(name: Name<'_>, section: Section<'_>, dir: &Path, state: &Path) -> Option<McpService> {
    let own = name.plain("a service")?;
    let command = match section.get("url") {
        Some(url) => {
            url.error(OVER_HTTP, "command: the program of a server that the gateway starts itself");
            None
        }
        None => section.require("command", command),
    };
    if let Some(key) = section.key("command") {
        let text = format!("{own} runs as the gateway's own user: {CHILD_CAN}");
        key.warn(text, "put only servers here that you trust as much as the gateway");
    }
    let prefix = prefix(name, section);
    let eras = [("auto", None), ("legacy", Some(McpEra::Legacy)), ("modern", Some(McpEra::Modern))];
    let answers = [("block", true), ("warn", false)];
    Some(McpService {
        name: own.to_owned(),
        prefix: prefix?,
        era: section.read("era", |at| at.choice(&eras)).flatten(),
        blocks_changed: section.read("on_change", |at| at.choice(&answers)).unwrap_or(true),
        timeout: section.read("timeout", |at| at.seconds(0.1..=3600.0)).unwrap_or(Duration::from_secs(30)),
        max_response_bytes: section.whole("max_response_bytes", 1..=64 << 20).unwrap_or(1 << 20),
        tool_file: tool_file(section, dir)?,
        pins: BTreeMap::new(),
        program: McpProgram {
            env: section.entries("env").into_iter().filter_map(variable).collect(),
            dir: state.join("children").join(own),
            idle_stop: section
                .read("idle_stop", |at| at.span("10s"..="7d"))
                .unwrap_or(Duration::from_secs(600)),
            max_memory_mib: section.whole("max_memory_mb", 16..=1 << 20).unwrap_or(2048),
            command: command?,
        },
    })
}

/// The program and its arguments, each a text of its own: no shell reads them.
fn command(at: At<'_>) -> Option<Vec<String>> {
    let help = "command: [\"npx\", \"-y\", \"NAME@VERSION\"]";
    at.ensure(!at.is_single(), "command must be a list: no shell takes it apart", help)?;
    let words = at.items().into_iter().map(word).collect::<Option<Vec<_>>>()?;
    let has_program = words.first().is_some_and(|program| !program.is_empty());
    at.ensure(has_program, "command names no program", help)?;
    warn_of_versions(at, &words);
    Some(words)
}

fn word(at: At<'_>) -> Option<String> {
    let text = match at.has_variable() {
        true => at.secret()?.expose().to_owned(),
        false => at.text()?,
    };
    at.ensure(!text.contains('\0'), "a word of command holds a null character", "").map(|()| text)
}

/// What is fetched anew at each start can become another program at any time.
fn warn_of_versions(at: At<'_>, words: &[String]) {
    let Some((program, args)) = words.split_first() else { return };
    if Path::new(program).file_name().is_none_or(|name| name != "npx") {
        return;
    }
    let package = args.iter().find(|arg| !arg.starts_with('-'));
    if let Some(package) = package.filter(|name| !name.get(1..).unwrap_or_default().contains('@')) {
        let text = format!("npx fetches whatever {package} is at each start: it has no version");
        at.warn(text, &format!("name one: {package}@1.2.3"));
    }
}

fn variable((name, at): (Name<'_>, At<'_>)) -> Option<McpVariable> {
    let text = name.text();
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.is_empty() || !text.chars().all(fits) || text.starts_with(|c: char| c.is_ascii_digit()) {
        name.error(format!("\"{}\" is not a name for a variable", text.escape_debug()), "");
        return None;
    }
    // What comes from a variable of ours is a secret of the owner's.
    let value = if at.has_variable() { at.secret()? } else { Secret::new(at.text()?) };
    at.ensure(!value.expose().contains('\0'), "the value holds a null character", "")?;
    Some(McpVariable { name: text.to_owned(), value, is_secret: at.has_variable() })
}

fn prefix(name: Name<'_>, section: Section<'_>) -> Option<String> {
    let given = match section.get("prefix") {
        Some(at) => at.text()?,
        None => name.text().to_owned(),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if given.chars().all(fits) && !given.contains("__") && given.len() <= 32 {
        return Some(given);
    }
    let text = format!("\"{}\" is not a prefix for names of tools", given.escape_debug());
    let help = "prefix: up to 32 letters, digits, \"_\" and \"-\", without \"__\"";
    match section.get("prefix") {
        Some(at) => at.error(text, help),
        None => name.error(text, help),
    }
    None
}

fn tool_file(section: Section<'_>, dir: &Path) -> Option<PathBuf> {
    section.read("tools", |at| path(at, dir))
}
