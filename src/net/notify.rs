//! What we tell systemd. Without systemd (no `NOTIFY_SOCKET`) all of it does nothing; it must never fail a start.

use std::time::Duration;

use sd_notify::NotifyState;

/// Whether systemd listens at all.
pub(crate) fn is_supervised() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

pub(crate) fn ready() {
    send(&[NotifyState::Ready]);
}

/// One line for `systemctl status`. Line breaks become spaces: a second line would be a message of its own.
pub(crate) fn status(text: &str) {
    let line = text.replace(|c: char| c.is_control(), " ");
    send(&[NotifyState::Status(&line)]);
}

/// The configuration is being read again; call [`ready`] when that is done.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => log::debug!("no monotonic clock for systemd: {error}"),
    }
}

pub(crate) fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Still alive; call it from the executor itself, or it proves nothing.
pub(crate) fn watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// How often to call [`watchdog`]: half the time systemd waits; `None` when it does not wait for us.
pub(crate) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("cannot reach systemd: {error}");
    }
}
