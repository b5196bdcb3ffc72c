//! Idempotency keys: one stands for one call, for as long as it is remembered, whatever becomes of its row.

use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::json;

use super::entry::Replay;
use super::error::StoreError;
use super::folding;
use super::inbox;
use super::kind;
use super::live::{KeyMark, LiveKey};
use super::proof::KeyBinding;
use super::tx::Tx;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::model::{AgentId, Outcome};

/// Keys dropped per step of [`expire`].
const STEP: usize = 500;

/// What an idempotency key is bound to.
pub(super) struct Bound {
    pub(super) id: RequestId,
    pub(super) digest: Digest,
    pub(super) at: Timestamp,
}

/// Binds a key to a new request, as event `seq` says.
pub(super) fn take(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    key: &str,
    bound: &Bound,
    seq: i64,
) -> Result<KeyMark, StoreError> {
    if known(tx, agent, key, bound.at)?.is_some() {
        return Err(StoreError::KeyInUse);
    }
    let mark = tx.live.mark(agent.as_str(), key);
    tx.live.put_key(mark, LiveKey { event: seq, expires: LiveKey::OPEN });
    Ok(mark)
}

pub(super) fn write(tx: &Tx<'_>, binding: &KeyBinding, expires: Timestamp) -> Result<(), StoreError> {
    let sql = "INSERT OR REPLACE INTO keys (agent, key, request_id, digest, expires) VALUES (?, ?, ?, ?, ?)";
    let KeyBinding { agent, key, id, digest } = binding;
    tx.execute(sql, params![agent, key, id.to_string(), digest.hex(), expires.0])?;
    Ok(())
}

/// Binds one more key to a request that is under way, or that has just ended.
pub(super) fn join(tx: &mut Tx<'_>, agent: &AgentId, key: &str, bound: &Bound) -> Result<(), StoreError> {
    let body = json!({"agent": agent.as_str(), "key": key, "digest": bound.digest.hex()});
    let seq = tx.append(bound.at, kind::JOINED, Some(bound.id), &body)?;
    let mark = take(tx, agent, key, bound, seq)?;
    match tx.live.call(bound.id).cloned() {
        Some(mut open) => {
            open.keys.push(mark);
            tx.live.put(bound.id, open);
        }
        None => tx.live.keep_keys(&[mark], Some(bound.at.plus(tx.options.keep_keys))),
    }
    Ok(())
}

/// The call has ended: its keys live on from now; whether there are any. A call that was not sent and may be repeated
/// must not stand in its own way.
pub(super) fn keep(tx: &mut Tx<'_>, keys: &[KeyMark], outcome: &Outcome, at: Timestamp) -> bool {
    let until = outcome.reason().is_none_or(Outcome::keeps_key).then(|| at.plus(tx.options.keep_keys));
    tx.live.keep_keys(keys, until);
    until.is_some() && !keys.is_empty()
}

/// Request, digest and end of a key's row.
type KeyRow = (String, String, i64);

/// The row of a key, whoever wrote it.
pub(super) fn row(db: &Connection, agent: &str, key: &str) -> Result<Option<KeyRow>, StoreError> {
    let sql = "SELECT request_id, digest, expires FROM keys WHERE agent = ? AND key = ?";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    Ok(db.prepare_cached(sql)?.query_row([agent, key], read).optional()?)
}

/// What is known of a key that is still remembered: its time is not over, or its call is open.
struct KnownKey {
    id: RequestId,
    digest: Digest,
    /// An event says so; otherwise only its row does, because the event was dropped or changed.
    proven: bool,
}

fn known(tx: &Tx<'_>, agent: &AgentId, key: &str, now: Timestamp) -> Result<Option<KnownKey>, StoreError> {
    let Some(LiveKey { event, .. }) = tx.live.key(agent.as_str(), key, now)? else { return Ok(None) };
    let binding = KeyBinding::at(tx.db, &tx.chain.key, event)?;
    if let Some(KeyBinding { id, digest, .. }) = binding.filter(|b| b.agent == agent.as_str() && b.key == key)
    {
        return Ok(Some(KnownKey { id, digest, proven: true }));
    }
    let known = row(tx.db, agent.as_str(), key)?
        .and_then(|(id, digest, _)| Some((RequestId::parse(&id)?, Digest::parse(&digest)?)));
    let (id, digest) = known.ok_or_else(|| StoreError::Forged("a remembered key is gone from it".into()))?;
    Ok(Some(KnownKey { id, digest, proven: false }))
}

pub(super) fn replay(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    key: &str,
    now: Timestamp,
) -> Result<Option<Replay>, StoreError> {
    let Some(KnownKey { id, digest, proven }) = known(tx, agent, key, now)? else { return Ok(None) };
    let outcome = match (proven, tx.live.call(id)) {
        (true, Some(_)) => None,
        (true, None) => {
            folding::fold(tx)?;
            Some(inbox::kept_outcome(tx, id, now)?)
        }
        (false, _) => Some(Outcome::UnknownResult),
    };
    Ok(Some(Replay { id, digest, outcome }))
}

/// Drops some keys whose time is over; true when more may be left.
pub(super) fn expire(tx: &mut Tx<'_>, now: Timestamp) -> Result<bool, StoreError> {
    tx.live.forget_keys(now);
    // One by one: a caller who joined later has a key that is remembered longer.
    let sql = "DELETE FROM keys WHERE (agent, key) IN (SELECT agent, key FROM keys WHERE expires <= ?
               AND NOT EXISTS (SELECT 1 FROM open_calls o WHERE o.request_id = keys.request_id) LIMIT ?)";
    Ok(tx.db.prepare_cached(sql)?.execute(params![now.0, STEP as i64])? == STEP)
}
