//! How many wrong tokens an address has shown: those who guess are refused for a while. The right token is served all the
//! same, so nobody can be locked out by others behind the same address.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Wrong tokens from one address within [`WINDOW`] after which further ones are not looked at.
const MANY: u32 = 10;
/// The window in which they are counted, and how long an address is refused.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered; further ones are not counted. A token cannot be guessed anyway.
const MAX_ADDRESSES: usize = 4096;

#[derive(Default)]
pub(crate) struct WrongTokens(RefCell<HashMap<IpAddr, Tally>>);

struct Tally {
    count: u32,
    since: Instant,
}

impl WrongTokens {
    pub(crate) fn are_refused(&self, address: IpAddr) -> bool {
        let tallies = self.0.borrow();
        tallies.get(&address).is_some_and(|tally| tally.is_recent() && tally.count >= MANY)
    }

    pub(crate) fn count(&self, address: IpAddr) {
        let mut tallies = self.0.borrow_mut();
        if tallies.len() >= MAX_ADDRESSES {
            tallies.retain(|_, tally| tally.is_recent());
        }
        if tallies.len() >= MAX_ADDRESSES && !tallies.contains_key(&address) {
            return;
        }
        let fresh = || Tally { count: 0, since: Instant::now() };
        let tally = tallies.entry(address).or_insert_with(fresh);
        if !tally.is_recent() {
            *tally = fresh();
        }
        tally.count = tally.count.saturating_add(1);
        if tally.count == MANY {
            tally.since = Instant::now();
        }
    }
}

impl Tally {
    fn is_recent(&self) -> bool {
        self.since.elapsed() < WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_wrong_ones_are_enough_and_memory_is_bounded() {
        let (wrong, here) = (WrongTokens::default(), IpAddr::from([192, 0, 2, 1]));
        for _ in 0..MANY {
            assert!(!wrong.are_refused(here));
            wrong.count(here);
        }
        assert!(wrong.are_refused(here) && !wrong.are_refused(IpAddr::from([192, 0, 2, 2])));
        (0..10_000u32).for_each(|i| wrong.count(IpAddr::from(i.to_be_bytes())));
        assert!(wrong.0.borrow().len() <= MAX_ADDRESSES);
    }
}
