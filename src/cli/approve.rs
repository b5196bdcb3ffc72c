//! `agentpass approve`: a yes to one question, also with changes, or to many.

use std::io::{IsTerminal as _, stdin};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::answered::report;
use super::owner::{ControlClient, command};
use super::several::{self, Selected, answer_command};
use super::{Exit, Trouble, card, output, terminal, values};
use crate::base::readable::read_span;
use crate::base::safe_text::visible;

answer_command! {
    /// Say yes to a question, and wait for the outcome of its call. Runs on the gateway's machine.
    #[argh(
        subcommand,
        name = "approve",
        error_code(1, "the changed call is denied, or the call was changed since it was shown"),
        error_code(3, "no gateway is running"),
        error_code(4, "the call cannot be changed like this, or what is to be granted is not offered"),
        error_code(5, "it was not open any more")
    )]
    ApproveArgs {
        /// say yes to more such calls for this long, such as 15m or 1h: at most as long as the question offers
        #[argh(option, long = "for", arg_name = "time")]
        pub time: Option<String>,
        /// how many of them, besides this one (default: as many as are offered)
        #[argh(option)]
        pub uses: Option<u32>,
        /// change an argument first, name:=JSON or name=text; name:=null leaves it out. Can be repeated
        #[argh(option, arg_name = "name:=value")]
        pub set: Vec<String>,
        /// only if the call is still the one with this digest, as approvals --json has it
        #[argh(option, arg_name = "hex")]
        pub digest: Option<String>,
        /// print JSON: what became of the answer, without waiting for the call
        #[argh(switch)]
        pub json: bool,
    }
}

/// How long to wait for the outcome of the approved call.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(args: &ApproveArgs) -> Result<Exit, Trouble> {
    mistakes(args)?;
    match args.selection().read("approve")? {
        Selected::One(id) => one(args, id),
        Selected::Many(wanted) if args.set.is_empty() && args.digest.is_none() && args.time.is_none() => {
            let (list, answers) = (args.connect("approve")?, args.connect("approve")?);
            let answer = |question: &Value| {
                let member = |name: &str| question.get(name).cloned().unwrap_or_default();
                json!({"command": "approve", "id": member("request_id"), "digest": member("digest")})
            };
            several::answer("approve", (list, answers), &wanted, answer, args.json)
        }
        Selected::Many(_) => {
            Err(several::mistake("approve", "--set, --digest and --for go with one question"))
        }
    }
}

/// With `--json` it is the answer alone; people also hear how the call went.
fn one(args: &ApproveArgs, id: &str) -> Result<Exit, Trouble> {
    let approval = match args.set.as_slice() {
        [] => {
            json!({"command": "approve", "id": id, "digest": args.digest, "for": args.time, "uses": args.uses})
        }
        set => match changed(args, id, set)? {
            Changed::Approval(approval) => approval,
            Changed::Not(exit) => return Ok(exit),
        },
    };
    if args.json {
        return report("approve", &args.connect("approve")?.ask(&approval)?, true);
    }
    // Listens before it answers: the call may be over before the answer is here.
    let mut events = args.connect("approve")?;
    events.send(&command("watch"))?;
    let reply = args.connect("approve")?.ask(&approval)?;
    let exit = report("approve", &reply, false)?;
    let id = reply.get("request_id").cloned().unwrap_or_default();
    if reply.get("outcome").and_then(Value::as_str) == Some("counted") {
        return Ok(exit);
    }
    match outcome_of(&mut events, &id) {
        Some(outcome) => drop(output::print(&outcome)?),
        None => terminal::note("it is still running; `agentpass audit show` tells how it ends"),
    }
    Ok(exit)
}

fn mistakes(args: &ApproveArgs) -> Result<(), Trouble> {
    let wrong = |cause: &str, help: &str| Err(Trouble::new(Exit::BAD_ARGUMENTS, "approve", cause).help(help));
    match &args.time {
        None if args.uses.is_some() => wrong("--uses is given without --for", "say how long with --for 15m"),
        Some(time) if read_span(time).is_none() => {
            wrong("--for is not a time", "write it like 90s, 15m, 1h or 2d")
        }
        Some(_) if !args.set.is_empty() => {
            wrong("--set and --for do not go together", "a changed call is approved once")
        }
        Some(_) | None => Ok(()),
    }
}

enum Changed {
    /// The command that approves the changed call.
    Approval(Value),
    /// Nothing is to be done.
    Not(Exit),
}

/// The changed call is shown again, whole, before anything is done; on a terminal it is asked for.
fn changed(args: &ApproveArgs, id: &str, set: &[String]) -> Result<Changed, Trouble> {
    let set = values::read(set, None).map_err(|cause| Trouble::new(Exit::BAD_ARGUMENTS, "approve", cause))?;
    let reply = args.connect("approve")?.ask(&json!({"command": "preview", "id": id, "set": set}))?;
    let Some(question) = reply.get("preview") else {
        return report("approve", &reply, args.json).map(Changed::Not);
    };
    let of = reply.get("of").cloned().unwrap_or_default();
    if !args.json {
        terminal::note(&card::question(question, terminal::width()));
        if stdin().is_terminal() && terminal::is_stderr() && !terminal::confirm("approve this call? [y/n] ") {
            terminal::note("nothing was done; the question is still open");
            return Ok(Changed::Not(Exit::DENIED));
        }
    }
    let digest = args.digest.as_deref().map_or(of, Value::from);
    let id = question.get("request_id").cloned().unwrap_or_default();
    Ok(Changed::Approval(json!({"command": "approve", "id": id, "set": set, "digest": digest})))
}

/// How the call ended, in words; None when it has not ended in time or nobody can say.
fn outcome_of(events: &mut ControlClient, id: &Value) -> Option<String> {
    let until = Instant::now() + PATIENCE;
    loop {
        events.patience(until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?);
        let event = events.hear().ok()??;
        if event.get("request_id") != Some(id) {
            continue;
        }
        if let Some(outcome) = event.get("finished").and_then(Value::as_str) {
            let word = |name: &str| event.get(name).and_then(Value::as_str);
            let reason = word("reason").map(|why| why.replace('_', " "));
            let more = reason.or_else(|| word("data_note").map(visible)).map(|more| format!(": {more}"));
            return Some(format!("{}{}", outcome.replace('_', " "), more.unwrap_or_default()));
        }
    }
}
