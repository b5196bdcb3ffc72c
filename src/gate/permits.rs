//! What is left of a permit, and what an agent says it did with one.

use super::state::Gate;
use crate::base::ids::RequestId;
use crate::model::{AgentId, Outcome, Report, ReportOutcome};
use crate::store::StoreError;

impl Gate {
    /// Whole seconds for which a permit still counts; None for every other outcome.
    pub(crate) fn permit_left(&self, outcome: &Outcome) -> Option<u64> {
        match outcome {
            Outcome::Permitted(permit) => Some(permit.expires_at.since(self.clock.now()).as_secs()),
            _ => None,
        }
    }

    /// Writes down, once, what this agent says of the permit that its request led to. Nobody vouches for it.
    ///
    /// # Errors
    /// When nothing could be written.
    pub(crate) async fn report(
        &self,
        agent: &AgentId,
        id: RequestId,
        report: Report,
    ) -> Result<ReportOutcome, StoreError> {
        self.store.report(agent.clone(), id, report, self.clock.now()).await
    }
}
