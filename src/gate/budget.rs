//! A token bucket for each agent: what it may use besides requests, refilled steadily.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::rate::TooMany;
use crate::model::AgentId;

/// The buckets of all agents.
pub(crate) struct Budget {
    capacity: u64,
    per_minute: u64,
    began: Instant,
    agents: HashMap<AgentId, Left>,
}

/// What an agent has left. It may owe something: what costs more than a full bucket is still served, by itself.
struct Left {
    /// In sixty-thousandths, so that each millisecond brings back what comes in a minute.
    units: i128,
    at: Duration,
    /// Whether the last request was refused.
    refused: bool,
}

const ONE: i128 = 60_000;

impl Budget {
    /// Every agent begins with a full bucket.
    pub(crate) fn new(capacity: u64, per_minute: u64) -> Budget {
        Budget { capacity, per_minute, began: Instant::now(), agents: HashMap::new() }
    }

    /// Takes `cost`, if the agent owes nothing.
    ///
    /// # Errors
    /// When it does; nothing is taken.
    pub(crate) fn spend(&mut self, agent: &AgentId, cost: u64) -> Result<(), TooMany> {
        let now = self.began.elapsed();
        self.spend_at(agent, cost, now)
    }

    /// Takes `cost`, whatever the agent owes: for what was known only afterwards.
    pub(crate) fn charge(&mut self, agent: &AgentId, cost: u64) {
        let left = self.left(agent, self.began.elapsed());
        left.units = left.units.saturating_sub(i128::from(cost) * ONE);
    }

    /// Refills the bucket up to now.
    fn left(&mut self, agent: &AgentId, now: Duration) -> &mut Left {
        let (full, pace) = (i128::from(self.capacity) * ONE, i128::from(self.per_minute));
        let fresh = || Left { units: full, at: now, refused: false };
        let left = self.agents.entry(agent.clone()).or_insert_with(fresh);
        let passed = i128::try_from(now.saturating_sub(left.at).as_millis()).unwrap_or(0);
        left.units = left.units.saturating_add(passed.saturating_mul(pace)).min(full);
        left.at = now.max(left.at);
        left
    }

    fn spend_at(&mut self, agent: &AgentId, cost: u64, now: Duration) -> Result<(), TooMany> {
        let pace = i128::from(self.per_minute);
        let left = self.left(agent, now);
        if cost == 0 {
            return Ok(());
        }
        if left.units > 0 {
            left.units -= i128::from(cost) * ONE;
            left.refused = false;
            return Ok(());
        }
        let millis = (-left.units).div_euclid(pace.max(1)).saturating_add(1);
        let retry_after = u64::try_from(millis.div_euclid(1000)).unwrap_or(u64::MAX).saturating_add(1);
        Err(TooMany { retry_after, first: !std::mem::replace(&mut left.refused, true) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spend(budget: &mut Budget, cost: u64, second: u64) -> Result<(), TooMany> {
        budget.spend_at(&AgentId::configured("a"), cost, Duration::from_secs(second))
    }

    #[test]
    fn what_is_spent_comes_back_steadily_and_no_further_than_full() {
        let mut budget = Budget::new(100, 60);
        assert!((0..10).all(|_| spend(&mut budget, 10, 0).is_ok()));
        assert_eq!(spend(&mut budget, 10, 0), Err(TooMany { retry_after: 1, first: true }));
        assert_eq!(spend(&mut budget, 10, 0), Err(TooMany { retry_after: 1, first: false }));
        assert!(spend(&mut budget, 1, 1).is_ok());
        assert!(spend(&mut budget, 1, 1).is_err());
        assert!(spend(&mut budget, 100, 10_000).is_ok());
        assert!(spend(&mut budget, 1, 10_000).is_err());
        assert!(budget.spend_at(&AgentId::configured("b"), 100, Duration::ZERO).is_ok(), "each has its own");
    }

    #[test]
    fn what_costs_more_than_all_is_served_once_and_owed() {
        let mut budget = Budget::new(100, 60);
        assert!(spend(&mut budget, 130, 0).is_ok());
        assert_eq!(spend(&mut budget, 1, 10).unwrap_err().retry_after, 21);
        assert!(spend(&mut budget, 0, 10).is_ok(), "what costs nothing is free");
        assert!(spend(&mut budget, 1, 31).is_ok());
    }
}
