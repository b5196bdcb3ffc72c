//! How events are bound: each hash is keyed and covers the event and the hash before it.
//!
//! Without the key nobody can write an event, a head or an anchor that verifies. The key must never be logged or
//! exported.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::error::StoreError;
use super::files;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::{RequestId, random_bytes};
use crate::base::json::canonical;

const KEY_BYTES: usize = 32;

/// The secret that binds the record.
#[derive(Clone)]
pub(super) struct ChainKey(Zeroizing<[u8; KEY_BYTES]>);

/// Made from the record's key: whoever has one token or another cannot make a third.
#[derive(Clone)]
pub(super) struct TokenKey(Zeroizing<[u8; KEY_BYTES]>);

impl TokenKey {
    pub(super) fn mac(&self, parts: &[&[u8]]) -> Digest {
        Digest::keyed(self.0.as_slice(), parts)
    }
}

#[derive(Clone, Debug)]
pub(super) struct ChainEvent {
    pub(super) seq: i64,
    pub(super) at: i64,
    pub(super) kind: String,
    pub(super) request_id: Option<String>,
    /// Canonical JSON.
    pub(super) body: String,
    pub(super) hash: Vec<u8>,
}

impl ChainEvent {
    /// Columns in the order in which [`ChainEvent::read`] takes them.
    pub(super) const COLUMNS: &str = "seq, at, kind, request_id, body, hash";

    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<ChainEvent> {
        Ok(ChainEvent {
            seq: row.get(0)?,
            at: row.get(1)?,
            kind: row.get(2)?,
            request_id: row.get(3)?,
            body: row.get(4)?,
            hash: row.get(5)?,
        })
    }
}

/// A place in the chain: an event's number and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChainLink {
    pub(super) seq: i64,
    pub(super) hash: Digest,
}

impl ChainLink {
    /// Before the first event.
    pub(super) const START: ChainLink = ChainLink { seq: 0, hash: Digest([0; 32]) };
}

/// What a sealed link stands for; one cannot be passed off as the other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seal {
    /// The newest event.
    Head,
    /// The newest event that was dropped.
    Anchor,
}

impl ChainKey {
    /// The key beside `db`; made when the record is `fresh` and has none.
    pub(super) fn load(db: &Path, fresh: bool) -> Result<ChainKey, StoreError> {
        let path = ChainKey::path(db);
        match ChainKey::read(db)? {
            Some(key) => Ok(key),
            None if fresh => ChainKey::make(&path),
            None => Err(StoreError::KeyMissing(path)),
        }
    }

    /// The key beside `db`, if there is one.
    pub(super) fn read(db: &Path) -> Result<Option<ChainKey>, StoreError> {
        let path = ChainKey::path(db);
        match fs::read(&path) {
            Ok(bytes) => Ok(ChainKey::from_bytes(&Zeroizing::new(bytes))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(StoreError::unwritable(&path, &e)),
        }
    }

    /// A key file's content; None when it has another length than a key.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<ChainKey> {
        bytes.try_into().ok().map(|key| ChainKey(Zeroizing::new(key)))
    }

    pub(super) fn path(db: &Path) -> PathBuf {
        files::sibling(db, "key")
    }

    fn make(path: &Path) -> Result<ChainKey, StoreError> {
        let failed = |e: std::io::Error| StoreError::unwritable(path, &e);
        let key = Zeroizing::new(random_bytes::<KEY_BYTES>().map_err(failed)?);
        files::replace(path, key.as_slice()).map_err(failed)?;
        files::sync_dir(path).map_err(failed)?;
        Ok(ChainKey(key))
    }

