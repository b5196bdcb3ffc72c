//! What a start takes up: [`story`] has what the events say; what the tables say otherwise is named and never acted on.
//! Only the arguments of an open question come out of a row, and their digest is in its event.

use std::collections::HashMap;

use serde_json::json;

use super::chain;
use super::entry::{KeptGrant, OpenCall};
use super::error::{REMEDY, StoreError};
use super::kind;
use super::ledger;
use super::live::{CallState, LiveKey};
use super::proof::{KeyBinding, kept_keys};
use super::questions::{AskedCall, QuestionRow};
use super::story::{self, OpenCalls};
use super::tx::Tx;
use super::{grant_events, grants, keys, schema};
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::model::{Outcome, QuestionEnd, Void};

/// The most findings written into one event; the log has all of them.
const NAMED: usize = 50;

/// What is left of the last run.
pub(super) struct TakenUp {
    /// Oldest first.
    pub(super) open: Vec<OpenCall>,
    /// How many calls have the outcome unknown now.
    pub(super) unknown: usize,
    /// Grants that nobody has ended.
    pub(super) grants: Vec<KeptGrant>,
}

/// Fills `live`, settles what cannot be taken up, and records what was found. With `distrusted`, nothing that is open is
/// acted on. `version` is that of the tables before this start.
pub(super) fn take_up(
    tx: &mut Tx<'_>,
    now: Timestamp,
    distrusted: bool,
    version: i64,
) -> Result<TakenUp, StoreError> {
    let rows = question_rows(tx)?;
    let oldest = rows.values().map(|row| row.seq).chain(grants::oldest(tx.db)?).min().unwrap_or(i64::MAX);
    let way = (tx.chain.head.seq, oldest);
    let events = story::read((tx.db, &tx.chain.key), (now, tx.options.keep_keys), way)?;
    let OpenCalls { live, mut questions, keys, grants, broken, dropped } = events;
    *tx.live = live;
    let mut found = Vec::new();
    found.extend(broken.iter().map(|(what, _)| what.clone()));
    restore_keys(tx, now, &keys, &mut found)?;
    other_keys(tx, now, version, dropped || broken.is_some(), &mut found)?;
    if let Some((_, at)) = &broken {
        tx.live.be_unsure(at.plus(tx.options.keep_keys));
    }
    questions.sort_unstable_by_key(|asked| asked.event.seq);
    let (taken, void) = fitting(tx, questions, rows, now, &mut found)?;
    // Where events are missing, any open call may have been executed: those that do not fit as well.
    let unknown = ledger::give_up(tx, distrusted || broken.is_some(), now)?;
    for id in void {
        ledger::answer(tx, id, &QuestionEnd::Void(Void::ToolChanged), Some(&Outcome::ApprovalVoid), now)?;
    }
    let grants = grant_events::take_up(tx, grants, distrusted || broken.is_some(), now)?;
    report(tx, now, &found)?;
    let open = taken.into_iter().filter(|open| tx.live.call(open.id).is_some()).collect();
    Ok(TakenUp { open, unknown, grants })
}

fn question_rows(tx: &Tx<'_>) -> Result<HashMap<String, QuestionRow>, StoreError> {
    let sql = format!("SELECT {}, asked_up FROM open_calls", QuestionRow::COLUMNS);
    let mut statement = tx.db.prepare(&sql)?;
    let rows = statement.query_map([], QuestionRow::read)?;
    Ok(rows.map(|row| row.map(|row| (row.id.clone(), row))).collect::<Result<_, _>>()?)
}

/// The questions whose rows say what their events say, and the others, which are void. Rows of no open call are removed.
fn fitting(
    tx: &mut Tx<'_>,
    questions: Vec<AskedCall>,
    mut rows: HashMap<String, QuestionRow>,
    now: Timestamp,
    found: &mut Vec<String>,
) -> Result<(Vec<OpenCall>, Vec<RequestId>), StoreError> {
    let newest = chain::last_event(tx.db)?.map_or(now, |event| Timestamp(event.at));
    let (mut taken, mut void) = (Vec::new(), Vec::new());
    for asked in questions {
        let id = asked.id;
        let row = rows.remove(&id.to_string());
        let what = match row.as_ref().map(|row| asked.difference(row)) {
            Some(None) => None,
            Some(Some(column)) => Some(format!("the record says another {column}")),
            None => Some("its row is gone".into()),
        };
        match (what, row) {
            (Some(what), _) => {
                found.push(format!("request {id}: {what}; it is not taken up"));
                void.push(id);
            }
            (None, row) => taken.extend(row.map(|row| asked.open_call(&row, newest))),
        }
    }
    for row in rows.into_values() {
        let state = RequestId::parse(&row.id).and_then(|id| tx.live.state(id));
        if state == Some(&CallState::Executing) && row.state == "executing" {
            continue;
        }
        found.push(format!("request {}: the record knows nothing of its being {}", row.id, row.state));
        if state.is_none() {
            tx.execute("DELETE FROM open_calls WHERE request_id = ?", [&row.id])?;
            tx.checkpoint = true;
        }
    }
    Ok((taken, void))
}

