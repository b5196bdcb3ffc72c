//! The policy alone, as a library call: how long a verdict takes among many rules, and at the worst.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentpass::testing::base::clock::Timestamp;
use agentpass::testing::base::digest::Digest;
use agentpass::testing::base::glob::Pattern;
use agentpass::testing::base::template::Template;
use agentpass::testing::base::zone::Zone;
use agentpass::testing::model::call::{MAX_SIGNATURE, MAX_STRING};
use agentpass::testing::model::{
    Action, AgentId, ArgSpec, Bounds, Call, Counted, DataFacts, Flow, Kind, Limit, Matcher, Method, Per,
    RequestSpec, Rule, RuleList, RuleRef, Source, Tool, Verdict, Window,
};
use agentpass::testing::policy::{Facts, Policy, PolicyParts};
use serde_json::json;

use super::Bench;
use super::table::{Figure, Table};

/// Tools that the rules are spread over.
const TOOLS: usize = 200;

pub fn run(bench: &Bench, table: &mut Table) {
    table.part("DECISIONS", &["p50", "p99", "per rule", "p50 : 10 rules"]);
    usual(bench, table, "own beginnings", |tool, n| format!("tool_{tool}(area{n}.*"));
    usual(bench, table, "one per tool", |tool, n| format!("tool_{tool}(*.item{n})"));
    for (rules, length) in [(1_000, 512), (1_000, MAX_SIGNATURE), (10_000, MAX_SIGNATURE)] {
        worst(bench, table, rules, length);
    }
    any_value(bench, table);
    beside_rules(bench, table);
    table.note(&format!(
        "over {TOOLS} tools, calls that match and calls that do not. own beginnings, one per tool:"
    ));
    table.note(
        "whether the patterns of a tool differ before their first wildcard. worst: all rules are of the",
    );
    table.note("tool that is called, and each of them fails only at the end of the longest signature.");
}

/// Rules as owners write them, in growing numbers.
fn usual(bench: &Bench, table: &mut Table, what: &str, pattern: fn(usize, usize) -> String) {
    let mut floor = None;
    for rules in [10, 1_000, 10_000] {
        let tools = rules.min(TOOLS);
        let policy = policy((0..rules).map(|n| rule(n, &pattern(n % tools, n / tools), None)).collect());
        let hits = (0..tools).map(|n| call(n, &format!("area0.item{}", n % (rules / tools)), "x"));
        let misses = (0..tools).map(|n| call(n, "zone0.thing", "x"));
        let times = times(bench, &policy, &hits.chain(misses).collect::<Vec<_>>());
        let floor = *floor.get_or_insert(times.0);
        row(table, &format!("{rules} rules, {what}"), times, rules, Some(floor));
    }
}

/// Every rule is looked at, and none can be given up before the end of the signature.
fn worst(bench: &Bench, table: &mut Table, rules: usize, length: usize) {
    let policy = policy((0..rules).map(|n| rule(n, &format!("tool_0(*a*a*ab{n}*)"), None)).collect());
    let text = "a".repeat(length - "tool_0()".len());
    let times = times(bench, &policy, &[call(0, &text, "x")]);
    row(table, &format!("worst: {rules} rules, {length} B"), times, rules, None);
}

/// `any_value` looks through all arguments.
fn any_value(bench: &Bench, table: &mut Table) {
    let rules = 100;
    let policy = policy((0..rules).map(|n| rule(n, "tool_0*", Some(&format!("*a*ab{n}*")))).collect());
    let times = times(bench, &policy, &[call(0, "a", &"a".repeat(MAX_STRING))]);
    row(table, &format!("worst: {rules} any_value, {} KiB", MAX_STRING >> 10), times, rules, None);
}

/// 10,000 rules with 100 limits and 50 flows: calls that none of these touches, that three limits count, that carry data
/// of four sources to a destination, and rules for any signature that differ in the kinds of tools only.
fn beside_rules(bench: &Bench, table: &mut Table) {
    let rules = || (0..10_000).map(|n| rule(n, &format!("tool_{}(area{}.*", n % TOOLS, n / TOOLS), None));
    let parts = || PolicyParts {
        rules: rules().collect(),
        limits: (0..100).map(limit).collect(),
        flows: (0..50).map(flow).collect(),
        ..PolicyParts::default()
    };
    let alone = self::policy(rules().collect());
    let policy = Policy::new(parts());
    let data = |to: Option<&str>| DataFacts { to: to.map(str::to_owned), ..DataFacts::default() };
    let read: Vec<_> =
        (0..4).map(|n| Source { from: format!("source_{n}"), labels: ["pii".to_owned()].into() }).collect();
    for (what, policy, number, to) in [
        ("10000 rules alone", &alone, 77, None),
        ("and 100 limits, 50 flows, none touched", &policy, 77, None),
        ("three limits touched", &policy, 7, None),
        ("three limits and four sources", &policy, 7, Some("webhook")),
    ] {
        let call = call_of(with_data(number, data(to)), "area0.item3", "x");
        let read = if to.is_some() { read.clone() } else { Vec::new() };
        let facts = || Facts { read: read.clone(), ..Facts::unchanged(&call).at(NOW, Zone::utc()) };
        row(
            table,
            what,
            times_of(bench, || drop::<Verdict>(black_box(policy.judge(&call, &facts())))),
            10_000,
            None,
        );
    }
    let by_kind = |n: usize| {
        let kinds = vec![Kind::ALL[1 + n % (Kind::ALL.len() - 1)]];
        let rule = rule(n, "*", None);
        Rule { matcher: Matcher { kinds, ..rule.matcher }, ..rule }
    };
    let policy = self::policy((0..10_000).map(by_kind).collect());
    let call = call_of(Tool { kind: Kind::Read, ..with_data(7, data(None)) }, "area0.item3", "x");
    let judge = || drop::<Verdict>(black_box(policy.judge(&call, &Facts::unchanged(&call))));
    row(table, "10000 rules of other kinds", times_of(bench, judge), 10_000, None);
}

