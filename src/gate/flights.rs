//! The calls under way, and the slots for calls at once. A call that waits for a slot is looked at again at every reload, and
//! once more when its turn has come.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use smol::{Timer, future};

use super::Executor;
use super::running::{Joined, Running};
use super::setup::{CurrentSetup, Setup};
use crate::base::ids::RequestId;
use crate::base::slots::{Slot, Slots};
use crate::model::{Call, Question};
use crate::service::{CallSlot, CallSlots, SlotShares};

/// All calls under way.
pub(crate) struct Flights {
    /// Each of them is a task on it.
    pub(super) executor: Executor,
    pub(super) running: RefCell<Running>,
    slots: CallSlots,
    /// Calls from before they are claimed until their end is written down.
    executing: Slots,
    stopping: Cell<bool>,
}

/// Why a call gets no slot.
pub(super) enum NoSlot<E> {
    /// What it waited for was not its turn any more: a reload came between.
    Overtaken(E),
    /// Too many calls are running, for as long as this one may take.
    Busy,
}

/// What ended a wait.
enum Woken {
    Turn(CallSlot),
    Late,
    Reloaded,
}

impl Flights {
    pub(super) fn new(executor: Executor, shares: SlotShares) -> Flights {
        let (running, executing, stopping) = Default::default();
        Flights { executor, running, slots: CallSlots::new(shares), executing, stopping }
    }

    /// Calls under way, questions included.
    pub(super) fn len(&self) -> usize {
        self.running.borrow().len()
    }

    /// Whether this call, asked for now, would wait for the end of one that is under way.
    pub(super) fn would_join(&self, call: &Call, session: Option<&str>) -> bool {
        matches!(self.running.borrow().join(call, session, None), Joined::Same { .. })
    }

    /// Whether the call with this id is under way.
    pub(super) fn has(&self, id: RequestId) -> bool {
        self.running.borrow().has(id)
    }

    /// How often the agent has asked for this call while it is under way: 1, or more when identical calls joined it.
    pub(crate) fn times_asked(&self, question: &Question) -> u32 {
        self.running.borrow().times(question.asked(), question.session.as_deref())
    }

    /// Calls that are at a service right now. Questions that wait for a person are not among them.
    pub(crate) fn executing(&self) -> usize {
        self.executing.taken()
    }

    /// Calls that wait for one of the slots for calls at once.
    pub(crate) fn waiting(&self) -> usize {
        self.slots.waiting()
    }

    /// From now on the slots are shared out like this.
    pub(super) fn share_out(&self, shares: SlotShares) {
        self.slots.share_out(shares);
    }

    /// From now on no further call is sent to a service; those under way are seen through.
    pub(crate) fn wind_down(&self) {
        self.stopping.set(true);
    }

    /// Counts a call that is about to be claimed. Never returns once the gateway is stopping: what is on disk by then is
    /// taken up at the next start.
    pub(super) async fn begin(&self) -> Slot {
        if self.stopping.get() {
            return future::pending().await;
        }
        self.executing.count()
    }

    /// Waits for a slot for `call`, at most as long as the call may take. `look` sees the setup in force before the
    /// wait, after every reload, and last of all when the slot is there: nothing happens between that look and the
    /// return.
    pub(super) async fn slot<E>(
        &self,
        call: &Call,
        setups: &CurrentSetup,
        mut look: impl FnMut(&Rc<Setup>) -> Result<(), E>,
    ) -> Result<CallSlot, NoSlot<E>> {
        let turn = self.slots.line_up(call.agent(), &call.tool().service);
        let (began, mut held) = (Instant::now(), None);
        loop {
            let (setup, reloaded) = (setups.get(), setups.replaced());
            look(&setup).map_err(NoSlot::Overtaken)?;
            if let Some(slot) = held {
                return Ok(slot);
            }
            let left = setup.services.limit(call).saturating_sub(began.elapsed());
            let come = async { turn.recv().await.map_or(Woken::Late, Woken::Turn) };
            let late = async {
                Timer::after(left).await;
                Woken::Late
            };
            let overtaken = async {
                reloaded.wait().await;
                Woken::Reloaded
            };
            held = match future::or(come, future::or(overtaken, late)).await {
                Woken::Turn(slot) => Some(slot),
                Woken::Reloaded => None,
                Woken::Late => return Err(NoSlot::Busy),
            };
        }
    }
}
