//! `agentpass approve`: a yes to one question.

use std::time::{Duration, Instant};

use argh::FromArgs;
use serde_json::{Value, json};

use super::owner::Owner;
use super::{Exit, Trouble, output, terminal};
use crate::base::safe_text::visible;

/// Say yes to a question, and wait for the outcome of its call. Runs on the gateway's machine.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "approve",
    error_code(3, "no gateway is running"),
    error_code(5, "it was not open any more")
)]
pub(crate) struct Approve {
    /// the request id, or as much of its beginning as is unique
    #[argh(positional)]
    pub id: String,
    /// print JSON: what became of the answer, without waiting for the call
    #[argh(switch)]
    pub json: bool,
    /// the gateway's control socket (default: the one in config.yaml)
    #[argh(option, arg_name = "file")]
    pub socket: Option<String>,
    /// config.yaml, which names the socket (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
}

/// How long it waits for the outcome of the call that it let through.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs it.
pub(crate) fn run(args: Approve) -> Exit {
    approve(&args).unwrap_or_else(|trouble| trouble.report())
}

/// With `--json` it is the answer alone; people also hear how the call went.
fn approve(args: &Approve) -> Result<Exit, Trouble> {
    let (socket, config) = (args.socket.as_deref(), args.config.as_deref());
    let command = json!({"command": "approve", "id": args.id});
    if args.json {
        return answer("approve", socket, config, &command, true);
    }
    // Listens before it answers: the call may be over before the answer is here.
    let mut events = Owner::connect("approve", socket, config)?;
    events.send(&super::owner::command("watch"))?;
    let reply = Owner::connect("approve", socket, config)?.ask(&command)?;
    let exit = told("approve", &reply)?;
    let id = reply.get("request_id").cloned().unwrap_or_default();
    match outcome_of(&mut events, &id) {
        Some(outcome) => output::print(&outcome)?,
        None => {
            terminal::note("it is still running; `agentpass audit show` tells how it ends");
            return Ok(exit);
        }
    };
    Ok(exit)
}

/// How the call ended, in words; None when it has not ended in time or nobody can say.
fn outcome_of(events: &mut Owner, id: &Value) -> Option<String> {
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

/// Gives one answer and says what became of it.
///
/// # Errors
/// When there is no gateway, the id is not unique, or the answer came too late.
pub(crate) fn answer(
    what: &'static str,
    socket: Option<&str>,
    config: Option<&str>,
    command: &Value,
    as_json: bool,
) -> Result<Exit, Trouble> {
    let reply = Owner::connect(what, socket, config)?.ask(command)?;
    if as_json {
        output::print(&output::json(&reply))?;
        let resolved = reply.get("outcome").and_then(Value::as_str) == Some("resolved");
        return Ok(if resolved { Exit::DONE } else { Exit::FAILED });
    }
    told(what, &reply)
}

/// What became of an answer, for people.
fn told(what: &'static str, reply: &Value) -> Result<Exit, Trouble> {
    let word = |name: &str| reply.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (outcome, id) = (word("outcome"), word("request_id"));
    let (cause, help) = match outcome.as_str() {
        "resolved" => {
            output::print(&format!("{id} is {}", if what == "approve" { "approved" } else { "denied" }))?;
            return Ok(Exit::DONE);
        }
        "already_resolved" => (ended(reply), "`agentpass audit show` tells all of it"),
        "expired" => ("its time is over".to_owned(), "the agent has to ask again"),
        _ => ("there is no such open question".to_owned(), "`agentpass approvals` shows those that are open"),
    };
    Err(Trouble::new(Exit::FAILED, what, cause).help(help))
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
