//! The circuit breaker: how often the policy has denied something to an agent of late.
//!
//! It lives in memory: after a restart the count begins anew. What it has stopped stays stopped.

use std::collections::{HashMap, VecDeque};

use crate::base::clock::{Deadline, Timestamp};
use crate::config::CircuitBreaker;
use crate::model::AgentId;

/// Denials of late, by agent. There are as many agents as the owner has configured.
#[derive(Default)]
pub(super) struct Denials(HashMap<AgentId, VecDeque<Deadline>>);

/// Whether a denial is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trips {
    Yes,
    No,
}

impl Denials {
    /// Counts a denial. After one too many the count begins anew.
    pub(super) fn count(&mut self, agent: &AgentId, breaker: CircuitBreaker, now: Timestamp) -> Trips {
        let recent = self.0.entry(agent.clone()).or_default();
        recent.retain(|counts| !counts.is_over(now));
        recent.push_back(Deadline::new(now.plus(breaker.window), now));
        if recent.len() < breaker.denies {
            return Trips::No;
        }
        recent.clear();
        Trips::Yes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_denial_that_is_one_too_many_within_the_time_trips_it_for_this_agent() {
        let breaker = CircuitBreaker { denies: 3, window: Duration::from_secs(60) };
        let (mut denials, at) = (Denials::default(), |seconds: i64| Timestamp(seconds * 1000));
        let [pi, laptop] = ["pi", "laptop"].map(AgentId::configured);
        let mut count = |agent: &AgentId, seconds| denials.count(agent, breaker, at(seconds));
        assert_eq!([0, 30, 61].map(|seconds| count(&pi, seconds)), [Trips::No; 3]);
        assert_eq!(count(&laptop, 62), Trips::No);
        assert_eq!(count(&pi, 89), Trips::Yes);
        assert_eq!([89, 90].map(|seconds| count(&pi, seconds)), [Trips::No; 2]);
        assert_eq!(count(&pi, 91), Trips::Yes);
    }
}
