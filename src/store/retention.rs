//! Drops the oldest events, whole prefixes only, and leaves a sealed anchor: where the rest begins and what it follows.
//! Open calls and everything newer than the oldest of them stay.

use rusqlite::params;
use serde_json::json;

use super::chain::{self, ChainLink, Seal, anchor, event_at, last_event, link_of, set_meta};
use super::counters;
use super::counts;
use super::error::{REMEDY, StoreError};
use super::folding;
use super::inbox;
use super::keys;
use super::kind;
use super::readings;
use super::tx::Tx;
use crate::base::clock::Timestamp;

/// The most events dropped in one transaction, so that no call waits long behind them.
const STEP: i64 = 1000;

/// The newest events stay, however large they are.
const STAY: i64 = 100;

/// Bytes of an event beside its body, with its part of a row of `calls` and of the indexes.
const ROW: u64 = 200;

/// Bytes that are dropped beyond what is too much, so that the next event is not too much again.
const SLACK: u64 = 64 * 1024;

const DAY: i64 = 24 * 60 * 60 * 1000;

/// One bounded step, which goes on through the results after number `swept`. Gives where to go on, and whether there
/// is more to do.
pub(super) fn step(tx: &mut Tx<'_>, now: Timestamp, swept: i64) -> Result<(i64, bool), StoreError> {
    tx.checkpoint = true;
    folding::fold(tx)?;
    let swept = inbox::sweep(tx, now, swept)?;
    let more_keys = keys::expire(tx, now)?;
    let more_counters = counters::expire(tx.db, now)? | readings::expire(tx.db, now)?;
    let first = oldest(tx)?;
    let cut = too_old(tx, first, now)?.max(too_much(tx, first)?);
    let more_events = drop_prefix(tx, first, cut, now)?;
    Ok((swept.unwrap_or(0), swept.is_some() || more_keys || more_counters || more_events))
}

/// The part of a [`step`] that goes by size alone, for a record that grows: no clock has to say when it is time.
pub(super) fn shorten(tx: &mut Tx<'_>) -> Result<bool, StoreError> {
    let first = oldest(tx)?;
    let cut = too_much(tx, first)?;
    let Some(newest) = last_event(tx.db)? else { return Ok(false) };
    drop_prefix(tx, first, cut, Timestamp(newest.at))
}

/// The number of the oldest event; 0 when there is none.
fn oldest(tx: &Tx<'_>) -> Result<i64, StoreError> {
    let sql = "SELECT coalesce(min(seq), 0) FROM events";
    Ok(tx.db.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

fn drop_prefix(tx: &mut Tx<'_>, first: i64, cut: i64, now: Timestamp) -> Result<bool, StoreError> {
    let cut = if cut < first { cut } else { cut.min(oldest_open(tx).saturating_sub(1)) };
    if first == 0 || cut < first {
        return Ok(false);
    }
    drop_through(tx, first, cut, now)?;
    Ok(true)
}

/// The last of the oldest events that are all past their age. A younger one among them ends the prefix, so that a
/// clock that once stood at 1970 never takes the whole record along.
fn too_old(tx: &Tx<'_>, first: i64, now: Timestamp) -> Result<i64, StoreError> {
    if tx.options.retain_days == 0 {
        return Ok(0);
    }
    let limit = now.0.saturating_sub(i64::from(tx.options.retain_days).saturating_mul(DAY));
    let sql = "SELECT coalesce(min(seq) FILTER (WHERE at >= ?1) - 1, max(seq), 0)
               FROM events WHERE seq BETWEEN ?2 AND ?3";
    let last = first.saturating_add(STEP - 1);
    Ok(tx.db.prepare_cached(sql)?.query_row(params![limit, first, last], |row| row.get(0))?)
}

/// The last of the oldest events that together take what is more than `max_mb`, at most a step's worth.
fn too_much(tx: &mut Tx<'_>, first: i64) -> Result<i64, StoreError> {
    let bound = tx.options.max_mb.saturating_mul(1 << 20);
    let surplus = size(tx)?.saturating_sub(bound);
    if bound == 0 || surplus == 0 {
        return Ok(0);
    }
    let sql = "SELECT seq, octet_length(body) FROM events WHERE seq >= ? ORDER BY seq LIMIT ?";
    let mut statement = tx.db.prepare_cached(sql)?;
    let mut rows = statement.query(params![first, STEP])?;
    let (mut last, mut freed) = (0, 0);
    while freed < surplus.saturating_add(SLACK)
        && let Some(row) = rows.next()?
    {
        last = row.get(0)?;
        freed = freed.saturating_add(u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0)).saturating_add(ROW);
    }
    Ok(last.min(tx.chain.head.seq.saturating_sub(STAY)))
}

/// Bytes that the record itself takes: all content but the results, which have bounds of their own. However large they
/// are, no event goes for them.
fn size(tx: &mut Tx<'_>) -> Result<u64, StoreError> {
    tx.shares.read(tx.db)?;
    let pragma = |name: &str| tx.db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
    let bytes = u64::try_from(pages.saturating_mul(pragma("page_size")?)).unwrap_or(0);
    Ok(bytes.saturating_sub(tx.shares.room()))
}

fn oldest_open(tx: &Tx<'_>) -> i64 {
    tx.live.oldest().unwrap_or(i64::MAX)
}

fn drop_through(tx: &mut Tx<'_>, first: i64, cut: i64, now: Timestamp) -> Result<(), StoreError> {
    let last = event_at(tx.db, cut)?.ok_or_else(|| StoreError::Corrupt(format!("event {cut} is missing")))?;
    let anchor: ChainLink = link_of(&last)?;
    if let Some(seq) = first_unproven(tx, first, cut)? {
        // Sealing what follows must not hide it: a changed time would be enough to have changed events dropped.
        let found = format!("event {seq} did not verify when retention dropped it");
        log::error!("the record was changed from outside: {found}; {REMEDY}");
        tx.append(now, kind::TAMPERED, None, &json!({"found": [found]}))?;
    }
    folding::fold(tx)?;
    let sql =
        "DELETE FROM steps WHERE seq <= ?1 AND request_id IN (SELECT request_id FROM events WHERE seq <= ?1)";
    tx.execute(sql, [cut])?;
    for table in ["events", "calls", "results", "grants"] {
        tx.db.prepare_cached(&format!("DELETE FROM {table} WHERE seq <= ?"))?.execute([cut])?;
    }
    tx.shares.remove_through(cut);
    counts::dropped(tx.db, cut, tx.tables.folded(tx.db)?)?;
    set_meta(tx.db, "anchor", &tx.chain.key.seal(Seal::Anchor, anchor).to_string())?;
    let body = json!({"first": first, "through": cut, "hash": anchor.hash.hex()});
    tx.append(now, kind::RETENTION, None, &body)?;
    log::info!("events {first} to {cut} were dropped from the record by age or size");
    Ok(())
}

/// The first of these events that is not what was recorded.
fn first_unproven(tx: &Tx<'_>, first: i64, cut: i64) -> Result<Option<i64>, StoreError> {
    let sealed = anchor(tx.db)?;
    let sealed = sealed.as_ref().map(|sealed| tx.chain.key.unseal(Seal::Anchor, sealed));
    let Some(mut before) = sealed.unwrap_or(Some(ChainLink::START)) else { return Ok(Some(first)) };
    chain::find_event(tx.db, &format!("seq <= {cut}"), |event| {
        let follows = event.seq == before.seq.saturating_add(1);
        if !follows || !tx.chain.key.proves(&before.hash, event) {
            return Ok(Some(event.seq));
        }
        before = link_of(event)?;
        Ok(None)
    })
}
