//! The owner's limits, and what they say to a call: what has been counted and what this call would add.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::counters::Counters;
use super::index::Index;
use crate::base::clock::Timestamp;
use crate::base::decimal::Decimal;
use crate::base::zone::Zone;
use crate::model::{
    Action, Amount, Call, Charge, Charging, Counted, CounterId, Limit, Part, Reason, SessionNumber, Tally,
};

/// All limits. A call that none of them touches costs one look at the beginnings of their patterns.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    all: Vec<Arc<Limit>>,
    index: Index,
}

/// The moment at which a call is looked at.
pub(super) struct Moment<'a> {
    pub now: Timestamp,
    pub zone: &'a Zone,
    pub session: Option<&'a str>,
    pub counters: &'a dyn Counters,
    /// What rules and flows say to the call.
    pub before: Action,
    /// Whether a person has been asked about it.
    pub asked: bool,
}

/// What the limits say to a call.
pub(super) struct Judgement {
    pub decision: Action,
    /// In the order of the file.
    pub reasons: Vec<Reason>,
    /// What the call counts once it is claimed.
    pub charges: Vec<Charge>,
}

/// What one limit says to a call.
#[derive(Clone, Debug)]
pub(crate) struct LimitLook {
    pub limit: Arc<Limit>,
    /// What has been counted; None: more than a number holds.
    pub count: Option<Decimal>,
    /// The same with this call; None: what it would add cannot be read.
    pub after: Option<Decimal>,
    /// When nothing counts any more; None: nothing does, or it ends with the session.
    pub resets_at: Option<Timestamp>,
    decision: Action,
    /// Whole seconds until time alone makes room for the call.
    retry_after: Option<u64>,
    charge: Option<Charge>,
}

impl Limits {
    pub(super) fn new(limits: Vec<Limit>) -> Limits {
        let beginnings = limits.iter().map(|limit| limit.matcher.pattern.literal_prefix());
        let index = Index::new(beginnings.enumerate());
        Limits { all: limits.into_iter().map(Arc::new).collect(), index }
    }

    /// In the order of the file.
    pub(super) fn all(&self) -> &[Arc<Limit>] {
        &self.all
    }

    /// What they say to `call`. `speaks` says whether a limit speaks of the element with this place among those
    /// that are judged one by one, or of the whole.
    pub(super) fn judge(
        &self,
        call: &Call,
        moment: &Moment<'_>,
        speaks: impl Fn(&Limit, Option<usize>) -> bool,
    ) -> Judgement {
        let mut judgement = Judgement { decision: Action::Allow, reasons: Vec::new(), charges: Vec::new() };
        for look in self.looks(call, moment, speaks) {
            judgement.decision = stricter(judgement.decision, look.decision);
            judgement.reasons.extend(look.reason());
            judgement.charges.extend(look.charge);
        }
        judgement
    }

    /// What each limit says that speaks of `call`, in the order of the file.
    pub(super) fn looks(
        &self,
        call: &Call,
        moment: &Moment<'_>,
        speaks: impl Fn(&Limit, Option<usize>) -> bool,
    ) -> Vec<LimitLook> {
        let touched = self.touched(call, speaks);
        let look = |(place, times): (&usize, &u32), asked: bool| {
            self.all.get(*place).map(|limit| look(limit, call, *times, moment, asked))
        };
        let counts_questions =
            |place: &usize| self.all.get(*place).is_some_and(|limit| limit.count == Counted::Questions);
        // Other limits may be why a person is asked, or why nobody is.
        let mut looks: BTreeMap<usize, LimitLook> = touched
            .iter()
            .filter(|(place, _)| !counts_questions(place))
            .filter_map(|touched| Some((*touched.0, look(touched, false)?)))
            .collect();
        let others = looks.values().fold(moment.before, |strictest, look| stricter(strictest, look.decision));
        let asked = moment.asked || others == Action::Ask;
        let questions = touched.iter().filter(|(place, _)| counts_questions(place));
        let questions: Vec<_> =
            questions.filter_map(|touched| Some((*touched.0, look(touched, asked)?))).collect();
        looks.extend(questions);
        looks.into_values().collect()
    }

    /// The places of the limits that speak of `call`, and of how many of its elements.
    fn touched(&self, call: &Call, speaks: impl Fn(&Limit, Option<usize>) -> bool) -> BTreeMap<usize, u32> {
        let mut touched = BTreeMap::new();
        let whole = call.parts().is_empty().then(|| (None, call.signature()));
        let elements = call.parts().iter().enumerate().map(|(at, part)| (Some(at), part.as_str()));
        for (element, signature) in whole.into_iter().chain(elements) {
            for place in self.index.candidates(signature).flatten() {
                let Some(limit) = self.all.get(*place) else { continue };
                if limit.matcher.pattern.matches(signature) && speaks(limit, element) {
                    *touched.entry(*place).or_default() += 1;
                }
            }
        }
        touched
    }
}

impl LimitLook {
    fn reason(&self) -> Option<Reason> {
        let LimitLook { limit, retry_after, .. } = self;
        match self.decision {
            Action::Allow => None,
            Action::Ask => Some(Reason::AskedByLimit { limit: limit.name.clone(), why: self.words() }),
            Action::Deny => {
                Some(Reason::LimitReached { limit: limit.name.clone(), retry_after: *retry_after })
            }
        }
    }

