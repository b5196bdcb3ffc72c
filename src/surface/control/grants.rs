//! The commands about grants.

use serde_json::{Map, Value, json};

use crate::gate::Gate;
use crate::gate::granting::{Beforehand, CannotGrant, Revoked, WhichGrants};
use crate::model::{AgentId, GrantWish, Responder};
use crate::surface::members::{flag, text, wish};
use crate::surface::shapes;

#[derive(Debug, PartialEq)]
pub(super) enum GrantCommand {
    /// Lists the grants that last, or all.
    List {
        ended: bool,
    },
    /// Grants calls beforehand.
    Give {
        agent: String,
        pattern: String,
        wish: GrantWish,
        session: Option<String>,
    },
    Revoke(WhichGrants),
}

pub(super) fn list(members: &mut Map<String, Value>) -> Result<GrantCommand, String> {
    Ok(GrantCommand::List { ended: flag(members, "all")? })
}

pub(super) fn give(members: &mut Map<String, Value>) -> Result<GrantCommand, String> {
    Ok(GrantCommand::Give {
        agent: text(members, "agent")?.ok_or("agent is missing")?,
        pattern: text(members, "pattern")?.ok_or("pattern is missing")?,
        wish: wish(members)?.ok_or("for is missing")?,
        session: text(members, "session")?,
    })
}

pub(super) fn revoke(members: &mut Map<String, Value>) -> Result<GrantCommand, String> {
    let (id, agent) = (text(members, "id")?, text(members, "agent")?);
    let (by, all) = (text(members, "by")?, flag(members, "all")?);
    Ok(GrantCommand::Revoke(match (id, agent, by, all) {
        (Some(id), None, None, false) => WhichGrants::One(id),
        (None, Some(agent), None, false) => WhichGrants::Agent(AgentId::configured(&agent)),
        (None, None, Some(by), false) => WhichGrants::By(Responder::recorded(&by)),
        (None, None, None, true) => WhichGrants::All,
        _ => return Err("name one of id, agent, by and all".into()),
    }))
}

pub(super) async fn run(gate: &Gate, command: GrantCommand, by: &Responder) -> Value {
    match command {
        GrantCommand::List { ended } => {
            json!({"grants": gate.grants(ended).iter().map(shapes::grant).collect::<Vec<_>>()})
        }
        GrantCommand::Give { agent, pattern, wish, session } => {
            let agent = AgentId::configured(&agent);
            let wanted = Beforehand { agent, pattern, wish, session };
            match gate.grant_beforehand(wanted, by.clone()).await {
                Ok(grant) => json!({"outcome": "granted", "grant": shapes::grant(&grant)}),
                Err(CannotGrant::Refused(why)) => json!({"outcome": "refused", "why": why}),
                Err(why) => failure(&why),
            }
        }
        GrantCommand::Revoke(which) => match gate.revoke_grants(&which, by.clone()).await {
            Ok(Revoked { ended, recorded }) => {
                json!({"revoked": ended.iter().map(shapes::grant).collect::<Vec<_>>(), "recorded": recorded})
            }
            Err(why) => failure(&why),
        },
    }
}

fn failure(why: &CannotGrant) -> Value {
    match why {
        CannotGrant::Refused(why) => shapes::failure(why, None),
        CannotGrant::Unknown => {
            shapes::failure("there is no such grant", Some("`agentpass grants` shows those that last"))
        }
        CannotGrant::Several => shapes::failure(
            "several grants begin with this id",
            Some("give more of it; `agentpass grants` shows them"),
        ),
        CannotGrant::Store(e) => {
            shapes::failure(&format!("it could not be recorded: {e}"), Some("nothing is granted"))
        }
    }
}
