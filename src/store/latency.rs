//! How long the record takes, measured where it happens and read from anywhere without waiting.

use std::time::Duration;

use crate::base::histogram::{Histogram, HistogramReading};

/// From a fast disk to one that is busy with something else, and a card in a small board in between.
const BOUNDS: [Duration; 13] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

/// Measured by the writing thread and by those who wait for it.
#[derive(Debug)]
pub(super) struct Latency {
    sync: Histogram,
    durable: Histogram,
    other: Histogram,
}

/// How long the record has taken since it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreLatency {
    /// COMMITs that wrote something and waited for the disk: its fsync, for the most part.
    pub sync: HistogramReading,
    /// Jobs that had to be on disk, from being queued to being answered; those that failed as well.
    pub durable: HistogramReading,
    /// Jobs that need not be on disk at once, questions to the record among them; likewise.
    pub other: HistogramReading,
}

impl Default for Latency {
    fn default() -> Latency {
        let empty = || Histogram::new(&BOUNDS);
        Latency { sync: empty(), durable: empty(), other: empty() }
    }
}

impl Latency {
    pub(super) fn committed(&self, durable: bool, took: Duration) {
        if durable {
            self.sync.observe(took);
        }
    }

    pub(super) fn answered(&self, durable: bool, took: Duration) {
        let waited = if durable { &self.durable } else { &self.other };
        waited.observe(took);
    }

    pub(super) fn read(&self) -> StoreLatency {
        let Latency { sync, durable, other } = self;
        StoreLatency { sync: sync.read(), durable: durable.read(), other: other.read() }
    }
}
