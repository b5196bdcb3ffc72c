//! Query parameters of the record's pages, named as in the predecessor's API. What is misspelt, doubled or out of range
//! is refused: a filter that is silently ignored shows people the wrong thing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::base::clock::Timestamp;
use crate::base::path_prefix::PathPrefix;
use crate::base::safe_text::visible;
use crate::base::zone::Zone;
use crate::store::reader::{Filter, WantedPage};
use crate::surface::admin::form;
use crate::surface::admin::page::Viewer;

pub(crate) const FOLDER: &str = "/audit/";

pub(super) const FILTERS: &[&str] = &[
    "tool_name",
    "agent_id",
    "session_id",
    "decision",
    "resolution",
    "outcome",
    "q",
    "range",
    "from",
    "to",
    "as_of",
];
/// What the list and `api/log` take besides.
pub(super) const PAGES: &[&str] = &["page", "per_page"];
/// What `api/stats` takes.
pub(super) const RANGE: &[&str] = &["range", "from", "to"];
/// What a call's page takes.
pub(super) const CALL: &[&str] = &["whole"];

pub(super) const DECISIONS: &[&str] = &["allow", "ask", "deny"];
pub(super) const RESOLUTIONS: &[&str] = &["approved", "denied", "timed_out", "withdrawn", "void"];
pub(super) use crate::store::reader::OUTCOMES;
/// Ranges that need no dates: word, label, days.
pub(super) const RANGES: &[(&str, &str, Option<u64>)] = &[
    ("24h", "last 24 hours", Some(1)),
    ("7d", "last 7 days", Some(7)),
    ("30d", "last 30 days", Some(30)),
    ("365d", "last 365 days", Some(365)),
    ("all", "all there is", None),
];

/// The longest value, in characters; names of tools are shorter.
const MAX_VALUE: usize = 200;
const MAX_PER_PAGE: u64 = 200;
const PER_PAGE: u64 = 50;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadQuery(String);

impl fmt::Display for BadQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Parameters that were given and are not empty, the root of links with them, and the zone of their times.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Query {
    given: Vec<(String, String)>,
    root: PathPrefix,
    zone: Arc<Zone>,
}

