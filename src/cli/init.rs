//! `agentpass init`: a working configuration to start from.

use argh::FromArgs;

use super::Exit;

/// Write a working configuration: a fresh token, a self-signed certificate, commented files. Prints what to do
/// next. Files that exist are left alone.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "init")]
pub struct Init {
    /// where (default: the working directory)
    #[argh(positional)]
    pub dir: Option<String>,
}

/// Runs it.
pub fn run(args: Init) -> Exit {
    let _ = args;
    super::not_built("init")
}
