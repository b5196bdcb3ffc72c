//! permissions.yaml beyond patterns: conditions, limits, data and flows, and all that is said of mistakes in them.

use std::time::Duration;

use agentpass::testing::model::{
    Action, Bounds, Counted, DataPolicy, Kind, Limit, Matcher, Per, Remember, Risk, Rule, Test, Weekday,
    Window,
};

use super::{Dir, Finding, MINIMAL, permissions};

/// A service with tools whose arguments have types.
const TOOLS: &str = r#"tools:
  pay:
    kind: pay
    cost: {arg: usd}
    args: {usd: {type: number}, to: {type: string}, note: {}, ok: {type: boolean}, ids: {type: array, items: {type: string}}, target: {type: object}}
    extra_args: refuse
    request: {method: POST, path: /pay}
  mail_send:
    kind: send
    data: {to: external_email, domain: {arg: to}}
    args: {to: {type: string}, text: {free_text: true}}
    extra_args: refuse
    request: {method: POST, path: /mail}
  hook:
    data: {to: webhook}
    extra_args: allow
    request: {method: POST, path: /hook}
  crm_get:
    data: {from: crm, labels: [pii], untrusted: true}
    args: {id: {required: true}}
    signature: "{id}"
    request: {method: GET, path: "/{id}"}
"#;

fn shop() -> Dir {
    let dir = Dir::minimal();
    dir.write(
        "config.yaml",
        format!("{MINIMAL}services: {{s: {{url: 'http://127.0.0.1', tools: t.yaml}}}}\n"),
    );
    dir.write("t.yaml", TOOLS);
    dir
}

/// What is said of these permissions beside [`TOOLS`].
fn said(text: &str) -> String {
    let dir = shop();
    dir.write("permissions.yaml", text);
    dir.shown().replace("agentpass: warning: ", "")
}

fn load(text: &str) -> super::Loaded {
    let dir = shop();
    dir.write("permissions.yaml", text);
    let shown =
        |findings: Vec<Finding>| findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("\n");
    dir.load().map_err(shown).unwrap()
}

fn rule(text: &str) -> Rule {
    load(&format!("rules:\n  - {{{text}}}\n")).permissions.rules.remove(0)
}

/// The example of the design, all of it.
#[test]
fn a_rule_says_agents_kinds_risks_conditions_times_and_what_was_read() {
    let text = r#"
rules:
  - pattern: "pay*"
    agents: ["def*"]
    kinds: [pay, delete]
    risk: [irreversible, external_send]
    when:
      usd: {gt: 100}
      to: {domain_not_in: [customer.example]}
      "target.entity_id[]": {matches: "lock.*"}
      note: {exists: true, not_matches: "a*"}
    time: {days: [mon, fri], from: "08:00", to: "20:00", zone: "Europe/Berlin"}
    after: [untrusted, pii]
    action: ask
    always: true
    description: "Refunds end at 100 USD"
"#;
    let loaded = load(text);
    let rule = &loaded.permissions.rules[0];
    assert!(rule.always);
    let Matcher { pattern, agents, any_value, kinds, risks, when, time, after } = &rule.matcher;
    assert_eq!((pattern.as_str(), agents.as_ref().unwrap().len(), any_value), ("pay*", 1, &None));
    assert_eq!(
        (kinds.as_slice(), risks.as_slice()),
        ([Kind::Pay, Kind::Delete].as_slice(), [Risk::Irreversible, Risk::ExternalSend].as_slice())
    );
    let shown: Vec<_> = when.iter().map(|c| format!("{} {}", c.path, c.test.operator())).collect();
    assert_eq!(
        shown,
        ["usd gt", "to domain_not_in", "target.entity_id[] matches", "note not_matches", "note exists"]
    );
    assert!(matches!(&when[0].test, Test::Gt(number) if number.as_i64() == Some(100)));
    let time = time.as_ref().unwrap();
    assert_eq!(
        (time.days.as_slice(), time.from, time.to),
        ([Weekday::Monday, Weekday::Friday].as_slice(), 480, 1200)
    );
    assert!(time.zone.is_some());
    assert_eq!(after, &["untrusted", "pii"]);
}

#[test]
fn the_pattern_may_be_left_out_where_something_else_picks_the_calls() {
    for text in ["kinds: pay", "risk: [none]", "after: pii"] {
        assert_eq!(rule(&format!("{text}, action: deny")).matcher.pattern.as_str(), "*", "{text}");
    }
    for text in ["agents: default", "when: {usd: {gt: 1}}", "time: {from: \"08:00\"}", "any_value: x"] {
        let shown = said(&format!("rules:\n  - {{{text}, action: deny}}\n"));
        assert_eq!(
            shown, "agentpass: cannot load permissions: pattern is missing\n  at permissions.yaml:2:5",
            "{text}"
        );
    }
}

