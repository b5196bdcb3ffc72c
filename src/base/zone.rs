//! The gateway's local time, for people: from `TZ` or /etc/localtime, as in the C library, but in the static program
//! too. What is recorded and what programs read stays UTC.

use std::env::{self, VarError};
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tz::TimeZone;

use super::clock::Timestamp;
use super::safe_text::visible;

/// The zone of a running machine can be changed: it may be carried elsewhere.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
const LOCALTIME: &str = "/etc/localtime";
const DAY: Duration = Duration::from_secs(24 * 3600);

static LATEST: Mutex<Option<(Instant, Arc<Zone>)>> = Mutex::new(None);

/// A time zone with its history and its rules for the future.
#[derive(Debug, Default, PartialEq)]
pub struct Zone {
    /// None: UTC.
    rules: Option<TimeZone>,
    /// Its name in the zone database, if it has one.
    name: Option<String>,
}

impl Zone {
    /// The machine's zone, read again after a minute. Where it cannot be read any more it is the last one that could be, and
    /// UTC where none could.
    pub fn system() -> Arc<Zone> {
        let mut latest = LATEST.lock().unwrap_or_else(PoisonError::into_inner);
        match &*latest {
            Some((looked, zone)) if looked.elapsed() < LOOK_AGAIN => zone.clone(),
            known => {
                let before = known.as_ref().map(|(_, zone)| zone.clone());
                let zone = read().map_or_else(|_| before.unwrap_or_default(), Arc::new);
                *latest = Some((Instant::now(), zone.clone()));
                zone
            }
        }
    }

    /// Why nobody knows the machine's zone, in words.
    pub(crate) fn system_fault() -> Option<String> {
        read().err()
    }

    pub fn utc() -> Arc<Zone> {
        static UTC: LazyLock<Arc<Zone>> = LazyLock::new(Arc::default);
        UTC.clone()
    }

    /// A zone in the words of `TZ`: `Europe/Berlin`, `CET-1CEST,M3.5.0,M10.5.0/3`. None when there is no such zone.
    pub fn named(words: &str) -> Option<Zone> {
        let words = words.strip_prefix(':').unwrap_or(words);
        let rules = TimeZone::from_posix_tz(words).ok()?;
        // Unlike a rule: `UTC0`, `EST5EDT`, `CET-1CEST,M3.5.0,M10.5.0/3`.
        let is_rule =
            words.contains(',') || (!words.contains('/') && words.contains(|c: char| c.is_ascii_digit()));
        let is_name = !is_rule && !words.contains('<');
        Some(Zone::new(rules, is_name.then(|| words.to_owned())))
    }

    /// Several names of the zone database mean UTC.
    fn new(rules: TimeZone, name: Option<String>) -> Zone {
        match name.as_deref() {
            Some(name) if means_utc(name) => Zone::default(),
            Some("localtime") => Zone { rules: Some(rules), name: None },
            Some(_) | None => Zone { rules: Some(rules), name },
        }
    }

    /// What clocks here show at `at`, as if it were UTC.
    pub fn wall(&self, at: Timestamp) -> Timestamp {
        Timestamp(at.0.saturating_add(self.offset(at)))
    }

    /// The moment at which clocks here show `wall`: the earlier of two when they are set back; within a skipped hour,
    /// the moment as long after its beginning.
    pub fn when(&self, wall: Timestamp) -> Timestamp {
        let offsets = [wall.minus(DAY), wall.plus(DAY)].map(|at| self.offset(at));
        let moment = |offset: i64| Timestamp(wall.0.saturating_sub(offset));
        let fits = offsets.into_iter().find(|offset| self.offset(moment(*offset)) == *offset);
        let [before, _] = offsets;
        moment(fits.unwrap_or(before))
    }

    /// `2026-11-21 09:43:13`
    pub fn date_and_time(&self, at: Timestamp) -> String {
        let text = self.wall(at).to_string();
        text.split('.').next().unwrap_or_default().replacen('T', " ", 1)
    }

    /// `09:43`
    pub fn hour_and_minute(&self, at: Timestamp) -> String {
        self.wall(at).to_string().chars().skip("2026-11-21T".len()).take("09:43".len()).collect()
    }

    /// Its name for people: `Europe/Berlin`, or the abbreviation at `at` (`CET`).
    pub fn name(&self, at: Timestamp) -> String {
        let designation = || Some(self.kind(at)?.time_zone_designation().to_owned());
        let designation = || designation().filter(|d| !d.is_empty());
        self.name.clone().or_else(designation).unwrap_or_else(|| "UTC".to_owned())
    }

    /// `Europe/Berlin (UTC+1)`; UTC alone is `UTC`.
    pub fn described(&self, at: Timestamp) -> String {
        let minutes = self.offset(at) / 60_000;
        let (sign, size) = (if minutes < 0 { '−' } else { '+' }, minutes.unsigned_abs());
        let name = self.name(at);
        match (size / 60, size % 60) {
            (0, 0) if name == "UTC" => name,
            (hours, 0) => format!("{name} (UTC{sign}{hours})"),
            (hours, minutes) => format!("{name} (UTC{sign}{hours}:{minutes:02})"),
        }
    }

    /// Milliseconds that clocks here are ahead of UTC.
    fn offset(&self, at: Timestamp) -> i64 {
        self.kind(at).map_or(0, |kind| i64::from(kind.ut_offset()) * 1000)
    }

