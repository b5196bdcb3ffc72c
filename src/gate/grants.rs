//! The grants in memory: the events of the record say the same.
//!
//! A use is taken when a call is judged, before anything is waited for, so no two calls ever take the same last one. What
//! could not be recorded is given back.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::clock::{Deadline, Timestamp};
use crate::base::ids::RequestId;
use crate::base::zone::Zone;
use crate::model::{AgentId, AskedCall, Grant, GrantEnd, GrantUse, clock_time};
use crate::policy::Grants;
use crate::store::KeptGrant;

/// Grants that last at once.
const MOST: usize = 1000;

/// Ended grants that are shown.
const MOST_ENDED: usize = 1000;

/// All grants that last, and some that have ended.
#[derive(Debug, Default)]
pub(crate) struct GrantBook {
    grants: BTreeMap<RequestId, Held>,
    /// Since the start of the gateway.
    uses: BTreeMap<AgentId, u64>,
}

#[derive(Debug)]
struct Held {
    grant: Arc<Grant>,
    deadline: Deadline,
    /// Calls that were claimed under it.
    used: u32,
    /// Uses of calls that are about to be claimed.
    taken: u32,
    end: Option<(GrantEnd, Timestamp)>,
    /// Whether the record says that it has ended.
    recorded: bool,
    /// False while it is on its way to the disk: it lets nothing through, and what ends grants ends it as well.
    given: bool,
}

/// A grant, for people.
#[derive(Clone, Debug)]
pub(crate) struct GrantReading {
    pub grant: Arc<Grant>,
    /// None: any number.
    pub uses_left: Option<u32>,
    pub end: Option<(GrantEnd, Timestamp)>,
}

impl GrantReading {
    /// All of it for people: `every light(on, desk) of laptop, 3 of 20 used, until 19:48`.
    pub(crate) fn sentence(&self, now: Timestamp) -> String {
        let GrantReading { grant, uses_left, .. } = self;
        let used = grant
            .uses
            .zip(*uses_left)
            .map(|(all, left)| format!(", {} of {all} used", all.saturating_sub(left)));
        let freedom = grant.freedom().map(|freedom| format!(" ({freedom})")).unwrap_or_default();
        let until = clock_time(grant.until, now, &Zone::system());
        format!("{}{}, until {until}{freedom}", grant.words(), used.unwrap_or_default())
    }
}

impl Held {
    fn new(kept: KeptGrant, now: Timestamp) -> Held {
        let KeptGrant { grant, used, end, ends_up } = kept;
        // A clock that stands before the grant was given does not make its time longer.
        let deadline = Deadline::bounded(grant.until, now.max(grant.created), ends_up);
        let recorded = end.is_some();
        Held { grant: Arc::new(grant), deadline, used, taken: 0, end, recorded, given: true }
    }

    fn uses_left(&self) -> Option<u32> {
        self.grant.uses.map(|uses| uses.saturating_sub(self.used.saturating_add(self.taken)))
    }

    /// Why it lets nothing through any more, and since when.
    fn end(&self, now: Timestamp) -> Option<(GrantEnd, Timestamp)> {
        let used_up = self.grant.uses.is_some_and(|uses| self.used >= uses);
        let own = || match (self.deadline.is_over(now), used_up) {
            (_, true) => Some((GrantEnd::UsedUp, now)),
            (true, false) => Some((GrantEnd::Expired, self.grant.until.min(now))),
            (false, false) => None,
        };
        self.end.clone().or_else(own)
    }

    fn reading(&self, now: Timestamp) -> GrantReading {
        let uses_left = self.grant.uses.map(|uses| uses.saturating_sub(self.used));
        GrantReading { grant: self.grant.clone(), uses_left, end: self.end(now) }
    }
}

impl GrantBook {
    /// What the runs before have left.
    pub(super) fn take_up(kept: Vec<KeptGrant>, now: Timestamp) -> GrantBook {
        let held = kept.into_iter().map(|kept| (kept.grant.id, Held::new(kept, now)));
        GrantBook { grants: held.collect(), ..GrantBook::default() }
    }

    /// Whether one more may be given.
    pub(super) fn has_room(&self, now: Timestamp) -> bool {
        self.grants.values().filter(|held| held.end(now).is_none()).count() < MOST
    }

    pub(super) fn lasts(&self, id: RequestId, now: Timestamp) -> bool {
        self.grants.get(&id).is_some_and(|held| held.given && held.end(now).is_none())
    }

    /// Ends those that last and fit; which they were.
    pub(super) fn end_where(
        &mut self,
        end: &GrantEnd,
        now: Timestamp,
        fits: impl Fn(&Grant) -> bool,
    ) -> Vec<GrantReading> {
        let lasting = self.grants.values_mut().filter(|held| held.end(now).is_none() && fits(&held.grant));
        let ended = lasting.map(|held| {
            held.end = Some((end.clone(), now));
            held.reading(now)
        });
        ended.collect()
    }

    /// Those that have ended by themselves, for the record. They are handed out once.
    pub(super) fn just_ended(&mut self, now: Timestamp) -> Vec<(RequestId, GrantEnd)> {
        let mut ended = Vec::new();
        for (id, held) in &mut self.grants {
            if let (None, Some(end), false, true) = (&held.end, held.end(now), held.recorded, held.given) {
                ended.push((*id, end.0.clone()));
                held.end = Some(end);
            }
        }
        self.forget_oldest();
        ended
    }

    fn forget_oldest(&mut self) {
        let mut ended: Vec<(Timestamp, RequestId)> =
            self.grants.iter().filter_map(|(id, held)| Some((held.end.as_ref()?.1, *id))).collect();
        ended.sort_unstable();
        let surplus = ended.len().saturating_sub(MOST_ENDED);
        ended.iter().take(surplus).for_each(|(_, id)| drop(self.grants.remove(id)));
    }

