//! Permits: the gateway decides, asks and records, and the agent acts itself.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::io::{Read as _, Write as _};

use harness::agent::error;
use harness::gateway::{LAPTOP, TOKEN};
use harness::{Agent, Gateway, Setup, TestClock, eventually, terminal};
use serde_json::{Value, json};

const SHELL: &str = r#"
tools:
  bash:
    description: "Runs a command on the agent's machine"
    kind: execute
    args: {command: {required: true, free_text: true}}
  peek: {description: "Looks", kind: read, signature: "{path}", args: {path: {required: true}}}
"#;

const RULES: &str = r#"
rules:
  - {pattern: "peek*", action: allow}
  - {pattern: "bash", action: deny, when: {command: {regex: ".*rm -rf.*"}}, description: "No"}
defaults:
  - {pattern: "*", action: ask}
"#;

fn setup() -> Setup {
    let usual = Setup::default();
    let services = "services:\n  shell: {handler: permit, permit_ttl: 90, tools: \"shell.yaml\"}\n";
    let config = usual.config.replace("services:\n", services);
    Setup { config, permissions: RULES.into(), ..usual }
}

fn start(clock: Option<&TestClock>) -> Gateway {
    let environment = clock.map(TestClock::environment).unwrap_or_default();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    Gateway::prepared(&setup(), &environment, |folder| {
        std::fs::write(folder.join("shell.yaml"), SHELL).unwrap();
    })
}

fn bash(key: &str) -> Value {
    json!({"tool": "bash", "args": {"command": "make"}, "idempotency_key": key})
}

/// Asks for a command and approves it; the reply.
fn permitted(gateway: &Gateway, agent: &mut Agent, key: &str) -> Value {
    let request = agent.send("tool_request", bash(key));
    gateway.say_yes(&agent.asked());
    agent.reply(request)
}

#[test]
fn a_permit_is_handed_out_and_nobody_is_called() {
    let gateway = start(None);
    let mut agent = Agent::login(gateway.address, TOKEN);
    let reply = permitted(&gateway, &mut agent, "k");
    let result = &reply["result"];
    assert_eq!(result["status"], "permitted", "{reply}");
    let left = result["expires_in"].as_u64().unwrap();
    assert!((1..=90).contains(&left), "{reply}");
    let names: Vec<&String> = result["data"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["expires_at", "permit_id"], "{reply}");
    assert!(gateway.upstream.seen().is_empty());
    let row = gateway.row(result["request_id"].as_str().unwrap());
    assert_eq!((&row["outcome"], &row["resolution"]), (&json!("permitted"), &json!("approved")), "{row}");
    gateway.verify();
    // What the policy allows needs no question, and what it denies gets no permit.
    let peek = agent.request("peek", json!({"path": "/etc/hosts"}));
    assert_eq!(peek["result"]["status"], "permitted", "{peek}");
    let no = agent.request("bash", json!({"command": "make; rm -rf /"}));
    assert_eq!(error(&no), (-32003, "denied_by_policy"), "{no}");
}

#[test]
fn the_same_key_brings_the_same_permit_with_its_old_times() {
    let clock = TestClock::new();
    let mut gateway = start(Some(&clock));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let first = permitted(&gateway, &mut agent, "k")["result"].clone();
    clock.shift(3600);
    for restart in [false, true] {
        if restart {
            gateway.kill();
            gateway.restart();
            agent = Agent::login(gateway.address, TOKEN);
        }
        let again = agent.call("tool_request", bash("k"))["result"].clone();
        assert_eq!((&again["data"], &again["replayed"]), (&first["data"], &json!(true)), "{again}");
        assert_eq!(
            (&again["expires_in"], &again["request_id"]),
            (&json!(0), &first["request_id"]),
            "{again}"
        );
    }
    gateway.verify();
}

#[test]
fn a_permit_that_was_never_received_waits_in_the_inbox() {
    let gateway = start(None);
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", bash("k"));
    let id = agent.asked();
    drop(agent);
    gateway.say_yes(&id);
    let mut agent = Agent::login(gateway.address, TOKEN);
    let result = eventually("the permit waits", || {
        let results = agent.call("get_pending_results", json!({}))["result"]["results"].clone();
        let text = results.get(0)?["result"].as_str()?.to_owned();
        serde_json::from_str::<Value>(&text).ok()
    });
    assert_eq!(result["status"], "permitted", "{result}");
    assert!(result["data"]["permit_id"].is_string(), "{result}");
}

