//! Admission to a port: how many connections may be open that have not authenticated, and which addresses have shown too
//! many wrong tokens.
//!
//! When there is no room for a new connection, one that has been silent longest is closed, so that an agent that
//! authenticates at once gets in.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::future::pending;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::base::once_flag::OnceFlag;
use crate::base::secret::TokenHash;
use crate::base::slots::{KeyedSlot, KeyedSlots};

/// Unauthenticated connections in all.
const MAX_WAITING: usize = 32;
/// Unauthenticated connections from one address, unless an agent is there: clients of MCP open one for each call that they
/// make at the same time, and all of them at once.
const MAX_WAITING_PER_ADDRESS: usize = 8;
/// Different wrong tokens from one address within [`PENALTY`] after which wrong ones are refused for as long.
const MAX_FAILURES: usize = 10;
/// The window in which wrong tokens are counted, and how long an address is refused.
const PENALTY: Duration = Duration::from_secs(60);
/// Addresses whose failures are remembered; the failures of further addresses are not counted.
const MAX_ADDRESSES: usize = 4096;

/// The connections of one port.
#[derive(Default)]
pub(crate) struct Admission {
    state: RefCell<AdmissionState>,
    /// Authenticated connections by address.
    members: KeyedSlots<IpAddr>,
}

#[derive(Default)]
struct AdmissionState {
    next: u64,
    /// Connections that have not authenticated, the oldest first.
    waiting: Vec<WaitingCaller>,
    failures: HashMap<IpAddr, Failures>,
}

struct WaitingCaller {
    number: u64,
    /// None until a trusted proxy has said whose it is.
    address: Option<IpAddr>,
    has_spoken: bool,
    leave: Rc<OnceFlag>,
}

struct Failures {
    /// Each once: an agent that keeps trying a token that was taken away makes one mistake.
    tokens: Vec<TokenHash>,
    since: Instant,
}

/// A connection; dropping it frees its place. It waits in the port until it is admitted.
pub(crate) struct Caller {
    admission: Rc<Admission>,
    number: u64,
    /// Taken at the address it was admitted from.
    member: RefCell<Option<KeyedSlot<IpAddr>>>,
}

impl Admission {
    /// A new connection, whose address is not known yet if it comes from a trusted proxy. Another one may have to leave
    /// for it.
    pub(crate) fn enter(self: &Rc<Self>, address: Option<IpAddr>) -> Caller {
        let mut state = self.state.borrow_mut();
        state.make_room_at(address, self.places(address));
        if state.waiting.len() >= MAX_WAITING {
            state.make_room(None);
        }
        let number = state.next;
        state.next += 1;
        state.waiting.push(WaitingCaller { number, address, has_spoken: false, leave: Rc::default() });
        Caller { admission: self.clone(), number, member: RefCell::default() }
    }

    /// How many connections from this address may wait.
    fn places(&self, address: Option<IpAddr>) -> usize {
        let has_agent = address.is_some_and(|address| self.members.taken(&address) > 0);
        if has_agent { MAX_WAITING } else { MAX_WAITING_PER_ADDRESS }
    }

    /// Whether this address has failed too often and has no admitted connection. The right token gets in all the same.
    pub(crate) fn refuses(&self, address: IpAddr) -> bool {
        let state = self.state.borrow();
        let failures = state.failures.get(&address);
        failures.is_some_and(|f| f.is_recent() && f.tokens.len() >= MAX_FAILURES)
            && self.members.taken(&address) == 0
    }

    /// The number of admitted connections.
    pub(crate) fn members(&self) -> usize {
        self.members.all_taken()
    }

    /// Counts a wrong token. False when it says nothing new: this address has shown it a moment ago, or so many others
    /// that no more are remembered.
    pub(crate) fn failed(&self, address: IpAddr, token: &TokenHash) -> bool {
        let mut state = self.state.borrow_mut();
        if state.failures.len() >= MAX_ADDRESSES {
            state.failures.retain(|_, f| f.is_recent());
        }
        if state.failures.len() >= MAX_ADDRESSES && !state.failures.contains_key(&address) {
            return false;
        }
        let fresh = || Failures { tokens: Vec::new(), since: Instant::now() };
        let failures = state.failures.entry(address).or_insert_with(fresh);
        if !failures.is_recent() {
            *failures = fresh();
        }
        let is_new =
            failures.tokens.len() < MAX_FAILURES && !failures.tokens.iter().any(|t| t.matches(token));
        if is_new {
            failures.tokens.push(*token);
        }
        is_new
    }

