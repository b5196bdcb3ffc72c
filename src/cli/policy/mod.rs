//! `agentpass policy`: what rules, limits and flows do, before they count.

mod cases;
mod from_record;
mod replay;

use argh::FromArgs;

use self::cases::TestArgs;
use self::replay::ReplayArgs;
use super::{Exit, Trouble};

/// Try a policy before it counts: on cases of yours, and on the calls that the record holds.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "policy")]
pub(crate) struct PolicyArgs {
    /// what to do with it
    #[argh(subcommand)]
    pub command: PolicyCommand,
}

/// What `policy` can do.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub(crate) enum PolicyCommand {
    Test(TestArgs),
    Replay(ReplayArgs),
}

pub(crate) fn run(args: &PolicyArgs) -> Result<Exit, Trouble> {
    match &args.command {
        PolicyCommand::Test(args) if args.from_record => from_record::run(args),
        PolicyCommand::Test(args) => cases::run(args),
        PolicyCommand::Replay(args) => replay::run(args),
    }
}
