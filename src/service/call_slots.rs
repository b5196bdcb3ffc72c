//! How many calls run at once, over all services and over the setups before and after a reload.
//!
//! Some of the slots belong to the agents, the same number to each. The rest is open to everybody, in turns by agent,
//! and one service takes at most half of that rest. So an agent that asks for much, or a service that answers slowly,
//! makes itself wait and not the others.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smol::channel::{Receiver, Sender, bounded};

use crate::model::AgentId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotShares {
    all: usize,
    /// Slots that belong to each agent.
    own: usize,
    open: usize,
    /// Open slots that one service may take.
    of_service: usize,
}

impl SlotShares {
    /// Half of `all` (at least one) is divided evenly among the agents, at least one slot for each; with as many agents
    /// as slots or more, none is. Of the rest one service takes at most half, unless there is no other.
    pub fn new(all: usize, agents: usize, services: usize) -> SlotShares {
        let all = all.max(1);
        let own = if agents < all { (all / 2 / agents.max(1)).max(1) } else { 0 };
        let open = all.saturating_sub(own.saturating_mul(agents));
        let of_service = if services > 1 { open.div_ceil(2) } else { open };
        SlotShares { all, own, open, of_service }
    }
}

/// All slots. Clones are the same slots.
#[derive(Clone)]
pub struct CallSlots(Arc<Mutex<SlotTable>>);

struct SlotTable {
    shares: SlotShares,
    taken: HashMap<SlotKind, usize>,
    /// Agents that wait, the one whose turn is next first; each with a queue that is never empty.
    waiting: VecDeque<(AgentId, VecDeque<Waiter>)>,
}

struct Waiter {
    service: Arc<str>,
    turn: Sender<CallSlot>,
}

/// A slot, until this is dropped (on any thread).
pub struct CallSlot {
    /// None when it has been given back.
    slots: Option<CallSlots>,
    kind: SlotKind,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum SlotKind {
    Own(AgentId),
    /// An open one, for a call to this service.
    Open(Arc<str>),
}

impl CallSlots {
    /// Slots that are shared out like this.
    pub fn new(shares: SlotShares) -> CallSlots {
        let (taken, waiting) = Default::default();
        CallSlots(Arc::new(Mutex::new(SlotTable { shares, taken, waiting })))
    }

    /// From now on they are shared out like this. Nobody loses a slot: an agent or a service with too many keeps others
    /// waiting until it gives them back.
    pub(crate) fn share_out(&self, shares: SlotShares) {
        self.lock().shares = shares;
        self.hand_out();
    }

    /// Lines up for a slot for a call of `agent` to `service`, which comes through the receiver. Dropping the receiver
    /// ends the wait and frees a slot that has come already.
    pub fn line_up(&self, agent: &AgentId, service: &str) -> Receiver<CallSlot> {
        let (turn, receiver) = bounded(1);
        let service: Arc<str> = service.into();
        let mut table = self.lock();
        if let Some(kind) = table.take(agent, &service) {
            drop(table);
            // There is room for it, and it is received.
            let _ = turn.try_send(CallSlot { slots: Some(self.clone()), kind });
            return receiver;
        }
        let waiter = Waiter { service, turn };
        match table.waiting.iter_mut().find(|(known, _)| known == agent) {
            Some((_, queue)) => queue.push_back(waiter),
            None => table.waiting.push_back((agent.clone(), VecDeque::from([waiter]))),
        }
        receiver
    }

    /// How many wait in line.
    pub fn waiting(&self) -> usize {
        let table = self.lock();
        let waiters = table.waiting.iter().flat_map(|(_, queue)| queue);
        waiters.filter(|waiter| !waiter.turn.is_closed()).count()
    }