    fn forget(&self, number: u64) {
        self.state.borrow_mut().waiting.retain(|w| w.number != number);
    }
}

impl Failures {
    fn is_recent(&self) -> bool {
        self.since.elapsed() < PENALTY
    }
}

impl AdmissionState {
    /// Makes room for one more connection from `address`, which has so many places.
    fn make_room_at(&mut self, address: Option<IpAddr>, places: usize) {
        let is_there = |w: &&WaitingCaller| address.is_some() && w.address == address;
        if self.waiting.iter().filter(is_there).count() >= places {
            self.make_room(address);
        }
    }

    /// Sends one connection away, of those at `address` or of all. Of the silent ones and those that have spoken,
    /// whichever are more, it is the oldest at the address that has most of them: neither a crowd that says nothing nor
    /// one that speaks drives out an agent that has just come.
    fn make_room(&mut self, address: Option<IpAddr>) {
        let fits = |w: &&WaitingCaller| address.is_none() || w.address == address;
        let spoken = self.waiting.iter().filter(fits).filter(|w| w.has_spoken).count();
        let silent = self.waiting.iter().filter(fits).count() - spoken;
        let neighbours = |w: &WaitingCaller| {
            let others = self.waiting.iter().filter(|other| other.address == w.address);
            w.address.map_or(1, |_| others.count())
        };
        let candidates = self.waiting.iter().enumerate();
        let candidates = candidates.filter(|(_, w)| fits(w) && w.has_spoken == (spoken > silent));
        // The first of several that are equal is the oldest.
        let leaving = candidates.min_by_key(|(_, w)| Reverse(neighbours(w))).map(|(index, _)| index);
        if let Some(index) = leaving {
            self.waiting.remove(index).leave.set();
        }
    }

    fn find(&mut self, number: u64) -> Option<&mut WaitingCaller> {
        self.waiting.iter_mut().find(|w| w.number == number)
    }
}

impl Caller {
    /// Waits until this connection has to make room. Once admitted it never has to.
    pub(crate) async fn must_leave(&self) {
        let leave = self.admission.state.borrow_mut().find(self.number).map(|w| w.leave.clone());
        match leave {
            Some(leave) => leave.wait().await,
            None if self.is_admitted() => pending().await,
            None => {}
        }
    }

    /// Counts it among those of `address`, because a trusted proxy says so. Another one may have to leave.
    pub(crate) fn comes_from(&self, address: IpAddr) {
        let mut state = self.admission.state.borrow_mut();
        if state.find(self.number).is_some_and(|w| w.address != Some(address)) {
            state.make_room_at(Some(address), self.admission.places(Some(address)));
        }
        if let Some(waiting) = state.find(self.number) {
            waiting.address = Some(address);
        }
    }

    /// It has sent a whole request head: others leave before it does.
    pub(crate) fn spoke(&self) {
        if let Some(waiting) = self.admission.state.borrow_mut().find(self.number) {
            waiting.has_spoken = true;
        }
    }

    /// It is being sent away: until it is gone it counts, and it is the first to make room.
    pub(crate) fn sent_away(&self) {
        let mut state = self.admission.state.borrow_mut();
        if let Some(index) = state.waiting.iter().position(|w| w.number == self.number) {
            let mut waiting = state.waiting.remove(index);
            waiting.has_spoken = false;
            state.waiting.insert(0, waiting);
        }
    }

    /// It has authenticated from `address`, which is not refused while it lives.
    pub(crate) fn admit(&self, address: IpAddr) {
        if !self.is_admitted() {
            self.member.replace(Some(self.admission.members.count(&address)));
            self.admission.forget(self.number);
        }
    }

