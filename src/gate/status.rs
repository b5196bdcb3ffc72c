//! How the gateway is doing, for `status` and the log.

use std::collections::BTreeMap;

use super::Gate;
use crate::approval::ChannelHealth;
use crate::base::slots::KeyedSlot;
use crate::model::AgentId;
use crate::service::ServiceHealth;
use crate::store::StoreHealth;

/// A snapshot.
#[derive(Clone, Debug)]
pub struct Status {
    /// Whole seconds since the start.
    pub uptime_s: u64,
    /// Connections per configured agent.
    pub agents: BTreeMap<AgentId, usize>,
    /// Open questions.
    pub open_questions: usize,
    /// Calls under way, questions included.
    pub running: usize,
    /// The approval channels by name.
    pub channels: Vec<(String, ChannelHealth)>,
    /// The record.
    pub store: StoreHealth,
    /// The services by name.
    pub services: Vec<(String, ServiceHealth)>,
}

impl Gate {
    /// A snapshot of everything `status` tells.
    pub fn status(&self) -> Status {
        let setup = self.setup();
        Status {
            uptime_s: self.clock.now().since(self.started).as_secs(),
            agents: setup.agents().map(|a| (a.clone(), self.connected.taken(a))).collect(),
            open_questions: self.desk.borrow().questions().len(),
            running: self.running.borrow().len(),
            channels: self.channels.health(),
            store: self.store.health(),
            services: setup.services.health(),
        }
    }

    /// Counts a connection; None when the agent has `limit` already.
    pub(crate) fn connect(&self, agent: &AgentId, limit: usize) -> Option<KeyedSlot<AgentId>> {
        self.connected.take(agent, limit)
    }

    /// How many connections of agents there are.
    pub fn connected(&self) -> usize {
        self.connected.all_taken()
    }
}