    /// `hourly-lights: the 21st call within 1 h, asked above 20`
    fn words(&self) -> String {
        let Limit { name, count, window, ask_above, .. } = &*self.limit;
        let nth = |thing: &str| {
            let whole = self.after.and_then(Decimal::whole);
            whole.map(|whole| format!("the {} {thing}", ordinal(whole)))
        };
        let what = match (count, self.after) {
            (_, None) => "how much it adds cannot be read".to_owned(),
            (Counted::Calls, Some(after)) => nth("call").unwrap_or_else(|| format!("{after} calls")),
            (Counted::Questions, Some(after)) => {
                nth("question").unwrap_or_else(|| format!("{after} questions"))
            }
            (Counted::Seconds, Some(after)) => format!("{after} seconds since the first call"),
            (Counted::Arg(argument), Some(after)) => format!("{argument} {after}"),
            (Counted::Cost | Counted::Tokens, Some(after)) => format!("{count} {after}"),
        };
        let above = ask_above.map(|above| format!(", asked above {above}")).unwrap_or_default();
        format!("{name}: {what} within {window}{above}")
    }
}

fn look(limit: &Arc<Limit>, call: &Call, times: u32, moment: &Moment<'_>, asked: bool) -> LimitLook {
    let Moment { now, zone, session, counters, .. } = *moment;
    let counter = CounterId { limit: limit.identity, key: limit.key(call, session) };
    let tally = counters.tally(&counter, now);
    let (count, adds) = (limit.count.total(&tally, now), adds(&limit.count, call, times, asked));
    let after = count.zip(adds).and_then(|(count, adds)| count.checked_add(adds));
    let has_room = counters.has_room(&counter, call.agent(), now);
    let is_above =
        |bound: Option<Decimal>| bound.is_some_and(|bound| after.is_none_or(|after| after > bound));
    let decision = match () {
        () if !has_room || is_above(limit.deny_above) => Action::Deny,
        () if is_above(limit.ask_above) => Action::Ask,
        () => Action::Allow,
    };
    let room = limit.deny_above.zip(adds).and_then(|(most, adds)| most.checked_sub(adds));
    LimitLook {
        count,
        after,
        resets_at: tally.end().filter(|end| *end != Part::OPEN && *end > now),
        decision,
        retry_after: room.filter(|_| has_room).and_then(|room| {
            let at = room_at(&limit.count, &tally, room, now)?;
            Some(u64::try_from(at.since(now).as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1))
        }),
        charge: charge(limit, counter, call, adds, now, zone),
        limit: limit.clone(),
    }
}

/// What the call adds; None where that cannot be read.
fn adds(count: &Counted, call: &Call, times: u32, asked: bool) -> Option<Decimal> {
    let facts = &call.tool().facts;
    let one = match count {
        Counted::Calls => Some(Decimal::ONE),
        Counted::Questions => return Some(if asked { Decimal::ONE } else { Decimal::ZERO }),
        Counted::Seconds => return Some(Decimal::ZERO),
        Counted::Cost => amount(&facts.cost, call),
        Counted::Tokens => amount(&facts.tokens, call),
        Counted::Arg(name) => number(call.args().get(name)),
    };
    one?.checked_times(times)
}

fn amount(amount: &Amount, call: &Call) -> Option<Decimal> {
    match amount {
        Amount::Fixed(amount) => Some(*amount),
        Amount::Arg(name) => number(call.args().get(name)),
    }
}

/// Only what stands there as a number, and is not below zero.
fn number(value: Option<&Value>) -> Option<Decimal> {
    let number = Decimal::of_number(value?.as_number()?)?;
    (!number.is_negative()).then_some(number)
}

/// When the call would fit, if time alone brings that about.
fn room_at(count: &Counted, tally: &Tally, room: Decimal, now: Timestamp) -> Option<Timestamp> {
    if *count != Counted::Seconds {
        return tally.at_most(room, now);
    }
    let ends = tally.parts(now).map(|part| part.until);
    ends.filter(|end| *end != Part::OPEN)
        .find(|end| count.total(tally, *end).is_some_and(|time| time <= room))
}

/// Nothing is charged that would not change a count.
fn charge(
    limit: &Arc<Limit>,
    counter: CounterId,
    call: &Call,
    adds: Option<Decimal>,
    now: Timestamp,
    zone: &Zone,
) -> Option<Charge> {
    let (amount, how) = match limit.count {
        Counted::Seconds => (Counted::seconds(now), Charging::First),
        _ => (adds.filter(|amount| *amount > Decimal::ZERO)?, Charging::Sum),
    };
    let part = Part { until: limit.window.end(now, zone), amount };
    let (limit, agent) = (limit.name.clone(), call.agent().clone());
    Some(Charge { limit, counter, agent, part, how, session: SessionNumber::default() })
}

pub(super) fn stricter(one: Action, other: Action) -> Action {
    match (one, other) {
        (Action::Deny, _) | (_, Action::Deny) => Action::Deny,
        (Action::Ask, _) | (_, Action::Ask) => Action::Ask,
        (Action::Allow, Action::Allow) => Action::Allow,
    }
}

/// `21st`
fn ordinal(number: i64) -> String {
    let end = match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        (_, _) => "th",
    };
    format!("{number}{end}")
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