    /// The hash of `event` when it follows `prev`. Every part has a fixed length or its length before it, so that
    /// no two events share their bytes.
    pub(super) fn hash(&self, prev: &Digest, event: &ChainEvent) -> Digest {
        let id = event.request_id.as_deref().unwrap_or_default();
        let length = |text: &str| (text.len() as u64).to_be_bytes();
        let parts: [&[u8]; 10] = [
            b"event",
            &prev.0,
            &event.seq.to_be_bytes(),
            &event.at.to_be_bytes(),
            &length(&event.kind),
            event.kind.as_bytes(),
            &length(id),
            id.as_bytes(),
            &length(&event.body),
            event.body.as_bytes(),
        ];
        Digest::keyed(self.0.as_slice(), &parts)
    }

    /// Whether this is the event that was recorded after `before`, its number aside.
    pub(super) fn proves(&self, before: &Digest, event: &ChainEvent) -> bool {
        self.hash(before, event).0.as_slice() == event.hash.as_slice()
    }

    /// A key for something else that must outlive a restart. It says nothing about this one.
    pub(super) fn derive(&self, purpose: &str) -> TokenKey {
        TokenKey(Zeroizing::new(Digest::keyed(self.0.as_slice(), &[b"derive.", purpose.as_bytes()]).0))
    }

    fn mac(&self, seal: Seal, link: ChainLink) -> Digest {
        let what: &[u8] = match seal {
            Seal::Head => b"head.",
            Seal::Anchor => b"anchor.",
        };
        Digest::keyed(self.0.as_slice(), &[what, &link.seq.to_be_bytes(), &link.hash.0])
    }

    /// `link` as JSON that only the holder of the key can make.
    pub(super) fn seal(&self, seal: Seal, link: ChainLink) -> Value {
        json!({"seq": link.seq, "hash": link.hash.hex(), "mac": self.mac(seal, link).hex()})
    }

    /// The link in what [`ChainKey::seal`] made; None when it is anything else.
    pub(super) fn unseal(&self, seal: Seal, sealed: &Value) -> Option<ChainLink> {
        let link = unsealed(sealed)?;
        let mac = sealed.get("mac")?.as_str()?;
        (Digest::parse(mac) == Some(self.mac(seal, link))).then_some(link)
    }
}

/// The link in a sealed value, unchecked: for exports read without the key.
pub(super) fn unsealed(sealed: &Value) -> Option<ChainLink> {
    let hash = Digest::parse(sealed.get("hash")?.as_str()?)?;
    Some(ChainLink { seq: sealed.get("seq")?.as_i64()?, hash })
}

/// The writing end of the chain. Where it ends is known from memory: whoever else can write the database could have cut
/// events off its end.
pub(super) struct Chain {
    pub(super) key: ChainKey,
    pub(super) head: ChainLink,
    /// The head after the last transaction that succeeded.
    committed: ChainLink,
}

impl Chain {
    pub(super) fn new(key: ChainKey, head: ChainLink) -> Chain {
        Chain { key, head, committed: head }
    }

    /// Appends one event.
    pub(super) fn append(
        &mut self,
        db: &Connection,
        at: Timestamp,
        kind: &str,
        id: Option<RequestId>,
        body: &Value,
    ) -> Result<ChainEvent, StoreError> {
        let body = String::from_utf8(canonical(body)?).map_err(|e| StoreError::Encoding(e.to_string()))?;
        let id = id.map(|id| id.to_string());
        let seq = self.head.seq.saturating_add(1);
        let mut event =
            ChainEvent { seq, at: at.0, kind: kind.to_owned(), request_id: id, body, hash: Vec::new() };
        let hash = self.key.hash(&self.head.hash, &event);
        event.hash = hash.0.to_vec();
        insert(db, &event)?;
        self.head = ChainLink { seq, hash };
        Ok(event)
    }

    /// What was appended stays.
    pub(super) fn commit(&mut self) {
        self.committed = self.head;
    }

