//! What has been counted under the owner's limits, in memory: the events of claims say the same.
//!
//! An allowed call is charged when it is judged, and anew when its turn comes, an approved one right before its claim, all
//! before anything is waited for: no two calls ever take the same last place. What could not be recorded is taken back.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use super::grants::GrantHold;
use super::sessions::{SessionName, Sessions};
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::model::{AgentId, Charge, Charging, CounterId, CounterKey, SessionNumber, Tally};
use crate::policy::Counters;
use crate::store::{KeptCounter, LiveSessions, SessionCall};

/// Live counters that an agent may have of one limit.
const MAX_COUNTERS: usize = 20_000;

/// How often counters that have ended are dropped.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// All counters, and the sessions whose end they share.
#[derive(Debug, Default)]
pub struct CounterBook {
    /// By [`Limit::identity`](crate::model::Limit::identity).
    limits: HashMap<Digest, LimitCounters>,
    sessions: Sessions,
    /// Until when the owner has been told that an agent has reached a limit.
    told: HashMap<(Digest, AgentId), Timestamp>,
    /// What is charged for calls that are not claimed yet, each under a number of its own.
    waiting: HashMap<u64, Rc<[Charge]>>,
    /// The number that was given last.
    numbered: u64,
    tidy_at: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct LimitCounters {
    /// Boxed keys keep the table small.
    counters: HashMap<Box<CounterKey>, Counter>,
    /// How many of them each agent has begun.
    begun: HashMap<AgentId, usize>,
}

#[derive(Debug)]
struct Counter {
    tally: Tally,
    /// Who began it.
    agent: AgentId,
    /// The session that it lives with, where it is a session's.
    session: SessionNumber,
}

/// One counter, for the owner.
pub(crate) struct CounterReading {
    pub counter: CounterId,
    pub tally: Tally,
}

impl LimitCounters {
    fn remove(&mut self, key: &CounterKey) {
        if let Some(counter) = self.counters.remove(key) {
            self.forget(&counter.agent);
        }
    }

    fn forget(&mut self, agent: &AgentId) {
        if let Some(begun) = self.begun.get_mut(agent) {
            *begun = begun.saturating_sub(1);
        }
    }
}

impl CounterBook {
    /// What the run before has counted, and the calls by which its sessions live on.
    pub fn take_up(
        counted: Vec<KeptCounter>,
        called: &[SessionCall],
        session_idle: Duration,
        now: Timestamp,
    ) -> CounterBook {
        let mut book = CounterBook::default();
        book.sessions.set_idle(session_idle);
        for KeptCounter { key, agent, session, last, .. } in &counted {
            if let Some(name) = &key.session {
                book.sessions.take_up(key.agent.as_ref().unwrap_or(agent), name, *session, *last);
            }
        }
        called.iter().for_each(|(agent, name, at)| book.sessions.touch(agent, name, *at));
        // Of a million counters, a table that grew step by step would look at each again and again.
        for of_one in counted.chunk_by(|one, next| one.limit == next.limit) {
            let limit = of_one.first().map(|kept| book.limits.entry(kept.limit).or_default());
            limit.into_iter().for_each(|limit| limit.counters.reserve(of_one.len()));
        }
        for KeptCounter { limit, key, agent, session, tally, .. } in counted {
            let counter = Counter { tally, agent, session };
            if counter.lives(&book.sessions, &key, now) {
                let LimitCounters { counters, begun } = book.limits.entry(limit).or_default();
                *begun.entry(counter.agent.clone()).or_default() += 1;
                counters.insert(key, counter);
            }
        }
        book.tidy_at = Some(now.plus(TIDY_EVERY));
        book
    }

    /// From now on a session ends when it made no call for so long.
    pub(super) fn set_session_idle(&mut self, idle: Duration) {
        self.sessions.set_idle(idle);
    }

    pub(super) fn live_sessions(&self, now: Timestamp) -> LiveSessions {
        self.sessions.live(now)
    }

