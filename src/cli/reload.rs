//! `agentpass reload`: the running gateway reads its files again.

use argh::FromArgs;

use super::Exit;

/// Make the running gateway read its files again. It keeps the old ones if the new ones are wrong.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "reload", error_code(3, "no gateway is running"), error_code(78, "the files are wrong"))]
pub struct Reload {
    /// the gateway's control socket (default: the one in config.yaml)
    #[argh(option, arg_name = "file")]
    pub socket: Option<String>,
    /// config.yaml, which names the socket (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
}

/// Runs it.
pub fn run(args: Reload) -> Exit {
    let _ = args;
    super::not_built("reload")
}