    /// Gives what is free to those whose turn it is.
    fn hand_out(&self) {
        loop {
            let Some((turn, kind)) = self.lock().next() else { return };
            if let Err(refused) = turn.try_send(CallSlot { slots: Some(self.clone()), kind }) {
                // It waits no more. Its slot is not dropped as one: each would come back here.
                let mut slot = refused.into_inner();
                drop(slot.slots.take());
                self.lock().give_back(&slot.kind);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, SlotTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SlotTable {
    /// Takes a slot for a call of `agent` to `service`, if it may have one.
    fn take(&mut self, agent: &AgentId, service: &Arc<str>) -> Option<SlotKind> {
        let kind = self.free(agent, service)?;
        *self.taken.entry(kind.clone()).or_default() += 1;
        Some(kind)
    }

    fn free(&self, agent: &AgentId, service: &Arc<str>) -> Option<SlotKind> {
        if self.taken.values().sum::<usize>() >= self.shares.all {
            return None;
        }
        let taken = |kind: &SlotKind| self.taken.get(kind).copied().unwrap_or_default();
        let (own, open) = (SlotKind::Own(agent.clone()), SlotKind::Open(service.clone()));
        if taken(&own) < self.shares.own {
            return Some(own);
        }
        let all_open = self.taken.iter().filter(|(kind, _)| matches!(kind, SlotKind::Open(_)));
        let all_open: usize = all_open.map(|(_, count)| count).sum();
        (taken(&open) < self.shares.of_service && all_open < self.shares.open).then_some(open)
    }

    fn give_back(&mut self, kind: &SlotKind) {
        if let Some(count) = self.taken.get_mut(kind) {
            *count = count.saturating_sub(1);
        }
        self.taken.retain(|_, count| *count > 0);
    }

    /// Whose turn is next, and the slot, which is taken already.
    fn next(&mut self) -> Option<(Sender<CallSlot>, SlotKind)> {
        let (mut passed, mut found) = (VecDeque::new(), None);
        while let Some((agent, mut queue)) = self.waiting.pop_front() {
            // Those that wait no more do not cost their agent its turn.
            queue.retain(|waiter| !waiter.turn.is_closed());
            found = self.first(&agent, &mut queue);
            if !queue.is_empty() {
                let line = if found.is_some() { &mut self.waiting } else { &mut passed };
                line.push_back((agent, queue));
            }
            if found.is_some() {
                break;
            }
        }
        // Agents that could not be served keep their turn.
        passed.append(&mut self.waiting);
        self.waiting = passed;
        found
    }

    /// The first of an agent's waiters that may have a slot.
    fn first(
        &mut self,
        agent: &AgentId,
        queue: &mut VecDeque<Waiter>,
    ) -> Option<(Sender<CallSlot>, SlotKind)> {
        let at = queue.iter().position(|waiter| self.free(agent, &waiter.service).is_some())?;
        let waiter = queue.remove(at)?;
        Some((waiter.turn, self.take(agent, &waiter.service)?))
    }
}

impl Drop for CallSlot {
    fn drop(&mut self) {
        let Some(slots) = self.slots.take() else { return };
        slots.lock().give_back(&self.kind);
        slots.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: &str = "home";

    fn agent(name: &str) -> AgentId {
        AgentId::configured(name)
    }

    fn take_at(slots: &CallSlots, name: &str, service: &str) -> Option<CallSlot> {
        slots.line_up(&agent(name), service).try_recv().ok()
    }

    fn take(slots: &CallSlots, name: &str) -> Option<CallSlot> {
        take_at(slots, name, HOME)
    }

    /// As many as come at once.
    fn take_all(slots: &CallSlots, name: &str, service: &str) -> Vec<CallSlot> {
        std::iter::from_fn(|| take_at(slots, name, service)).collect()
    }

    /// CallSlots that belong to nobody.
    fn open(all: usize) -> CallSlots {
        CallSlots::new(SlotShares::new(all, usize::MAX, 1))
    }

    #[test]
    fn so_many_and_no_more() {
        let slots = open(2);
        let held = [take(&slots, "a").unwrap(), take(&slots, "b").unwrap()];
        assert!(take(&slots, "c").is_none());
        drop(held);
        let held = [take(&slots, "a").unwrap(), take(&slots, "c").unwrap()];
        assert!(take(&slots, "b").is_none(), "who gave up has lost nothing, and nobody has won");
        drop(held);
        assert!(slots.lock().taken.is_empty());
    }

    #[test]
    fn agents_take_turns() {
        let slots = open(1);
        let mut held = take(&slots, "greedy");
        let wait = |name| (name, slots.line_up(&agent(name), HOME));
        let waiting = ["greedy", "greedy", "greedy", "modest", "third", "modest"].map(wait);
        let mut served = Vec::new();
        while held.take().is_some() {
            let next = waiting.iter().find_map(|(name, turn)| Some((*name, turn.try_recv().ok()?)));
            if let Some((name, slot)) = next {
                served.push(name);
                held = Some(slot);
            }
        }
        assert_eq!(served, ["greedy", "modest", "third", "greedy", "modest", "greedy"]);
    }

    #[test]
    fn thousands_that_gave_up_are_passed_over() {
        let slots = open(1);
        let held = take(&slots, "a");
        for _ in 0..20_000 {
            drop(slots.line_up(&agent("a"), HOME));
        }
        let last = slots.line_up(&agent("a"), HOME);
        drop(held);
        assert!(last.try_recv().is_ok());
    }

    #[test]
    fn a_slot_that_comes_too_late_is_not_lost() {
        let slots = open(1);
        let held = take(&slots, "a");
        let turn = slots.line_up(&agent("b"), HOME);
        drop(held);
        drop(turn);
        assert!(take(&slots, "c").is_some());
    }

    #[test]
    fn nobody_takes_what_belongs_to_another_agent() {
        for (all, agents, own) in [(32, 1, 16), (32, 2, 8), (32, 5, 3), (32, 31, 1), (2, 1, 1), (3, 2, 1)] {
            let slots = CallSlots::new(SlotShares::new(all, agents, 1));
            let greedy = take_all(&slots, "greedy", HOME);
            assert_eq!(greedy.len(), all - (agents - 1) * own, "{all} for {agents}");
            for other in 1..agents {
                assert_eq!(take_all(&slots, &other.to_string(), HOME).len(), own, "{all} for {agents}");
            }
        }
    }

    #[test]
    fn one_service_leaves_room_for_the_others() {
        let slots = CallSlots::new(SlotShares::new(32, 2, 3));
        let slow = take_all(&slots, "a", "slow");
        assert_eq!(slow.len(), 8 + 8, "its own slots and half of the open ones");
        assert_eq!(take_all(&slots, "b", "slow").len(), 8, "its own ones");
        let waits = slots.line_up(&agent("b"), "slow");
        let fast = take_at(&slots, "a", "fast");
        assert!(fast.is_some(), "who waits for the slow one stands in nobody's way");
        drop(slow);
        assert!(waits.try_recv().is_ok());
    }

    #[test]
    fn a_reload_bounds_old_and_new_calls_together() {
        let slots = CallSlots::new(SlotShares::new(8, 1, 1));
        let mut old = take_all(&slots, "a", HOME);
        assert_eq!(old.len(), 8);
        slots.share_out(SlotShares::new(4, 1, 1));
        let turn = slots.line_up(&agent("a"), HOME);
        old.truncate(4);
        assert!(turn.try_recv().is_err(), "four are still held");
        old.truncate(3);
        assert!(turn.try_recv().is_ok());
        let more = slots.line_up(&agent("a"), HOME);
        slots.share_out(SlotShares::new(8, 1, 1));
        assert!(more.try_recv().is_ok(), "who waits hears of it");
    }
}
