//! A question's row against its events.

use std::sync::Arc;

use rusqlite::Row;
use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::chain::ChainEvent;
use super::entry::{KeptEdit, OpenCall};
use crate::base::clock::{Timestamp, Uptime};
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::model::edit::changes_of;
use crate::model::{AgentId, AskReason, AskTerms, Call, PeopleTerms, Responder, RuleRef, Terms};

/// A question as it was recorded: open, or approved and not acted on.
pub(super) struct AskedCall {
    pub(super) id: RequestId,
    /// Its `requested` event, and what that says.
    pub(super) event: ChainEvent,
    pub(super) body: Value,
    /// What its `edited` events say, the last one first.
    pub(super) edits: Vec<Value>,
    /// Set: approved by this one, not yet claimed.
    pub(super) approved_by: Option<String>,
    /// Who has said yes of several who must, and to what, the last one first.
    pub(super) counted: Vec<(Responder, String)>,
}

/// A row of `open_calls`.
pub(super) struct QuestionRow {
    pub(super) id: String,
    pub(super) seq: i64,
    agent: String,
    tool: String,
    args: Option<String>,
    binding: String,
    session: Option<String>,
    reason: Option<String>,
    key: Option<String>,
    rule: Option<String>,
    created: i64,
    expires: i64,
    pub(super) state: String,
    approved_by: Option<String>,
    asked_up: i64,
}

impl QuestionRow {
    /// Columns in the order in which [`QuestionRow::read`] takes them; `asked_up`, which is compared with nothing, may
    /// follow.
    pub(super) const COLUMNS: &str =
        "request_id, seq, agent, tool, args, binding, session, reason, key, rule,
      created, expires, state, approved_by";

    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<QuestionRow> {
        Ok(QuestionRow {
            id: row.get(0)?,
            seq: row.get(1)?,
            agent: row.get(2)?,
            tool: row.get(3)?,
            args: row.get(4)?,
            binding: row.get(5)?,
            session: row.get(6)?,
            reason: row.get(7)?,
            key: row.get(8)?,
            rule: row.get(9)?,
            created: row.get(10)?,
            expires: row.get(11)?,
            state: row.get(12)?,
            approved_by: row.get(13)?,
            asked_up: row.get(14).unwrap_or(0),
        })
    }

    fn arguments(&self) -> Option<Map<String, Value>> {
        serde_json::from_str(self.args.as_deref()?).ok()
    }
}

impl AskedCall {
    fn text(&self, name: &str) -> Option<&str> {
        self.body.get(name).and_then(Value::as_str)
    }

    fn expires(&self) -> Timestamp {
        self.text("expires").and_then(Timestamp::parse).unwrap_or(Timestamp(0))
    }

    /// What stands in the newest event that says what is asked about.
    fn newest(&self, name: &str) -> Option<&Value> {
        self.edits.first().unwrap_or(&self.body).get(name)
    }

    /// What the edits come to together.
    fn edit(&self) -> Option<KeptEdit> {
        let last = self.edits.first()?;
        let sets = self.edits.iter().rev().filter_map(|edit| edit.get("set")?.as_object());
        let changes: Map<String, Value> =
            sets.flatten().map(|(name, value)| (name.clone(), value.clone())).collect();
        let by = last.get("by").and_then(Value::as_str).unwrap_or_default();
        Some(KeptEdit {
            changes: changes_of(changes),
            binding: binding_in(last),
            by: Responder::recorded(by),
        })
    }

    fn reasons(&self) -> Vec<AskReason> {
        let all = self.newest("reasons").and_then(Value::as_array).into_iter().flatten();
        all.filter_map(|reason| AskReason::deserialize(reason).ok()).collect()
    }

    fn terms(&self) -> Terms {
        let all = self.newest("terms").and_then(Value::as_array).into_iter().flatten();
        Terms::of(all.filter_map(|terms| PeopleTerms::deserialize(terms).ok()).map(Arc::new))
    }

    /// Those who have said yes to the call as it is.
    fn counted(&self) -> Vec<Responder> {
        let shown = Call::shown_as_of(&binding_in(self.edits.first().unwrap_or(&self.body)));
        let to_this = self.counted.iter().rev().filter(|(_, seen)| *seen == shown);
        to_this.map(|(by, _)| by.clone()).collect()
    }

    fn digest(&self, name: &str) -> Digest {
        self.text(name).and_then(Digest::parse).unwrap_or(Digest([0; 32]))
    }

    /// The first column in which its row says something else.
    pub(super) fn difference(&self, row: &QuestionRow) -> Option<&'static str> {
        let rule: Option<Value> = row.rule.as_deref().and_then(|rule| serde_json::from_str(rule).ok());
        let agent = AgentId::configured(&row.agent);
        let digest = row.arguments().map(|args| Call::digest_of(&agent, &row.tool, &args));
        let state = if self.approved_by.is_some() { "approved" } else { "open" };
        let equal = [
            ("seq", row.seq == self.event.seq),
            ("agent", Some(row.agent.as_str()) == self.text("agent")),
            ("tool", Some(row.tool.as_str()) == self.text("tool")),
            ("args", digest == Some(self.digest("digest"))),
            ("binding", Some(row.binding.as_str()) == self.text("binding")),
            ("session", row.session.as_deref() == self.text("session")),
            ("reason", row.reason.as_deref() == self.text("reason")),
            ("key", row.key.as_deref() == self.text("key")),
            ("rule", rule.as_ref() == self.body.get("rule")),
            ("created", row.created == self.event.at),
            ("expires", row.expires == self.expires().0),
            ("state", row.state == state),
            ("approved_by", row.approved_by == self.approved_by),
        ];
        equal.into_iter().find(|(_, equal)| !equal).map(|(column, _)| column)
    }

    /// The question with the arguments of its row. It is at least as old as what was recorded after it.
    pub(super) fn open_call(self, row: &QuestionRow, newest: Timestamp) -> OpenCall {
        let owned = |name| self.text(name).map(str::to_owned);
        let created = Timestamp(self.event.at);
        let age = Uptime::now().since(Uptime(row.asked_up)).max(newest.since(created));
        OpenCall {
            id: self.id,
            agent: AgentId::configured(self.text("agent").unwrap_or_default()),
            tool: owned("tool").unwrap_or_default(),
            args: row.arguments().unwrap_or_default(),
            binding: self.digest("binding"),
            edit: self.edit(),
            session: owned("session"),
            reason: owned("reason"),
            key: owned("key"),
            rule: self.body.get("rule").and_then(|rule| RuleRef::deserialize(rule).ok()).map(Arc::new),
            reasons: self.reasons(),
            ask: Arc::new(self.body.get("ask").map(AskTerms::of_json).unwrap_or_default()),
            terms: self.terms(),
            counted: self.counted(),
            created,
            expires: self.expires(),
            age,
            approved_by: self.approved_by.as_deref().map(Responder::recorded),
        }
    }
}

/// The digest of the call that an event of a question is about.
pub(super) fn binding_in(body: &Value) -> Digest {
    body.get("binding").and_then(Value::as_str).and_then(Digest::parse).unwrap_or(Digest([0; 32]))
}
