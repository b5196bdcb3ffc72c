//! One row per request: `audit list` and `audit show`. `calls` finds the rows, the events say what is in them.

use rusqlite::{OptionalExtension as _, Row};
use serde_json::{Value, json};

use super::Reader;
use super::page::Walk;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::store::chain::Event;
use crate::store::error::StoreError;

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
    /// `executed`, `failed`, `denied`, `timed_out`, `withdrawn`, `refused`, `unknown` or `pending`.
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
    /// Its id.
    pub request_id: String,
    /// When it came.
    pub at: Timestamp,
    /// Who asked.
    pub agent: String,
    /// The agent's session.
    pub session: Option<String>,
    /// The tool's name; of a refused request only the agent vouches for it.
    pub tool: String,
    /// What the policy said; None for requests that were refused before.
    pub decision: Option<String>,
    /// How the question ended, when there was one.
    pub resolution: Option<String>,
    /// Who answered.
    pub resolved_by: Option<String>,
    /// When.
    pub resolved_at: Option<Timestamp>,
    /// How it ended; `pending` before.
    pub outcome: String,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Body of its `requested` or `refused` event. On a [`Page`](super::Page), arguments beyond 64 KiB are left out
    /// of it: `args` is then `{"…": "123456 bytes, not listed"}`.
    pub request: Value,
    /// Body of the event that ended it, or null.
    pub end: Value,
    /// Body of its `noted` event, or null.
    pub noted: Value,
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
            "finished_at": time(self.finished_at),
            "duration_ms": self.finished_at.map(|end| end.0.saturating_sub(self.at.0)),
        });
        if let (Some(members), Some(parts)) = (shape.as_object_mut(), request.get("signatures")) {
            members.insert("signatures".to_owned(), parts.clone());
        }
        shape
    }
}

/// One request with all of its events.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The request.
    pub row: AuditRow,
    /// Its events in order: `{"seq","at","kind","body","hash"}`.
    pub events: Vec<Value>,
}

/// What an id, or the beginning of one, stands for.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// No request.
    Unknown,
    /// More than one; these are some of them.
    Ambiguous(Vec<String>),
    /// This one.
    Found(Box<Shown>),
}

/// What `c` is joined with: what began the call, what ended it, a note added later.
pub(super) const EVENTS: &str =
    "LEFT JOIN events e ON e.seq = c.seq LEFT JOIN events f ON f.seq = c.finished_seq
  LEFT JOIN events n ON n.request_id = c.request_id AND n.kind = 'noted'";

/// A query for [`audit_row`]s, without conditions; `request` is the expression for [`AuditRow::request`].
pub(super) fn select(request: &str) -> String {
    format!(
        "SELECT c.seq, c.request_id, c.at, c.agent, c.session, c.tool, c.decision, c.resolution, c.resolved_by,
         c.resolved_at, c.outcome, c.finished_at, {request}, f.body, n.body FROM calls c {EVENTS} WHERE true"
    )
}

/// All of [`AuditRow::request`].
pub(super) const REQUEST: &str = "e.body";

/// Rows of a list that are read at once.
const PORTION: usize = 500;

/// Rows named when a prefix is not unique.
const NAMED: usize = 5;

impl Reader {
    /// The requests that pass `filter`, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn list(&mut self, filter: &Filter) -> Result<Vec<AuditRow>, StoreError> {
        let tx = self.snapshot()?;
        let mut walk = Walk::of(&tx, filter)?;
        let (mut rows, limit) = (Vec::new(), filter.limit.unwrap_or(usize::MAX));
        while rows.len() < limit {
            let most = limit.saturating_sub(rows.len()).min(PORTION);
            let take = |row| {
                rows.push(row);
                false
            };
            if !walk.step(&tx, most as u64, take)? {
                break;
            }
        }
        Ok(rows)
    }

    /// One request by its id or a unique beginning of it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn show(&mut self, id: &str) -> Result<Lookup, StoreError> {
        let id = id.to_lowercase();
        if id.is_empty() || !id.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
            return Ok(Lookup::Unknown);
        }
        let tx = self.snapshot()?;
        // 'g' stands behind every character of an id.
        let sql =
            format!("{} AND c.request_id >= ?1 AND c.request_id < ?1 || 'g' LIMIT {NAMED}", select(REQUEST));
        let mut statement = tx.prepare(&sql)?;
        let mut rows = statement.query([&id])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(audit_row(row)?);
        }
        match (found.pop(), found.is_empty()) {
            (None, _) => Ok(Lookup::Unknown),
            (Some(row), true) => {
                let events = events_of(&tx, &row.request_id)?;
                Ok(Lookup::Found(Box::new(Shown { row, events })))
            }
            (Some(last), false) => {
                Ok(Lookup::Ambiguous(found.into_iter().chain([last]).map(|row| row.request_id).collect()))
            }
        }
    }
}

impl Reader {
    /// The whole data of an executed call, while it is kept for its agent; the record keeps the beginning of it, and its
    /// digest: data of another digest is somebody else's.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) fn whole_result(&mut self, row: &AuditRow) -> Result<Option<String>, StoreError> {
        let sql = "SELECT data FROM results WHERE seq = ?";
        let data = |row: &Row<'_>| row.get::<_, Option<String>>(0);
        let kept = self.snapshot()?.query_row(sql, [row.seq], data).optional()?.flatten();
        let recorded = row.end.get("result_digest").and_then(Value::as_str).and_then(Digest::parse);
        Ok(kept.filter(|data| recorded == Some(Digest::sha256(data.as_bytes()))))
    }
}

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
    })
}

fn events_of(db: &rusqlite::Connection, id: &str) -> Result<Vec<Value>, StoreError> {
    let sql = format!(
        "SELECT {} FROM events WHERE seq IN (SELECT seq FROM calls WHERE request_id = ?1 UNION ALL
         SELECT finished_seq FROM calls WHERE request_id = ?1 UNION ALL SELECT seq FROM events WHERE request_id = ?1
         AND (kind = 'answered' OR kind = 'executing' OR kind = 'noted' OR kind = 'joined')) ORDER BY seq",
        Event::COLUMNS
    );
    let mut statement = db.prepare(&sql)?;
    let events = statement.query_map([id], Event::read)?;
    events
        .map(|event| {
            let Event { seq, at, kind, request_id: _, body, hash } = event?;
            let body: Value = serde_json::from_str(&body).unwrap_or(Value::String(body));
            let (at, hash) = (Timestamp(at).to_string(), crate::base::digest::to_hex(&hash));
            Ok(json!({"seq": seq, "at": at, "kind": kind, "body": body, "hash": hash}))
        })
        .collect()
}
