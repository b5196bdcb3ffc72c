//! `agentpass mcp analyze`: what is doubtful about the tools of an MCP server.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use argh::FromArgs;
use log::LevelFilter;
use serde_json::{Value, json};

use crate::base::readable::counted;
use crate::cli::gateway::seconds;
use crate::cli::{Exit, Trouble, logging, output, terminal};
use crate::protocol::mcp::upstream::parse;
use crate::service::child::Program;
use crate::service::mcp::analysis::{Report, analyze, label};
use crate::service::mcp::{Listing, list};

const WHAT: &str = "analyze the tools";
/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Look for hidden characters, instructions to the model, bad schemas and risky words in what an MCP server offers. Nothing
/// is called.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "analyze",
    example = "agentpass mcp analyze --stdio -- npx -y @modelcontextprotocol/server-memory@2026.8.31",
    error_code(1, "the score is above --max"),
    error_code(4, "the file holds no list of tools"),
    error_code(5, "the server gives no list")
)]
pub(crate) struct AnalyzeArgs {
    /// start a server with the command that follows, ask it for its tools and end it
    #[argh(switch)]
    pub stdio: bool,
    /// a variable that the server gets, NAME=VALUE, or NAME to pass one on; may be repeated. It gets PATH, HOME, LANG and
    /// TZ besides, and nothing else
    #[argh(option, arg_name = "name")]
    pub env: Vec<String>,
    /// how long the server may take to start, and again to list its tools, in seconds (default: 10)
    #[argh(option, default = "Duration::from_secs(10)", from_str_fn(seconds))]
    pub timeout: Duration,
    /// memory for each process of the server, in MiB (default: 2048)
    #[argh(option, default = "2048", arg_name = "mib")]
    pub max_memory_mb: u32,
    /// the highest score that is no error, 0 to 100 (default: 74)
    #[argh(option, default = "74", arg_name = "score")]
    pub max: u32,
    /// print the report as JSON
    #[argh(switch)]
    pub json: bool,
    /// a file with the result of tools/list as JSON; with --stdio, a command and its arguments behind --
    #[argh(positional, arg_name = "file")]
    pub words: Vec<String>,
}

pub(crate) fn run(args: &AnalyzeArgs) -> Result<Exit, Trouble> {
    logging::start(None, LevelFilter::Warn)?;
    let bad = |cause: &str| Trouble::new(Exit::BAD_ARGUMENTS, WHAT, cause);
    if args.max > 100 {
        return Err(bad("--max is above 100"));
    }
    let (tools, server) = match (args.stdio, args.words.as_slice()) {
        (true, [_, ..]) => {
            let Listing { protocol, server, tools } = ask(args)?;
            (tools, json!({"protocol": protocol, "server": server}))
        }
        (true, []) => return Err(bad("--stdio needs a command behind --")),
        (false, _) if !args.env.is_empty() => return Err(bad("--env only applies with --stdio")),
        (false, [file]) => (read(file)?, Value::Null),
        (false, _) => {
            let help = "to start a server: agentpass mcp analyze --stdio -- COMMAND ARGUMENTS";
            return Err(bad("name one file").help(help));
        }
    };
    print(args, &analyze(&tools), server)
}

fn ask(args: &AnalyzeArgs) -> Result<Listing, Trouble> {
    let env = args.env.iter().map(|text| variable(text)).collect::<Result<_, _>>()?;
    let program = Program { command: args.words.clone(), env, memory_mib: args.max_memory_mb, dir: None };
    smol::block_on(list(&program, None, args.timeout)).map_err(|e| {
        let words = e.last_words.join("; ");
        let words = Some(words).filter(|words| !words.is_empty());
        Trouble::new(Exit::FAILED, WHAT, &e).maybe_help(words.map(|words| format!("its last words: {words}")))
    })
}

fn variable(text: &str) -> Result<(String, OsString), Trouble> {
    let bad = |cause: String| Trouble::new(Exit::BAD_ARGUMENTS, WHAT, cause);
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.into())),
        None => (text, env::var_os(text)),
    };
    if name.is_empty() || name.contains('\0') {
        return Err(bad("--env needs a name".to_owned()));
    }
    let value = value.ok_or_else(|| bad(format!("the variable {name} is not set")))?;
    Ok((name.to_owned(), value))
}

/// A result of tools/list, alone or in its frame, or the list itself.
fn read(file: &str) -> Result<Vec<Value>, Trouble> {
    let bad = |cause: String| Trouble::new(Exit::BAD_ARGUMENTS, WHAT, cause).at(file);
    let size = fs::metadata(file).map_err(|e| bad(e.to_string()))?.len();
    if size > MAX_FILE {
        return Err(bad("it is larger than 16 MiB".to_owned()));
    }
    let bytes = fs::read(file).map_err(|e| bad(e.to_string()))?;
    let value = parse(&bytes).map_err(|e| bad(format!("{e}")))?;
    let lists = [value.pointer("/result/tools"), value.get("tools"), Some(&value)];
    let found = lists.into_iter().flatten().find_map(Value::as_array);
    found.cloned().ok_or_else(|| bad("it is no result of tools/list".to_owned()))
}

fn print(args: &AnalyzeArgs, report: &Report, server: Value) -> Result<Exit, Trouble> {
    let is_ok = report.score <= args.max;
    if args.json {
        let mut all = report.to_json();
        if let Some(members) = all.as_object_mut() {
            members.insert("ok".into(), is_ok.into());
            members.insert("max".into(), args.max.into());
            members.insert("upstream".into(), server);
        }
        output::print(&output::json(&all))?;
    } else {
        output::print(&text(report))?;
    }
    if !is_ok && !args.json {
        terminal::note(&format!("agentpass: the score {} is above {}", report.score, args.max));
    }
    Ok(if is_ok { Exit::DONE } else { Exit::DENIED })
}

fn text(report: &Report) -> String {
    let mut lines = Vec::new();
    for tool in &report.tools {
        lines.push(format!("{}  {} {}", tool.name, tool.score, label(tool.score)));
        for doubt in &tool.doubts {
            let place = if doubt.place.is_empty() { String::new() } else { format!(" at {}", doubt.place) };
            lines.push(format!("  {}{place}: {}", doubt.weight.as_str(), doubt.text));
        }
    }
    let (count, score) = (counted(report.tools.len(), "tool"), report.score);
    lines.push(format!("{count}, score {score} ({})", label(score)));
    lines.join("\n")
}
