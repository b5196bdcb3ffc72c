//! `agentpass deny`: a no to one question, or to many.

use serde_json::{Value, json};

use super::answered::report;
use super::several::{self, Selected, answer_command};
use super::{Exit, Trouble};
use crate::gate::MAX_NOTE;

answer_command! {
    /// Say no to a question. Runs on the gateway's machine.
    #[argh(
        subcommand,
        name = "deny",
        error_code(1, "with --all: not all of them are denied"),
        error_code(3, "no gateway is running"),
        error_code(5, "it was not open any more")
    )]
    DenyArgs {
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
        let cause = format!("the note has {length} characters, and {MAX_NOTE} is the most");
        let trouble = Trouble::new(Exit::BAD_ARGUMENTS, "deny", cause);
        return Err(trouble.help("shorten it; the question is still open"));
    }
    let denial = |id: Value| json!({"command": "deny", "id": id, "note": args.note});
    match args.selection().read("deny")? {
        Selected::One(id) => report("deny", &args.connect("deny")?.ask(&denial(id.into()))?, args.json),
        Selected::Many(wanted) => {
            let (list, answers) = (args.connect("deny")?, args.connect("deny")?);
            let answer = |question: &Value| denial(question.get("request_id").cloned().unwrap_or_default());
            several::answer("deny", (list, answers), &wanted, answer, args.json)
        }
    }
}
