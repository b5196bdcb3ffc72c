//! A call under judgement, and whether a matcher fits it.

use super::conditions::{Args, Holds, holds};
use super::facts::Facts;
use super::stance::Stance;
use super::texts::Texts;
use crate::base::glob::Pattern;
use crate::model::{Call, Matcher, TimeWindow, Why};

/// A call, what counts besides, and what has been found out about it.
pub(super) struct Subject<'c> {
    pub(super) call: &'c Call,
    pub(super) facts: &'c Facts<'c>,
    texts: Texts<'c>,
}

/// What is judged at once: a call, or one element of the list in it that is judged element by element.
pub(super) struct Part<'c> {
    pub(super) signature: &'c str,
    /// The element's place in the list.
    element: Option<usize>,
}

impl<'c> Subject<'c> {
    pub(super) fn new(call: &'c Call, facts: &'c Facts<'c>) -> Subject<'c> {
        Subject { call, facts, texts: Texts::new(call) }
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'c>> + use<'c> {
        let call = self.call;
        let whole = call.parts().is_empty().then(|| Part { signature: call.signature(), element: None });
        let elements = call.parts().iter().enumerate();
        whole.into_iter().chain(elements.map(|(at, signature)| Part { signature, element: Some(at) }))
    }

    /// Whether `matcher` fits a part, or what keeps it from that; the costly questions come last.
    pub(super) fn examine(&self, matcher: &Matcher, part: &Part<'_>, stance: Stance) -> Why {
        match matcher.pattern.matches(part.signature) {
            true => self.examine_rest(matcher, part.element, stance),
            false => Why::Pattern,
        }
    }

    /// [`Subject::examine`] of the element at this place, without the pattern.
    pub(super) fn examine_rest(&self, matcher: &Matcher, element: Option<usize>, stance: Stance) -> Why {
        let Matcher { pattern: _, agents, any_value, kinds, risks, when, time, after } = matcher;
        let tool = self.call.tool();
        if agents.as_ref().is_some_and(|agents| !agents.contains(self.call.agent())) {
            return Why::Agents;
        }
        if !kinds.is_empty() && !kinds.contains(&tool.kind) {
            return Why::Kinds;
        }
        if !risks.is_empty() && !risks.contains(&tool.facts.risk) {
            return Why::Risk;
        }
        let time = time.as_ref().map_or(Holds::Yes, |window| self.is_within(window, stance));
        if time == Holds::No {
            return Why::Time;
        }
        if !after.iter().all(|label| self.has_read(label)) {
            return Why::After;
        }
        if any_value.as_ref().is_some_and(|pattern| !self.has_value(pattern, element, stance)) {
            return Why::AnyValue;
        }
        let mut doubted = None;
        let args = Args { all: self.call.args(), element: self.element(element) };
        for condition in when {
            match holds(condition, args, stance) {
                Holds::Yes => {}
                Holds::InDoubt => doubted = doubted.or(Some(condition.path.text())),
                Holds::No => return Why::When(condition.path.text().clone()),
            }
        }
        match (time, doubted) {
            (_, Some(path)) => Why::MatchedInDoubt(path.clone()),
            (Holds::InDoubt, None) => Why::MatchedWithoutClock,
            (Holds::Yes | Holds::No, None) => Why::Matched,
        }
    }

    fn is_within(&self, window: &TimeWindow, stance: Stance) -> Holds {
        let Facts { now, clock_set, zone, .. } = self.facts;
        match (clock_set, stance.fits_in_doubt()) {
            (true, _) if window.contains(*now, zone) => Holds::Yes,
            (false, true) => Holds::InDoubt,
            (true | false, _) => Holds::No,
        }
    }

    /// What this call itself is going to read counts too.
    fn has_read(&self, label: &str) -> bool {
        let own = self.call.tool().facts.data.as_ref().is_some_and(|data| data.labels.contains(label));
        own || self.facts.read.iter().any(|source| source.labels.contains(label))
    }

    fn has_value(&self, pattern: &Pattern, element: Option<usize>, stance: Stance) -> bool {
        self.texts.any(pattern, stance, element)
    }

    fn element(&self, place: Option<usize>) -> Option<(&'c str, &'c serde_json::Value)> {
        let name = self.call.tool().each()?;
        Some((name, self.call.args().get(name)?.as_array()?.get(place?)?))
    }
}
