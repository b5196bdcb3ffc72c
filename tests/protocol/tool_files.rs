//! What a tool file can say beyond single values: lists that are judged element by element, defaults, kinds.

use serde_json::{Value, json};

use crate::harness::gateway::{LAPTOP, TOKEN};
use crate::harness::{Agent, Gateway, Seen, Setup, error, terminal};

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
    let mut replies = Vec::new();
    while replies.len() < requests.len() {
        replies.extend(Some(agent.receive()).filter(|message| message.get("id").is_some()));
    }
    replies.sort_by_key(|reply| reply["id"].as_u64());
    assert_eq!(replies.iter().map(|r| r["id"].as_u64().unwrap()).collect::<Vec<_>>(), requests);
    assert!(replies.iter().all(|reply| reply["result"]["request_id"] == id.as_str()), "{replies:?}");
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

const BODIES: &str = r#"
tools:
  laid_out:
    extra_args: refuse
    args:
      amount: {type: number}
      case: {required: true}
      note: {free_text: true}
      tags: {type: array, join: "+"}
      list: {type: array}
    request:
      method: POST
      path: "/j"
      body:
        amount: "{amount}"
        meta: {origin: agentpass, case: "case-{case}", note: "{note}"}
        only: {note: "{note}"}
        lines: ["{note}", "x {case}"]
        tags: "{tags}"
        list: "{list}"
        dry_run: false
        none:
        empty: {}
  whole:
    extra_args: refuse
    args: {items: {type: array, required: true}}
    request: {method: DELETE, path: "/w", body: "{items}"}
  named:
    extra_args: allow
    args: {room_id: {as: roomId}, other: {}}
    request: {method: POST, path: "/n"}
  form:
    extra_args: allow
    args: {a: {}, tags: {type: array}, deep: {type: object, free_text: true}}
    request: {method: POST, path: "/f", encoding: form}
  fixed_form:
    extra_args: refuse
    args: {pin: {required: true}}
    request: {method: PUT, path: "/ff", encoding: form, body: {user: {name: "me & you", pin: "{pin}"}, on: [1, true]}, headers: {content-type: "application/x-www-form-urlencoded; charset=utf-8"}}
  upload:
    extra_args: refuse
    args: {file: {type: bytes, required: true}, title: {free_text: true}, tags: {type: array}}
    request: {method: POST, path: "/m", encoding: multipart, body: {assetData: "{file}", "ti\"tle": "{title}", tags: "{tags}", source: agentpass}}
  put:
    extra_args: refuse
    args: {path: {required: true}, file: {type: bytes, required: true}}
    request: {method: PUT, path: "/files/{path...}", encoding: none, body: "{file}"}
  note:
    extra_args: refuse
    args: {text: {type: string, required: true, free_text: true}}
    request: {method: POST, path: "/t", encoding: none, body: "{text}", headers: {Content-Type: text/markdown}}
  bare:
    extra_args: refuse
    request: {method: POST, path: "/b", encoding: none}
  as_text:
    extra_args: refuse
    args: {file: {type: bytes}}
    request: {method: POST, path: "/at"}
"#;

fn bodies() -> (Gateway, Agent) {
    let permissions = "defaults: [{pattern: \"put\", action: ask}, {pattern: \"*\", action: allow}]";
    let gateway =
        Gateway::with(&Setup { tools: BODIES.into(), permissions: permissions.into(), ..Setup::default() });
    let agent = Agent::login(gateway.address, TOKEN);
    (gateway, agent)
}

/// The request that a call became.
fn sent(gateway: &Gateway, agent: &mut Agent, tool: &str, args: Value) -> Seen {
    let before = gateway.upstream.seen().len();
    let reply = agent.request(tool, args);
    assert_eq!(reply["result"]["status"], "executed", "{tool}: {reply}");
    let seen = gateway.upstream.seen();
    assert_eq!(seen.len(), before + 1);
    seen.last().unwrap().clone()
}