    /// Whether the session lives or can be opened.
    pub(super) fn admits_session(&self, agent: &AgentId, session: &SessionName, now: Timestamp) -> bool {
        self.sessions.has_room(agent, session, now)
    }

    /// A call is about to be judged.
    pub fn called(&mut self, agent: &AgentId, session: &SessionName, now: Timestamp) {
        self.sessions.touch(agent, session, now);
        if self.tidy_at.is_none_or(|at| at <= now || at > now.plus(TIDY_EVERY)) {
            self.tidy(now);
        }
    }

    /// Whether the owner is to be told that `agent` has reached this limit, which is once until `end`.
    pub(super) fn is_news(&mut self, limit: Digest, agent: &AgentId, now: Timestamp, end: Timestamp) -> bool {
        let known = self.told.insert((limit, agent.clone()), end);
        let told = known.filter(|until| *until > now);
        if let Some(until) = told {
            self.told.insert((limit, agent.clone()), until);
        }
        told.is_none()
    }

    fn tidy(&mut self, now: Timestamp) {
        self.told.retain(|_, until| *until > now);
        self.tidy_at = Some(now.plus(TIDY_EVERY));
        self.sessions.tidy(now);
        let CounterBook { limits, sessions, .. } = self;
        limits.retain(|_, limit| {
            let LimitCounters { counters, begun } = limit;
            begun.clear();
            counters.retain(|key, counter| {
                let lives =
                    counter.lives(sessions, key, now) && counter.tally.end().is_some_and(|end| end > now);
                if lives {
                    *begun.entry(counter.agent.clone()).or_default() += 1;
                }
                lives
            });
            !counters.is_empty()
        });
    }

    /// The counter with this key, begun if need be.
    fn counter(&mut self, charge: &Charge) -> &mut Counter {
        let Charge { counter: CounterId { limit, key }, agent, session, .. } = charge;
        let LimitCounters { counters, begun } = self.limits.entry(*limit).or_default();
        counters.entry(Box::new(key.clone())).or_insert_with(|| {
            *begun.entry(agent.clone()).or_default() += 1;
            Counter { tally: Tally::default(), agent: agent.clone(), session: *session }
        })
    }

    /// Counts the charges from now on, and gives the number under which they wait for their claim. None: the call would
    /// open one session too many.
    fn charge(
        &mut self,
        mut charges: Vec<Charge>,
        agent: &AgentId,
        name: &SessionName,
        now: Timestamp,
    ) -> Option<(u64, Rc<[Charge]>)> {
        let session = self.sessions.hold(agent, name, now)?;
        for charge in &mut charges {
            let CounterId { limit, key } = &charge.counter;
            if key.session.is_some() {
                charge.session = session;
            }
            if let Some(limit) = self.limits.get_mut(limit)
                && limit.counters.get(key).is_some_and(|counter| counter.session != charge.session)
            {
                limit.remove(key);
            }
            self.count(charge, now);
        }
        let charges: Rc<[Charge]> = charges.into();
        self.numbered = self.numbered.wrapping_add(1);
        if !charges.is_empty() {
            self.waiting.insert(self.numbered, charges.clone());
        }
        Some((self.numbered, charges))
    }

    fn count(&mut self, charge: &Charge, now: Timestamp) {
        let counter = self.counter(charge);
        if charge.how == Charging::Sum {
            counter.tally.add(charge.part, now);
        }
    }

    /// The claim is recorded. The first call of a window counts from here on: whoever came to nothing was not the first.
    fn confirm(&mut self, charges: &[Charge], now: Timestamp) {
        for charge in charges.iter().filter(|charge| charge.how == Charging::First) {
            self.counter(charge).tally.begin(charge.part, now);
        }
    }

    fn take_back(&mut self, charges: &[Charge]) {
        for charge in charges {
            let CounterId { limit, key } = &charge.counter;
            let Some(counters) = self.limits.get_mut(limit) else { continue };
            let Some(counter) = counters.counters.get_mut(key) else { continue };
            if counter.session != charge.session {
                continue;
            }
            if charge.how == Charging::Sum {
                counter.tally.take_back(charge.part);
            }
            if counter.tally.is_empty() {
                counters.remove(key);
            }
        }
    }

