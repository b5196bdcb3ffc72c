//! Time: the wall clock, a clock that tests can set, and deadlines that nothing can extend.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::time_sync::TimeSync;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

/// Milliseconds since 1970-01-01 UTC. Shown as RFC 3339 in UTC, to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This moment moved by `by`, saturating at the ends of the range.
    pub fn plus(self, by: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This moment moved back by `by`, saturating.
    pub fn minus(self, by: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This many seconds after 1970; None for a time before the first release, which no right clock has shown.
    pub(crate) fn of_this_age(seconds: i64) -> Option<Timestamp> {
        seconds.checked_mul(1000).map(Timestamp).filter(|at| *at >= FIRST_RELEASE)
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads an RFC 3339 time with any offset.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok().map(Timestamp)
    }

    /// Reads the time of an HTTP header (RFC 9110): `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub(crate) fn parse_http_date(text: &str) -> Option<Timestamp> {
        let at = OffsetDateTime::parse(text, &Rfc2822).ok()?;
        at.unix_timestamp().checked_mul(1000).map(Timestamp)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i128::from(self.0) * 1_000_000;
        let Ok(t) = OffsetDateTime::from_unix_timestamp_nanos(nanos) else {
            return write!(f, "{}ms", self.0);
        };
        let (y, mo, d) = (t.year(), u8::from(t.month()), t.day());
        let (h, mi, s, ms) = (t.hour(), t.minute(), t.second(), t.millisecond());
        write!(f, "{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{ms:03}Z")
    }
}

/// The wall clock, or one that a test holds still and moves. Clones are one clock.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    manual: Option<Rc<Cell<i64>>>,
    carried: Rc<Cell<Option<CarriedOn>>>,
    /// The newest time that was recorded or read; None before there is any.
    newest: Rc<Cell<Option<Timestamp>>>,
    /// No time before this one is right; None: the program's build date.
    earliest: Rc<Cell<Option<Timestamp>>>,
}

/// A time that goes on from the newest recorded one, because the system's clock is behind it.
#[derive(Clone, Copy, Debug)]
struct CarriedOn {
    from: Timestamp,
    since: Uptime,
}

/// A system clock that nobody vouches for, and that is further behind the record than this, was wrong earlier, not now:
/// a machine without a clock of its own usually starts with the time at which it last ran.
const BELIEVABLE_GAP: Duration = Duration::from_secs(24 * 3600);
/// How far the clock may be behind the newest time without being doubted.
const SET_BACK: Duration = Duration::from_secs(5 * 60);
/// 2026-01-01, before the first release: no earlier clock is right.
const FIRST_RELEASE: Timestamp = Timestamp(1_767_225_600_000);

impl Clock {
    pub fn system() -> Clock {
        Clock::default()
    }

    /// A clock that stands at `at` until [`Clock::set`] moves it.
    pub fn manual(at: Timestamp) -> Clock {
        Clock { manual: Some(Rc::new(Cell::new(at.0))), ..Clock::default() }
    }

    /// Moves a manual clock; the system's clock is left alone.
    pub fn set(&self, at: Timestamp) {
        if let Some(cell) = &self.manual {
            cell.set(at.0);
        }
    }

    /// Goes on from `newest`, the newest time in the record, if the system's clock is behind it and not to be believed;
    /// until it has caught up, or [`Clock::believe`]. A manual clock is always believed.
    pub(crate) fn carry_on(&self, newest: Timestamp, sync: TimeSync) {
        let system = system_now();
        self.newest.set(Some(newest));
        let is_wrong = match sync {
            TimeSync::Synchronized => false,
            TimeSync::Unsynchronized => true,
            TimeSync::Unknown => system < FIRST_RELEASE || newest.since(system) <= BELIEVABLE_GAP,
        };
        if self.manual.is_none() && newest > system && is_wrong {
            self.carried.set(Some(CarriedOn { from: newest, since: Uptime::now() }));
        }
    }

