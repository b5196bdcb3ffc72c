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
/// The wrong passwords of an address are forgotten so long after the last one.
const FORGET: Duration = Duration::from_secs(900);
/// Wrong passwords from all addresses together in one [`WINDOW`], after which nobody's password is checked until it ends.
const MANY: u32 = 60;
const WINDOW: Duration = Duration::from_secs(600);
const MAX_ADDRESSES: usize = 1024;

#[derive(Default)]
pub(crate) struct PasswordBackoff {
    wrong: RefCell<WrongPasswords>,
}

#[derive(Default)]
struct WrongPasswords {
    by_address: HashMap<IpAddr, Tally>,
    all: Option<Tally>,
}

#[derive(Clone, Copy)]
struct Tally {
    count: u32,
    /// Time of the newest one of an address, or of the oldest one of the window.
    at: Instant,
}

impl PasswordBackoff {
    /// How long this address has to wait before a password of its is checked; None if it need not.
    pub(crate) fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let wrong = self.wrong.borrow();
        let own = wrong.by_address.get(&address).map(|wrong| left(wrong.at, penalty(wrong.count), now));
        let all = wrong.all.filter(|all| all.count >= MANY).map(|all| left(all.at, WINDOW, now));
        own.into_iter().chain(all).max().filter(|wait| !wait.is_zero())
    }

    pub(crate) fn wrong(&self, address: IpAddr, now: Instant) {
        let mut wrong = self.wrong.borrow_mut();
        let recent = |wrong: &Tally| now.saturating_duration_since(wrong.at) < FORGET;
        wrong.by_address.retain(|_, wrong| recent(wrong));
        let current = wrong.all.filter(|all| !left(all.at, WINDOW, now).is_zero());
        let all = current.unwrap_or(Tally { count: 0, at: now });
        wrong.all = Some(Tally { count: all.count.saturating_add(1), at: all.at });
        // Whoever has more addresses than are remembered meets the limit for all of them.
        if wrong.by_address.len() < MAX_ADDRESSES || wrong.by_address.contains_key(&address) {
            let own = wrong.by_address.entry(address).or_insert(Tally { count: 0, at: now });
            *own = Tally { count: own.count.saturating_add(1), at: now };
        }
    }

    /// A right password: what is counted for the address is forgotten.
    pub(crate) fn right(&self, address: IpAddr) {
        self.wrong.borrow_mut().by_address.remove(&address);
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
        let (backoff, now) = (PasswordBackoff::default(), Instant::now());
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
        let (backoff, now) = (PasswordBackoff::default(), Instant::now());
        for i in 0..10_000u32 {
            backoff.wrong(IpAddr::from(i.to_be_bytes()), now);
        }
        assert!(backoff.wrong.borrow().by_address.len() <= MAX_ADDRESSES);
        assert!(backoff.wait(HERE, now).is_some());
        assert_eq!(backoff.wait(HERE, now + WINDOW), None);
    }
}
