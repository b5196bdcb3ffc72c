//! `agentpass agents` and `agentpass forget`: which agents there are, and the data that they carry.

use serde_json::{Value, json};

use super::options::owner_command;
use super::owner::command;
use super::{Exit, Trouble, layout, output, terminal};
use crate::base::clock::{Clock, Timestamp};
use crate::base::safe_text::visible;
use crate::base::zone::Zone;

owner_command! {
    /// Show the agents, and the data that each has read and still counts as holding. Runs on the gateway's machine.
    #[argh(
        subcommand,
        name = "agents",
        note = "`agentpass forget AGENT` clears what an agent has read.",
        error_code(3, "no gateway is running")
    )]
    AgentsArgs {
        /// print JSON
        #[argh(switch)]
        pub json: bool,
    }
}

owner_command! {
    /// Forget what an agent has read: its next calls are judged as if it had read nothing. The record names who
    /// did it.
    #[argh(
        subcommand,
        name = "forget",
        error_code(3, "no gateway is running"),
        error_code(5, "there is no such agent")
    )]
    ForgetArgs {
        /// the agent
        #[argh(positional)]
        pub agent: String,
        /// print JSON
        #[argh(switch)]
        pub json: bool,
    }
}

pub(crate) fn run(args: &AgentsArgs) -> Result<Exit, Trouble> {
    let reply = args.connect("show the agents")?.ask(&command("agents"))?;
    let agents = reply.get("agents").and_then(Value::as_array).cloned().unwrap_or_default();
    output::print(&if args.json { output::json(&Value::from(agents)) } else { table(&agents) })?;
    Ok(Exit::DONE)
}

pub(crate) fn forget(args: &ForgetArgs) -> Result<Exit, Trouble> {
    let command = json!({"command": "forget", "agent": args.agent});
    let reply = args.connect("forget what the agent has read")?.ask(&command)?;
    let told = || format!("what {} has read is forgotten", visible(&args.agent));
    output::print(&if args.json { output::json(&reply) } else { told() })?;
    Ok(Exit::DONE)
}

fn table(agents: &[Value]) -> String {
    let (now, zone) = (Clock::system().now(), Zone::system());
    let head = ["AGENT", "GROUPS", "CONNECTIONS", "CARRIES", "FROM", "UNTIL"].map(str::to_owned);
    let rows = agents.iter().flat_map(|agent| rows(agent, now, &zone));
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    layout::table(&rows, "", terminal::width())
}

/// One row for each source; one for an agent that carries nothing.
fn rows(agent: &Value, now: Timestamp, zone: &Zone) -> Vec<[String; 6]> {
    let text = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).map(visible).unwrap_or_default();
    let words = |of: &Value, name: &str| {
        let words = of.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let words: Vec<String> = words.map(visible).collect();
        if words.is_empty() { "-".to_owned() } else { words.join(", ") }
    };
    let connections = agent.get("connections").and_then(Value::as_u64).unwrap_or_default().to_string();
    let own = [text(agent, "agent"), words(agent, "groups"), connections];
    let dash = || "-".to_owned();
    let sources = agent.get("sources").and_then(Value::as_array).cloned().unwrap_or_default();
    if sources.is_empty() {
        let [name, groups, connections] = own;
        return vec![[name, groups, connections, dash(), dash(), dash()]];
    }
    let until = |source: &Value| {
        let until = source.get("until").and_then(Value::as_str).and_then(Timestamp::parse);
        until.map_or_else(|| "its session ends".to_owned(), |at| moment(at, now, zone))
    };
    let row = |(place, source): (usize, &Value)| {
        let [name, groups, connections] = if place == 0 { own.clone() } else { Default::default() };
        [name, groups, connections, words(source, "labels"), text(source, "from"), until(source)]
    };
    sources.iter().enumerate().map(row).collect()
}

/// The time of the day where that is today.
fn moment(at: Timestamp, now: Timestamp, zone: &Zone) -> String {
    let [shown, today] = [at, now].map(|at| zone.date_and_time(at));
    let day = |text: &str| text.split(' ').next().map(str::to_owned);
    if day(&shown) == day(&today) { zone.hour_and_minute(at) } else { shown }
}
