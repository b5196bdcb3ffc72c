//! Which calls a rule or a limit speaks of.

use std::collections::BTreeSet;
use std::sync::Arc;

use globset::{Glob, GlobMatcher};

use super::at::{At, Section};
use super::conditions;
use super::facts::{risk, word};
use super::known::KnownNames;
use super::settings::AgentConfig;
use super::tool::kind;
use crate::base::glob::Pattern;
use crate::base::zone::Zone;
use crate::model::time_window::MIDNIGHT;
use crate::model::{AgentId, Matcher, TimeWindow, Weekday};

/// Reads the keys `pattern agents any_value kinds risk when time after` of a section; `pattern` stands for all calls
/// where it is left out.
pub(crate) fn read(section: Section<'_>, known: Option<&KnownNames<'_>>) -> Option<Matcher> {
    let pattern = match section.get("pattern") {
        Some(at) => at.pattern(),
        None => Some("*".to_owned()),
    };
    let agents = section.get("agents").map(|at| agents(at, known));
    let any_value = section.read("any_value", At::pattern);
    let matcher = Matcher {
        agents,
        any_value: any_value.as_deref().map(Pattern::new),
        kinds: section.get("kinds").map(|at| list(at, kind)).unwrap_or_default(),
        risks: section.get("risk").map(|at| list(at, risk)).unwrap_or_default(),
        when: section.get("when").map(conditions::read).unwrap_or_default(),
        time: section.read("time", time),
        after: section.get("after").map(|at| list(at, word)).unwrap_or_default(),
        ..Matcher::of(Pattern::new(&pattern?))
    };
    Some(matcher)
}

/// The values of a list. An empty one would match all, or nothing, without a word.
fn list<T>(at: At<'_>, read: impl Fn(At<'_>) -> Option<T>) -> Vec<T> {
    let items = at.one_or_more();
    let help = format!("remove {}", at.name());
    at.ensure(!items.is_empty(), format!("{} is empty", at.name()), &help);
    items.into_iter().filter_map(read).collect()
}

/// The configured agents that are meant. An empty list would switch the rule off without a word.
fn agents(at: At<'_>, known: Option<&KnownNames<'_>>) -> BTreeSet<AgentId> {
    let globs = at.one_or_more();
    let help = "remove agents to mean all of them";
    at.ensure(!globs.is_empty(), "agents is empty, so the rule would never apply", help);
    globs.into_iter().flat_map(|glob| matching(glob, known)).collect()
}

/// `kitchen-*` is a pattern for names, `@kitchen` one for groups.
fn matching(at: At<'_>, known: Option<&KnownNames<'_>>) -> Vec<AgentId> {
    let Some(text) = at.pattern() else { return Vec::new() };
    let (group, text) = (text.strip_prefix('@'), text.as_str());
    let Some((glob, known)) = glob(at, group.unwrap_or(text)).zip(known) else { return Vec::new() };
    let is_meant = |agent: &&AgentConfig| match group {
        Some(_) => agent.groups.iter().any(|name| glob.is_match(name)),
        None => glob.is_match(agent.id.as_str()),
    };
    let found: Vec<AgentId> = known.agents.iter().filter(is_meant).map(|agent| agent.id.clone()).collect();
    match group {
        _ if !found.is_empty() => {}
        Some(_) => {
            let help = "name the group where the agent is configured: groups: [...]";
            at.warn(format!("no agent is in a group called {}", at.shown()), help);
        }
        None => at.warn(format!("no agent is called {}", at.shown()), ""),
    }
    found
}

fn glob(at: At<'_>, text: &str) -> Option<GlobMatcher> {
    let wrong = |e: globset::Error| at.error(format!("this is not a pattern for agents: {}", e.kind()), "");
    Glob::new(text).map_err(wrong).ok().map(|glob| glob.compile_matcher())
}

fn time(at: At<'_>) -> Option<TimeWindow> {
    let section = at.section("days from to zone");
    let keys = ["days", "from", "to", "zone"];
    let says_something = keys.into_iter().any(|key| section.get(key).is_some());
    at.ensure(says_something, "time is empty", "remove time, or add days, from or to")?;
    let window = TimeWindow {
        days: section.get("days").map(|at| list(at, day)).unwrap_or_default(),
        from: section.read("from", minutes).unwrap_or(0),
        to: section.read("to", minutes).unwrap_or(MIDNIGHT),
        zone: section.read("zone", zone),
    };
    if section.get("zone").is_none() {
        machine_zone(at, "name a zone here")?;
    }
    if window.from == window.to {
        at.warn("from and to are the same, which means the whole day", "remove both");
    }
    Some(window)
}

fn day(at: At<'_>) -> Option<Weekday> {
    let day =
        Weekday::ALL.into_iter().find(|day| at.is_single() && at.text().as_deref() == Some(day.as_str()));
    day.or_else(|| at.fail(format!("unknown day {}", at.shown()), "use mon, tue, wed, thu, fri, sat or sun"))
}

fn minutes(at: At<'_>) -> Option<u16> {
    let text = at.text()?;
    let help = "write \"08:00\", at most \"24:00\"";
    TimeWindow::minutes(&text).or_else(|| at.fail(format!("{} is not a time of the day", at.shown()), help))
}

/// What goes by the machine's clocks needs a zone that can be read: UTC in its place would be another time.
pub(super) fn machine_zone(at: At<'_>, instead: &str) -> Option<()> {
    let Some(fault) = Zone::system_fault() else { return Some(()) };
    let rule = "CET-1CEST,M3.5.0,M10.5.0/3";
    let help = format!("install the zone database (tzdata), set TZ to a rule such as {rule}, or {instead}");
    at.fail(format!("the machine's time zone is not known: {fault}"), &help)
}

fn zone(at: At<'_>) -> Option<Arc<Zone>> {
    let name = at.filled()?;
    let help = "use a name of the machine's zone database (tzdata), such as Europe/Berlin, or a rule such as CET-1CEST,M3.5.0,M10.5.0/3";
    let zone = Zone::named(&name).map(Arc::new);
    zone.or_else(|| at.fail(format!("there is no time zone {}", at.shown()), help))
}
