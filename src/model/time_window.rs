//! When a rule counts.

use std::sync::Arc;

use crate::base::clock::Timestamp;
use crate::base::words::words;
use crate::base::zone::Zone;

words! {
    /// A day of the week.
    pub enum Weekday {
        Monday = "mon",
        Tuesday = "tue",
        Wednesday = "wed",
        Thursday = "thu",
        Friday = "fri",
        Saturday = "sat",
        Sunday = "sun",
    }
}

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
/// The first day of 1970 was a Thursday.
const DAYS_SINCE_MONDAY: i64 = 3;
/// Minutes of a day.
pub(crate) const MIDNIGHT: u16 = 24 * 60;

/// A stretch of each of some days, as clocks on the wall show it.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeWindow {
    /// Empty: every day. Over midnight, the day is the one on which it began.
    pub days: Vec<Weekday>,
    /// Minutes since midnight.
    pub from: u16,
    /// The first minute behind it. Unless it is later than `from`, the window goes over midnight.
    pub to: u16,
    /// None: the machine's own.
    pub zone: Option<Arc<Zone>>,
}

impl Default for TimeWindow {
    /// Always.
    fn default() -> TimeWindow {
        TimeWindow { days: Vec::new(), from: 0, to: MIDNIGHT, zone: None }
    }
}

impl TimeWindow {
    /// The minutes since midnight of `08:00`; `24:00` is the end of the day.
    pub fn minutes(text: &str) -> Option<u16> {
        let (hours, minutes) = text.split_once(':')?;
        let number = |digits: &str| {
            let two = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse::<u16>().ok().filter(|_| two)
        };
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        let all = hours * 60 + minutes;
        (minutes < 60 && all <= MIDNIGHT).then_some(all)
    }

    /// Whether `now` lies in it, on a machine in the zone `machine`.
    pub fn contains(&self, now: Timestamp, machine: &Zone) -> bool {
        let wall = self.zone.as_deref().unwrap_or(machine).wall(now).0;
        let (day, minute) = (wall.div_euclid(DAY_MS), wall.rem_euclid(DAY_MS) / MINUTE_MS);
        let (from, to) = (i64::from(self.from), i64::from(self.to));
        match from < to {
            true => from <= minute && minute < to && self.is_on(day),
            false => from <= minute && self.is_on(day) || minute < to && self.is_on(day - 1),
        }
    }

    /// Whether it begins on this day, counted from 1970.
    fn is_on(&self, day: i64) -> bool {
        let place = usize::try_from((day + DAYS_SINCE_MONDAY).rem_euclid(7)).unwrap_or_default();
        self.days.is_empty() || Weekday::ALL.get(place).is_some_and(|today| self.days.contains(today))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &str, from: &str, to: &str) -> TimeWindow {
        let of = |word: &str| Weekday::ALL.into_iter().find(|day| day.as_str() == word).unwrap();
        TimeWindow {
            days: days.split_whitespace().map(of).collect(),
            from: TimeWindow::minutes(from).unwrap(),
            to: TimeWindow::minutes(to).unwrap(),
            zone: Zone::named("CET-1CEST,M3.5.0,M10.5.0/3").map(Arc::new),
        }
    }

    #[test]
    fn minutes_of_a_day() {
        for (text, minutes) in [("00:00", 0), ("08:30", 510), ("23:59", 1439), ("24:00", 1440)] {
            assert_eq!(TimeWindow::minutes(text), Some(minutes), "{text}");
        }
        for wrong in
            ["", "8:00", "08:0", "08:60", "24:01", "25:00", "-1:00", "+8:00", "08:00:00", "0800", "०८:००"]
        {
            assert_eq!(TimeWindow::minutes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn from_is_in_it_and_to_is_not() {
        let office = window("mon tue wed thu fri", "08:00", "20:00");
        let night = window("fri", "22:00", "06:00");
        let weekend = window("sat sun", "00:00", "24:00");
        let whole = window("fri", "06:00", "06:00");
        for (window, now, expected) in [
            (&office, "2026-11-27T06:59:59.999Z", false),
            (&office, "2026-11-27T07:00:00Z", true),
            (&office, "2026-11-27T18:59:59.999Z", true),
            (&office, "2026-11-27T19:00:00Z", false),
            (&office, "2026-11-28T10:00:00Z", false),
            // Over midnight it belongs to the day on which it began.
            (&night, "2026-11-27T20:59:59Z", false),
            (&night, "2026-11-27T21:00:00Z", true),
            (&night, "2026-11-28T04:59:59Z", true),
            (&night, "2026-11-28T05:00:00Z", false),
            (&night, "2026-11-28T21:00:00Z", false),
            (&night, "2026-11-27T04:00:00Z", false),
            (&weekend, "2026-11-27T22:59:59Z", false),
            (&weekend, "2026-11-27T23:00:00Z", true),
            (&weekend, "2026-11-29T22:59:59Z", true),
            (&weekend, "2026-11-29T23:00:00Z", false),
            (&whole, "2026-11-27T04:59:59Z", false),
            (&whole, "2026-11-27T05:00:00Z", true),
            (&whole, "2026-11-28T04:59:59Z", true),
        ] {
            let now = Timestamp::parse(now).unwrap();
            assert_eq!(window.contains(now, &Zone::default()), expected, "{window:?} {now}");
        }
    }

    #[test]
    fn clocks_that_are_set_are_followed() {
        let early = window("sun", "02:00", "03:00");
        for (now, expected) in [
            // 02:00 to 03:00 does not come on the day on which clocks are set forward, and comes twice in autumn.
            ("2026-03-29T00:59:59Z", false),
            ("2026-03-29T01:00:00Z", false),
            ("2026-10-24T23:59:59Z", false),
            ("2026-10-25T00:00:00Z", true),
            ("2026-10-25T01:59:59Z", true),
            ("2026-10-25T02:00:00Z", false),
        ] {
            let now = Timestamp::parse(now).unwrap();
            assert_eq!(early.contains(now, &Zone::default()), expected, "{now}");
        }
        let machine = TimeWindow { zone: None, ..window("", "01:00", "02:00") };
        let now = Timestamp::parse("2026-11-27T00:30:00Z").unwrap();
        assert!(
            machine.contains(now, &Zone::named("CET-1").unwrap()) && !machine.contains(now, &Zone::default())
        );
        assert!(TimeWindow::default().contains(now, &Zone::default()));
    }
}