impl Query {
    /// Reads a query string in which only the names in `known` may occur, each once. Forms send empty fields, which
    /// count as absent.
    pub(super) fn parse(query: &str, known: &[&[&str]]) -> Result<Query, BadQuery> {
        let known = known.concat();
        let mut given: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            if !known.contains(&name.as_str()) {
                let name = visible(&name.chars().take(40).collect::<String>());
                let known = known.join(", ");
                return Err(BadQuery(format!("there is no parameter {name:?} here, only {known}")));
            }
            if given.iter().any(|(known, _)| *known == name) {
                return Err(BadQuery(format!("{name} is given twice")));
            }
            if value.chars().count() > MAX_VALUE {
                return Err(BadQuery(format!("{name} is longer than {MAX_VALUE} characters")));
            }
            given.push((name, value));
        }
        given.retain(|(name, value)| !value.is_empty() || name == "whole");
        Ok(Query { given, ..Query::default() })
    }

    /// The same for a page: with links that the viewer's browser knows, and in the zone whose times they are shown.
    pub(super) fn on_page(self, viewer: &Viewer) -> Query {
        Query { root: viewer.root.clone(), zone: viewer.zone.clone(), ..self }
    }

    /// The zone that times are shown in; UTC for programs.
    pub(super) fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The same for a program, with times that name their zone.
    pub(super) fn in_utc(&self) -> Query {
        let stated = |query: Query, name: &str, end_of_day| match query.time(name, end_of_day) {
            Ok(Some(at)) => query.with(name, &at.to_string()),
            Ok(None) | Err(_) => query,
        };
        stated(stated(self.clone(), "from", false), "to", true)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The same with another value, or without one when it is empty.
    pub(super) fn with(&self, name: &str, value: &str) -> Query {
        let mut changed: Vec<_> = self.given.iter().filter(|(known, _)| known != name).cloned().collect();
        if !value.is_empty() {
            changed.push((name.to_owned(), value.to_owned()));
        }
        Query { given: changed, ..self.clone() }
    }

    /// A path of ours as the browser knows it.
    pub(super) fn to(&self, path: &str) -> String {
        self.root.to(path)
    }

    /// A link to `path` that asks the same.
    pub(super) fn link(&self, path: &str) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let pairs: Vec<_> =
            self.given.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let path = self.root.to(path);
        if pairs.is_empty() { path } else { format!("{path}?{}", pairs.join("&")) }
    }

    pub(super) fn filter(&self, now: Timestamp) -> Result<Filter, BadQuery> {
        let text = |name| self.get(name).map(str::to_owned);
        let (since, until) = self.range(now)?;
        Ok(Filter {
            tool: text("tool_name"),
            agent: text("agent_id"),
            session: text("session_id"),
            decision: self.one_of("decision", DECISIONS)?,
            resolution: self.one_of("resolution", RESOLUTIONS)?,
            outcome: self.one_of("outcome", OUTCOMES)?,
            since,
            until,
            text: text("q"),
            limit: None,
            before: self.number("as_of", 0, i64::MAX as u64)?.and_then(|n| i64::try_from(n).ok()),
        })
    }

    pub(super) fn wanted(&self) -> Result<WantedPage, BadQuery> {
        Ok(WantedPage {
            page: self.number("page", 1, u64::from(u32::MAX))?.unwrap_or(1),
            per_page: self.number("per_page", 1, MAX_PER_PAGE)?.unwrap_or(PER_PAGE),
        })
    }

    fn one_of(&self, name: &str, words: &[&str]) -> Result<Option<String>, BadQuery> {
        match self.get(name) {
            Some(word) if !words.contains(&word) => {
                Err(BadQuery(format!("{name} must be one of {}", words.join(", "))))
            }
            given => Ok(given.map(str::to_owned)),
        }
    }

    fn number(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, BadQuery> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let number = text.parse().ok().filter(|n| (least..=most).contains(n));
        number.map(Some).ok_or_else(|| BadQuery(format!("{name} must be a number from {least} to {most}")))
    }

    fn range(&self, now: Timestamp) -> Result<(Option<Timestamp>, Option<Timestamp>), BadQuery> {
        let (from, to) = (self.time("from", false)?, self.time("to", true)?);
        let Some(word) = self.get("range") else {
            return match (from, to) {
                (Some(from), Some(to)) if from >= to => Err(BadQuery("from must be before to".into())),
                range => Ok(range),
            };
        };
        let Some((_, _, days)) = RANGES.iter().find(|(known, _, _)| *known == word) else {
            let words: Vec<_> = RANGES.iter().map(|(word, _, _)| *word).collect();
            return Err(BadQuery(format!("range must be one of {}", words.join(", "))));
        };
        if from.is_some() || to.is_some() {
            return Err(BadQuery("give either range, or from and to".into()));
        }
        let length = |days: u64| Duration::from_secs(days.saturating_mul(DAY.as_secs()));
        Ok((days.map(|days| now.minus(length(days))), None))
    }

    /// A time, or the beginning or end of a day; where they do not say it, in this query's zone.
    fn time(&self, name: &str, end_of_day: bool) -> Result<Option<Timestamp>, BadQuery> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let here = |text: String| Timestamp::parse(&text);
        let day = || {
            let day = here(format!("{text}T00:00:00Z"))?;
            Some(self.zone.when(if end_of_day { day.plus(DAY) } else { day }))
        };
        let without_zone = || {
            let wall = here(format!("{text}Z")).or_else(|| here(format!("{text}:00Z")))?;
            Some(self.zone.when(wall))
        };
        let read = Timestamp::parse(text).or_else(without_zone).or_else(day);
        read.map(Some).ok_or_else(|| {
            BadQuery(format!("{name} must be a time such as 2026-01-31 or 2026-01-31T12:00:00Z"))
        })
    }
}

