//! The places for calls at once, over all services. Who waits is served agent by agent in turn: one that asks for much
//! makes itself wait, not the others.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{iter, mem};

use smol::Timer;
use smol::channel::{Receiver, Sender, bounded};
use smol::future::or;

use crate::model::AgentId;

/// All places. Clones are the same places.
#[derive(Clone)]
pub struct Places(Arc<Mutex<Inner>>);

struct Inner {
    free: usize,
    /// Agents that wait, the one whose turn is next first; each with its own queue, which is never empty.
    waiting: VecDeque<(AgentId, VecDeque<Sender<Place>>)>,
}

/// One of the places, until this is dropped (on any thread).
pub struct Place(Option<Places>);

impl Places {
    /// So many places.
    pub fn new(free: usize) -> Places {
        Places(Arc::new(Mutex::new(Inner { free, waiting: VecDeque::new() })))
    }

    /// A place for a call of `agent`; None after `limit`. Cancel-safe.
    pub async fn take(&self, agent: &AgentId, limit: Duration) -> Option<Place> {
        let turn = match self.try_take(agent) {
            Ok(place) => return Some(place),
            Err(turn) => turn,
        };
        let got = async { turn.recv().await.ok() };
        let late = async {
            Timer::after(limit).await;
            None
        };
        or(got, late).await
    }

    /// A free place, or one's turn at the next.
    fn try_take(&self, agent: &AgentId) -> Result<Place, Receiver<Place>> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.free > 0 {
            inner.free -= 1;
            return Ok(Place(Some(self.clone())));
        }
        let (sender, turn) = bounded(1);
        match inner.waiting.iter_mut().find(|(known, _)| known == agent) {
            Some((_, queue)) => queue.push_back(sender),
            None => inner.waiting.push_back((agent.clone(), VecDeque::from([sender]))),
        }
        Err(turn)
    }

    /// Who is next; free again when nobody is.
    fn next(&self) -> Option<Sender<Place>> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((agent, mut queue)) = inner.waiting.pop_front() {
            // Those that wait no more do not cost their agent its turn.
            let next = iter::from_fn(|| queue.pop_front()).find(|turn| !turn.is_closed());
            if !queue.is_empty() {
                inner.waiting.push_back((agent, queue));
            }
            if next.is_some() {
                return next;
            }
        }
        inner.free += 1;
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(places) = self.0.take() else { return };
        while let Some(next) = places.next() {
            match next.try_send(Place(Some(places.clone()))) {
                Ok(()) => return,
                // It waits no more. Not dropped as a place: that would come back here, once for each of them.
                Err(refused) => mem::drop(refused.into_inner().0.take()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    fn agent(name: &str) -> AgentId {
        AgentId::configured(name)
    }

    fn take(places: &Places, name: &str) -> Option<Place> {
        smol::block_on(places.take(&agent(name), Duration::ZERO))
    }

    #[test]
    fn so_many_and_no_more() {
        let places = Places::new(2);
        let held = [take(&places, "a").unwrap(), take(&places, "b").unwrap()];
        assert!(take(&places, "c").is_none());
        drop(held);
        assert!(take(&places, "a").is_some() && take(&places, "c").is_some());
        assert_eq!(places.0.lock().unwrap().free, 2, "who gave up has lost nothing");
        assert!(places.0.lock().unwrap().waiting.is_empty());
    }

    #[test]
    fn agents_take_turns() {
        let places = Places::new(1);
        let mut held = take(&places, "greedy");
        let wait = |name| (name, places.try_take(&agent(name)).err().unwrap());
        let waiting = ["greedy", "greedy", "greedy", "modest", "third", "modest"].map(wait);
        let mut served = Vec::new();
        while held.take().is_some() {
            let next = waiting.iter().find_map(|(name, turn)| Some((*name, turn.try_recv().ok()?)));
            if let Some((name, place)) = next {
                served.push(name);
                held = Some(place);
            }
        }
        assert_eq!(served, ["greedy", "modest", "third", "greedy", "modest", "greedy"]);
    }

    #[test]
    fn thousands_that_gave_up_are_passed_over() {
        let places = Places::new(1);
        let held = take(&places, "a");
        for _ in 0..20_000 {
            drop(places.try_take(&agent("a")));
        }
        let last = places.try_take(&agent("a")).err().unwrap();
        drop(held);
        assert!(last.try_recv().is_ok());
    }

    #[test]
    fn a_place_that_comes_too_late_is_not_lost() {
        let places = Places::new(1);
        let held = take(&places, "a");
        let turn = places.try_take(&agent("b")).err().unwrap();
        drop(held);
        drop(turn);
        assert!(smol::block_on(places.take(&agent("c"), LONG)).is_some());
    }
}
