//! `agentpass explain`: what the policy says to a call, and why. Works from the files alone.

use argh::FromArgs;

use super::Exit;

/// Say what would happen to a call, and why: the decision, the rule, the trace. Needs no running gateway.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "explain",
    example = "agentpass explain ha_call_service domain=lock service=unlock entity_id=lock.door",
    error_code(4, "bad arguments"),
    error_code(78, "bad configuration")
)]
pub struct Explain {
    /// the tool; not with --stdin
    #[argh(positional)]
    pub tool: Option<String>,
    /// its arguments: key=value is text, key:=JSON is typed
    #[argh(positional, arg_name = "key=value")]
    pub args: Vec<String>,
    /// more arguments, as one JSON object
    #[argh(option, arg_name = "json")]
    pub json_args: Option<String>,
    /// the agent that would ask (default: the only one, else "default")
    #[argh(option)]
    pub agent: Option<String>,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// read {{"agent"?, "tool", "args"}} from each line of stdin and print one JSON decision per line
    #[argh(switch)]
    pub stdin: bool,
    /// config.yaml (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
    /// permissions.yaml (default: beside config.yaml)
    #[argh(option, arg_name = "file")]
    pub permissions: Option<String>,
}

/// Runs it.
pub fn run(args: Explain) -> Exit {
    let _ = args;
    super::not_built("explain")
}
