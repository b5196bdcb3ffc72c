//! The kill switch: calls that are not made until a person resumes them.

use super::agent::AgentId;
use super::responder::Responder;
use crate::base::clock::Timestamp;

/// The longest reason of a stop, in characters.
pub(crate) const MAX_STOP_REASON: usize = 500;

/// Somebody has stopped all calls, or those of one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// None: everything.
    pub agent: Option<AgentId>,
    pub by: Responder,
    pub at: Timestamp,
    /// Why, in that person's words.
    pub reason: Option<String>,
}

impl Stop {
    /// Whether `other` changes nothing while this one stands. One that fewer people may lift takes its place.
    pub(crate) fn covers(&self, other: &Stop) -> bool {
        self.agent == other.agent && (self.by.is_at_the_gateway() || !other.by.is_at_the_gateway())
    }

    /// Whether `by` may lift it: what was stopped at the terminal or on the pages is lifted only there, so that a lost
    /// phone cannot.
    pub(crate) fn is_lifted_by(&self, by: &Responder) -> bool {
        by.is_at_the_gateway() || !self.by.is_at_the_gateway()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(agent: Option<&str>, by: &str) -> Stop {
        let agent = agent.map(AgentId::configured);
        Stop { agent, by: Responder::recorded(by), at: Timestamp(0), reason: None }
    }

    #[test]
    fn a_chat_lifts_what_a_chat_has_stopped_and_no_more() {
        let may = |stopped: &str, lifts: &str| stop(None, stopped).is_lifted_by(&Responder::recorded(lifts));
        for gateway in ["local:root", "web:root/link@127.0.0.1"] {
            assert!(
                may("telegram:7", gateway) && may("local:anna", gateway) && may("circuit_breaker", gateway)
            );
            assert!(!may(gateway, "telegram:7"));
        }
        assert!(may("telegram:7", "telegram:8") && may("circuit_breaker", "telegram:7"));
        assert!(!may("local:root", "localhost:7"));
    }

    #[test]
    fn a_later_stop_counts_where_fewer_may_lift_it() {
        assert!(!stop(None, "telegram:7").covers(&stop(None, "local:root")));
        assert!(stop(None, "local:root").covers(&stop(None, "telegram:7")));
        assert!(stop(None, "local:root").covers(&stop(None, "web:root")));
        assert!(!stop(None, "local:root").covers(&stop(Some("pi"), "local:root")));
    }
}
