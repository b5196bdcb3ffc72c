//! How long to wait after wrong passwords: longer with each one from an address, and for everybody when there are many.
//!
//! It must never stand in the way of a one-time link, which cannot be guessed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::base::backoff::doubled;

/// Wrong passwords from one address that cost no waiting.
const FREE: u32 = 3;
/// The longest wait of one address.
const LONGEST: Duration = Duration::from_secs(300);
/// An address without a wrong password for so long begins anew.
const FORGET: Duration = Duration::from_secs(900);
/// Wrong passwords from all addresses together in one [`WINDOW`]; then nobody's password is looked at until it ends.
const MANY: u32 = 60;
const WINDOW: Duration = Duration::from_secs(600);
/// Addresses that are told apart.
const MAX_ADDRESSES: usize = 1024;

/// The wrong passwords of late.
#[derive(Default)]
pub(crate) struct Backoff {
    inner: RefCell<Inner>,
}

#[derive(Default)]
struct Inner {
    by_address: HashMap<IpAddr, Wrong>,
    all: Option<Wrong>,
}

#[derive(Clone, Copy)]
struct Wrong {
    count: u32,
    /// The newest of an address; the oldest of the window for all.
    at: Instant,
}

impl Backoff {
    /// How long this address has to wait before a password of its is looked at; None: not at all.
    pub(crate) fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let inner = self.inner.borrow();
        let own = inner.by_address.get(&address).map(|wrong| left(wrong.at, penalty(wrong.count), now));
        let all = inner.all.filter(|all| all.count >= MANY).map(|all| left(all.at, WINDOW, now));
        own.into_iter().chain(all).max().filter(|wait| !wait.is_zero())
    }

    /// A wrong password.
    pub(crate) fn wrong(&self, address: IpAddr, now: Instant) {
        let mut inner = self.inner.borrow_mut();
        let recent = |wrong: &Wrong| now.saturating_duration_since(wrong.at) < FORGET;
        inner.by_address.retain(|_, wrong| recent(wrong));
        let current = inner.all.filter(|all| !left(all.at, WINDOW, now).is_zero());
        let all = current.unwrap_or(Wrong { count: 0, at: now });
        inner.all = Some(Wrong { count: all.count.saturating_add(1), at: all.at });
        // Whoever has more addresses than are remembered meets the limit for all of them.
        if inner.by_address.len() < MAX_ADDRESSES || inner.by_address.contains_key(&address) {
            let own = inner.by_address.entry(address).or_insert(Wrong { count: 0, at: now });
            *own = Wrong { count: own.count.saturating_add(1), at: now };
        }
    }

    /// The right password: the address begins anew.
    pub(crate) fn right(&self, address: IpAddr) {
        self.inner.borrow_mut().by_address.remove(&address);
    }
}

fn left(since: Instant, time: Duration, now: Instant) -> Duration {
    time.saturating_sub(now.saturating_duration_since(since))
}

/// 2 s after the third, then twice as long each time.
fn penalty(count: u32) -> Duration {
    match count.checked_sub(FREE) {
        None => Duration::ZERO,
        Some(over) => doubled(Duration::from_secs(2), over, LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn each_wrong_password_costs_more_and_is_forgotten() {
        let (backoff, now) = (Backoff::default(), Instant::now());
        let seconds: Vec<u64> = (0..12)
            .map(|_| {
                backoff.wrong(HERE, now);
                backoff.wait(HERE, now).map_or(0, |wait| wait.as_secs())
            })
            .collect();
        assert_eq!(seconds, [0, 0, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(backoff.wait(IpAddr::from([192, 0, 2, 2]), now), None);
        assert_eq!(backoff.wait(HERE, now + LONGEST), None);
        backoff.right(HERE);
        backoff.wrong(HERE, now);
        assert_eq!(backoff.wait(HERE, now), None);
    }

    #[test]
    fn many_addresses_together_stop_everybody_for_a_while_in_bounded_memory() {
        let (backoff, now) = (Backoff::default(), Instant::now());
        for i in 0..10_000u32 {
            backoff.wrong(IpAddr::from(i.to_be_bytes()), now);
        }
        assert!(backoff.inner.borrow().by_address.len() <= MAX_ADDRESSES);
        assert!(backoff.wait(HERE, now).is_some());
        assert_eq!(backoff.wait(HERE, now + WINDOW), None);
    }
}