    /// How many of an agent last, and how many uses there were since the start of the gateway.
    pub(super) fn counts(&self, agent: &AgentId, now: Timestamp) -> (usize, u64) {
        let lasts = |held: &&Held| held.grant.agent == *agent && held.given && held.end(now).is_none();
        (self.grants.values().filter(lasts).count(), self.uses.get(agent).copied().unwrap_or_default())
    }

    pub(super) fn reading(&self, id: RequestId, now: Timestamp) -> Option<GrantReading> {
        self.grants.get(&id).filter(|held| held.given).map(|held| held.reading(now))
    }

    /// All that last, in the order in which they end; with `ended`, then the others, the newest first.
    pub(super) fn readings(&self, ended: bool, now: Timestamp) -> Vec<GrantReading> {
        let all = self.grants.values().filter(|held| held.given).map(|held| held.reading(now));
        let (mut lasting, mut over): (Vec<_>, Vec<_>) = all.partition(|reading| reading.end.is_none());
        lasting.sort_by_key(|reading| (reading.grant.until, reading.grant.id));
        over.sort_by_key(|reading| std::cmp::Reverse(reading.end.as_ref().map(|(_, at)| *at)));
        lasting.extend(over.into_iter().filter(|_| ended));
        lasting
    }
}

impl Grants for GrantBook {
    /// The one that ends first, where several do.
    fn covering(&self, asked: &AskedCall<'_>, now: Timestamp) -> Option<GrantUse> {
        let uses = u32::try_from(asked.parts.len()).unwrap_or(u32::MAX);
        let lasts = |held: &&Held| {
            held.given && held.end(now).is_none() && held.uses_left().is_none_or(|left| left >= uses)
        };
        let covering = self.grants.values().filter(lasts).filter(|held| held.grant.covers(asked));
        let first = covering.min_by_key(|held| held.grant.until)?;
        Some(GrantUse { id: first.grant.id, uses })
    }
}

/// A grant of which a use is taken already: for looking once more at the call that has taken it.
#[derive(Debug)]
pub(super) struct HeldGrant<'b> {
    pub book: &'b GrantBook,
    pub used: Option<GrantUse>,
}

impl Grants for HeldGrant<'_> {
    fn covering(&self, asked: &AskedCall<'_>, now: Timestamp) -> Option<GrantUse> {
        let used = self.used?;
        let held = self
            .book
            .grants
            .get(&used.id)
            .filter(|held| matches!(held.end, None | Some((GrantEnd::UsedUp, _))))?;
        let over = held.deadline.is_over(now);
        (!over && held.grant.covers(asked)).then_some(used)
    }
}

/// A grant that is about to be written down. What ends grants meanwhile ends it as well; dropping it before it is given
/// forgets it.
pub(super) struct ExpectedGrant {
    book: Rc<RefCell<GrantBook>>,
    grant: Arc<Grant>,
}

impl ExpectedGrant {
    /// None: there is one with its id.
    pub(super) fn expect(book: &Rc<RefCell<GrantBook>>, grant: Grant) -> Option<ExpectedGrant> {
        let (now, grant) = (grant.created, Arc::new(grant));
        let kept = KeptGrant { grant: Grant::clone(&grant), used: 0, end: None, ends_up: None };
        let all = &mut book.borrow_mut().grants;
        if all.contains_key(&grant.id) {
            return None;
        }
        all.insert(grant.id, Held { given: false, ..Held::new(kept, now) });
        Some(ExpectedGrant { book: book.clone(), grant })
    }

    /// Whether it is to be written down: nothing has ended it meanwhile.
    pub(super) fn lasts(&self) -> bool {
        let book = self.book.borrow();
        book.grants.get(&self.grant.id).is_some_and(|held| !held.given && held.end.is_none())
    }

    pub(super) fn grant(&self) -> &Arc<Grant> {
        &self.grant
    }

    /// It is written down, and counts from now on.
    pub(super) fn given(&self) {
        log::info!("granted by {}: {}", self.grant.by, self.grant.words());
        let all = &mut self.book.borrow_mut().grants;
        all.get_mut(&self.grant.id).into_iter().for_each(|held| held.given = true);
    }
}

impl Drop for ExpectedGrant {
    fn drop(&mut self) {
        let all = &mut self.book.borrow_mut().grants;
        if all.get(&self.grant.id).is_some_and(|held| !held.given) {
            all.remove(&self.grant.id);
        }
    }
}

/// A use that is taken, until the claim is recorded. Dropping it before gives it back.
pub(super) struct GrantHold {
    book: Rc<RefCell<GrantBook>>,
    used: GrantUse,
    confirmed: bool,
}

impl GrantHold {
    /// Right after the judgement, with nothing waited for in between.
    pub(super) fn take(book: &Rc<RefCell<GrantBook>>, used: GrantUse) -> GrantHold {
        if let Some(held) = book.borrow_mut().grants.get_mut(&used.id) {
            held.taken = held.taken.saturating_add(used.uses);
        }
        GrantHold { book: book.clone(), used, confirmed: false }
    }

    /// The claim is recorded.
    pub(super) fn confirm(mut self) {
        self.confirmed = true;
    }
}

impl Drop for GrantHold {
    fn drop(&mut self) {
        let mut book = self.book.borrow_mut();
        let Some(held) = book.grants.get_mut(&self.used.id) else { return };
        held.taken = held.taken.saturating_sub(self.used.uses);
        if self.confirmed {
            held.used = held.used.saturating_add(self.used.uses);
            let agent = held.grant.agent.clone();
            *book.uses.entry(agent).or_default() += u64::from(self.used.uses);
        }
    }
}
