//! Idempotency keys: the same key never leads to a second execution.

use serde_json::{Value, json};

use crate::harness::gateway::{LAPTOP, TOKEN};
use crate::harness::{Agent, Answer, Gateway, Setup, error};

fn keyed(key: &str, template: &str) -> Value {
    json!({"tool": "render", "args": {"template": template}, "idempotency_key": key})
}

fn agent(gateway: &Gateway) -> Agent {
    Agent::bearer(gateway.address, TOKEN)
}

#[test]
fn a_finished_call_is_replayed() {
    let gateway = Gateway::start();
    gateway.upstream.answer(|_| Answer::json(r#"{"n":1}"#));
    let mut one = agent(&gateway);
    let first = one.call("tool_request", keyed("k", "a"))["result"].clone();
    assert!(first.get("replayed").is_none(), "{first}");
    gateway.upstream.answer(|_| Answer::json(r#"{"n":2}"#));
    for agent in [&mut one, &mut agent(&gateway)] {
        let again = agent.call("tool_request", keyed("k", "a"))["result"].clone();
        let expected = json!({"status": "executed", "data": {"n": 1}, "request_id": first["request_id"], "replayed": true});
        assert_eq!(again, expected);
    }
    assert_eq!(gateway.upstream.seen().len(), 1);
    // Another key, or none, is another call.
    assert_eq!(one.call("tool_request", keyed("other", "a"))["result"]["data"]["n"], 2);
    assert_eq!(one.request("render", json!({"template": "a"}))["result"]["data"]["n"], 2);
    assert_eq!(gateway.upstream.seen().len(), 3);
}

#[test]
fn a_key_attaches_to_the_running_call() {
    let gateway = Gateway::start();
    gateway.upstream.answer(|_| Answer::Hold);
    let (mut one, mut two) = (agent(&gateway), agent(&gateway));
    let first = one.send("tool_request", keyed("k", "a"));
    gateway.upstream.wait_for(1);
    let second = two.send("tool_request", keyed("k", "a"));
    two.assert_quiet();
    drop(one);
    gateway.upstream.release();
    let reply = two.reply(second);
    assert_eq!(reply["result"]["status"], "executed", "{reply}");
    assert_eq!(gateway.upstream.seen().len(), 1);
    let _ = first;
}

#[test]
fn a_key_attaches_to_the_open_question() {
    let gateway = Gateway::start();
    let params = json!({"tool": "say", "args": {"text": "hi"}, "idempotency_key": "k"});
    let mut one = agent(&gateway);
    one.send("tool_request", params.clone());
    let id = one.asked();
    drop(one);
    let mut two = agent(&gateway);
    let second = two.send("tool_request", params);
    assert_eq!(two.asked(), id);
    gateway.say_yes(&id);
    assert_eq!(two.reply(second)["result"]["request_id"], id);
    assert_eq!(gateway.upstream.seen().len(), 1);
}

#[test]
fn a_key_stands_for_one_call_only() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    agent.call("tool_request", keyed("k", "a"));
    let conflict = agent.call("tool_request", keyed("k", "b"));
    assert_eq!(error(&conflict), (-32600, "idempotency_conflict"));
    gateway.upstream.answer(|_| Answer::Hold);
    let running = agent.send("tool_request", keyed("l", "a"));
    gateway.upstream.wait_for(2);
    let conflict = agent.call("tool_request", keyed("l", "b"));
    assert_eq!(error(&conflict), (-32600, "idempotency_conflict"));
    gateway.upstream.release();
    assert_eq!(agent.reply(running)["result"]["status"], "executed");
    assert_eq!(gateway.upstream.seen().len(), 2);
}

#[test]
fn a_key_is_its_agents_own() {
    let gateway = Gateway::start();
    let own = agent(&gateway).call("tool_request", keyed("k", "a"))["result"].clone();
    let mut other = Agent::bearer(gateway.address, LAPTOP);
    for template in ["a", "b"] {
        let key = if template == "a" { "k" } else { "l" };
        let reply = other.call("tool_request", keyed(key, template))["result"].clone();
        assert_ne!(reply["request_id"], own["request_id"]);
        assert!(reply.get("replayed").is_none());
    }
    assert_eq!(gateway.upstream.seen().len(), 3);
}

#[test]
fn a_key_outlives_the_gateway() {
    let mut gateway = Gateway::start();
    let mut one = agent(&gateway);
    let first = one.call("tool_request", keyed("k", "a"))["result"].clone();
    let denied = json!({"tool": "say", "args": {"text": "hi"}, "idempotency_key": "no"});
    let asked = one.send("tool_request", denied.clone());
    let question = one.asked();
    gateway.say_no(&question);
    one.reply(asked);
    gateway.kill();
    gateway.restart();
    let mut two = agent(&gateway);
    let again = two.call("tool_request", keyed("k", "a"))["result"].clone();
    assert_eq!((&again["replayed"], &again["request_id"]), (&json!(true), &first["request_id"]));
    assert_eq!(error(&two.call("tool_request", keyed("k", "b"))), (-32600, "idempotency_conflict"));
    let no = two.call("tool_request", denied);
    assert_eq!(error(&no), (-32001, "denied_by_user"));
    assert_eq!(no["error"]["data"]["request_id"], question);
    assert_eq!((gateway.upstream.seen().len(), gateway.questions().len()), (1, 0));
}

#[test]
fn a_joined_callers_own_key_is_kept_too() {
    let mut gateway = Gateway::start();
    gateway.upstream.answer(|_| Answer::Hold);
    let (mut one, mut two) = (agent(&gateway), agent(&gateway));
    let first = one.send("tool_request", keyed("first", "a"));
    gateway.upstream.wait_for(1);
    let second = two.send("tool_request", keyed("second", "a"));
    two.assert_quiet();
    gateway.upstream.release();
    let id = one.reply(first)["result"]["request_id"].clone();
    assert_eq!(two.reply(second)["result"]["request_id"], id);
    gateway.kill();
    gateway.restart();
    for key in ["first", "second"] {
        let again = agent(&gateway).call("tool_request", keyed(key, "a"))["result"].clone();
        assert_eq!((&again["replayed"], &again["request_id"]), (&json!(true), &id), "{key}");
    }
    assert_eq!(gateway.upstream.seen().len(), 1);
}

/// A tool may insist on a key, so that no agent forgets what keeps a payment from being made twice.
#[test]
fn a_tool_that_requires_a_key_refuses_calls_without() {
    let usual = Setup::default();
    let tools = usual.tools.replace("  render:\n", "  render:\n    idempotency: required\n");
    let gateway = Gateway::with(&Setup { tools, ..usual });
    gateway.upstream.answer(|_| Answer::json("{}"));
    let mut one = agent(&gateway);
    let refused = one.request("render", json!({"template": "a"}));
    assert_eq!(error(&refused), (-32600, "invalid_argument"));
    assert_eq!(refused["error"]["message"], "Missing required argument: idempotency_key");
    assert_eq!(gateway.upstream.seen().len(), 0);
    assert_eq!(one.call("tool_request", keyed("k", "a"))["result"]["status"], "executed");
    let listed = one.call("list_tools", json!({}));
    let tools = listed["result"]["tools"].as_array().unwrap();
    let said: Vec<&Value> = tools.iter().filter(|tool| tool.get("idempotency").is_some()).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!((&said[0]["name"], &said[0]["idempotency"]), (&json!("render"), &json!("required")));
}