#[test]
fn every_operator_is_read() {
    let text = r#"pattern: hook, action: deny, when: {a: {eq: {b: [1, x]}, ne: 1.5, in: [1, "1", true], not_in: x, gt: -1, ge: 0.5, lt: 1e3, le: 7, matches: "a*", not_matches: "[!b]", regex: "a+", domain_in: [Example.ORG.], domain_not_in: a.example, count_gt: 0, count_le: 3, length_gt: 4, length_le: 5, keys_in: [" SSN "], keys_not_in: [name], exists: false}, ".": {keys_in: x}, "*": {exists: true}}"#;
    let when = rule(text).matcher.when;
    let operators: Vec<_> = when.iter().map(|condition| condition.test.operator()).collect();
    let all = "eq ne in not_in gt ge lt le matches not_matches regex domain_in domain_not_in count_gt count_le length_gt length_le keys_in keys_not_in exists";
    assert_eq!(operators[..20].join(" "), all);
    assert_eq!(operators[20..], ["keys_in", "exists"]);
    assert!(matches!(&when[2].test, Test::In(values) if values.len() == 3));
    assert!(matches!(&when[3].test, Test::NotIn(values) if values.len() == 1));
    assert!(matches!(&when[11].test, Test::DomainIn(domains) if domains[0].to_string() == "example.org"));
    assert!(matches!(&when[17].test, Test::KeysIn(names) if names.contains("ssn")));
}

#[test]
fn mistakes_in_conditions() {
    let rule = |text: &str, expected: &str| {
        let file = format!("rules:\n  - {{pattern: a, action: deny, {text}}}\n");
        permissions(&file, &format!("agentpass: cannot load permissions: {expected}"));
    };
    let operators = "eq, ne, in, not_in, gt, ge, lt, le, matches, not_matches, regex, domain_in, domain_not_in, count_gt, count_le, length_gt, length_le, keys_in, keys_not_in, exists";
    rule(
        "when: {a: {above: 1}}",
        &format!("unknown key \"above\"\n  at permissions.yaml:2:43\n  help: known here: {operators}"),
    );
    for (text, expected) in [
        (
            "when: {}",
            "when is empty\n  at permissions.yaml:2:38\n  help: remove when, or write an argument: when: {amount: {gt: 100}}",
        ),
        (
            "when: ",
            "when is empty\n  at permissions.yaml:2:38\n  help: remove when, or write an argument: when: {amount: {gt: 100}}",
        ),
        ("when: {a: 5}", "a needs an operator\n  at permissions.yaml:2:42\n  help: write a: {eq: \"5\"}"),
        (
            "when: {a: {}}",
            "a asks for nothing\n  at permissions.yaml:2:42\n  help: add an operator, such as {eq: open}",
        ),
        (
            "when: {a: }",
            "a asks for nothing\n  at permissions.yaml:2:42\n  help: add an operator, such as {eq: open}",
        ),
        (
            "when: {\"a..b\": {eq: 1}}",
            "a name is missing before a \".\" or \"[]\", or at the end\n  at permissions.yaml:2:39\n  help: write a path such as amount, target.id or items[].id",
        ),
        (
            "when: {\"a[0]\": {eq: 1}}",
            "\"[]\" stands behind a name, with nothing in it\n  at permissions.yaml:2:39\n  help: write a path such as amount, target.id or items[].id",
        ),
        (
            "when: {a: {gt: \"100\"}}",
            "gt must be a number, not \"100\"\n  at permissions.yaml:2:47\n  help: texts that look like numbers are not compared as numbers",
        ),
        ("when: {a: {gt: [1]}}", "gt must be a number, not a list\n  at permissions.yaml:2:47"),
        ("when: {a: {eq: }}", "eq has no value\n  at permissions.yaml:2:47\n  help: use exists: false"),
        ("when: {a: {in: []}}", "in is empty\n  at permissions.yaml:2:47\n  help: remove in"),
        (
            "when: {a: {in: [1, null]}}",
            "in has no value\n  at permissions.yaml:2:51\n  help: use exists: false",
        ),
        (
            "when: {a: {regex: \"(\"}}",
            "regex is not a usable pattern: unclosed group\n  at permissions.yaml:2:50",
        ),
        (
            "when: {a: {domain_in: []}}",
            "domain_in is empty, so no receiver matches\n  at permissions.yaml:2:54\n  help: remove domain_in",
        ),
        (
            "when: {a: {domain_in: [\"*.example\"]}}",
            "\"*.example\" is not a domain\n  at permissions.yaml:2:55\n  help: write the name only: customer.example; all names below it are meant too",
        ),
        (
            "when: {a: {domain_in: [\"https://a.example\"]}}",
            "\"https://a.example\" is not a domain\n  at permissions.yaml:2:55\n  help: write the name only: customer.example; all names below it are meant too",
        ),
        (
            "when: {a: {count_gt: -1}}",
            "count_gt must be a whole number from 0 to 1000000000, not \"-1\"\n  at permissions.yaml:2:53",
        ),
        ("when: {a: {keys_in: []}}", "keys_in is empty\n  at permissions.yaml:2:52\n  help: remove keys_in"),
        (
            "when: {a: {exists: maybe}}",
            "exists must be true or false, not \"maybe\"\n  at permissions.yaml:2:51",
        ),
        ("kinds: []", "kinds is empty\n  at permissions.yaml:2:39\n  help: remove kinds"),
        (
            "kinds: [buy]",
            "unknown kinds \"buy\"\n  at permissions.yaml:2:40\n  help: use read, write, send, delete, pay, deploy, export, execute or admin",
        ),
        ("risk: []", "risk is empty\n  at permissions.yaml:2:38\n  help: remove risk"),
        (
            "risk: [high]",
            "unknown risk \"high\"\n  at permissions.yaml:2:39\n  help: use none, data_mutation, external_send, system_execution or irreversible",
        ),
        ("after: []", "after is empty\n  at permissions.yaml:2:39\n  help: remove after"),
        (
            "time: {}",
            "time is empty\n  at permissions.yaml:2:38\n  help: remove time, or add days, from or to",
        ),
        ("time: {days: []}", "days is empty\n  at permissions.yaml:2:45\n  help: remove days"),
        (
            "time: {days: [monday]}",
            "unknown day \"monday\"\n  at permissions.yaml:2:46\n  help: use mon, tue, wed, thu, fri, sat or sun",
        ),
        (
            "time: {from: \"8:00\"}",
            "\"8:00\" is not a time of the day\n  at permissions.yaml:2:45\n  help: write \"08:00\", at most \"24:00\"",
        ),
        (
            "time: {to: \"24:30\"}",
            "\"24:30\" is not a time of the day\n  at permissions.yaml:2:43\n  help: write \"08:00\", at most \"24:00\"",
        ),
        (
            "time: {zone: Europe/Atlantis}",
            "there is no time zone \"Europe/Atlantis\"\n  at permissions.yaml:2:45\n  help: use a name of the machine's zone database (tzdata), such as Europe/Berlin, or a rule such as CET-1CEST,M3.5.0,M10.5.0/3",
        ),
        (
            "always: true",
            "always only applies to action: ask\n  at permissions.yaml:2:40\n  help: remove always; a deny goes first anyway",
        ),
        (
            "unless: x",
            "unknown key \"unless\"\n  at permissions.yaml:2:32\n  help: known here: pattern, action, description, agents, any_value, kinds, risk, when, time, after, always, grant, approvals, approvers, remind, escalate, notify",
        ),
    ] {
        rule(text, expected);
    }
}

