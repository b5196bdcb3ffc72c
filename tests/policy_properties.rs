//! What must hold for every policy and every call, tried on many thousand random ones.
//!
//! The naive engine below is the specification: scan all rules, deny over allow over ask, then the defaults.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod random;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use agentpass::testing::base::glob::Pattern;
use agentpass::testing::base::json::parse_strict;
use agentpass::testing::base::template::Template;
use agentpass::testing::model::{
    Action, AgentId, ArgSpec, ArgType, Call, InvalidCall, Matcher, Method, RequestSpec, Rule, RuleList,
    RuleRef, Tool, Verdict, Why,
};
use agentpass::testing::policy::{Facts, Policy, PolicyParts};
use random::Random;
use serde_json::{Map, Value, json};

fn text(random: &mut Random, least: usize, most: usize, letters: &[&str]) -> String {
    let length = least + random.below(most - least + 1);
    (0..length).map(|_| random.pick(letters)).collect()
}

fn tool(name: &str, signature: Option<&str>, args: &[(&str, Option<ArgType>)]) -> Arc<Tool> {
    let spec = |kind| ArgSpec { kind, ..ArgSpec::default() };
    let request = RequestSpec::new(Method::Post, Template::parse("/").unwrap());
    Arc::new(Tool {
        signature: signature.map(|text| Template::parse(text).unwrap()),
        args: args.iter().map(|(name, kind)| ((*name).to_owned(), spec(*kind))).collect(),
        extra_args: true,
        ..Tool::new(name, request)
    })
}

/// As if `args` had come off the wire.
fn call(tool: &Arc<Tool>, args: &Value) -> Result<Call, InvalidCall> {
    let Ok(Value::Object(args)) = parse_strict(args.to_string().as_bytes(), 64) else {
        panic!("test made {args}")
    };
    Call::new(AgentId::configured("pi"), Arc::clone(tool), args)
}

fn rule(list: RuleList, index: usize, action: Action, pattern: &str) -> Rule {
    Rule {
        id: Arc::new(RuleRef {
            list,
            index,
            pattern: pattern.into(),
            action,
            description: None,
            file: "p".into(),
        }),
        matcher: Matcher::of(Pattern::new(pattern)),
        identity: agentpass::testing::base::digest::Digest([0; 32]),
        always: false,
        ask: Arc::default(),
        terms: None,
    }
}

fn random_rules(random: &mut Random, list: RuleList) -> Vec<Rule> {
    let most = if random.one_in(10) { 60 } else { 6 };
    (0..random.below(most + 1))
        .map(|index| {
            let action = random.pick(&[Action::Deny, Action::Allow, Action::Ask]);
            let beginning = random
                .pick(&["", "*", "?", "a", "ab", "ab(", "ab(a", "a*", "a(", "b", "[ab]", "[!b]*", "a(a.b"]);
            let pattern =
                beginning.to_owned() + &text(random, 0, 4, &["a", "b", "*", "?", ".", "(", ")", ")", "[a"]);
            let agents =
                [None, None, Some(BTreeSet::from([AgentId::configured("pi")])), Some(BTreeSet::new())];
            let any_value = random.one_in(3).then(|| random.pick(&["a", "a*", "b", "*", "1", "c?"]));
            let mut rule = rule(list, index + 1, action, &pattern);
            rule.matcher.agents = random.pick(&agents);
            rule.matcher.any_value = any_value.map(Pattern::new);
            rule
        })
        .collect()
}

fn random_call(random: &mut Random) -> Call {
    let tools = [
        tool("a", Some("{x}"), &[("x", None)]),
        tool("ab", Some("{x}.{y}"), &[("x", None), ("y", None)]),
        tool("b", None, &[]),
    ];
    loop {
        let mut args = Map::new();
        for name in ["x", "y", "c1"] {
            if random.one_in(2) {
                let text = text(random, 1, 3, &["a", "b", "."]);
                args.insert(name.into(), random.pick(&[json!(text), json!(text), json!(1), json!([text])]));
            }
        }
        if let Ok(call) = call(&random.pick(&tools), &Value::Object(args)) {
            return call;
        }
    }
}

/// The strings that `any_value` speaks of, collected in the plainest way.
fn texts(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, into)),
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            into.push(key.clone());
            texts(value, into);
        }),
        Value::Null => {}
        other => into.push(other.to_string()),
    }
}

fn applies(rule: &Rule, call: &Call) -> bool {
    let mut found: Vec<String> =
        call.args().keys().filter(|k| !call.tool().args.contains_key(*k)).cloned().collect();
    call.args().values().for_each(|value| texts(value, &mut found));
    rule.matcher.pattern.matches(call.signature())
        && rule.matcher.agents.as_ref().is_none_or(|agents| agents.contains(call.agent()))
        && rule.matcher.any_value.as_ref().is_none_or(|any| found.iter().any(|text| any.matches(text)))
}

fn judge(policy: &Policy, call: &Call) -> Verdict {
    policy.judge(call, &Facts::unchanged(call))
}

