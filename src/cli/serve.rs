//! `agentpass serve`: the gateway.

use argh::FromArgs;

use super::Exit;

/// Run the gateway. Logs go to stderr; SIGHUP reloads the configuration, SIGTERM ends it in order.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "serve", error_code(78, "bad configuration; nothing was started"))]
pub struct Serve {
    /// serve without TLS: tokens and results are then readable on the network
    #[argh(switch)]
    pub insecure: bool,
    /// config.yaml (default: in /etc/agentpass when run as a service, else in the working directory)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
    /// permissions.yaml (default: beside config.yaml)
    #[argh(option, arg_name = "file")]
    pub permissions: Option<String>,
    /// how much is logged: error, warn, info, debug or trace (default: LOG_LEVEL, else info)
    #[argh(option, arg_name = "level")]
    pub log_level: Option<String>,
}

/// Runs it.
pub fn run(args: Serve) -> Exit {
    let _ = args;
    super::not_built("serve")
}
