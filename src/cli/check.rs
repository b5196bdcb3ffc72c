//! `agentpass check`: are the files right?

use argh::FromArgs;

use super::Exit;

/// Read and check the configuration, the permissions and the tool files, and print what is wrong or doubtful.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "check", error_code(78, "something is wrong; warnings alone are no error"))]
pub struct Check {
    /// config.yaml (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
    /// permissions.yaml (default: beside config.yaml)
    #[argh(option, arg_name = "file")]
    pub permissions: Option<String>,
    /// print the findings to stdout as JSON
    #[argh(switch)]
    pub json: bool,
}

/// Runs it.
pub fn run(args: Check) -> Exit {
    let _ = args;
    super::not_built("check")
}
