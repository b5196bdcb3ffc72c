//! Results on their way to an agent: written down until the agent has provably received them.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use smol::Timer;

use super::Executor;
use crate::base::clock::Clock;
use crate::base::ids::RequestId;
use crate::base::slots::{KeyedSlot, KeyedSlots};
use crate::model::AgentId;
use crate::store::{Store, StoreError, WaitingResult};

/// The most results returned at once; the agent asks again after it has received these.
const MAX_RESULTS: usize = 100;

/// How long acks wait for others: one transaction for many. Lost with the process they cost nothing but a result that
/// is offered once more.
const ACKS_EVERY: Duration = Duration::from_secs(1);

/// The results that agents have not received.
pub struct Inbox {
    executor: Executor,
    clock: Clock,
    store: Store,
    deliveries: KeyedSlots<RequestId>,
    /// Results that have arrived, until that is written down.
    acks: RefCell<HashSet<RequestId>>,
    /// Whether a task waits to write them.
    due: Cell<bool>,
}

/// Holds back the result of a request while it lives: a connection carries it, or it is not complete.
pub(crate) type Delivery = KeyedSlot<RequestId>;

impl Inbox {
    pub(super) fn new(executor: Executor, clock: Clock, store: Store) -> Rc<Inbox> {
        let (deliveries, acks, due) = Default::default();
        Rc::new(Inbox { executor, clock, store, deliveries, acks, due })
    }

    /// Offers the result of this request to nobody for a while.
    pub(crate) fn hold(&self, id: RequestId) -> Delivery {
        self.deliveries.count(&id)
    }

    /// The peer has proven that it received these. What cannot be written down now is offered once more later.
    pub(crate) fn received(self: &Rc<Self>, ids: Vec<RequestId>) {
        if ids.is_empty() {
            return;
        }
        // Under load, the next fold comes sooner than the task.
        self.store.received(ids.iter().copied());
        self.acks.borrow_mut().extend(ids);
        if !self.due.replace(true) {
            let inbox = self.clone();
            let task = async move {
                Timer::after(ACKS_EVERY).await;
                inbox.due.set(false);
                inbox.write_acks().await;
            };
            self.executor.spawn(task).detach();
        }
    }

    /// Writes down what [`Inbox::received`] has collected so far.
    pub(crate) async fn write_acks(&self) {
        let collected: Vec<_> = self.acks.borrow().iter().copied().collect();
        if collected.is_empty() {
            return;
        }
        if let Err(e) = self.store.write_received().await {
            log::warn!("what agents have received could not be recorded: {e}");
        }
        // Only now: until then they keep these results from being offered.
        let mut acks = self.acks.borrow_mut();
        for id in collected {
            acks.remove(&id);
        }
    }

    /// This agent's results that it has not received, the oldest first, at most [`MAX_RESULTS`].
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn pending_results(&self, agent: &AgentId) -> Result<Vec<WaitingResult>, StoreError> {
        self.write_acks().await;
        let mut results =
            self.store.pending_results(agent, self.held_back(), self.clock.now(), MAX_RESULTS).await?;
        // Some may have got on their way meanwhile, or even there.
        let held_back = self.held_back();
        results.retain(|result| !held_back.contains(&result.request_id));
        Ok(results)
    }

    /// The result of this request, if it waits for this agent.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub(super) async fn pending_result(
        &self,
        agent: &AgentId,
        id: RequestId,
    ) -> Result<Option<WaitingResult>, StoreError> {
        self.write_acks().await;
        let found = self.store.pending_result(agent, id, self.clock.now()).await?;
        Ok(found.filter(|_| !self.held_back().contains(&id)))
    }

    /// Results on their way, and received ones that are not written down yet.
    fn held_back(&self) -> HashSet<RequestId> {
        self.deliveries.keys().into_iter().chain(self.acks.borrow().iter().copied()).collect()
    }
}
