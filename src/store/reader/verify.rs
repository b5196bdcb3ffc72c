//! `audit verify`: walks the chain of a record or of an export and names the first thing that is wrong.

use std::io::{BufRead, Read as _};
use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;

use super::anchor::Anchor;
use super::connection::Reader;
use super::fault::{Anchored, Fault, FaultKind, Verification};
use super::{crosscheck, tables};
use crate::base::digest::Digest;
use crate::base::json::parse_strict;
use crate::store::chain::{self, ChainEvent, ChainKey, ChainLink, Seal};
use crate::store::error::StoreError;
use crate::store::{kind, schema};

/// The longest line of an export that is read, in bytes: far above what the gateway writes.
const MAX_LINE: u64 = 32 << 20;

impl Reader {
    /// Checks the whole record: every event with the key, the anchor before the first, the exported head behind the
    /// last, and every request's row against its events.
    ///
    /// # Errors
    /// When the database cannot be read; what is wrong with its content is a [`Fault`].
    pub fn verify(&mut self) -> Result<Verification, StoreError> {
        self.verify_with(None)
    }

    /// The same, and whether the record still holds what `anchor` was taken of.
    ///
    /// # Errors
    /// As [`Reader::verify`].
    pub fn verify_with(&mut self, anchor: Option<&Anchor>) -> Result<Verification, StoreError> {
        // Read before the snapshot: a running gateway only moves it forward.
        let head = chain::exported_head(&self.path);
        let key = self.key.clone();
        let tx = self.snapshot()?;
        let Some(key) = key else { return Ok(unchecked(FaultKind::KeyMissing)) };
        let start = match beginning(&tx, &key)? {
            Ok(start) => start,
            Err(wrong) => return Ok(unchecked(wrong)),
        };
        let mut walk = ChainWalk { key: Some(&key), anchor, ..ChainWalk::from(start) };
        let fault = match walk_events(&tx, &mut walk)? {
            Some(fault) => Some(fault),
            None => check_head(&tx, &key, head.as_ref(), walk.at)?,
        };
        let mut check = walk.result(fault);
        if check.fault.is_none() {
            (check.calls, check.fault) = crosscheck::calls(&tx)?;
        }
        if check.fault.is_none() {
            check.fault = tables::compare(&tx, &key, walk.at)?;
        }
        if check.fault.is_none() {
            check.fault = check_indexes(&tx)?;
        }
        Ok(check)
    }
}

fn unchecked(wrong: FaultKind) -> Verification {
    Verification {
        events: 0,
        last: 0,
        calls: 0,
        keyed: false,
        anchored: None,
        fault: Some(Fault::record(wrong)),
    }
}

/// What the first event follows.
fn beginning(db: &Connection, key: &ChainKey) -> Result<Result<ChainLink, FaultKind>, StoreError> {
    Ok(match chain::meta(db, "anchor")? {
        None => Ok(ChainLink::START),
        Some(text) => serde_json::from_str(&text)
            .ok()
            .and_then(|sealed| key.unseal(Seal::Anchor, &sealed))
            .ok_or(FaultKind::AnchorBroken),
    })
}

/// The chain's walk: where it stands, and what the next event must follow.
struct ChainWalk<'a> {
    key: Option<&'a ChainKey>,
    /// What the first event follows.
    start: ChainLink,
    at: ChainLink,
    events: u64,
    /// What the record is to be compared with, and whether its event was met.
    anchor: Option<&'a Anchor>,
    met: bool,
}

impl From<ChainLink> for ChainWalk<'_> {
    fn from(start: ChainLink) -> Self {
        ChainWalk { key: None, start, at: start, events: 0, anchor: None, met: false }
    }
}

impl ChainWalk<'_> {
    /// What came of it; an anchor counts when nothing else was wrong.
    fn result(&self, fault: Option<Fault>) -> Verification {
        let anchored = match (&fault, self.anchor) {
            (None, Some(_)) if self.met => Some(Ok(Anchored::Confirmed)),
            (None, Some(anchor)) => Some(anchor.outside(self.start, self.at)),
            (_, _) => None,
        };
        let (anchored, wrong) = match anchored {
            Some(Ok(anchored)) => (Some(anchored), None),
            Some(Err(wrong)) => (None, Some(Fault::record(wrong))),
            None => (None, None),
        };
        let (events, last, keyed) = (self.events, self.at.seq, self.key.is_some());
        Verification { events, last, calls: 0, keyed, anchored, fault: fault.or(wrong) }
    }

    fn step(&mut self, event: &ChainEvent) -> Option<Fault> {
        let expected = self.at.seq.saturating_add(1);
        if event.seq > expected {
            return Some(Fault::event(expected, FaultKind::Missing { through: event.seq - 1 }));
        }
        if event.seq < expected {
            return Some(Fault::event(event.seq, FaultKind::Reordered));
        }
        let Ok(link) = chain::link_of(event) else {
            return Some(Fault::event(event.seq, FaultKind::Changed));
        };
        if self.key.is_some_and(|key| key.hash(&self.at.hash, event) != link.hash) {
            return Some(Fault::event(event.seq, FaultKind::Changed));
        }
        if let Some(anchor) = self.anchor.filter(|anchor| anchor.seq == event.seq) {
            if anchor.differs(event) {
                return Some(Fault::event(event.seq, FaultKind::ForeignAnchor));
            }
            self.met = true;
        }
        self.at = link;
        self.events += 1;
        None
    }
}

