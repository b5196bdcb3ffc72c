//! `agentpass approve`: a yes to one question.

use argh::FromArgs;
use serde_json::{Value, json};

use super::owner::Owner;
use super::{Exit, Trouble, output};
use crate::base::safe_text::visible;

/// Say yes to a question. Runs on the gateway's machine.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "approve",
    error_code(3, "no gateway is running"),
    error_code(5, "it was not open any more")
)]
pub struct Approve {
    /// the request id, or as much of its beginning as is unique
    #[argh(positional)]
    pub id: String,
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
pub fn run(args: Approve) -> Exit {
    let command = json!({"command": "approve", "id": args.id});
    answer("approve", args.socket.as_deref(), args.config.as_deref(), &command, args.json)
        .unwrap_or_else(|trouble| trouble.report())
}

/// Gives one answer and says what became of it.
///
/// # Errors
/// When there is no gateway, the id is not unique, or the answer came too late.
pub fn answer(
    what: &'static str,
    socket: Option<&str>,
    config: Option<&str>,
    command: &Value,
    as_json: bool,
) -> Result<Exit, Trouble> {
    let reply = Owner::connect(what, socket, config)?.ask(command)?;
    let word = |name: &str| reply.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (outcome, id) = (word("outcome"), word("request_id"));
    if as_json {
        output::print(&output::json(&reply))?;
        return Ok(if outcome == "resolved" { Exit::DONE } else { Exit::FAILED });
    }
    let (cause, help) = match outcome.as_str() {
        "resolved" => {
            output::print(&format!("{id} is {}", if what == "approve" { "approved" } else { "denied" }))?;
            return Ok(Exit::DONE);
        }
        "already_resolved" => (ended(&reply), "`agentpass audit show` tells all of it"),
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
