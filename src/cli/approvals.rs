//! `agentpass approvals`: the questions that wait for an answer.

use argh::FromArgs;

use super::Exit;

/// Show the questions that wait for an answer. Runs on the gateway's machine.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "approvals", error_code(3, "no gateway is running"))]
pub struct Approvals {
    /// stay, and ask y/n for each question as it comes; without a terminal, print each as a line of JSON
    #[argh(switch)]
    pub watch: bool,
    /// print JSON: an array, or with --watch an object per line
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
pub fn run(args: Approvals) -> Exit {
    let _ = args;
    super::not_built("approvals")
}
