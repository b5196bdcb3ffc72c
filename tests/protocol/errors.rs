//! Every code and reason of the error table, brought about from outside.
//!
//! Out of reach so far: `approval_unavailable` (a local question is always put to somebody). `tests/kill_switch.rs` has
//! `kill_switch`.

use serde_json::{Value, json};

use crate::harness::gateway::TOKEN;
use crate::harness::{Agent, Answer, Gateway, Nobody, PATIENCE, Setup, error};

fn agent(gateway: &Gateway) -> Agent {
    Agent::bearer(gateway.address, TOKEN)
}

fn is_request_id(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() == 36)
}

/// The usual gateway with `service: home` changed.
fn with_service(from: &str, to: &str) -> Gateway {
    let mut setup = Setup::default();
    assert!(setup.config.contains(from));
    setup.config = setup.config.replace(from, to);
    Gateway::with(&setup)
}

#[test]
fn bad_arguments_are_named() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    for (tool, args, argument, message) in [
        ("get_state", json!({}), "entity_id", "Missing required argument: entity_id"),
        ("get_state", json!({"entity_id": null}), "entity_id", "Missing required argument: entity_id"),
        (
            "get_state",
            json!({"entity_id": "a*"}),
            "entity_id",
            "Argument 'entity_id' contains forbidden characters",
        ),
        (
            "get_state",
            json!({"entity_id": "a\n"}),
            "entity_id",
            "Argument 'entity_id' contains forbidden characters",
        ),
        (
            "call_service",
            json!({"domain": "Light", "service": "turn_off"}),
            "domain",
            "Invalid value for domain",
        ),
        (
            "call_service",
            json!({"domain": ["light"], "service": "turn_off"}),
            "domain",
            "Argument 'domain' must be a string, a number or a boolean",
        ),
        ("say", json!({"text": "a", "more": 1}), "more", "Unknown argument: more"),
        (
            "get_state",
            json!({"entity_id": ".."}),
            "entity_id",
            "Argument 'entity_id' cannot be sent in the request",
        ),
    ] {
        let reply = agent.request(tool, args.clone());
        assert_eq!(error(&reply), (-32600, "invalid_argument"), "{tool} {args}");
        assert_eq!(reply["error"]["data"]["argument"], argument, "{tool} {args}");
        assert_eq!(reply["error"]["message"], message, "{tool} {args}");
        assert!(is_request_id(&reply["error"]["data"]["request_id"]), "{reply}");
        let data = &reply["error"]["data"];
        let character = match args["entity_id"].as_str() {
            Some("a*") => json!("*"),
            Some("a\n") => json!("U+000A"),
            _ => Value::Null,
        };
        assert_eq!(data["character"], character, "{reply}");
        assert_eq!(data["valid"].is_string(), !character.is_null(), "{reply}");
    }
    assert_eq!((gateway.upstream.seen().len(), gateway.questions().len()), (0, 0));
    // Each refusal is on record.
    assert!(gateway.audit().iter().all(|row| row["outcome"] == "refused"));
    assert_eq!(gateway.audit().len(), 8);
}

#[test]
fn an_unknown_tool_is_refused() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    let reply = agent.request("no_such_tool", json!({"a": 1}));
    assert_eq!(error(&reply), (-32004, "unknown_tool"));
    assert_eq!(reply["error"]["message"], "Unknown tool: no_such_tool");
    assert_eq!(gateway.questions().len(), 0);
}

#[test]
fn a_human_says_no() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    let first = agent.send("tool_request", json!({"tool": "say", "args": {"text": "a"}}));
    let id = agent.asked();
    gateway.say_no(&id);
    let reply = agent.reply(first);
    assert_eq!(error(&reply), (-32001, "denied_by_user"));
    assert_eq!(
        (&reply["error"]["message"], &reply["error"]["data"]["request_id"]),
        (&json!("Denied by user"), &json!(id))
    );
    assert!(reply["error"]["data"].get("note").is_none());
    let second = agent.send("tool_request", json!({"tool": "say", "args": {"text": "a"}}));
    let id = agent.asked();
    gateway.json(&["deny", &id, "--note", "not at night", "--json"]);
    assert_eq!(agent.reply(second)["error"]["data"]["note"], "not at night");
    assert_eq!(gateway.upstream.seen().len(), 0);
}

