//! The door of a port: how many strangers may stand in it, and who has failed too often.
//!
//! A connection that has not authenticated is a guest. When there is no room, one that has been silent longest
//! leaves, so that an agent that authenticates at once gets in.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::base::secret::TokenHash;
use crate::base::slots::{KeyedSlot, KeyedSlots};
use crate::gate::Latch;

/// Unauthenticated connections in all.
pub(crate) const MAX_GUESTS: usize = 32;
/// Unauthenticated connections from one address.
pub(crate) const MAX_GUESTS_PER_ADDRESS: usize = 8;
/// Different wrong tokens from one address within [`PENALTY`] after which wrong ones are refused for as long.
pub(crate) const MAX_FAILURES: usize = 10;
/// The window in which wrong tokens are counted, and how long an address is refused.
pub(crate) const PENALTY: Duration = Duration::from_secs(60);
/// Addresses whose failures are remembered; an attacker with more than that is not told apart.
const MAX_ADDRESSES: usize = 4096;

/// The state of the door.
#[derive(Default)]
pub(crate) struct Door {
    inner: RefCell<Inner>,
    /// By address: one is never refused while it has an authenticated connection.
    members: KeyedSlots<IpAddr>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    guests: Vec<Standing>,
    failures: HashMap<IpAddr, Failures>,
}

struct Standing {
    number: u64,
    /// None: a trusted proxy has not said yet whose it is.
    address: Option<IpAddr>,
    spoke: bool,
    leave: Rc<Latch>,
}

struct Failures {
    /// Each once: an agent that tries again and again with a token that was taken away is one mistake.
    tokens: Vec<TokenHash>,
    since: Instant,
}

/// A connection that has not authenticated. Dropping it frees its place.
pub(crate) struct Guest {
    door: Rc<Door>,
    number: u64,
    leave: Rc<Latch>,
}

impl Door {
    /// A new connection; of one from a trusted proxy the address is not known yet. Somebody else may have to leave for
    /// it.
    pub(crate) fn enter(self: &Rc<Self>, address: Option<IpAddr>) -> Guest {
        let mut inner = self.inner.borrow_mut();
        inner.make_room_at(address);
        if inner.guests.len() >= MAX_GUESTS {
            inner.make_room(None);
        }
        let (number, leave) = (inner.next, Rc::new(Latch::default()));
        inner.next += 1;
        inner.guests.push(Standing { number, address, spoke: false, leave: leave.clone() });
        Guest { door: self.clone(), number, leave }
    }

    /// Whether this address has failed too often and has no living agent. The right token gets in all the same.
    pub(crate) fn refuses(&self, address: IpAddr) -> bool {
        let inner = self.inner.borrow();
        let failed =
            inner.failures.get(&address).is_some_and(|f| f.is_recent() && f.tokens.len() >= MAX_FAILURES);
        failed && self.members.taken(&address) == 0
    }

    /// Authenticated connections.
    pub(crate) fn members(&self) -> usize {
        self.members.all_taken()
    }

    /// A wrong token. False when nothing new is known by it: it was shown from this address a moment ago, or so many
    /// others were that no more are remembered.
    pub(crate) fn failed(&self, address: IpAddr, token: &TokenHash) -> bool {
        let mut inner = self.inner.borrow_mut();
        if inner.failures.len() >= MAX_ADDRESSES {
            inner.failures.retain(|_, f| f.is_recent());
        }
        if inner.failures.len() >= MAX_ADDRESSES && !inner.failures.contains_key(&address) {
            return false;
        }
        let fresh = || Failures { tokens: Vec::new(), since: Instant::now() };
        let failures = inner.failures.entry(address).or_insert_with(fresh);
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
}

impl Failures {
    fn is_recent(&self) -> bool {
        self.since.elapsed() < PENALTY
    }
}

impl Inner {
    /// Room for one more guest from `address`.
    fn make_room_at(&mut self, address: Option<IpAddr>) {
        let is_there = |g: &&Standing| address.is_some() && g.address == address;
        if self.guests.iter().filter(is_there).count() >= MAX_GUESTS_PER_ADDRESS {
            self.make_room(address);
        }
    }

    /// Sends a guest away: of the silent ones or of those that have spoken, whichever are more, one from the address
    /// that has most guests, the oldest. So neither a crowd that says nothing nor one that speaks drives out an
    /// agent that has just come.
    fn make_room(&mut self, of: Option<IpAddr>) {
        let fits = |g: &&Standing| of.is_none() || g.address == of;
        let spoken = self.guests.iter().filter(fits).filter(|g| g.spoke).count();
        let silent = self.guests.iter().filter(fits).filter(|g| !g.spoke).count();
        let neighbours = |g: &Standing| {
            let others = self.guests.iter().filter(|other| other.address == g.address);
            g.address.map_or(1, |_| others.count())
        };
        let candidates = self.guests.iter().enumerate();
        let candidates = candidates.filter(|(_, g)| fits(g) && g.spoke == (spoken > silent));
        // The first of several that are equal is the oldest.
        let leaving = candidates.min_by_key(|(_, g)| Reverse(neighbours(g))).map(|(index, _)| index);
        if let Some(index) = leaving {
            self.guests.remove(index).leave.open();
        }
    }
}

impl Guest {
    /// Waits until this guest has to make room.
    pub(crate) async fn must_leave(&self) {
        self.leave.wait().await;
    }

    /// Opens when this guest has to make room.
    pub(crate) fn leaving(&self) -> Rc<Latch> {
        self.leave.clone()
    }

