//! What the owner bounds: how much of something within a window of time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Number, Value, json};
use time::{Date, Month, OffsetDateTime};

use super::agent::AgentId;
use super::call::Call;
use super::matcher::Matcher;
use super::tally::{Part, Tally};
use crate::base::clock::Timestamp;
use crate::base::decimal::Decimal;
use crate::base::digest::Digest;
use crate::base::readable::round_span;
use crate::base::zone::Zone;

/// A limit, ready to be asked.
#[derive(Clone, Debug)]
pub struct Limit {
    /// Unique; for people, agents and metrics.
    pub name: Arc<str>,
    /// The digest of name, matcher, `per`, `count` and `window` as the owner wrote them: what has been counted stays
    /// for as long as none of them changes.
    pub identity: Digest,
    /// Which calls count.
    pub matcher: Matcher,
    /// What has a count of its own.
    pub per: Per,
    pub count: Counted,
    pub window: Window,
    /// Of the call that would make it more than this, a person is asked.
    pub ask_above: Option<Decimal>,
    /// The call that would make it more than this is denied.
    pub deny_above: Option<Decimal>,
    /// The owner's words.
    pub description: Option<String>,
}

/// What has a count of its own; nothing set: all calls together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Per {
    pub agent: bool,
    /// A session belongs to its agent.
    pub session: bool,
    pub tool: bool,
    /// A tool with these arguments.
    pub call: bool,
}

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counted {
    Calls,
    /// Calls that a person was asked about.
    Questions,
    /// As the tool's file says.
    Cost,
    /// As the tool's file says.
    Tokens,
    /// Since the first counted call in the window.
    Seconds,
    /// The sum of an argument.
    Arg(String),
}

/// For how long it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The time before now.
    Rolling(Duration),
    Day,
    /// Begins on Monday.
    Week,
    Month,
    /// As long as the session lives.
    Session,
}

/// Parts of a rolling window. A part counts until all of it has passed: nothing is forgotten too early.
const PARTS: i64 = 60;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// The first day of 1970 was a Thursday.
const DAYS_SINCE_MONDAY: i64 = 3;

impl Counted {
    /// The words of permissions.yaml.
    pub fn parse(text: &str) -> Option<Counted> {
        Some(match text {
            "calls" => Counted::Calls,
            "questions" => Counted::Questions,
            "cost" => Counted::Cost,
            "tokens" => Counted::Tokens,
            "seconds" => Counted::Seconds,
            _ => Counted::Arg(text.strip_prefix("arg:").filter(|name| !name.is_empty())?.to_owned()),
        })
    }

    /// What a counter holds at `now`; None when that is more than a number holds.
    pub fn total(&self, tally: &Tally, now: Timestamp) -> Option<Decimal> {
        match self {
            Counted::Seconds => {
                let first = tally.parts(now).map(|part| part.amount).min();
                let since = first.and_then(|first| Counted::seconds(now).checked_sub(first));
                // None have passed for a clock that was set back.
                Some(since.filter(|time| !time.is_negative()).unwrap_or_default())
            }
            Counted::Calls | Counted::Questions | Counted::Cost | Counted::Tokens | Counted::Arg(_) => {
                tally.sum(now)
            }
        }
    }

    /// A moment as [`Counted::Seconds`] keeps it: seconds since 1970.
    pub fn seconds(at: Timestamp) -> Decimal {
        Decimal::of_units(i128::from(at.0).saturating_mul(1_000_000))
    }

    /// For people: `1 call`, `20 calls`, `cost 12.5`, `amount_usd 7`.
    pub(crate) fn words(&self, amount: Decimal) -> String {
        match self {
            Counted::Cost => format!("cost {amount}"),
            Counted::Arg(name) => format!("{name} {amount}"),
            Counted::Calls | Counted::Questions | Counted::Tokens | Counted::Seconds => {
                let things = self.to_string();
                let one = things.strip_suffix('s').filter(|_| amount == Decimal::ONE);
                format!("{amount} {}", one.unwrap_or(&things))
            }
        }
    }

    /// A number where people count; the decimal text of money and of sums, which must stay exact.
    pub(crate) fn to_json(&self, amount: Decimal) -> Value {
        match self {
            Counted::Cost | Counted::Arg(_) => json!(amount),
            Counted::Calls | Counted::Questions | Counted::Tokens | Counted::Seconds => {
                let number = amount.to_string().parse::<Number>();
                number.map_or_else(|_| json!(amount), Value::Number)
            }
        }
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Counted::Calls => f.write_str("calls"),
            Counted::Questions => f.write_str("questions"),
            Counted::Cost => f.write_str("cost"),
            Counted::Tokens => f.write_str("tokens"),
            Counted::Seconds => f.write_str("seconds"),
            Counted::Arg(name) => write!(f, "arg:{name}"),
        }
    }
}

