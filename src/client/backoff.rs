//! How long to wait before the next attempt to connect.

use std::time::Duration;

use crate::base::backoff::{doubled, jitter};

const LONGEST: Duration = Duration::from_secs(30);
/// After the loss of a connection that worked: a gateway that restarts is back soon, but not for all agents at once.
const SOON: Duration = Duration::from_millis(500);

/// How a connection ended, as far as it matters for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// It had proved itself.
    Proved,
    /// It had not, but the gateway says that it will be back (close code 1012).
    Restarting,
    /// It had not, or there never was one.
    Unproved,
}

/// One streak of attempts. It ends when a connection has proved itself.
#[derive(Debug, Default)]
pub(super) struct Retries {
    step: u32,
    tries: u32,
}

impl Retries {
    /// A connection that had proved itself starts the streak anew, with a quick first attempt.
    pub(super) fn lost(&mut self, how: Loss) {
        match how {
            Loss::Proved => *self = Retries::default(),
            // Quick too, but once in a streak: the step goes on growing.
            Loss::Restarting => {}
            Loss::Unproved => self.step = self.step.max(1),
        }
    }

    /// The wait before one more attempt, or `None` when `max` of them were made.
    pub(super) fn next(&mut self, max: Option<u32>) -> Option<Duration> {
        if max.is_some_and(|max| self.tries >= max) {
            return None;
        }
        let wait = delay(self.step);
        self.step = self.step.saturating_add(1);
        self.tries = self.tries.saturating_add(1);
        Some(wait)
    }
}

/// Step 0 is "soon"; then 1 s, 2 s, 4 s … 30 s, and up to a quarter more.
fn delay(step: u32) -> Duration {
    match step.checked_sub(1) {
        None => jitter(SOON),
        Some(doublings) => {
            let least = doubled(Duration::from_secs(1), doublings, LONGEST);
            least + jitter(least / 4)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_from_one_second_to_thirty() {
        for (step, seconds) in (1..).zip([1, 2, 4, 8, 16, 30, 30, 30]) {
            let least = Duration::from_secs(seconds);
            assert!((least..=least * 5 / 4).contains(&delay(step)), "step {step}");
        }
        assert!(delay(0) <= SOON && (LONGEST..=LONGEST * 5 / 4).contains(&delay(u32::MAX)));
    }

    #[test]
    fn a_connection_that_never_worked_does_not_start_anew() {
        let mut backoff = Retries::default();
        backoff.lost(Loss::Unproved);
        assert!(backoff.next(Some(2)).unwrap() >= Duration::from_secs(1));
        backoff.lost(Loss::Unproved);
        assert!(backoff.next(Some(2)).unwrap() >= Duration::from_secs(2));
        backoff.lost(Loss::Unproved);
        assert_eq!(backoff.next(Some(2)), None);
        backoff.lost(Loss::Proved);
        assert!(backoff.next(Some(2)).unwrap() <= SOON);
        backoff.lost(Loss::Restarting);
        assert!(backoff.next(None).unwrap() >= Duration::from_secs(1));
        assert_eq!(Retries::default().next(Some(0)), None);
    }
}
