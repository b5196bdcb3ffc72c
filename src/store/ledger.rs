//! The life of one call in SQL: recorded, answered, claimed, settled. Every step is one event in the chain and one
//! compare-and-set; nothing here decides whether a step should happen.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::{Value, json};

use super::chain;
use super::codec;
use super::entry::{EditedCall, LimitReset, NewCall, NoteKind, RefusedRequest, Stage, Yes};
use super::error::StoreError;
use super::folding;
use super::inbox;
use super::keys;
use super::kind::{self, KEEP_KEYS};
use super::live::{CallState, Open};
use super::tx::Tx;
use crate::base::clock::{Timestamp, Uptime};
use crate::base::ids::RequestId;
use crate::base::json_text::JsonText;
use crate::model::call::REDACTED;
use crate::model::{AgentId, Denial, Outcome, QuestionEnd, QuestionRecord, Reading, Responder, Void};

/// Records a call that is not executed now, and takes it as far as `stage` says.
pub(super) fn record(tx: &mut Tx<'_>, new: &NewCall, stage: &Stage) -> Result<(), StoreError> {
    let open = begin(tx, new, Some(stage))?;
    match stage {
        Stage::Asked { expires } => {
            open_question(tx, new, open.seq, *expires)?;
            tx.live.put(new.id, open);
            Ok(())
        }
        Stage::Settled(outcome) => finish(tx, new.id, &open, outcome, new.at),
        Stage::Denied { by, note } => {
            let note = Some(note.clone());
            answered(tx, new.id, &QuestionEnd::Denied { by: by.clone(), note: note.clone() }, new.at)?;
            finish(tx, new.id, &open, &Outcome::DeniedByUser { note }, new.at)
        }
    }
}

/// Appends the event that a call begins with, and takes its key. Without a `stage` it is claimed at once.
pub(super) fn begin(tx: &mut Tx<'_>, new: &NewCall, stage: Option<&Stage>) -> Result<Open, StoreError> {
    let agent = new.call.agent();
    let seq = tx.append(new.at, kind::REQUESTED, Some(new.id), &codec::requested(new, stage))?;
    let binding = new.call.binding();
    let mut open = Open {
        seq,
        agent: agent.clone(),
        binding,
        state: CallState::Open,
        keys: vec![],
        reads: codec::reads(new, stage).map(Arc::new),
    };
    if let Some(key) = &new.key {
        let bound = keys::Bound { id: new.id, digest: new.call.digest(), at: new.at };
        open.keys = vec![keys::take(tx, agent, key, &bound, seq)?];
    }
    Ok(open)
}

/// A question keeps its arguments in clear until it is claimed or settled: a restart must be able to run it.
fn open_question(tx: &Tx<'_>, new: &NewCall, seq: i64, expires: Timestamp) -> Result<(), StoreError> {
    let call = &new.call;
    let args = serde_json::to_string(call.args())?;
    let rule = new.decision.rule.as_deref().map(|rule| rule.to_json().to_string());
    let sql =
        "INSERT INTO open_calls (request_id, seq, agent, tool, args, binding, session, reason, key, rule,
               created, expires, state, asked_up) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'open', ?)";
    let values = params![
        new.id.to_string(),
        seq,
        call.agent().as_str(),
        call.tool().name,
        args,
        call.binding().hex(),
        new.session,
        new.reason,
        new.key,
        rule,
        new.at.0,
        expires.0,
        Uptime::now().0
    ];
    tx.execute(sql, values)?;
    Ok(())
}

/// Records a request that never became a call.
pub(super) fn refuse(tx: &mut Tx<'_>, refusal: &RefusedRequest) -> Result<(), StoreError> {
    tx.append(refusal.at, kind::REFUSED, Some(refusal.id), &codec::refused(refusal))?;
    Ok(())
}

/// Puts another call in the place of the one that is asked about. False: the question is not open any more.
pub(super) fn edit(
    tx: &mut Tx<'_>,
    id: RequestId,
    edited: &EditedCall,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let open = tx.live.call(id).filter(|open| open.state == CallState::Open).cloned();
    let Some(open) = open else { return Ok(false) };
    tx.append(at, kind::EDITED, Some(id), &codec::edited(edited))?;
    tx.live.put(id, Open { binding: edited.question.call.binding(), ..open });
    Ok(true)
}

