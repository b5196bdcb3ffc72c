//! The judge against a slow reference in Python that was written apart from it (policy_differential/reference.py), over
//! 100,000 random calls that follow each other in time, under rules, flows and limits; and what must hold of doubt whatever
//! the policy.
//!
//! python3 is a stated need of the tests: without it this one fails, since a silent skip would look like a pass.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod random;
#[path = "policy_differential/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use agentpass::testing::base::clock::Timestamp;
use agentpass::testing::base::domain::Domain;
use agentpass::testing::base::glob::Pattern;
use agentpass::testing::base::template::Template;
use agentpass::testing::base::whole_regex::WholeRegex;
use agentpass::testing::base::zone::Zone;
use agentpass::testing::model::{
    Action, AgentId, ArgPath, ArgSpec, ArgType, Call, Condition, Kind, Matcher, Method, RequestSpec, Risk,
    Rule, RuleList, RuleRef, Test, TimeWindow, Tool, Weekday,
};
use agentpass::testing::policy::{Policy, PolicyParts};
use random::Random;
use serde_json::{Map, Value, json};
use world::World;

const POLICIES: usize = 10_000;
const CALLS: usize = 10;

/// By their names.
type Zones = BTreeMap<&'static str, Arc<Zone>>;

/// Some of them, in their order.
fn some<T: Clone>(random: &mut Random, from: &[T]) -> Vec<T> {
    from.iter().filter(|_| random.one_in(2)).cloned().collect()
}

const PATHS: [&str; 14] = [
    "amount",
    "amount",
    "to",
    "to",
    "id",
    "id[]",
    "items[]",
    "items[].n",
    "data.to",
    "data.*",
    "data",
    "*",
    ".",
    "items",
];
const TEXTS: [&str; 30] = [
    "a",
    "lock.front",
    "LOCK.front",
    " a ",
    "100",
    "true",
    "",
    "customer.example",
    "Mail.Customer.Example.",
    "notcustomer.example",
    "anna@customer.example",
    "anna@evil.example@customer.example",
    "https://customer.example/x?y=z",
    "https://user@customer.example/",
    "https://customer.example:8443#x",
    "https://customer.example:99999/",
    "HTTP://evil.example\\@customer.example/",
    "bücher.example",
    "https://BÜCHER.example/",
    "xn--bcher-kva.example",
    "xn--bcher-.example",
    "192.0.2.1",
    "http://[2001:db8::1]/",
    "customer.example%2f",
    "customer example",
    "customer\u{3002}example",
    "straße.example",
    "a\nb",
    "ssn",
    "é",
];
const DOMAINS: [&str; 4] = ["customer.example", "example", "bücher.example", "evil.example"];
const LABELS: [&str; 3] = ["pii", "untrusted", "secret"];
const ZONES: [&str; 4] = ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC"];

fn number(random: &mut Random) -> Value {
    random.pick(&[
        json!(0),
        json!(1),
        json!(-1),
        json!(100),
        json!(100.5),
        json!(99.99),
        json!(100.0),
        json!(0.1),
        json!(1e-7),
        json!(9_007_199_254_740_991_u64),
        json!(1.5e300),
    ])
}

fn scalar(random: &mut Random) -> Value {
    match random.below(4) {
        0 => number(random),
        1 => random.one_in(2).into(),
        _ => random.pick(&TEXTS).into(),
    }
}

fn value(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 4 } else { 7 }) {
        0..4 => scalar(random),
        4 => Value::Null,
        5 => (0..random.below(4)).map(|_| value(random, depth - 1)).collect(),
        _ => {
            let names = some(random, &["to", "n", " SSN ", "name", "x"]);
            names.into_iter().map(|name| (name.to_owned(), value(random, depth - 1))).collect()
        }
    }
}