    /// Ends what [`Clock::carry_on`] began.
    pub(crate) fn believe(&self) {
        self.carried.set(None);
    }

    /// Whether the system's clock can be right: not before the program was built, nor more than five minutes before the
    /// newest time that was recorded. A manual clock is always right.
    pub(crate) fn is_set(&self) -> bool {
        let system = system_now();
        let earliest = self.earliest.get().unwrap_or_else(built);
        let behind = self.newest.get().map(|newest| newest.since(system)).unwrap_or_default();
        self.manual.is_some() || system >= earliest && behind <= SET_BACK
    }

    /// The newest time that was recorded or read.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.newest.get()
    }

    /// Takes the present time of the system's clock as right.
    pub(crate) fn accept(&self) {
        self.believe();
        let system = system_now();
        self.newest.set(Some(system));
        self.earliest.set(Some(system.min(built())));
    }

    /// By how much the system's clock is corrected; zero when it is believed.
    pub(crate) fn correction(&self) -> Duration {
        if self.manual.is_some() { Duration::ZERO } else { self.now().since(system_now()) }
    }

    /// Now. A system clock before 1970 reads as 1970.
    pub fn now(&self) -> Timestamp {
        let now = match (&self.manual, self.carried.get()) {
            (Some(cell), _) => return Timestamp(cell.get()),
            (None, None) => system_now(),
            (None, Some(carried)) => system_now().max(carried.from.plus(Uptime::now().since(carried.since))),
        };
        self.newest.set(self.newest.get().max(Some(now)));
        now
    }
}

/// When the program was built, as far as it knows.
fn built() -> Timestamp {
    let seconds: i64 = env!("AGENTPASS_BUILT").parse().unwrap_or_default();
    Timestamp(seconds.saturating_mul(1000)).max(FIRST_RELEASE)
}

fn system_now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Milliseconds since this machine was started, suspends included. Nobody can set it; it means nothing in another
/// [boot](boot_id).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Uptime(pub i64);

impl Uptime {
    pub(crate) fn now() -> Uptime {
        let at = clock_gettime(ClockId::Boottime);
        Uptime(at.tv_sec.saturating_mul(1000).saturating_add(at.tv_nsec / 1_000_000))
    }