/// What is unknown counts in a deny and never in an allow; the owner hears of it where a tool can never answer.
#[test]
fn conditions_that_a_tool_cannot_answer_are_told() {
    let help = "\n  help: correct the path, or name in the pattern only tools that have it";
    for (text, expected) in [
        (
            "pattern: pay, action: deny, when: {amount: {gt: 1}}",
            "tool pay takes no argument amount: the rule applies to every call of it\n  at permissions.yaml:2:41",
        ),
        (
            "pattern: pay, action: ask, when: {amount: {gt: 1}}",
            "tool pay takes no argument amount: the rule applies to every call of it\n  at permissions.yaml:2:40",
        ),
        (
            "pattern: pay, action: allow, when: {amount: {gt: 1}}",
            "tool pay takes no argument amount: the rule never counts for it\n  at permissions.yaml:2:42",
        ),
        (
            "pattern: pay, action: deny, when: {amount: {exists: false}}",
            "tool pay takes no argument amount: the answer is always the same\n  at permissions.yaml:2:41",
        ),
        (
            "pattern: pay, action: deny, when: {to: {gt: 1}}",
            "argument to of tool pay is a string, and gt takes numbers: the rule applies to every call of it\n  at permissions.yaml:2:41",
        ),
        (
            "pattern: pay, action: deny, when: {usd: {eq: x}}",
            "argument usd of tool pay is a number, and eq takes a value of the same type only: the rule applies to every call of it\n  at permissions.yaml:2:41",
        ),
        (
            "pattern: pay, action: deny, when: {ok: {in: [1, x]}}",
            "argument ok of tool pay is a boolean, and in takes a value of the same type only: the rule applies to every call of it\n  at permissions.yaml:2:41",
        ),
        (
            "pattern: pay, action: deny, when: {ids: {matches: x}}",
            "argument ids of tool pay is an array, and matches takes single values: the rule applies to every call of it\n  at permissions.yaml:2:41",
        ),
        (
            "pattern: pay, action: deny, when: {\"ids[]\": {gt: 1}}",
            "argument ids of tool pay is a string, and gt takes numbers: the rule applies to every call of it\n  at permissions.yaml:2:41",
        ),
        (
            "pattern: pay, action: deny, when: {usd: {domain_in: [a.example]}}",
            "argument usd of tool pay is a number, and domain_in takes texts: the rule applies to every call of it\n  at permissions.yaml:2:41",
        ),
        (
            "pattern: pay, action: deny, when: {usd: {length_gt: 1}}",
            "argument usd of tool pay is a number, and length_gt takes texts: the rule applies to every call of it\n  at permissions.yaml:2:41",
        ),
        (
            "pattern: pay, action: deny, when: {to: {count_gt: 1}}",
            "argument to of tool pay is a string, and count_gt takes arrays and objects: the rule applies to every call of it\n  at permissions.yaml:2:41",
        ),
        (
            "pattern: pay, action: deny, when: {to: {keys_in: [a]}}",
            "argument to of tool pay is a string, and keys_in takes arrays and objects: the rule applies to every call of it\n  at permissions.yaml:2:41",
        ),
        (
            "pattern: pay, action: deny, when: {usd.x: {gt: 1}}",
            "argument usd of tool pay is a number, and nothing lies in it: the rule applies to every call of it\n  at permissions.yaml:2:41",
        ),
        (
            "pattern: pay, action: deny, when: {\"target[]\": {eq: 1}}",
            "argument target of tool pay is an object, and nothing lies in it: the rule applies to every call of it\n  at permissions.yaml:2:41",
        ),
        (
            "kinds: [pay, send], action: deny, when: {usd: {gt: 1}}",
            "tool mail_send takes no argument usd: the rule applies to every call of it\n  at permissions.yaml:2:47",
        ),
    ] {
        assert_eq!(said(&format!("rules:\n  - {{{text}}}\n")), format!("{expected}{help}"), "{text}");
    }
    for quiet in [
        "pattern: pay, action: deny, when: {usd: {gt: 1}, to: {domain_in: [a.example]}, note: {lt: 1}, ok: {eq: true}}",
        "pattern: pay, action: deny, when: {\"ids[]\": {matches: x}, ids: {count_gt: 1}, target.a.b: {gt: 1}, \"target.*\": {eq: 1}}",
        "pattern: pay, action: deny, when: {\".\": {keys_in: [ssn]}, \"*\": {matches: \"x*\"}}",
        "pattern: pay, action: ask, when: {usd: {in: [1, x]}, note: {exists: false}}",
        "kinds: [pay, send], action: allow, when: {usd: {le: 1}}",
        "pattern: hook, action: deny, when: {whatever: {gt: 1}}",
    ] {
        assert_eq!(said(&format!("rules:\n  - {{{quiet}}}\n")), "", "{quiet}");
    }
}