#[test]
fn nobody_answers_in_time() {
    let gateway = with_service("approval_timeout: 60", "approval_timeout: 0.3");
    let mut agent = agent(&gateway);
    let reply_to = agent.send("tool_request", json!({"tool": "say", "args": {"text": "a"}}));
    let id = agent.asked();
    let reply = agent.reply(reply_to);
    assert_eq!(error(&reply), (-32002, "approval_timed_out"));
    assert_eq!(reply["error"]["message"], "Approval timed out");
    let late = gateway.cli(&["approve", &id, "--json"]);
    assert!(!late.status.success());
    assert_eq!(serde_json::from_slice::<Value>(&late.stdout).unwrap()["outcome"], "expired");
    assert_eq!(gateway.upstream.seen().len(), 0);
}

#[test]
fn the_policy_says_no() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    let reply = agent.request("call_service", json!({"domain": "lock", "service": "unlock"}));
    assert_eq!(error(&reply), (-32003, "denied_by_policy"));
    assert_eq!(reply["error"]["message"], "Denied by policy");
    assert_eq!(reply["error"]["data"]["rule"], "Lock control is always denied");
    assert!(is_request_id(&reply["error"]["data"]["request_id"]));
    // A rule without a description has nothing to say.
    let reply = agent.request("drop_all", json!({}));
    assert_eq!(error(&reply), (-32003, "denied_by_policy"));
    assert!(reply["error"]["data"].get("rule").is_none());
    // Hidden in an argument that the signature does not show.
    let hidden =
        json!({"domain": "homeassistant", "service": "turn_off", "target": {"entity_id": ["lock.front"]}});
    assert_eq!(error(&agent.request("call_service", hidden)), (-32003, "denied_by_policy"));
    assert_eq!(gateway.upstream.seen().len(), 0);
}

#[test]
fn an_approval_is_void_when_the_tool_changes() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    let reply_to = agent.send("tool_request", json!({"tool": "say", "args": {"text": "a"}}));
    let id = agent.asked();
    let mut setup = Setup::default();
    setup.tools = setup.tools.replace("/api/say", "/api/shout");
    gateway.configure(&setup);
    gateway.hang_up();
    let reply = agent.reply(reply_to);
    assert_eq!(error(&reply), (-32003, "approval_void"));
    assert_eq!(reply["error"]["data"]["request_id"], id);
    assert!(!gateway.cli(&["approve", &id]).status.success());
    assert_eq!(gateway.upstream.seen().len(), 0);
}

#[test]
fn a_service_that_is_gone() {
    let nobody = Nobody::new();
    let gateway = with_service("{upstream}", &format!("http://{}", nobody.address));
    let mut agent = agent(&gateway);
    let off = json!({"domain": "light", "service": "turn_off"});
    for reply in [agent.request("get_state", json!({"entity_id": "a"})), agent.request("call_service", off)] {
        assert_eq!(error(&reply), (-32004, "service_unreachable"));
        assert!(!reply.to_string().contains(&nobody.address.port().to_string()), "{reply}");
    }
}

#[test]
fn a_service_that_is_silent() {
    let gateway = with_service("timeout: 45", "timeout: 3");
    gateway.upstream.answer(|_| Answer::Silence);
    let mut agent = agent(&gateway);
    let read = agent.send("tool_request", json!({"tool": "get_state", "args": {"entity_id": "a"}}));
    let write = agent.send("tool_request", json!({"tool": "render", "args": {"template": "a"}}));
    let replies = [agent.receive(), agent.receive()];
    let of = |id: u64| replies.iter().find(|r| r["id"] == id).unwrap();
    assert_eq!(error(of(read)), (-32004, "service_timeout"));
    assert_eq!(error(of(write)), (-32004, "unknown_result"), "it may have been done");
    assert_eq!(gateway.upstream.seen().len(), 2, "and is not tried again");
}

