//! What a tool file can say beyond single values: lists that are judged element by element, defaults, kinds.

use serde_json::{Value, json};

use crate::harness::gateway::{LAPTOP, TOKEN};
use crate::harness::{Agent, Gateway, Setup, error, terminal};

const TOOLS: &str = r#"
tools:
  switch:
    description: "Switches things"
    signature: "{action}, {things}"
    extra_args: refuse
    args:
      action: {required: true, validate: "[a-z_]+"}
      things: {type: array, each: true, items: {type: string, validate: "[a-z]+\\.[a-z_ ]+"}}
      mode: {default: soft}
      tags: {type: array, items: {type: string}}
    request: {method: POST, path: "/switch"}
  find:
    description: "Finds things"
    signature: "{places}"
    extra_args: refuse
    args:
      places: {type: array, each: true, join: ","}
      tags: {type: array}
      fields: {type: array, join: ";", items: {validate: "[a-z]+"}}
      state: {default: open}
      limit: {type: integer, default: 10}
    request: {method: GET, path: "/find", query: {place: "{places}", "tag[]": "{tags}", fields: "{fields}", state: "{state}", limit: "{limit}", brief: ""}}
  set:
    description: "Sets by a plain request"
    kind: write
    extra_args: refuse
    request: {method: GET, path: "/cm?cmnd=Power"}
  list:
    description: "Lists a folder"
    kind: read
    extra_args: refuse
    request: {method: PROPFIND, path: "/files"}
"#;

const RULES: &str = r#"
rules:
  - {pattern: "switch(*, lock.*)", action: deny, description: "No locks"}
  - {pattern: "switch(*)", any_value: "valve.*", action: deny, description: "No valves"}
  - {pattern: "switch(*, light.*)", action: allow}
  - {pattern: "switch(*)", any_value: "lamp.*", action: allow}
  - {pattern: "find(*)", action: allow}
  - {pattern: "set", action: allow}
  - {pattern: "list", action: allow}
"#;

fn gateway() -> Gateway {
    Gateway::with(&Setup { tools: TOOLS.into(), permissions: RULES.into(), ..Setup::default() })
}

fn switch(agent: &mut Agent, things: Value) -> Value {
    agent.request("switch", json!({"action": "on", "things": things}))
}

#[test]
fn one_denied_element_denies_the_whole_list() {
    let gateway = gateway();
    let mut agent = Agent::login(gateway.address, TOKEN);
    for things in [
        json!("lock.front"),
        json!(["lock.front"]),
        json!(["light.a", "lock.front"]),
        json!(["lock.front", "light.a"]),
        json!(["light.a", "light.a", "lock.front", "light.a"]),
        // any_value of a deny looks at everything, whatever stands beside it.
        json!(["light.a", "valve.main"]),
    ] {
        let reply = switch(&mut agent, things.clone());
        assert_eq!(error(&reply), (-32003, "denied_by_policy"), "{things}: {reply}");
    }
    for things in [
        json!([]),
        json!([["light.a"]]),
        json!([{"x": "light.a"}]),
        json!([null]),
        json!(["light.a", null]),
        json!(["light.a", "light.*"]),
        json!(["light.a, lock.front"]),
        json!(["light.a", ""]),
        json!(["light.a", 7]),
        json!({"0": "light.a"}),
        json!(vec!["light.a"; 129]),
        json!(["light.a\n"]),
    ] {
        let reply = switch(&mut agent, things.clone());
        assert_eq!(error(&reply), (-32600, "invalid_argument"), "{things}: {reply}");
    }
    let long: Vec<String> = (0..100).map(|n| format!("light.{}_{}", "a".repeat(n), "b".repeat(50))).collect();
    assert_eq!(error(&switch(&mut agent, json!(long))), (-32600, "too_large"));
    assert!(gateway.upstream.seen().is_empty(), "something was sent");
    // No element is allowed for the sake of another: alone, the fan would be asked about.
    agent.send(
        "tool_request",
        json!({"tool": "switch", "args": {"action": "on", "things": ["lamp.a", "fan.b"]}}),
    );
    agent.asked();
}

#[test]
fn a_list_is_one_question_and_one_request() {
    let gateway = gateway();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let things = json!(["light.a", "fan.b", "light.a"]);
    let request =
        agent.send("tool_request", json!({"tool": "switch", "args": {"action": "on", "things": things}}));
    let id = agent.asked();
    let signatures = ["switch(on, light.a)", "switch(on, fan.b)", "switch(on, light.a)"];
    let question = gateway.questions().remove(0);
    assert_eq!(question["signatures"], json!(signatures));
    assert_eq!(question["signature"], signatures.join("; "));
    assert_eq!(question["args"], json!({"action": "on", "things": things, "mode": "soft"}));
    let (_, shown) = terminal::run(&gateway.folder, &["approvals"], &[]);
    for text in ["switch(on, light.a)", "switch(on, fan.b)", "soft"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    gateway.say_yes(&id);
    assert_eq!(agent.reply(request)["result"]["status"], "executed");
    let seen = gateway.upstream.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].json(), json!({"action": "on", "things": things, "mode": "soft"}));
    let row = gateway.row(&id);
    assert_eq!((&row["signatures"], &row["signature"]), (&json!(signatures), &json!(signatures.join("; "))));
    gateway.verify();
}