impl Window {
    /// Until when a call that is made at `now` counts. The end of a session is not known.
    pub fn end(self, now: Timestamp, zone: &Zone) -> Timestamp {
        match self {
            Window::Session => Part::OPEN,
            Window::Rolling(length) => {
                let length = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
                let part = (length / PARTS).max(1);
                let ended = now.0.div_euclid(part).saturating_add(1).saturating_mul(part);
                Timestamp(ended.saturating_add(length))
            }
            Window::Day | Window::Week | Window::Month => {
                let mut day = zone.wall(now).0.div_euclid(DAY_MS);
                loop {
                    day = self.next_begin(day);
                    let end = zone.when(Timestamp(day.saturating_mul(DAY_MS)));
                    // Where clocks are set back over midnight, a day ends while it still seems to last.
                    if end > now {
                        return end;
                    }
                }
            }
        }
    }

    /// The first day after `day` on which a calendar's window begins, both in days since 1970.
    fn next_begin(self, day: i64) -> i64 {
        let next_month = |day: i64| {
            let seconds = day.checked_mul(DAY_MS / 1000)?;
            let date = OffsetDateTime::from_unix_timestamp(seconds).ok()?.date();
            let year = date.year().checked_add(i32::from(date.month() == Month::December))?;
            let first = Date::from_calendar_date(year, date.month().next(), 1).ok()?;
            Some(first.midnight().assume_utc().unix_timestamp().div_euclid(DAY_MS / 1000))
        };
        let tomorrow = day.saturating_add(1);
        match self {
            Window::Week => {
                tomorrow.saturating_add(6 - (day.saturating_add(DAYS_SINCE_MONDAY)).rem_euclid(7))
            }
            Window::Month => next_month(day).unwrap_or(tomorrow),
            Window::Day | Window::Rolling(_) | Window::Session => tomorrow,
        }
    }
}

impl fmt::Display for Window {
    /// For people, to go on with after "within".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Window::Rolling(length) => f.write_str(&round_span(*length)),
            Window::Day => f.write_str("a day"),
            Window::Week => f.write_str("a week"),
            Window::Month => f.write_str("a month"),
            Window::Session => f.write_str("a session"),
        }
    }
}

impl Limit {
    /// Whether each agent has counters of its own.
    pub(crate) fn counts_by_agent(&self) -> bool {
        self.per.agent || self.counts_by_session()
    }

    fn counts_by_session(&self) -> bool {
        self.per.session || self.window == Window::Session
    }

    /// The counter that a call of this session belongs to.
    pub fn key(&self, call: &Call, session: Option<&str>) -> CounterKey {
        let by_session = self.counts_by_session();
        CounterKey {
            agent: self.counts_by_agent().then(|| call.agent().clone()),
            session: by_session.then(|| session.map(Arc::from)),
            tool: self.per.tool.then(|| call.tool().name.as_str().into()),
            call: self
                .per
                .call
                .then(|| Call::digest_of(&AgentId::configured(""), &call.tool().name, call.args())),
        }
    }
}

/// One counter of a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CounterKey {
    pub agent: Option<AgentId>,
    /// None within: the agent's own unnamed session.
    pub session: Option<Option<Arc<str>>>,
    pub tool: Option<Arc<str>>,
    /// Of the tool's name and the arguments.
    pub call: Option<Digest>,
}

