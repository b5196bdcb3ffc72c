//! The thread that owns the writing connection: group commit, durability, the exported head.
//!
//! Whatever is queued goes into ONE transaction and then all waiters are woken, so that durability costs one fsync
//! per batch. A waiter must never hear "written" before COMMIT returned. After an error SQLite may have ended the
//! transaction by itself (a full disk does): the batch stops there, nothing more is written in it, and its members
//! are tried again one by one, so that one bad job does not fail its neighbours.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::chain::{Chain, ChainLink, Seal, set_meta};
use super::entry::StoreOptions;
use super::error::StoreError;
use super::files::{self, RecordFiles};
use super::fold::Tables;
use super::folding;
use super::gauges::Gauges;
use super::job::{StoreJob, StoreOrder};
use super::live::Live;
use super::retention;
use super::shares::Shares;
use super::tx::Tx;
use super::wal::{self, Wal};
use super::wipe;

/// The most jobs in one transaction.
pub(super) const BATCH: usize = 256;

/// The head is exported at most this often; a commit that did not wait for the disk is on it after this time.
const EXPORT_EVERY: Duration = Duration::from_secs(5);

/// The tables follow after so many events …
const FOLD_AT: i64 = 256;

/// … or after this time.
const FOLD_EVERY: Duration = Duration::from_secs(1);

/// The most steps by which the record is shortened at once: tens of milliseconds.
const TIDY_STEPS: usize = 16;

pub(super) struct RecordWriter {
    pub(super) db: Connection,
    pub(super) chain: Chain,
    pub(super) live: Live,
    tables: Tables,
    pub(super) files: RecordFiles,
    pub(super) options: StoreOptions,
    pub(super) shared: Arc<Gauges>,
    /// What `PRAGMA synchronous` is set to.
    full: bool,
    /// The newest link that is certainly on disk: only this may be exported, or a power cut would look like a cut.
    durable: ChainLink,
    exported: ChainLink,
    exported_at: Instant,
    wal: Wal,
    shares: Shares,
    /// Since when there are events that the tables have not followed.
    behind_since: Option<Instant>,
    /// The last attempt failed: the next is after some time, however many there are.
    fold_failed: bool,
}

impl RecordWriter {
    pub(super) fn new(
        mut db: Connection,
        chain: Chain,
        files: RecordFiles,
        options: StoreOptions,
    ) -> Result<RecordWriter, StoreError> {
        let (shared, wal) = (Arc::new(Gauges::default()), Wal::watch(&mut db)?);
        let (durable, exported, exported_at) = (chain.head, ChainLink::START, Instant::now());
        let (full, live, shares) = (true, Live::default(), Shares::default());
        let tables = Tables::new(options.keep_keys);
        Ok(RecordWriter {
            db,
            chain,
            live,
            tables,
            files,
            options,
            shared,
            full,
            durable,
            exported,
            exported_at,
            wal,
            shares,
            behind_since: None,
            fold_failed: false,
        })
    }

    /// Serves the queue until it is closed.
    pub(super) fn serve(mut self, queue: &Receiver<StoreOrder>) {
        while let Some(message) = self.next(queue) {
            let closing = match message {
                None => None,
                Some(StoreOrder::Close(reply)) => Some(reply),
                Some(StoreOrder::Job(first)) => self.serve_batch(first, queue),
                Some(StoreOrder::Ping(reply)) => answer(&reply),
            };
            if let Some(reply) = closing {
                self.shut();
                drop(self);
                let _ = reply.try_send(());
                return;
            }
            if self.wal.is_too_much() {
                self.tidy();
            }
            self.fold_if_due();
            self.export_if_due();
        }
        self.shut();
    }

