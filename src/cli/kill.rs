//! `agentpass kill` and `agentpass resume`: the kill switch.

use std::path::Path;

use serde_json::{Value, json};

use super::options::owner_command;
use super::{Exit, Trouble, output, owner};
use crate::base::clock::Clock;
use crate::base::readable::counted;
use crate::base::safe_text::visible;
use crate::config::{self, Paths};
use crate::model::{AgentId, MAX_STOP_REASON, Stop};
use crate::store::marker;
use crate::surface::control::people;

owner_command! {
    /// Stop all calls at once, or those of one agent, until a person resumes them.
    #[argh(
        subcommand,
        name = "kill",
        note = "New calls are denied, open questions are withdrawn, grants are revoked. A call that has reached its service runs to its end. `agentpass resume` lifts the stop. Without a running gateway, the next one starts stopped.",
        error_code(3, "no gateway is running, and nothing can be left for the next one"),
        error_code(4, "the reason is too long"),
        error_code(5, "there is no such agent")
    )]
    KillArgs {
        /// only this agent
        #[argh(option)]
        pub agent: Option<String>,
        /// why, for the record and the people who see it; agents do not
        #[argh(option)]
        pub reason: Option<String>,
        /// print JSON
        #[argh(switch)]
        pub json: bool,
    }
}

owner_command! {
    /// Lift a stop that `agentpass kill`, a person on another channel or the circuit breaker has made.
    #[argh(
        subcommand,
        name = "resume",
        note = "Without --agent it lifts the stop of everything; agents that are stopped individually stay stopped and are named.",
        error_code(3, "no gateway is running"),
        error_code(5, "it is not stopped")
    )]
    ResumeArgs {
        /// the agent that is stopped individually
        #[argh(option)]
        pub agent: Option<String>,
        /// print JSON
        #[argh(switch)]
        pub json: bool,
    }
}

const STOP: &str = "stop calls";

pub(crate) fn run(args: &KillArgs) -> Result<Exit, Trouble> {
    let reason = args.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
    if reason.is_some_and(|reason| reason.chars().count() > MAX_STOP_REASON) {
        let cause = format!("a reason has at most {MAX_STOP_REASON} characters");
        return Err(Trouble::new(Exit::BAD_ARGUMENTS, STOP, cause));
    }
    let tell = || -> Result<Value, Trouble> {
        args.connect(STOP)?.ask(&json!({"command": "kill", "agent": args.agent, "reason": reason}))
    };
    let reply = match tell() {
        Err(trouble) if trouble.is_about_connection() => {
            leave_for_the_next_start(args, reason, trouble, tell)?
        }
        told => told?,
    };
    output::print(&if args.json { output::json(&reply) } else { told(&reply) })?;
    Ok(Exit::DONE)
}

/// Leaves it for the next start, then asks once more: a gateway may have been started meanwhile.
fn leave_for_the_next_start(
    args: &KillArgs,
    reason: Option<&str>,
    trouble: Trouble,
    tell: impl FnOnce() -> Result<Value, Trouble>,
) -> Result<Value, Trouble> {
    let paths = Paths::find(args.config.as_deref().map(Path::new), None);
    let agent = args.agent.as_deref().map(AgentId::configured);
    // Where the files can be read, a misspelt name does not stop nobody.
    if let (Some(agent), Ok(loaded)) = (&agent, config::load(&paths))
        && !loaded.config.agents.iter().any(|known| known.id == *agent)
    {
        return Err(Trouble::new(Exit::FAILED, STOP, "there is no such agent"));
    }
    let record = owner::local(STOP, args.config.as_deref())?.storage.path;
    let by = people::this_user();
    let stop = Stop { agent, by, at: Clock::system().now(), reason: reason.map(str::to_owned) };
    let Ok(marker) = marker::leave(&record, &stop) else { return Err(trouble) };
    if let Ok(reply) = tell() {
        let help = "it stops the next start as well; remove it";
        let cannot = |e| Trouble::new(Exit::FAILED, STOP, e).at(marker.display().to_string()).help(help);
        marker::withdraw(&record).map_err(cannot)?;
        return Ok(reply);
    }
    let whose = stop.agent.as_ref().map(AgentId::as_str);
    Ok(json!({
        "stopped": {"agent": whose, "by": stop.by.as_str(), "at": stop.at.to_string(), "reason": reason},
        "already": false,
        "withdrawn": 0,
        "executing": 0,
        "recorded": false,
        "marker": marker.display().to_string(),
    }))
}

pub(crate) fn resume(args: &ResumeArgs) -> Result<Exit, Trouble> {
    let reply = args.connect("resume calls")?.ask(&json!({"command": "resume", "agent": args.agent}))?;
    let text = if args.json {
        output::json(&reply)
    } else {
        let resumed = format!("{} may make calls again", whose(reply.get("resumed")));
        let still = reply.get("still_stopped").and_then(Value::as_array).into_iter().flatten();
        let still: Vec<_> = still.map(|stop| whose(Some(stop))).collect();
        if still.is_empty() { resumed } else { format!("{resumed}\nstill stopped: {}", still.join(", ")) }
    };
    output::print(&text)?;
    Ok(Exit::DONE)
}

fn told(reply: &Value) -> String {
    let number = |name: &str| reply.get(name).and_then(Value::as_u64).unwrap_or_default();
    let count = |name: &str| usize::try_from(number(name)).unwrap_or(usize::MAX);
    let is = |name: &str| reply.get(name).and_then(Value::as_bool) == Some(true);
    let whose = whose(reply.get("stopped"));
    if let Some(marker) = reply.get("marker").and_then(Value::as_str) {
        return format!(
            "no gateway is running; the next one starts with {whose} stopped ({})",
            visible(marker)
        );
    }
    let is_new = !is("already");
    let mut lines = vec![match is_new {
        true => format!("{whose} is stopped; {} withdrawn", counted(count("withdrawn"), "question")),
        false => format!("{whose} was stopped already; `agentpass status` says by whom"),
    }];
    if is_new && count("executing") > 0 {
        let calls = counted(count("executing"), "call");
        lines.push(format!("{calls} at a service cannot be called back and will be seen through"));
    }
    if !is("recorded") {
        lines.push("it could NOT BE RECORDED yet: a restart before that lifts it".to_owned());
    }
    lines.join("\n")
}

fn whose(stop: Option<&Value>) -> String {
    let agent = stop.and_then(|stop| stop.get("agent")).and_then(Value::as_str);
    agent.map_or_else(|| "everything".to_owned(), |name| format!("agent {}", visible(name)))
}
