//! Every limit at its edge: the last that passes and the first that does not.

use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::harness::gateway::{LAPTOP, TOKEN};
use crate::harness::{Agent, Answer, Gateway, Setup, error, eventually};

fn agent(gateway: &Gateway) -> Agent {
    Agent::bearer(gateway.address, TOKEN)
}

/// Arguments of a call that the policy allows, with `extra` beside them.
fn turn_off(extra: impl IntoIterator<Item = (String, Value)>) -> Value {
    let mut args =
        Map::from_iter([("domain".to_owned(), json!("light")), ("service".to_owned(), json!("turn_off"))]);
    args.extend(extra);
    Value::Object(args)
}

fn executed(reply: &Value) {
    assert_eq!(reply["result"]["status"], "executed", "{reply}");
}

#[test]
fn a_message_of_exactly_one_mebibyte_passes() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    let request = r#"{"jsonrpc":"2.0","method":"list_tools","id":1}"#;
    let padded = |size: usize| format!("{request}{}", " ".repeat(size - request.len()));
    agent.send_text(&padded(1 << 20));
    assert!(agent.reply(1)["result"]["tools"].is_array());
    // The gateway may close before everything is sent.
    let _ = agent.socket.send(padded((1 << 20) + 1).into());
    assert_eq!(agent.close_code(), Some(1009));
}

#[test]
fn the_message_limit_can_be_set() {
    let mut setup = Setup::default();
    setup.config = setup.config.replace("port: 0", "port: 0\n  max_message_bytes: 2048");
    let gateway = Gateway::with(&setup);
    let mut agent = agent(&gateway);
    let request = r#"{"jsonrpc":"2.0","method":"list_tools","id":1}"#;
    agent.send_text(&format!("{request}{}", " ".repeat(2048 - request.len())));
    assert!(agent.reply(1)["result"]["tools"].is_array());
    agent.send_text(&format!("{request}{}", " ".repeat(2049 - request.len())));
    assert_eq!(agent.close_code(), Some(1009));
}

#[test]
fn json_is_32_deep_at_most() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    // The frame, params and args are three of them.
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let request = |value: String| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"tool_request","id":1,"params":{{"tool":"call_service","args":{{"domain":"light","service":"turn_off","x":{value}}}}}}}"#
        )
    };
    agent.send_text(&request(nested(29)));
    executed(&agent.reply(1));
    agent.send_text(&request(nested(30)));
    assert_eq!(error(&agent.receive()), (-32600, "invalid_request"));
    agent.send_text(&request(nested(100_000)));
    assert!([-32600, -32700].contains(&error(&agent.receive()).0));
    agent.assert_quiet();
    assert_eq!(gateway.upstream.seen().len(), 1);
}

#[test]
fn a_call_has_64_arguments_at_most() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    let extra = |count: usize| turn_off((0..count).map(|n| (format!("x{n}"), json!(n))));
    executed(&agent.request("call_service", extra(62)));
    let reply = agent.request("call_service", extra(63));
    assert_eq!(error(&reply), (-32600, "too_large"));
    assert_eq!(gateway.upstream.seen().len(), 1);
}

#[test]
fn a_string_is_64_kib_at_most() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    let of = |length: usize| json!("x".repeat(length));
    executed(&agent.request("call_service", turn_off([("x".to_owned(), of(64 << 10))])));
    let nested = turn_off([("x".to_owned(), json!([{"y": of((64 << 10) + 1)}]))]);
    for args in [turn_off([("x".to_owned(), of((64 << 10) + 1))]), nested] {
        let reply = agent.request("call_service", args);
        assert_eq!(error(&reply), (-32600, "too_large"));
        assert_eq!(reply["error"]["data"]["argument"], "x");
    }
    assert_eq!(gateway.upstream.seen().len(), 1);
}

#[test]
fn reason_session_and_key_have_their_lengths() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    for (member, text, length) in
        [("reason", "ä", 500), ("reason", "x", 500), ("session_id", "s", 128), ("idempotency_key", "k", 128)]
    {
        let mut params = json!({"tool": "get_state", "args": {"entity_id": format!("{member}{text}")}});
        params[member] = json!(text.repeat(length));
        executed(&agent.call("tool_request", params.clone()));
        params[member] = json!(text.repeat(length + 1));
        assert_eq!(error(&agent.call("tool_request", params)), (-32600, "too_large"), "{member}");
    }
    assert_eq!(gateway.upstream.seen().len(), 4);
}