fn naive(rules: &[Rule], defaults: &[Rule], call: &Call) -> Verdict {
    let of = |action| rules.iter().find(move |rule| rule.action() == action && applies(rule, call));
    let first = of(Action::Deny).or_else(|| of(Action::Allow)).or_else(|| of(Action::Ask));
    let rule = first.or_else(|| defaults.iter().find(|rule| applies(rule, call)));
    Verdict::by_rule(rule.map_or(Action::Ask, Rule::action), rule.map(|rule| Arc::clone(&rule.id)))
}

#[test]
fn decides_as_the_naive_scan_does() {
    let mut random = Random::new(0x5eed_0001);
    let mut decided = HashMap::new();
    for _ in 0..4000 {
        let (rules, defaults) =
            (random_rules(&mut random, RuleList::Rules), random_rules(&mut random, RuleList::Defaults));
        let policy = Policy::new(PolicyParts {
            rules: rules.clone(),
            defaults: defaults.clone(),
            ..PolicyParts::default()
        });
        for _ in 0..5 {
            let call = random_call(&mut random);
            let about = format!("SEED={} {} {rules:?} // {defaults:?}", random.seed, call.signature());
            let expected = naive(&rules, &defaults, &call);
            assert_eq!(judge(&policy, &call), expected, "{about}");
            let (verdict, steps) = policy.judge_traced(&call, &Facts::unchanged(&call));
            assert_eq!(verdict, expected, "{about}");
            let matched: Vec<_> =
                steps.iter().filter(|step| step.why == Why::Matched).map(|s| s.rule.clone()).collect();
            assert_eq!(
                matched,
                Vec::from_iter(expected.rule.clone()),
                "one match, the deciding one: {about}"
            );
            if policy.always_denies(call.agent(), call.tool()) {
                assert_eq!(expected.decision, Action::Deny, "{about}");
                *decided.entry("always denied").or_insert(0) += 1;
            }
            *decided.entry(expected.decision.as_str()).or_insert(0) += 1;
            *decided.entry(expected.rule.map_or("fallback", |rule| rule.list.as_str())).or_insert(0) += 1;
        }
    }
    // Every way to decide was taken often, or the comparison proved little.
    for way in ["deny", "allow", "ask", "rules", "defaults", "fallback", "always denied"] {
        assert!(decided.get(way).is_some_and(|count| *count > 500), "{way}: {decided:?}");
    }
}

#[test]
fn ten_thousand_rules_are_not_all_looked_at() {
    let pattern = |n: usize| match n % 3 {
        0 => format!("act(light.turn_on, light.{n})"),
        1 => format!("act(light.turn_on, light.{n}_*)"),
        _ => format!("tool{n}(*)"),
    };
    let mut rules: Vec<Rule> =
        (0..10_000).map(|n| rule(RuleList::Rules, n + 1, Action::Deny, &pattern(n))).collect();
    rules.push(rule(RuleList::Rules, 10_001, Action::Allow, "act(light.*)"));
    let policy = Policy::new(PolicyParts { rules, ..PolicyParts::default() });
    let tool = tool("act", Some("{what}, {which}"), &[("what", None), ("which", None)]);
    for (which, action) in [("light.9001_b", Action::Deny), ("light.9000_b", Action::Allow)] {
        let call = call(&tool, &json!({"what": "light.turn_on", "which": which})).unwrap();
        let (verdict, steps) = policy.judge_traced(&call, &Facts::unchanged(&call));
        assert_eq!(verdict.decision, action, "{which}");
        assert!(steps.len() <= 4, "{} rules looked at", steps.len());
    }
}

/// The values between the literal parts, as texts; an absent one differs from every present one.
fn signed_texts(call: &Call) -> Vec<Option<String>> {
    let names = call.tool().signature.iter().flat_map(|template| template.args());
    names
        .map(|name| {
            call.args().get(name).map(|value| value.as_str().map_or(value.to_string(), str::to_owned))
        })
        .collect()
}

#[test]
fn different_signed_values_never_share_a_signature() {
    let names = [("a", None), ("b", None), ("c", None)];
    let templates = [
        "{a}",
        "{a}.{b}",
        "{a}.{b}, {c}",
        "{a}, {b}",
        "{a}..{b}.{c}",
        "x{a}-{b}{c}x",
        "{a} {b} - {c}",
        "({a}) {b}",
        "{a}.{b}.{a}",
    ];
    let parsed = templates.map(|template| Template::parse(template).unwrap());
    // Values that touch each other are a finding when the tool file is loaded: no call is ever made of them.
    let loaded = parsed.iter().filter(|template| !template.has_touching_args());
    let mut tools: Vec<_> =
        loaded.enumerate().map(|(n, t)| tool(&format!("t{n}"), Some(&t.to_string()), &names)).collect();
    tools.extend([tool("t", Some("{a}"), &names), tool("t.", None, &names), tool("t1.a", None, &names)]);
    let mut random = Random::new(0x5eed_0002);
    let mut seen: HashMap<String, (String, Vec<Option<String>>)> = HashMap::new();
    let mut again = 0;
    for _ in 0..200_000 {
        let mut args = Map::new();
        for (name, _) in names {
            let text = text(&mut random, 0, 4, &["a", "a", ".", " ", "-", "x", ",", ")", "("]);
            let value =
                random.pick(&[json!(text), json!(text), json!(text), json!(1.5), json!(-1), Value::Null]);
            args.insert(name.into(), value);
        }
        let Ok(call) = call(&random.pick(&tools), &Value::Object(args.clone())) else { continue };
        let meaning = (call.tool().name.clone(), signed_texts(&call));
        let first = seen.entry(call.signature().to_owned()).or_insert_with(|| meaning.clone());
        again += usize::from(*first == meaning);
        assert_eq!(*first, meaning, "SEED={} {:?} of {args:?}", random.seed, call.signature());
    }
    assert!(seen.len() > 3000 && again > 10_000, "{} signatures, {again} checks", seen.len());
}

