//! What tool files and config.yaml say for the policy alone: risk, cost, data, groups of agents.

use agentpass::testing::model::{AgentId, Amount, DataFacts, Kind, Risk, ToolFacts};

use super::{Dir, Finding, says, tool};

/// The example of the design: refunds that are graver than their name says.
#[test]
fn a_tool_says_what_the_policy_has_to_know() {
    let text = r#"
    kind: pay
    risk: irreversible
    cost: {arg: amount_usd}
    tokens: 500.25
    idempotency: required
    data:
      from: crm
      labels: [pii, payment]
      untrusted: true
      to: external_email
      domain: {arg: to}
      fields: {arg: fields}
      records: {arg: count}
    args: {amount_usd: {type: number}, to: {type: string}, fields: {type: array}, count: {type: integer}}
    request: {method: POST, path: "/x"}
"#;
    let (dir, findings) = tool(text);
    assert_eq!(findings, []);
    let loaded = dir.load().unwrap();
    let found = &loaded.config.tools["t"];
    assert_eq!(found.kind, Kind::Pay);
    let name = |text: &str| Some(text.to_owned());
    let expected = ToolFacts {
        risk: Risk::Irreversible,
        cost: Amount::Arg("amount_usd".into()),
        tokens: Amount::Fixed("500.25".parse().unwrap()),
        data: Some(DataFacts {
            from: name("crm"),
            labels: ["payment", "pii", "untrusted"].map(str::to_owned).into(),
            to: name("external_email"),
            domain: name("to"),
            fields: name("fields"),
            records: name("count"),
        }),
        key_required: true,
    };
    assert_eq!(found.facts, expected);
}

#[test]
fn a_tool_that_says_nothing_has_the_risk_of_its_name() {
    let (dir, _) = tool("    request: {method: GET, path: /}\n");
    assert_eq!(dir.load().unwrap().config.tools["t"].facts, ToolFacts::of("t"));
    assert_eq!(ToolFacts::of("t").risk, Risk::None);
    let text = "tools: {user_delete: {request: {method: GET, path: /}}}\n";
    dir.write("t.yaml", text);
    assert_eq!(dir.load().unwrap().config.tools["user_delete"].facts.risk, Risk::Irreversible);
    dir.write("t.yaml", text.replace("{request", "{risk: none, request"));
    assert_eq!(dir.load().unwrap().config.tools["user_delete"].facts.risk, Risk::None);
}

#[test]
fn mistakes_in_facts() {
    let rest = "    args: {a: {}, s: {type: string}, n: {type: number}, l: {type: array}, o: {type: object}, p: {type: number, secret: true}}\n    \
                request: {method: POST, path: /}\n";
    for (text, expected) in [
        (
            "    risk: high\n",
            "unknown risk \"high\"\n  at t.yaml:4:11\n  help: use none, data_mutation, external_send, system_execution or irreversible",
        ),
        (
            "    kind: buy\n",
            "unknown kind \"buy\"\n  at t.yaml:4:11\n  help: use read, write, send, delete, pay, deploy, export, execute or admin",
        ),
        ("    cost: -1\n", "cost must be a number of at least 0, not \"-1\"\n  at t.yaml:4:11"),
        ("    cost: .inf\n", "cost must be a number of at least 0, not \".inf\"\n  at t.yaml:4:11"),
        ("    cost: much\n", "cost must be a number of at least 0, not \"much\"\n  at t.yaml:4:11"),
        ("    cost: 1e300\n", "cost must be a number of at least 0, not \"1e300\"\n  at t.yaml:4:11"),
        ("    cost:\n", "arg is missing\n  at t.yaml:4:10"),
        (
            "    cost: {args: n}\n",
            "arg is missing\n  at t.yaml:4:11\nagentpass: cannot load tools: unknown key \"args\"\n  at t.yaml:4:12\n  help: known here: arg",
        ),
        ("    cost: {arg: m}\n", "argument m is not declared\n  at t.yaml:4:17\n  help: add it under args"),
        ("    tokens: {arg: s}\n", "argument s is a single value and cannot hold a number\n  at t.yaml:4:19"),
        ("    tokens: {arg: l}\n", "argument l is an array and cannot hold a number\n  at t.yaml:4:19"),
        (
            "    cost: {arg: p}\n",
            "argument p is secret, and amounts stand in the record\n  at t.yaml:4:11\n  help: remove secret: true, or give a number",
        ),
        (
            "    data: {}\n",
            "data says neither what is read nor where it goes\n  at t.yaml:4:11\n  help: add from, labels or to",
        ),
        ("    data: {from: \"\"}\n", "from is empty\n  at t.yaml:4:18"),
        (
            "    data: {from: \" crm\"}\n",
            "\" crm\" is not a name for data\n  at t.yaml:4:18\n  help: use at most 64 characters, without spaces around them",
        ),
        (
            "    data: {from: crm, labels: []}\n",
            "labels is empty, so that the tool has no labels\n  at t.yaml:4:31\n  help: remove labels",
        ),
        (
            "    data: {from: crm, untrusted: maybe}\n",
            "untrusted must be true or false, not \"maybe\"\n  at t.yaml:4:34",
        ),
        (
            "    data: {to: mail, domain: {arg: n}}\n",
            "argument n is a single value and cannot hold a receiver\n  at t.yaml:4:36",
        ),
        (
            "    data: {to: mail, fields: {arg: s}}\n",
            "argument s is a single value and cannot hold a list of names\n  at t.yaml:4:36",
        ),
        (
            "    data: {to: mail, fields: {arg: a}}\n",
            "argument a is a single value and cannot hold a list of names\n  at t.yaml:4:36",
        ),
        (
            "    data: {to: mail, records: {arg: o}}\n",
            "argument o is an object and cannot hold a number or a list\n  at t.yaml:4:37",
        ),
        (
            "    data: {to: mail, records: {arg: z}}\n",
            "argument z is not declared\n  at t.yaml:4:37\n  help: add it under args",
        ),
        (
            "    data: {from: crm, domain: {arg: s}}\n",
            "domain has no meaning without to\n  at t.yaml:4:23\n  help: name the destination: to: webhook",
        ),
        (
            "    idempotency: optional\n",
            "unknown idempotency \"optional\"\n  at t.yaml:4:18\n  help: use required",
        ),
    ] {
        let (dir, findings) = tool(&format!("{text}{rest}"));
        let errors: Vec<String> = findings.iter().filter(|f| f.is_error()).map(Finding::to_string).collect();
        let shown = errors.join("\n").replace(&format!("{}/", dir.0.display()), "");
        assert_eq!(shown, format!("agentpass: cannot load tools: {expected}"), "for {text}");
    }
}