/// Answers a question if it is still open; a call already approved can still become void.
pub(super) fn answer(
    tx: &mut Tx<'_>,
    id: RequestId,
    end: &QuestionEnd,
    outcome: Option<&Outcome>,
    at: Timestamp,
) -> Result<bool, StoreError> {
    match tx.live.state(id) {
        Some(CallState::Open) => {}
        Some(CallState::Approved { .. }) if matches!(end, QuestionEnd::Void(_)) => {}
        Some(CallState::Approved { .. } | CallState::Executing) | None => return Ok(false),
    }
    answered(tx, id, end, at)?;
    match (end, outcome) {
        (QuestionEnd::Approved { by }, _) => {
            tx.live.advance(id, CallState::Approved { by: by.clone() });
            Ok(true)
        }
        (QuestionEnd::Denied { .. }, Some(outcome))
        | (QuestionEnd::TimedOut | QuestionEnd::Withdrawn | QuestionEnd::Void(_), Some(outcome)) => {
            settle(tx, id, outcome, at).map(|()| true)
        }
        (
            QuestionEnd::Denied { .. }
            | QuestionEnd::TimedOut
            | QuestionEnd::Withdrawn
            | QuestionEnd::Void(_),
            None,
        ) => Err(StoreError::Encoding("an answer that ends a call must say its outcome".into())),
    }
}

/// Writes down that one of several people has said yes, if the question is still open.
pub(super) fn count(tx: &mut Tx<'_>, id: RequestId, yes: &Yes, at: Timestamp) -> Result<bool, StoreError> {
    if tx.live.state(id) != Some(&CallState::Open) {
        return Ok(false);
    }
    tx.append(at, kind::COUNTED, Some(id), &codec::counted(yes))?;
    Ok(true)
}

/// Denies a call that was approved and is not claimed. False: it was claimed, or has ended.
pub(super) fn overrule(
    tx: &mut Tx<'_>,
    id: RequestId,
    by: &Responder,
    note: Option<String>,
    at: Timestamp,
) -> Result<bool, StoreError> {
    if !matches!(tx.live.state(id), Some(CallState::Approved { .. })) {
        return Ok(false);
    }
    answered(tx, id, &QuestionEnd::Denied { by: by.clone(), note: note.clone() }, at)?;
    settle(tx, id, &Outcome::DeniedByUser { note }, at).map(|()| true)
}

/// Writes down how a question ended.
fn answered(tx: &mut Tx<'_>, id: RequestId, end: &QuestionEnd, at: Timestamp) -> Result<(), StoreError> {
    let note = match end {
        QuestionEnd::Denied { by: _, note } => note.as_deref(),
        QuestionEnd::Approved { .. }
        | QuestionEnd::TimedOut
        | QuestionEnd::Withdrawn
        | QuestionEnd::Void(_) => None,
    };
    let by = end.by().map(Responder::as_str);
    let body = json!({"resolution": end.as_str(), "by": by, "note": note});
    tx.append(at, kind::ANSWERED, Some(id), &body)?;
    Ok(())
}

/// Adds a note to a denial by a person that has none.
pub(super) fn add_note(
    tx: &mut Tx<'_>,
    id: RequestId,
    note: &str,
    by: &Responder,
    at: Timestamp,
) -> Result<bool, StoreError> {
    folding::fold(tx)?;
    let sql = "SELECT EXISTS (SELECT 1 FROM calls c JOIN events f ON f.seq = c.finished_seq
               WHERE c.request_id = ?1 AND c.resolution = 'denied' AND f.body ->> '$.note' IS NULL)
               AND NOT EXISTS (SELECT 1 FROM steps WHERE request_id = ?1 AND kind = 'noted')";
    let lacks: bool = tx.db.prepare_cached(sql)?.query_row([id.to_string()], |row| row.get(0))?;
    if !lacks {
        return Ok(false);
    }
    tx.append(at, kind::NOTED, Some(id), &json!({"note": note, "by": by.as_str()}))?;
    inbox::replace_result(tx, id, &codec::encode(&Outcome::DeniedByUser { note: Some(note.to_owned()) })?)?;
    Ok(true)
}