    /// What was appended is gone, because the transaction failed; unless the database has it all the same. An end that
    /// this chain never had is not gone on from: what is missing then stays to be found.
    pub(super) fn roll_back(&mut self, db: &Connection) -> Result<(), StoreError> {
        let reached = std::mem::replace(&mut self.head, self.committed);
        let found = head(db)?;
        if found == reached {
            (self.head, self.committed) = (reached, reached);
        } else if found != self.committed {
            let (ends, ended) = (found.seq, self.committed.seq);
            log::error!("the record was changed from outside: it ends at event {ends}, not {ended}");
        }
        Ok(())
    }
}

fn insert(db: &Connection, event: &ChainEvent) -> Result<(), StoreError> {
    let sql = "INSERT INTO events (seq, at, kind, request_id, body, hash) VALUES (?, ?, ?, ?, ?, ?)";
    let ChainEvent { seq, at, kind, request_id, body, hash } = event;
    db.prepare_cached(sql)?.execute(params![seq, at, kind, request_id, body, hash])?;
    Ok(())
}

pub(super) fn parse_id(text: &str) -> Result<RequestId, StoreError> {
    RequestId::parse(text).ok_or_else(|| StoreError::Encoding(format!("no request id: {text}")))
}

/// The newest event's link; the anchor's when all events are dropped.
pub(super) fn head(db: &Connection) -> Result<ChainLink, StoreError> {
    let newest = last_event(db)?;
    match newest {
        Some(event) => link_of(&event),
        None => Ok(anchor(db)?.as_ref().and_then(unsealed).unwrap_or(ChainLink::START)),
    }
}

/// The link an event claims for itself.
pub(super) fn link_of(event: &ChainEvent) -> Result<ChainLink, StoreError> {
    let hash = <[u8; 32]>::try_from(event.hash.as_slice());
    let hash = hash.map_err(|_| StoreError::Corrupt(format!("event {} has no hash", event.seq)))?;
    Ok(ChainLink { seq: event.seq, hash: Digest(hash) })
}

pub(super) fn last_event(db: &Connection) -> Result<Option<ChainEvent>, StoreError> {
    let sql = format!("SELECT {} FROM events ORDER BY seq DESC LIMIT 1", ChainEvent::COLUMNS);
    Ok(db.query_row(&sql, [], ChainEvent::read).optional()?)
}

pub(super) fn event_at(db: &Connection, seq: i64) -> Result<Option<ChainEvent>, StoreError> {
    let sql = format!("SELECT {} FROM events WHERE seq = ?", ChainEvent::COLUMNS);
    Ok(db.prepare_cached(&sql)?.query_row([seq], ChainEvent::read).optional()?)
}

/// Goes through the events that `condition` (SQL) selects, oldest first, until `look` finds something.
pub(super) fn find_event<T>(
    db: &Connection,
    condition: &str,
    mut look: impl FnMut(&ChainEvent) -> Result<Option<T>, StoreError>,
) -> Result<Option<T>, StoreError> {
    let sql = format!("SELECT {} FROM events WHERE {condition} ORDER BY seq", ChainEvent::COLUMNS);
    let mut statement = db.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        // A column of the wrong type is a change, too; STRICT tables keep all but text out of text columns.
        if let Some(found) = look(&ChainEvent::read(row)?)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The sealed anchor, when a prefix was dropped.
pub(super) fn anchor(db: &Connection) -> Result<Option<Value>, StoreError> {
    let text = meta(db, "anchor")?;
    text.map(|text| serde_json::from_str(&text).map_err(StoreError::from)).transpose()
}

pub(super) fn meta(db: &Connection, name: &str) -> Result<Option<String>, StoreError> {
    let sql = "SELECT value FROM meta WHERE name = ?";
    Ok(db.prepare_cached(sql)?.query_row([name], |row| row.get(0)).optional()?)
}

pub(super) fn set_meta(db: &Connection, name: &str, value: &str) -> Result<(), StoreError> {
    db.prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)")?.execute([name, value])?;
    Ok(())
}

pub(super) fn exported_head(db: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(files::sibling(db, "head")).ok()?).ok()
}
