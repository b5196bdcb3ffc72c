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
    /// Whole seconds since the start.
    pub uptime_s: u64,
    /// Connections per configured agent.
    pub agents: BTreeMap<AgentId, usize>,
    pub open_questions: usize,
    /// What is stopped, the general stop first.
    pub(crate) stops: Vec<StopReading>,
    /// Calls under way, questions included.
    pub running: usize,
    /// By name.
    pub channels: Vec<(String, ChannelHealth)>,
    pub store: StoreHealth,
    /// Whether the system's clock can be right.
    pub clock_set: bool,
    /// What the gateway takes for the present time, and the newest time that it has known.
    pub now: Timestamp,
    pub newest: Option<Timestamp>,
    /// By name.
    pub services: Vec<(String, ServiceHealth)>,
}

impl Gate {
    /// A snapshot of everything `status` tells.
    pub fn status(&self) -> Status {
        let setup = self.setup();
        let agents = setup.config.agents.iter().map(|agent| &agent.id);
        Status {
            uptime_s: self.clock.now().since(self.ledger.started).as_secs(),
            agents: agents.map(|agent| (agent.clone(), self.ledger.connections.taken(agent))).collect(),
            stops: self.stops.all(),
            open_questions: self.approvals.questions().len(),
            running: self.flights.len(),
            channels: self.approvals.channels.health(),
            store: self.store.health(),
            clock_set: self.clock.is_set(),
            now: self.clock.now(),
            newest: self.clock.newest(),
            services: setup.services.health(),
        }
    }
}
