//! `agentpass grants` and `agentpass grant`: calls that people have approved in advance.

use argh::FromArgs;
use serde_json::{Value, json};

use super::options::owner_command;
use super::{Exit, Trouble, layout, output, terminal};
use crate::base::clock::{Clock, Timestamp};
use crate::base::readable::short_id;
use crate::base::safe_text::visible;
use crate::base::zone::Zone;
use crate::model::clock_time;

owner_command! {
    /// Show the grants: calls that people have approved in advance. Runs on the gateway's machine.
    #[argh(
        subcommand,
        name = "grants",
        note = "`agentpass grants revoke ID` ends one; `agentpass grant` gives one.",
        error_code(3, "no gateway is running")
    )]
    GrantsArgs {
        /// what to do (default: show them)
        #[argh(subcommand)]
        pub command: Option<GrantsCommand>,
        /// those too that have ended, and why
        #[argh(switch)]
        pub all: bool,
        /// print JSON
        #[argh(switch)]
        pub json: bool,
    }
}

/// What `grants` can do.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub(crate) enum GrantsCommand {
    Revoke(RevokeArgs),
}

owner_command! {
    /// End grants at once. The record names who did it.
    #[argh(
        subcommand,
        name = "revoke",
        error_code(3, "no gateway is running"),
        error_code(4, "it is not said which"),
        error_code(5, "there is no such grant")
    )]
    RevokeArgs {
        /// the grant's id, or as much of its beginning as is unique
        #[argh(positional)]
        pub id: Option<String>,
        /// all grants of this agent
        #[argh(option)]
        pub agent: Option<String>,
        /// all grants that this person gave, such as telegram:7001 or local:root
        #[argh(option)]
        pub by: Option<String>,
        /// all grants
        #[argh(switch)]
        pub all: bool,
        /// print JSON
        #[argh(switch)]
        pub json: bool,
    }
}

owner_command! {
    /// Approve in advance the calls of an agent that rules would ask about. What is denied stays denied, and flows and
    /// limits still ask. Runs on the gateway's machine.
    #[argh(
        subcommand,
        name = "grant",
        error_code(3, "no gateway is running"),
        error_code(4, "this cannot be granted")
    )]
    GrantArgs {
        /// the agent
        #[argh(positional)]
        pub agent: String,
        /// which calls: a pattern for signatures, as in permissions.yaml
        #[argh(positional)]
        pub pattern: String,
        /// how long it lasts, such as 90s, 15m, 1h or 2d
        #[argh(option, long = "for", arg_name = "time")]
        pub time: String,
        /// how many calls it lets through (default: any number)
        #[argh(option)]
        pub uses: Option<u32>,
        /// only in this session of the agent
        #[argh(option)]
        pub session: Option<String>,
        /// print JSON
        #[argh(switch)]
        pub json: bool,
    }
}

pub(crate) fn run(args: &GrantsArgs) -> Result<Exit, Trouble> {
    if let Some(GrantsCommand::Revoke(args)) = &args.command {
        return revoke(args);
    }
    let reply = args.connect("show the grants")?.ask(&json!({"command": "grants", "all": args.all}))?;
    let grants = reply.get("grants").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = match (args.json, grants.is_empty()) {
        (true, _) => output::json(&Value::from(grants)),
        (false, true) => "nothing is granted".to_owned(),
        (false, false) => table(&grants),
    };
    output::print(&text)?;
    Ok(Exit::DONE)
}

pub(crate) fn give(args: &GrantArgs) -> Result<Exit, Trouble> {
    let GrantArgs { agent, pattern, time, uses, session, .. } = args;
    let command = json!({
        "command": "grant", "agent": agent, "pattern": pattern, "for": time, "uses": uses, "session": session,
    });
    if crate::base::readable::read_span(time).is_none() {
        let cause = format!("\"{}\" is not a time", visible(time));
        return Err(Trouble::new(Exit::BAD_ARGUMENTS, WHAT, cause).help("write it like 90s, 15m, 1h or 2d"));
    }
    let reply = args.connect(WHAT)?.ask(&command)?;
    let granted = reply.get("outcome").and_then(Value::as_str) == Some("granted");
    if args.json {
        output::print(&output::json(&reply))?;
        return Ok(if granted { Exit::DONE } else { Exit::BAD_ARGUMENTS });
    }
    if !granted {
        let why = reply.get("why").and_then(Value::as_str).map(visible).unwrap_or_default();
        return Err(Trouble::new(Exit::BAD_ARGUMENTS, WHAT, why));
    }
    output::finish(&told(reply.get("grant").unwrap_or(&Value::Null)))
}

const WHAT: &str = "grant this";

/// A grant in one line: `1b2c3d4e: every light(on, *) of laptop, at most 20 times, until 19:48`.
pub(crate) fn told(grant: &Value) -> String {
    let text = |name: &str| grant.get(name).and_then(Value::as_str).map(visible).unwrap_or_default();
    let left = grant.get("uses_left").and_then(Value::as_u64);
    let uses = left.map(|uses| format!(", {uses} uses left")).unwrap_or_default();
    format!("{}: {}{uses}, until {}", short_id(&text("grant_id")), text("covers"), until(grant))
}

fn until(grant: &Value) -> String {
    let at = grant.get("until").and_then(Value::as_str).and_then(Timestamp::parse);
    at.map(|at| clock_time(at, Clock::system().now(), &Zone::system())).unwrap_or_default()
}

fn revoke(args: &RevokeArgs) -> Result<Exit, Trouble> {
    let what = "revoke the grant";
    let RevokeArgs { id, agent, by, all, .. } = args;
    let said = [id.is_some(), agent.is_some(), by.is_some(), *all];
    if said.into_iter().filter(|said| *said).count() != 1 {
        let help = "give an id, or one of --agent, --by and --all";
        return Err(Trouble::new(Exit::BAD_ARGUMENTS, what, "say which ones, in one way").help(help));
    }
    let command = json!({"command": "grants_revoke", "id": id, "agent": agent, "by": by, "all": all});
    let reply = args.connect(what)?.ask(&command)?;
    let revoked = reply.get("revoked").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = match (args.json, revoked.is_empty()) {
        (true, _) => output::json(&Value::from(revoked)),
        (false, true) => "there was nothing to revoke".to_owned(),
        (false, false) => {
            revoked.iter().map(|grant| format!("revoked {}", told(grant))).collect::<Vec<_>>().join("\n")
        }
    };
    output::print(&text)?;
    if reply.get("recorded").and_then(Value::as_bool) == Some(false) {
        let help = "they count no more; it is tried again until it is written down";
        return Err(Trouble::new(
            Exit::FAILED,
            "record that",
            "a restart before it is would bring them back",
        )
        .help(help));
    }
    Ok(Exit::DONE)
}

fn table(grants: &[Value]) -> String {
    let head = ["GRANT", "LETS THROUGH", "UNTIL", "USES LEFT", "GRANTED BY", "ENDED"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(grants.iter().map(row)).collect();
    layout::table(&rows, "", terminal::width())
}

fn row(grant: &Value) -> [String; 6] {
    let text = |name: &str| grant.get(name).and_then(Value::as_str).map(visible);
    let left = grant.get("uses_left").and_then(Value::as_u64);
    [
        short_id(&text("grant_id").unwrap_or_default()),
        text("covers").unwrap_or_default(),
        until(grant),
        left.map_or_else(|| "any number".to_owned(), |left| left.to_string()),
        text("granted_by").unwrap_or_default(),
        text("ended").unwrap_or_else(|| "-".to_owned()),
    ]
}
