//! Results that wait for their agent, and idempotency keys. A result leaves when the agent has received it (unless a
//! key may still ask for it) or when its time is over; it is never handed to another agent.

use std::time::Duration;

use rusqlite::{OptionalExtension as _, Row, params};

use super::codec::{self, StoredOutcome};
use super::entry::Replay;
use super::error::StoreError;
use super::ledger::parse_id;
use super::writer::Tx;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::base::json_text::JsonText;
use crate::model::{AgentId, Outcome};

/// Keys dropped per step of [`expire_keys`].
const STEP: usize = 500;

/// Results looked at by one [`sweep`].
const PART: i64 = 1000;

/// Bytes of results that are dropped for one that comes, besides four times its own: enough to win against any that
/// come, and only an older record holds more too much.
const AT_ONCE: u64 = 8 << 20;

/// What an idempotency key is bound to.
pub(super) struct Bound {
    pub(super) id: RequestId,
    pub(super) digest: Digest,
    pub(super) at: Timestamp,
}

/// Binds a key to a new request.
pub(super) fn take_key(tx: &Tx<'_>, agent: &AgentId, key: &str, bound: &Bound) -> Result<(), StoreError> {
    if known_key(tx, agent, key, bound.at)?.is_some() {
        return Err(StoreError::KeyInUse);
    }
    let sql = "INSERT OR REPLACE INTO keys (agent, key, request_id, digest, expires) VALUES (?, ?, ?, ?, ?)";
    let expires = bound.at.plus(tx.options.keep_keys).0;
    let (id, digest) = (bound.id.to_string(), bound.digest.hex());
    tx.db.prepare_cached(sql)?.execute(params![agent.as_str(), key, id, digest, expires])?;
    Ok(())
}

/// Binds one more key to a request that is under way, or that has just ended.
pub(super) fn add_key(tx: &Tx<'_>, agent: &AgentId, key: &str, bound: &Bound) -> Result<(), StoreError> {
    take_key(tx, agent, key, bound)?;
    let sql = "UPDATE results SET keyed = 1 WHERE seq = (SELECT seq FROM calls WHERE request_id = ?)";
    tx.db.prepare_cached(sql)?.execute([bound.id.to_string()])?;
    Ok(())
}

/// A call that was not sent and may be repeated must not stand in its own way.
pub(super) fn release_keys(tx: &Tx<'_>, id: RequestId) -> Result<(), StoreError> {
    tx.db.prepare_cached("DELETE FROM keys WHERE request_id = ?")?.execute([id.to_string()])?;
    Ok(())
}

/// Request and digest of a key that is still remembered: its time is not over, or its call is open.
fn known_key(
    tx: &Tx<'_>,
    agent: &AgentId,
    key: &str,
    now: Timestamp,
) -> Result<Option<(String, String)>, StoreError> {
    let sql = "SELECT request_id, digest FROM keys WHERE agent = ? AND key = ? AND (expires > ?
               OR EXISTS (SELECT 1 FROM open_calls o WHERE o.request_id = keys.request_id))";
    let found = tx
        .db
        .prepare_cached(sql)?
        .query_row(params![agent.as_str(), key, now.0], |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(found.optional()?)
}

/// What a key stands for.
pub(super) fn replay(
    tx: &Tx<'_>,
    agent: &AgentId,
    key: &str,
    now: Timestamp,
) -> Result<Option<Replay>, StoreError> {
    let Some((id, digest)) = known_key(tx, agent, key, now)? else { return Ok(None) };
    let sql = "SELECT EXISTS (SELECT 1 FROM open_calls WHERE request_id = ?)";
    let open: bool = tx.db.prepare_cached(sql)?.query_row([&id], |row| row.get(0))?;
    let outcome = if open { None } else { Some(kept_outcome(tx, &id)?) };
    let digest = Digest::parse(&digest).ok_or_else(|| StoreError::Encoding("no digest".into()))?;
    Ok(Some(Replay { id: parse_id(&id)?, digest, outcome }))
}

/// The outcome of a finished call. If it is kept no more, the call was still made once: never "not done".
fn kept_outcome(tx: &Tx<'_>, id: &str) -> Result<Outcome, StoreError> {
    let sql = "SELECT outcome, data FROM results WHERE seq = (SELECT seq FROM calls WHERE request_id = ?)";
    let kept: Option<(String, Option<String>)> =
        tx.db.prepare_cached(sql)?.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    kept.map_or(Ok(Outcome::UnknownResult), |(outcome, data)| codec::decode(&outcome, data.as_deref()))
}

/// A result to be kept.
pub(super) struct Kept<'a> {
    pub(super) id: RequestId,
    /// The number of its `requested` event.
    pub(super) seq: i64,
    pub(super) agent: &'a AgentId,
    pub(super) at: Timestamp,
}

/// Puts a result into the inbox, which makes room for it; its key lives on from now.
pub(super) fn keep_result(
    tx: &mut Tx<'_>,
    kept: &Kept<'_>,
    stored: &StoredOutcome,
) -> Result<(), StoreError> {
    let Kept { id, seq, agent, at } = kept;
    tx.shares.read(tx.db)?;
    let keyed = has_key(tx, *id)?;
    let size = stored.outcome.len() + stored.data.as_ref().map_or(0, |data| data.as_str().len());
    let for_replay = if keyed { tx.options.keep_keys } else { Duration::ZERO };
    let lives = tx.options.keep_results.max(for_replay);
    let sql = "INSERT INTO results (seq, agent, outcome, data, size, created, expires, received, keyed)
               VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)";
    let (outcome, data) = (&stored.outcome, stored.data.as_ref().map(JsonText::as_str));
    let values = params![seq, agent.as_str(), outcome, data, size as i64, at.0, at.plus(lives).0, keyed];
    tx.db.prepare_cached(sql)?.execute(values)?;
    if keyed {
        let sql = "UPDATE keys SET expires = ? WHERE request_id = ?";
        tx.db.prepare_cached(sql)?.execute(params![at.plus(tx.options.keep_keys).0, id.to_string()])?;
    }
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
        drop_result(tx, seq)?;
        dropped += 1;
    }
    if dropped > 0 {
        log::info!("agent {agent} does not fetch its results: {dropped} made room for another");
    }
    Ok(())
}

fn drop_result(tx: &mut Tx<'_>, seq: i64) -> Result<(), StoreError> {
    tx.db.prepare_cached("DELETE FROM results WHERE seq = ?")?.execute([seq])?;
    tx.shares.remove(seq);
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

fn has_key(tx: &Tx<'_>, id: RequestId) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM keys WHERE request_id = ?)";
    Ok(tx.db.prepare_cached(sql)?.query_row([id.to_string()], |row| row.get(0))?)
}

/// These have arrived.
pub(super) fn received(tx: &mut Tx<'_>, ids: &[RequestId]) -> Result<(), StoreError> {
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
        drop_result(tx, *seq)?;
    }
    let whole = i64::try_from(seen.len()) == Ok(PART);
    Ok(seen.last().map(|(seq, _)| *seq).filter(|_| whole))
}

/// Drops some keys whose time is over; true when more may be left.
pub(super) fn expire_keys(tx: &Tx<'_>, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "DELETE FROM keys WHERE request_id IN (SELECT request_id FROM keys WHERE expires <= ?
               AND NOT EXISTS (SELECT 1 FROM open_calls o WHERE o.request_id = keys.request_id) LIMIT ?)";
    Ok(tx.db.prepare_cached(sql)?.execute(params![now.0, STEP as i64])? == STEP)
}