fn condition(random: &mut Random) -> Value {
    let operators = [
        "eq",
        "ne",
        "in",
        "not_in",
        "gt",
        "ge",
        "lt",
        "le",
        "matches",
        "not_matches",
        "regex",
        "domain_in",
        "domain_not_in",
        "count_gt",
        "count_le",
        "length_gt",
        "length_le",
        "keys_in",
        "keys_not_in",
        "exists",
    ];
    let operator = random.pick(&operators);
    let operand = match operator {
        "eq" | "ne" => without_null(value(random, 2)),
        "in" | "not_in" => (0..1 + random.below(3)).map(|_| without_null(value(random, 1))).collect(),
        "gt" | "ge" | "lt" | "le" => number(random),
        "matches" | "not_matches" => {
            random.pick(&["lock.*", "a*", "*", "1*", "[!a]*", "100", "1.5e+300", "?"]).into()
        }
        "regex" => random.pick(&["[a-z.]+", "a|lock", "(?s).*", "[0-9]+", "true|1e-7", "a.b"]).into(),
        "domain_in" | "domain_not_in" => some(random, &DOMAINS).into(),
        "keys_in" | "keys_not_in" => some(random, &["ssn", "to", "n", "amount"]).into(),
        "exists" => random.one_in(2).into(),
        _ => random.below(4).into(),
    };
    json!({"path": random.pick(&PATHS), "operator": operator, "operand": operand})
}

fn without_null(value: Value) -> Value {
    if value.is_null() { json!("null") } else { value }
}

fn window(random: &mut Random) -> Value {
    let quarter = |random: &mut Random| random.below(96) * 15;
    let (from, to) = (quarter(random), quarter(random) + 15);
    let days = some(random, &Weekday::ALL.map(Weekday::as_str));
    let zone = random.one_in(2).then(|| random.pick(&ZONES));
    json!({"days": days, "from": from, "to": to, "zone": zone})
}

fn rule(random: &mut Random, name: String) -> Value {
    let action = random.pick(&["deny", "allow", "allow", "ask"]);
    json!({
        "name": name,
        "action": action,
        "always": action == "ask" && random.one_in(2),
        "pattern": random.pick(&["*", "*", "*", "pay*", "pay(a)", "move(*)", "move(*a*)"]),
        "agents": random.one_in(5).then(|| some(random, &["pi", "phone"])),
        "any_value": random.one_in(8).then(|| random.pick(&["lock.*", "a", "ssn", "e*"])),
        "kinds": if random.one_in(5) { some(random, &["pay", "read"]) } else { vec![] },
        "risks": if random.one_in(5) { some(random, &["none", "irreversible"]) } else { vec![] },
        "when": (0..random.pick(&[0, 1, 1, 1, 2])).map(|_| condition(random)).collect::<Value>(),
        "time": random.one_in(5).then(|| window(random)),
        "after": if random.one_in(5) { some(random, &LABELS) } else { vec![] },
    })
}

fn rules(random: &mut Random, list: &str) -> Value {
    let most = random.pick(&[1, 3, 6]);
    (0..random.below(most + 1)).map(|at| rule(random, format!("{list} {at}"))).collect()
}

