//! Whether Telegram can be reached, and since when. Pure.

use std::time::Duration;

use super::card::clock_time;
use crate::base::clock::Timestamp;
use crate::base::zone::Zone;

/// Telegram keeps taps for 150 s. After an absence longer than this, open questions say that taps may be lost.
pub(super) const LONG: Duration = Duration::from_secs(120);

/// One direction: fetching or sending.
#[derive(Debug, Default)]
pub(super) struct Reachability {
    up: bool,
    since: Option<Timestamp>,
    /// Why the last attempt failed, if it did.
    error: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Same,
    /// It works again, or for the first time; when it had stopped working.
    Back(Option<Timestamp>),
    /// It stopped working, or for another reason than before.
    Lost,
}

impl Reachability {
    pub(super) fn worked(&mut self, now: Timestamp) -> Change {
        self.error = None;
        if self.up {
            return Change::Same;
        }
        self.up = true;
        Change::Back(self.since.replace(now))
    }

    /// An attempt that began then failed.
    pub(super) fn failed(&mut self, began: Timestamp, error: String) -> Change {
        if self.up || self.since.is_none() {
            self.since = Some(began);
        }
        self.up = false;
        let is_news = self.error.as_ref() != Some(&error);
        self.error = Some(error);
        if is_news { Change::Lost } else { Change::Same }
    }

    /// Whether the last attempt worked; false before the first.
    pub(super) fn is_up(&self) -> bool {
        self.up
    }

    /// Whether the last attempt failed; false before the first.
    pub(super) fn is_failing(&self) -> bool {
        self.error.is_some()
    }

    pub(super) fn since(&self) -> Option<Timestamp> {
        self.since
    }

    pub(super) fn describe(&self, zone: &Zone) -> String {
        let since = self.since.map(|at| format!(" since {}", clock_time(at, zone))).unwrap_or_default();
        match (&self.error, self.up) {
            (Some(error), _) => format!("not reachable{since}: {error}"),
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
