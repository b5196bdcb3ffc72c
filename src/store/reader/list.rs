//! `audit list` and `audit show`: many rows, or one with all of its events.

use rusqlite::{OptionalExtension as _, Row};
use serde_json::{Value, json};

use super::connection::Reader;
use super::page::RowWalk;
use super::row::{AuditRow, Filter, REQUEST, audit_row, select};
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::store::chain::ChainEvent;
use crate::store::error::StoreError;
use crate::store::schema;

/// One request with all of its events.
#[derive(Clone, Debug)]
pub struct ShownCall {
    pub row: AuditRow,
    /// Its events in order: `{"seq","at","kind","body","hash"}`.
    pub events: Vec<Value>,
}

impl ShownCall {
    /// The row with its events, in the names that other programs rely on.
    pub(crate) fn into_json(self) -> Value {
        let mut shape = self.row.to_json();
        if let Some(members) = shape.as_object_mut() {
            members.insert("events".to_owned(), self.events.into());
        }
        shape
    }
}

/// What an id, or the beginning of one, stands for.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// No request.
    Unknown,
    /// More than one; these are some of them.
    Ambiguous(Vec<String>),
    Found(Box<ShownCall>),
}

/// Rows of a list that are read at once.
const PORTION: usize = 500;

/// Rows named when a prefix is not unique.
const NAMED: usize = 5;

impl Reader {
    /// The requests that pass `filter`, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn list(&mut self, filter: &Filter) -> Result<Vec<AuditRow>, StoreError> {
        let tx = self.snapshot()?;
        let mut walk = RowWalk::new(&tx, filter)?;
        let (mut rows, limit) = (Vec::new(), filter.limit.unwrap_or(usize::MAX));
        while rows.len() < limit {
            let most = limit.saturating_sub(rows.len()).min(PORTION);
            let take = |row| {
                rows.push(row);
                false
            };
            if !walk.step(&tx, most as u64, take)? {
                break;
            }
        }
        Ok(rows)
    }

    /// One request by its id or a unique beginning of it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn show(&mut self, id: &str) -> Result<Lookup, StoreError> {
        let id = id.to_lowercase();
        if id.is_empty() || !id.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
            return Ok(Lookup::Unknown);
        }
        let tx = self.snapshot()?;
        // 'g' stands behind every character of an id.
        let sql =
            format!("{} AND c.request_id >= ?1 AND c.request_id < ?1 || 'g' LIMIT {NAMED}", select(REQUEST));
        let mut statement = tx.prepare(&sql)?;
        let mut rows = statement.query([&id])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(audit_row(row)?);
        }
        match (found.pop(), found.is_empty()) {
            (None, _) => Ok(Lookup::Unknown),
            (Some(row), true) => {
                let events = events_of(&tx, &row.request_id)?;
                Ok(Lookup::Found(Box::new(ShownCall { row, events })))
            }
            (Some(last), false) => {
                Ok(Lookup::Ambiguous(found.into_iter().chain([last]).map(|row| row.request_id).collect()))
            }
        }
    }
}

impl Reader {
    /// The whole data of an executed call, while it is kept for its agent; the record keeps the beginning of it, and its
    /// digest: data of another digest is somebody else's.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) fn whole_result(&mut self, row: &AuditRow) -> Result<Option<String>, StoreError> {
        let sql = "SELECT data FROM results WHERE seq = ?";
        let data = |row: &Row<'_>| row.get::<_, Option<String>>(0);
        let kept = self.snapshot()?.query_row(sql, [row.seq], data).optional()?.flatten();
        let recorded = row.end.get("result_digest").and_then(Value::as_str).and_then(Digest::parse);
        Ok(kept.filter(|data| recorded == Some(Digest::sha256(data.as_bytes()))))
    }
}

const GRANTED: &str = "UNION ALL SELECT seq FROM grants WHERE grant_id = ?1";

fn events_of(db: &rusqlite::Connection, id: &str) -> Result<Vec<Value>, StoreError> {
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    // What the answer to it has granted besides.
    let granted = if version < schema::KEEPS_STOPS { "" } else { GRANTED };
    let sql = format!(
        "SELECT {} FROM events WHERE seq IN (SELECT seq FROM calls WHERE request_id = ?1 UNION ALL
         SELECT finished_seq FROM calls WHERE request_id = ?1 UNION ALL SELECT seq FROM steps WHERE request_id = ?1
         {granted}) ORDER BY seq",
        ChainEvent::COLUMNS
    );
    let mut statement = db.prepare(&sql)?;
    let events = statement.query_map([id], ChainEvent::read)?;
    events
        .map(|event| {
            let ChainEvent { seq, at, kind, request_id: _, body, hash } = event?;
            let body: Value = serde_json::from_str(&body).unwrap_or(Value::String(body));
            let (at, hash) = (Timestamp(at).to_string(), crate::base::digest::to_hex(&hash));
            Ok(json!({"seq": seq, "at": at, "kind": kind, "body": body, "hash": hash}))
        })
        .collect()
}
