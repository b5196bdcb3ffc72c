//! Opening the record: files and lock, tables, key, head, and what a crash left behind. Refuses rather than guesses.

use serde_json::json;

use super::age;
use super::chain::{self, Chain, ChainKey, ChainLink, Seal};
use super::counters;
use super::entry::{Recovered, StoreOptions};
use super::error::StoreError;
use super::files::RecordFiles;
use super::kind;
use super::ledger;
use super::marker;
use super::readings;
use super::schema;
use super::stops;
use super::take_up::{TakenUp, take_up};
use super::writer::RecordWriter;
use crate::base::clock::{Clock, Timestamp, boot_id};
use crate::base::time_sync::TimeSync;
use crate::model::AgentId;

/// Opens or makes the record and settles what was under way when the last process ended.
/// A `clock` that is not to be believed goes on from the newest event, so that times in the record never run back.
pub(super) fn open(options: StoreOptions, clock: &Clock) -> Result<(RecordWriter, Recovered), StoreError> {
    let files = RecordFiles::prepare(&options.path)?;
    let (db, version) = schema::connect(&files.db)?;
    let head = chain::head(&db)?;
    let key = ChainKey::load(&files.db, head == ChainLink::START)?;
    let newest = check_tail(&db, &key, &files)?;
    clock.carry_on(newest.max(ledger::newest_time(&db)?), TimeSync::look());
    let rolled_back = rolled_back(&db, &key, head, &files)?;
    let mut writer = RecordWriter::new(db, Chain::new(key, head), files, options)?;
    writer.catch_up()?;
    let recovered = recover(&mut writer, rolled_back, version, clock.now())?;
    writer.try_export()?;
    Ok((writer, recovered))
}

/// The last event must verify: going on with another key would bury the change. Gives its time.
pub(super) fn check_tail(
    db: &rusqlite::Connection,
    key: &ChainKey,
    files: &RecordFiles,
) -> Result<Timestamp, StoreError> {
    let Some(last) = chain::last_event(db)? else { return Ok(Timestamp(0)) };
    let before = match chain::event_at(db, last.seq.saturating_sub(1))? {
        Some(event) => chain::link_of(&event)?,
        None => chain::anchor(db)?.as_ref().and_then(chain::unsealed).unwrap_or(ChainLink::START),
    };
    if key.proves(&before.hash, &last) {
        return Ok(Timestamp(last.at));
    }
    Err(StoreError::KeyMismatch { path: ChainKey::path(&files.db), seq: last.seq })
}

/// How this record falls short of its exported head, in words; None when it does not.
fn rolled_back(
    db: &rusqlite::Connection,
    key: &ChainKey,
    head: ChainLink,
    files: &RecordFiles,
) -> Result<Option<String>, StoreError> {
    let Some(sealed) = chain::exported_head(&files.db) else {
        return Ok((head != ChainLink::START).then(|| "the exported head is missing".into()));
    };
    let Some(exported) = key.unseal(Seal::Head, &sealed) else {
        return Ok(Some("the exported head is not sealed by this record's key".into()));
    };
    if exported.seq > head.seq {
        let words = format!("the record ends at event {}, its head is event {}", head.seq, exported.seq);
        return Ok(Some(words));
    }
    let there = chain::event_at(db, exported.seq)?.as_ref().map(chain::link_of).transpose()?;
    Ok(there
        .filter(|link| *link != exported)
        .map(|_| format!("event {} is not the exported one", exported.seq)))
}

fn recover(
    writer: &mut RecordWriter,
    rolled_back: Option<String>,
    version: i64,
    now: Timestamp,
) -> Result<Recovered, StoreError> {
    let (mut taken, marked) = (None, marker::left(&writer.files.db, now));
    writer.try_transact(true, |tx| {
        if let Some(found) = &rolled_back {
            tx.append(now, kind::ROLLED_BACK, None, &json!({"found": found}))?;
        }
        age::take_over(tx.db, boot_id().as_deref())?;
        let standing = stops::read(tx.db)?;
        for stop in marked.iter().filter(|stop| !standing.iter().any(|other| other.covers(stop))) {
            let agent = stop.agent.as_ref().map(AgentId::as_str);
            let body = json!({"agent": agent, "by": stop.by.as_str(), "reason": stop.reason});
            tx.append(now, kind::STOPPED, None, &body)?;
        }
        taken = Some(take_up(tx, now, rolled_back.is_some(), version)?);
        // Proves that the disk takes writes, also when there is nothing else to say.
        chain::set_meta(tx.db, "opened", &now.to_string())
    })?;
    if !marked.is_empty() {
        marker::taken_up(&writer.files.db);
    }
    let TakenUp { open, unknown, mut grants } = taken.ok_or(StoreError::Stopped)?;
    // What was given up just now may have been read.
    writer.catch_up()?;
    let (counted, read) = (counters::read(&writer.db, now)?, readings::read(&writer.db)?);
    let called = counters::calls_in_sessions(&writer.db, writer.chain.head.seq)?;
    grants.extend(super::grants::ended(&writer.db)?);
    Ok(Recovered {
        open,
        unknown,
        rolled_back,
        counted,
        called,
        read,
        grants,
        stops: stops::read(&writer.db)?,
    })
}