    /// This moment moved by `by`, saturating.
    pub(crate) fn plus(self, by: Duration) -> Uptime {
        Uptime(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub(crate) fn since(self, earlier: Uptime) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// The variable in which the unit passes on the boot id: it hides `/proc/sys` from the service.
const BOOT: &str = "AGENTPASS_BOOT";

/// The id of this boot; None where neither the unit nor the kernel tells.
pub(crate) fn boot_id() -> Option<String> {
    let told = std::env::var(BOOT).ok();
    let id = told.or_else(|| std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok())?;
    // The kernel writes it with dashes, systemd without.
    Some(id.trim().replace('-', "")).filter(|id| !id.is_empty())
}

/// The longest a sleeping task goes without looking at the wall clock again.
pub(crate) const RECHECK: Duration = Duration::from_secs(30);

/// A moment after which something no longer counts. It is kept as wall clock (stored, shown to people) and,
/// while the process lives, bounded by the machine's own time too: a clock set back never extends it, a clock set
/// forward or a suspend ends it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Timestamp,
    armed: Uptime,
    budget: Duration,
}

impl Deadline {
    pub(crate) fn new(at: Timestamp, now: Timestamp) -> Deadline {
        Deadline { at, armed: Uptime::now(), budget: at.since(now) }
    }

    /// The same, and over at the latest when the machine's own time says `ends`.
    pub(crate) fn bounded(at: Timestamp, now: Timestamp, ends: Option<Uptime>) -> Deadline {
        let own = Deadline::new(at, now);
        let left = ends.map(|ends| ends.since(own.armed));
        Deadline { budget: left.map_or(own.budget, |left| left.min(own.budget)), ..own }
    }

    /// The wall-clock moment, as stored and shown.
    pub(crate) fn at(&self) -> Timestamp {
        self.at
    }

    /// Time left by whichever of the two clocks leaves less.
    pub(crate) fn left(&self, now: Timestamp) -> Duration {
        self.at.since(now).min(self.budget.saturating_sub(Uptime::now().since(self.armed)))
    }

    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.left(now).is_zero()
    }

    /// How long to sleep before looking again: what is left, at most [`RECHECK`].
    pub(crate) fn nap(&self, now: Timestamp) -> Duration {
        self.left(now).min(RECHECK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_and_reads_rfc3339() {
        let t = Timestamp(1_700_000_000_123);
        assert_eq!(t.to_string(), "2023-11-14T22:13:20.123Z");
        assert_eq!(Timestamp::parse("2023-11-14T23:13:20.123+01:00"), Some(t));
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    #[test]
    fn a_clock_set_back_never_extends_and_one_set_forward_ends() {
        let clock = Clock::manual(Timestamp(1_000_000));
        let d = Deadline::new(clock.now().plus(Duration::from_secs(60)), clock.now());
        clock.set(Timestamp(0));
        assert!(d.left(clock.now()) <= Duration::from_secs(60));
        clock.set(Timestamp(1_060_000));
        assert!(d.is_over(clock.now()));
    }

    #[test]
    fn a_clock_that_stands_before_the_record_goes_on_from_it_unless_it_is_right() {
        let clock_after = |gap: Duration, sync| {
            let clock = Clock::system();
            clock.carry_on(system_now().plus(gap), sync);
            clock.correction() > gap / 2
        };
        let (hour, month) = (Duration::from_secs(3600), Duration::from_secs(30 * 86_400));
        for (sync, after_an_hour, after_a_month) in [
            (TimeSync::Synchronized, false, false),
            (TimeSync::Unsynchronized, true, true),
            (TimeSync::Unknown, true, false),
        ] {
            assert_eq!(
                (clock_after(hour, sync), clock_after(month, sync)),
                (after_an_hour, after_a_month),
                "{sync}"
            );
        }
        let clock = Clock::system();
        clock.carry_on(system_now().plus(hour), TimeSync::Unsynchronized);
        let first = clock.now();
        assert!(clock.now() >= first && clock.clone().now() >= first);
        clock.clone().believe();
        assert_eq!(clock.correction(), Duration::ZERO);
        let clock = Clock::manual(Timestamp(7));
        clock.carry_on(Timestamp(1000), TimeSync::Unsynchronized);
        assert_eq!((clock.now(), clock.correction()), (Timestamp(7), Duration::ZERO));
    }

    #[test]
    fn a_clock_behind_the_record_is_not_set_until_a_person_accepts_it() {
        let clock_after = |gap: Duration| {
            let clock = Clock::system();
            clock.carry_on(system_now().plus(gap), TimeSync::Synchronized);
            clock
        };
        assert!(Clock::system().is_set() && clock_after(Duration::from_secs(290)).is_set());
        let clock = clock_after(Duration::from_secs(310));
        assert!(!clock.is_set() && clock.newest() > Some(clock.now()));
        clock.clone().accept();
        assert!(clock.is_set());
        let clock = Clock::manual(Timestamp(7));
        clock.carry_on(Timestamp(i64::MAX), TimeSync::Synchronized);
        assert!(clock.is_set() && built() >= FIRST_RELEASE);
    }

    #[test]
    fn the_time_of_the_machine_goes_on_and_has_a_name() {
        let before = Uptime::now();
        assert!(before.0 > 0 && Uptime::now() >= before);
        assert_eq!(Uptime(5).since(Uptime(-7)), Duration::from_millis(12));
        assert_eq!(Uptime(5).since(Uptime(7)), Duration::ZERO);
        assert_eq!(boot_id(), boot_id());
    }

    #[test]
    fn a_nap_is_never_longer_than_the_recheck() {
        let d = Deadline::new(Timestamp(3_600_000), Timestamp(0));
        assert_eq!(d.nap(Timestamp(0)), RECHECK);
    }
}
