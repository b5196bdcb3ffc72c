//! Results that wait for their agent. A result leaves when the agent has received it (unless a key may still ask for it)
//! or when its time is over; it is never handed to another agent, and only as its `finished` event vouches for it.

use std::collections::HashSet;
use std::time::Duration;

use rusqlite::{OptionalExtension as _, Row, params};
use serde_json::json;

use super::codec::{self, StoredOutcome};
use super::error::{REMEDY, StoreError};
use super::kind;
use super::proof::vouches_for;
use super::tx::Tx;
use crate::base::clock::Timestamp;
use crate::base::ids::RequestId;
use crate::base::json_text::JsonText;
use crate::model::{AgentId, Outcome};

/// Results looked at by one [`sweep`].
const PART: i64 = 1000;

/// Bytes of results that are dropped for one that comes, besides four times its own: enough to win against any that
/// come, and only an older record holds more too much.
const AT_ONCE: u64 = 8 << 20;

/// The outcome of a finished call, for its key. If it is kept no more, or is not what the record says, the call was
/// still made once: never "not done".
pub(super) fn kept_outcome(tx: &mut Tx<'_>, id: RequestId, now: Timestamp) -> Result<Outcome, StoreError> {
    let sql = "SELECT r.outcome, r.data, c.finished_seq, r.seq FROM calls c JOIN results r ON r.seq = c.seq
               WHERE c.request_id = ?";
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    let kept: Option<(String, Option<String>, Option<i64>, i64)> =
        tx.db.prepare_cached(sql)?.query_row([id.to_string()], read).optional()?;
    let Some((outcome, data, finished, seq)) = kept else { return Ok(Outcome::UnknownResult) };
    let columns = (outcome.as_str(), data.as_deref());
    if may_go_out(tx, id, finished, columns)? {
        return codec::decode(&outcome, data.as_deref());
    }
    withhold(tx, id, seq, now)?;
    Ok(Outcome::UnknownResult)
}

/// A result that is not the one that was recorded is never handed out. What is left says that nothing is known; when
/// not even that is this agent's, no agent is offered it.
pub(super) fn withhold(tx: &mut Tx<'_>, id: RequestId, seq: i64, now: Timestamp) -> Result<(), StoreError> {
    log::error!("request {id}: its result was changed from outside and is withheld; {REMEDY}");
    tx.append(now, kind::TAMPERED, Some(id), &json!({"found": ["the result was changed"]}))?;
    let sql = "UPDATE results SET outcome = ?, data = NULL, agent =
               coalesce((SELECT body ->> '$.agent' FROM events e WHERE e.seq = results.seq), '') WHERE seq = ?";
    tx.execute(sql, params![codec::encode(&Outcome::UnknownResult)?.outcome, seq])?;
    Ok(())
}

/// Whether these columns may be handed out as the end of request `id`. What says that nothing is known always may.
pub(super) fn may_go_out(
    tx: &Tx<'_>,
    id: RequestId,
    finished: Option<i64>,
    columns: (&str, Option<&str>),
) -> Result<bool, StoreError> {
    let is_unknown = columns.1.is_none() && codec::is_unknown(columns.0);
    Ok(is_unknown || vouches_for((tx.db, &tx.chain.key), &id.to_string(), finished, columns)?)
}

pub(super) struct Kept<'a> {
    /// The number of its `requested` event.
    pub(super) seq: i64,
    pub(super) agent: &'a AgentId,
    pub(super) at: Timestamp,
    pub(super) keyed: bool,
}

/// Puts a result into the inbox, which makes room for it.
pub(super) fn keep_result(
    tx: &mut Tx<'_>,
    kept: &Kept<'_>,
    stored: &StoredOutcome,
) -> Result<(), StoreError> {
    let Kept { seq, agent, at, keyed } = kept;
    tx.shares.read(tx.db)?;
    let size = stored.outcome.len() + stored.data.as_ref().map_or(0, |data| data.as_str().len());
    let for_replay = if *keyed { tx.options.keep_keys } else { Duration::ZERO };
    let lives = tx.options.keep_results.max(for_replay);
    let sql =
        "INSERT OR REPLACE INTO results (seq, agent, outcome, data, size, created, expires, received, keyed)
               VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)";
    let (outcome, data) = (&stored.outcome, stored.data.as_ref().map(JsonText::as_str));
    let values = params![seq, agent.as_str(), outcome, data, size as i64, at.0, at.plus(lives).0, keyed];
    tx.db.prepare_cached(sql)?.execute(values)?;
    tx.shares.put(agent.as_str(), *seq, size);
    make_room(tx, agent, *seq, size)
}

