//! `agentpass clock`: what the owner says of the gateway's clock.

use argh::FromArgs;
use serde_json::Value;

use super::options::owner_command;
use super::owner::command;
use super::{Exit, Trouble, output};
use crate::base::safe_text::visible;

/// Say that the time of the gateway's clock is right.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "clock")]
pub(crate) struct ClockArgs {
    /// what to do
    #[argh(subcommand)]
    pub command: ClockCommand,
}

/// What `clock` can do.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub(crate) enum ClockCommand {
    Accept(AcceptArgs),
}

owner_command! {
    /// Accept the system's time although it is earlier than the newest time in the record. The record names who did
    /// it. Look at the time first: rules and limits go by it.
    #[argh(subcommand, name = "accept", error_code(3, "no gateway is running"))]
    AcceptArgs {
        /// print JSON
        #[argh(switch)]
        pub json: bool,
    }
}

pub(crate) fn run(args: &ClockArgs) -> Result<Exit, Trouble> {
    let ClockCommand::Accept(args) = &args.command;
    let reply = args.connect("accept the time")?.ask(&command("clock_accept"))?;
    let time = reply.get("accepted").and_then(Value::as_str).map(visible).unwrap_or_default();
    output::print(&if args.json { output::json(&reply) } else { format!("the time is {time}") })?;
    Ok(Exit::DONE)
}
