//! What people on the gateway itself can ask for: the commands of the control socket, all but `watch`.

use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::answering;
use super::grants::{self, GrantCommand};
use super::kill_switch;
use super::people;
use crate::approval::local::LocalChannel;
use crate::base::json::parse_strict;
use crate::base::once_flag::OnceFlag;
use crate::gate::limits::CannotReset;
use crate::gate::reading::CannotForget;
use crate::gate::{Executor, Gate, Submission};
use crate::model::edit::ArgChanges;
use crate::model::{AgentId, Choice, Question, Responder};
use crate::protocol::frame::MAX_DEPTH;
use crate::surface::admin::{self, Admin};
use crate::surface::members::{required, text};
use crate::surface::shapes;

/// Reloads the configuration. Returns warnings, or the findings because of which nothing has changed.
pub(crate) type ReloadFn = Rc<dyn Fn() -> Result<Vec<String>, Vec<String>>>;

pub(crate) struct Control {
    pub(crate) gate: Rc<Gate>,
    pub(crate) local: Rc<LocalChannel>,
    pub(crate) executor: Executor,
    pub(crate) reload: ReloadFn,
    pub(crate) admin: Option<Rc<Admin>>,
    pub(crate) stop: Rc<OnceFlag>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum ControlCommand {
    /// Lists the open questions.
    Approvals,
    /// Reports what happens to questions, until the client leaves.
    Watch,
    Answer {
        /// A whole id or a unique beginning.
        id: String,
        choice: Choice,
    },
    /// Shows a question as changes would make it.
    Preview {
        /// A whole id or a unique beginning.
        id: String,
        changes: ArgChanges,
    },
    Status,
    /// The channels and how they are.
    Channels,
    /// Sends a harmless message through a channel.
    TestChannel {
        name: String,
    },
    Reload,
    /// Stops all calls, or those of one agent.
    Kill {
        agent: Option<String>,
        reason: Option<String>,
    },
    /// Lets them go on.
    Resume {
        agent: Option<String>,
    },
    /// Makes a link to the admin pages, for the person who asks or for whom is named.
    Web {
        name: Option<String>,
    },
    /// Who is known on which channel.
    People,
    /// The limits and what they have counted; of one agent, or of all.
    Limits {
        agent: Option<String>,
    },
    /// The agents and what they carry.
    Agents,
    /// Lets it be forgotten what an agent has read.
    Forget {
        agent: String,
    },
    /// Takes the present time as right.
    AcceptClock,
    /// What would become of a call now, and why.
    Explain {
        agent: String,
        tool: String,
        args: Map<String, Value>,
    },
    Grants(GrantCommand),
    /// Lets a limit count anew.
    ResetLimit {
        name: String,
        agent: Option<String>,
    },
}

/// Reads one line.
///
/// # Errors
/// What is wrong with it, for the author of the client.
pub(crate) fn parse(line: &[u8]) -> Result<ControlCommand, String> {
    let Ok(Value::Object(mut members)) = parse_strict(line, MAX_DEPTH) else {
        return Err("a command is one JSON object per line".into());
    };
    let command = match text(&mut members, "command")?.as_deref() {
        Some("approvals") => ControlCommand::Approvals,
        Some("watch") => ControlCommand::Watch,
        Some("status") => ControlCommand::Status,
        Some("channels") => ControlCommand::Channels,
        Some("channels_test") => {
            ControlCommand::TestChannel { name: text(&mut members, "name")?.ok_or("name is missing")? }
        }
        Some("reload") => ControlCommand::Reload,
        Some("web") => ControlCommand::Web { name: text(&mut members, "as")? },
        Some("people") => ControlCommand::People,
        Some("agents") => ControlCommand::Agents,
        Some("forget") => ControlCommand::Forget { agent: required(&mut members, "agent")? },
        Some("clock_accept") => ControlCommand::AcceptClock,
        Some("limits") => ControlCommand::Limits { agent: text(&mut members, "agent")? },
        Some("explain") => ControlCommand::Explain {
            agent: required(&mut members, "agent")?,
            tool: required(&mut members, "tool")?,
            args: match members.remove("args") {
                Some(Value::Object(args)) => args,
                _ => return Err("args must be an object".into()),
            },
        },
        Some("kill") => ControlCommand::Kill {
            agent: text(&mut members, "agent")?,
            reason: kill_switch::reason(&mut members)?,
        },
        Some("resume") => ControlCommand::Resume { agent: text(&mut members, "agent")? },
        Some("limits_reset") => ControlCommand::ResetLimit {
            name: required(&mut members, "name")?,
            agent: text(&mut members, "agent")?,
        },
        Some("grants") => ControlCommand::Grants(grants::list(&mut members)?),
        Some("grant") => ControlCommand::Grants(grants::give(&mut members)?),
        Some("grants_revoke") => ControlCommand::Grants(grants::revoke(&mut members)?),
        Some("approve") => ControlCommand::Answer {
            id: required(&mut members, "id")?,
            choice: answering::approve(&mut members)?,
        },
        Some("preview") => ControlCommand::Preview {
            id: required(&mut members, "id")?,
            changes: answering::changes(&mut members)?,
        },
        Some("deny") => ControlCommand::Answer {
            id: required(&mut members, "id")?,
            choice: answering::deny(&mut members)?,
        },
        Some(_) | None => return Err("unknown command".into()),
    };
    match members.keys().next() {
        Some(name) => Err(format!("unknown member {name}")),
        None => Ok(command),
    }
}

/// Runs a command for `by`.
pub(crate) async fn run(control: &Control, command: ControlCommand, by: &Responder) -> Value {
    match command {
        ControlCommand::Approvals | ControlCommand::Watch => {
            let gate = &control.gate;
            let shown =
                |q: &Arc<Question>| shapes::question(q, gate.flights.times_asked(q), &gate.tally(q.id));
            let open: Vec<_> = gate.approvals.questions().iter().map(shown).collect();
            json!({"approvals": open})
        }
        ControlCommand::Answer { id, choice } => answering::answer(&control.gate, &id, choice, by).await,
        ControlCommand::Preview { id, changes } => answering::preview(&control.gate, &id, &changes, by),
        ControlCommand::Status => status(control),
        ControlCommand::Channels => shapes::channels(&control.gate.status()),
        ControlCommand::TestChannel { name } => test_channel(control, &name).await,
        ControlCommand::Kill { agent, reason } => match known_agent(control, agent.as_deref()) {
            Ok(agent) => kill_switch::stop(&control.gate, agent, reason, by).await,
            Err(failure) => failure,
        },
        // One that was removed from the configuration can be resumed, too.
        ControlCommand::Resume { agent } => {
            let agent = agent.as_deref().map(AgentId::configured);
            kill_switch::resume(&control.gate, agent, by).await
        }
        ControlCommand::Reload => reload(control, by),
        ControlCommand::Web { name } => web(control, name.as_deref(), by),
        ControlCommand::People => json!({"people": shapes::people(&control.gate.setup().config.people)}),
        ControlCommand::Agents => {
            let agents = control.gate.agents();
            json!({"agents": agents.iter().map(shapes::agent).collect::<Vec<_>>()})
        }
        ControlCommand::Forget { agent } => forget(control, &agent, by).await,
        ControlCommand::AcceptClock => accept_clock(control, by).await,
        ControlCommand::Limits { agent } => limits(control, agent.as_deref()),
        ControlCommand::Explain { agent, tool, args } => match known_agent(control, Some(&agent)) {
            Ok(_) => {
                let request = Submission { tool, args, ..Submission::default() };
                control.gate.explain(&AgentId::configured(&agent), request).to_json()
            }
            Err(failure) => failure,
        },
        ControlCommand::Grants(command) => grants::run(&control.gate, command, by).await,
        ControlCommand::ResetLimit { name, agent } => reset_limit(control, &name, agent.as_deref(), by).await,
    }
}

async fn accept_clock(control: &Control, by: &Responder) -> Value {
    match control.gate.accept_clock(by).await {
        Ok(()) => json!({"accepted": control.gate.clock().now().to_string()}),
        Err(e) => shapes::failure(&format!("it could not be recorded: {e}"), None),
    }
}

async fn forget(control: &Control, agent: &str, by: &Responder) -> Value {
    match control.gate.forget(agent, by.clone()).await {
        Ok(()) => {
            log::info!("agent {agent}: what it has read is forgotten, by {by}");
            json!({"forgotten": agent})
        }
        Err(CannotForget::Unknown) => no_such_agent(),
        Err(CannotForget::Store(e)) => {
            shapes::failure(&format!("it could not be recorded: {e}"), Some("nothing is forgotten"))
        }
    }
}

fn no_such_agent() -> Value {
    shapes::failure("there is no such agent", Some("`agentpass agents` shows them"))
}

fn limits(control: &Control, agent: Option<&str>) -> Value {
    match known_agent(control, agent) {
        Ok(agent) => {
            let limits = control.gate.limits(agent.as_ref());
            json!({"limits": limits.iter().map(shapes::limit).collect::<Vec<_>>()})
        }
        Err(failure) => failure,
    }
}

async fn reset_limit(control: &Control, name: &str, agent: Option<&str>, by: &Responder) -> Value {
    let agent = match known_agent(control, agent) {
        Ok(agent) => agent,
        Err(failure) => return failure,
    };
    match control.gate.reset_limit(name, agent, by.clone()).await {
        Ok(()) => {
            log::info!("limit {name}: counts anew, by {by}");
            json!({"reset": name})
        }
        Err(CannotReset::Unknown) => {
            shapes::failure("there is no such limit", Some("`agentpass limits` shows them"))
        }
        Err(CannotReset::NotPerAgent) => shapes::failure(
            "this limit does not count by agents",
            Some("leave out --agent to reset all of it"),
        ),
        Err(CannotReset::Store(e)) => {
            shapes::failure(&format!("it could not be recorded: {e}"), Some("the limit counts on as before"))
        }
    }
}

/// A misspelt name must not read as an agent that has done nothing.
fn known_agent(control: &Control, name: Option<&str>) -> Result<Option<AgentId>, Value> {
    let Some(name) = name else { return Ok(None) };
    let agent = AgentId::configured(name);
    match control.gate.setup().knows(&agent) {
        true => Ok(Some(agent)),
        false => Err(no_such_agent()),
    }
}

async fn test_channel(control: &Control, name: &str) -> Value {
    let Some(channel) = control.gate.approvals.channel(name) else {
        return shapes::failure("there is no such channel", Some("`agentpass channels` shows them"));
    };
    let (works, said) = match channel.test().await {
        Ok(said) => (true, said),
        Err(said) => (false, said),
    };
    json!({"channel": name, "works": works, "said": said})
}

fn status(control: &Control) -> Value {
    let mut status = shapes::status(&control.gate.status());
    let urls = control.admin.as_ref().map(|admin| admin.urls()).unwrap_or_default();
    if let Some(members) = status.as_object_mut() {
        members.insert("admin".into(), json!(urls));
    }
    status
}

fn web(control: &Control, name: Option<&str>, by: &Responder) -> Value {
    let Some(admin) = &control.admin else {
        return shapes::failure(
            "the admin pages are switched off",
            Some("set gateway.health_port to a port and start the gateway again"),
        );
    };
    if let Some(Err(failure)) = name.map(|name| may_be(control, name, by)) {
        return failure;
    }
    match admin.link(by, name) {
        Ok(url) => json!({"url": url, "expires_in_s": admin::LINK_LIFE.as_secs()}),
        Err(e) => shapes::failure(&format!("the link could not be made: {e}"), None),
    }
}

/// Nobody but root may sign in as somebody else.
fn may_be(control: &Control, name: &str, by: &Responder) -> Result<(), Value> {
    let setup = control.gate.setup();
    let listed = &setup.config.people;
    if !listed.has(name) {
        return Err(shapes::invalid(
            "nobody has this name",
            "`agentpass people` shows who is listed in config.yaml",
        ));
    }
    let is_self = listed.person_of(&by.identity()) == name;
    match is_self || by.as_str() == people::root() {
        true => Ok(()),
        false => Err(shapes::invalid("only root may make a link for somebody else", "leave --as away")),
    }
}

fn reload(control: &Control, by: &Responder) -> Value {
    match (control.reload)() {
        Ok(warnings) => {
            log::info!("configuration reloaded for {by}");
            json!({"reloaded": true, "warnings": warnings})
        }
        Err(findings) => json!({"reloaded": false, "findings": findings}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::MAX_NOTE;

    #[test]
    fn reads_commands_strictly() {
        assert_eq!(parse(b"{\"command\":\"status\"}\n"), Ok(ControlCommand::Status));
        let deny = parse(br#"{"command":"deny","id":"ab","note":"  "}"#);
        assert_eq!(deny, Ok(ControlCommand::Answer { id: "ab".into(), choice: Choice::Deny { note: None } }));
        for bad in
            ["", "[]", "{}", r#"{"command":"approve"}"#, r#"{"command":"status","x":1}"#, r#"{"command":7}"#]
        {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let long = format!(r#"{{"command":"deny","id":"a","note":"{}"}}"#, "x".repeat(MAX_NOTE + 1));
        assert!(parse(long.as_bytes()).is_err());
    }
}
