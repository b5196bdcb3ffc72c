//! `agentpass audit`: the record of everything that was asked, decided and done.

use argh::FromArgs;

use super::Exit;

/// Read and check the record of everything that was asked, decided and done.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "audit")]
pub struct Audit {
    /// what to do with it
    #[argh(subcommand)]
    pub command: AuditCommand,
}

/// What `audit` can do.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub enum AuditCommand {
    /// Calls, newest first.
    List(List),
    /// One call with its events.
    Show(Show),
    /// Is the chain whole?
    Verify(Verify),
    /// Every event.
    Export(Export),
    /// Numbers.
    Stats(Stats),
}

/// List calls, newest first: a table on a terminal, one JSON object per line otherwise.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "list")]
pub struct List {
    /// only this tool
    #[argh(option)]
    pub tool: Option<String>,
    /// only this agent
    #[argh(option)]
    pub agent: Option<String>,
    /// only this decision: allow, ask or deny
    #[argh(option)]
    pub decision: Option<String>,
    /// only this outcome: executed, failed, denied, timed_out, withdrawn, refused, unknown or pending
    #[argh(option)]
    pub outcome: Option<String>,
    /// only from this time on, such as 2026-01-31T12:00:00Z
    #[argh(option, arg_name = "time")]
    pub since: Option<String>,
    /// only before this time
    #[argh(option, arg_name = "time")]
    pub until: Option<String>,
    /// at most so many (default: 50)
    #[argh(option, default = "50")]
    pub limit: u32,
    /// JSON on a terminal too
    #[argh(switch)]
    pub json: bool,
    /// config.yaml, which names the store (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
}

/// Show one call with all its events.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "show")]
pub struct Show {
    /// the request id, or as much of its beginning as is unique
    #[argh(positional)]
    pub id: String,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// config.yaml, which names the store (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
}

/// Check that no event was changed, removed or put elsewhere.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "verify", error_code(1, "it was; the first bad row is named"))]
pub struct Verify {
    /// an export to check instead of the store
    #[argh(positional)]
    pub file: Option<String>,
    /// config.yaml, which names the store (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
}

/// Print every event with its link in the chain, oldest first, one JSON object per line.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "export")]
pub struct Export {
    /// config.yaml, which names the store (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
}

/// Count calls by tool, agent, decision and outcome.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "stats")]
pub struct Stats {
    /// only from this time on, such as 2026-01-31T12:00:00Z
    #[argh(option, arg_name = "time")]
    pub since: Option<String>,
    /// only before this time
    #[argh(option, arg_name = "time")]
    pub until: Option<String>,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// config.yaml, which names the store (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
}

/// Runs it.
pub fn run(args: Audit) -> Exit {
    let _ = args;
    super::not_built("audit")
}
