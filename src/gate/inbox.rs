//! Results on their way to an agent: written down until the agent has provably received them.

use std::collections::HashSet;
use std::rc::Rc;

use super::Gate;
use crate::base::ids::RequestId;
use crate::model::AgentId;
use crate::store::{PendingResult, StoreError};

/// The most results returned at once; the agent asks again after it has received these.
const MAX_RESULTS: usize = 100;

/// A result that is being carried over a living connection. While it lives, the result is not offered again;
/// when it is dropped without [`Delivery::received`], it is.
pub struct Delivery {
    gate: Rc<Gate>,
    id: RequestId,
}

impl Delivery {
    /// The request whose result this is.
    pub fn id(&self) -> RequestId {
        self.id
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let mut deliveries = self.gate.deliveries.borrow_mut();
        if let Some(count) = deliveries.get_mut(&self.id) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                deliveries.remove(&self.id);
            }
        }
    }
}

impl Gate {
    /// A reply that has been handed to a connection.
    pub fn delivering(self: &Rc<Self>, id: RequestId) -> Delivery {
        *self.deliveries.borrow_mut().entry(id).or_default() += 1;
        Delivery { gate: self.clone(), id }
    }

    /// The peer has proven that it received these. What cannot be written down now is offered once more later.
    pub fn received(self: &Rc<Self>, ids: Vec<RequestId>) {
        if ids.is_empty() {
            return;
        }
        let gate = self.clone();
        let task = async move {
            if let Err(e) = gate.store.received(ids).await {
                log::warn!("receipts could not be recorded: {e}");
            }
        };
        self.executor.spawn(task).detach();
    }

    /// This agent's results that it has not received, the oldest first, at most [`MAX_RESULTS`].
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn pending_results(&self, agent: &AgentId) -> Result<Vec<PendingResult>, StoreError> {
        let mut on_their_way: HashSet<_> = self.deliveries.borrow().keys().copied().collect();
        // Denials that may still get a note are not ready.
        on_their_way.extend(self.windows.borrow().keys().copied());
        let mut results =
            self.store.pending_results(agent, on_their_way, self.clock.now(), MAX_RESULTS).await?;
        // Some may have got on their way meanwhile.
        let (deliveries, windows) = (self.deliveries.borrow(), self.windows.borrow());
        results.retain(|r| !deliveries.contains_key(&r.request_id) && !windows.contains_key(&r.request_id));
        Ok(results)
    }
}
