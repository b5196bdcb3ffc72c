//! How tests deal with time on a machine that is busy with other work: what must come is waited for with patience, and
//! what must be quick may be held up now and then.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a test waits for what must come. It is spent only when a test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often something quick is tried.
const TRIES: usize = 5;

/// Waits until `done` gives something; fails the test when [`PATIENCE`] is over.
pub fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < end, "waited in vain for: {what}");
        sleep(Duration::from_millis(5));
    }
}

/// Asserts that what `action` measures can take less than `limit`. Other work on the machine holds up one try, or two;
/// what waits for a time limit of its own does so each time.
pub fn takes_less(limit: Duration, mut action: impl FnMut() -> Duration) {
    let mut taken = Vec::new();
    while taken.last().is_none_or(|last| *last >= limit) {
        assert!(taken.len() < TRIES, "each took {limit:?} or more: {taken:?}");
        taken.push(action());
    }
}
