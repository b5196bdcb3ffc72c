//! tests/*.yaml: calls, and what the policy must say to them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};

use super::at::{At, Section};
use super::constant;
use super::doc::Doc;
use super::finding::Finding;
use crate::base::clock::Timestamp;
use crate::base::decimal::Decimal;
use crate::model::{AgentId, Source};

const TESTS: &str = "cannot load tests";

/// A call under circumstances that are made up, and what must become of it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub name: String,
    /// None: the agent that commands take by themselves.
    pub agent: Option<AgentId>,
    /// None: now.
    pub at: Option<Timestamp>,
    pub session: Option<String>,
    /// What the agent has read before.
    pub read: Vec<Source>,
    /// What limits have counted before the call, by their names.
    pub counts: BTreeMap<String, Decimal>,
    pub tool: String,
    pub args: Map<String, Value>,
    pub expect: Expected,
}

/// What must become of a call. None: anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// `allow`, `ask`, `deny` or `invalid`.
    pub decision: &'static str,
    /// The description of the rule that decides, or its pattern.
    pub rule: Option<String>,
    /// All reasons, by their codes.
    pub reasons: Option<Vec<String>>,
}

/// What cases may name.
pub(crate) struct CaseNames {
    pub agents: BTreeSet<String>,
    pub limits: BTreeSet<String>,
}

/// Reads the cases of one file, in its order.
///
/// # Errors
/// All findings, when at least one is an error.
pub(crate) fn cases(path: &Path, known: &CaseNames) -> Result<Vec<Case>, Vec<Finding>> {
    let doc = Doc::open(path, TESTS, None).map_err(|finding| {
        let help = "`agentpass policy test --from-record` writes one to start from";
        vec![if path.exists() { finding } else { finding.help(help) }]
    })?;
    let items = At::root(&doc).section("tests").need("tests").map(At::items).unwrap_or_default();
    if items.is_empty() && !doc.has_errors() {
        At::root(&doc).error("there are no tests in the file", "");
    }
    let cases: Vec<_> = items.into_iter().filter_map(|at| case(at, known)).collect();
    let findings = doc.finish();
    if findings.iter().any(Finding::is_error) { Err(findings) } else { Ok(cases) }
}

fn case(at: At<'_>, known: &CaseNames) -> Option<Case> {
    let section = at.section("name agent at session read counts call expect");
    let name = section.require("name", At::filled);
    let agent = section.read("agent", |at| agent(at, known));
    let time = section.read("at", time);
    let session = section.read("session", At::filled);
    let read = section.get("read").map(At::one_or_more).unwrap_or_default();
    let read = read.into_iter().filter_map(source).collect();
    let counts = counts(section, known);
    let call = section.need("call").map(|at| at.section("tool args"));
    let tool = call.and_then(|call| call.require("tool", At::filled));
    let args = call.and_then(|call| call.get("args")).map_or(Some(Map::new()), arguments);
    let expect = section.require("expect", expected);
    Some(Case {
        name: name?,
        agent,
        at: time,
        session,
        read,
        counts,
        tool: tool?,
        args: args?,
        expect: expect?,
    })
}

/// A name of nobody would leave out the rules for agents without a word.
fn agent(at: At<'_>, known: &CaseNames) -> Option<AgentId> {
    let name = at.filled()?;
    let agents: Vec<&str> = known.agents.iter().map(String::as_str).collect();
    let help = format!("the agents are {}", agents.join(", "));
    at.ensure(known.agents.contains(&name), format!("there is no agent {}", at.shown()), &help)?;
    Some(AgentId::configured(&name))
}

fn time(at: At<'_>) -> Option<Timestamp> {
    let help = "write it like 2026-01-31T12:00:00Z or 2026-01-31T12:00:00+01:00";
    Timestamp::parse(&at.filled()?).or_else(|| at.fail(format!("{} is not a time", at.shown()), help))
}

/// A label alone is data from a source of the same name.
fn source(at: At<'_>) -> Option<Source> {
    if at.is_single() {
        let label = at.filled()?;
        return Some(Source { labels: BTreeSet::from([label.clone()]), from: label });
    }
    let section = at.section("from labels");
    let labels = section.get("labels").map(At::one_or_more).unwrap_or_default();
    let labels = labels.into_iter().filter_map(At::filled).collect();
    Some(Source { from: section.require("from", At::filled)?, labels })
}

fn counts(section: Section<'_>, known: &CaseNames) -> BTreeMap<String, Decimal> {
    let entries = section.entries("counts").into_iter();
    let count = |(name, at): (super::at::Name<'_>, At<'_>)| {
        if !known.limits.contains(name.text()) {
            let limits: Vec<&str> = known.limits.iter().map(String::as_str).collect();
            let help = match limits.as_slice() {
                [] => "permissions.yaml has no limits".to_owned(),
                limits => format!("the limits are {}", limits.join(", ")),
            };
            name.error(format!("there is no limit {:?}", name.text()), &help);
        }
        Some((name.text().to_owned(), at.amount()?))
    };
    entries.filter_map(count).collect()
}

fn arguments(at: At<'_>) -> Option<Map<String, Value>> {
    match constant::json(at)? {
        Value::Object(args) => Some(args),
        Value::Null => Some(Map::new()),
        _ => at.fail("args must be a section of keys", ""),
    }
}

fn expected(at: At<'_>) -> Option<Expected> {
    let decision = |at: At<'_>| at.choice(&["allow", "ask", "deny", "invalid"].map(|word| (word, word)));
    if at.is_single() || at.is_null() {
        return Some(Expected { decision: decision(at)?, rule: None, reasons: None });
    }
    let section = at.section("decision rule reasons");
    let rule = section.read("rule", At::filled);
    let reasons = section.get("reasons").map(At::one_or_more);
    let reasons = reasons.map(|all| all.into_iter().filter_map(At::filled).collect());
    Some(Expected { decision: section.require("decision", decision)?, rule, reasons })
}
