//! The record page by page, newest first, for people who look: numbered pages with a total, and a search that says how
//! far it got.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::connection::Reader;
use super::row::{AuditRow, EVENTS, Filter, REQUEST, audit_row, select};
use super::scope::Scope;
use super::search::Search;
use crate::base::clock::Timestamp;
use crate::store::counts::{self, BUCKET};
use crate::store::error::StoreError;

/// How long a search may look through the record. It is looked at between buckets of some thousand calls.
const SEARCH_TIME: Duration = Duration::from_millis(1500);

/// A search ends when it has found so many.
const MAX_FOUND: usize = 10_000;

/// [`REQUEST`] without arguments that would make a page of them too large for a small machine.
const SHORT_REQUEST: &str = "CASE WHEN octet_length(e.body) > 65536 AND json_valid(e.body)
  THEN json_set(e.body, '$.args', json_object('…', octet_length(e.body -> '$.args') || ' bytes, not listed'))
  ELSE e.body END";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedPage {
    /// From 1.
    pub page: u64,
    /// Rows on a page, at least 1.
    pub per_page: u64,
}

#[derive(Clone, Debug)]
pub struct RowPage {
    /// Newest first.
    pub rows: Vec<AuditRow>,
    /// How many there are on all pages.
    pub total: u64,
    /// How many pages; at least 1.
    pub pages: u64,
    /// Set when a search ended before the record did: calls from before then were not looked at.
    pub(crate) searched_to: Option<Timestamp>,
    /// Number of the newest event: as [`Filter::before`] plus one it keeps later pages from moving.
    pub newest: i64,
}

impl Reader {
    /// A page of the requests that pass `filter`; its `limit` has no part in this. Beyond the last page there are no
    /// rows. Very large arguments are left out, see [`AuditRow::request`].
    ///
    /// # Errors
    /// When the database cannot be read; [`StoreError::TooLong`] after [`Reader::limit`].
    pub fn page(&mut self, filter: &Filter, wanted: WantedPage) -> Result<RowPage, StoreError> {
        let tx = self.snapshot()?;
        let scope = Scope::new(&tx, filter)?;
        let buckets = scope.buckets(&tx)?;
        let skip = wanted.page.saturating_sub(1).saturating_mul(wanted.per_page);
        let (numbers, total, searched_to) = match filter.text.as_deref() {
            None => {
                let total = buckets.iter().map(|(_, n)| n).sum();
                (by_place(&tx, &scope, &buckets, skip, wanted.per_page)?, total, None)
            }
            Some(text) => {
                let found = search(&tx, &scope, &buckets, &Search::new(text))?;
                let page = found.numbers.iter().skip(as_index(skip)).take(as_index(wanted.per_page));
                (page.copied().collect(), found.numbers.len() as u64, found.searched_to)
            }
        };
        let newest = counts::newest(&tx)?;
        let pages = total.div_ceil(wanted.per_page.max(1)).max(1);
        Ok(RowPage { rows: rows(&tx, SHORT_REQUEST, &numbers)?, total, pages, searched_to, newest })
    }

    /// Begins to read all requests that pass `filter`, in portions.
    ///
    /// # Errors
    /// As for [`Reader::page`].
    pub(crate) fn walk(&mut self, filter: &Filter) -> Result<RowWalk, StoreError> {
        RowWalk::new(&*self.snapshot()?, filter)
    }
}

/// A way through the record, newest first. Between portions it holds nothing of the database, so that whoever reads
/// slowly does not keep the gateway's log from being tidied.
pub(crate) struct RowWalk {
    scope: Scope,
    search: Option<Search>,
    /// Those still to come, the next one last.
    buckets: Vec<i64>,
    before: i64,
}

impl RowWalk {
    pub(super) fn new(db: &Connection, filter: &Filter) -> Result<RowWalk, StoreError> {
        let newest = counts::newest(db)?;
        let before = filter.before.unwrap_or(i64::MAX).min(newest.saturating_add(1));
        let filter = Filter { before: Some(before), ..filter.clone() };
        let scope = Scope::new(db, &filter)?;
        let buckets = scope.buckets(db)?.into_iter().map(|(bucket, _)| bucket).rev().collect();
        Ok(RowWalk { search: filter.text.as_deref().map(Search::new), scope, buckets, before })
    }