#[test]
fn an_ask_that_an_allow_covers_is_told() {
    let text =
        "rules:\n  - {pattern: \"crm_get(a*)\", action: ask}\n  - {pattern: \"crm_*\", action: allow}\n";
    let expected = "this rule never asks: allow rule 2 (\"crm_*\") covers it\n  at permissions.yaml:2:5\n  help: always: true asks even so";
    assert_eq!(said(text), expected);
    for (from, to) in [
        ("action: ask", "action: ask, always: true"),
        ("action: allow", "action: allow, agents: [nobody-here, default]"),
    ] {
        let quiet = !said(&text.replace(from, to)).contains("never asks");
        assert!(quiet, "{to}");
    }
    for to in
        ["kinds: [read]", "when: {id: {eq: x}}", "time: {from: \"08:00\"}", "after: [pii]", "any_value: x"]
    {
        assert_eq!(said(&text.replace("action: allow", &format!("action: allow, {to}"))), "", "{to}");
    }
    let idle = "defaults:\n  - {pattern: \"*\", action: ask, always: true}\n";
    let expected_idle = "always does not apply to defaults, where the first match decides\n  at permissions.yaml:2:41\n  help: write the rule under rules";
    assert_eq!(said(idle), expected_idle);
    let both = text.replace("action: a", "agents: default, action: a");
    assert_eq!(said(&both), expected);
}

fn limit(text: &str) -> Limit {
    let rest = "rules: [{pattern: \"*\", action: ask}]\nlimits:\n";
    load(&format!("{rest}  - {{{text}}}\n")).permissions.limits.remove(0)
}