/// The arguments of this call are wiped in this transaction. When secret ones are among them (the event shows them as
/// dots), the write-ahead log must not keep them either.
pub(super) fn forget_secrets(tx: &mut Tx<'_>, seq: i64) -> Result<(), StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM events WHERE seq = ? AND instr(body -> '$.args', ?))";
    let held: bool = tx.db.prepare_cached(sql)?.query_row(params![seq, REDACTED], |row| row.get(0))?;
    tx.checkpoint |= held;
    Ok(())
}

pub(super) fn settle(
    tx: &mut Tx<'_>,
    id: RequestId,
    outcome: &Outcome,
    at: Timestamp,
) -> Result<(), StoreError> {
    let open = tx.live.end(id).ok_or(StoreError::NotOpen)?;
    if open.state != CallState::Executing {
        tx.execute("DELETE FROM open_calls WHERE request_id = ?", [id.to_string()])?;
        forget_secrets(tx, open.seq)?;
    }
    finish(tx, id, &open, outcome, at)
}

fn finish(
    tx: &mut Tx<'_>,
    id: RequestId,
    open: &Open,
    outcome: &Outcome,
    at: Timestamp,
) -> Result<(), StoreError> {
    let stored = codec::encode(outcome)?;
    let mut body = codec::finished(outcome, stored.data.as_ref().map(JsonText::as_str));
    // Of a call whose end is not known, the agent may have heard.
    let may_have_read = match outcome {
        Outcome::Executed(_) | Outcome::Permitted(_) => true,
        Outcome::UnknownResult => open.state == CallState::Executing,
        _otherwise => false,
    };
    if let (Some(body), Some(read), true) = (body.as_object_mut(), &open.reads, may_have_read) {
        body.insert("read".into(), (**read).clone());
    }
    tx.append(at, kind::FINISHED, Some(id), &body)?;
    let keyed = keys::keep(tx, &open.keys, outcome, at);
    if codec::is_told_whole(&stored) {
        return Ok(());
    }
    inbox::keep_result(tx, &inbox::Kept { seq: open.seq, agent: &open.agent, at, keyed }, &stored)
}

/// Records something that belongs to no call.
pub(super) fn note(tx: &mut Tx<'_>, at: Timestamp, kind: NoteKind, detail: &Value) -> Result<(), StoreError> {
    let mut body = detail.clone();
    if let (NoteKind::Started, Some(body)) = (kind, body.as_object_mut()) {
        let keys = u64::try_from(tx.options.keep_keys.as_millis()).unwrap_or(u64::MAX);
        body.insert(KEEP_KEYS.into(), keys.into());
    }
    tx.append(at, kind.as_str(), None, &body)?;
    Ok(())
}

/// Records that data was handed out.
pub(super) fn hand_out(tx: &mut Tx<'_>, readings: &[Reading]) -> Result<(), StoreError> {
    for Reading { agent, session, source, at } in readings {
        let read = codec::read(source, session.as_deref());
        tx.append(*at, kind::READ, None, &json!({"agent": agent.as_str(), "read": read}))?;
    }
    Ok(())
}

/// Records that it is to be forgotten what an agent has read.
pub(super) fn forget(
    tx: &mut Tx<'_>,
    at: Timestamp,
    agent: &AgentId,
    by: &Responder,
) -> Result<(), StoreError> {
    let body = json!({"agent": agent.as_str(), "by": by.as_str()});
    tx.append(at, kind::FORGOTTEN, None, &body)?;
    Ok(())
}

/// Records that a limit counts anew.
pub(super) fn reset_limit(tx: &mut Tx<'_>, at: Timestamp, reset: &LimitReset) -> Result<(), StoreError> {
    let LimitReset { limit, identity, agent, by } = reset;
    let agent = agent.as_ref().map(AgentId::as_str);
    let of = identity.hex();
    let body = json!({"limit": **limit, "of": of, "agent": agent, "by": by.as_str()});
    tx.append(at, kind::LIMIT_RESET, None, &body)?;
    Ok(())
}

/// Turns the calls that were being executed, or all open ones, into outcome unknown; how many there were.
pub(super) fn give_up(tx: &mut Tx<'_>, all: bool, at: Timestamp) -> Result<usize, StoreError> {
    let calls = tx.live.calls().into_iter();
    let ids: Vec<_> =
        calls.filter(|(_, open)| all || open.state == CallState::Executing).map(|(id, _)| id).collect();
    for id in &ids {
        settle(tx, *id, &Outcome::UnknownResult, at)?;
    }
    if !ids.is_empty() {
        tx.append(at, kind::RECOVERED, None, &json!({"unknown": ids.len()}))?;
    }
    Ok(ids.len())
}