fn decoded(text: &str) -> Result<String, BadQuery> {
    form::decoded(text).ok_or_else(|| BadQuery("a parameter is no text".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn filter(query: &str) -> Result<Filter, BadQuery> {
        Query::parse(query, &[FILTERS, PAGES])?.filter(NOW)
    }

    fn wanted(query: &str) -> Result<WantedPage, BadQuery> {
        Query::parse(query, &[FILTERS, PAGES])?.wanted()
    }

    #[test]
    fn a_query_becomes_a_filter() {
        let read = filter("tool_name=ha_*&agent_id=pi&session_id=a+b&decision=ask&resolution=denied&outcome=denied&q=%25&as_of=9").unwrap();
        assert_eq!((read.tool.as_deref(), read.agent.as_deref()), (Some("ha_*"), Some("pi")));
        assert_eq!((read.session.as_deref(), read.text.as_deref()), (Some("a b"), Some("%")));
        assert_eq!((read.resolution.as_deref(), read.before), (Some("denied"), Some(9)));
        assert_eq!(filter("decision=&q=&from=").unwrap().since, None, "empty fields of a form are absent");
        assert_eq!(wanted("").unwrap(), WantedPage { page: 1, per_page: 50 });
        assert_eq!(wanted("page=3&per_page=200").unwrap(), WantedPage { page: 3, per_page: 200 });
    }

    #[test]
    fn times_are_read_in_every_form_that_browsers_and_programs_send() {
        let at = |text: &str| Timestamp::parse(text);
        for (given, since) in [
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("2026-01-31T12:30", "2026-01-31T12:30:00Z"),
            ("2026-01-31T12:30:05", "2026-01-31T12:30:05Z"),
            ("2026-01-31T12:30:05Z", "2026-01-31T12:30:05Z"),
            ("2026-01-31T12:30:05%2B02:00", "2026-01-31T10:30:05Z"),
        ] {
            assert_eq!(filter(&format!("from={given}")).unwrap().since, at(since), "{given}");
        }
        assert_eq!(filter("to=2026-01-31").unwrap().until, at("2026-02-01T00:00:00Z"), "a last day is whole");
        assert_eq!(filter("range=7d").unwrap().since, Some(NOW.minus(DAY * 7)));
        assert_eq!(filter("range=all").unwrap().since, None);
    }

    #[test]
    fn times_of_a_page_are_those_of_its_zone_and_programs_are_told_them_in_utc() {
        let zone = Arc::new(Zone::named("CET-1CEST,M3.5.0,M10.5.0/3").unwrap());
        // The day on which clocks are set back has 25 hours.
        for (from, to, since, until) in [
            ("2026-07-01", "2026-07-01", "2026-06-30T22:00:00.000Z", "2026-07-01T22:00:00.000Z"),
            ("2026-10-25", "2026-10-25", "2026-10-24T22:00:00.000Z", "2026-10-25T23:00:00.000Z"),
            (
                "2026-01-31T12:30",
                "2026-01-31T12:30:00Z",
                "2026-01-31T11:30:00.000Z",
                "2026-01-31T12:30:00.000Z",
            ),
        ] {
            let given = format!("from={from}&to={to}");
            let query = Query { zone: zone.clone(), ..Query::parse(&given, &[FILTERS, PAGES]).unwrap() };
            let filter = query.filter(NOW).unwrap();
            assert_eq!(
                (filter.since, filter.until),
                (Timestamp::parse(since), Timestamp::parse(until)),
                "{given}"
            );
            assert_eq!((query.in_utc().get("from"), query.in_utc().get("to")), (Some(since), Some(until)));
        }
    }

    #[test]
    fn nothing_wrong_is_ignored() {
        for query in [
            "tool=x",
            "page=0",
            "page=-1",
            "page=x",
            "per_page=0",
            "per_page=201",
            "decision=maybe",
            "outcome=EXECUTED",
            "resolution=x",
            "from=yesterday",
            "from=2026-02-30",
            "to=1",
            "range=8d",
            "range=7d&from=2026-01-01",
            "from=2026-02-01&to=2026-01-01",
            "page=1&page=2",
            "q=%FF",
            "as_of=-1",
            "agent_id=a&agent_id=",
        ] {
            let error = Query::parse(query, &[FILTERS, PAGES])
                .and_then(|q| q.filter(NOW).and_then(|_| q.wanted()))
                .unwrap_err();
            assert!(!error.to_string().is_empty(), "{query}");
        }
        assert!(Query::parse(&format!("q={}", "x".repeat(201)), &[FILTERS, PAGES]).is_err());
        let hostile = Query::parse("%E2%80%AE%3Cb%3E=1", &[FILTERS, PAGES]).unwrap_err().to_string();
        assert!(hostile.contains("⟨U+202E⟩"), "{hostile}");
    }

    #[test]
    fn links_carry_what_was_asked() {
        let query = Query::parse("q=%22%3C%26&page=2", &[FILTERS, PAGES]).unwrap();
        assert_eq!(query.link("/audit/"), "/audit/?q=%22%3C%26&page=2");
        assert_eq!(query.with("page", "3").with("q", "").link("/audit/"), "/audit/?page=3");
        assert_eq!(
            Query::parse(query.link("").strip_prefix('?').unwrap(), &[FILTERS, PAGES]).unwrap(),
            query
        );
    }
}