    /// The next message; `Some(None)` when something else became due, `None` when nobody can send any more.
    fn next(&mut self, queue: &Receiver<StoreOrder>) -> Option<Option<StoreOrder>> {
        let export = (self.exported != self.chain.head)
            .then(|| EXPORT_EVERY.saturating_sub(self.exported_at.elapsed()));
        let tidy = self.wal.is_much().then_some(wal::PAUSE);
        let Some(patience) = export.into_iter().chain(tidy).chain(self.fold_in()).min() else {
            return queue.recv().ok().map(Some);
        };
        match queue.recv_timeout(patience) {
            Ok(message) => Some(Some(message)),
            Err(RecvTimeoutError::Timeout) => {
                if tidy == Some(patience) {
                    self.tidy();
                }
                Some(None)
            }
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// One batch, and the request to close that followed it.
    fn serve_batch(
        &mut self,
        first: Box<dyn StoreJob>,
        queue: &Receiver<StoreOrder>,
    ) -> Option<smol::channel::Sender<()>> {
        let mut batch = vec![first];
        let mut closing = None;
        while batch.len() < BATCH && closing.is_none() {
            match queue.try_recv() {
                Ok(StoreOrder::Job(job)) => batch.push(job),
                Ok(StoreOrder::Close(reply)) => closing = Some(reply),
                Ok(StoreOrder::Ping(reply)) => closing = answer(&reply),
                Err(_) => break,
            }
        }
        let taken = batch.len();
        self.commit(batch);
        self.shared.queue.fetch_sub(taken, Ordering::Relaxed);
        closing
    }

    fn commit(&mut self, mut batch: Vec<Box<dyn StoreJob>>) {
        let result = self.transact(&mut batch);
        if result.is_ok() || batch.len() == 1 {
            batch.into_iter().for_each(|job| job.finish(result.clone()));
            return;
        }
        for mut job in batch {
            let result = self.transact(std::slice::from_mut(&mut job));
            job.finish(result);
        }
    }

    /// All of `batch` in one transaction, or nothing of it.
    fn transact(&mut self, batch: &mut [Box<dyn StoreJob>]) -> Result<(), StoreError> {
        let durable = self.options.sync_all || batch.iter().any(|job| job.durable());
        let result = self.try_transact(durable, |tx| batch.iter_mut().try_for_each(|job| job.run(tx)));
        match &result {
            Ok(true) => self.wal.empty(&self.db),
            Ok(false) => {}
            Err(error) => self.undo(error),
        }
        result.map(|_| ())
    }

    /// Runs `work` between BEGIN and COMMIT; true when it asked for an empty log afterwards.
    pub(super) fn try_transact(
        &mut self,
        durable: bool,
        work: impl FnOnce(&mut Tx<'_>) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        self.set_sync(durable)?;
        let before = self.db.total_changes();
        self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let RecordWriter { db, chain, live, options, tables, shares, shared, .. } = self;
        let received = &shared.received;
        let mut tx = Tx { db, chain, live, options, tables, shares, received, checkpoint: false };
        work(&mut tx)?;
        let checkpoint = tx.checkpoint;
        if checkpoint {
            wipe::open_calls(tx.db)?;
        }
        let began = Instant::now();
        self.db.prepare_cached("COMMIT")?.execute([])?;
        self.shared.dropped_results.fetch_add(self.shares.keep(), Ordering::Relaxed);
        self.shared.received.commit();
        self.live.commit();
        self.chain.commit();
        if durable {
            self.durable = self.chain.head;
        }
        // Reading proves nothing: a full disk is still full.
        if self.db.total_changes() != before {
            self.shared.committed(self.chain.head.seq);
            self.shared.latency.committed(durable, began.elapsed());
        }
        Ok(checkpoint)
    }

    /// Folds what the last run has left unfolded, in transactions of bounded size.
    pub(super) fn catch_up(&mut self) -> Result<(), StoreError> {
        self.try_transact(false, |tx| tx.tables.begin(tx.db, tx.chain.head.seq))?;
        let mut more = true;
        while more {
            self.try_transact(false, |tx| {
                more = folding::fold_some(tx)?;
                Ok(())
            })?;
            // Of a million events the log would become larger than the record.
            if self.wal.is_too_much() {
                self.wal.move_on(&self.db);
            }
        }
        Ok(())
    }

    /// How long the newest events may still wait to be folded; None: there are none.
    fn fold_in(&mut self) -> Option<Duration> {
        let behind = self.tables.behind(self.chain.head.seq);
        if behind <= 0 {
            self.behind_since = None;
            return None;
        }
        let waited = self.behind_since.get_or_insert_with(Instant::now).elapsed();
        let at_once = behind >= FOLD_AT && !self.fold_failed;
        Some(if at_once { Duration::ZERO } else { FOLD_EVERY.saturating_sub(waited) })
    }

    fn fold_if_due(&mut self) {
        if self.fold_in() == Some(Duration::ZERO) {
            self.fold();
        }
    }

    /// The tables follow, after everybody who waited for the events has heard of them.
    fn fold(&mut self) {
        self.behind_since = None;
        let folded = self.try_transact(false, folding::fold_received);
        self.fold_failed = folded.is_err();
        if let Err(e) = folded {
            self.undo(&e);
        }
    }

    /// Moves the log into the database, and drops the oldest events when it has become too large by that. So a record
    /// that grows fast is shortened as fast.
    fn tidy(&mut self) {
        let mut more = true;
        for _ in 0..TIDY_STEPS {
            let shortened = self.try_transact(false, |tx| {
                more = retention::shorten(tx)?;
                Ok(())
            });
            if let Err(e) = &shortened {
                self.undo(e);
            }
            if shortened.is_err() || !more {
                break;
            }
        }
        self.wal.move_on(&self.db);
    }

    /// Inside a transaction SQLite refuses this change; between two it costs nothing.
    fn set_sync(&mut self, full: bool) -> Result<(), StoreError> {
        if full != self.full {
            self.db.pragma_update(None, "synchronous", if full { "FULL" } else { "NORMAL" })?;
            self.full = full;
        }
        Ok(())
    }

    fn undo(&mut self, error: &StoreError) {
        let rolled_back = self.db.is_autocommit() || self.db.execute_batch("ROLLBACK").is_ok();
        self.live.roll_back();
        self.tables.undo();
        let known = self.chain.roll_back(&self.db);
        self.shares.undo();
        self.shared.received.undo();
        if error.is_of_the_disk() || !rolled_back || known.is_err() {
            log::error!("the record cannot be written: {error}");
            self.shared.failed(error);
        }
    }

    fn export_if_due(&mut self) {
        if self.exported != self.chain.head && self.exported_at.elapsed() >= EXPORT_EVERY {
            self.export();
        }
    }

    /// Makes everything durable and writes the head beside the database.
    pub(super) fn export(&mut self) {
        self.exported_at = Instant::now();
        if let Err(e) = self.try_export() {
            log::warn!("the head of the record could not be exported: {e}");
            if !self.db.is_autocommit() {
                self.undo(&e);
            }
        }
    }

    pub(super) fn try_export(&mut self) -> Result<(), StoreError> {
        if self.durable != self.chain.head {
            // A FULL commit syncs the log and with it every commit before it; an empty one would write nothing.
            let seq = self.chain.head.seq.to_string();
            self.try_transact(true, |tx| set_meta(tx.db, "durable", &seq))?;
        }
        let path = files::sibling(&self.files.db, "head");
        let sealed = self.chain.key.seal(Seal::Head, self.durable).to_string();
        files::replace(&path, sealed.as_bytes()).map_err(|e| StoreError::unwritable(&path, &e))?;
        self.exported = self.durable;
        Ok(())
    }

    fn shut(&mut self) {
        self.fold();
        self.export();
        self.settle_log();
    }

    /// Leaves everything in the database itself.
    pub(super) fn settle_log(&mut self) {
        self.wal.empty(&self.db);
    }
}

/// Answers a ping, which never ends the thread.
fn answer(ping: &smol::channel::Sender<()>) -> Option<smol::channel::Sender<()>> {
    let _ = ping.try_send(());
    None
}
