//! What each agent has in the inbox, and whose results make room. An agent that does not fetch its results loses its own
//! oldest, one by one, in the transaction that stores the next; nobody else's go for it.
//!
//! Kept in memory, because a sum in a table, or an index that it could be taken from, is one more page that each call
//! writes. It is read from the table when it is first needed, and again after a transaction that changed it has failed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;

use super::error::StoreError;

/// Results that may be there for one agent.
const MOST: usize = 10_000;

/// The results of one agent may take this part of `max_mb` …
const OF_ONE: u64 = 16;

/// … and those of all agents this one.
const OF_ALL: u64 = 4;

/// The results of all agents.
#[derive(Default)]
pub(super) struct Shares {
    /// None: not read.
    known: Option<HashMap<String, Share>>,
    changed: bool,
    /// How many have made room in it.
    dropped: u64,
}

/// The results of one agent by number, with the room that each of them takes.
#[derive(Default)]
struct Share {
    results: BTreeMap<i64, u64>,
    room: u64,
}

/// Bytes that a result of so many may take in the file, at most: pages of small ones may be two thirds empty after
/// others have gone, and the last page of a large one.
fn room(size: u64) -> u64 {
    let (small, large) = (size.saturating_add(96).saturating_mul(3), size.saturating_add(size / 256 + 8192));
    small.min(large)
}

impl Shares {
    /// Reads the table, unless it is known what is there.
    pub(super) fn read(&mut self, db: &Connection) -> Result<(), StoreError> {
        if self.known.is_some() {
            return Ok(());
        }
        let mut known = HashMap::<String, Share>::new();
        let mut statement = db.prepare("SELECT agent, seq, size FROM results")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            known.entry(row.get(0)?).or_default().put(row.get(1)?, size_of(row.get(2)?));
        }
        self.known = Some(known);
        Ok(())
    }

    /// A result is stored under this number, or has another size.
    pub(super) fn put(&mut self, agent: &str, seq: i64, size: usize) {
        let Some(known) = &mut self.known else { return };
        self.changed = true;
        if !known.contains_key(agent) {
            known.insert(agent.to_owned(), Share::default());
        }
        if let Some(share) = known.get_mut(agent) {
            share.put(seq, u64::try_from(size).unwrap_or(u64::MAX));
        }
    }

    /// It is there no more.
    pub(super) fn remove(&mut self, seq: i64) {
        let Some(known) = &mut self.known else { return };
        self.changed = true;
        let _ = known.values_mut().any(|share| share.remove(seq));
    }

    /// All up to this one are there no more.
    pub(super) fn remove_through(&mut self, cut: i64) {
        let Some(known) = &mut self.known else { return };
        self.changed = true;
        for share in known.values_mut() {
            share.results = share.results.split_off(&cut.saturating_add(1));
            share.room = share.results.values().sum();
        }
    }

    /// The next result that has to go for `new`, a result of `agent`: the oldest of its own while that agent has too
    /// many or too much, and the oldest of whoever has most while all of them have too much. Never `new` itself, and
    /// nothing of an agent that has less than this one.
    pub(super) fn surplus(&self, agent: &str, new: i64, max_mb: u64) -> Option<i64> {
        let known = self.known.as_ref()?;
        let bound = |part| if max_mb == 0 { u64::MAX } else { max_mb.saturating_mul(1 << 20) / part };
        let own = known.get(agent)?;
        if own.results.len() > MOST || own.room > bound(OF_ONE) {
            return own.oldest_but(new);
        }
        if self.room() > bound(OF_ALL) {
            let as_greedy = known.values().filter(|share| share.room >= own.room);
            let oldest = as_greedy.filter_map(|share| Some((share.room, share.oldest_but(new)?)));
            return oldest.max_by_key(|(room, seq)| (*room, Reverse(*seq))).map(|(_, seq)| seq);
        }
        None
    }

    /// Bytes that all results may take in the file.
    pub(super) fn room(&self) -> u64 {
        self.known.iter().flat_map(HashMap::values).map(|share| share.room).sum()
    }

    /// One has made room for another.
    pub(super) fn make_room(&mut self, seq: i64) {
        self.remove(seq);
        self.dropped = self.dropped.saturating_add(1);
    }

    /// The transaction is committed. How many have made room in it.
    pub(super) fn keep(&mut self) -> u64 {
        self.changed = false;
        std::mem::take(&mut self.dropped)
    }

    /// It is not: what it changed is read anew.
    pub(super) fn undo(&mut self) {
        self.dropped = 0;
        if std::mem::take(&mut self.changed) {
            self.known = None;
        }
    }
}

