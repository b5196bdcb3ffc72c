//! One row per request. `calls` finds the rows, the events say what is in them.

use rusqlite::Row;
use serde_json::{Value, json};

use crate::base::clock::Timestamp;
use crate::store::error::StoreError;

/// How requests end, or stand, in the words of [`Filter::outcome`].
pub(crate) const OUTCOMES: &[&str] =
    &["executed", "permitted", "failed", "denied", "timed_out", "withdrawn", "refused", "unknown", "pending"];

/// Which requests to list. Everything that is set must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Glob over tool names.
    pub tool: Option<String>,
    /// Exactly this agent.
    pub agent: Option<String>,
    /// Exactly this session.
    pub session: Option<String>,
    /// `allow`, `ask` or `deny`.
    pub decision: Option<String>,
    /// How its question ended: `approved`, `denied`, `timed_out`, `withdrawn` or `void`.
    pub resolution: Option<String>,
    /// One of [`OUTCOMES`].
    pub outcome: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Occurs in the tool's name, the agent, the session, the reason, the arguments, the result or a note, or is the
    /// request's id. ASCII letters match in both cases.
    pub text: Option<String>,
    /// At most so many.
    pub limit: Option<usize>,
    /// Older than the row of this [`AuditRow::seq`]: the next page.
    pub before: Option<i64>,
}

/// What is recorded of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditRow {
    /// Number of the event that recorded it; larger is newer.
    pub seq: i64,
    pub request_id: String,
    pub at: Timestamp,
    pub agent: String,
    pub session: Option<String>,
    /// The tool's name; of a refused request only the agent vouches for it.
    pub tool: String,
    /// What the policy said; None for requests that were refused before.
    pub decision: Option<String>,
    pub resolution: Option<String>,
    pub resolved_by: Option<String>,
    pub resolved_at: Option<Timestamp>,
    /// How it ended; `pending` before.
    pub outcome: String,
    pub finished_at: Option<Timestamp>,
    /// Body of its `requested` or `refused` event. On a [`RowPage`](super::RowPage), arguments beyond 64 KiB are left out
    /// of it: `args` is then `{"…": "123456 bytes, not listed"}`.
    pub request: Value,
    /// Body of the event that ended it, or null.
    pub end: Value,
    /// Body of its `noted` event, or null.
    pub noted: Value,
    /// Body of its last `edited` event, or null.
    pub edited: Value,
    /// Body of its `reported` event, or null.
    pub reported: Value,
    /// Who has said yes to the call as it is now, where several people must, before the one who said it last; or null.
    pub counted: Value,
}

impl AuditRow {
    /// Why a call was refused, failed or denied by a rule, in the words that its agent heard. None where the outcome
    /// says all there is, and where a person has answered.
    pub(crate) fn why_not(&self) -> Option<String> {
        let text = |name: &str| self.end.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        match self.outcome.as_str() {
            "refused" | "failed" => text("message").or_else(|| text("reason")).map(str::to_owned),
            "denied" => text("rule").map(str::to_owned).or_else(|| match text("reason")? {
                "denied_by_user" | "denied_by_policy" => None,
                _ => text("message").map(str::to_owned),
            }),
            _ => None,
        }
    }

