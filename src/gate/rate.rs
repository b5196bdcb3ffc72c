//! How many requests an agent may make in a minute.

use std::collections::HashMap;
use std::time::Instant;

use crate::model::AgentId;

const WINDOW: usize = 60;

/// A sliding minute per agent, counted by the second: constant memory whatever the limit is.
pub(crate) struct RateLimits {
    started: Instant,
    agents: HashMap<AgentId, Minute>,
}

struct Minute {
    counts: [u32; WINDOW],
    total: u32,
    second: u64,
    /// Whether the last request was refused.
    refused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany {
    /// Whole seconds until a request fits again, at least 1.
    pub retry_after: u64,
    /// Whether this is the first refusal since a request last passed (the record takes only that one).
    pub first: bool,
}

impl RateLimits {
    pub(crate) fn new() -> RateLimits {
        RateLimits { started: Instant::now(), agents: HashMap::new() }
    }

    /// Counts one request of `agent`; `limit` requests fit into any 60 seconds.
    ///
    /// # Errors
    /// When the minute is full. A refused request takes no place.
    pub(crate) fn count(&mut self, agent: &AgentId, limit: u32) -> Result<(), TooMany> {
        let second = self.started.elapsed().as_secs();
        self.count_at(agent, limit, second)
    }

    /// Takes the place of one request, if there is any, for a request that was refused before it could be counted.
    pub(crate) fn spend(&mut self, agent: &AgentId, limit: u32) {
        let second = self.started.elapsed().as_secs();
        self.minute(agent, second).take(limit);
    }

    fn minute(&mut self, agent: &AgentId, second: u64) -> &mut Minute {
        let minute = self.agents.entry(agent.clone()).or_insert_with(|| Minute::new(second));
        minute.advance(second);
        minute
    }

    fn count_at(&mut self, agent: &AgentId, limit: u32, second: u64) -> Result<(), TooMany> {
        let minute = self.minute(agent, second);
        if minute.take(limit) {
            return Ok(());
        }
        let first = !std::mem::replace(&mut minute.refused, true);
        Err(TooMany { retry_after: minute.seconds_to_room(), first })
    }
}

impl Default for RateLimits {
    fn default() -> Self {
        RateLimits::new()
    }
}

impl Minute {
    fn new(second: u64) -> Minute {
        Minute { counts: [0; WINDOW], total: 0, second, refused: false }
    }

    fn slot(second: u64) -> usize {
        // A remainder of 60 always fits.
        usize::try_from(second % WINDOW as u64).unwrap_or_default()
    }

    /// Forgets the seconds that have left the window.
    fn advance(&mut self, second: u64) {
        let steps = second.saturating_sub(self.second).min(WINDOW as u64);
        for step in 1..=steps {
            let slot = Self::slot(self.second.saturating_add(step));
            if let Some(count) = self.counts.get_mut(slot) {
                self.total = self.total.saturating_sub(*count);
                *count = 0;
            }
        }
        self.second = self.second.max(second);
        if steps == WINDOW as u64 {
            self.counts = [0; WINDOW];
            self.total = 0;
        }
    }

    /// Takes a place; false when there is none.
    fn take(&mut self, limit: u32) -> bool {
        let free = self.total < limit;
        if free {
            self.add();
        }
        free
    }

    fn add(&mut self) {
        if let Some(count) = self.counts.get_mut(Self::slot(self.second)) {
            *count = count.saturating_add(1);
            self.total = self.total.saturating_add(1);
        }
        self.refused = false;
    }

    /// Until the oldest counted second leaves the window.
    fn seconds_to_room(&self) -> u64 {
        let window = WINDOW as u64;
        (1..=window)
            .find(|ahead| self.counts.get(Self::slot(self.second + ahead)).is_some_and(|c| *c > 0))
            .unwrap_or(window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(limits: &mut RateLimits, limit: u32, second: u64) -> Result<(), TooMany> {
        limits.count_at(&AgentId::configured("a"), limit, second)
    }

    #[test]
    fn never_more_than_the_limit_in_any_minute() {
        let mut limits = RateLimits::new();
        (0..60).for_each(|_| assert!(passes(&mut limits, 60, 5).is_ok()));
        assert_eq!(passes(&mut limits, 60, 5), Err(TooMany { retry_after: 60, first: true }));
        assert_eq!(passes(&mut limits, 60, 64), Err(TooMany { retry_after: 1, first: false }));
        assert!(passes(&mut limits, 60, 65).is_ok());
    }

    #[test]
    fn a_long_rest_empties_the_window() {
        let mut limits = RateLimits::new();
        assert!(passes(&mut limits, 1, 0).is_ok());
        assert!(passes(&mut limits, 1, 1_000_000).is_ok());
        assert!(passes(&mut limits, 1, 1_000_001).is_err());
        assert!(limits.count_at(&AgentId::configured("b"), 1, 1_000_001).is_ok());
    }
}