#[test]
fn thirty_two_calls_may_be_in_flight_on_a_connection() {
    let usual = Setup::default();
    // So many that the agent's share of the places is more than that.
    let config = format!("{}max_concurrent_calls: 64\n", usual.config);
    let gateway = Gateway::with(&Setup { config, ..usual });
    gateway.upstream.answer(|_| Answer::Hold);
    let mut agent = agent(&gateway);
    let held: Vec<u64> = (0..32)
        .map(|n| {
            agent.send(
                "tool_request",
                json!({"tool": "get_state", "args": {"entity_id": format!("held.{n}")}}),
            )
        })
        .collect();
    let one_more = agent.request("get_state", json!({"entity_id": "one.more"}));
    assert_eq!(error(&one_more), (-32006, "too_many_pending"));
    // Other methods and other connections are as free as before.
    agent.assert_quiet();
    let mut other = Agent::bearer(gateway.address, LAPTOP);
    other.send("tool_request", json!({"tool": "get_state", "args": {"entity_id": "other"}}));
    gateway.upstream.wait_for(32);
    gateway.upstream.release();
    let mut ids: Vec<u64> = held
        .iter()
        .map(|_| agent.receive())
        .map(|r| {
            executed(&r);
            r["id"].as_u64().unwrap()
        })
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, held);
    executed(&other.receive());
    executed(&agent.request("get_state", json!({"entity_id": "one.more"})));
}

#[test]
fn an_agent_has_64_connections_at_most() {
    let gateway = Gateway::start();
    let mut agents: Vec<_> = (0..64).map(|_| agent(&gateway)).collect();
    agents.iter_mut().for_each(Agent::assert_quiet);
    let mut late = agent(&gateway);
    assert_eq!(late.close_code(), Some(1008));
    Agent::bearer(gateway.address, LAPTOP).assert_quiet();
    agents.pop();
    eventually("a place to be free", || {
        let mut next = agent(&gateway);
        next.send("list_tools", json!({}));
        next.try_receive().ok()
    });
}

#[test]
fn requests_beyond_the_rate_are_refused_and_say_when_to_come_back() {
    let mut setup = Setup::default();
    setup.config = setup.config.replace("max_requests_per_minute: 100000", "max_requests_per_minute: 3");
    let gateway = Gateway::with(&setup);
    let mut agent = agent(&gateway);
    executed(&agent.request("get_state", json!({"entity_id": "a"})));
    // Refused ones count, whatever they are refused for; other methods do not.
    assert_eq!(error(&agent.request("nope", json!({}))).1, "unknown_tool");
    assert_eq!(error(&agent.request("get_state", json!({}))).1, "invalid_argument");
    agent.assert_quiet();
    agent.call("get_pending_results", json!({}));
    for _ in 0..3 {
        let reply = agent.request("get_state", json!({"entity_id": "a"}));
        assert_eq!(error(&reply), (-32006, "rate_limited"));
        assert_eq!(reply["error"]["message"], "Rate limit exceeded");
        let after = reply["error"]["data"]["retry_after"].as_u64().unwrap();
        assert!((1..=60).contains(&after), "{after}");
    }
    agent.assert_quiet();
    // The limit is each agent's own, and all connections of one agent share it.
    executed(&Agent::bearer(gateway.address, LAPTOP).request("get_state", json!({"entity_id": "a"})));
    let again = Agent::bearer(gateway.address, TOKEN).request("get_state", json!({"entity_id": "a"}));
    assert_eq!(error(&again).1, "rate_limited");
    assert_eq!(gateway.upstream.seen().len(), 2);
}

/// Five hundred tools that are all alike.
fn many_tools() -> Setup {
    let usual = Setup::default();
    let tool = |n| {
        format!(
            "  tool_{n}:\n    description: \"Nothing\"\n    extra_args: refuse\n    request: {{method: GET, path: \"/{n}\"}}\n"
        )
    };
    let tools = (0..500).map(tool).collect::<String>();
    Setup { tools: usual.tools.clone() + &tools, ..usual }
}

/// The answers to a batch of requests of one kind.
fn batch(agent: &mut Agent, method: &str, params: &Value) -> Vec<Value> {
    let all: Vec<_> =
        (0..100).map(|id| json!({"jsonrpc": "2.0", "method": method, "params": params, "id": id})).collect();
    agent.send_text(&json!(all).to_string());
    agent.receive().as_array().unwrap().clone()
}

#[test]
fn what_is_listed_without_end_is_refused_and_costs_no_call_and_nobody_else() {
    let gateway = Gateway::with(&many_tools());
    let (mut greedy, mut second) = (agent(&gateway), agent(&gateway));
    let answers = batch(&mut greedy, "list_tools", &json!({}));
    let listed = answers.iter().filter(|answer| answer["result"]["tools"].is_array()).count();
    // A minute's worth is 30,000 tools at once; as many come back in a minute.
    assert!((59..100).contains(&listed), "{listed}");
    let refused = answers.last().unwrap();
    assert_eq!(error(refused), (-32006, "rate_limited"));
    let after = refused["error"]["data"]["retry_after"].as_u64().unwrap();
    assert!((1..=60).contains(&after), "{after}");
    // Whatever is no call is paid for by all connections of the agent together.
    let again = batch(&mut second, "list_tools", &json!({}));
    assert!(again.iter().any(|answer| answer["error"].is_object()));
    executed(&second.request("get_state", json!({"entity_id": "a"})));
    let mut other = Agent::bearer(gateway.address, LAPTOP);
    assert!(other.call("list_tools", json!({}))["result"]["tools"].as_array().unwrap().len() > 500);
}

