//! How long things took, counted in buckets: cheap enough for every call, readable from another thread.
//!
//! It must never lock, nor allocate after it was made.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [Duration],
    /// One for each bound, and one for what is above all of them.
    counts: Box<[AtomicU64]>,
    sum_ns: AtomicU64,
}

/// What a [`Histogram`] held at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramReading {
    /// Each bound, and how many durations were not above it. Both rise.
    pub buckets: Vec<(Duration, u64)>,
    /// How many durations there were.
    pub count: u64,
    /// All of them together.
    pub sum: Duration,
}

impl Histogram {
    /// An empty one. `bounds` rise; each is the largest duration of its bucket.
    pub(crate) fn new(bounds: &'static [Duration]) -> Histogram {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, counts, sum_ns: AtomicU64::new(0) }
    }

    pub(crate) fn observe(&self, took: Duration) {
        let bucket = self.bounds.iter().position(|bound| took <= *bound).unwrap_or(self.bounds.len());
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What has been counted. The buckets agree with the count also while another thread counts on.
    pub(crate) fn read(&self) -> HistogramReading {
        let sum = Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed));
        let mut count = 0;
        let mut add = |bucket: &AtomicU64| {
            count += bucket.load(Ordering::Relaxed);
            count
        };
        let rising: Vec<u64> = self.counts.iter().map(&mut add).collect();
        let buckets = self.bounds.iter().copied().zip(rising).collect();
        HistogramReading { buckets, count, sum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(10)];

    #[test]
    fn counts_what_is_not_above_each_bound() {
        let histogram = Histogram::new(&BOUNDS);
        for micros in [0, 1000, 1001, 10_000, 10_001, 5_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let reading = histogram.read();
        assert_eq!(reading.buckets, [(BOUNDS[0], 2), (BOUNDS[1], 4)]);
        assert_eq!((reading.count, reading.sum), (6, Duration::from_micros(5_022_002)));
    }

    #[test]
    fn buckets_and_count_agree_while_another_thread_counts() {
        let histogram = Histogram::new(&BOUNDS);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..20_000).for_each(|i| histogram.observe(Duration::from_micros(i))));
            for _ in 0..1000 {
                let HistogramReading { buckets, count, .. } = histogram.read();
                assert!(buckets[0].1 <= buckets[1].1 && buckets[1].1 <= count);
            }
        });
        assert_eq!(histogram.read().count, 20_000);
    }
}