fn walk_events(db: &Connection, walk: &mut ChainWalk<'_>) -> Result<Option<Fault>, StoreError> {
    chain::find_event(db, "true", |event| {
        let Some(mut fault) = walk.step(event) else { return Ok(confessed(event)) };
        if fault.wrong == FaultKind::Changed && belongs_elsewhere(db, walk, event)? {
            fault.wrong = FaultKind::Reordered;
        }
        Ok(Some(fault))
    })
}

/// What the gateway itself has found wrong and gone on from.
fn confessed(event: &ChainEvent) -> Option<Fault> {
    let wrong = match event.kind.as_str() {
        kind::ROLLED_BACK => FaultKind::RolledBack,
        kind::TAMPERED => {
            let body: Value = serde_json::from_str(&event.body).unwrap_or_default();
            let found = body.pointer("/found/0").and_then(Value::as_str).unwrap_or_default().to_owned();
            FaultKind::Tampered { found }
        }
        _other => return None,
    };
    Some(match &event.request_id {
        Some(id) => Fault::call(event.seq, id.clone(), wrong),
        None => Fault::event(event.seq, wrong),
    })
}

/// Whether a row that does not fit its place is an unchanged event from another one: then its hash fits behind
/// some other row's hash, under the number behind that row, or (two neighbours exchanged) under that row's own.
fn belongs_elsewhere(db: &Connection, walk: &ChainWalk<'_>, event: &ChainEvent) -> Result<bool, StoreError> {
    let Some(key) = walk.key else { return Ok(false) };
    let found = chain::find_event(db, "true", |other| {
        let Ok(ChainLink { seq, hash }) = chain::link_of(other) else { return Ok(None) };
        let mut places = [seq, seq.saturating_add(1)].into_iter();
        Ok(places.find(|seq| key.proves(&hash, &ChainEvent { seq: *seq, ..event.clone() })))
    })?;
    Ok(found.is_some())
}

/// The end of the record against the head that was exported, at most a few seconds old.
fn check_head(
    db: &Connection,
    key: &ChainKey,
    sealed: Option<&Value>,
    last: ChainLink,
) -> Result<Option<Fault>, StoreError> {
    if rows_beyond(db, last.seq)? {
        return Ok(Some(Fault::event(last.seq, FaultKind::CutTail)));
    }
    let Some(sealed) = sealed else { return Ok(Some(Fault::record(FaultKind::HeadMissing))) };
    let Some(head) = key.unseal(Seal::Head, sealed) else {
        return Ok(Some(Fault::record(FaultKind::HeadForged)));
    };
    if head.seq > last.seq {
        return Ok(Some(Fault::event(last.seq, FaultKind::OlderCopy { head: head.seq })));
    }
    // None: dropped by retention since.
    let there = chain::event_at(db, head.seq)?.as_ref().map(chain::link_of).transpose()?;
    if there.is_some_and(|link| link != head) {
        return Ok(Some(Fault::event(head.seq, FaultKind::ForeignHead)));
    }
    Ok((followed(db)? > last.seq).then(|| Fault::event(last.seq, FaultKind::CutTail)))
}

/// Whether some row speaks of an event behind the last one.
fn rows_beyond(db: &Connection, last: i64) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM calls WHERE seq > ?1) OR EXISTS (SELECT 1 FROM open_calls WHERE seq > ?1)
               OR EXISTS (SELECT 1 FROM results WHERE seq > ?1)
               OR EXISTS (SELECT 1 FROM calls WHERE finished_seq > ?1)
               OR EXISTS (SELECT 1 FROM meta WHERE name = 'durable' AND CAST(value AS INTEGER) > ?1)";
    Ok(db.query_row(sql, [last], |row| row.get(0))?)
}

/// The event through which a table has followed, at most; 0 in an older record.
fn followed(db: &Connection) -> Result<i64, StoreError> {
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let sql = "SELECT coalesce(max(folded), 0) FROM main.projections";
    if version < schema::FOLDED { Ok(0) } else { Ok(db.query_row(sql, [], |row| row.get(0))?) }
}

/// What was read so far was read from the tables, but `show` and the lists go by their indexes, and by `steps`.
fn check_indexes(db: &Connection) -> Result<Option<Fault>, StoreError> {
    let steps = "SELECT request_id, seq, kind FROM steps";
    let said = format!(
        "SELECT request_id, seq, kind FROM events WHERE request_id IS NOT NULL AND kind IN ('{}')",
        kind::STEPS.join("', '")
    );
    let sql = format!("SELECT EXISTS ({steps} EXCEPT {said}) OR EXISTS ({said} EXCEPT {steps})");
    if db.query_row(&sql, [], |row| row.get::<_, bool>(0))? {
        return Ok(Some(Fault::record(FaultKind::IndexChanged)));
    }
    for table in ["events", "calls"] {
        let found: String =
            db.query_row(&format!("PRAGMA main.integrity_check({table})"), [], |row| row.get(0))?;
        if found != "ok" {
            return Ok(Some(Fault::record(FaultKind::IndexChanged)));
        }
    }
    Ok(None)
}

