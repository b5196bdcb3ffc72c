//! Who is stopped, in memory: the events of the kill switch say the same, as soon as the disk takes them.
//!
//! A stop counts before it is written down, and is written down until that succeeds. A resumption counts once it is
//! written down.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use smol::lock::Mutex;

use crate::base::clock::Clock;
use crate::model::{AgentId, Responder, Stop};
use crate::store::{Store, StoreError};

/// All stops that stand.
pub(crate) struct Stops {
    store: Store,
    clock: Clock,
    standing: RefCell<Vec<Standing>>,
    /// Held while one of them is written: the record has them in the order in which they came to count.
    writing: Mutex<()>,
    last: Cell<u64>,
}

struct Standing {
    stop: Stop,
    /// Tells it from a later one of the same scope.
    number: u64,
    recorded: bool,
    /// It is being lifted: it counts until that is written down, and no new one may lean on it.
    lifting: bool,
}

/// A stop, for the owner.
#[derive(Clone, Debug)]
pub(crate) struct StopReading {
    pub(crate) stop: Stop,
    /// False: a restart would lift it.
    pub(crate) recorded: bool,
}

/// Why a person cannot resume calls.
#[derive(Debug)]
pub(crate) enum CannotResume {
    NotStopped,
    /// It was stopped at the terminal or on the pages, and this is a chat.
    NotHere,
    Store(StoreError),
}

impl Stops {
    /// What stood when the run before ended.
    pub(super) fn take_up(store: Store, clock: Clock, stops: Vec<Stop>) -> Rc<Stops> {
        let known = |(stop, number)| Standing { stop, number, recorded: true, lifting: false };
        let standing: Vec<_> = stops.into_iter().zip(1..).map(known).collect();
        let last = standing.last().map_or(0, |newest| newest.number);
        Rc::new(Stops {
            store,
            clock,
            standing: RefCell::new(standing),
            writing: Mutex::new(()),
            last: Cell::new(last),
        })
    }

    /// Who has stopped the calls of this agent. What holds for all goes before what holds for it alone.
    pub(crate) fn of(&self, agent: &AgentId) -> Option<Responder> {
        let standing = self.standing.borrow();
        let concerns = |one: &&Standing| one.stop.agent.as_ref().is_none_or(|whose| whose == agent);
        let found = standing.iter().filter(concerns).min_by_key(|one| one.stop.agent.is_some());
        found.map(|one| one.stop.by.clone())
    }

    /// All of them, the general one first.
    pub(crate) fn all(&self) -> Vec<StopReading> {
        let standing = self.standing.borrow();
        let read = |one: &Standing| StopReading { stop: one.stop.clone(), recorded: one.recorded };
        let mut all: Vec<_> = standing.iter().map(read).collect();
        all.sort_by(|a, b| a.stop.agent.cmp(&b.stop.agent));
        all
    }

    /// Counts at once. Gives the number under which it is to be [recorded](Stops::record); Err: that of a
    /// stop that stands and says as much already.
    pub(super) fn add(&self, stop: Stop) -> Result<u64, u64> {
        let mut standing = self.standing.borrow_mut();
        if let Some(one) = standing.iter().find(|one| !one.lifting && one.stop.covers(&stop)) {
            return Err(one.number);
        }
        let number = self.last.get().saturating_add(1);
        self.last.set(number);
        standing.retain(|one| one.stop.agent != stop.agent);
        standing.push(Standing { stop, number, recorded: false, lifting: false });
        Ok(number)
    }

    /// Writes it down, unless that was done or it stands no more.
    ///
    /// # Errors
    /// When nothing could be written.
    pub(super) async fn record(&self, number: u64) -> Result<(), StoreError> {
        let _in_order = self.writing.lock().await;
        self.write(number).await
    }

    async fn write(&self, number: u64) -> Result<(), StoreError> {
        let unwritten = |one: &&Standing| one.number == number && !one.recorded;
        let stop = self.standing.borrow().iter().find(unwritten).map(|one| one.stop.clone());
        let Some(stop) = stop else { return Ok(()) };
        self.store.stop(stop).await?;
        let mut standing = self.standing.borrow_mut();
        standing.iter_mut().filter(|one| one.number == number).for_each(|one| one.recorded = true);
        Ok(())
    }

    /// Lifts what holds for this agent alone, or what holds for all, once that is written down.
    ///
    /// # Errors
    /// [`CannotResume`]; what was stopped is stopped then.
    pub(super) async fn lift(&self, agent: Option<&AgentId>, by: &Responder) -> Result<Stop, CannotResume> {
        let _in_order = self.writing.lock().await;
        let found = {
            let standing = self.standing.borrow();
            let found = standing.iter().find(|one| one.stop.agent.as_ref() == agent);
            found.map(|one| (one.stop.clone(), one.number))
        };
        let (stop, number) = found.ok_or(CannotResume::NotStopped)?;
        if !stop.is_lifted_by(by) {
            return Err(CannotResume::NotHere);
        }
        self.write(number).await.map_err(CannotResume::Store)?;
        self.set_lifting(number, true);
        let written = self.store.resume(self.clock.now(), agent, by).await;
        self.set_lifting(number, false);
        written.map_err(CannotResume::Store)?;
        // A stop that came meanwhile stands.
        self.standing.borrow_mut().retain(|one| one.number != number);
        Ok(stop)
    }

    fn set_lifting(&self, number: u64, lifting: bool) {
        let mut standing = self.standing.borrow_mut();
        standing.iter_mut().filter(|one| one.number == number).for_each(|one| one.lifting = lifting);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use smol::future;

    use super::*;
    use crate::base::clock::Timestamp;
    use crate::base::ids::RequestId;
    use crate::store::StoreOptions;

    fn general(by: &str) -> Stop {
        Stop { agent: None, by: Responder::new("local", by), at: Timestamp(1), reason: None }
    }

    #[test]
    fn a_stop_that_comes_while_another_is_lifted_stands() {
        let folder = std::env::temp_dir().join(format!("agentpass-stops-{}", RequestId::random()));
        let hour = Duration::from_secs(3600);
        let options = StoreOptions {
            path: folder.join("a.db"),
            sync_all: false,
            retain_days: 365,
            max_mb: 512,
            keep_results: hour,
            keep_keys: hour,
        };
        let clock = Clock::manual(Timestamp(1));
        let (store, _) = Store::open(options, &clock).unwrap();
        let stops = Stops::take_up(store, clock, vec![general("root")]);
        let (ann, agent) = (Responder::new("local", "ann"), AgentId::configured("pi"));
        smol::block_on(async {
            let lift = async { stops.lift(None, &ann).await };
            let mut lift = Box::pin(lift);
            // Its writing has begun, and is not waited for.
            assert!(future::poll_once(&mut lift).await.is_none());
            assert!(stops.of(&agent).is_some(), "it counts until it is written down");
            let number = stops.add(general("ben")).unwrap();
            assert!(lift.await.is_ok());
            stops.record(number).await.unwrap();
        });
        assert_eq!(stops.of(&agent), Some(Responder::new("local", "ben")));
        assert!(stops.all().iter().all(|read| read.recorded));
        let _ = std::fs::remove_dir_all(folder);
    }
}
