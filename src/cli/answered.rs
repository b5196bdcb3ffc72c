//! What became of an answer, in words and as an exit code.

use serde_json::Value;

use super::{Exit, Trouble, grants, output};
use crate::base::safe_text::visible;

/// Says what became of an answer.
pub(crate) fn report(what: &'static str, reply: &Value, as_json: bool) -> Result<Exit, Trouble> {
    let exit = exit_of(reply);
    if as_json {
        output::print(&output::json(reply))?;
        return Ok(exit);
    }
    if word(reply, "outcome") == "counted" {
        return output::finish(&in_words(what, reply));
    }
    if exit == Exit::DONE {
        let granted = reply.get("grant").map(|grant| format!("\ngranted {}", grants::told(grant)));
        let said = format!("{} is {}", word(reply, "request_id"), in_words(what, reply));
        return output::finish(&(said + &granted.unwrap_or_default()));
    }
    let help = match word(reply, "outcome") {
        "already_resolved" => "`agentpass audit show` tells all of it",
        "expired" => "the agent has to ask again",
        "stale" => {
            "`agentpass approvals --json` shows it with its digest, and --digest approves what has it; it is still open"
        }
        "not_approver" => "`agentpass approvals` shows who they are; the question is still open",
        "refused" | "denied" => "the question is still open",
        _ => "`agentpass approvals` shows those that are open",
    };
    Err(Trouble::new(exit, what, in_words(what, reply)).help(help))
}

pub(crate) fn exit_of(reply: &Value) -> Exit {
    match word(reply, "outcome") {
        "resolved" | "counted" => Exit::DONE,
        "not_approver" | "stale" | "denied" => Exit::DENIED,
        "refused" => Exit::BAD_ARGUMENTS,
        _ => Exit::FAILED,
    }
}

/// What became of an answer, to go on with after the question's name.
pub(crate) fn in_words(what: &str, reply: &Value) -> String {
    match word(reply, "outcome") {
        "resolved" if what == "approve" => "approved".to_owned(),
        "resolved" => "denied".to_owned(),
        "already_resolved" => ended(reply),
        "counted" => {
            let number = |name: &str| reply.get(name).and_then(Value::as_u64).unwrap_or_default();
            let (have, need) = (number("have"), number("need"));
            format!("your yes counts: {have} of {need}; the question stays open")
        }
        "not_approver" => "you are not among those whose answers to it count".to_owned(),
        "expired" => "its time is over".to_owned(),
        "stale" => "the call was changed since it was shown".to_owned(),
        "refused" | "denied" => visible(word(reply, "why")),
        _ => "there is no such open question".to_owned(),
    }
}

fn word<'r>(reply: &'r Value, name: &str) -> &'r str {
    reply.get(name).and_then(Value::as_str).unwrap_or_default()
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
