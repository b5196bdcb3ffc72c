//! Decisions as tables: one line per case.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Facts, Policy, PolicyParts};
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::glob::Pattern;
use crate::base::template::Template;
use crate::model::{
    Action, AgentId, ArgSpec, ArgType, Call, Denial, DenialReason, Matcher, Method, Reason, RequestSpec,
    Rule, RuleList, RuleRef, Tool, Verdict, Void, Why,
};

/// The tools of the tables: name, signature, declared arguments. All take others too.
const TOOLS: [(&str, Option<&str>, &[&str]); 3] = [
    ("act", Some("{domain}.{service}, {entity}"), &["domain", "service", "entity"]),
    ("get", Some("{id}"), &["id"]),
    ("ping", None, &[]),
];

fn tool(name: &str) -> Arc<Tool> {
    let (name, signature, args) = TOOLS.into_iter().find(|(own, ..)| *own == name).expect("one of TOOLS");
    let request = RequestSpec::new(Method::Post, Template::parse("/").unwrap());
    Arc::new(Tool {
        signature: signature.map(|text| Template::parse(text).unwrap()),
        args: args.iter().map(|arg| ((*arg).into(), ArgSpec::default())).collect(),
        extra_args: true,
        ..Tool::new(name, request)
    })
}

/// `tool key=value key:=json`, by the agent "pi" unless `@name` comes first.
fn call(text: &str) -> Call {
    let mut words = text.split(' ').peekable();
    let agent = words.next_if(|word| word.starts_with('@')).map_or("pi", |word| &word[1..]);
    let tool = tool(words.next().unwrap());
    let args = words.map(|word| match word.split_once(":=") {
        Some((key, json)) => (key.to_owned(), serde_json::from_str(json).expect(json)),
        None => word.split_once('=').map(|(key, text)| (key.to_owned(), Value::from(text))).expect(word),
    });
    Call::new(AgentId::configured(agent), tool, args.collect()).expect(text)
}

fn judge(policy: &Policy, call: &Call) -> Verdict {
    policy.judge(call, &Facts::unchanged(call))
}

/// `action pattern`, then `@agent` and `any:glob` where wanted; rules are separated by `;`.
fn rules(list: RuleList, text: &str) -> Vec<Rule> {
    let texts = text.split(';').map(str::trim).filter(|text| !text.is_empty());
    texts.enumerate().map(|(number, text)| rule(list, number + 1, text)).collect()
}

fn rule(list: RuleList, index: usize, text: &str) -> Rule {
    let (action, rest) = text.split_once(' ').unwrap();
    let (rest, any_value) = rest.split_once(" any:").map_or((rest, None), |(rest, any)| (rest, Some(any)));
    let (pattern, agent) = rest.split_once(" @").map_or((rest, None), |(rest, agent)| (rest, Some(agent)));
    let action =
        [Action::Deny, Action::Allow, Action::Ask].into_iter().find(|a| a.as_str() == action).unwrap();
    Rule {
        id: Arc::new(RuleRef {
            list,
            index,
            pattern: pattern.into(),
            action,
            description: None,
            file: "p".into(),
        }),
        matcher: Matcher {
            agents: agent.map(|agent| BTreeSet::from([AgentId::configured(agent)])),
            any_value: any_value.map(Pattern::new),
            ..Matcher::of(Pattern::new(pattern))
        },
        identity: Digest([0; 32]),
        always: false,
        ask: Arc::default(),
        terms: None,
    }
}

/// Both lists, separated by `//`.
fn policy(text: &str) -> Policy {
    let (first, defaults) = text.split_once("//").unwrap_or((text, ""));
    Policy::new(PolicyParts {
        rules: rules(RuleList::Rules, first),
        defaults: rules(RuleList::Defaults, defaults),
        ..PolicyParts::default()
    })
}

/// `rules 2`, or `fallback`.
fn name(rule: Option<&Arc<RuleRef>>) -> String {
    rule.map_or("fallback".into(), |rule| format!("{} {}", rule.list.as_str(), rule.index))
}

