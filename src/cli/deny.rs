//! `agentpass deny`: a no to one question.

use argh::FromArgs;
use serde_json::json;

use super::approve::answer;
use super::{Exit, Trouble};
use crate::gate::MAX_NOTE;

/// Say no to a question. Runs on the gateway's machine.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "deny",
    error_code(3, "no gateway is running"),
    error_code(5, "it was not open any more")
)]
pub(crate) struct Deny {
    /// the request id, or as much of its beginning as is unique
    #[argh(positional)]
    pub id: String,
    /// tell the agent why
    #[argh(option, arg_name = "text")]
    pub note: Option<String>,
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
pub(crate) fn run(args: Deny) -> Exit {
    let length = args.note.as_deref().map_or(0, |note| note.trim().chars().count());
    if length > MAX_NOTE {
        let cause = format!("the note has {length} characters, and {MAX_NOTE} are the most");
        return Trouble::new(Exit::BAD_ARGUMENTS, "deny", cause)
            .help("shorten it; the question is still open")
            .report();
    }
    let command = json!({"command": "deny", "id": args.id, "note": args.note});
    answer("deny", args.socket.as_deref(), args.config.as_deref(), &command, args.json)
        .unwrap_or_else(|trouble| trouble.report())
}