const NOW: Timestamp = Timestamp(1_796_000_000_000);

/// Three for each of the first 33 tools, and one for the next.
fn limit(number: usize) -> Limit {
    Limit {
        name: format!("limit-{number}").into(),
        identity: Digest::sha256(&number.to_le_bytes()),
        matcher: Matcher::of(Pattern::new(&format!("tool_{}(*)", number / 3))),
        per: Per { agent: true, ..Per::default() },
        count: Counted::Calls,
        window: Window::Rolling(Duration::from_secs(3600)),
        ask_above: Some(20.into()),
        deny_above: Some(50.into()),
        description: None,
    }
}

fn flow(number: usize) -> Flow {
    Flow {
        index: number + 1,
        from: Pattern::new(&format!("source_{}", number % 4)),
        to: Pattern::new(if number < 46 { "external_*" } else { "webhook" }),
        labels: ["pii".to_owned()].into(),
        action: Action::Allow,
        bounds: Bounds::default(),
        description: None,
    }
}

fn row(table: &mut Table, what: &str, (p50, p99): (f64, f64), rules: usize, floor: Option<f64>) {
    let beside = floor.map_or(Figure::None, |floor| Figure::Times(p50 / floor));
    let each = Figure::Nanos(p50 / rules as f64);
    table.row(what, "library", &[Figure::Nanos(p50), Figure::Nanos(p99), each, beside]);
}

/// Median and 99th percentile over rounds, in nanoseconds for one decision. A round is all calls, a number of times.
fn times(bench: &Bench, policy: &Policy, calls: &[Call]) -> (f64, f64) {
    let round = |repeats: usize| {
        let began = Instant::now();
        for _ in 0..repeats {
            calls.iter().for_each(|call| {
                drop::<Verdict>(black_box(policy.judge(black_box(call), &Facts::unchanged(call))))
            });
        }
        began.elapsed()
    };
    times_of_rounds(bench, calls.len(), round)
}

/// The same of one decision.
fn times_of(bench: &Bench, judge: impl Fn()) -> (f64, f64) {
    times_of_rounds(bench, 1, |repeats| {
        let began = Instant::now();
        (0..repeats).for_each(|_| judge());
        began.elapsed()
    })
}

fn times_of_rounds(bench: &Bench, calls: usize, round: impl Fn(usize) -> Duration) -> (f64, f64) {
    // Long enough for the clock, short enough for many rounds.
    let repeats = (1_000_000 / round(1).as_nanos().max(1) as usize).clamp(1, 100_000);
    let (began, mut rounds) = (Instant::now(), Vec::new());
    let time = bench.options.pick(Duration::from_secs(2), Duration::from_millis(300));
    while began.elapsed() < time {
        rounds.push(round(repeats).as_nanos() as f64 / (repeats * calls) as f64);
    }
    rounds.sort_unstable_by(f64::total_cmp);
    (rounds[rounds.len() / 2], rounds[rounds.len() * 99 / 100])
}

fn policy(rules: Vec<Rule>) -> Policy {
    Policy::new(PolicyParts { rules, ..PolicyParts::default() })
}

fn rule(number: usize, pattern: &str, any_value: Option<&str>) -> Rule {
    let action = [Action::Deny, Action::Allow, Action::Ask][number % 3];
    let id = RuleRef {
        list: RuleList::Rules,
        index: number + 1,
        pattern: pattern.into(),
        action,
        description: None,
        file: "permissions.yaml".into(),
    };
    let any_value = any_value.map(Pattern::new);
    let matcher = Matcher { any_value, ..Matcher::of(Pattern::new(pattern)) };
    Rule::new(id, matcher)
}

fn call(tool: usize, signed: &str, other: &str) -> Call {
    call_of(self::tool(tool), signed, other)
}

fn with_data(number: usize, data: DataFacts) -> Tool {
    let mut tool = tool(number);
    tool.facts.data = Some(data);
    tool
}

fn call_of(tool: Tool, signed: &str, other: &str) -> Call {
    let args = json!({"id": signed, "other": other});
    let agent = AgentId::configured("bench");
    Call::new(agent, Arc::new(tool), args.as_object().unwrap().clone()).unwrap()
}

fn tool(number: usize) -> Tool {
    let request = RequestSpec::new(Method::Post, Template::parse("/").unwrap());
    Tool {
        service: "home".into(),
        signature: Some(Template::parse("{id}").unwrap()),
        args: BTreeMap::from(["id", "other"].map(|name| (name.to_owned(), ArgSpec::default()))),
        ..Tool::new(&format!("tool_{number}"), request)
    }
}
