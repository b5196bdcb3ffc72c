//! `agentpass limits`: what has been counted under the owner's limits, and counting anew.

use argh::FromArgs;
use serde_json::{Value, json};

use super::options::owner_command;
use super::{Exit, Trouble, layout, output, terminal};
use crate::base::clock::{Clock, Timestamp};
use crate::base::safe_text::visible;
use crate::base::zone::Zone;

owner_command! {
    /// Show the limits and what they have counted. Runs on the gateway's machine.
    #[argh(
        subcommand,
        name = "limits",
        note = "`agentpass limits reset NAME` lets a limit count anew.",
        error_code(3, "no gateway is running")
    )]
    LimitsArgs {
        /// what to do (default: show them)
        #[argh(subcommand)]
        pub command: Option<LimitsCommand>,
        /// only what this agent has used
        #[argh(option)]
        pub agent: Option<String>,
        /// print JSON
        #[argh(switch)]
        pub json: bool,
    }
}

/// What `limits` can do.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub(crate) enum LimitsCommand {
    Reset(ResetArgs),
}

owner_command! {
    /// Set the counters of a limit to zero. The record names who did it.
    #[argh(
        subcommand,
        name = "reset",
        error_code(3, "no gateway is running"),
        error_code(5, "there is no such limit or agent, or the limit does not count by agents")
    )]
    ResetArgs {
        /// the limit
        #[argh(positional)]
        pub name: String,
        /// only what this agent has used
        #[argh(option)]
        pub agent: Option<String>,
        /// print JSON
        #[argh(switch)]
        pub json: bool,
    }
}

pub(crate) fn run(args: &LimitsArgs) -> Result<Exit, Trouble> {
    if let Some(LimitsCommand::Reset(args)) = &args.command {
        return reset(args);
    }
    let reply = args.connect("show the limits")?.ask(&json!({"command": "limits", "agent": args.agent}))?;
    let limits = reply.get("limits").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = match (args.json, limits.is_empty()) {
        (true, _) => output::json(&Value::from(limits)),
        (false, true) => "there are no limits".to_owned(),
        (false, false) => table(&limits),
    };
    output::print(&text)?;
    Ok(Exit::DONE)
}

fn reset(args: &ResetArgs) -> Result<Exit, Trouble> {
    let command = json!({"command": "limits_reset", "name": args.name, "agent": args.agent});
    let reply = args.connect("reset the limit")?.ask(&command)?;
    let text = if args.json { output::json(&reply) } else { format!("{} counts anew", visible(&args.name)) };
    output::print(&text)?;
    Ok(Exit::DONE)
}

fn table(limits: &[Value]) -> String {
    let (now, zone) = (Clock::system().now(), Zone::system());
    let head = ["LIMIT", "FOR", "COUNT", "ASKED ABOVE", "DENIED ABOVE", "ENDS"].map(str::to_owned);
    let rows = limits.iter().map(|limit| row(limit, now, &zone));
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    layout::table(&rows, "", terminal::width())
}

fn row(limit: &Value, now: Timestamp, zone: &Zone) -> [String; 6] {
    let text = |name: &str| limit.get(name).and_then(Value::as_str).map(visible);
    let amount = |name: &str| match limit.get(name) {
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => visible(text),
        _ => "-".to_owned(),
    };
    let ends = limit.get("resets_at").and_then(Value::as_str).and_then(Timestamp::parse);
    let today = zone.date_and_time(now).split(' ').next()
        == ends.and_then(|at| zone.date_and_time(at).split(' ').next().map(str::to_owned)).as_deref();
    let ends = ends.map(|at| if today { zone.hour_and_minute(at) } else { zone.date_and_time(at) });
    [
        text("name").unwrap_or_default(),
        text("for").filter(|whose| !whose.is_empty()).unwrap_or_else(|| "all".to_owned()),
        text("shown").unwrap_or_default(),
        amount("ask_above"),
        amount("deny_above"),
        ends.unwrap_or_else(|| "-".to_owned()),
    ]
}
