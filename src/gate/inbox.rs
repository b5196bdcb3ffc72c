//! Results on their way to an agent: written down until the agent has provably received them.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use smol::Timer;

use super::Gate;
use crate::base::ids::RequestId;
use crate::base::slots::KeyedSlot;
use crate::model::AgentId;
use crate::store::{PendingResult, StoreError};

/// The most results returned at once; the agent asks again after it has received these.
const MAX_RESULTS: usize = 100;

/// Receipts wait so long for others: one transaction for many. Lost with the process they cost nothing but a result
/// that is offered once more.
const RECEIPTS_EVERY: Duration = Duration::from_secs(1);

/// The most receipts in one transaction, so that no call waits long behind them.
const RECEIPTS_AT_ONCE: usize = 256;

/// Counts one delivery of the result of a request over a living connection. Meanwhile the result is not offered again;
/// when this is dropped without [`Gate::received`], it is.
pub(crate) type Delivery = KeyedSlot<RequestId>;

/// Results that have arrived, until that is written down.
#[derive(Default)]
pub(super) struct Receipts {
    collected: RefCell<HashSet<RequestId>>,
    /// A task waits to write them.
    due: Cell<bool>,
}

impl Gate {
    /// A reply that has been handed to a connection.
    pub(crate) fn delivering(&self, id: RequestId) -> Delivery {
        self.deliveries.count(&id)
    }

    /// The peer has proven that it received these. What cannot be written down now is offered once more later.
    pub fn received(self: &Rc<Self>, ids: Vec<RequestId>) {
        if ids.is_empty() {
            return;
        }
        self.receipts.collected.borrow_mut().extend(ids);
        if !self.receipts.due.replace(true) {
            let gate = self.clone();
            let task = async move {
                Timer::after(RECEIPTS_EVERY).await;
                gate.receipts.due.set(false);
                gate.write_receipts().await;
            };
            self.executor.spawn(task).detach();
        }
    }

    /// Writes down what [`Gate::received`] has collected so far.
    pub(crate) async fn write_receipts(&self) {
        let collected: Vec<_> = self.receipts.collected.borrow().iter().copied().collect();
        for some in collected.chunks(RECEIPTS_AT_ONCE) {
            if let Err(e) = self.store.received(some.to_vec()).await {
                log::warn!("receipts could not be recorded: {e}");
            }
            // Only now: until then they keep these results from being offered.
            let mut collected = self.receipts.collected.borrow_mut();
            some.iter().for_each(|id| {
                collected.remove(id);
            });
        }
    }

    /// This agent's results that it has not received, the oldest first, at most [`MAX_RESULTS`].
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn pending_results(&self, agent: &AgentId) -> Result<Vec<PendingResult>, StoreError> {
        self.write_receipts().await;
        let mut results =
            self.store.pending_results(agent, self.not_offered(), self.clock.now(), MAX_RESULTS).await?;
        // Some may have got on their way meanwhile, or even there.
        let not_offered = self.not_offered();
        results.retain(|result| !not_offered.contains(&result.request_id));
        Ok(results)
    }

    /// Results on their way, received ones that are not written down yet, and denials that may still get a note.
    fn not_offered(&self) -> HashSet<RequestId> {
        let (received, windows) = (self.receipts.collected.borrow(), self.windows.borrow());
        self.deliveries.keys().into_iter().chain(received.iter().chain(windows.keys()).copied()).collect()
    }
}
