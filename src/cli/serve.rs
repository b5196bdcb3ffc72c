//! `agentpass serve`: the gateway.

use argh::FromArgs;
use log::LevelFilter;

use super::files::paths;
use super::{Exit, Trouble, logging, terminal};
use crate::daemon::{self, Options, StartError};

/// Run the gateway. Logs go to stderr; SIGHUP reloads the configuration, SIGTERM ends it in order.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "serve", error_code(78, "bad configuration; nothing was started"))]
pub(crate) struct ServeArgs {
    /// serve without TLS: tokens and results are then readable on the network
    #[argh(switch)]
    pub insecure: bool,
    /// config.yaml (default: AGENTPASS_CONFIG, else in the working directory, else in /etc/agentpass, which a service
    /// takes at once)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
    /// permissions.yaml (default: beside config.yaml)
    #[argh(option, arg_name = "file")]
    pub permissions: Option<String>,
    /// how much is logged: error, warn, info, debug or trace (default: LOG_LEVEL, else info)
    #[argh(option, arg_name = "level")]
    pub log_level: Option<String>,
}

pub(crate) fn run(args: &ServeArgs) -> Result<Exit, Trouble> {
    logging::start(args.log_level.as_deref(), LevelFilter::Info)?;
    let paths = paths(args.config.as_deref(), args.permissions.as_deref());
    Ok(match daemon::run(Options { paths, insecure: args.insecure }) {
        Ok(()) => Exit::DONE,
        Err(e) => {
            terminal::note(e.to_string().trim_end());
            match e {
                StartError::Config(_) | StartError::Setting(..) => Exit::BAD_CONFIGURATION,
                StartError::Machine { .. } => Exit::FAILED,
            }
        }
    })
}