    fn kind(&self, at: Timestamp) -> Option<&tz::LocalTimeType> {
        self.rules.as_ref()?.find_local_time_type(at.0.div_euclid(1000)).ok()
    }
}

/// Where nothing is said of a zone, it is UTC.
fn read() -> Result<Zone, String> {
    match env::var("TZ") {
        Ok(words) if words.is_empty() => Ok(Zone::default()),
        Ok(words) => {
            let unknown = || format!("TZ says \"{}\", which is not a time zone known here", visible(&words));
            Zone::named(&words).ok_or_else(unknown)
        }
        Err(VarError::NotUnicode(_)) => Err("TZ is no text".to_owned()),
        Err(VarError::NotPresent) => match Path::new(LOCALTIME) {
            file if file.symlink_metadata().is_err() => Ok(Zone::default()),
            // So that small images without a zone database have it.
            file if fs::read_link(file).is_ok_and(|to| zone_name(&to).is_some_and(means_utc)) => {
                Ok(Zone::default())
            }
            file => of_file(file).ok_or_else(|| format!("{LOCALTIME} leads to no time zone")),
        },
    }
}

/// The name in the zone database of a file of it.
fn zone_name(path: &Path) -> Option<&str> {
    Some(path.to_str()?.split_once("/zoneinfo/")?.1)
}

fn means_utc(name: &str) -> bool {
    matches!(name.strip_prefix("Etc/").unwrap_or(name), "UTC" | "UCT" | "Universal" | "Zulu")
}

/// A zone from a file of the zone database, named after where the link leads.
fn of_file(path: &Path) -> Option<Zone> {
    let rules = TimeZone::from_tz_data(&fs::read(path).ok()?).ok()?;
    let target = fs::canonicalize(path).ok()?;
    Some(Zone::new(rules, zone_name(&target).map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As on any system, with or without the zone database.
    const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn clocks_show_summer_and_winter_time() {
        let zone = Zone::named(BERLIN).unwrap();
        for (utc, local, described) in [
            ("2026-01-31T23:30:00Z", "2026-02-01 00:30:00", "CET (UTC+1)"),
            ("2026-03-29T00:59:59Z", "2026-03-29 01:59:59", "CET (UTC+1)"),
            ("2026-03-29T01:00:00Z", "2026-03-29 03:00:00", "CEST (UTC+2)"),
            ("2026-10-25T00:59:59Z", "2026-10-25 02:59:59", "CEST (UTC+2)"),
            ("2026-10-25T01:00:00Z", "2026-10-25 02:00:00", "CET (UTC+1)"),
        ] {
            assert_eq!(zone.date_and_time(at(utc)), local);
            assert_eq!(zone.described(at(utc)), described);
        }
        assert_eq!(zone.hour_and_minute(at("2026-07-01T10:05:59Z")), "12:05");
    }

    #[test]
    fn what_a_clock_shows_is_a_moment() {
        let zone = Zone::named(BERLIN).unwrap();
        for (wall, moment) in [
            ("2026-07-01T12:00:00Z", "2026-07-01T10:00:00Z"),
            ("2026-01-01T00:00:00Z", "2025-12-31T23:00:00Z"),
            ("2026-10-25T02:30:00Z", "2026-10-25T00:30:00Z"),
            ("2026-03-29T02:30:00Z", "2026-03-29T01:30:00Z"),
            ("2026-03-29T03:00:00Z", "2026-03-29T01:00:00Z"),
        ] {
            assert_eq!(zone.when(at(wall)), at(moment), "{wall}");
        }
        for hour in 0..24 * 366 {
            let moment = Timestamp(at("2026-01-01T00:00:00Z").0 + hour * 3_600_000);
            let again = zone.when(zone.wall(moment));
            assert!(again == moment || zone.wall(again) == zone.wall(moment), "{moment}");
        }
    }

    #[test]
    fn zones_west_and_between_the_hours() {
        let moment = at("2026-01-01T00:00:00Z");
        for (words, local, described) in [
            ("<-0330>3:30", "2025-12-31 20:30:00", "-0330 (UTC−3:30)"),
            ("IST-5:30", "2026-01-01 05:30:00", "IST (UTC+5:30)"),
            ("UTC0", "2026-01-01 00:00:00", "UTC"),
        ] {
            let zone = Zone::named(words).unwrap();
            assert_eq!(
                (zone.date_and_time(moment).as_str(), zone.described(moment).as_str()),
                (local, described)
            );
        }
    }

    #[test]
    fn without_a_zone_it_is_utc() {
        for bad in ["", "No/Such_Place", "Europe/../../../etc/passwd", "\0", "CET-99"] {
            assert_eq!(Zone::named(bad), None, "{bad:?}");
        }
        assert_eq!(of_file(Path::new("/etc/hostname")), None);
        let utc = Zone::default();
        assert_eq!(utc.date_and_time(at("2026-01-31T12:00:05.999Z")), "2026-01-31 12:00:05");
        assert_eq!((utc.described(Timestamp(0)), utc.when(Timestamp(5))), ("UTC".into(), Timestamp(5)));
        assert_eq!(Zone::new(TimeZone::utc(), Some("Etc/UTC".into())), utc);
        let of = |path: &'static str| zone_name(Path::new(path));
        assert_eq!(of("/usr/share/zoneinfo/Etc/UTC").map(means_utc), Some(true));
        assert_eq!(of("../usr/share/zoneinfo/Europe/Berlin").map(means_utc), Some(false));
    }
}