/// Drops what is too much now that the result `new` of `agent` has come.
fn make_room(tx: &mut Tx<'_>, agent: &AgentId, new: i64, size: usize) -> Result<(), StoreError> {
    let most = AT_ONCE.saturating_add(4 * size as u64);
    let (least, mut dropped) = (tx.shares.room().saturating_sub(most), 0);
    while tx.shares.room() > least
        && let Some(seq) = tx.shares.surplus(agent.as_str(), new, tx.options.max_mb)
    {
        delete(tx, seq)?;
        tx.shares.make_room(seq);
        dropped += 1;
    }
    if dropped > 0 {
        log::info!("agent {agent} does not fetch its results: {dropped} made room for another");
    }
    Ok(())
}

fn delete(tx: &Tx<'_>, seq: i64) -> Result<(), StoreError> {
    tx.db.prepare_cached("DELETE FROM results WHERE seq = ?")?.execute([seq])?;
    Ok(())
}

/// Puts other words into a result that waits, if it still does.
pub(super) fn replace_result(
    tx: &mut Tx<'_>,
    id: RequestId,
    stored: &StoredOutcome,
) -> Result<(), StoreError> {
    let (outcome, data) = (&stored.outcome, stored.data.as_ref().map(JsonText::as_str));
    let size = outcome.len() + data.map_or(0, str::len);
    let sql = "SELECT seq, agent FROM calls WHERE request_id = ?";
    let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
    let call = tx.db.prepare_cached(sql)?.query_row([id.to_string()], read).optional()?;
    let Some((seq, agent)) = call else { return Ok(()) };
    let sql = "UPDATE results SET outcome = ?, data = ?, size = ? WHERE seq = ?";
    if tx.db.prepare_cached(sql)?.execute(params![outcome, data, size as i64, seq])? > 0 {
        tx.shares.put(&agent, seq, size);
    }
    Ok(())
}

/// These have arrived.
pub(super) fn received(tx: &mut Tx<'_>, ids: &HashSet<RequestId>) -> Result<(), StoreError> {
    let mut find = tx.db.prepare_cached("SELECT seq FROM calls WHERE request_id = ?")?;
    let mut wipe = tx.db.prepare_cached("DELETE FROM results WHERE seq = ? AND keyed = 0")?;
    let mut mark = tx.db.prepare_cached("UPDATE results SET received = 1 WHERE seq = ?")?;
    for id in ids.iter().map(RequestId::to_string) {
        let seq: Option<i64> = find.query_row([id], |row| row.get(0)).optional()?;
        let Some(seq) = seq else { continue };
        if wipe.execute([seq])? == 0 {
            mark.execute([seq])?;
        } else {
            tx.shares.remove(seq);
        }
    }
    Ok(())
}

/// Drops those of the next [`PART`] results after `through` whose time is over. Gives the last number that was looked
/// at; None at the end. No index says whose time is over, because every call would have to write it.
pub(super) fn sweep(tx: &mut Tx<'_>, now: Timestamp, through: i64) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT seq, expires FROM results WHERE seq > ? ORDER BY seq LIMIT ?";
    let mut statement = tx.db.prepare_cached(sql)?;
    let rows = statement.query_map(params![through, PART], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let seen: Vec<(i64, i64)> = rows.collect::<Result<_, _>>()?;
    for (seq, _) in seen.iter().filter(|(_, expires)| *expires <= now.0) {
        delete(tx, *seq)?;
        tx.shares.remove(*seq);
    }
    let whole = i64::try_from(seen.len()) == Ok(PART);
    Ok(seen.last().map(|(seq, _)| *seq).filter(|_| whole))
}
