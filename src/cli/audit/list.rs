//! `audit list` for people: one call per line, the newest first, what matters of it in 80 columns.

use serde_json::Value;

use crate::base::clock::{Clock, Timestamp};
use crate::base::readable::short_id;
use crate::base::safe_text::visible;
use crate::base::zone::Zone;
use crate::cli::colour::{Shade, on_stdout};
use crate::cli::layout;
use crate::store::reader::AuditRow;

/// The agent of `agent:`. Where it is the only one, its name is not shown.
const ONLY_AGENT: &str = "default";

/// The rows as a table in lines of at most `width` columns that begin with `indent`.
pub(crate) fn table(rows: &[AuditRow], indent: &str, width: Option<usize>) -> String {
    if rows.is_empty() {
        return format!("{indent}nothing is recorded");
    }
    let (today, zone) = (Clock::system().now(), Zone::system());
    let time = zone.described(today);
    let time = format!("TIME ({})", time.split(" (").next().unwrap_or_default());
    let head = [&time, "ID", "AGENT", "DECIDED BY", "OUTCOME", "CALL"].map(str::to_owned);
    let cells = |row: &AuditRow| {
        [
            when(row.at, today, &zone),
            short_id(&row.request_id),
            visible(&row.agent),
            by(row),
            outcome(row),
            call(row),
        ]
    };
    let lines = std::iter::once(head).chain(rows.iter().map(cells));
    if rows.iter().all(|row| row.agent == ONLY_AGENT) {
        let lines = lines.map(|[time, id, _, by, outcome, call]| [time, id, by, outcome, call]);
        return layout::table(&lines.collect::<Vec<_>>(), indent, width);
    }
    layout::table(&lines.collect::<Vec<_>>(), indent, width)
}

/// The time of day for today's calls, the date as well for others.
fn when(at: Timestamp, now: Timestamp, zone: &Zone) -> String {
    let (text, today) = (zone.date_and_time(at), zone.date_and_time(now));
    let (Some((day, time)), Some((this_day, _))) = (text.split_once(' '), today.split_once(' ')) else {
        return text;
    };
    let part = |text: &str, length: usize| text.chars().take(length).collect::<String>();
    if day == this_day { part(time, 8) } else { format!("{day} {}", part(time, 5)) }
}

fn outcome(row: &AuditRow) -> String {
    on_stdout(&visible(&row.outcome), Shade::for_word(&row.outcome))
}

/// Who had the last word: the policy, a person, or the gateway itself where the call could not be judged.
fn by(row: &AuditRow) -> String {
    match (&row.resolved_by, row.decision.as_deref(), row.resolution.as_deref()) {
        (Some(by), _, _) => visible(by),
        (None, Some("allow" | "deny"), _) => "policy".to_owned(),
        (None, Some(_), None) => "(asked)".to_owned(),
        (None, Some(_), Some(_)) => "nobody".to_owned(),
        (None, None, _) => "gateway".to_owned(),
    }
}

/// What was asked for, and why it was not done where the outcome alone does not say.
fn call(row: &AuditRow) -> String {
    let call = match row.request.get("signature").and_then(Value::as_str) {
        Some(signature) if !signature.is_empty() => visible(signature),
        Some(_) | None => visible(&row.tool),
    };
    match row.why_not() {
        Some(why) => format!("{call}: {}", visible(&why)),
        None => call,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_today_are_short() {
        let now = Timestamp::parse("2026-11-21T09:43:13.791Z").unwrap();
        let late = Timestamp::parse("2026-11-20T23:59:00Z").unwrap();
        let (utc, berlin) = (Zone::default(), Zone::named("CET-1CEST,M3.5.0,M10.5.0/3").unwrap());
        assert_eq!(when(now, now, &utc), "09:43:13");
        assert_eq!(when(late, now, &utc), "2026-11-20 23:59");
        assert_eq!(when(now, now, &berlin), "10:43:13");
        assert_eq!(when(late, now, &berlin), "00:59:00");
    }
}
