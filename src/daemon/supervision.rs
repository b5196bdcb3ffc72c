//! What systemd is told while the gateway runs: one line of status, and that it is alive.
//!
//! It must never say "alive" when calls could not be served: the word goes out only from the executor, and only after
//! the thread that writes the record has answered.

use std::rc::Rc;
use std::time::Duration;

use smol::{Timer, future};

use crate::base::readable::counted;
use crate::gate::{Gate, Status};
use crate::net::notify;

/// How soon a change shows in `systemctl status`.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// A pause when the thread could not be asked because its queue is full.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs until it is dropped; without systemd there is nothing to do.
pub(super) async fn run(gate: Rc<Gate>) {
    if notify::is_supervised() {
        future::zip(feed_watchdog(&gate), show_status(&gate)).await;
    }
}

async fn feed_watchdog(gate: &Gate) {
    let Some(interval) = notify::watchdog_interval() else { return };
    loop {
        if gate.store().is_alive().await {
            notify::watchdog();
            Timer::after(interval).await;
        } else {
            Timer::after(AGAIN.min(interval)).await;
        }
    }
}

async fn show_status(gate: &Gate) {
    let mut shown = String::new();
    loop {
        let line = line(&gate.status());
        if line != shown {
            notify::status(&line);
            shown = line;
        }
        Timer::after(STATUS_EVERY).await;
    }
}

/// `1 agent connected, 2 questions open; down: telegram, service homeassistant`.
fn line(status: &Status) -> String {
    let agents = counted(status.agents.values().filter(|&&connections| connections > 0).count(), "agent");
    let questions = counted(status.open_questions, "question");
    let channels = status.channels.iter().filter(|(_, health)| !health.up).map(|(name, _)| name.clone());
    let services = status.services.iter().filter(|(_, health)| health.up == Some(false));
    let record = (!status.store.writable).then(|| "the record".to_owned());
    let down: Vec<_> = record
        .into_iter()
        .chain(channels)
        .chain(services.map(|(name, _)| format!("service {name}")))
        .collect();
    let down = if down.is_empty() { String::new() } else { format!("; down: {}", down.join(", ")) };
    format!("{agents} connected, {questions} open{down}")
}
