//! Drops the oldest events, whole prefixes only, and leaves a sealed anchor: where the rest begins and what it follows.
//! Open calls and everything newer than the oldest of them stay.

use rusqlite::params;
use serde_json::json;

use super::chain::{Link, Seal, event_at, link_of, set_meta};
use super::counts;
use super::error::StoreError;
use super::inbox::{self, Sweep};
use super::ledger::kind;
use super::writer::Tx;
use crate::base::clock::Timestamp;

/// The most events dropped in one transaction, so that no call waits long behind them.
const STEP: i64 = 1000;

/// The newest events stay, however large they are.
const STAY: i64 = 100;

/// Milliseconds of a day.
const DAY: i64 = 24 * 60 * 60 * 1000;

/// One bounded step, in which `sweep` goes on through the results; true when there is more to do.
pub(super) fn step(tx: &mut Tx<'_>, now: Timestamp, sweep: Sweep) -> Result<(Sweep, bool), StoreError> {
    tx.checkpoint = true;
    let (sweep, more_results) = inbox::sweep(tx, now, sweep)?;
    let more_keys = inbox::expire_keys(tx, now)?;
    let more_events = drop_prefix(tx, now)?;
    Ok((sweep, more_results || more_keys || more_events))
}

fn drop_prefix(tx: &mut Tx<'_>, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "SELECT coalesce(min(seq), 0) FROM events";
    let first: i64 = tx.db.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    let cut = too_old(tx, first, now)?.max(too_much(tx, first)?).min(oldest_open(tx)?.saturating_sub(1));
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

/// A step's worth of the oldest events when the content is larger than `max_mb`.
fn too_much(tx: &Tx<'_>, first: i64) -> Result<i64, StoreError> {
    let pragma = |name: &str| tx.db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
    let bytes = u64::try_from(pages.saturating_mul(pragma("page_size")?)).unwrap_or(0);
    if tx.options.max_mb == 0 || bytes <= tx.options.max_mb.saturating_mul(1 << 20) {
        return Ok(0);
    }
    Ok(first.saturating_add(STEP - 1).min(tx.chain.head.seq.saturating_sub(STAY)))
}

fn oldest_open(tx: &Tx<'_>) -> Result<i64, StoreError> {
    let sql = "SELECT min(seq) FROM open_calls";
    let oldest: Option<i64> = tx.db.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(oldest.unwrap_or(i64::MAX))
}

fn drop_through(tx: &mut Tx<'_>, first: i64, cut: i64, now: Timestamp) -> Result<(), StoreError> {
    let last = event_at(tx.db, cut)?.ok_or_else(|| StoreError::Corrupt(format!("event {cut} is missing")))?;
    let anchor: Link = link_of(&last)?;
    for table in ["events", "calls", "results"] {
        tx.db.prepare_cached(&format!("DELETE FROM {table} WHERE seq <= ?"))?.execute([cut])?;
    }
    counts::dropped(tx.db, cut, tx.chain.head.seq)?;
    set_meta(tx.db, "anchor", &tx.chain.key.seal(Seal::Anchor, anchor).to_string())?;
    let body = json!({"first": first, "through": cut, "hash": anchor.hash.hex()});
    tx.append(now, kind::RETENTION, None, &body)?;
    log::info!("events {first} to {cut} were dropped from the record by age or size");
    Ok(())
}