#[test]
fn a_service_that_hangs_up_in_the_middle() {
    let gateway = Gateway::start();
    gateway.upstream.answer(|_| Answer::Close);
    let mut agent = agent(&gateway);
    assert_eq!(error(&agent.request("render", json!({"template": "a"}))), (-32004, "unknown_result"));
    assert_eq!(error(&agent.request("get_state", json!({"entity_id": "a"}))), (-32004, "service_error"));
    let writes = gateway.upstream.seen().iter().filter(|s| s.method == "POST").count();
    assert_eq!(writes, 1);
}

#[test]
fn a_service_that_answers_with_an_error() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    for (status, body, message) in [
        (404, "light.x", "Entity not found: light.x"),
        (500, "boom", "Service error 500: boom"),
        (401, "who?", "Service refused the gateway's credentials (401)"),
        (302, "", "Service answered with a redirect (302); redirects are not followed"),
    ] {
        gateway.upstream.answer(move |_| Answer::Reply(status, "text/plain", body.into()));
        let reply = agent.request("get_state", json!({"entity_id": "a"}));
        assert_eq!(error(&reply), (-32004, "service_error"), "{status}");
        assert_eq!(reply["error"]["data"]["status"], status);
        assert_eq!(reply["error"]["message"], message);
    }
    gateway.upstream.answer(|_| Answer::Reply(200, "application/json", "{".into()));
    let reply = agent.request("get_state", json!({"entity_id": "a"}));
    assert_eq!(error(&reply), (-32004, "service_error"));
}

#[test]
fn a_service_that_answers_too_much() {
    let gateway = with_service("timeout: 45", "timeout: 45\n    max_response_bytes: 64");
    let mut agent = agent(&gateway);
    let of = |length: usize| move |_: &_| Answer::Reply(200, "text/plain", "x".repeat(length));
    gateway.upstream.answer(of(64));
    assert_eq!(agent.request("render", json!({}))["result"]["data"], "x".repeat(64));
    gateway.upstream.answer(of(65));
    let read = json!({"entity_id": "a"});
    assert_eq!(error(&agent.request("get_state", read)), (-32004, "response_too_large"));
    // A service that answered 2xx to something with side effects did it.
    assert_eq!(agent.request("render", json!({}))["result"]["data_lost"], "too_large");
}

#[test]
fn a_call_too_large_to_show() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    let reply = agent.request("say", json!({"text": "x".repeat(12_001)}));
    assert_eq!(error(&reply), (-32600, "too_large_to_show"));
    assert_eq!(gateway.questions().len(), 0);
    // The files alone say so too.
    let text = format!("text={}", "x".repeat(12_001));
    let call = ["explain", "say", &text, "--agent", "default", "--json"];
    for call in [call.to_vec(), [&call[..], &["--live"]].concat()] {
        assert_eq!(gateway.json(&call)["reasons"][1], json!({"reason": "too_large_to_show"}));
    }
    // Signatures have a limit of their own.
    let reply = agent.request("get_state", json!({"entity_id": "x".repeat(4096)}));
    assert_eq!(error(&reply), (-32600, "too_large"));
    assert_eq!(gateway.upstream.seen().len(), 0);
}

#[test]
fn a_record_that_cannot_be_written() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    assert_eq!(agent.request("render", json!({}))["result"]["status"], "executed");
    let db = rusqlite::Connection::open(gateway.path("data/agentpass.db")).unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let reply = agent.request("render", json!({}));
    assert_eq!(error(&reply), (-32004, "store_unavailable"));
    assert_eq!(gateway.upstream.seen().len(), 1, "nothing runs that is not on record");
    db.execute_batch("ROLLBACK").unwrap();
    assert_eq!(agent.request("render", json!({}))["result"]["status"], "executed");
}
