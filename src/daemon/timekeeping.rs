//! The record says what its times are worth: at the start, and whenever the system's clock is set.
//!
//! It must never set a clock, nor change a time that was recorded.

use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use smol::Timer;

use crate::base::clock::{Clock, Timestamp, Uptime};
use crate::base::time_sync::TimeSync;
use crate::gate::Gate;
use crate::store::NoteKind;

/// How often it is looked whether the clock was set.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A difference between the two clocks that no adjustment in small steps makes in that time, in milliseconds.
const STEP_MS: i64 = 2000;

/// Records the start with the state of the clock, then every time that it is set.
pub(super) async fn run(gate: Rc<Gate>) {
    let mut seen = Reading::now();
    warn_of_doubt(gate.clock(), seen.sync);
    let (version, clock) = (env!("CARGO_PKG_VERSION"), seen.sync.to_string());
    let ahead = gate.clock().correction().as_millis();
    let detail = json!({"version": version, "clock": clock, "clock_corrected_ms": u64::try_from(ahead).ok()});
    gate.note_with(NoteKind::Started, detail).await;
    let mut was_set_before = true;
    loop {
        let is_set = gate.clock().is_set();
        if is_set != was_set_before {
            doubt(&gate, is_set).await;
        }
        was_set_before = is_set;
        Timer::after(LOOK_EVERY).await;
        let now = Reading::now();
        let step = now.step_since(&seen);
        if step.abs() >= STEP_MS || now.sync != seen.sync {
            was_set(&gate, step, now.sync).await;
        }
        seen = now;
    }
}

/// The clock has come to stand before the record, or to be right again. Rules that speak of times go by it.
async fn doubt(gate: &Gate, is_set: bool) {
    let newest = gate.clock().newest().filter(|_| !is_set);
    if let Some(newest) = newest {
        log::warn!(
            "the clock is not set: it stands before {newest} or before this program was made; rules with times \
             take the stricter way until it is right or `agentpass clock accept` says that it is"
        );
    }
    if let Err(e) = gate.store().keep_newest_time(newest).await {
        log::error!("the newest time could not be recorded: {e}");
    }
}

async fn was_set(gate: &Gate, step_ms: i64, sync: TimeSync) {
    if sync == TimeSync::Synchronized {
        gate.clock().believe();
    }
    log::warn!("the system's clock was set by {:+.1} s; it is {sync}", step_ms as f64 / 1000.0);
    gate.note_with(NoteKind::ClockSet, json!({"step_ms": step_ms, "clock": sync.to_string()})).await;
}

fn warn_of_doubt(clock: &Clock, sync: TimeSync) {
    let correction = clock.correction();
    if !correction.is_zero() {
        let behind = correction.as_secs();
        log::warn!(
            "the system's clock stands {behind} s before the record; times go on from the record until it is right"
        );
    } else if sync == TimeSync::Unsynchronized {
        log::warn!("the system's clock was not set by the network yet: times may be wrong until it is");
    }
}

/// Both clocks at one moment.
struct Reading {
    wall: Timestamp,
    up: Uptime,
    sync: TimeSync,
}

impl Reading {
    fn now() -> Reading {
        Reading { wall: Clock::system().now(), up: Uptime::now(), sync: TimeSync::look() }
    }

    /// By how many milliseconds the wall clock was moved since `earlier`.
    fn step_since(&self, earlier: &Reading) -> i64 {
        let (wall, up) = (self.wall.0.saturating_sub(earlier.wall.0), self.up.0.saturating_sub(earlier.up.0));
        wall.saturating_sub(up)
    }
}