#[test]
fn a_single_text_is_a_list_of_one_and_a_default_is_part_of_the_call() {
    let gateway = gateway();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let forms = [
        json!({"action": "on", "things": "fan.b"}),
        json!({"action": "on", "things": ["fan.b"], "mode": null}),
        json!({"action": "on", "things": ["fan.b"], "mode": "soft"}),
    ];
    let requests: Vec<u64> = forms
        .iter()
        .map(|args| agent.send("tool_request", json!({"tool": "switch", "args": args})))
        .collect();
    let id = agent.asked();
    assert_eq!(gateway.questions().len(), 1, "the same call in three spellings");
    gateway.say_yes(&id);
    for request in requests {
        assert_eq!(agent.reply(request)["result"]["request_id"], id.as_str());
    }
    assert_eq!(gateway.upstream.seen().len(), 1);
    // Another value is another call.
    agent.send(
        "tool_request",
        json!({"tool": "switch", "args": {"action": "on", "things": "fan.b", "mode": "hard"}}),
    );
    agent.asked();
}

#[test]
fn lists_in_the_query() {
    let gateway = gateway();
    let mut agent = Agent::login(gateway.address, TOKEN);
    for (args, target) in [
        (json!({}), "/find?state=open&limit=10&brief"),
        (json!({"places": "a"}), "/find?place=a&state=open&limit=10&brief"),
        (
            json!({"places": ["a", "b c"], "tags": ["x", "y&z", 3], "fields": ["id", "name"], "state": "", "limit": 2}),
            "/find?place=a%2Cb%20c&tag%5B%5D=x&tag%5B%5D=y%26z&tag%5B%5D=3&fields=id%3Bname&state=&limit=2&brief",
        ),
        (json!({"tags": []}), "/find?state=open&limit=10&brief"),
    ] {
        let reply = agent.request("find", args);
        assert_eq!(reply["result"]["status"], "executed", "{reply}");
        assert_eq!(gateway.upstream.seen().last().unwrap().target, target);
    }
    let count = gateway.upstream.seen().len();
    for args in [
        // What the service would cut in two is one element to everybody else.
        json!({"places": ["a,b"]}),
        json!({"fields": ["id;secret"]}),
        json!({"fields": [["id"]]}),
        json!({"tags": [["x"]]}),
        json!({"tags": [null]}),
        json!({"tags": "x"}),
        json!({"tags": ["x(y"]}),
    ] {
        let reply = agent.request("find", args.clone());
        assert_eq!(error(&reply), (-32600, "invalid_argument"), "{args}: {reply}");
    }
    assert_eq!(gateway.upstream.seen().len(), count);
}

#[test]
fn a_tool_says_whether_it_changes_something() {
    let gateway = gateway();
    let mut agent = Agent::login(gateway.address, TOKEN);
    gateway.upstream.answer(|_| crate::harness::Answer::Close);
    // The service got the request and said nothing: of a change nobody knows, a read has only failed.
    assert_eq!(error(&agent.request("set", json!({}))), (-32004, "unknown_result"));
    assert_eq!(error(&agent.request("list", json!({}))), (-32004, "service_error"));
    let seen: Vec<_> = gateway.upstream.seen().into_iter().map(|s| (s.method, s.target)).collect();
    let both = [("GET", "/cm?cmnd=Power"), ("PROPFIND", "/files")];
    assert_eq!(seen, both.map(|(method, target)| (method.to_owned(), target.to_owned())));
}

#[test]
fn agents_and_owners_are_told_of_lists() {
    let gateway = gateway();
    let mut agent = Agent::login(gateway.address, LAPTOP);
    let tools = agent.call("list_tools", json!({}));
    let all = tools["result"]["tools"].as_array().unwrap();
    let args = |name: &str| all.iter().find(|tool| tool["name"] == name).unwrap()["args"].clone();
    assert_eq!(
        args("switch")["things"],
        json!({"required": false, "type": "array", "each": true, "items": {"type": "string", "validate": "[a-z]+\\.[a-z_ ]+"}})
    );
    assert_eq!(args("find")["limit"], json!({"required": false, "type": "integer", "default": 10}));
    let params = json!({"tool": "switch", "args": {"action": "on", "things": ["light.a", "fan.b"]}});
    let why = agent.call("explain", params)["result"].clone();
    let parts = json!([
        {"signature": "switch(on, light.a)", "decision": "allow"},
        {"signature": "switch(on, fan.b)", "decision": "ask"},
    ]);
    assert_eq!((&why["decision"], &why["rule"], &why["signatures"]), (&json!("ask"), &Value::Null, &parts));
    let told = gateway.cli(&["explain", "switch", "action=on", r#"things:=["light.a","lock.b"]"#]);
    let told = String::from_utf8(told.stdout).unwrap();
    for text in ["deny", "allow  switch(on, light.a)", "deny   switch(on, lock.b)", "No locks"] {
        assert!(told.contains(text), "{text}: {told}");
    }
}