#[test]
fn bodies_that_are_laid_out() {
    let (gateway, mut agent) = bodies();
    let seen = sent(&gateway, &mut agent, "laid_out", json!({"case": "7\"}"}));
    let expected = json!({"meta": {"origin": "agentpass", "case": "case-7\"}"}, "lines": ["x 7\"}"], "dry_run": false, "none": null, "empty": {}});
    assert_eq!(seen.json(), expected);
    assert_eq!(seen.header("content-type"), Some("application/json"));
    let args = json!({"case": 7, "amount": 1.5, "note": "{case}", "tags": ["a", "b"], "list": ["x", 1]});
    let expected = json!({
        "amount": 1.5, "meta": {"origin": "agentpass", "case": "case-7", "note": "{case}"}, "only": {"note": "{case}"},
        "lines": ["{case}", "x 7"], "tags": "a+b", "list": ["x", 1], "dry_run": false, "none": null, "empty": {}
    });
    assert_eq!(sent(&gateway, &mut agent, "laid_out", args).json(), expected);
    let seen = sent(&gateway, &mut agent, "whole", json!({"items": [1, {"a": "b"}]}));
    assert_eq!((seen.method.as_str(), seen.json()), ("DELETE", json!([1, {"a": "b"}])));
    let seen = sent(&gateway, &mut agent, "named", json!({"room_id": 1, "other": 2, "more": 3}));
    assert_eq!(seen.json(), json!({"roomId": 1, "other": 2, "more": 3}));
    let sly = agent.request("named", json!({"room_id": 1, "roomId": 2}));
    assert_eq!(error(&sly), (-32600, "invalid_argument"), "two values for one name: {sly}");
}

#[test]
fn forms() {
    let (gateway, mut agent) = bodies();
    let args =
        json!({"a": "x & y=ä", "tags": ["p", 2], "deep": {"n": {"m": true}, "l": ["q"], "e": []}, "more": 1});
    let seen = sent(&gateway, &mut agent, "form", args);
    let expected =
        "a=x%20%26%20y%3D%C3%A4&deep%5Bl%5D%5B%5D=q&deep%5Bn%5D%5Bm%5D=true&more=1&tags%5B%5D=p&tags%5B%5D=2";
    assert_eq!(seen.body, expected);
    assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded"));
    let seen = sent(&gateway, &mut agent, "fixed_form", json!({"pin": "1&username"}));
    assert_eq!(
        seen.body,
        "user%5Bname%5D=me%20%26%20you&user%5Bpin%5D=1%26username&on%5B%5D=1&on%5B%5D=true"
    );
    assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded; charset=utf-8"));
    let count = gateway.upstream.seen().len();
    for args in [
        json!({"deep": {"x][y": 1}}),
        json!({"deep": {"": 1}}),
        json!({"deep": {"l": [{"a": 1}]}}),
        json!({"tags": [["x"]]}),
        // PHP reads these as "a_b".
        json!({"a.b": 1}),
        json!({"a b": 1}),
        json!({"": 1}),
    ] {
        assert_eq!(error(&agent.request("form", args.clone())), (-32600, "invalid_argument"), "{args}");
    }
    assert_eq!(gateway.upstream.seen().len(), count);
}

