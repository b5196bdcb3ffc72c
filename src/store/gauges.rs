//! What the handles and the writer tell each other without waiting: the writer's state, and which results have arrived.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::entry::StoreHealth;
use super::error::StoreError;
use super::latency::Latency;
use super::received::Received;
use crate::base::clock::{Clock, Timestamp};

/// State that is read without waiting.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    pub(super) queue: AtomicUsize,
    pub(super) latency: Latency,
    pub(super) received: Received,
    commits: AtomicU64,
    errors: AtomicU64,
    /// See [`StoreHealth::dropped_results`].
    pub(super) dropped_results: AtomicU64,
    state: Mutex<DiskState>,
}

#[derive(Clone, Debug)]
struct DiskState {
    writable: bool,
    last_error: Option<(Timestamp, String)>,
    events: i64,
}

impl Default for DiskState {
    fn default() -> DiskState {
        DiskState { writable: true, last_error: None, events: 0 }
    }
}

impl Gauges {
    pub(super) fn health(&self) -> StoreHealth {
        let DiskState { writable, last_error, events } = self.lock().clone();
        let (commits, errors) = (self.commits.load(Ordering::Relaxed), self.errors.load(Ordering::Relaxed));
        StoreHealth {
            queue: self.queue.load(Ordering::Relaxed),
            writable,
            last_error,
            events,
            commits,
            errors,
            dropped_results: self.dropped_results.load(Ordering::Relaxed),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, DiskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn committed(&self, events: i64) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        let mut state = self.lock();
        state.writable = true;
        state.events = events;
    }

    pub(super) fn failed(&self, error: &StoreError) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let mut state = self.lock();
        state.writable = false;
        state.last_error = Some((Clock::system().now(), error.to_string()));
    }
}
