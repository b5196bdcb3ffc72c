//! `agentpass approve`: a yes to one question.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::options::owner_command;
use super::owner::{ControlClient, command};
use super::{Exit, Trouble, grants, output, terminal};
use crate::base::readable::read_span;
use crate::base::safe_text::visible;

owner_command! {
    /// Say yes to a question, and wait for the outcome of its call. Runs on the gateway's machine.
    #[argh(
        subcommand,
        name = "approve",
        error_code(3, "no gateway is running"),
        error_code(4, "what is to be granted is not offered; the question is still open"),
        error_code(5, "it was not open any more")
    )]
    ApproveArgs {
        /// the request id, or as much of its beginning as is unique
        #[argh(positional)]
        pub id: String,
        /// say yes to more such calls for this long, such as 15m or 1h: at most as long as the question offers
        #[argh(option, long = "for", arg_name = "time")]
        pub time: Option<String>,
        /// how many of them, besides this one (default: as many as are offered)
        #[argh(option)]
        pub uses: Option<u32>,
        /// print JSON: what became of the answer, without waiting for the call
        #[argh(switch)]
        pub json: bool,
    }
}

/// How long to wait for the outcome of the approved call.
const PATIENCE: Duration = Duration::from_secs(60);

/// With `--json` it is the answer alone; people also hear how the call went.
pub(crate) fn run(args: &ApproveArgs) -> Result<Exit, Trouble> {
    let approval = json!({"command": "approve", "id": args.id, "for": args.time, "uses": args.uses});
    mistakes(args)?;
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
        Some(_) | None => Ok(()),
    }
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
            let reason = event.get("reason").and_then(Value::as_str).map(|why| format!(": {why}"));
            return Some(format!("{outcome}{}", reason.unwrap_or_default()).replace('_', " "));
        }
    }
}

/// Says what became of an answer.
pub(crate) fn report(what: &'static str, reply: &Value, as_json: bool) -> Result<Exit, Trouble> {
    let word = |name: &str| reply.get(name).and_then(Value::as_str).unwrap_or_default();
    let outcome = word("outcome");
    let exit = match outcome {
        "resolved" | "counted" => Exit::DONE,
        "not_approver" | "stale" | "denied" => Exit::DENIED,
        "refused" => Exit::BAD_ARGUMENTS,
        _ => Exit::FAILED,
    };
    if as_json {
        output::print(&output::json(reply))?;
        return Ok(exit);
    }
    let why = || visible(word("why"));
    let (cause, help) = match outcome {
        "resolved" => {
            let answer = if what == "approve" { "approved" } else { "denied" };
            let granted = reply.get("grant").map(|grant| format!("\ngranted {}", grants::told(grant)));
            let granted = granted.unwrap_or_default();
            return output::finish(&format!("{} is {answer}{granted}", word("request_id")));
        }
        "counted" => {
            let number = |name: &str| reply.get(name).and_then(Value::as_u64).unwrap_or_default();
            let (have, need) = (number("have"), number("need"));
            return output::finish(&format!("your yes counts: {have} of {need}; the question stays open"));
        }
        "not_approver" => (
            "you are not among those whose answers to it count".to_owned(),
            "`agentpass approvals` shows who they are; the question is still open",
        ),
        "already_resolved" => (ended(reply), "`agentpass audit show` tells all of it"),
        "expired" => ("its time is over".to_owned(), "the agent has to ask again"),
        "stale" => (
            "the call was changed since it was shown".to_owned(),
            "look at it again with `agentpass approvals`; the question is still open",
        ),
        "refused" | "denied" => (why(), "the question is still open"),
        _ => ("there is no such open question".to_owned(), "`agentpass approvals` shows those that are open"),
    };
    Err(Trouble::new(exit, what, cause).help(help))
}

/// How a question ended before this answer.
fn ended(reply: &Value) -> String {
    let word = |name: &str| reply.get(name).and_then(Value::as_str).map(visible);
    let by = word("resolved_by").map(|by| format!(" by {by}")).unwrap_or_default();
    match word("resolution").as_deref() {
        Some("approved") => format!("it has been approved already{by}"),
        Some("denied") => format!("it has been denied already{by}"),
        Some("withdrawn") => "the agent has taken it back".to_owned(),
        Some("void") => format!("it is void: {}", word("why").unwrap_or_default()),
        Some(_) | None => "it has been answered already".to_owned(),
    }
}