    /// A trusted proxy has said whose it is: it counts among those of that address. Somebody else may have to leave.
    pub(crate) fn comes_from(&self, address: IpAddr) {
        let mut inner = self.door.inner.borrow_mut();
        let is_it = |g: &Standing| g.number == self.number;
        if inner.guests.iter().any(|g| is_it(g) && g.address != Some(address)) {
            inner.make_room_at(Some(address));
        }
        if let Some(standing) = inner.guests.iter_mut().find(|g| is_it(g)) {
            standing.address = Some(address);
        }
    }

    /// It has sent a whole request head: others leave before it does.
    pub(crate) fn spoke(&self) {
        let mut inner = self.door.inner.borrow_mut();
        if let Some(standing) = inner.guests.iter_mut().find(|g| g.number == self.number) {
            standing.spoke = true;
        }
    }

    /// It is being sent away: until it is gone it counts, and it is the first to make room.
    pub(crate) fn sent_away(&self) {
        let mut inner = self.door.inner.borrow_mut();
        if let Some(index) = inner.guests.iter().position(|g| g.number == self.number) {
            let mut standing = inner.guests.remove(index);
            standing.spoke = false;
            inner.guests.insert(0, standing);
        }
    }

    /// It has authenticated: it no longer stands in the door.
    pub(crate) fn admitted(self, address: IpAddr) -> KeyedSlot<IpAddr> {
        self.door.members.count(&address)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.door.inner.borrow_mut().guests.retain(|g| g.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn the_oldest_silent_guest_makes_room() {
        let door = Rc::new(Door::default());
        let mut guests: Vec<_> = (0..MAX_GUESTS_PER_ADDRESS).map(|_| door.enter(Some(address(1)))).collect();
        guests[0].spoke();
        guests.push(door.enter(Some(address(1))));
        let gone: Vec<_> = guests.iter().map(|g| g.leave.is_open()).collect();
        assert_eq!(gone.iter().filter(|left| **left).count(), 1);
        assert!(gone[1]);
    }

    #[test]
    fn whoever_is_being_sent_away_makes_room_first() {
        let door = Rc::new(Door::default());
        let guests: Vec<_> = (0..MAX_GUESTS_PER_ADDRESS).map(|_| door.enter(Some(address(1)))).collect();
        guests[5].spoke();
        guests[5].sent_away();
        let _next = door.enter(Some(address(1)));
        let gone: Vec<_> = guests.iter().map(|g| g.leave.is_open()).collect();
        assert_eq!(gone, [false, false, false, false, false, true, false, false]);
    }

    #[test]
    fn an_agent_that_has_just_come_outlasts_a_talkative_crowd_of_few_addresses() {
        let door = Rc::new(Door::default());
        let crowd: Vec<_> = (0..MAX_GUESTS).map(|i| door.enter(Some(address(i as u8 % 4)))).collect();
        crowd.iter().for_each(Guest::spoke);
        let agent = door.enter(Some(address(9)));
        let more: Vec<_> = (0..100).map(|i| door.enter(Some(address(i % 4)))).inspect(Guest::spoke).collect();
        assert!(!agent.leave.is_open());
        agent.spoke();
        let silent: Vec<_> = (0..100).map(|i| door.enter(Some(address(i % 4)))).collect();
        assert!(!agent.leave.is_open());
        drop((crowd, more, silent));
    }

    #[test]
    fn those_behind_a_proxy_count_where_they_come_from() {
        let door = Rc::new(Door::default());
        let unknown: Vec<_> = (0..MAX_GUESTS_PER_ADDRESS * 2).map(|_| door.enter(None)).collect();
        assert!(unknown.iter().all(|g| !g.leave.is_open()));
        unknown.iter().for_each(|g| g.comes_from(address(1)));
        assert_eq!(unknown.iter().filter(|g| g.leave.is_open()).count(), MAX_GUESTS_PER_ADDRESS);
        let last = unknown.last().unwrap();
        last.comes_from(address(1));
        assert!(!last.leave.is_open());
    }

    #[test]
    fn the_cap_holds_over_all_addresses() {
        let door = Rc::new(Door::default());
        let guests: Vec<_> = (0..40).map(|i| door.enter(Some(address(i)))).collect();
        assert_eq!(guests.iter().filter(|g| g.leave.is_open()).count(), 40 - MAX_GUESTS);
        drop(guests);
        assert!(door.inner.borrow().guests.is_empty());
    }

    #[test]
    fn too_many_failures_refuse_an_address_that_has_no_agent() {
        let door = Rc::new(Door::default());
        for n in 0..MAX_FAILURES {
            assert!(!door.refuses(address(1)));
            let token = TokenHash::new(&format!("wrong {n}"));
            assert!(door.failed(address(1), &token));
            (0..20).for_each(|_| assert!(!door.failed(address(1), &token), "the same counts once"));
        }
        assert!(!door.failed(address(1), &TokenHash::new("one more")));
        assert!(door.refuses(address(1)) && !door.refuses(address(2)));
        let member = door.enter(Some(address(1))).admitted(address(1));
        assert!(!door.refuses(address(1)));
        drop(member);
        assert!(door.refuses(address(1)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let door = Rc::new(Door::default());
        for i in 0..10_000u32 {
            door.failed(IpAddr::from(i.to_be_bytes()), &TokenHash::new("wrong"));
        }
        assert!(door.inner.borrow().failures.len() <= MAX_ADDRESSES);
    }
}
