//! `agentpass mcp`: an MCP server on standard input and output, for clients that start their servers; and MCP servers
//! behind the gateway, looked at before they are trusted.
//!
//! The server is a bridge: every call goes to the gateway over the agent's connection, which mends itself and never runs a
//! call twice. What a client asks first is answered at once, whether or not the gateway can be reached: clients start it just
//! to look, and end it by closing its input.

mod add;
mod analyze;
mod bridge;
mod calls;
mod diff;
mod import;
mod link;
mod server;
mod session;
mod stdio;
mod told;
mod tool_file;
mod waiting;

use std::rc::Rc;
use std::time::Duration;

use argh::FromArgs;
use async_signal::{Signal, Signals};
use log::LevelFilter;
use smol::stream::StreamExt as _;
use smol::{LocalExecutor, future};

use self::add::AddArgs;
use self::analyze::AnalyzeArgs;
use self::bridge::Bridge;
use self::diff::DiffArgs;
use self::import::ImportArgs;
use self::session::McpSession;
use super::options::agent_command;
use super::{Exit, Trouble, logging};
use crate::net::deadline::within;

const WHAT: &str = "serve MCP";
/// How long what is under way may take when the input has ended: clients wait a moment, then they send a signal.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long it may take after a signal.
const HURRY: Duration = Duration::from_millis(500);

agent_command! {
    /// Serve MCP on standard input and output, for clients that start their servers; its calls go to the gateway.
    #[argh(
        subcommand,
        name = "mcp",
        example = "agentpass mcp --url wss://pi.lan:8443 --token-file ~/.config/agentpass/token",
        note = "It speaks 2026-07-28 and the versions with a handshake, and ends with its input.",
        error_code(3, "no gateway or no token is given"),
        error_code(4, "bad arguments")
    )]
    McpArgs {
        /// what else to do with MCP servers
        #[argh(subcommand)]
        pub command: Option<McpCommand>,
    }
}

/// What `mcp` can do besides.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub(crate) enum McpCommand {
    Add(AddArgs),
    Analyze(AnalyzeArgs),
    Import(ImportArgs),
    Diff(DiffArgs),
}

pub(crate) fn run(args: &McpArgs) -> Result<Exit, Trouble> {
    match &args.command {
        Some(McpCommand::Add(args)) => add::run(args),
        Some(McpCommand::Analyze(args)) => analyze::run(args),
        Some(McpCommand::Import(args)) => import::run(args),
        Some(McpCommand::Diff(args)) => diff::run(args),
        None => serve(args),
    }
}

fn serve(args: &McpArgs) -> Result<Exit, Trouble> {
    logging::start(args.log_level.as_deref(), LevelFilter::Warn)?;
    let options = args.gateway()?;
    let mut signals =
        Signals::new([Signal::Int, Signal::Term]).map_err(|e| Trouble::new(Exit::FAILED, WHAT, e))?;
    let executor = Rc::new(LocalExecutor::new());
    let lines = stdio::lines();
    let (out, writer) = stdio::writer();
    smol::block_on(executor.run(async {
        let bridge = Bridge::new(McpSession::new(executor.clone(), options, out));
        let serve = async {
            while let Ok(line) = lines.recv().await {
                bridge.take(line).await;
            }
            bridge.end(FAREWELL).await;
        };
        let ended = async {
            serve.await;
            true
        };
        let signalled = async {
            signals.next().await;
            false
        };
        if !future::or(ended, signalled).await {
            bridge.end(HURRY).await;
        }
        within(HURRY, writer).await;
    }));
    Ok(Exit::DONE)
}
