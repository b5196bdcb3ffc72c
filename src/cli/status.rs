//! `agentpass status`: how the running gateway is.

use argh::FromArgs;

use super::Exit;

/// Show how the running gateway is: agents, open questions, channels, store, services.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "status", error_code(3, "no gateway is running"))]
pub struct Status {
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// the gateway's control socket (default: the one in config.yaml)
    #[argh(option, arg_name = "file")]
    pub socket: Option<String>,
    /// config.yaml, which names the socket (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
}

/// Runs it.
pub fn run(args: Status) -> Exit {
    let _ = args;
    super::not_built("status")
}