/// A tool that takes any argument may name one that it does not declare.
#[test]
fn an_argument_that_is_not_declared_may_hold_an_amount_where_others_are_taken() {
    let (dir, _) = tool("    request: {method: GET, path: /}\n");
    let text = "tools: {t: {cost: {arg: usd}, extra_args: allow, request: {method: POST, path: /}}}\n";
    dir.write("t.yaml", text);
    assert_eq!(dir.load().unwrap().config.tools["t"].facts.cost, Amount::Arg("usd".into()));
}

#[test]
fn rules_speak_of_groups_of_agents() {
    let dir = Dir::new();
    let agents = "agents:\n  a: {token: aaaaaaaaaaaaaaaaaaaa, groups: [finance, ops]}\n  \
                  b: {token: bbbbbbbbbbbbbbbbbbbb, groups: finance}\n  c: {token: cccccccccccccccccccc}\n";
    dir.write("config.yaml", agents);
    let rules = "rules:\n  - {pattern: a, action: deny, agents: [\"@finance\"]}\n  \
                 - {pattern: b, action: deny, agents: [\"@op*\", c]}\n  - {pattern: c, action: deny, agents: [\"@sales\", a]}\n";
    dir.write("permissions.yaml", rules);
    let loaded = dir.load().unwrap();
    let named = |index: usize| loaded.permissions.rules[index].matcher.agents.clone().unwrap();
    let ids = |names: &[&str]| names.iter().map(|name| AgentId::configured(name)).collect();
    assert_eq!([named(0), named(1), named(2)], [ids(&["a", "b"]), ids(&["a", "c"]), ids(&["a"])]);
    let said: Vec<String> = loaded.warnings.iter().map(Finding::to_string).collect();
    let expected = "agentpass: warning: no agent is in a group called \"@sales\"\n  at permissions.yaml:4:41\n  \
                    help: name the group where the agent is configured: groups: [...]";
    assert_eq!(said.join("\n").replace(&format!("{}/", dir.0.display()), ""), expected);
    let agent = "agent: {groups: [\"@finance\"], token: aaaaaaaaaaaaaaaaaaaa}\n";
    says(
        "config.yaml",
        agent,
        "agentpass: cannot load configuration: \"@finance\" is not a name for a group\n  at config.yaml:1:18\n  \
         help: use 1 to 64 letters, digits, \"_\", \"-\" and \".\"; rules write @ before it",
    );
}

#[test]
fn a_tool_that_says_no_kind_has_that_of_its_method() {
    for (method, kind) in [
        ("GET", Kind::Read),
        ("HEAD", Kind::Read),
        ("DELETE", Kind::Delete),
        ("POST", Kind::Write),
        ("PUT", Kind::Write),
        ("PATCH", Kind::Write),
    ] {
        let (dir, findings) = tool(&format!("    request: {{method: {method}, path: /}}\n"));
        assert_eq!(findings, [], "{method}");
        assert_eq!(dir.load().unwrap().config.tools["t"].kind, kind, "{method}");
    }
}