    pub(crate) fn is_admitted(&self) -> bool {
        self.member.borrow().is_some()
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.admission.forget(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_gone(caller: &Caller) -> bool {
        caller.admission.state.borrow_mut().find(caller.number).is_none() && !caller.is_admitted()
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn the_oldest_silent_caller_makes_room() {
        let admission = Rc::new(Admission::default());
        let mut callers: Vec<_> =
            (0..MAX_WAITING_PER_ADDRESS).map(|_| admission.enter(Some(address(1)))).collect();
        callers[0].spoke();
        callers.push(admission.enter(Some(address(1))));
        let gone: Vec<_> = callers.iter().map(is_gone).collect();
        assert_eq!(gone.iter().filter(|left| **left).count(), 1);
        assert!(gone[1]);
    }

    #[test]
    fn where_an_agent_is_more_may_come_at_once() {
        let admission = Rc::new(Admission::default());
        let agent = admission.enter(Some(address(1)));
        agent.admit(address(1));
        let mut callers: Vec<_> = (0..MAX_WAITING).map(|_| admission.enter(Some(address(1)))).collect();
        assert!(!callers.iter().any(is_gone));
        callers.push(admission.enter(Some(address(2))));
        assert!(is_gone(&callers[0]), "others get in all the same");
        drop(agent);
        let next = admission.enter(Some(address(1)));
        assert!(is_gone(&callers[1]) && !is_gone(&next));
    }

    #[test]
    fn whoever_is_being_sent_away_makes_room_first() {
        let admission = Rc::new(Admission::default());
        let callers: Vec<_> =
            (0..MAX_WAITING_PER_ADDRESS).map(|_| admission.enter(Some(address(1)))).collect();
        callers[5].spoke();
        callers[5].sent_away();
        let _next = admission.enter(Some(address(1)));
        let gone: Vec<_> = callers.iter().map(is_gone).collect();
        assert_eq!(gone, [false, false, false, false, false, true, false, false]);
    }

    #[test]
    fn an_agent_that_has_just_come_outlasts_a_talkative_crowd_of_few_addresses() {
        let admission = Rc::new(Admission::default());
        let crowd: Vec<_> = (0..MAX_WAITING).map(|i| admission.enter(Some(address(i as u8 % 4)))).collect();
        crowd.iter().for_each(Caller::spoke);
        let agent = admission.enter(Some(address(9)));
        let more: Vec<_> =
            (0..100).map(|i| admission.enter(Some(address(i % 4)))).inspect(Caller::spoke).collect();
        assert!(!is_gone(&agent));
        agent.spoke();
        let silent: Vec<_> = (0..100).map(|i| admission.enter(Some(address(i % 4)))).collect();
        assert!(!is_gone(&agent));
        drop((crowd, more, silent));
    }

    #[test]
    fn those_behind_a_proxy_count_where_they_come_from() {
        let admission = Rc::new(Admission::default());
        let unknown: Vec<_> = (0..MAX_WAITING_PER_ADDRESS * 2).map(|_| admission.enter(None)).collect();
        assert!(unknown.iter().all(|g| !is_gone(g)));
        unknown.iter().for_each(|g| g.comes_from(address(1)));
        assert_eq!(unknown.iter().filter(|c| is_gone(c)).count(), MAX_WAITING_PER_ADDRESS);
        let last = unknown.last().unwrap();
        last.comes_from(address(1));
        assert!(!is_gone(last));
    }

    #[test]
    fn the_cap_holds_over_all_addresses() {
        let admission = Rc::new(Admission::default());
        let callers: Vec<_> = (0..40).map(|i| admission.enter(Some(address(i)))).collect();
        assert_eq!(callers.iter().filter(|c| is_gone(c)).count(), 40 - MAX_WAITING);
        drop(callers);
        assert!(admission.state.borrow().waiting.is_empty());
    }

    #[test]
    fn too_many_failures_refuse_an_address_that_has_no_agent() {
        let admission = Rc::new(Admission::default());
        for n in 0..MAX_FAILURES {
            assert!(!admission.refuses(address(1)));
            let token = TokenHash::new(&format!("wrong {n}"));
            assert!(admission.failed(address(1), &token));
            (0..20).for_each(|_| assert!(!admission.failed(address(1), &token), "the same counts once"));
        }
        assert!(!admission.failed(address(1), &TokenHash::new("one more")));
        assert!(admission.refuses(address(1)) && !admission.refuses(address(2)));
        let member = admission.enter(Some(address(1)));
        member.admit(address(1));
        assert!(!admission.refuses(address(1)));
        drop(member);
        assert!(admission.refuses(address(1)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let admission = Rc::new(Admission::default());
        for i in 0..10_000u32 {
            admission.failed(IpAddr::from(i.to_be_bytes()), &TokenHash::new("wrong"));
        }
        assert!(admission.state.borrow().failures.len() <= MAX_ADDRESSES);
    }
}