impl CounterKey {
    pub(crate) fn to_json(&self) -> Value {
        let CounterKey { agent, session, tool, call } = self;
        let members = [
            ("agent", agent.as_ref().map(|agent| agent.as_str().into())),
            ("session", session.as_ref().map(|session| session.as_deref().into())),
            ("tool", tool.as_deref().map(Value::from)),
            ("call", call.map(|call| call.hex().into())),
        ];
        members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// Reads what [`CounterKey::to_json`] made.
    pub(crate) fn of_json(json: &Value) -> Option<CounterKey> {
        let members = json.as_object()?;
        let text = |name: &str| members.get(name).map(|value| value.as_str().map(Arc::<str>::from));
        let known = ["agent", "session", "tool", "call"];
        if members.keys().any(|name| !known.contains(&name.as_str())) {
            return None;
        }
        Some(CounterKey {
            agent: text("agent")
                .map(|name| name.map(|name| AgentId::configured(&name)).ok_or(()))
                .transpose()
                .ok()?,
            session: text("session"),
            tool: text("tool").map(|name| name.ok_or(())).transpose().ok()?,
            call: text("call")
                .map(|hex| hex.and_then(|hex| Digest::parse(&hex)).ok_or(()))
                .transpose()
                .ok()?,
        })
    }
}

impl fmt::Display for CounterKey {
    /// For people: `laptop, session night-shift`; nothing where all calls count together.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = self.session.as_ref().map(|session| match session {
            Some(name) => format!("session {name}"),
            None => "its unnamed session".to_owned(),
        });
        let call = self.call.map(|call| format!("call {}", call.hex().get(..8).unwrap_or_default()));
        let parts = [
            self.agent.as_ref().map(AgentId::to_string),
            session,
            self.tool.as_ref().map(ToString::to_string),
            call,
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn end(window: Window, zone: &str, now: &str) -> String {
        window.end(at(now), &Zone::named(zone).unwrap()).to_string()
    }

    #[test]
    fn a_part_of_a_rolling_window_counts_until_all_of_it_has_passed() {
        let hour = Window::Rolling(Duration::from_secs(3600));
        for (now, until) in [
            ("2026-03-01T10:00:00Z", "2026-03-01T11:01:00.000Z"),
            ("2026-03-01T10:00:59.999Z", "2026-03-01T11:01:00.000Z"),
            ("2026-03-01T10:01:00Z", "2026-03-01T11:02:00.000Z"),
        ] {
            assert_eq!(end(hour, "UTC", now), until, "{now}");
        }
        let shortest = Window::Rolling(Duration::from_secs(30));
        assert_eq!(end(shortest, "UTC", "2026-03-01T10:00:00.4Z"), "2026-03-01T10:00:30.500Z");
    }

    #[test]
    fn a_calendar_goes_by_the_clocks_of_the_house() {
        let berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
        for (window, now, until) in [
            (Window::Day, "2026-03-01T22:59:59Z", "2026-03-01T23:00:00.000Z"),
            (Window::Day, "2026-03-01T23:00:00Z", "2026-03-02T23:00:00.000Z"),
            // The day on which clocks are set forward has 23 hours.
            (Window::Day, "2026-03-29T12:00:00Z", "2026-03-29T22:00:00.000Z"),
            (Window::Week, "2026-03-01T12:00:00Z", "2026-03-01T23:00:00.000Z"),
            (Window::Week, "2026-03-02T12:00:00Z", "2026-03-08T23:00:00.000Z"),
            (Window::Month, "2026-03-31T21:59:59Z", "2026-03-31T22:00:00.000Z"),
            (Window::Month, "2026-12-31T22:59:59Z", "2026-12-31T23:00:00.000Z"),
            (Window::Month, "2026-12-31T23:00:00Z", "2027-01-31T23:00:00.000Z"),
        ] {
            assert_eq!(end(window, berlin, now), until, "{window} {now}");
        }
        // Clocks that are set back at midnight: the evening comes twice, and what is done in it counts.
        let azores = "AAA1BBB,M3.5.0/0,M10.5.0/0";
        let evening = at("2026-10-25T00:30:00Z");
        assert!(Window::Day.end(evening, &Zone::named(azores).unwrap()) > evening);
        assert_eq!(end(Window::Session, "UTC", "2026-03-01T10:00:00Z"), Timestamp(i64::MAX).to_string());
    }

    #[test]
    fn a_counter_is_read_back_as_it_was_written() {
        let named = |name: &str| Some(Some(Arc::from(name)));
        let all = [
            CounterKey::default(),
            CounterKey { agent: Some(AgentId::configured("phone")), ..CounterKey::default() },
            CounterKey { session: Some(None), ..CounterKey::default() },
            CounterKey { session: named("a\"b"), tool: Some("x".into()), ..CounterKey::default() },
            CounterKey { call: Some(Digest::sha256(b"x")), ..CounterKey::default() },
        ];
        for key in all {
            assert_eq!(CounterKey::of_json(&key.to_json()), Some(key));
        }
        for bad in
            [json!([]), json!({"agent": 7}), json!({"call": "x"}), json!({"tool": null}), json!({"x": 1})]
        {
            assert_eq!(CounterKey::of_json(&bad), None, "{bad}");
        }
    }

    #[test]
    fn words_and_numbers() {
        for word in ["calls", "questions", "cost", "tokens", "seconds", "arg:amount_usd"] {
            assert_eq!(Counted::parse(word).unwrap().to_string(), word);
        }
        assert_eq!((Counted::parse("arg:"), Counted::parse("call")), (None, None));
        let amount = "20.5".parse().unwrap();
        assert_eq!(
            (Counted::Tokens.to_json(amount), Counted::Cost.to_json(amount)),
            (json!(20.5), json!("20.5"))
        );
        assert_eq!(Counted::Calls.to_json(Decimal::from(21)), json!(21));
        let shown = ["calls", "tokens", "cost", "arg:usd"]
            .map(|word| Counted::parse(word).unwrap().words(Decimal::ONE));
        assert_eq!(shown, ["1 call", "1 token", "cost 1", "usd 1"]);
        assert_eq!(Counted::Calls.words(Decimal::from(2)), "2 calls");
        let shown = [30, 90, 3600, 5400, 86_400, 172_800]
            .map(|s| Window::Rolling(Duration::from_secs(s)).to_string());
        assert_eq!(shown, ["30 s", "90 s", "1 h", "90 min", "1 day", "2 days"]);
    }
}
