//! Cool-down: a call that people denied again and again is denied for a while without asking.
//!
//! It denies only exactly the call that a person has denied. It lives in memory: after a restart people are asked again.

use std::collections::HashMap;

use crate::base::clock::{Deadline, Timestamp};
use crate::base::digest::Digest;
use crate::config::CoolDown;

/// Calls that are remembered. People cannot deny this many in the longest window; a program that answers for them
/// makes us forget the call whose time is over first.
const REMEMBERED: usize = 1024;

/// Recent denials by the digest of the call, which includes its agent.
#[derive(Default)]
pub(super) struct CoolDowns(HashMap<Digest, Denials>);

#[derive(Default)]
struct Denials {
    /// Each counts until then.
    recent: Vec<Deadline>,
    /// Nobody is asked until then.
    cooling: Option<Deadline>,
}

impl CoolDowns {
    pub(super) fn denied(&mut self, call: Digest, rule: CoolDown, now: Timestamp) {
        self.make_room(now);
        let denials = self.0.entry(call).or_default();
        let counts = Deadline::new(now.plus(rule.window), now);
        denials.recent.retain(|d| !d.is_over(now));
        denials.recent.push(counts);
        if denials.recent.len() >= rule.denies {
            *denials = Denials { recent: Vec::new(), cooling: Some(counts) };
        }
    }

    pub(super) fn approved(&mut self, call: Digest) {
        self.0.remove(&call);
    }

    pub(super) fn until(&self, call: Digest, now: Timestamp) -> Option<Timestamp> {
        self.0.get(&call)?.cooling.filter(|d| !d.is_over(now)).map(|d| d.at())
    }

    fn make_room(&mut self, now: Timestamp) {
        if self.0.len() < REMEMBERED {
            return;
        }
        self.0.retain(|_, d| d.end().is_some_and(|end| !end.is_over(now)));
        let oldest = self.0.iter().min_by_key(|(_, d)| d.end().map(|end| end.at())).map(|(call, _)| *call);
        if let Some(call) = oldest.filter(|_| self.0.len() >= REMEMBERED) {
            self.0.remove(&call);
        }
    }
}

impl Denials {
    fn end(&self) -> Option<Deadline> {
        self.cooling.or(self.recent.last().copied())
    }
}

/// What the agent hears when nobody was asked.
pub(super) fn note(rule: CoolDown, until: Timestamp) -> String {
    let until = until.to_string();
    let (minutes, time) = (rule.window.as_secs() / 60, until.get(11..16).unwrap_or(&until));
    let times = if rule.denies == 1 { "once".to_owned() } else { format!("{} times", rule.denies) };
    let within = if minutes == 1 { "a minute".to_owned() } else { format!("{minutes} minutes") };
    format!("denied {times} in {within}; not asked again until {time} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const RULE: CoolDown = CoolDown { denies: 3, window: Duration::from_secs(600) };

    fn at(minutes: i64) -> Timestamp {
        Timestamp(minutes * 60_000)
    }

    fn call(name: usize) -> Digest {
        Digest::sha256(&name.to_be_bytes())
    }

    #[test]
    fn the_third_denial_within_the_time_silences_exactly_this_call() {
        let mut downs = CoolDowns::default();
        for minute in [0, 5] {
            downs.denied(call(1), RULE, at(minute));
            assert_eq!(downs.until(call(1), at(minute)), None);
        }
        downs.denied(call(1), RULE, at(9));
        assert_eq!(downs.until(call(1), at(9)), Some(at(19)));
        assert_eq!(downs.until(call(2), at(9)), None);
        assert_eq!(downs.until(call(1), at(19)), None);
    }

    #[test]
    fn after_the_silence_the_count_begins_anew() {
        let mut downs = CoolDowns::default();
        (0..3).for_each(|minute| downs.denied(call(1), RULE, at(minute)));
        downs.denied(call(1), RULE, at(12));
        assert_eq!(downs.until(call(1), at(12)), None);
    }

    #[test]
    fn old_denials_and_an_approval_do_not_count() {
        let mut downs = CoolDowns::default();
        [0, 6, 11].into_iter().for_each(|minute| downs.denied(call(1), RULE, at(minute)));
        assert_eq!(downs.until(call(1), at(11)), None);
        downs.approved(call(1));
        [12, 13].into_iter().for_each(|minute| downs.denied(call(1), RULE, at(minute)));
        assert_eq!(downs.until(call(1), at(13)), None);
    }

    #[test]
    fn memory_is_bounded_and_the_newest_stay() {
        let mut downs = CoolDowns::default();
        for name in 0..REMEMBERED * 2 {
            let now = Timestamp(i64::try_from(name).unwrap());
            downs.denied(call(name), CoolDown { denies: 1, ..RULE }, now);
        }
        assert_eq!(downs.0.len(), REMEMBERED);
        assert!(downs.until(call(REMEMBERED * 2 - 1), at(1)).is_some());
        downs.denied(call(0), RULE, at(60));
        assert_eq!(downs.0.len(), 1);
    }

    #[test]
    fn the_agent_hears_until_when() {
        let text = note(RULE, Timestamp(1_700_000_000_000));
        assert_eq!(text, "denied 3 times in 10 minutes; not asked again until 22:13 UTC");
        let text = note(CoolDown { denies: 1, window: Duration::from_secs(60) }, Timestamp(0));
        assert_eq!(text, "denied once in a minute; not asked again until 00:00 UTC");
    }
}
