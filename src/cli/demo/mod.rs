//! `agentpass demo`: the whole product on one machine, with a toy smart home.

use argh::FromArgs;

use super::Exit;

/// Show the whole product on this machine alone: a gateway, a toy smart home, an agent that asks, and you who
/// approve. Needs no configuration and leaves nothing behind.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "demo")]
pub struct Demo {
    /// approve everything without asking
    #[argh(switch)]
    pub yes: bool,
}

/// Runs it.
pub fn run(args: Demo) -> Exit {
    let _ = args;
    super::not_built("demo")
}
