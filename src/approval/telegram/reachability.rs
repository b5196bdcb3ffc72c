//! Whether Telegram can be reached, since when, and when an absence was long enough to have lost taps. Pure.

use std::time::Duration;

use super::card::clock_time;
use crate::base::clock::Timestamp;
use crate::base::zone::Zone;

/// Telegram keeps taps for 150 s. After an absence longer than this, open questions say that taps may be lost.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// One direction: fetching or sending.
#[derive(Debug, Default)]
pub(crate) struct Reachability {
    good: bool,
    since: Option<Timestamp>,
    why: Option<String>,
}

/// What changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    Same,
    /// It works again; it had not since then.
    Back(Option<Timestamp>),
    /// It stopped working, or for another reason than before.
    Lost,
}

impl Reachability {
    /// It worked.
    pub(crate) fn worked(&mut self, now: Timestamp) -> Change {
        self.why = None;
        if self.good {
            return Change::Same;
        }
        self.good = true;
        Change::Back(self.since.replace(now))
    }

    /// It did not, in an attempt that began then.
    pub(crate) fn failed(&mut self, began: Timestamp, why: String) -> Change {
        if self.good || self.since.is_none() {
            self.since = Some(began);
        }
        self.good = false;
        let news = self.why.as_ref() != Some(&why);
        self.why = Some(why);
        if news { Change::Lost } else { Change::Same }
    }

    /// Whether it worked at the last attempt.
    pub(crate) fn is_up(&self) -> bool {
        self.good
    }

    /// Whether the last attempt failed.
    pub(crate) fn failing(&self) -> bool {
        self.why.is_some()
    }

    /// Since when that is so.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        self.since
    }

    /// For people: since when, and why not.
    pub(crate) fn describe(&self, zone: &Zone) -> String {
        let since = self.since.map(|at| format!(" since {}", clock_time(at, zone))).unwrap_or_default();
        match (&self.why, self.good) {
            (Some(why), _) => format!("not reachable{since}: {why}"),
            (None, true) => format!("reachable{since}"),
            (None, false) => "not reached yet".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absence_begins_with_the_first_failure() {
        let mut link = Reachability::default();
        assert_eq!((link.describe(&Zone::default()).as_str(), link.is_up()), ("not reached yet", false));
        assert_eq!(link.worked(Timestamp(0)), Change::Back(None));
        assert_eq!(link.worked(Timestamp(60_000)), Change::Same);
        assert_eq!(link.describe(&Zone::default()), "reachable since 00:00 UTC");
        assert_eq!(link.failed(Timestamp(120_000), "no answer".into()), Change::Lost);
        assert_eq!(link.failed(Timestamp(180_000), "no answer".into()), Change::Same);
        assert_eq!(link.failed(Timestamp(180_000), "refused".into()), Change::Lost);
        assert_eq!(
            (link.describe(&Zone::default()).as_str(), link.is_up()),
            ("not reachable since 00:02 UTC: refused", false)
        );
        assert_eq!(link.worked(Timestamp(240_000)), Change::Back(Some(Timestamp(120_000))));
    }
}