/// Remembers a small value of the gateway's own (for example a channel's place in its feed).
pub(super) fn remember(tx: &mut Tx<'_>, name: &str, value: &str) -> Result<(), StoreError> {
    chain::set_meta(tx.db, &format!("own.{name}"), value)
}

/// The name under which the gate [remembers](remember) the newest time while the clock is behind it.
const NEWEST_TIME: &str = "clock.newest";

/// The newest time that was known when the clock was behind it; 1970 when it never was, or that was accepted.
pub(super) fn newest_time(db: &Connection) -> Result<Timestamp, StoreError> {
    let kept = chain::meta(db, &format!("own.{NEWEST_TIME}"))?;
    Ok(kept.as_deref().and_then(Timestamp::parse).unwrap_or(Timestamp(0)))
}

/// Keeps the newest time over restarts, or forgets it.
pub(super) fn keep_newest_time(tx: &mut Tx<'_>, newest: Option<Timestamp>) -> Result<(), StoreError> {
    remember(tx, NEWEST_TIME, &newest.map(|at| at.to_string()).unwrap_or_default())
}

/// What [`remember`] kept.
pub(super) fn recall(tx: &mut Tx<'_>, name: &str) -> Result<Option<String>, StoreError> {
    chain::meta(tx.db, &format!("own.{name}"))
}

/// Why a question was void, read off the end of its call.
fn void(reason: Option<String>, rule: Option<String>, reasons: Option<String>) -> Void {
    let reasons = reasons.and_then(|reasons| serde_json::from_str(&reasons).ok()).unwrap_or_default();
    match reason.as_deref() {
        Some("denied_by_policy" | "limit_reached" | "flow_denied") => {
            Void::Denied(Denial { rule, reasons, retry_after: None })
        }
        Some("agent_removed") => Void::AgentRemoved,
        Some("approval_void") => Void::ToolChanged,
        Some(_) | None => Void::Ended,
    }
}

/// How a call's question ended, and the call.
pub(super) fn question(tx: &mut Tx<'_>, id: RequestId) -> Result<Option<QuestionRecord>, StoreError> {
    folding::fold(tx)?;
    let sql = "SELECT c.resolution, c.resolved_by, c.resolved_at, c.outcome, c.tool,
               coalesce(f.body ->> '$.note', n.body ->> '$.note'), n.body ->> '$.by', c.agent,
               f.body ->> '$.reason', f.body ->> '$.rule', f.body -> '$.reasons', f.body ->> '$.data_note'
               FROM calls c LEFT JOIN events f ON f.seq = c.finished_seq
               LEFT JOIN events n ON n.seq = (SELECT seq FROM steps s WHERE s.request_id = c.request_id
               AND s.kind = 'noted') WHERE c.request_id = ?";
    let read = |row: &rusqlite::Row<'_>| {
        let (word, by): (Option<String>, Option<String>) = (row.get(0)?, row.get(1)?);
        let by = Responder::recorded(&by.unwrap_or_default());
        let end = match word.as_deref() {
            Some("approved") => Some(QuestionEnd::Approved { by }),
            Some("denied") => Some(QuestionEnd::Denied { by, note: row.get(5)? }),
            Some("timed_out") => Some(QuestionEnd::TimedOut),
            Some("withdrawn") => Some(match row.get::<_, Option<String>>(8)?.as_deref() {
                Some("kill_switch") => QuestionEnd::Void(Void::Stopped { by }),
                Some(_) | None => QuestionEnd::Withdrawn,
            }),
            Some("void") => Some(QuestionEnd::Void(void(row.get(8)?, row.get(9)?, row.get(10)?))),
            Some(_) | None => None,
        };
        let at = row.get::<_, Option<i64>>(2)?.map(Timestamp);
        let note_by = row.get::<_, Option<String>>(6)?.map(|by| Responder::recorded(&by));
        let agent = AgentId::configured(&row.get::<_, String>(7)?);
        let (outcome, data_note) = (row.get(3)?, row.get(11)?);
        Ok(QuestionRecord { agent, tool: row.get(4)?, end, at, note_by, outcome, data_note })
    };
    Ok(tx.db.prepare_cached(sql)?.query_row([id.to_string()], read).optional()?)
}
