//! `agentpass hook install`: the hook in a coding agent's own settings.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use argh::FromArgs;
use serde_json::{Map, Value, json};

use crate::cli::replace_file::NextFile;
use crate::cli::{Exit, Trouble, output, terminal};

/// Longer than the hook's own time, so that it is the hook that gives up.
const TIMEOUT: u32 = 600;
const COMMAND: &str = "agentpass hook claude-code";
const EVENTS: [&str; 2] = ["PermissionRequest", "PreToolUse"];

/// Write the hook into a coding agent's settings. What else is in them stays.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "install",
    note = "The hook needs AGENTPASS_URL and AGENT_TOKEN in the environment of the coding agent, and AGENTPASS_PIN where the gateway has a certificate of its own.",
    error_code(1, "with --check: it is not there")
)]
pub(crate) struct InstallArgs {
    /// claude-code
    #[argh(positional, arg_name = "agent")]
    agent: String,
    /// the settings (default: ~/.claude/settings.json)
    #[argh(option, arg_name = "file")]
    settings: Option<PathBuf>,
    /// when to ask: PermissionRequest (default: where the agent itself would ask) or PreToolUse (before everything)
    #[argh(option, arg_name = "event", default = "EVENTS[0].to_owned()")]
    event: String,
    /// only say whether it is there
    #[argh(switch)]
    check: bool,
}

pub(super) fn run(args: &InstallArgs) -> Result<Exit, Trouble> {
    let wrong = |text: String, help: &str| Err(Trouble::new(Exit::BAD_ARGUMENTS, WHAT, text).help(help));
    if args.agent != "claude-code" {
        return wrong(format!("{:?} is not a coding agent known here", args.agent), "use claude-code");
    }
    if !EVENTS.contains(&args.event.as_str()) {
        return wrong(
            format!("{:?} is not an event that takes a decision", args.event),
            "use PermissionRequest or PreToolUse",
        );
    }
    let path = match &args.settings {
        Some(path) => path.clone(),
        None => home()?.join(".claude/settings.json"),
    };
    let mut settings = read(&path)?;
    let is_there = settings.get("hooks").and_then(|hooks| hooks.get(&args.event)).is_some_and(has_hook);
    if args.check {
        let word = if is_there { "is there" } else { "is not there" };
        output::print(&format!("the hook at {} {word}: {}", args.event, path.display()))?;
        return Ok(if is_there { Exit::DONE } else { Exit::DENIED });
    }
    if is_there {
        return output::finish(&format!("the hook at {} was there: {}", args.event, path.display()));
    }
    add(&mut settings, &args.event).map_err(|why| failed(&path, why))?;
    write(&path, &settings)?;
    terminal::note("it needs AGENTPASS_URL and AGENT_TOKEN in the environment of Claude Code");
    output::finish(&format!("wrote the hook at {}: {}", args.event, path.display()))
}

const WHAT: &str = "install the hook";

fn home() -> Result<PathBuf, Trouble> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    home.ok_or_else(|| {
        Trouble::new(Exit::BAD_ARGUMENTS, WHAT, "HOME is not set").help("name the file with --settings")
    })
}

fn failed(path: &Path, why: impl std::fmt::Display) -> Trouble {
    Trouble::new(Exit::FAILED, WHAT, why).at(path.display().to_string())
}

fn read(path: &Path) -> Result<Map<String, Value>, Trouble> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Map::new()),
        Err(e) => return Err(failed(path, e)),
    };
    serde_json::from_str(&text)
        .map_err(|e| failed(path, format!("it is not a JSON object: {e}")).help("correct it first"))
}

/// Whether a list of matchers has our hook for all tools.
fn has_hook(matchers: &Value) -> bool {
    let is_ours = |hook: &Value| {
        hook.get("command").and_then(Value::as_str).is_some_and(|text| text.starts_with(COMMAND))
    };
    let for_all =
        |matcher: &&Value| matches!(matcher.get("matcher").and_then(Value::as_str), None | Some("" | "*"));
    let hooks = |matcher: &Value| {
        matcher.get("hooks").and_then(Value::as_array).is_some_and(|hooks| hooks.iter().any(is_ours))
    };
    matchers.as_array().is_some_and(|all| all.iter().filter(for_all).any(hooks))
}

/// # Errors
/// When what is there is of another shape.
fn add(settings: &mut Map<String, Value>, event: &str) -> Result<(), &'static str> {
    let hooks =
        settings.entry("hooks").or_insert_with(|| json!({})).as_object_mut().ok_or("hooks is no object")?;
    let matchers =
        hooks.entry(event).or_insert_with(|| json!([])).as_array_mut().ok_or("its hooks are no list")?;
    matchers.push(
        json!({"matcher": "*", "hooks": [{"type": "command", "command": COMMAND, "timeout": TIMEOUT}]}),
    );
    Ok(())
}

fn write(path: &Path, settings: &Map<String, Value>) -> Result<(), Trouble> {
    let text = format!("{:#}\n", Value::Object(settings.clone()));
    let written = NextFile::write(path, &text).and_then(NextFile::put);
    written.map_err(|(path, e)| failed(&path, e))
}