#[test]
fn a_limit_says_what_counts_per_what_and_for_how_long() {
    let all = limit(
        "name: spend-1, pattern: \"pay*\", kinds: pay, when: {usd: {gt: 1}}, per: [agent, tool], count: cost, window: 1h, ask_above: 20, deny_above: 50.5, description: d",
    );
    assert_eq!((&*all.name, all.matcher.pattern.as_str(), all.matcher.when.len()), ("spend-1", "pay*", 1));
    assert_eq!(all.per, Per { agent: true, tool: true, ..Per::default() });
    assert_eq!((&all.count, all.window), (&Counted::Cost, Window::Rolling(Duration::from_secs(3600))));
    let shown = [all.ask_above, all.deny_above].map(|amount| amount.unwrap().to_string());
    assert_eq!((shown, all.description.as_deref()), (["20".to_owned(), "50.5".to_owned()], Some("d")));
    let least = limit("name: a, window: day, deny_above: 0");
    assert_eq!(
        (least.matcher.pattern.as_str(), least.per, &least.count),
        ("*", Per::default(), &Counted::Calls)
    );
    assert_eq!(least.window, Window::Day);
    for (word, window) in [
        ("week", Window::Week),
        ("month", Window::Month),
        ("400d", Window::Rolling(Duration::from_secs(400 * 86_400))),
    ] {
        assert_eq!(limit(&format!("name: a, window: {word}, deny_above: 0")).window, window);
    }
    let arg = limit("name: a, pattern: pay, count: arg:usd, window: 30s, deny_above: 1");
    assert_eq!(arg.count, Counted::Arg("usd".into()));
}

/// What has been counted stays over a reload that does not change what is counted.
#[test]
fn thresholds_and_descriptions_are_no_part_of_what_is_counted() {
    let usual = "name: a, pattern: \"pay*\", per: [agent], count: calls, window: 1h, deny_above: 5";
    let of = |text: &str| limit(text).identity;
    assert_eq!(of(usual), of(&usual.replace("deny_above: 5", "ask_above: 1, deny_above: 6, description: x")));
    for (from, to) in [
        ("name: a", "name: b"),
        ("pay*", "pay"),
        ("[agent]", "[agent, tool]"),
        ("calls", "cost"),
        ("1h", "2h"),
        ("per:", "when: {usd: {gt: 1}}, per:"),
        ("per:", "agents: default, per:"),
    ] {
        assert_ne!(of(usual), of(&usual.replace(from, to)), "{to}");
    }
}

#[test]
fn mistakes_in_limits() {
    for (text, expected) in [
        ("window: 1h, deny_above: 1", "name is missing\n  at permissions.yaml:3:5"),
        ("name: a, deny_above: 1", "window is missing\n  at permissions.yaml:3:5"),
        (
            "name: Lamps, window: 1h, deny_above: 1",
            "\"Lamps\" is not a name for a limit\n  at permissions.yaml:3:12\n  help: use 1 to 64 of a-z, 0-9 and \"-\"",
        ),
        (
            "name: a, window: 29s, deny_above: 1",
            "window must be a time from 30s to 400d, not \"29s\"\n  at permissions.yaml:3:23",
        ),
        (
            "name: a, window: 401d, deny_above: 1",
            "window must be a time from 30s to 400d, not \"401d\"\n  at permissions.yaml:3:23",
        ),
        (
            "name: a, window: year, deny_above: 1",
            "unknown window \"year\"\n  at permissions.yaml:3:23\n  help: give a time such as 1h, or day, week, month or session",
        ),
        (
            "name: a, window: 1h, count: tries, deny_above: 1",
            "unknown count \"tries\"\n  at permissions.yaml:3:34\n  help: use calls, questions, cost, tokens, seconds or arg:NAME",
        ),
        (
            "name: a, window: 1h, count: \"arg:\", deny_above: 1",
            "unknown count \"arg:\"\n  at permissions.yaml:3:34\n  help: use calls, questions, cost, tokens, seconds or arg:NAME",
        ),
        (
            "name: a, window: 1h, per: [user], deny_above: 1",
            "unknown per \"user\"\n  at permissions.yaml:3:33\n  help: use agent, session, tool or call",
        ),
        (
            "name: a, window: 1h, deny_above: -1",
            "deny_above must be a number of at least 0, not \"-1\"\n  at permissions.yaml:3:39",
        ),
        (
            "name: a, window: 1h, ask_above: many",
            "ask_above must be a number of at least 0, not \"many\"\n  at permissions.yaml:3:38",
        ),
        (
            "name: a, window: 1h, ask_above: 1, above: 1",
            "unknown key \"above\"\n  at permissions.yaml:3:41\n  help: known here: name, pattern, agents, kinds, risk, when, time, per, count, window, ask_above, deny_above, description",
        ),
        (
            "name: a, window: 1h, ask_above: 1, kinds: []",
            "kinds is empty\n  at permissions.yaml:3:48\n  help: remove kinds",
        ),
    ] {
        permissions(
            &format!("rules: []\nlimits:\n  - {{{text}}}\n"),
            &format!("agentpass: cannot load permissions: {expected}"),
        );
    }
    let twice = "rules: []\nlimits:\n  - {name: a, window: 1h, ask_above: 1}\n  - {name: a, window: 2h, ask_above: 1}\n";
    permissions(
        twice,
        "agentpass: cannot load permissions: there is a limit \"a\" already\n  at permissions.yaml:4:12\n  help: every limit needs a name of its own",
    );
    permissions(
        "rules: []\nsession_idle: 30s\n",
        "agentpass: cannot load permissions: session_idle must be a time from 1m to 400d, not \"30s\"\n  at permissions.yaml:2:15",
    );
    assert_eq!(
        load("rules: [{pattern: \"*\", action: ask}]\n").permissions.session_idle,
        Duration::from_secs(86_400)
    );
    assert_eq!(
        load("session_idle: 2h\nrules: [{pattern: \"*\", action: ask}]\n").permissions.session_idle,
        Duration::from_secs(7200)
    );
}

