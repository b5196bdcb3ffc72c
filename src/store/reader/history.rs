//! What the record says of calls, from its first event to its last: for judging them once more.

use serde_json::{Map, Value};

use super::connection::Reader;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::model::{Action, AgentId, GrantUse, Reading, Source};
use crate::store::chain::{self, ChainEvent};
use crate::store::error::StoreError;
use crate::store::{grants, kind};

/// A call as it was recorded.
#[derive(Clone, Debug)]
pub(crate) struct RecordedCall {
    pub id: String,
    pub agent: AgentId,
    pub session: Option<String>,
    pub tool: String,
    /// None: only their beginning was kept.
    pub args: Option<Map<String, Value>>,
    pub signature: String,
    pub decision: Action,
    /// The grant that let it through.
    pub grant: Option<GrantUse>,
}

/// What happened at one moment.
#[derive(Clone, Debug)]
pub(crate) enum HistoryStep {
    Judged(Box<RecordedCall>),
    /// A person has given the grant with this id beforehand, whichever rule asks.
    GivenBeforehand(RequestId),
    /// A person has changed the call with this id.
    Edited {
        id: String,
        args: Option<Map<String, Value>>,
        signature: String,
    },
    /// From here on the call with this id may have been done.
    Claimed(String),
    Ended {
        id: String,
        /// It was done, and the agent could read what the service said.
        executed: bool,
    },
    /// A limit counts anew: for one agent, or for all.
    LimitReset {
        limit: Digest,
        agent: Option<AgentId>,
    },
    /// The answer to an earlier call was handed out once more.
    Read(Reading),
    /// A person let it be forgotten what this agent had read.
    Forgotten(AgentId),
}

impl Reader {
    /// Shows every step to `look`, in the order in which it was recorded.
    ///
    /// # Errors
    /// When the database cannot be read, or an event is none of ours.
    pub(crate) fn history(&mut self, mut look: impl FnMut(Timestamp, HistoryStep)) -> Result<(), StoreError> {
        let tx = self.snapshot()?;
        let kinds = [
            kind::REQUESTED,
            kind::GRANTED,
            kind::EDITED,
            kind::EXECUTING,
            kind::FINISHED,
            kind::LIMIT_RESET,
            kind::READ,
            kind::FORGOTTEN,
        ];
        let condition = format!("kind IN ('{}')", kinds.join("', '"));
        chain::find_event(&tx, &condition, |event| {
            for step in steps(event)? {
                look(Timestamp(event.at), step);
            }
            Ok(None::<()>)
        })?;
        Ok(())
    }
}

fn steps(event: &ChainEvent) -> Result<Vec<HistoryStep>, StoreError> {
    let body: Value = serde_json::from_str(&event.body)?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let id = event.request_id.clone().unwrap_or_default();
    let agent = text("agent").map(|name| AgentId::configured(&name));
    Ok(match event.kind.as_str() {
        kind::REQUESTED => {
            let call = recorded(id.clone(), &body).map(|call| HistoryStep::Judged(Box::new(call)));
            let claimed = text("then").is_some_and(|then| then == "executing");
            call.into_iter().chain(claimed.then_some(HistoryStep::Claimed(id))).collect()
        }
        kind::EDITED => {
            let args = body.get("args").and_then(Value::as_object).cloned();
            vec![HistoryStep::Edited { id, args, signature: text("signature").unwrap_or_default() }]
        }
        kind::GRANTED => {
            let given = grants::of_event(&body).map(|kept| kept.grant);
            let given = given.filter(|grant| grant.rule().is_none());
            given.into_iter().map(|grant| HistoryStep::GivenBeforehand(grant.id)).collect()
        }
        kind::EXECUTING => vec![HistoryStep::Claimed(id)],
        kind::FINISHED => {
            let executed =
                text("outcome").is_some_and(|outcome| ["executed", "permitted"].contains(&outcome.as_str()));
            vec![HistoryStep::Ended { id, executed }]
        }
        kind::READ => agent
            .and_then(|agent| handed_out(agent, event, &body))
            .map(HistoryStep::Read)
            .into_iter()
            .collect(),
        kind::FORGOTTEN => agent.map(HistoryStep::Forgotten).into_iter().collect(),
        _limit_reset => {
            let limit = text("of").and_then(|hex| Digest::parse(&hex));
            limit.map(|limit| HistoryStep::LimitReset { limit, agent }).into_iter().collect()
        }
    })
}

fn handed_out(agent: AgentId, event: &ChainEvent, body: &Value) -> Option<Reading> {
    let read = body.get("read")?;
    let session = read.get("session").and_then(Value::as_str).map(Into::into);
    Some(Reading { agent, session, source: Source::of_json(read)?, at: Timestamp(event.at) })
}

fn recorded(id: String, body: &Value) -> Option<RecordedCall> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let args = body.get("args").and_then(Value::as_object);
    let decision = text("decision")?;
    Some(RecordedCall {
        id,
        agent: AgentId::configured(&text("agent")?),
        session: text("session"),
        tool: text("tool")?,
        args: args.filter(|args| !args.contains_key(CUT)).cloned(),
        signature: text("signature")?,
        decision: [Action::Allow, Action::Ask, Action::Deny].into_iter().find(|a| a.as_str() == decision)?,
        grant: body.get("grant").and_then(granted),
    })
}

fn granted(grant: &Value) -> Option<GrantUse> {
    let (id, uses) = grants::use_in(grant)?;
    Some(GrantUse { id: RequestId::parse(id)?, uses })
}

/// The name under which the beginning of long arguments is kept.
const CUT: &str = "…";
