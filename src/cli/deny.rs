//! `agentpass deny`: a no to one question, or to many.

use serde_json::{Value, json};

use super::answered::report;
use super::options::owner_command;
use super::several::{self, Selected, Selection};
use super::{Exit, Trouble};
use crate::gate::MAX_NOTE;

owner_command! {
    /// Say no to a question. Runs on the gateway's machine.
    #[argh(
        subcommand,
        name = "deny",
        error_code(1, "with --all: not all of them are denied"),
        error_code(3, "no gateway is running"),
        error_code(5, "it was not open any more")
    )]
    DenyArgs {
        /// the request id, or as much of its beginning as is unique
        #[argh(positional)]
        pub id: Option<String>,
        /// tell the agent why
        #[argh(option, arg_name = "text")]
        pub note: Option<String>,
        /// all open questions of one agent
        #[argh(switch)]
        pub all: bool,
        /// the agent whose questions --all means
        #[argh(option, arg_name = "name")]
        pub agent: Option<String>,
        /// only those that this rule asks about: N of rules[N]
        #[argh(option, arg_name = "n")]
        pub rule: Option<u64>,
        /// only those that this default asks about: N of defaults[N]
        #[argh(option, arg_name = "n")]
        pub default: Option<u64>,
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
    let of = (args.id.as_deref(), args.agent.as_deref());
    let selection =
        Selection { all: args.all, id: of.0, agent: of.1, rule: args.rule, default: args.default };
    let denial = |id: Value| json!({"command": "deny", "id": id, "note": args.note});
    match selection.read("deny")? {
        Selected::One(id) => report("deny", &args.connect("deny")?.ask(&denial(id.into()))?, args.json),
        Selected::Many(wanted) => {
            let (list, answers) = (args.connect("deny")?, args.connect("deny")?);
            let answer = |question: &Value| denial(question.get("request_id").cloned().unwrap_or_default());
            several::answer("deny", (list, answers), &wanted, answer, args.json)
        }
    }
}
