//! `agentpass deny`: a no to one question.

use serde_json::json;

use super::approve::report;
use super::options::owner_command;
use super::{Exit, Trouble};
use crate::gate::MAX_NOTE;

owner_command! {
    /// Say no to a question. Runs on the gateway's machine.
    #[argh(
        subcommand,
        name = "deny",
        error_code(3, "no gateway is running"),
        error_code(5, "it was not open any more")
    )]
    DenyArgs {
        /// the request id, or as much of its beginning as is unique
        #[argh(positional)]
        pub id: String,
        /// tell the agent why
        #[argh(option, arg_name = "text")]
        pub note: Option<String>,
        /// print JSON
        #[argh(switch)]
        pub json: bool,
    }
}

pub(crate) fn run(args: &DenyArgs) -> Result<Exit, Trouble> {
    let length = args.note.as_deref().map_or(0, |note| note.trim().chars().count());
    if length > MAX_NOTE {
        let cause = format!("the note has {length} characters, and {MAX_NOTE} are the most");
        let trouble = Trouble::new(Exit::BAD_ARGUMENTS, "deny", cause);
        return Err(trouble.help("shorten it; the question is still open"));
    }
    let command = json!({"command": "deny", "id": args.id, "note": args.note});
    report("deny", &args.connect("deny")?.ask(&command)?, args.json)
}