/// `value` inside random arrays and objects, as an object's key, or in another form that services take for it.
fn wrapped(random: &mut Random, value: &str) -> Value {
    let mut wrapped = match random.below(5) {
        0 => json!({ value: random.pick(&[json!(null), json!(1), json!([]), json!("x")]) }),
        1 => json!(value.to_uppercase()),
        2 => json!(format!(" {value}\u{a0}")),
        _ => json!(value),
    };
    for _ in 0..random.below(20) {
        wrapped = match random.below(4) {
            0 => json!([wrapped]),
            1 => json!(["light.a", 7, null, wrapped, {}]),
            2 => json!({"entity_id": wrapped}),
            _ => json!({"a": "light.a", "target": wrapped, "z": [true]}),
        };
    }
    wrapped
}

#[test]
fn no_wrapping_dodges_any_value() {
    let mut random = Random::new(0x5eed_0003);
    let kinds = [ArgType::String, ArgType::Array, ArgType::Object].map(Some);
    let mut denied = 0;
    for _ in 0..20_000 {
        let kind = random.pick(&[None, kinds[0], kinds[1], kinds[2]]);
        let tool = tool("act", Some("{domain}"), &[("domain", None), ("data", kind)]);
        let mut deny = rule(RuleList::Rules, 2, Action::Deny, random.pick(&["*", "act*", "act(*)"]));
        deny.matcher.any_value =
            Some(Pattern::new(random.pick(&["lock.*", "lock.front", "*.front", "l?ck*"])));
        let policy = Policy::new(PolicyParts {
            rules: vec![rule(RuleList::Rules, 1, Action::Allow, "*"), deny],
            ..PolicyParts::default()
        });
        let mut args = json!({"domain": "light", "data": null});
        let name = random.pick(&["domain", "data", "other", "lock.front"]);
        args[name] = wrapped(&mut random, "lock.front");
        let Ok(call) = call(&tool, &args) else { continue };
        assert_eq!(judge(&policy, &call).decision, Action::Deny, "SEED={} {args}", random.seed);
        denied += 1;
    }
    assert!(denied > 5000, "only {denied} calls were not refused");
}

#[test]
fn no_wrapping_dodges_a_denied_signature() {
    let mut random = Random::new(0x5eed_0004);
    let kinds =
        [None, Some(ArgType::String), Some(ArgType::Integer), Some(ArgType::Number), Some(ArgType::Boolean)];
    // Each line: what is denied, and JSON texts that all say the same.
    let table: [(&str, &[&str]); 4] = [
        ("lock", &[r#""lock""#, r#""\u006cock""#]),
        ("7", &["7", r#""7""#, "7.0", "7e0", "70e-1", "0.7E+1"]),
        ("true", &["true", r#""true""#]),
        ("-1.5", &["-1.5", r#""-1.5""#, "-15e-1", "-1.50"]),
    ];
    let mut denied = 0;
    for _ in 0..20_000 {
        let (value, forms) = random.pick(&table);
        let mut text = random.pick(forms).to_owned();
        for _ in 0..random.below(3) {
            text = match random.below(4) {
                0 => format!("[{text}]"),
                1 => format!(r#"{{"id":{text}}}"#),
                2 => format!(r#"[null,{text}]"#),
                _ => text,
            };
        }
        let mut asked = tool("get", Some("{id}"), &[("id", random.pick(&kinds))]);
        Arc::get_mut(&mut asked).unwrap().args.get_mut("id").unwrap().required = true;
        let rules = vec![
            rule(RuleList::Rules, 1, Action::Allow, "*"),
            rule(RuleList::Rules, 2, Action::Deny, &format!("get({value})")),
        ];
        let Value::Object(args) = parse_strict(format!(r#"{{"id":{text}}}"#).as_bytes(), 8).unwrap() else {
            panic!()
        };
        let Ok(call) = Call::new(AgentId::configured("pi"), asked, args) else { continue };
        let verdict = judge(&Policy::new(PolicyParts { rules, ..PolicyParts::default() }), &call);
        assert_eq!(verdict.decision, Action::Deny, "SEED={} {text}", random.seed);
        denied += 1;
    }
    assert!(denied > 3000, "only {denied} calls were not refused");
}