/// Checks an export, with the record's key when its file is given, and against `anchor`.
///
/// # Errors
/// When `input` or the key cannot be read; what is wrong with the content is a [`Fault`].
pub fn verify_export(
    input: &mut dyn BufRead,
    key_file: Option<&Path>,
    anchor: Option<&Anchor>,
) -> Result<Verification, StoreError> {
    let key = key_file.map(read_key).transpose()?;
    let mut walk = ChainWalk { key: key.as_ref(), anchor, ..ChainWalk::from(ChainLink::START) };
    let fault = walk_lines(input, &mut walk)?;
    Ok(walk.result(fault))
}

fn read_key(path: &Path) -> Result<ChainKey, StoreError> {
    let bytes = std::fs::read(path).map_err(|e| StoreError::unwritable(path, &e))?;
    ChainKey::from_bytes(&bytes).ok_or_else(|| StoreError::KeyMissing(path.to_owned()))
}

fn walk_lines(input: &mut dyn BufRead, walk: &mut ChainWalk<'_>) -> Result<Option<Fault>, StoreError> {
    let mut number = 0;
    while let Some(line) = next_line(input)? {
        number += 1;
        let unreadable = || Some(Fault::record(FaultKind::Unreadable { line: number }));
        let Ok(value) = parse_strict(line.as_bytes(), 8) else { return Ok(unreadable()) };
        if let Some(sealed) = value.get("head") {
            let more = next_line(input)?.is_some();
            return Ok(if more { unreadable() } else { end_of_export(walk, sealed) });
        }
        let fault = match (value.get("anchor"), number) {
            (Some(sealed), 1) => begin_export(walk, sealed),
            (Some(_), _) => unreadable(),
            (None, _) => event_of_export(walk, &value).unwrap_or_else(unreadable),
        };
        if let Some(fault) = fault {
            return Ok(Some(reordered(fault, input)?));
        }
    }
    Ok(Some(Fault::event(walk.at.seq, FaultKind::CutTail)))
}

fn next_line(input: &mut dyn BufRead) -> Result<Option<String>, StoreError> {
    let mut line = Vec::new();
    let read = input.take(MAX_LINE).read_until(b'\n', &mut line);
    read.map_err(|e| StoreError::Encoding(e.to_string()))?;
    // What is not UTF-8 is not JSON either and found as such.
    Ok((!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned()))
}

fn begin_export(walk: &mut ChainWalk<'_>, sealed: &Value) -> Option<Fault> {
    let link = match walk.key {
        Some(key) => key.unseal(Seal::Anchor, sealed),
        None => chain::unsealed(sealed),
    };
    match link {
        Some(link) => (walk.start, walk.at) = (link, link),
        None => return Some(Fault::record(FaultKind::AnchorBroken)),
    }
    None
}

fn end_of_export(walk: &ChainWalk<'_>, sealed: &Value) -> Option<Fault> {
    let head = match walk.key {
        Some(key) => key.unseal(Seal::Head, sealed),
        None => chain::unsealed(sealed),
    };
    match head {
        None => Some(Fault::record(FaultKind::HeadForged)),
        Some(head) if head == walk.at => None,
        Some(_) => Some(Fault::event(walk.at.seq, FaultKind::CutTail)),
    }
}

/// Steps over one event line: its fault, if any; None when it is no event line.
fn event_of_export(walk: &mut ChainWalk<'_>, value: &Value) -> Option<Option<Fault>> {
    let text = |name| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let event = ChainEvent {
        seq: value.get("seq")?.as_i64()?,
        at: value.get("at_ms")?.as_i64()?,
        kind: text("kind")?,
        request_id: text("request_id"),
        body: text("body")?,
        hash: Digest::parse(&text("hash")?)?.0.to_vec(),
    };
    let shown_at = crate::base::clock::Timestamp(event.at).to_string();
    let follows = walk.at.seq.saturating_add(1) == event.seq;
    let unlinked = follows && Digest::parse(&text("prev")?)? != walk.at.hash;
    if unlinked || text("at")? != shown_at {
        return Some(Some(Fault::event(event.seq, FaultKind::Changed)));
    }
    Some(walk.step(&event).or_else(|| confessed(&event)))
}

/// A line that seems to be missing may follow further down.
fn reordered(mut fault: Fault, input: &mut dyn BufRead) -> Result<Fault, StoreError> {
    let FaultKind::Missing { .. } = fault.wrong else { return Ok(fault) };
    while let Some(line) = next_line(input)? {
        let seq = parse_strict(line.as_bytes(), 8).ok().and_then(|v| v.get("seq")?.as_i64());
        if seq.is_some() && seq == fault.seq {
            fault.wrong = FaultKind::Reordered;
            break;
        }
    }
    Ok(fault)
}
