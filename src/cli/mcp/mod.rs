//! `agentpass mcp`: MCP servers, looked at before they are trusted.

mod analyze;

use argh::FromArgs;

use self::analyze::AnalyzeArgs;
use super::{Exit, Trouble};

/// Look at MCP servers before you trust them.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "mcp")]
pub(crate) struct McpArgs {
    /// what to do
    #[argh(subcommand)]
    pub command: McpCommand,
}

/// What `mcp` can do.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub(crate) enum McpCommand {
    Analyze(AnalyzeArgs),
}

pub(crate) fn run(args: &McpArgs) -> Result<Exit, Trouble> {
    match &args.command {
        McpCommand::Analyze(args) => analyze::run(args),
    }
}
