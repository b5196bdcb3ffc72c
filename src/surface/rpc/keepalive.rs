//! When a silent peer is pinged, and when it is given up.
//!
//! It must not cost a message anything: hearing one sets no timer. An idle connection has one timer, which goes off when
//! something is to be done, together with those of all others that are due then.

use std::time::{Duration, Instant};

/// How often a silent peer is pinged.
const PING_EVERY: Duration = Duration::from_secs(30);
/// A peer that sends no frame at all for so long is gone.
const IDLE_LIMIT: Duration = Duration::from_secs(90);
/// Timers go off on a grid of this width, so that thousands of connections share the wake-ups of the process.
const GRID: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Something was heard since the timer was set.
    Nothing,
    Ping,
    GiveUp,
}

pub(crate) struct Keepalive {
    heard: Instant,
    asked: Instant,
    /// Where the grid begins, the same for all.
    grid: Instant,
}

impl Keepalive {
    /// A connection that begins `now`.
    pub(crate) fn new(now: Instant, grid: Instant) -> Keepalive {
        Keepalive { heard: now, asked: now, grid }
    }

    /// A frame of any kind has come.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// When to check again.
    pub(crate) fn next_check(&self) -> Instant {
        let due = self.due();
        let since = due.saturating_duration_since(self.grid).as_millis();
        let steps = since.div_euclid(GRID.as_millis()).saturating_add(1);
        u32::try_from(steps).map_or(due, |steps| self.grid + GRID * steps)
    }

    /// What to do; a ping counts as sent.
    pub(crate) fn check(&mut self, now: Instant) -> Due {
        if now < self.due() {
            return Due::Nothing;
        }
        if now.saturating_duration_since(self.heard) >= IDLE_LIMIT {
            return Due::GiveUp;
        }
        self.asked = now;
        Due::Ping
    }

    fn due(&self) -> Instant {
        let ping = self.heard.max(self.asked) + PING_EVERY;
        ping.min(self.heard + IDLE_LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks whenever it is time to, until `end`; the peer answers a ping after `answer`. What was due, and when.
    fn run(begin: Instant, grid: Instant, end: Duration, answer: Option<Duration>) -> Vec<(Duration, Due)> {
        let mut keepalive = Keepalive::new(begin, grid);
        let mut looks = Vec::new();
        while keepalive.next_check() < begin + end && looks.last().is_none_or(|(_, due)| *due != Due::GiveUp)
        {
            let now = keepalive.next_check();
            let due = keepalive.check(now);
            looks.push((now - begin, due));
            if let (Due::Ping, Some(answer)) = (due, answer) {
                keepalive.heard(now + answer);
            }
        }
        looks
    }

    #[test]
    fn an_idle_peer_costs_one_wake_up_for_each_ping() {
        let grid = Instant::now();
        let hour = Duration::from_secs(3600);
        let looks = run(grid + Duration::from_micros(1_234_567), grid, hour, Some(Duration::from_millis(20)));
        let pings = looks.iter().filter(|(_, due)| *due == Due::Ping).count();
        assert!((118..=120).contains(&pings), "{pings}");
        assert_eq!(looks.len(), pings, "{looks:?}");
    }

    #[test]
    fn a_silent_peer_is_asked_twice_and_given_up_after_ninety_seconds() {
        let grid = Instant::now();
        let looks = run(grid + Duration::from_millis(1), grid, Duration::from_secs(600), None);
        let dues: Vec<_> = looks.iter().map(|(_, due)| *due).collect();
        assert_eq!(dues, [Due::Ping, Due::Ping, Due::GiveUp]);
        let (last, _) = looks[2];
        assert!(last >= IDLE_LIMIT && last <= IDLE_LIMIT + GRID, "{last:?}");
    }

    #[test]
    fn a_peer_that_talks_is_left_alone() {
        let begin = Instant::now();
        let mut keepalive = Keepalive::new(begin, begin);
        keepalive.heard(begin + Duration::from_secs(29));
        assert_eq!(keepalive.check(begin + Duration::from_secs(30)), Due::Nothing);
        assert!(keepalive.next_check() >= begin + Duration::from_secs(59));
    }

    #[test]
    fn connections_of_one_moment_share_their_timers() {
        let grid = Instant::now();
        let at = |ms| Keepalive::new(grid + Duration::from_millis(ms), grid).next_check();
        assert_eq!(at(1001), at(1099));
        assert_ne!(at(1099), at(1101));
    }
}
