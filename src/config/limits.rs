//! `limits:` of permissions.yaml.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::at::{At, Section};
use super::constant;
use super::known::KnownNames;
use super::matcher::{self, machine_zone};
use crate::base::digest::Digest;
use crate::base::json::canonical;
use crate::model::{Counted, Limit, Per, Window};

/// A limit and where it stands.
pub(crate) type PlacedLimit<'d> = (At<'d>, Limit);

/// What decides about what has been counted: while none of it changes, the counts stay over a reload.
const COUNTING: &str = "name pattern agents kinds risk when time per count window";

/// `limits:`, in the order of the file.
pub(crate) fn limits<'d>(file: Section<'d>, known: Option<&KnownNames<'_>>) -> Vec<PlacedLimit<'d>> {
    let items = file.get("limits").map(At::items).unwrap_or_default();
    let mut names = HashSet::new();
    items.into_iter().filter_map(|at| limit(at, &mut names, known).map(|limit| (at, limit))).collect()
}

fn limit(at: At<'_>, names: &mut HashSet<String>, known: Option<&KnownNames<'_>>) -> Option<Limit> {
    let section = at.section(&format!("{COUNTING} ask_above deny_above description"));
    let name = section.require("name", name).filter(|name| {
        let is_new = names.insert(name.clone());
        let at = section.get("name").unwrap_or(at);
        at.ensure(
            is_new,
            format!("there is a limit \"{name}\" already"),
            "every limit needs a name of its own",
        );
        is_new
    });
    let matcher = matcher::read(section, known);
    let window = section.require("window", window);
    let count = section.get("count").map_or(Some(Counted::Calls), count);
    let limit = Limit {
        name: name?.into(),
        identity: identity(section),
        matcher: matcher?,
        per: section.get("per").map(per).unwrap_or_default(),
        count: count?,
        window: window?,
        ask_above: section.read("ask_above", At::amount),
        deny_above: section.read("deny_above", At::amount),
        description: section.get("description").filter(|at| !at.is_null()).and_then(At::text),
    };
    check_thresholds(section, &limit);
    Some(limit)
}

fn name(at: At<'_>) -> Option<String> {
    let text = at.filled()?;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_name = text.len() <= 64 && text.chars().all(fits);
    let help = "use 1 to 64 of a-z, 0-9 and \"-\"";
    at.ensure(is_name, format!("{} is not a name for a limit", at.shown()), help)?;
    Some(text)
}

fn per(at: At<'_>) -> Per {
    let mut per = Per::default();
    for item in at.one_or_more() {
        let words = [("agent", 0), ("session", 1), ("tool", 2), ("call", 3)];
        match item.choice(&words) {
            Some(0) => per.agent = true,
            Some(1) => per.session = true,
            Some(2) => per.tool = true,
            Some(_) => per.call = true,
            None => {}
        }
    }
    per
}

fn count(at: At<'_>) -> Option<Counted> {
    let known = Counted::parse(&at.filled()?);
    let help = "use calls, questions, cost, tokens, seconds or arg:NAME";
    known.or_else(|| at.fail(format!("unknown count {}", at.shown()), help))
}

fn window(at: At<'_>) -> Option<Window> {
    let by_calendar = |window| machine_zone(at, "give a time such as 24h").map(|()| window);
    match at.filled()?.as_str() {
        "day" => by_calendar(Window::Day),
        "week" => by_calendar(Window::Week),
        "month" => by_calendar(Window::Month),
        "session" => Some(Window::Session),
        text if text.starts_with(|c: char| c.is_ascii_digit()) => {
            at.span("30s"..="400d").map(Window::Rolling)
        }
        _ => {
            let help = "give a time such as 1h, or day, week, month or session";
            at.fail(format!("unknown window {}", at.shown()), help)
        }
    }
}

/// The digest of what is counted, as the owner wrote it.
fn identity(section: Section<'_>) -> Digest {
    let written = |key| Some((key, constant::json(section.get(key)?)?));
    let all: Map<_, _> =
        COUNTING.split(' ').filter_map(written).map(|(key, value)| (key.to_owned(), value)).collect();
    let all = Value::Object(all);
    Digest::sha256(&canonical(&all).unwrap_or_else(|_| json!(all).to_string().into_bytes()))
}

fn check_thresholds(section: Section<'_>, limit: &Limit) {
    let given = |key| section.get(key).is_some();
    match (limit.ask_above, limit.deny_above) {
        (Some(ask), Some(deny)) if ask >= deny => {
            if let Some(at) = section.get("ask_above") {
                let text = "nobody is ever asked: ask_above is not below deny_above";
                at.warn(text, "lower ask_above, or remove it");
            }
        }
        (None, None) if !given("ask_above") && !given("deny_above") => {
            section.at().warn("this limit only counts", "add ask_above or deny_above");
        }
        _ => {}
    }
}