    /// Lets a limit count anew: for this agent, or for all. Calls that are charged and not claimed keep their places: their
    /// events come later.
    pub(super) fn reset(&mut self, limit: Digest, agent: Option<&AgentId>, now: Timestamp) {
        let is_meant = |key: &CounterKey| agent.is_none() || key.agent.as_ref() == agent;
        if let Some(counters) = self.limits.get_mut(&limit) {
            let meant = counters.counters.keys().filter(|key| is_meant(key));
            let keys: Vec<_> = meant.cloned().collect();
            keys.iter().for_each(|key| counters.remove(key));
        }
        let waiting: Vec<_> = self.waiting.values().cloned().collect();
        let meant = |charge: &&Charge| charge.counter.limit == limit && is_meant(&charge.counter.key);
        waiting
            .iter()
            .flat_map(|charges| charges.iter())
            .filter(meant)
            .for_each(|charge| self.count(charge, now));
    }

    /// The live counters of this limit.
    pub(super) fn readings(&self, limit: Digest, now: Timestamp) -> Vec<CounterReading> {
        let counters = self.limits.get(&limit).into_iter().flat_map(|limit| &limit.counters);
        let live = counters.filter(|(key, counter)| {
            counter.lives(&self.sessions, key, now) && counter.tally.end().is_some_and(|end| end > now)
        });
        let read = |key: &CounterKey, counter: &Counter| CounterReading {
            counter: CounterId { limit, key: key.clone() },
            tally: counter.tally.clone(),
        };
        let mut readings: Vec<_> = live.map(|(key, counter)| read(key, counter)).collect();
        readings.sort_by(|a, b| a.counter.key.cmp(&b.counter.key));
        readings
    }

    fn live(&self, id: &CounterId, now: Timestamp) -> Option<&Counter> {
        let counter = self.limits.get(&id.limit)?.counters.get(&id.key)?;
        counter.lives(&self.sessions, &id.key, now).then_some(counter)
    }
}

impl Counter {
    /// A session's counter ends with it.
    fn lives(&self, sessions: &Sessions, key: &CounterKey, now: Timestamp) -> bool {
        let Some(name) = &key.session else { return true };
        let agent = key.agent.as_ref().unwrap_or(&self.agent);
        sessions.number(agent, name, now) == Some(self.session)
    }
}

impl Counters for CounterBook {
    fn tally(&self, counter: &CounterId, now: Timestamp) -> Tally {
        self.live(counter, now).map(|counter| counter.tally.clone()).unwrap_or_default()
    }

    fn has_room(&self, counter: &CounterId, agent: &AgentId, now: Timestamp) -> bool {
        let begun = self.limits.get(&counter.limit).and_then(|limit| limit.begun.get(agent));
        begun.is_none_or(|begun| *begun < MAX_COUNTERS) || self.live(counter, now).is_some()
    }
}

/// What a call has been charged, until its claim is recorded. Dropping it before takes everything back.
pub struct Reservation {
    book: Rc<RefCell<CounterBook>>,
    agent: AgentId,
    name: SessionName,
    /// Under which the charges wait.
    number: u64,
    charges: Rc<[Charge]>,
    /// The use of the grant that lets the call through.
    grant: Option<GrantHold>,
    confirmed: bool,
}

impl Reservation {
    /// Charges a call of this session. None: it would open one session too many.
    pub fn new(
        book: &Rc<RefCell<CounterBook>>,
        agent: &AgentId,
        name: &SessionName,
        charges: Vec<Charge>,
        now: Timestamp,
    ) -> Option<Reservation> {
        let (number, charges) = book.borrow_mut().charge(charges, agent, name, now)?;
        let (book, agent, name) = (book.clone(), agent.clone(), name.clone());
        Some(Reservation { book, agent, name, number, charges, grant: None, confirmed: false })
    }

    /// Together with the use of a grant, which is counted or given back with the charges.
    pub(super) fn with_grant(mut self, grant: Option<GrantHold>) -> Reservation {
        self.grant = grant;
        self
    }