    /// Hands the next requests to `take`, at most `most` of them, until it says that it has enough; false at the end. A
    /// portion may be empty.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) fn next(
        &mut self,
        reader: &mut Reader,
        most: u64,
        take: impl FnMut(AuditRow) -> bool,
    ) -> Result<bool, StoreError> {
        self.step(&*reader.snapshot()?, most, take)
    }

    /// [`RowWalk::next`] in a snapshot that is already there.
    pub(super) fn step(
        &mut self,
        db: &Connection,
        most: u64,
        mut take: impl FnMut(AuditRow) -> bool,
    ) -> Result<bool, StoreError> {
        let Some(bucket) = self.buckets.last() else { return Ok(false) };
        let end = bucket.saturating_add(1).saturating_mul(1 << BUCKET).min(self.before);
        let numbers = numbers(db, &self.scope, self.search.as_ref(), (bucket << BUCKET, end), (most, 0))?;
        let enough = each_row(db, REQUEST, &numbers, |row| {
            self.before = row.seq;
            take(row)
        })?;
        if !enough && (numbers.len() as u64) < most {
            self.buckets.pop();
        }
        Ok(true)
    }
}

fn as_index(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// The numbers of the calls on a page, found by how many there are in each bucket.
fn by_place(
    db: &Connection,
    scope: &Scope,
    buckets: &[(i64, u64)],
    mut skip: u64,
    wanted: u64,
) -> Result<Vec<i64>, StoreError> {
    let mut found: Vec<i64> = Vec::new();
    for (bucket, n) in buckets {
        if skip >= *n {
            skip -= n;
            continue;
        }
        let left = wanted.saturating_sub(found.len() as u64);
        if left == 0 {
            break;
        }
        let within = (bucket << BUCKET, bucket.saturating_add(1) << BUCKET);
        found.extend(numbers(db, scope, None, within, (left, skip))?);
        skip = 0;
    }
    Ok(found)
}

/// The numbers of matching calls between two numbers, newest first.
fn numbers(
    db: &Connection,
    scope: &Scope,
    search: Option<&Search>,
    (first, end): (i64, i64),
    (limit, offset): (u64, u64),
) -> Result<Vec<i64>, StoreError> {
    let conditions = scope.between(first, end);
    let mut values = scope.values.clone();
    let source = match search {
        None => format!("SELECT seq FROM calls WHERE {conditions}"),
        Some(search) => {
            let found = search.condition(&mut values);
            format!("SELECT c.seq FROM (SELECT * FROM calls WHERE {conditions}) c {EVENTS} WHERE {found}")
        }
    };
    let sql = format!("{source} ORDER BY 1 DESC LIMIT {limit} OFFSET {offset}");
    let mut statement = db.prepare(&sql)?;
    let numbers = statement.query_map(rusqlite::params_from_iter(values), |row| row.get(0))?;
    Ok(numbers.collect::<Result<_, _>>()?)
}

#[derive(Default)]
struct FoundCalls {
    numbers: Vec<i64>,
    searched_to: Option<Timestamp>,
}

fn search(
    db: &Connection,
    scope: &Scope,
    buckets: &[(i64, u64)],
    search: &Search,
) -> Result<FoundCalls, StoreError> {
    let begun = Instant::now();
    let mut found = FoundCalls::default();
    for (place, (bucket, _)) in buckets.iter().enumerate() {
        if place > 0 && (begun.elapsed() > SEARCH_TIME || found.numbers.len() >= MAX_FOUND) {
            // The bucket before this one in the list was looked through; it is the newer one.
            let looked = bucket.saturating_add(1) << BUCKET;
            let sql = "SELECT at FROM calls WHERE seq >= ? ORDER BY seq LIMIT 1";
            found.searched_to = Some(Timestamp(db.query_row(sql, [looked], |row| row.get(0))?));
            break;
        }
        let within = (bucket << BUCKET, bucket.saturating_add(1) << BUCKET);
        found.numbers.extend(numbers(db, scope, Some(search), within, (MAX_FOUND as u64, 0))?);
    }
    Ok(found)
}

/// The rows under these numbers, newest first.
fn rows(db: &Connection, request: &str, numbers: &[i64]) -> Result<Vec<AuditRow>, StoreError> {
    let mut found = Vec::with_capacity(numbers.len());
    each_row(db, request, numbers, |row| {
        found.push(row);
        false
    })?;
    Ok(found)
}

/// Hands them out one by one until `take` has enough; whether it had.
fn each_row(
    db: &Connection,
    request: &str,
    numbers: &[i64],
    mut take: impl FnMut(AuditRow) -> bool,
) -> Result<bool, StoreError> {
    let list = serde_json::Value::from(numbers).to_string();
    let sql =
        format!("{} AND c.seq IN (SELECT value FROM json_each(?)) ORDER BY c.seq DESC", select(request));
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query([list])?;
    while let Some(row) = rows.next()? {
        if take(audit_row(row)?) {
            return Ok(true);
        }
    }
    Ok(false)
}
