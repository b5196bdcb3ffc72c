//! Data on its way to an agent: it is remembered that the agent has read it before it leaves.

pub(crate) use super::memory::Carried;
use super::setup::Setup;
use super::state::Gate;
use super::task::Task;
use crate::base::ids::RequestId;
use crate::model::{AgentId, Call, Outcome, Reading, Responder, Source};
use crate::store::{StoreError, WaitingResult};

/// An agent and what it carries, for the owner.
pub(crate) struct AgentReading {
    pub agent: AgentId,
    pub groups: Vec<String>,
    pub connections: usize,
    /// By source.
    pub carried: Vec<Carried>,
}

/// Why nothing is forgotten.
#[derive(Debug)]
pub(crate) enum CannotForget {
    /// There is no agent of this name.
    Unknown,
    Store(StoreError),
}

impl Gate {
    /// What the agent of this call carries in this session, where the policy looks at that.
    pub(super) fn carried(&self, setup: &Setup, call: &Call, session: Option<&str>) -> Vec<Source> {
        match setup.looks_at_data(call) {
            true => self.ledger.memory.borrow().carried(
                call.agent(),
                &session.map(Into::into),
                (setup.conduct.remember, setup.conduct.session_idle),
                self.clock.now(),
            ),
            false => Vec::new(),
        }
    }

    /// Another number when what the agent carries has changed, where the policy looks at that.
    pub(super) fn carried_version(&self, setup: &Setup, call: &Call) -> u64 {
        if setup.looks_at_data(call) { self.ledger.memory.borrow().version(call.agent()) } else { 0 }
    }

    /// The call has ended like this, which is about to be written down and then told.
    pub(super) fn ended(&self, task: &Task, outcome: &Outcome) {
        if let (Outcome::Executed(_) | Outcome::Permitted(_), Some(source)) =
            (outcome, task.call.tool().source())
        {
            self.ledger.memory.borrow_mut().read(&self.reading(&task.call, task.session.as_deref(), source));
        }
    }

    /// Writes down that the outcome of an earlier call is told once more.
    ///
    /// # Errors
    /// When that fails: it must not be told then.
    pub(super) async fn replays(
        &self,
        call: &Call,
        session: Option<&str>,
        outcome: &Outcome,
    ) -> Result<(), StoreError> {
        match (outcome, call.tool().source()) {
            (Outcome::Executed(_) | Outcome::Permitted(_), Some(source)) => {
                self.hand_out(vec![self.reading(call, session, source)]).await
            }
            _ => Ok(()),
        }
    }

    /// The results of this agent that it has not received; see [`Inbox`](super::inbox::Inbox::pending_results). It has
    /// read them from now on.
    ///
    /// # Errors
    /// When the record cannot be read, or cannot say that they were handed out.
    pub(crate) async fn pending_results(&self, agent: &AgentId) -> Result<Vec<WaitingResult>, StoreError> {
        let results = self.inbox.pending_results(agent).await?;
        self.reads(agent, &results).await?;
        Ok(results)
    }

    /// The same for the result of this request.
    ///
    /// # Errors
    /// As above.
    pub(crate) async fn pending_result(
        &self,
        agent: &AgentId,
        id: RequestId,
    ) -> Result<Option<WaitingResult>, StoreError> {
        let result = self.inbox.pending_result(agent, id).await?;
        self.reads(agent, result.as_slice()).await?;
        Ok(result)
    }

    async fn reads(&self, agent: &AgentId, results: &[WaitingResult]) -> Result<(), StoreError> {
        let (setup, at) = (self.setup(), self.clock.now());
        let reading = |result: &WaitingResult| {
            let source = setup.tool(&result.tool_name)?.source()?;
            let session = result.session.as_deref().map(Into::into);
            Some(Reading { agent: agent.clone(), session, source, at })
        };
        let mut readings: Vec<_> =
            results.iter().filter(|result| result.executed).filter_map(reading).collect();
        readings.dedup();
        self.hand_out(readings).await
    }

    async fn hand_out(&self, readings: Vec<Reading>) -> Result<(), StoreError> {
        if readings.is_empty() {
            return Ok(());
        }
        readings.iter().for_each(|reading| self.ledger.memory.borrow_mut().read(reading));
        self.store.hand_out(readings).await
    }

    fn reading(&self, call: &Call, session: Option<&str>, source: Source) -> Reading {
        let (agent, at) = (call.agent().clone(), self.clock.now());
        Reading { agent, session: session.map(Into::into), source, at }
    }

    /// All agents in the order of the file, each with what it carries.
    pub(crate) fn agents(&self) -> Vec<AgentReading> {
        let (setup, now) = (self.setup(), self.clock.now());
        let memory = self.ledger.memory.borrow();
        let times = (setup.conduct.remember, setup.conduct.session_idle);
        let agents = setup.config.agents.iter().map(|agent| AgentReading {
            agent: agent.id.clone(),
            groups: agent.groups.iter().cloned().collect(),
            connections: self.ledger.connections.taken(&agent.id),
            carried: memory.all(&agent.id, times, now),
        });
        agents.collect()
    }

    /// Lets it be forgotten what this agent has read.
    ///
    /// # Errors
    /// When there is no such agent, or that cannot be written down.
    pub(crate) async fn forget(&self, agent: &str, by: Responder) -> Result<(), CannotForget> {
        let agent = AgentId::configured(agent);
        if !self.setup().knows(&agent) {
            return Err(CannotForget::Unknown);
        }
        // What is read from here on is recorded after it.
        let through = self.ledger.memory.borrow().version(&agent);
        self.store.forget(self.clock.now(), agent.clone(), by).await.map_err(CannotForget::Store)?;
        self.ledger.memory.borrow_mut().forget(&agent, through);
        Ok(())
    }
}