#[test]
fn reading_explaining_and_withdrawing_without_end_are_refused() {
    for (method, params) in [
        ("explain", json!({"tool": "get_state", "args": {"entity_id": "a"}})),
        ("get_pending_results", json!({})),
        ("cancel", json!({"request_id": "00000000-0000-4000-8000-000000000000"})),
    ] {
        let gateway = Gateway::with(&many_tools());
        let mut agent = Agent::bearer(gateway.address, LAPTOP);
        // What they cost is taken from where lists are paid from: little is left when those are spent.
        assert!(agent.call(method, params.clone()).get("result").is_some(), "{method}");
        batch(&mut agent, "list_tools", &json!({}));
        let refused = (0..100).any(|_| {
            let answers = batch(&mut agent, method, &params);
            answers.iter().any(|answer| error(answer) == (-32006, "rate_limited"))
        });
        assert!(refused, "{method}");
    }
}

/// Explaining looks at every value: what is large costs as much as it is large.
#[test]
fn explaining_large_calls_costs_by_their_size() {
    let gateway = Gateway::with(&many_tools());
    let mut agent = Agent::bearer(gateway.address, LAPTOP);
    let large: Vec<String> = (0..15).map(|n| format!("{n}{}", "x".repeat(60_000))).collect();
    let params = json!({"tool": "get_state", "args": {"entity_id": "a", "more": large}});
    // A full budget is thirty thousand, and one of these nine hundred; the small ones could be six hundred.
    let began = Instant::now();
    let answered =
        (0..200).take_while(|_| error(&agent.call("explain", params.clone())) != (-32006, "rate_limited"));
    let answered = answered.count();
    // What comes back meanwhile is five hundred a second.
    let meanwhile = usize::try_from(began.elapsed().as_millis() / 1800).unwrap();
    assert!((20..60 + meanwhile).contains(&answered), "{answered}");
}

#[test]
fn the_usual_use_is_never_refused() {
    let gateway = Gateway::with(&many_tools());
    // A program that begins anew for each of a minute's calls.
    for n in 0..30 {
        let mut agent = agent(&gateway);
        for method in ["list_tools", "get_pending_results"] {
            let reply = agent.call(method, json!({}));
            assert!(reply["result"].is_object(), "{reply}");
        }
        executed(&agent.request("get_state", json!({"entity_id": format!("e{n}")})));
    }
}

#[test]
fn a_reload_changes_the_list() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    let names = |agent: &mut Agent| {
        let reply = agent.call("list_tools", json!({}));
        reply["result"]["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tool| tool["name"].clone())
            .collect::<Vec<_>>()
    };
    let before = names(&mut agent);
    assert!(before.contains(&json!("say")) && names(&mut agent) == before);
    let mut setup = Setup::default();
    setup.permissions = setup.permissions.replace(r#"pattern: "drop_all""#, r#"pattern: "say""#);
    gateway.configure(&setup);
    assert!(gateway.cli(&["reload"]).status.success());
    let after = names(&mut agent);
    assert!(!after.contains(&json!("say")) && after.contains(&json!("drop_all")), "{after:?}");
    // Each agent has a list of its own.
    assert_eq!(names(&mut Agent::bearer(gateway.address, LAPTOP)), after);
}

#[test]
fn malformed_tool_requests_count_against_the_rate() {
    let mut setup = Setup::default();
    setup.config = setup.config.replace("max_requests_per_minute: 100000", "max_requests_per_minute: 3");
    let gateway = Gateway::with(&setup);
    let mut agent = agent(&gateway);
    for _ in 0..3 {
        let reply = agent.call("tool_request", json!({"tool": "get_state", "args": []}));
        assert_eq!(error(&reply), (-32600, "invalid_request"));
    }
    assert_eq!(error(&agent.request("get_state", json!({"entity_id": "a"}))).1, "rate_limited");
}

#[test]
fn too_many_open_questions_are_refused() {
    let mut setup = Setup::default();
    setup.config = setup.config.replace("max_pending_approvals: 10", "max_pending_approvals: 2");
    let gateway = Gateway::with(&setup);
    let mut agent = agent(&gateway);
    for text in ["one", "two"] {
        agent.send("tool_request", json!({"tool": "say", "args": {"text": text}}));
        agent.asked();
    }
    let reply = agent.request("say", json!({"text": "three"}));
    assert_eq!(error(&reply), (-32006, "too_many_pending"));
    assert_eq!(reply["error"]["message"], "Too many pending approvals");
    let mut other = Agent::bearer(gateway.address, LAPTOP);
    other.send("tool_request", json!({"tool": "say", "args": {"text": "three"}}));
    other.asked();
    assert_eq!(gateway.questions().len(), 3);
    // What needs no approval still runs, and a settled question makes room.
    executed(&agent.request("get_state", json!({"entity_id": "a"})));
    gateway.say_no(gateway.questions()[0]["request_id"].as_str().unwrap());
    assert_eq!(error(&agent.receive()), (-32001, "denied_by_user"));
    agent.send("tool_request", json!({"tool": "say", "args": {"text": "three"}}));
    agent.asked();
}
