//! `response:` of a tool: what becomes of the answers to its calls.

use std::time::Duration;

use super::at::{At, Section};
use super::constant;
use super::http::is_header_name;
use crate::model::http::response::{Charset, Follow, ResponseSpec, Success};

/// The most headers that are handed on, and values that mean success.
const MAX_ITEMS: usize = 20;

/// Headers that carry credentials of the gateway's sessions.
const KEPT: [&str; 2] = ["set-cookie", "set-cookie2"];

/// `taken` is the header that carries the credentials.
pub(crate) fn read(at: At<'_>, taken: Option<&str>) -> ResponseSpec {
    let section = at.section(&["wrap", "binary", "ok", "headers", "follow", "charset"]);
    let get = |key| section.get(key);
    ResponseSpec {
        wrap: get("wrap").and_then(At::filled),
        binary: get("binary").and_then(|at| at.choice(&[("base64", true)])).unwrap_or(false),
        ok: get("ok").and_then(success),
        headers: get("headers").map(|at| headers(at, taken)).unwrap_or_default(),
        follow: get("follow").and_then(follow),
        charset: get("charset").and_then(charset),
    }
}

fn success(at: At<'_>) -> Option<Success> {
    let section = at.section(&["at", "in"]);
    let path = section.need("at").and_then(|at| {
        let text = at.filled()?;
        let parts: Vec<String> = text.split('.').map(str::to_owned).collect();
        let whole = parts.iter().all(|part| !part.is_empty());
        if whole { Some(parts) } else { at.fail("at has an empty part", "at: ocs.meta.statuscode") }
    });
    let among = section.need("in").and_then(|at| {
        let values = at.one_or_more().into_iter().map(single).collect::<Option<Vec<_>>>()?;
        match (1..=MAX_ITEMS).contains(&values.len()) {
            true => Some(values),
            false => at.fail(format!("in must list 1 to {MAX_ITEMS} values"), "in: [100, 200]"),
        }
    });
    Some(Success { at: path?, among: among? })
}

fn single(at: At<'_>) -> Option<serde_json::Value> {
    if at.is_single() {
        return constant::json(at);
    }
    at.fail("this is no single value", "in: [100, 200]")
}

fn headers(at: At<'_>, taken: Option<&str>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for item in at.items() {
        let Some(name) = item.filled() else { continue };
        let lower = name.to_ascii_lowercase();
        if !is_header_name(&name) {
            item.error(format!("{} is not the name of a header", item.shown()), "");
        } else if KEPT.contains(&lower.as_str()) || taken == Some(lower.as_str()) {
            item.error(format!("the header {name} carries credentials"), "");
        } else if found.iter().any(|other| other.eq_ignore_ascii_case(&name)) {
            item.error(format!("the header {name} is given twice"), "");
        } else {
            found.push(name);
        }
    }
    if found.len() > MAX_ITEMS {
        at.error(format!("headers must list at most {MAX_ITEMS} names"), "");
    }
    found
}

fn follow(at: At<'_>) -> Option<Follow> {
    let section = at.section(&["status", "every", "within"]);
    let get = |key, range, default| seconds(section, key, range, default);
    let (every, within) = (get("every", 0.1..=60.0, 2)?, get("within", 1.0..=600.0, 60)?);
    let status = section.get("status").map_or(Some(202), |at| at.whole(200..=299))?;
    if every > within {
        return at.fail("every is longer than within", "");
    }
    Some(Follow { status, every, within })
}

fn seconds(
    section: Section<'_>,
    key: &str,
    range: std::ops::RangeInclusive<f64>,
    default: u64,
) -> Option<Duration> {
    section.get(key).map_or(Some(Duration::from_secs(default)), |at| at.seconds(range))
}

fn charset(at: At<'_>) -> Option<Charset> {
    let name = at.filled()?;
    let help = "known are utf-8, utf-16le, utf-16be, iso-8859-1, iso-8859-15 and windows-1252";
    Charset::parse(&name).or_else(|| at.fail(format!("unknown charset {}", at.shown()), help))
}