#[test]
fn files_and_texts_as_they_are() {
    let (gateway, mut agent) = bodies();
    let args = json!({"file": "aGVsbG8NCg==", "title": "a\r\n--x \"q\"", "tags": ["t"]});
    let seen = sent(&gateway, &mut agent, "upload", args);
    let kind = seen.header("content-type").unwrap().to_owned();
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
    assert_eq!(boundary.len(), 32);
    let file = "Content-Disposition: form-data; name=\"assetData\"; filename=\"assetData\"\r\nContent-Type: application/octet-stream\r\n\r\nhello\r\n";
    let plain =
        |name: &str, text: &str| format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}");
    let parts = [
        file.to_owned(),
        plain("ti%22tle", "a\r\n--x \"q\""),
        plain("tags[]", "t"),
        plain("source", "agentpass"),
    ];
    let expected: String = parts.iter().map(|part| format!("--{boundary}\r\n{part}\r\n")).collect();
    assert_eq!(seen.body, format!("{expected}--{boundary}--\r\n"));
    let again = sent(&gateway, &mut agent, "upload", json!({"file": ""}));
    assert_ne!(again.header("content-type"), Some(kind.as_str()), "a boundary that can be known beforehand");
    let seen = sent(&gateway, &mut agent, "note", json!({"text": "# a*b\n"}));
    assert_eq!((seen.body.as_str(), seen.header("content-type")), ("# a*b\n", Some("text/markdown")));
    let seen = sent(&gateway, &mut agent, "bare", json!({}));
    assert_eq!((seen.body.as_str(), seen.header("content-type")), ("", None));
    assert_eq!(
        sent(&gateway, &mut agent, "as_text", json!({"file": "aGk="})).json(),
        json!({"file": "aGk="})
    );
    for file in [json!("aGk"), json!("aGl="), json!("hi there"), json!([104]), json!("a-_="), json!(7)] {
        let reply = agent.request("as_text", json!({"file": file}));
        assert_eq!(error(&reply), (-32600, "invalid_argument"), "{file}");
    }
}

#[test]
fn a_person_sees_what_a_file_is() {
    let (gateway, mut agent) = bodies();
    let content = "x".repeat(100_000);
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &content);
    let args = json!({"path": "a/b c.txt", "file": text});
    let request = agent.send("tool_request", json!({"tool": "put", "args": args}));
    let id = agent.asked();
    let question = gateway.questions().remove(0);
    let about = &question["args"]["file"];
    assert_eq!(about["bytes"], 100_000);
    assert_eq!(about["sha256"], agentpass::testing::base::digest::Digest::sha256(content.as_bytes()).hex());
    let (_, shown) = terminal::run(&gateway.folder, &["approvals"], &[]);
    // A narrow terminal breaks the hash into two lines.
    let shown: String = shown.split_whitespace().collect();
    assert!(shown.contains("100000") && shown.contains(about["sha256"].as_str().unwrap()), "{shown}");
    gateway.say_yes(&id);
    assert_eq!(agent.reply(request)["result"]["status"], "executed");
    let seen = gateway.upstream.seen().remove(0);
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str(), seen.body == content),
        ("PUT", "/files/a/b%20c.txt", true)
    );
    assert_eq!(seen.header("content-type"), Some("application/octet-stream"));
    assert!(gateway.row(&id).to_string().len() < 5000, "the record holds the file");
    gateway.verify();
}

#[test]
fn a_question_about_a_list_a_default_and_a_file_survives_a_crash() {
    let tools = r#"
tools:
  send:
    signature: "{to}"
    extra_args: refuse
    args: {to: {type: array, each: true}, mode: {default: soft}, file: {type: bytes, required: true}}
    request: {method: POST, path: "/s"}
"#;
    let permissions = "rules: [{pattern: \"*\", action: ask}]";
    let mut gateway =
        Gateway::with(&Setup { tools: tools.into(), permissions: permissions.into(), ..Setup::default() });
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", json!({"tool": "send", "args": {"to": ["a", "b"], "file": "aGVsbG8="}}));
    let id = agent.asked();
    let before = gateway.questions();
    gateway.kill();
    gateway.restart();
    assert_eq!(gateway.questions(), before);
    assert_eq!(before[0]["signatures"], json!(["send(a)", "send(b)"]));
    gateway.say_yes(&id);
    gateway.upstream.wait_for(1);
    let body = json!({"to": ["a", "b"], "mode": "soft", "file": "aGVsbG8="});
    assert_eq!(gateway.upstream.seen()[0].json(), body);
    gateway.verify();
}