#[test]
fn limits_that_do_not_do_what_they_seem_to_are_told() {
    for (text, expected) in [
        (
            "name: a, window: 1h",
            "this limit only counts\n  at permissions.yaml:3:5\n  help: add ask_above or deny_above",
        ),
        (
            "name: a, window: 1h, ask_above: 5, deny_above: 5",
            "nobody is ever asked: ask_above is not below deny_above\n  at permissions.yaml:3:38\n  help: lower ask_above, or remove it",
        ),
        (
            "name: a, window: 1h, ask_above: 5.1, deny_above: 5",
            "nobody is ever asked: ask_above is not below deny_above\n  at permissions.yaml:3:38\n  help: lower ask_above, or remove it",
        ),
        (
            "name: a, pattern: \"nope*\", window: 1h, ask_above: 5",
            "this limit never counts: no tool matches \"nope*\"\n  at permissions.yaml:3:5\n  help: signatures are the name of a tool, with brackets when it has a signature: \"name(*)\"",
        ),
        (
            "name: a, kinds: [deploy], window: 1h, ask_above: 5",
            "this limit never counts: no tool matches \"*\" with kinds deploy\n  at permissions.yaml:3:5\n  help: signatures are the name of a tool, with brackets when it has a signature: \"name(*)\"",
        ),
        (
            "name: a, pattern: \"pay|hook\", window: 1h, ask_above: 5",
            "\"|\" in the pattern \"pay|hook\" stands for itself\n  at permissions.yaml:3:5\n  help: patterns are not regular expressions: * stands for any text, ? for one character, everything else for itself\nthis limit never counts: no tool matches \"pay|hook\"\n  at permissions.yaml:3:5\n  help: signatures are the name of a tool, with brackets when it has a signature: \"name(*)\"",
        ),
        (
            "name: a, pattern: pay, when: {amount: {gt: 1}}, window: 1h, ask_above: 5",
            "tool pay takes no argument amount: every call of it counts\n  at permissions.yaml:3:36\n  help: correct the path, or name in the pattern only tools that have it",
        ),
        (
            "name: a, pattern: hook, count: cost, window: 1h, ask_above: 5",
            "none of these tools says what it costs\n  at permissions.yaml:3:37\n  help: in the tool file: cost: 0.5, or {arg: amount}",
        ),
        (
            "name: a, count: tokens, window: 1h, ask_above: 5",
            "none of these tools says how many tokens it takes\n  at permissions.yaml:3:22\n  help: in the tool file: tokens: 500, or {arg: max_tokens}",
        ),
        (
            "name: a, pattern: pay, count: arg:eur, window: 1h, ask_above: 5",
            "tool pay has no number eur, so none of its calls is below the limit\n  at permissions.yaml:3:36\n  help: name in the pattern only tools that have it",
        ),
        (
            "name: a, pattern: pay, count: arg:to, window: 1h, ask_above: 5",
            "tool pay has no number to, so none of its calls is below the limit\n  at permissions.yaml:3:36\n  help: name in the pattern only tools that have it",
        ),
        (
            "name: a, per: [session], window: 1h, ask_above: 5",
            "an agent names its sessions itself, so it can begin another one and count from 0\n  at permissions.yaml:3:5\n  help: add a limit with per: [agent] that counts the same calls in a window of time",
        ),
        (
            "name: a, window: session, ask_above: 5",
            "an agent names its sessions itself, so it can begin another one and count from 0\n  at permissions.yaml:3:5\n  help: add a limit with per: [agent] that counts the same calls in a window of time",
        ),
    ] {
        let file = format!("rules: [{{pattern: \"*\", action: ask}}]\nlimits:\n  - {{{text}}}\n");
        assert_eq!(said(&file), expected, "{text}");
    }
    let twin = "rules: [{pattern: \"*\", action: ask}]\nlimits:\n  - {name: a, pattern: pay, per: [session], window: 1h, ask_above: 5}\n  - {name: b, pattern: \"*\", per: [agent], window: day, deny_above: 9}\n";
    assert_eq!(said(twin), "");
    assert!(
        said(&twin.replace("window: day", "count: cost, window: day")).contains("names its sessions itself")
    );
}

