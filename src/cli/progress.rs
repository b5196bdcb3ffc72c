//! "waiting for approval, 14:32 left" on a terminal, updated in place and wiped away at the end.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use smol::Timer;

use super::terminal;
use crate::base::clock::{Clock, Timestamp};
use crate::client::{OnPending, Pending};

/// What a waiting person sees; nothing where stderr is no terminal.
pub(super) struct ApprovalProgress {
    /// Until when a human is being asked; None: nobody is.
    asked: Rc<Cell<Option<Option<Timestamp>>>>,
    is_shown: bool,
}

impl ApprovalProgress {
    pub(super) fn new() -> ApprovalProgress {
        ApprovalProgress { asked: Rc::default(), is_shown: terminal::is_stderr() }
    }

    /// Called when a human is asked.
    pub(super) fn on_pending(&self) -> OnPending {
        let asked = Rc::clone(&self.asked);
        Rc::new(move |pending: &Pending| asked.set(Some(pending.expires_at)))
    }

    /// Shows the time left, for as long as it is polled. Never ends.
    pub(super) async fn show<T>(&self) -> T {
        if !self.is_shown {
            return std::future::pending().await;
        }
        let clock = Clock::system();
        loop {
            if let Some(until) = self.asked.get() {
                terminal::replace_line(&line(until, clock.now()));
            }
            // Also the longest that the first line comes late.
            Timer::after(Duration::from_millis(500)).await;
        }
    }
}

impl Drop for ApprovalProgress {
    fn drop(&mut self) {
        if self.is_shown && self.asked.get().is_some() {
            terminal::replace_line("");
        }
    }
}

fn line(until: Option<Timestamp>, now: Timestamp) -> String {
    let Some(until) = until else { return "waiting for approval".into() };
    let left = until.since(now).as_secs();
    format!("waiting for approval, {}:{:02} left", left / 60, left % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_minutes_and_seconds() {
        let now = Timestamp(1_000_000);
        assert_eq!(line(Some(now.plus(Duration::from_secs(872))), now), "waiting for approval, 14:32 left");
        assert_eq!(line(Some(Timestamp(0)), now), "waiting for approval, 0:00 left");
        assert_eq!(line(None, now), "waiting for approval");
    }
}
