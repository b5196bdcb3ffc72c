//! `response:` of a tool: what becomes of the answers to its calls.

use std::time::Duration;

use super::at::At;
use super::constant;
use super::http::is_header_name;
use crate::model::http::response::{Charset, Follow, ResponseSpec, Success};

/// The most headers that are handed on, and values that mean success.
const MAX_ITEMS: usize = 20;

/// Headers that carry credentials of the gateway's sessions.
const KEPT: [&str; 2] = ["set-cookie", "set-cookie2"];

/// `taken` is the header that carries the credentials.
pub(crate) fn read(at: At<'_>, taken: Option<&str>) -> ResponseSpec {
    let section = at.section("wrap binary ok headers follow charset");
    ResponseSpec {
        wrap: section.read("wrap", At::filled),
        binary: section.read("binary", |at| at.choice(&[("base64", true)])).unwrap_or(false),
        ok: section.read("ok", success),
        headers: section.get("headers").map(|at| headers(at, taken)).unwrap_or_default(),
        follow: section.read("follow", follow),
        charset: section.read("charset", charset),
    }
}

fn success(at: At<'_>) -> Option<Success> {
    let section = at.section("at in");
    let path = section.require("at", |at| {
        let text = at.filled()?;
        let parts: Vec<String> = text.split('.').map(str::to_owned).collect();
        let whole = parts.iter().all(|part| !part.is_empty());
        at.ensure(whole, "at has an empty part", "at: ocs.meta.statuscode").map(|()| parts)
    });
    let among = section.require("in", |at| {
        let values = at.one_or_more().into_iter().map(single).collect::<Option<Vec<_>>>()?;
        let fits = (1..=MAX_ITEMS).contains(&values.len());
        at.ensure(fits, format!("in must list 1 to {MAX_ITEMS} values"), "in: [100, 200]").map(|()| values)
    });
    Some(Success { at: path?, among: among? })
}

fn single(at: At<'_>) -> Option<serde_json::Value> {
    at.ensure(at.is_single(), "this is no single value", "in: [100, 200]")?;
    constant::json(at)
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
    let section = at.section("status every within");
    let seconds = |key, range, default| {
        section.get(key).map_or(Some(Duration::from_secs(default)), |at| at.seconds(range))
    };
    let (every, within) = (seconds("every", 0.1..=60.0, 2)?, seconds("within", 1.0..=600.0, 60)?);
    let status = section.get("status").map_or(Some(202), |at| at.whole(200..=299))?;
    at.ensure(every <= within, "every is longer than within", "")?;
    Some(Follow { status, every, within })
}

fn charset(at: At<'_>) -> Option<Charset> {
    let name = at.filled()?;
    let help = "known are utf-8, utf-16le, utf-16be, iso-8859-1, iso-8859-15 and windows-1252";
    Charset::parse(&name).or_else(|| at.fail(format!("unknown charset {}", at.shown()), help))
}
