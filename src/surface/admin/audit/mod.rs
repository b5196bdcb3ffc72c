//! The record, for people and programs: `/audit/` with its charts, one call with everything known of it, the API and a
//! CSV export.
//!
//! It only reads, beside the writing thread, on the pool for blocking work: two readers at most, and a short queue
//! behind them. A reader lives as long as its request. Whoever calls it has checked the session. Text in the record
//! comes from agents and services: it is shown through [`text`] alone.
//!
//! | file | what it is |
//! |---|---|
//! | `asked` | query parameters to a filter, and links that carry them |
//! | `list`, `call` | the pages |
//! | `chart` | counts as SVG and tables |
//! | `csv` | the export |
//! | `text` | hostile text cut and made visible; times, durations, tags |

mod asked;
mod call;
mod chart;
mod csv;
mod list;
mod text;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use smol::lock::{Semaphore, SemaphoreGuardArc};

use super::page::{self, Here, Viewer};
use crate::base::clock::Clock;
use crate::base::slots::Slots;
use crate::net::http::{Answer, Asked};
use crate::store::StoreError;
use crate::store::reader::{Lookup, Page, Reader, Shown, Wanted};
use asked::{BadQuery, Query};

/// Where the pages are.
pub(crate) const FOLDER: &str = "/audit/";

/// Requests that may read at the same time; an export is one for as long as it lasts.
const READERS: usize = 2;
/// Requests that may wait for a reader.
const QUEUE: usize = 8;
/// How long the queries of one request may take together.
const PATIENCE: Duration = Duration::from_secs(3);
/// When to come back if there was no place, in seconds.
const COME_BACK: &str = "2";

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// What the pages are made from.
pub(crate) struct Audit {
    record: PathBuf,
    clock: Clock,
    readers: Arc<Semaphore>,
    /// At most one of the readers is an export: pages must not wait until somebody has saved a year.
    exports: Arc<Semaphore>,
    waiting: Slots,
}

impl Audit {
    /// For the record at `record`, which the store has opened before.
    pub(crate) fn new(record: PathBuf, clock: Clock) -> Audit {
        let readers = Arc::new(Semaphore::new(READERS));
        Audit { record, clock, readers, exports: Arc::new(Semaphore::new(1)), waiting: Slots::default() }
    }

    /// A place among the readers, or a short wait for one.
    async fn place(&self) -> Result<SemaphoreGuardArc, Refusal> {
        let _waiting = self.waiting.take(QUEUE).ok_or(Refusal::Busy)?;
        Ok(self.readers.acquire_arc().await)
    }

    /// Runs `work` on the blocking pool with a reader of its own.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let place = self.place().await?;
        let record = self.record.clone();
        let work = move || {
            // Given back by the thread itself: a request whose client has left still reads until it is done.
            let _place = place;
            let mut reader = Reader::open(&record)?;
            reader.limit(PATIENCE)?;
            work(&mut reader)
        };
        smol::unblock(work).await.map_err(Refusal::Store)
    }
}

/// Why there is no answer.
enum Refusal {
    Bad(BadQuery),
    Missing,
    Busy,
    Store(StoreError),
}

impl From<BadQuery> for Refusal {
    fn from(bad: BadQuery) -> Refusal {
        Refusal::Bad(bad)
    }
}

impl Refusal {
    fn answer(self, path: &str) -> Answer {
        let (status, text) = match self {
            Refusal::Bad(bad) => (400, bad.to_string()),
            Refusal::Missing => (404, "there is no such call in the record".into()),
            Refusal::Busy => (503, "the record is being read by others; try again in a moment".into()),
            Refusal::Store(StoreError::TooLong) => (503, "this takes too long; narrow the time range".into()),
            Refusal::Store(e) => {
                log::warn!("could not show the record: {e}");
                (500, format!("the record cannot be read: {e}"))
            }
        };
        let answer = match path.starts_with("/audit/api/") {
            true => page::data(status, JSON, json!({"error": text}).to_string()),
            false => page::data(status, TEXT, format!("{text}\n")),
        };
        if status == 503 { answer.with("retry-after", COME_BACK) } else { answer }
    }
}

/// Answers a request for a path below [`FOLDER`] of somebody who has signed in.
pub(crate) async fn answer(audit: &Audit, viewer: &Viewer, asked: &Asked) -> Answer {
    if asked.method != "GET" && asked.method != "HEAD" {
        return page::data(405, TEXT, "the record can only be read\n").with("allow", "GET, HEAD");
    }
    routed(audit, viewer, asked).await.unwrap_or_else(|refusal| refusal.answer(&asked.path))
}

