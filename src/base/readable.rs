//! Numbers, times and ids in the form that people read.

use std::time::Duration;

/// `1 agent`, `2 agents`.
pub(crate) fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// A number of bytes as people say it: `812 bytes`, `34 kB`, `1.2 MB`.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} bytes"),
        1000..1_000_000 => format!("{} kB", bytes.saturating_add(500) / 1000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}

/// The first eight digits of a request id. Ids are random, so these are unique in practice; where they are not, the
/// gateway says so.
pub(crate) fn short_id(id: &str) -> String {
    id.chars().take(8).collect()
}

/// `14:32`, or `1:02:03` above an hour.
pub(crate) fn countdown(left: Duration) -> String {
    let s = left.as_secs();
    match s / 3600 {
        0 => format!("{:02}:{:02}", s / 60, s % 60),
        hours => format!("{hours}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

/// `45 s`, `10 min` (rounded up), `2 h 5 min`, `3 days 4 h`.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds.div_ceil(60), seconds / 3600, seconds / 86_400);
    match (days, hours, seconds) {
        (0, 0, 0..=90) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {} min", seconds / 60 % 60),
        (1, _, _) => format!("1 day {} h", hours % 24),
        (_, _, _) => format!("{days} days {} h", hours % 24),
    }
}

/// `1 h` where [`span`] says `1 h 0 min`.
pub(crate) fn round_span(time: Duration) -> String {
    let seconds = time.as_secs();
    for (unit, name) in [(86_400, if seconds == 86_400 { "day" } else { "days" }), (3600, "h"), (60, "min")] {
        if seconds >= unit && seconds.is_multiple_of(unit) {
            return format!("{} {name}", seconds / unit);
        }
    }
    span(time)
}

/// Reads `90s`, `30m`, `24h`, `7d` and `2w`.
pub(crate) fn read_span(text: &str) -> Option<Duration> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        'w' => 7 * 24 * 3600,
        _ => return None,
    };
    let count: u64 = text.get(..text.len() - 1)?.parse().ok()?;
    count.checked_mul(unit).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_short() {
        assert_eq!(countdown(Duration::from_secs(872)), "14:32");
        assert_eq!(countdown(Duration::from_secs(3723)), "1:02:03");
        let shown = [5, 90, 600, 3725, 90_000, 800_000].map(|s| span(Duration::from_secs(s)));
        let read = ["5s", "90s", "10m", "1h", "1d", "2w"].map(|text| read_span(text).map(|s| s.as_secs()));
        assert_eq!(read, [5, 90, 600, 3600, 86_400, 1_209_600].map(Some));
        for bad in
            ["", "s", "-5s", "5", "5 s", "1h30m", "1.5h", "5ä", "99999999999999999999s", "9999999999999999w"]
        {
            assert_eq!(read_span(bad), None, "{bad}");
        }
        assert_eq!(shown, ["5 s", "90 s", "10 min", "1 h 2 min", "1 day 1 h", "9 days 6 h"]);
    }
}