/// Gives every remembered key its row again. A missing one may be no attack: they are dropped while the clock is ahead.
fn restore_keys(
    tx: &mut Tx<'_>,
    now: Timestamp,
    keys: &[(KeyBinding, Timestamp)],
    found: &mut Vec<String>,
) -> Result<(), StoreError> {
    let mut missing = 0;
    for (binding, expires) in keys {
        let KeyBinding { agent, key, id, digest } = binding;
        let kept = keys::row(tx.db, agent, key)?;
        let until = if *expires == LiveKey::OPEN { now.plus(tx.options.keep_keys) } else { *expires };
        match kept {
            Some((kept_id, kept_digest, kept_until))
                if kept_id == id.to_string() && kept_digest == digest.hex() =>
            {
                if kept_until >= until.0 || *expires == LiveKey::OPEN {
                    continue;
                }
            }
            Some(_) => found.push(format!("request {id}: its idempotency key stood for something else")),
            None => missing += 1,
        }
        keys::write(tx, binding, until)?;
    }
    if missing > 0 {
        log::warn!("{missing} idempotency keys had lost their rows and were restored from the record");
    }
    Ok(())
}

/// Rows of keys that the events read so far say nothing of. Of a dropped or changed part of the record they are
/// believed: a key too many only keeps a call from being made.
fn other_keys(
    tx: &mut Tx<'_>,
    now: Timestamp,
    version: i64,
    believe: bool,
    found: &mut Vec<String>,
) -> Result<(), StoreError> {
    let adopt = version < schema::EVERY_KEY_HAS_ITS_EVENT && kept_keys(tx.db, &tx.chain.key)?.is_none();
    for (binding, expires) in unknown_keys(tx, now)? {
        if binding.is_bound(tx.db, &tx.chain.key)? {
            continue;
        }
        let mark = tx.live.mark(&binding.agent, &binding.key);
        if adopt && binding.is_asked_for(tx.db, &tx.chain.key)? {
            let KeyBinding { agent, key, id, digest } = &binding;
            let agent = crate::model::AgentId::configured(agent);
            tx.execute("DELETE FROM keys WHERE agent = ? AND key = ?", [agent.as_str(), key])?;
            keys::join(tx, &agent, key, &keys::Bound { id: *id, digest: *digest, at: now })?;
        } else if believe {
            tx.live.put_key(mark, LiveKey { event: 0, expires });
        } else {
            let KeyBinding { agent, key, id, .. } = &binding;
            found.push(format!("request {id}: nothing is recorded of an idempotency key that stood for it"));
            tx.execute("DELETE FROM keys WHERE agent = ? AND key = ?", [agent, key])?;
        }
    }
    Ok(())
}

fn unknown_keys(tx: &Tx<'_>, now: Timestamp) -> Result<Vec<(KeyBinding, Timestamp)>, StoreError> {
    let sql = "SELECT agent, key, request_id, digest, expires FROM keys WHERE expires > ?";
    let mut statement = tx.db.prepare(sql)?;
    let mut rows = statement.query([now.0])?;
    let mut unknown = Vec::new();
    while let Some(row) = rows.next()? {
        let (agent, key): (String, String) = (row.get(0)?, row.get(1)?);
        if tx.live.known(tx.live.mark(&agent, &key)).is_some() {
            continue;
        }
        let (id, digest): (String, String) = (row.get(2)?, row.get(3)?);
        let id = RequestId::parse(&id).unwrap_or(RequestId::from_bytes([0; 16]));
        let digest = Digest::parse(&digest).unwrap_or(Digest([0; 32]));
        unknown.push((KeyBinding { agent, key, id, digest }, Timestamp(row.get(4)?)));
    }
    Ok(unknown)
}

/// Into the log and into the record.
fn report(tx: &mut Tx<'_>, now: Timestamp, found: &[String]) -> Result<(), StoreError> {
    if found.is_empty() {
        return Ok(());
    }
    for what in found {
        log::error!("the record was changed from outside: {what}");
    }
    log::error!("nothing of it is acted on; {REMEDY}");
    let named: Vec<_> = found.iter().take(NAMED).collect();
    tx.append(now, kind::TAMPERED, None, &json!({"found": named, "in_all": found.len()}))?;
    Ok(())
}