#[test]
fn precedence() {
    let table = [
        ("", "ping", "ask", "fallback"),
        ("allow ping", "ping", "allow", "rules 1"),
        ("allow pin", "ping", "ask", "fallback"),
        ("ask *; allow *; deny *", "ping", "deny", "rules 3"),
        ("ask *; allow p*; allow *", "ping", "allow", "rules 2"),
        ("ask ping; allow get(*)", "ping", "ask", "rules 1"),
        ("deny *; deny ping", "ping", "deny", "rules 1"),
        ("deny ping; deny *", "ping", "deny", "rules 1"),
        ("// deny *", "ping", "deny", "defaults 1"),
        ("// ask p*; allow *; deny ping", "ping", "ask", "defaults 1"),
        ("// allow get*; deny ping; allow *", "ping", "deny", "defaults 2"),
        ("ask * // deny *", "ping", "ask", "rules 1"),
        ("allow get(*) // deny *", "ping", "deny", "defaults 1"),
    ];
    for (rules, asked, action, by) in table {
        let verdict = judge(&policy(rules), &call(asked));
        let found = (verdict.decision.as_str(), name(verdict.rule.as_ref()));
        assert_eq!(found, (action, by.to_owned()), "{rules} | {asked}");
    }
}

#[test]
fn conditions() {
    let table = [
        // the signature, and nothing but the signature
        ("allow get(sun)", "get id=sun", "allow"),
        ("allow get(sun)", "get id=sun2", "ask"),
        ("allow get", "get id=sun", "ask"),
        ("allow get()", "get", "allow"),
        ("allow get(1)", "get id:=1", "allow"),
        ("deny get(true)", "get id:=true", "deny"),
        ("deny act(lock.*)", "act domain=lock service=open entity=lock.door", "deny"),
        ("deny act(lock.*)", "act domain=light service=on entity=lock.door", "ask"),
        ("allow act(light.*, light.*)", "act domain=light service=on entity=light.a", "allow"),
        ("deny act(LOCK.*)", "act domain=lock service=open entity=x", "ask"),
        // agents
        ("allow ping @pi", "ping", "allow"),
        ("allow ping @pi", "@laptop ping", "ask"),
        ("deny * @laptop; allow *", "ping", "allow"),
        ("deny * @laptop; allow *", "@laptop ping", "deny"),
        // any_value: anywhere, whatever its type
        ("deny * any:lock.*; allow *", "ping", "allow"),
        ("deny * any:lock.*; allow *", "ping x=lock.a", "deny"),
        ("deny * any:lock.*; allow *", "ping x=a.lock.a", "allow"),
        ("deny * any:lock.*; allow *", "get id=lock.a", "deny"),
        ("deny * any:lock.*; allow *", r#"ping x:=["lock.a"]"#, "deny"),
        ("deny * any:lock.*; allow *", r#"ping x:={"y":[1,{"z":["b","lock.a"]}]}"#, "deny"),
        ("deny * any:lock.*; allow *", r#"ping x:={"lock.a":null}"#, "deny"),
        ("deny * any:lock.*; allow *", "ping lock.a:=null", "allow"),
        ("deny * any:lock.*; allow *", "ping lock.a:=true", "deny"),
        ("deny * any:7; allow *", "ping x:=[7]", "deny"),
        ("deny * any:-1.5; allow *", "ping x:=-1.5", "deny"),
        ("deny * any:false; allow *", "ping x:=[[false]]", "deny"),
        ("deny * any:null; allow *", "ping x:=[null]", "allow"),
        ("deny get(*) any:lock.*; allow *", "ping x=lock.a", "allow"),
        ("deny * @laptop any:lock.*; allow *", "ping x=lock.a", "allow"),
        // the owner's names for arguments are not the agent's values
        ("deny * any:id; allow *", "get id=sun", "allow"),
        ("deny * any:id; allow *", r#"get x:={"id":1}"#, "deny"),
        // services trim and fold case; what permits must match as it stands
        ("deny * any:lock.*; allow *", "ping x=Lock.A", "deny"),
        ("deny * any:lock.*; allow *", r#"ping x:="\u00a0lock.a""#, "deny"),
        ("deny * any:Lock.*; allow *", "ping x=Lock.A", "deny"),
        ("allow * any:light.*", "ping x=LIGHT.a", "ask"),
        ("allow * any:light.*", "ping x=light.a", "allow"),
    ];
    for (rules, asked, action) in table {
        assert_eq!(judge(&policy(rules), &call(asked)).decision.as_str(), action, "{rules} | {asked}");
    }
}

#[test]
fn trace_tells_why_in_order_of_precedence() {
    let policy = policy(
        "allow get(*); deny get(s?n) @laptop; deny get(*) any:moon; deny get(m*); ask get(sun); deny *x // allow *",
    );
    let (verdict, steps) = policy.judge_traced(&call("get id=sun"), &Facts::unchanged(&call("get id=sun")));
    let told: Vec<_> = steps.iter().map(|step| (name(Some(&step.rule)), step.why.clone())).collect();
    let expected = [(2, Why::Agents), (3, Why::AnyValue), (6, Why::Pattern), (1, Why::Matched)];
    // Rule 4 begins otherwise; what stands behind the deciding rule does not matter.
    assert_eq!(told, expected.map(|(index, why)| (format!("rules {index}"), why)));
    assert_eq!(name(verdict.rule.as_ref()), "rules 1");
    assert_eq!(verdict, judge(&policy, &call("get id=sun")));
}

#[test]
fn tools_that_are_always_denied() {
    let table = [
        ("deny *", "get", true),
        ("deny get*", "get", true),
        ("deny get(*)", "get", true),
        ("deny *(*)", "get", true),
        ("deny g?t(*", "get", true),
        ("allow *; deny get(*)", "get", true),
        ("deny get", "get", false),
        ("deny get(?*)", "get", false),
        ("deny get(lock.*)", "get", false),
        ("deny * any:lock.*", "get", false),
        ("deny * @laptop", "get", false),
        ("deny * @pi", "get", true),
        ("ask *", "get", false),
        ("", "get", false),
        ("deny ping", "ping", true),
        ("deny p*g", "ping", true),
        ("deny ping(*)", "ping", false),
        ("// deny *", "get", true),
        ("allow ping // deny *", "get", true),
        ("allow get(sun) // deny *", "get", false),
        ("allow get(sun) @laptop // deny *", "get", true),
        ("ask * // deny *", "get", false),
        ("// allow act(*); deny *", "get", true),
        ("// allow get(sun); deny *", "get", false),
        ("// deny get(sun); deny *", "get", true),
        ("// deny get(*); allow *", "get", true),
        ("// deny get(sun); allow *; deny *", "get", false),
    ];
    for (rules, name, expected) in table {
        assert_eq!(policy(rules).always_denies(&AgentId::configured("pi"), &tool(name)), expected, "{rules}");
    }
}

/// A tool `get` whose `id` is a list.
fn listing() -> Arc<Tool> {
    let things = ArgSpec { kind: Some(ArgType::Array), each: true, ..ArgSpec::default() };
    Arc::new(Tool {
        signature: Some(Template::parse("{id}").unwrap()),
        args: [("id".into(), things)].into(),
        ..(*tool("get")).clone()
    })
}

/// Were every element looked up in everything, this would take minutes.
#[test]
fn what_does_not_depend_on_the_element_is_looked_at_once() {
    let texts: Vec<String> = (0..16).map(|_| "sun ".repeat(12_000)).collect();
    let args = serde_json::json!({"id": vec!["sun"; 128], "other": texts});
    let call = Call::new(AgentId::configured("pi"), listing(), args.as_object().unwrap().clone()).unwrap();
    let deny = "deny get(*) any:*moon; ".repeat(30);
    assert_eq!(judge(&policy(&format!("{deny} allow get(*)")), &call).decision, Action::Allow);
    assert_eq!(judge(&policy(&format!("{deny} allow get(*) // deny *")), &call).decision, Action::Allow);
    assert_eq!(
        judge(&policy(&format!("allow get(*) any:*moon; {deny} ask * any:sun")), &call).decision,
        Action::Ask
    );
}

#[test]
fn no_element_of_a_list_is_judged_less_strictly_than_alone() {
    let tool = listing();
    let call = |ids: &[&str]| {
        let args = Map::from_iter([("id".to_owned(), Value::from(ids.to_vec()))]);
        Call::new(AgentId::configured("pi"), Arc::clone(&tool), args).unwrap()
    };
    let rank = |action| match action {
        Action::Deny => 0,
        Action::Ask => 1,
        Action::Allow => 2,
    };
    let ids = ["sun", "moon", "SUN"];
    let (mut seed, mut differs) = (11_u64, 0);
    let mut roll = move |sides: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % sides
    };
    for _ in 0..3000 {
        let mut line = || {
            let action = ["deny", "ask", "allow"][roll(3)];
            let pattern = ["get(*)", "get(s*)", "get(m*)", "*"][roll(4)];
            let any = ["", " any:sun", " any:moon", " any:s*"][roll(4)];
            format!("{action} {pattern}{any}")
        };
        let text = format!("{}; {} // {}; {}", line(), line(), line(), line());
        let policy = policy(&text);
        let list = [ids[roll(3)], ids[roll(3)], ids[roll(3)]];
        let together = judge(&policy, &call(&list));
        let strictest = list.iter().map(|id| rank(judge(&policy, &call(&[id])).decision)).min().unwrap();
        assert!(rank(together.decision) <= strictest, "{text} | {list:?}");
        // Only a deny that looks at everything is stricter than all elements alone.
        assert!(
            rank(together.decision) == strictest || together.decision == Action::Deny,
            "{text} | {list:?}"
        );
        differs += usize::from(rank(together.decision) != strictest);
        let parts = policy.judge_parts(&call(&list), &Facts::unchanged(&call(&list)));
        assert_eq!(parts.iter().map(|v| rank(v.decision)).min(), Some(rank(together.decision)), "{text}");
        assert_eq!(policy.judge_traced(&call(&list), &Facts::unchanged(&call(&list))).0, together, "{text}");
    }
    assert!(differs > 10, "{differs}");
}

#[test]
fn facts_speak_against_asking_and_only_against_asking() {
    let until = Timestamp(1_000);
    let call = call("get id=sun");
    let with = |cool_down, open_questions| Facts {
        cool_down,
        open_questions,
        max_open_questions: 2,
        ..Facts::unchanged(&call)
    };
    let (cool_down, too_many) = (Reason::CoolDown { until }, Reason::TooManyPending);
    let table = [
        ("ask get(*)", with(None, 1), Action::Ask, None),
        ("ask get(*)", with(None, 2), Action::Ask, Some(too_many)),
        ("ask get(*)", with(Some(until), 0), Action::Ask, Some(cool_down.clone())),
        ("// ask *", with(Some(until), 2), Action::Ask, Some(cool_down.clone())),
        ("", with(Some(until), 0), Action::Ask, Some(cool_down.clone())),
        ("allow get(*)", with(Some(until), 2), Action::Allow, None),
        ("deny get(*)", with(Some(until), 2), Action::Deny, None),
    ];
    for (rules, facts, decision, reason) in table {
        let verdict = policy(rules).judge(&call, &facts);
        assert_eq!((verdict.decision, verdict.not_asked()), (decision, reason), "{rules}");
        assert_eq!(policy(rules).judge_traced(&call, &facts).0, verdict, "{rules}");
    }
}

#[test]
fn only_what_forbids_stops_a_call_that_was_let_through() {
    let denied = DenialReason::Rule { rule: "get(*)".into() };
    let call = call("get id=sun");
    let full = Facts { cool_down: Some(Timestamp(1_000)), max_open_questions: 0, ..Facts::unchanged(&call) };
    let table = [
        ("allow get(*)", full.clone(), Ok(())),
        ("ask get(*)", full.clone(), Ok(())),
        ("", full.clone(), Ok(())),
        (
            "deny get(*)",
            full.clone(),
            Err(Void::Denied(Denial { reasons: vec![denied], ..Denial::default() })),
        ),
        ("allow *", Facts { knows_agent: false, ..full.clone() }, Err(Void::AgentRemoved)),
        ("allow *", Facts { tool: None, ..full.clone() }, Err(Void::ToolChanged)),
        ("allow *", Facts { tool: Some(Digest::sha256(b"other")), ..full }, Err(Void::ToolChanged)),
    ];
    for (rules, facts, expected) in table {
        assert_eq!(policy(rules).still_permitted(&call, &facts), expected, "{rules}");
    }
}