fn size_of(column: i64) -> u64 {
    u64::try_from(column).unwrap_or(0)
}

impl Share {
    fn put(&mut self, seq: i64, size: u64) {
        let before = self.results.insert(seq, room(size)).unwrap_or(0);
        self.room = self.room.saturating_sub(before).saturating_add(room(size));
    }

    fn remove(&mut self, seq: i64) -> bool {
        let gone = self.results.remove(&seq);
        self.room = self.room.saturating_sub(gone.unwrap_or(0));
        gone.is_some()
    }

    fn oldest_but(&self, new: i64) -> Option<i64> {
        self.results.keys().find(|seq| **seq != new).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn empty() -> Shares {
        Shares { known: Some(HashMap::new()), ..Shares::default() }
    }

    fn store(shares: &mut Shares, agent: &str, seq: i64, size: usize) -> Vec<i64> {
        shares.put(agent, seq, size);
        let mut gone = Vec::new();
        while let Some(seq) = shares.surplus(agent, seq, 64) {
            shares.make_room(seq);
            gone.push(seq);
        }
        assert_eq!(shares.keep(), gone.len() as u64);
        gone
    }

    #[test]
    fn an_agent_loses_its_own_oldest_one_by_one() {
        let mut shares = empty();
        assert!(store(&mut shares, "modest", 1, MIB).is_empty());
        for seq in 2..5 {
            assert!(store(&mut shares, "greedy", seq, MIB).is_empty());
        }
        assert_eq!(store(&mut shares, "greedy", 5, MIB), [2]);
        assert_eq!(store(&mut shares, "greedy", 6, 3 * MIB), [3, 4, 5]);
        assert_eq!(store(&mut shares, "greedy", 7, 100 * MIB), [6], "the newest stays, however large");
    }

    #[test]
    fn of_many_who_are_greedy_the_greediest_loses() {
        let mut shares = empty();
        assert!(store(&mut shares, "modest", 1, 1).is_empty());
        let gone: Vec<_> =
            (2..8).flat_map(|n| store(&mut shares, &format!("greedy{n}"), n, 3 * MIB)).collect();
        assert_eq!(gone, [2], "the oldest of those who have most");
        assert!(store(&mut shares, "large", 8, 100 * MIB).is_empty(), "nobody else goes for what is larger");
    }

    #[test]
    fn many_small_ones_have_a_bound_too() {
        let mut shares = empty();
        let most = i64::try_from(MOST).unwrap();
        assert!((0..most).all(|seq| store(&mut shares, "greedy", seq, 10).is_empty()));
        assert_eq!(store(&mut shares, "greedy", most, 10), [0]);
    }

    #[test]
    fn what_goes_makes_room_and_what_failed_is_forgotten() {
        let mut shares = empty();
        (1..4).for_each(|seq| shares.put("a", seq, MIB));
        shares.put("a", 3, 0);
        shares.remove(1);
        assert_eq!(shares.room(), room(MIB as u64) + room(0));
        shares.remove_through(2);
        assert_eq!(shares.room(), room(0));
        shares.keep();
        shares.undo();
        assert!(shares.known.is_some(), "nothing was changed since");
        shares.remove(3);
        shares.undo();
        assert!(shares.known.is_none());
    }
}