    /// The row in the names that other programs rely on. `execution_result` is JSON text, `args` is an object.
    pub fn to_json(&self) -> Value {
        let (request, end) = (&self.request, &self.end);
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let mut shape = json!({
            "seq": self.seq,
            "request_id": self.request_id,
            "timestamp": self.at.to_string(),
            "agent_id": self.agent,
            "session_id": self.session,
            "tool_name": self.tool,
            "args": request["args"],
            "signature": request["signature"],
            "reason": if request["outcome"].is_null() { &request["reason"] } else { &Value::Null },
            "decision": self.decision,
            "rule": request["rule"],
            "reasons": request["reasons"],
            "policy_digest": request["policy_digest"],
            "resolution": self.resolution,
            "resolved_by": self.resolved_by,
            "resolved_at": time(self.resolved_at),
            "note": end.get("note").or_else(|| self.noted.get("note")),
            "note_by": self.noted.get("by"),
            "outcome": self.outcome,
            "outcome_reason": end["reason"],
            "message": end["message"],
            "status": end["status"],
            "data_lost": end["data_lost"],
            "data_note": end["data_note"],
            "execution_result": end["result"],
            "result_digest": end["result_digest"],
            "reported_ok": self.reported.get("ok"),
            "reported_detail": self.reported.get("detail"),
            "finished_at": time(self.finished_at),
            "duration_ms": self.finished_at.map(|end| end.0.saturating_sub(self.at.0)),
        });
        if let Some(members) = shape.as_object_mut() {
            members.extend(request.get("signatures").map(|parts| ("signatures".to_owned(), parts.clone())));
            let grant = request.get("grant").filter(|grant| grant.is_object());
            members.extend(grant.map(|grant| ("grant".to_owned(), grant.clone())));
            let counted = self.counted.as_array().filter(|by| !by.is_empty());
            members.extend(counted.map(|by| ("counted_by".to_owned(), by.clone().into())));
            members.extend(self.edit().map(|edit| ("edited".to_owned(), edit)));
        }
        shape
    }

    /// The call as a person changed it: who, which arguments, and what it was then.
    fn edit(&self) -> Option<Value> {
        let edited = self.edited.as_object()?;
        let member = |name: &str| edited.get(name).cloned().unwrap_or_default();
        Some(json!({
            "by": member("by"),
            "names": member("edited"),
            "args": member("args"),
            "signature": member("signature"),
        }))
    }
}

/// What `c` is joined with: what began the call, what ended it, a note added later, the last change of it, the agent's report.
pub(super) const EVENTS: &str =
    "LEFT JOIN events e ON e.seq = c.seq LEFT JOIN events f ON f.seq = c.finished_seq
  LEFT JOIN events n ON n.seq = (SELECT seq FROM steps s WHERE s.request_id = c.request_id AND s.kind = 'noted')
  LEFT JOIN events d ON d.seq = (SELECT max(seq) FROM steps s WHERE s.request_id = c.request_id AND s.kind = 'edited')
  LEFT JOIN events p ON p.seq = (SELECT seq FROM steps s WHERE s.request_id = c.request_id AND s.kind = 'reported')";

/// [`AuditRow::counted`]. A change makes what was said before it void.
const COUNTED: &str = "(SELECT json_group_array(y.body ->> '$.by' ORDER BY y.seq)
  FROM steps s JOIN events y ON y.seq = s.seq
  WHERE s.request_id = c.request_id AND s.kind = 'counted' AND s.seq > coalesce(d.seq, 0))";

/// A query for [`audit_row`]s, without conditions; `request` is the expression for [`AuditRow::request`].
pub(super) fn select(request: &str) -> String {
    format!(
        "SELECT c.seq, c.request_id, c.at, c.agent, c.session, c.tool, c.decision, c.resolution, c.resolved_by,
         c.resolved_at, c.outcome, c.finished_at, {request}, f.body, n.body, d.body, p.body, {COUNTED}
         FROM calls c {EVENTS} WHERE true"
    )
}

/// All of [`AuditRow::request`].
pub(super) const REQUEST: &str = "e.body";

pub(super) fn audit_row(row: &Row<'_>) -> Result<AuditRow, StoreError> {
    let time = |column| row.get::<_, Option<i64>>(column).map(|at| at.map(Timestamp));
    // A row whose event is gone or changed is still listed; `verify` names it.
    let body = |column| -> Result<Value, StoreError> {
        let text: Option<String> = row.get(column)?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    };
    Ok(AuditRow {
        seq: row.get(0)?,
        request_id: row.get(1)?,
        at: Timestamp(row.get(2)?),
        agent: row.get(3)?,
        session: row.get(4)?,
        tool: row.get(5)?,
        decision: row.get(6)?,
        resolution: row.get(7)?,
        resolved_by: row.get(8)?,
        resolved_at: time(9)?,
        outcome: row.get(10)?,
        finished_at: time(11)?,
        request: body(12)?,
        end: body(13)?,
        noted: body(14)?,
        edited: body(15)?,
        reported: body(16)?,
        counted: body(17)?,
    })
}