fn strings(json: &Value) -> Vec<&str> {
    json.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn word<T: Copy>(all: &[T], as_str: impl Fn(T) -> &'static str, word: &str) -> T {
    all.iter().copied().find(|one| as_str(*one) == word).expect(word)
}

fn test(operator: &str, operand: &Value) -> Test {
    let domains = || strings(operand).into_iter().map(|name| Domain::parse(name).unwrap()).collect();
    let names = || strings(operand).into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    let pattern = || Pattern::new(operand.as_str().unwrap());
    let (number, list) = (|| operand.as_number().unwrap().clone(), || operand.as_array().unwrap().clone());
    let most = || operand.as_u64().unwrap();
    match operator {
        "eq" => Test::Eq(operand.clone()),
        "ne" => Test::Ne(operand.clone()),
        "in" => Test::In(list()),
        "not_in" => Test::NotIn(list()),
        "gt" => Test::Gt(number()),
        "ge" => Test::Ge(number()),
        "lt" => Test::Lt(number()),
        "le" => Test::Le(number()),
        "matches" => Test::Matches(pattern()),
        "not_matches" => Test::NotMatches(pattern()),
        "regex" => Test::Regex(WholeRegex::new(operand.as_str().unwrap()).unwrap()),
        "domain_in" => Test::DomainIn(domains()),
        "domain_not_in" => Test::DomainNotIn(domains()),
        "count_gt" => Test::CountGt(most()),
        "count_le" => Test::CountLe(most()),
        "length_gt" => Test::LengthGt(most()),
        "length_le" => Test::LengthLe(most()),
        "keys_in" => Test::KeysIn(names()),
        "keys_not_in" => Test::KeysNotIn(names()),
        "exists" => Test::Exists(operand.as_bool().unwrap()),
        other => panic!("{other}"),
    }
}

fn matcher(spec: &Value, zones: &Zones) -> Matcher {
    let condition = |spec: &Value| Condition {
        path: ArgPath::parse(spec["path"].as_str().unwrap()).unwrap(),
        test: test(spec["operator"].as_str().unwrap(), &spec["operand"]),
    };
    let minute = |value: &Value| u16::try_from(value.as_u64().unwrap()).unwrap();
    let time = |spec: &Value| TimeWindow {
        days: strings(&spec["days"])
            .into_iter()
            .map(|day| word(&Weekday::ALL, Weekday::as_str, day))
            .collect(),
        from: minute(&spec["from"]),
        to: minute(&spec["to"]),
        zone: spec["zone"].as_str().map(|name| zones[name].clone()),
    };
    let agents = |spec: &Value| strings(spec).into_iter().map(AgentId::configured).collect();
    Matcher {
        agents: Some(&spec["agents"]).filter(|spec| spec.is_array()).map(agents),
        any_value: spec["any_value"].as_str().map(Pattern::new),
        kinds: strings(&spec["kinds"]).into_iter().map(|kind| word(&Kind::ALL, Kind::as_str, kind)).collect(),
        risks: strings(&spec["risks"]).into_iter().map(|risk| word(&Risk::ALL, Risk::as_str, risk)).collect(),
        when: spec["when"].as_array().unwrap().iter().map(condition).collect(),
        time: Some(&spec["time"]).filter(|spec| spec.is_object()).map(time),
        after: strings(&spec["after"]).into_iter().map(str::to_owned).collect(),
        ..Matcher::of(Pattern::new(spec["pattern"].as_str().unwrap()))
    }
}

fn policy(spec: &Value, zones: &Zones) -> Policy {
    let list = |list: RuleList| {
        let rules = spec[list.as_str()].as_array().unwrap().iter().enumerate();
        let rule = |(at, spec): (usize, &Value)| Rule {
            id: Arc::new(RuleRef {
                list,
                index: at + 1,
                pattern: spec["pattern"].as_str().unwrap().into(),
                action: word(
                    &[Action::Deny, Action::Allow, Action::Ask],
                    Action::as_str,
                    spec["action"].as_str().unwrap(),
                ),
                description: Some(spec["name"].as_str().unwrap().into()),
                file: "permissions.yaml".into(),
            }),
            matcher: matcher(spec, zones),
            identity: agentpass::testing::base::digest::Digest([0; 32]),
            always: spec["always"].as_bool().unwrap(),
            ask: Arc::default(),
            terms: None,
        };
        rules.map(rule).collect()
    };
    let all = |name: &str| spec[name].as_array().unwrap().iter();
    Policy::new(PolicyParts {
        rules: list(RuleList::Rules),
        defaults: list(RuleList::Defaults),
        limits: all("limits").map(|spec| world::limit_of(spec, zones)).collect(),
        flows: all("flows").enumerate().map(|(at, spec)| world::flow_of(at, spec)).collect(),
        data: world::data_of(spec),
        ..PolicyParts::default()
    })
}

/// `pay(…)` signs one text, `move(…)` each element of a list.
fn tool(random: &mut Random) -> Arc<Tool> {
    let free = |kind| ArgSpec { kind, free_text: true, ..ArgSpec::default() };
    let each = ArgSpec { kind: Some(ArgType::Array), each: true, ..ArgSpec::default() };
    let name = random.pick(&["pay", "move"]);
    let id = if name == "move" { each } else { ArgSpec::default() };
    let target = RequestSpec::new(Method::Post, Template::parse("/").unwrap());
    let mut tool = Tool::new(name, target);
    tool.facts.risk = random.pick(&[Risk::None, Risk::Irreversible]);
    world::give_facts(random, &mut tool);
    let args = [
        ("id", id),
        ("to", free(Some(ArgType::String))),
        ("data", free(Some(ArgType::Object))),
        ("items", free(Some(ArgType::Array))),
    ];
    Arc::new(Tool {
        kind: random.pick(&[Kind::Pay, Kind::Read]),
        signature: Some(Template::parse("{id}").unwrap()),
        args: args.into_iter().map(|(name, spec)| (name.to_owned(), spec)).collect(),
        extra_args: true,
        ..tool
    })
}

fn call(random: &mut Random) -> Call {
    loop {
        let tool = tool(random);
        let mut args = Map::new();
        for name in ["id", "to", "amount", "items", "data", "x"] {
            if random.one_in(3) {
                continue;
            }
            let ids = ["a", "b", "lock.front", "lock"];
            let value = match name {
                "id" if tool.name == "move" => (0..1 + random.below(3)).map(|_| random.pick(&ids)).collect(),
                "id" => random.pick(&ids).into(),
                "to" => random.pick(&TEXTS).into(),
                "items" => (0..random.below(4)).map(|_| value(random, 1)).collect(),
                "amount" => value(random, 1),
                _ => value(random, 2),
            };
            args.insert(name.to_owned(), value);
        }
        if let Ok(call) = Call::new(agent(random), tool, args) {
            return call;
        }
    }
}

fn agent(random: &mut Random) -> AgentId {
    AgentId::configured(random.pick(&["pi", "phone"]))
}

/// A moment of a year, with more of the hours in which clocks are set.
fn minutes_of_change(random: &mut Random) -> Timestamp {
    let changes =
        ["2026-03-08T05:00:00Z", "2026-03-29T00:00:00Z", "2026-10-25T00:00:00Z", "2026-11-01T05:00:00Z"];
    let (from, most) = match random.one_in(2) {
        true => (random.pick(&changes), 4 * 60),
        false => ("2026-01-01T00:00:00Z", 365 * 24 * 60),
    };
    let minutes = u64::try_from(random.below(most)).unwrap();
    Timestamp::parse(from).unwrap().plus(Duration::from_secs(minutes * 60))
}

fn described(call: &Call) -> Value {
    let mut described = world::described_facts(call);
    let call = json!({
        "agent": call.agent().as_str(),
        "tool": call.tool().name,
        "kind": call.tool().kind.as_str(),
        "risk": call.tool().facts.risk.as_str(),
        "declared": world::declared(call.tool()),
        "args": call.args(),
        "signature": call.signature(),
        "parts": call.parts(),
        "each": (!call.parts().is_empty()).then(|| call.tool().each()),
    });
    described.as_object_mut().unwrap().append(&mut call.as_object().unwrap().clone());
    described
}

fn zones() -> Zones {
    let zone = |name| Arc::new(Zone::named(name).unwrap_or_else(|| panic!("the machine has no zone {name}")));
    ZONES.into_iter().map(|name| (name, zone(name))).collect()
}

fn case(random: &mut Random) -> Value {
    let mut spec = json!({"rules": rules(random, "rules"), "defaults": rules(random, "defaults")});
    if random.one_in(2) {
        let allowed = json!({"name": "the rest", "action": "allow", "pattern": "*", "always": false, "agents": null,
            "any_value": null, "kinds": [], "risks": [], "when": [], "time": null, "after": []});
        spec["defaults"].as_array_mut().unwrap().push(allowed);
    }
    world::beside_rules(random, &mut spec);
    spec
}

#[test]
fn judges_as_the_reference_does() {
    let mut random = Random::new(0x5eed_0015);
    let zones = zones();
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/policy_differential/reference.py");
    let mut python = Command::new("python3")
        .arg(reference)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut input = python.stdin.take().unwrap();
    let mut answers = BufReader::new(python.stdout.take().unwrap()).lines();
    let (send, cases) = std::sync::mpsc::sync_channel(64);
    let writer = thread::spawn(move || {
        for line in cases {
            let line: String = line;
            writeln!(input, "{line}").unwrap();
        }
    });
    let mut found = BTreeMap::new();
    let mut waiting = std::collections::VecDeque::new();
    for number in 0..POLICIES {
        let mut spec = case(&mut random);
        let policy = policy(&spec, &zones);
        let mut world = World::new(&mut random, &mut spec, &zones);
        let pool: Vec<_> = (0..4).map(|_| call(&mut random)).collect();
        let (mut steps, mut judged) = (Vec::new(), Vec::new());
        for _ in 0..CALLS {
            let (step, said) = world.step(&mut random, &policy, &pool);
            steps.push(step);
            judged.push(said);
        }
        let case = json!({"policy": spec, "steps": steps}).to_string();
        send.send(case.clone()).unwrap();
        waiting.push_back((case, judged));
        while waiting.len() > if number + 1 == POLICIES { 0 } else { 32 } {
            let (case, judged) = waiting.pop_front().unwrap();
            let answer: Vec<Value> =
                serde_json::from_str(&answers.next().expect("an answer").unwrap()).unwrap();
            for (at, (ours, theirs)) in judged.iter().zip(&answer).enumerate() {
                assert_eq!(ours, theirs, "SEED={} call {at} of {case}", random.seed);
                let reasons = ours["reasons"].as_array().unwrap();
                let words = reasons.iter().map(|reason| reason["reason"].as_str().unwrap());
                let seen = [
                    reasons.is_empty().then_some("allowed"),
                    ours["retry_after"].is_number().then_some("time heals"),
                    ours["forbidden"].is_object().then_some("forbidden when claimed"),
                    (reasons.len() > 1).then_some("several reasons"),
                ];
                for word in words.chain(seen.into_iter().flatten()) {
                    *found.entry(word.to_owned()).or_insert(0) += 1;
                }
            }
        }
    }
    drop(send);
    writer.join().unwrap();
    assert!(python.wait().unwrap().success());
    let rules = ["denied_by_policy", "asked_by_rule", "asked_by_default"].map(|word| (word, 3000));
    let others = ["flow_denied", "asked_by_flow", "limit_reached", "asked_by_limit"].map(|word| (word, 3000));
    let rest =
        [("allowed", 3000), ("several reasons", 3000), ("time heals", 500), ("forbidden when claimed", 30)];
    for (word, least) in [rules.as_slice(), &others, &rest].concat() {
        assert!(found.get(word).is_some_and(|count| *count > least), "{word}: {found:?}");
    }
}

/// What a value can be made of that no condition of its type can read, or that holds it one level deeper.
fn spoilt(random: &mut Random, value: &Value) -> Option<Value> {
    match random.below(6) {
        0 => None,
        1 => Some(Value::Null),
        2 => Some(json!([value])),
        // An object around an object is a good one, with one name more.
        3 if !value.is_object() => Some(json!({ "value": value })),
        4 if !value.is_string() => Some(value.to_string().into()),
        _ => Some(json!([[value, value]])),
    }
}

/// A condition of one type, and a value of it: `n` holds a number, `t` a text, `l` a list of texts, `k` an object.
fn typed_condition(random: &mut Random) -> Value {
    let texts = ["a", "lock.front", "customer.example", "mail.customer.example", "evil.example"];
    let (path, operators): (_, &[&str]) = random.pick::<(&str, &[&str])>(&[
        ("n", &["eq", "ne", "in", "not_in", "gt", "ge", "lt", "le"]),
        (
            "t",
            &[
                "eq",
                "ne",
                "in",
                "not_in",
                "matches",
                "not_matches",
                "regex",
                "domain_in",
                "domain_not_in",
                "length_gt",
            ],
        ),
        ("l[]", &["eq", "ne", "in", "not_in", "matches", "regex", "domain_in", "domain_not_in", "length_le"]),
        ("k", &["keys_in", "keys_not_in"]),
    ]);
    let operator = random.pick(operators);
    let one = |random: &mut Random| if path == "n" { number(random) } else { random.pick(&texts).into() };
    let operand = match operator {
        "eq" | "ne" | "gt" | "ge" | "lt" | "le" => one(random),
        "in" | "not_in" => (0..1 + random.below(2)).map(|_| one(random)).collect(),
        "matches" | "not_matches" => random.pick(&["lock.*", "a", "*example"]).into(),
        "regex" => random.pick(&["[a-z]", "lock[.].*"]).into(),
        "domain_in" | "domain_not_in" => json!(["customer.example"]),
        "keys_in" | "keys_not_in" => random.pick(&[json!(["ssn"]), json!(["name", "n"])]),
        _ => json!(3),
    };
    json!({"path": path, "operator": operator, "operand": operand})
}

#[test]
fn a_value_that_is_missing_wrapped_renamed_or_of_another_type_never_makes_a_decision_weaker() {
    let mut random = Random::new(0x5eed_0016);
    let zones = zones();
    let target = || RequestSpec::new(Method::Post, Template::parse("/").unwrap());
    let tool = Arc::new(world::sending_typed(Tool { extra_args: true, ..Tool::new("pay", target()) }));
    let strictness = |action| match action {
        Action::Allow => 0,
        Action::Ask => 1,
        Action::Deny => 2,
    };
    let (mut same, mut stricter) = (0, 0);
    for _ in 0..20_000 {
        let mut spec = case(&mut random);
        world::count_typed(&mut spec);
        for list in ["rules", "defaults", "limits"] {
            for rule in spec[list].as_array_mut().unwrap() {
                rule["any_value"] = Value::Null;
                rule["pattern"] = "*".into();
                let conditions = rule["when"].as_array_mut().unwrap();
                conditions.iter_mut().for_each(|condition| *condition = typed_condition(&mut random));
            }
        }
        let policy = policy(&spec, &zones);
        let texts = ["a", "lock.front", "x@mail.customer.example", "evil.example", "long text"];
        let list: Vec<_> = (0..1 + random.below(2)).map(|_| random.pick(&texts)).collect();
        let good = Map::from_iter([
            ("n".to_owned(), number(&mut random)),
            ("t".to_owned(), random.pick(&texts).into()),
            ("l".to_owned(), list.into()),
            ("k".to_owned(), random.pick(&[json!({"ssn": 1}), json!({"name": "x"})])),
        ]);
        let name = random.pick(&["n", "t", "l", "k"]);
        let mut bad = good.clone();
        let value = bad.remove(name).unwrap();
        match spoilt(&mut random, &value) {
            Some(value) => drop(bad.insert(name.to_owned(), value)),
            None => drop(bad.insert(name.to_uppercase(), value)),
        }
        let call =
            |args: &Map<String, Value>| Call::new(AgentId::configured("pi"), tool.clone(), args.clone());
        // Brackets in a text are refused before any rule is asked.
        let (Ok(good), Ok(bad)) = (call(&good), call(&bad)) else { continue };
        let mut world = World::new(&mut random, &mut spec, &zones);
        for _ in 0..random.below(4) {
            world.step(&mut random, &policy, std::slice::from_ref(&good));
        }
        let clock_set = !random.one_in(6);
        let judge = |call| world.judge(&policy, call, None, (clock_set, false)).decision;
        let (before, after) = (judge(&good), judge(&bad));
        let about = || format!("SEED={} {spec} {:?} {:?}", random.seed, good.args(), bad.args());
        assert!(strictness(after) >= strictness(before), "{before} became {after}: {}", about());
        if before == after { same += 1 } else { stricter += 1 }
    }
    assert!(same > 1000 && stricter > 1000, "{same} {stricter}");
}
