//! `agentpass approve`: a yes to one question.

use argh::FromArgs;

use super::Exit;

/// Say yes to a question. Runs on the gateway's machine.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "approve", error_code(3, "no gateway is running"), error_code(5, "it was not open any more"))]
pub struct Approve {
    /// the request id, or as much of its beginning as is unique
    #[argh(positional)]
    pub id: String,
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
pub fn run(args: Approve) -> Exit {
    let _ = args;
    super::not_built("approve")
}