#[test]
fn data_and_flows_are_read() {
    let usual = load("rules: [{pattern: \"*\", action: ask}]\n").permissions;
    assert_eq!(usual.data, DataPolicy::default());
    assert_eq!(
        (usual.data.otherwise, usual.data.remember),
        (Action::Deny, Remember::For(Duration::from_secs(8 * 3600)))
    );
    let text = "rules: [{pattern: \"*\", action: ask}]\ndata:\n  sensitive_labels: [pii]\n  sensitive_destinations: [webhook]\n  otherwise: ask\n  remember: 90m\n\
                flows:\n  - {from: crm, to: \"external_*\", labels: [pii], action: ask, domains: [customer.example], blocked_fields: [\" SSN\"], allowed_fields: [], description: d}\n  \
                - {from: \"*\", to: webhook, action: deny}\n";
    let permissions = load(text).permissions;
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let expected = DataPolicy {
        sensitive_labels: set(&["pii"]),
        sensitive_destinations: set(&["webhook"]),
        otherwise: Action::Ask,
        remember: Remember::For(Duration::from_secs(5400)),
    };
    assert_eq!(permissions.data, expected);
    let [first, second] = permissions.flows.as_slice() else { panic!("{:?}", permissions.flows) };
    assert_eq!(
        (first.from.as_str(), first.to.as_str(), first.action, first.index),
        ("crm", "external_*", Action::Ask, 1)
    );
    assert_eq!((first.labels.clone(), first.name()), (set(&["pii"]), "d".to_owned()));
    let Bounds { domains, blocked_fields, allowed_fields, max_records } = &first.bounds;
    assert_eq!(domains.as_ref().unwrap()[0].to_string(), "customer.example");
    assert_eq!(
        (blocked_fields.clone(), allowed_fields.clone(), *max_records),
        (Some(set(&["ssn"])), Some(set(&[])), None)
    );
    assert_eq!((second.name(), &second.bounds), ("* → webhook".to_owned(), &Bounds::default()));
    for (word, remember) in [
        ("session", Remember::Session),
        ("off", Remember::Off),
        ("1m", Remember::For(Duration::from_secs(60))),
    ] {
        let loaded = load(&format!("rules: [{{pattern: \"*\", action: ask}}]\ndata: {{remember: {word}}}\n"));
        assert_eq!(loaded.permissions.data.remember, remember);
    }
}

#[test]
fn mistakes_in_data_and_flows() {
    for (text, expected) in [
        (
            "data: {otherwise: maybe}",
            "unknown otherwise \"maybe\"\n  at permissions.yaml:2:19\n  help: use allow, ask or deny",
        ),
        (
            "data: {remember: forever}",
            "unknown remember \"forever\"\n  at permissions.yaml:2:18\n  help: give a time such as 8h, or session, or off",
        ),
        (
            "data: {remember: 8}",
            "remember must be a time from 1m to 400d, not \"8\"\n  at permissions.yaml:2:18",
        ),
        (
            "data: {remember: 30s}",
            "remember must be a time from 1m to 400d, not \"30s\"\n  at permissions.yaml:2:18",
        ),
        (
            "data: {labels: [a]}",
            "unknown key \"labels\"\n  at permissions.yaml:2:8\n  help: known here: sensitive_labels, sensitive_destinations, otherwise, remember",
        ),
        ("data: {sensitive_labels: [\"\"]}", "sensitive_labels is empty\n  at permissions.yaml:2:27"),
        ("flows: [{to: a, action: ask}]", "from is missing\n  at permissions.yaml:2:9"),
        ("flows: [{from: a, action: ask}]", "to is missing\n  at permissions.yaml:2:9"),
        ("flows: [{from: a, to: b}]", "action is missing\n  at permissions.yaml:2:9"),
        (
            "flows: [{from: a, to: b, action: block}]",
            "unknown action \"block\"\n  at permissions.yaml:2:34\n  help: use allow, ask or deny",
        ),
        (
            "flows: [{from: a, to: b, action: ask, labels: []}]",
            "labels is empty, so that the flow speaks of no data\n  at permissions.yaml:2:47\n  help: remove labels",
        ),
        (
            "flows: [{from: a, to: b, action: ask, domains: []}]",
            "domains is empty, so no receiver matches\n  at permissions.yaml:2:48\n  help: remove domains",
        ),
        (
            "flows: [{from: a, to: b, action: ask, domains: [\"a b\"]}]",
            "\"a b\" is not a domain\n  at permissions.yaml:2:49\n  help: write the name only: customer.example; all names below it are meant too",
        ),
        (
            "flows: [{from: a, to: b, action: ask, blocked_fields: []}]",
            "blocked_fields is empty, so that nothing is blocked\n  at permissions.yaml:2:55\n  help: remove blocked_fields",
        ),
        (
            "flows: [{from: a, to: b, action: ask, max_records: -1}]",
            "max_records must be a whole number from 0 to 1000000000, not \"-1\"\n  at permissions.yaml:2:52",
        ),
        (
            "flows: [{from: a, to: b, action: deny, max_records: 1}]",
            "max_records does not apply to action: deny, which denies everything\n  at permissions.yaml:2:40\n  help: action: ask or allow; what does not keep the bound is denied then",
        ),
        (
            "flows: [{from: a, to: b, action: ask, label: x}]",
            "unknown key \"label\"\n  at permissions.yaml:2:39\n  help: known here: from, to, labels, action, domains, blocked_fields, allowed_fields, max_records, description",
        ),
    ] {
        permissions(
            &format!("rules: []\n{text}\n"),
            &format!("agentpass: cannot load permissions: {expected}"),
        );
    }
}