#[test]
fn an_agent_reports_once_and_only_of_its_own_permits() {
    let mut gateway = start(None);
    let mut agent = Agent::login(gateway.address, TOKEN);
    let id = permitted(&gateway, &mut agent, "k")["result"]["request_id"].clone();
    let report = |ok: Value, detail: Value| json!({"request_id": id, "ok": ok, "detail": detail});
    let mut other = Agent::login(gateway.address, LAPTOP);
    let reply = other.call("report", report(true.into(), Value::Null));
    assert_eq!(reply["result"]["status"], "unknown", "{reply}");
    for (ok, detail) in
        [("yes".into(), Value::Null), (true.into(), "x".repeat(501).into()), (true.into(), json!([]))]
    {
        let reply = agent.call("report", report(ok, detail));
        assert_eq!(error(&reply).0, -32600, "{reply}");
    }
    let reply = agent.call("report", report(false.into(), "exit 2 \u{202e}".into()));
    assert_eq!(reply["result"], json!({"status": "reported", "request_id": id}), "{reply}");
    gateway.kill();
    gateway.restart();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let reply = agent.call("report", report(true.into(), Value::Null));
    assert_eq!(reply["result"]["status"], "already_reported", "{reply}");
    let row = gateway.row(id.as_str().unwrap());
    assert_eq!((&row["reported_ok"], &row["outcome"]), (&json!(false), &json!("permitted")), "{row}");
    let (_, shown) = terminal::run(&gateway.folder, &["audit", "show", id.as_str().unwrap()], &[]);
    assert!(
        shown.contains("agent says it tried, and failed: exit 2 ") && !shown.contains('\u{202e}'),
        "{shown}"
    );
    assert_eq!(gateway.json(&["audit", "list", "--outcome", "permitted", "--json"])["request_id"], id);
    // A call that was executed by the gateway needs no agent's word.
    let called = agent.send("tool_request", json!({"tool": "get_state", "args": {"entity_id": "a"}}));
    gateway.say_yes(&agent.asked());
    let called = agent.reply(called)["result"]["request_id"].clone();
    let reply = agent.call("report", json!({"request_id": called, "ok": true}));
    assert_eq!(reply["result"]["status"], "unknown", "{reply}");
    gateway.verify();
}

/// Identical calls share a question and its denial, and not a permit.
#[test]
fn one_permit_is_for_one_of_many_who_ask_for_the_same() {
    let gateway = start(None);
    let mut agent = Agent::login(gateway.address, TOKEN);
    let plain = || json!({"tool": "bash", "args": {"command": "make"}});
    let requests =
        [bash("a"), bash("b"), plain(), bash("a")].map(|params| agent.send("tool_request", params));
    let id = agent.asked();
    // Whoever comes after these, on the same connection, has come after all of them.
    agent.request("peek", json!({"path": "x"}));
    gateway.say_yes(&id);
    let replies = requests.map(|request| agent.reply(request));
    for at in [0, 3] {
        assert_eq!(replies[at]["result"]["data"], replies[0]["result"]["data"], "{replies:?}");
        assert_eq!(replies[at]["result"]["status"], "permitted", "{replies:?}");
    }
    for at in [1, 2] {
        assert_eq!(error(&replies[at]), (-32004, "busy"), "{replies:?}");
    }
    // Its key stands for nothing yet.
    let request = agent.send("tool_request", bash("b"));
    gateway.say_yes(&gateway.question());
    assert_ne!(agent.reply(request)["result"]["data"], replies[0]["result"]["data"]);
}

#[test]
fn what_an_agent_does_itself_is_not_changed() {
    let gateway = start(None);
    let mut agent = Agent::login(gateway.address, TOKEN);
    let request = agent.send("tool_request", bash("k"));
    let id = agent.asked();
    let output = gateway.cli(&["approve", &id, "--set", "command=ls"]);
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    gateway.say_yes(&id);
    assert_eq!(agent.reply(request)["result"]["status"], "permitted");
}

#[test]
fn what_an_agent_does_itself_is_listed_for_it_and_not_over_mcp() {
    let gateway = start(None);
    let mut agent = Agent::login(gateway.address, TOKEN);
    let tools = agent.call("list_tools", json!({}))["result"]["tools"].clone();
    let bash = tools.as_array().unwrap().iter().find(|tool| tool["name"] == "bash").unwrap();
    assert_eq!(bash.get("permit"), None, "{bash}");
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {}}}})
    .to_string();
    let mut stream = std::net::TcpStream::connect(gateway.address).unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: tools/list\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.contains("\"get_state\"") && !said.contains("\"bash\""), "{said}");
}

#[test]
fn a_prefix_of_a_command_is_warned_of() {
    let gateway = start(None);
    let check = |test: &str| {
        let rule = format!("rules: [{{pattern: bash, action: allow, when: {{command: {test}}}}}]\n");
        gateway.configure(&Setup { permissions: rule, ..setup() });
        let output = gateway.cli(&["check"]);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let said = check("{matches: \"git status*\"}");
    assert!(said.contains("git status* allows every command that begins like this"), "{said}");
    let said = check("{regex: \"git status( -s)*\"}");
    assert!(!said.contains("begins like this"), "{said}");
}

#[test]
fn what_calls_somebody_has_no_place_beside_permits() {
    let gateway = start(None);
    let check = |config: &str, tools: &str| {
        std::fs::write(gateway.path("shell.yaml"), tools).unwrap();
        let setup = setup();
        gateway.configure(&Setup { config: setup.config.replace("permit_ttl: 90", config), ..setup });
        let output = gateway.cli(&["check"]);
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (code, said) = check("url: \"http://127.0.0.1\"", SHELL);
    assert!(code == Some(78) && said.contains("a service of permits has no url"), "{code:?} {said}");
    for (key, tools) in [
        ("request", SHELL.replace("kind: execute", "request: {method: GET, path: /}")),
        ("timeout", SHELL.replace("kind: execute", "timeout: 3")),
    ] {
        let (code, said) = check("permit_ttl: 60", &tools);
        assert!(code == Some(78) && said.contains(&format!("has no {key}")), "{code:?} {said}");
    }
}