    /// What the event of the claim says.
    pub fn charges(&self) -> &[Charge] {
        &self.charges
    }

    /// The claim is recorded.
    pub fn confirm(mut self, now: Timestamp) {
        self.confirmed = true;
        self.book.borrow_mut().confirm(&self.charges, now);
        self.grant.take().into_iter().for_each(GrantHold::confirm);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut book = self.book.borrow_mut();
        book.waiting.remove(&self.number);
        if !self.confirmed {
            book.take_back(&self.charges);
        }
        book.sessions.release(&self.agent, &self.name, self.confirmed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::decimal::Decimal;
    use crate::model::Part;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    fn pi() -> AgentId {
        AgentId::configured("pi")
    }

    fn book() -> Rc<RefCell<CounterBook>> {
        Rc::new(RefCell::new(CounterBook::take_up(Vec::new(), &[], DAY, at(0))))
    }

    /// One call under a limit per agent, or per session where one is named.
    fn charge(session: Option<&str>, until: Timestamp) -> Charge {
        let session = session.map(|name| Some(name.into()));
        Charge {
            limit: "limit".into(),
            counter: CounterId {
                limit: Digest::sha256(b"limit"),
                key: CounterKey { agent: Some(pi()), session, ..CounterKey::default() },
            },
            agent: pi(),
            part: Part { until, amount: Decimal::ONE },
            how: Charging::Sum,
            session: 0,
        }
    }

    fn count(book: &Rc<RefCell<CounterBook>>, charge: &Charge, now: Timestamp) -> i64 {
        let sum = book.borrow().tally(&charge.counter, now).sum(now);
        sum.and_then(Decimal::whole).unwrap()
    }

    fn reserve(
        book: &Rc<RefCell<CounterBook>>,
        session: &str,
        charge: &Charge,
        now: Timestamp,
    ) -> Reservation {
        Reservation::new(book, &pi(), &Some(session.into()), vec![charge.clone()], now).unwrap()
    }

    #[test]
    fn what_is_reserved_counts_at_once_and_what_is_not_recorded_is_taken_back() {
        let (book, charge) = (book(), charge(None, at(60)));
        let first = reserve(&book, "s", &charge, at(0));
        let second = reserve(&book, "s", &charge, at(0));
        assert_eq!(count(&book, &charge, at(0)), 2);
        first.confirm(at(0));
        drop(second);
        assert_eq!(count(&book, &charge, at(0)), 1);
        assert_eq!(count(&book, &charge, at(60)), 0);
        book.borrow_mut().reset(charge.counter.limit, Some(&pi()), at(0));
        assert_eq!(count(&book, &charge, at(0)), 0);
        drop(reserve(&book, "s", &charge, at(0)));
        assert!(book.borrow().readings(charge.counter.limit, at(0)).is_empty());
    }

    #[test]
    fn counters_of_a_session_end_with_it_and_the_next_one_begins_anew() {
        let (book, charge) = (book(), charge(Some("s"), Part::OPEN));
        let session_of = |reserved: &Reservation| reserved.charges()[0].session;
        let first = reserve(&book, "s", &charge, at(0));
        let began = session_of(&first);
        first.confirm(at(0));
        let second = reserve(&book, "s", &charge, at(1));
        assert_eq!(session_of(&second), began);
        second.confirm(at(1));
        book.borrow_mut().called(&pi(), &Some("s".into()), at(86_000));
        assert_eq!(count(&book, &charge, at(86_400 + 85_999)), 2, "a call that was not claimed keeps it");
        let ended = at(86_400 + 86_000);
        assert_eq!(count(&book, &charge, ended), 0);
        let next = reserve(&book, "s", &charge, ended);
        assert!(session_of(&next) > began);
        next.confirm(ended);
        assert_eq!(count(&book, &charge, ended), 1);
    }

    #[test]
    fn the_first_call_of_a_window_is_the_first_that_was_claimed() {
        let book = book();
        let first_at = |seconds: i64| {
            let part = Part { until: at(60), amount: Decimal::from(seconds) };
            Charge { how: Charging::First, part, ..charge(None, at(60)) }
        };
        let (one, two) = (reserve(&book, "s", &first_at(1), at(1)), reserve(&book, "s", &first_at(2), at(2)));
        assert_eq!(count(&book, &first_at(0), at(3)), 0);
        drop(one);
        two.confirm(at(3));
        assert_eq!(count(&book, &first_at(0), at(3)), 2);
    }

    #[test]
    fn an_agent_has_so_many_counters_of_a_limit_and_no_more() {
        let book = book();
        let of = |n: usize| {
            let mut charge = charge(None, at(60));
            charge.counter.key.tool = Some(n.to_string().into());
            charge
        };
        let has_room =
            |charge: &Charge, agent: AgentId| book.borrow().has_room(&charge.counter, &agent, at(0));
        for n in 0..MAX_COUNTERS {
            assert!(has_room(&of(n), pi()));
            reserve(&book, "s", &of(n), at(0)).confirm(at(0));
        }
        assert!(!has_room(&of(MAX_COUNTERS), pi()));
        assert!(has_room(&of(7), pi()), "it is there");
        assert!(has_room(&of(MAX_COUNTERS), AgentId::configured("laptop")));
        book.borrow_mut().called(&pi(), &None, at(60));
        assert!(has_room(&of(MAX_COUNTERS), pi()), "all have ended");
    }

    #[test]
    fn a_start_takes_up_what_was_counted() {
        let (plain, session) = (charge(None, at(60)), charge(Some("s"), Part::OPEN));
        let ended = charge(Some("old"), Part::OPEN);
        let kept = |charge: &Charge, session: SessionNumber, last: Timestamp| {
            let mut tally = Tally::default();
            tally.add(charge.part, last);
            let CounterId { limit, key } = charge.counter.clone();
            KeptCounter { limit, key: key.into(), agent: pi(), session, tally, last }
        };
        let other = Charge {
            counter: CounterId { limit: Digest::sha256(b"other"), ..session.counter.clone() },
            ..session.clone()
        };
        let counted = vec![
            kept(&plain, 0, at(-5)),
            // Of another limit, which the later session of this name has not touched.
            kept(&other, 3, at(-9)),
            kept(&session, 4, at(-5)),
            kept(&ended, 2, at(-86_400)),
        ];
        let book = Rc::new(RefCell::new(CounterBook::take_up(counted, &[], DAY, at(0))));
        assert_eq!(
            [&plain, &session, &ended, &other].map(|charge| count(&book, charge, at(0))),
            [1, 1, 0, 0]
        );
        let next = reserve(&book, "s", &session, at(1));
        assert_eq!(next.charges()[0].session, 4);
        next.confirm(at(1));
        assert_eq!(count(&book, &session, at(1)), 2);
        assert!(reserve(&book, "old", &ended, at(1)).charges()[0].session > 4);
    }

    #[test]
    fn a_session_that_only_made_calls_that_were_not_claimed_lives_on_over_a_start() {
        let session = charge(Some("s"), Part::OPEN);
        let kept = || {
            let mut tally = Tally::default();
            tally.add(session.part, at(-100_000));
            let CounterId { limit, key } = session.counter.clone();
            vec![KeptCounter { limit, key: key.into(), agent: pi(), session: 4, tally, last: at(-100_000) }]
        };
        let called = |seconds: i64| (pi(), Some("s".into()), at(seconds));
        let counts = |called: &[SessionCall]| {
            let book = CounterBook::take_up(kept(), called, DAY, at(0));
            count(&Rc::new(RefCell::new(book)), &session, at(0))
        };
        assert_eq!(counts(&[called(-50_000), called(-1)]), 1);
        assert_eq!(counts(&[called(-50_000)]), 1);
        assert_eq!(counts(&[]), 0);
        assert_eq!(counts(&[called(-1)]), 0, "it had ended by then");
        assert_eq!(counts(&[(pi(), None, at(-50_000))]), 0, "of another session");
    }

    #[test]
    fn a_start_takes_up_as_many_counters_as_there_are() {
        let of = |n: usize| {
            let one = charge(None, at(60));
            let agent = Some(AgentId::configured(if n < MAX_COUNTERS { "pi" } else { "laptop" }));
            let call = Some(Digest::sha256(&n.to_le_bytes()));
            CounterId { key: CounterKey { agent, call, ..CounterKey::default() }, ..one.counter }
        };
        let kept = |n: usize| {
            let CounterId { limit, key } = of(n);
            let mut tally = Tally::default();
            tally.add(Part { until: at(60), amount: Decimal::from(n as i64 % 7 + 1) }, at(0));
            let agent = key.agent.clone().unwrap();
            KeptCounter { limit, key: key.into(), agent, session: 0, tally, last: at(-1) }
        };
        let all = MAX_COUNTERS + MAX_COUNTERS / 2;
        let mut book = CounterBook::take_up((0..all).map(kept).collect(), &[], DAY, at(0));
        let sum = |book: &CounterBook, n: usize| book.tally(&of(n), at(0)).sum(at(0)).unwrap();
        assert!((0..all).all(|n| sum(&book, n) == Decimal::from(n as i64 % 7 + 1)));
        let (pi, laptop) = (pi(), AgentId::configured("laptop"));
        assert!(!book.has_room(&charge(None, at(60)).counter, &pi, at(0)));
        assert!(book.has_room(&of(all), &laptop, at(0)));
        book.called(&pi, &None, at(60));
        assert!(book.limits.is_empty());
    }

    #[test]
    fn a_limit_that_counts_anew_keeps_the_places_of_calls_that_wait() {
        let book = book();
        let (own, all) = (
            charge(None, at(60)),
            Charge {
                counter: CounterId { key: CounterKey::default(), ..charge(None, at(60)).counter },
                ..charge(None, at(60))
            },
        );
        let limit = own.counter.limit;
        for (charge, agent) in [(&own, Some(pi())), (&own, None), (&all, None)] {
            reserve(&book, "s", charge, at(0)).confirm(at(0));
            let (waits, fails) = (reserve(&book, "s", charge, at(0)), reserve(&book, "s", charge, at(0)));
            assert_eq!(count(&book, charge, at(0)), 3);
            book.borrow_mut().reset(limit, agent.as_ref(), at(0));
            assert_eq!(count(&book, charge, at(0)), 2);
            drop(fails);
            assert_eq!(count(&book, charge, at(0)), 1, "no more is taken back than was charged");
            waits.confirm(at(0));
            assert_eq!(count(&book, charge, at(0)), 1);
            book.borrow_mut().reset(limit, agent.as_ref(), at(0));
            assert_eq!(count(&book, charge, at(0)), 0);
        }
        assert!(book.borrow().waiting.is_empty());
    }

    #[test]
    fn ten_thousand_counters_fit_in_four_megabytes() {
        let mut book = CounterBook::default();
        for n in 0..10_000 {
            let key = CounterKey {
                call: Some(Digest::sha256(&[n as u8, (n >> 8) as u8])),
                ..CounterKey::default()
            };
            let one = charge(None, at(60));
            let counter = book.counter(&Charge { counter: CounterId { key, ..one.counter }, ..one });
            for part in 0..30 {
                let until = Timestamp(1_796_000_000_000 + part * 60_000);
                counter.tally.add(Part { until, amount: Decimal::from(7) }, at(0));
            }
        }
        // What an allocation costs besides.
        const HEAP: usize = 16;
        let LimitCounters { counters, .. } = book.limits.values().next().unwrap();
        let table = counters.capacity() * 8 / 7 * (size_of::<(Box<CounterKey>, Counter)>() + 1);
        let keys = counters.len() * (size_of::<CounterKey>() + HEAP);
        let parts: usize = counters.values().map(|counter| counter.tally.size() + HEAP).sum();
        assert!(
            counters.len() == 10_000 && table + keys + parts <= 4 << 20,
            "{table} + {keys} + {parts} bytes"
        );
    }
}