#[test]
fn a_circuit_breaker_is_wholly_said() {
    for (text, expected) in [
        ("{denies: 20}", "window is missing\n  at permissions.yaml:2:18"),
        ("{window: 60s}", "denies is missing\n  at permissions.yaml:2:18"),
        (
            "{denies: 0, window: 60s}",
            "denies must be a whole number from 1 to 1000, not \"0\"\n  at permissions.yaml:2:27",
        ),
        (
            "{denies: 20, window: 60}",
            "window must be a time from 1s to 24h, not \"60\"\n  at permissions.yaml:2:39",
        ),
        (
            "{denies: 20, window: 25h}",
            "window must be a time from 1s to 24h, not \"25h\"\n  at permissions.yaml:2:39",
        ),
    ] {
        permissions(
            &format!("rules: []\ncircuit_breaker: {text}\n"),
            &format!("agentpass: cannot load permissions: {expected}"),
        );
    }
}

#[test]
fn words_of_data_that_stand_in_one_place_only_are_told() {
    let rules = "rules: [{pattern: \"*\", action: ask}]\n";
    let first = "from is what tools say in data.from, or their name";
    for (text, expected) in [
        ("data: {remember: session}", "what an agent has read is forgotten as soon as it names another session\n  at permissions.yaml:2:18\n  help: an agent names its sessions itself: give a time, such as 8h".to_owned()),
        ("data: {sensitive_labels: [pii, pi]}", "no tool reads data with the label \"pi\"\n  at permissions.yaml:2:32".to_owned()),
        ("data: {sensitive_destinations: [external_email, webhook, fax]}", "no tool sends to \"fax\"\n  at permissions.yaml:2:58".to_owned()),
        ("flows: [{from: crn, to: webhook, action: ask}]", format!("no tool reads from \"crn\"\n  at permissions.yaml:2:16\n  help: {first}")),
        ("flows: [{from: crm, to: fax, action: ask}]", "no tool sends to \"fax\"\n  at permissions.yaml:2:25\n  help: to is what tools say in data.to".to_owned()),
        ("flows: [{from: crm, to: webhook, labels: [pii, x], action: ask}]", "no tool reads data with the label \"x\"\n  at permissions.yaml:2:48".to_owned()),
        ("flows: [{from: crm, to: webhook, domains: [a.example], action: ask}]", "tool hook does not say which argument holds that, so its calls are denied\n  at permissions.yaml:2:34\n  help: in the tool file: data: {domain: {arg: …}}".to_owned()),
        ("flows: [{from: crm, to: external_email, max_records: 5, action: ask}]", "tool mail_send does not say which argument holds that, so its calls are denied\n  at permissions.yaml:2:41\n  help: in the tool file: data: {records: {arg: …}}".to_owned()),
        ("flows: [{from: \"c*\", to: \"*\", action: ask}, {from: crm, to: webhook, labels: [pii], action: deny}]", "this flow never decides: flow 1 (c* → *) goes first\n  at permissions.yaml:2:45".to_owned()),
        ("data: {sensitive_labels: []}", "sensitive_labels is empty, so that no data is sensitive\n  at permissions.yaml:2:26\n  help: remove it for the usual words\nno rule or flow mentions the label \"pii\"\n  at t.yaml:19:32\n  help: the words that guard data by themselves are those of data.sensitive_labels".to_owned()),
        ("data: {sensitive_destinations: [external_email]}", "no flow mentions the destination \"webhook\": any data may go there\n  at t.yaml:15:16\n  help: add a flow, or the word to data.sensitive_destinations".to_owned()),
    ] {
        assert_eq!(said(&format!("{rules}{text}\n")), expected, "{text}");
    }
    let after = "rules: [{kinds: [send], after: [untrusted, pij], action: deny}]\n";
    assert_eq!(said(after), "no tool reads data with the label \"pij\"\n  at permissions.yaml:1:44");
    for quiet in [
        "flows: [{from: crm, to: \"*\", labels: [untrusted], action: ask}]",
        "flows: [{from: crm, to: external_email, domains: [a.example], action: ask}]",
        "flows: [{from: crm, to: external_email, labels: [pii], action: ask}, {from: \"*\", to: \"*\", action: deny}]",
        "data: {sensitive_labels: []}\nflows: [{from: crm, to: webhook, labels: [pii], action: ask}]",
    ] {
        let shown = said(&format!("{rules}{quiet}\n"));
        assert!(
            shown.is_empty() || shown.starts_with("sensitive_labels is empty") && !shown.contains("mentions"),
            "{quiet}: {shown}"
        );
    }
}
