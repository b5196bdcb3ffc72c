//! How the gateway is doing, for `status` and the log.

use std::collections::BTreeMap;

use super::Gate;
use super::stops::StopReading;
use crate::approval::ChannelHealth;
use crate::base::clock::Timestamp;
use crate::model::AgentId;
use crate::service::ServiceHealth;
use crate::store::StoreHealth;

#[derive(Clone, Debug)]
pub struct Status {
    /// Connections per configured agent.
    pub agents: BTreeMap<AgentId, usize>,
    /// What is stopped, the general stop first.
    pub(crate) stops: Vec<StopReading>,
    /// Calls under way, questions included.
    pub running: usize,
    pub open_questions: usize,
    /// By name.
    pub channels: Vec<(String, ChannelHealth)>,
    pub store: StoreHealth,
    pub(crate) clock: ClockReading,
    /// By name.
    pub services: Vec<(String, ServiceHealth)>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockReading {
    /// Whole seconds since the gateway started.
    pub uptime_s: u64,
    /// Whether the system's clock can be right.
    pub set: bool,
    /// What the gateway takes for the present time.
    pub now: Timestamp,
    /// The newest time that it has known.
    pub newest: Option<Timestamp>,
}

impl Gate {
    /// A snapshot of everything `status` tells.
    pub fn status(&self) -> Status {
        let (setup, now) = (self.setup(), self.clock.now());
        let agents = setup.config.agents.iter().map(|agent| &agent.id);
        Status {
            agents: agents.map(|agent| (agent.clone(), self.ledger.connections.taken(agent))).collect(),
            stops: self.stops.all(),
            running: self.flights.len(),
            open_questions: self.approvals.questions().len(),
            channels: self.approvals.channels.health(),
            store: self.store.health(),
            clock: ClockReading {
                uptime_s: now.since(self.ledger.started).as_secs(),
                set: self.clock.is_set(),
                now,
                newest: self.clock.newest(),
            },
            services: setup.services.health(),
        }
    }
}
