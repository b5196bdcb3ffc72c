//! Reading the record for the pages: two readers at most on the pool for blocking work, a short queue behind them, and
//! what people are told when there is no answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use smol::lock::{Semaphore, SemaphoreGuardArc};

use super::query::BadQuery;
use crate::base::clock::Clock;
use crate::base::slots::Slots;
use crate::net::front::WebAnswer;
use crate::store::StoreError;
use crate::store::reader::Reader;
use crate::surface::admin::page::{self, JSON};

/// Requests that may read at the same time; an export is one for as long as it lasts.
const READERS: usize = 2;
/// Requests that may wait for a reader.
const QUEUE: usize = 8;
/// How long the queries of one request may take together.
const PATIENCE: Duration = Duration::from_secs(3);
/// Seconds until another attempt, when there was no place.
const COME_BACK: &str = "2";

/// The record, and how many may read it at once.
pub(crate) struct Readers {
    pub(super) record: PathBuf,
    pub(super) clock: Clock,
    readers: Arc<Semaphore>,
    /// At most one of the readers is an export: pages must not wait until somebody has saved a year.
    pub(super) exports: Arc<Semaphore>,
    waiting: Slots,
}

impl Readers {
    /// For the record at the path `record`, which the store has opened before.
    pub(crate) fn new(record: PathBuf, clock: Clock) -> Readers {
        let readers = Arc::new(Semaphore::new(READERS));
        Readers { record, clock, readers, exports: Arc::new(Semaphore::new(1)), waiting: Slots::default() }
    }

    /// The record's path, for a reader that does not count.
    pub(crate) fn path(&self) -> PathBuf {
        self.record.clone()
    }

    /// Takes a place among the readers, or waits for one if the queue is not full.
    pub(super) async fn place(&self) -> Result<SemaphoreGuardArc, RecordError> {
        let _waiting = self.waiting.take(QUEUE).ok_or(RecordError::Busy)?;
        Ok(self.readers.acquire_arc().await)
    }

    /// Runs `work` on the blocking pool with a reader of its own.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, RecordError> {
        let place = self.place().await?;
        let record = self.record.clone();
        let work = move || {
            // The thread gives it back: a request whose client has left still reads until it is done.
            let _place = place;
            let mut reader = Reader::open(&record)?;
            reader.limit(PATIENCE)?;
            work(&mut reader)
        };
        smol::unblock(work).await.map_err(RecordError::Store)
    }
}

/// Why there is no answer.
pub(super) enum RecordError {
    Bad(BadQuery),
    Missing,
    Busy,
    Store(StoreError),
}

impl From<BadQuery> for RecordError {
    fn from(bad: BadQuery) -> RecordError {
        RecordError::Bad(bad)
    }
}

impl RecordError {
    pub(super) fn answer(self, path: &str) -> WebAnswer {
        let (status, text) = match self {
            RecordError::Bad(bad) => (400, bad.to_string()),
            RecordError::Missing => (404, "there is no such call in the record".into()),
            RecordError::Busy => (503, "the record is being read by others; try again in a moment".into()),
            RecordError::Store(StoreError::TooLong) => {
                (503, "this takes too long; narrow the time range".into())
            }
            RecordError::Store(e) => {
                log::warn!("could not show the record: {e}");
                (500, format!("the record cannot be read: {e}"))
            }
        };
        let answer = match path.starts_with("/audit/api/") {
            true => page::data(status, JSON, json!({"error": text}).to_string()),
            false => page::text(status, &text),
        };
        if status == 503 { answer.with("retry-after", COME_BACK) } else { answer }
    }
}

#[cfg(test)]
mod tests {
    use smol::block_on;
    use smol::future::poll_once;

    use super::*;
    use crate::base::clock::Timestamp;

    #[test]
    fn two_read_a_few_wait_and_the_others_are_sent_away() {
        let readers = Readers::new("/nowhere".into(), Clock::manual(Timestamp(1)));
        block_on(async {
            let first = readers.place().await.ok().unwrap();
            let _second = readers.place().await.ok().unwrap();
            let mut waiting: Vec<_> = (0..QUEUE).map(|_| Box::pin(readers.place())).collect();
            for place in &mut waiting {
                assert!(poll_once(place).await.is_none());
            }
            assert!(matches!(readers.place().await, Err(RecordError::Busy)));
            // Whoever leaves the queue makes room in it.
            drop(waiting.pop());
            let mut last = Box::pin(readers.place());
            assert!(poll_once(&mut last).await.is_none());
            drop(first);
            assert!(poll_once(waiting.first_mut().unwrap()).await.unwrap().is_ok());
        });
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let busy = RecordError::Busy.answer("/audit/");
        assert!(busy.status == 503 && busy.headers.contains(&("retry-after", COME_BACK.to_owned())));
        let long = RecordError::Store(StoreError::TooLong).answer("/audit/api/log");
        assert_eq!(long.status, 503);
        let crate::net::front::WebBody::Whole(body) = long.body else { panic!("a feed") };
        assert_eq!(body, br#"{"error":"this takes too long; narrow the time range"}"#);
    }
}