async fn routed(audit: &Audit, viewer: &Viewer, asked: &Asked) -> Result<Answer, Refusal> {
    match asked.path.strip_prefix(FOLDER).unwrap_or_default() {
        "" => list_page(audit, viewer, &asked.query).await,
        "export.csv" => csv::export(audit, Query::of(&asked.query, asked::FILTERS)?).await,
        "api/log" => log(audit, &asked.query).await,
        "api/stats" => stats(audit, &asked.query).await,
        path => match (path.strip_prefix("api/call/"), path.strip_prefix("call/")) {
            (Some(id), _) => Ok(in_json(&whole(shown(audit, id).await?))),
            (None, Some(id)) => call_page(audit, viewer, id, &asked.query).await,
            (None, None) => Err(Refusal::Missing),
        },
    }
}

async fn list_page(audit: &Audit, viewer: &Viewer, query: &str) -> Result<Answer, Refusal> {
    let query = list::chosen(Query::of(query, asked::LOG)?).of_page(viewer);
    let (filter, wanted) = (query.filter(audit.clock.now())?, query.wanted()?);
    let main = audit.read(move |reader| list::page(reader, &query, &filter, wanted)).await?;
    Ok(page::page(viewer, Here::Audit, "Record", &[], &main))
}

async fn call_page(audit: &Audit, viewer: &Viewer, id: &str, query: &str) -> Result<Answer, Refusal> {
    let query = Query::of(query, asked::CALL)?.of_page(viewer);
    let main = call::page(&whole(shown(audit, id).await?), &query);
    Ok(page::page(viewer, Here::Audit, "Call", &[], &main))
}

async fn shown(audit: &Audit, id: &str) -> Result<Shown, Refusal> {
    let id = id.to_owned();
    match audit.read(move |reader| reader.show(&id)).await? {
        Lookup::Found(shown) => Ok(*shown),
        Lookup::Unknown | Lookup::Ambiguous(_) => Err(Refusal::Missing),
    }
}

/// The row with its events, as `audit show --json` prints it.
fn whole(shown: Shown) -> Value {
    let mut whole = shown.row.to_json();
    if let Some(members) = whole.as_object_mut() {
        members.insert("events".into(), shown.events.into());
    }
    whole
}

async fn log(audit: &Audit, query: &str) -> Result<Answer, Refusal> {
    let query = Query::of(query, asked::LOG)?;
    let (filter, wanted) = (query.filter(audit.clock.now())?, query.wanted()?);
    let log = audit.read(move |reader| Ok(log_text(&reader.page(&filter, wanted)?, wanted))).await?;
    Ok(page::data(200, JSON, log))
}

/// The page as JSON text; row by row, because all of them as values would take several times their size.
fn log_text(page: &Page, wanted: Wanted) -> String {
    let entries: Vec<_> = page.rows.iter().map(|row| row.to_json().to_string()).collect();
    let mut about = json!({
        "total": page.total,
        "page": wanted.page,
        "per_page": wanted.per_page,
        "pages": page.pages,
    });
    if let (Some(to), Some(members)) = (page.searched_to, about.as_object_mut()) {
        members.insert("searched_to".into(), to.to_string().into());
    }
    let about = about.to_string();
    format!("{{\"entries\":[{}],{}", entries.join(","), about.strip_prefix('{').unwrap_or("}"))
}

async fn stats(audit: &Audit, query: &str) -> Result<Answer, Refusal> {
    let now = audit.clock.now();
    let filter = Query::of(query, asked::RANGE)?.filter(now)?;
    let stats = audit.read(move |reader| reader.stats(filter.since, filter.until, now)).await?;
    Ok(in_json(&stats.to_json()))
}

fn in_json(value: &Value) -> Answer {
    page::data(200, JSON, value.to_string())
}

#[cfg(test)]
mod tests {
    use smol::block_on;
    use smol::future::poll_once;

    use super::*;
    use crate::base::clock::Timestamp;

    #[test]
    fn two_read_a_few_wait_and_the_others_are_sent_away() {
        let audit = Audit::new("/nowhere".into(), Clock::manual(Timestamp(1)));
        block_on(async {
            let first = audit.place().await.ok().unwrap();
            let _second = audit.place().await.ok().unwrap();
            let mut waiting: Vec<_> = (0..QUEUE).map(|_| Box::pin(audit.place())).collect();
            for place in &mut waiting {
                assert!(poll_once(place).await.is_none());
            }
            assert!(matches!(audit.place().await, Err(Refusal::Busy)));
            // Whoever leaves the queue makes room in it.
            drop(waiting.pop());
            let mut last = Box::pin(audit.place());
            assert!(poll_once(&mut last).await.is_none());
            drop(first);
            assert!(poll_once(waiting.first_mut().unwrap()).await.unwrap().is_ok());
        });
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let busy = Refusal::Busy.answer("/audit/");
        assert!(busy.status == 503 && busy.headers.contains(&("retry-after", COME_BACK.to_owned())));
        let long = Refusal::Store(StoreError::TooLong).answer("/audit/api/log");
        assert_eq!(long.status, 503);
        let crate::net::http::Body::Whole(body) = long.body else { panic!("a feed") };
        assert_eq!(body, br#"{"error":"this takes too long; narrow the time range"}"#);
    }
}
