//! `agentpass serve`: the gateway.

use std::path::Path;

use argh::FromArgs;
use log::LevelFilter;

use super::{Exit, logging, terminal};
use crate::config::Paths;
use crate::daemon::{self, Options, StartError};

/// Run the gateway. Logs go to stderr; SIGHUP reloads the configuration, SIGTERM ends it in order.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "serve", error_code(78, "bad configuration; nothing was started"))]
pub(crate) struct Serve {
    /// serve without TLS: tokens and results are then readable on the network
    #[argh(switch)]
    pub insecure: bool,
    /// config.yaml (default: AGENTPASS_CONFIG, else in the working directory, else in /etc/agentpass, which a service takes at once)
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
pub(crate) fn run(args: Serve) -> Exit {
    let Serve { insecure, config, permissions, log_level } = args;
    if let Err(trouble) = logging::start(log_level.as_deref(), LevelFilter::Info) {
        return trouble.report();
    }
    let paths = Paths::find(config.as_deref().map(Path::new), permissions.as_deref().map(Path::new));
    match daemon::run(Options { paths, insecure }) {
        Ok(()) => Exit::DONE,
        Err(e) => {
            terminal::note(e.to_string().trim_end());
            match e {
                StartError::Config(_) | StartError::Setting(..) => Exit::BAD_CONFIGURATION,
                StartError::Machine { .. } => Exit::FAILED,
            }
        }
    }
}
