//! Calls and what is said about them while they run: the notification, joining, taking back, asking why.

use serde_json::{Value, json};

use crate::harness::gateway::{LAPTOP, TOKEN};
use crate::harness::{Agent, Answer, Gateway, error};

const TALK: &str = "say";

fn agent(gateway: &Gateway) -> Agent {
    Agent::bearer(gateway.address, TOKEN)
}

fn say(agent: &mut Agent, text: &str) -> u64 {
    agent.send("tool_request", json!({"tool": TALK, "args": {"text": text}}))
}

#[test]
fn an_executed_call_has_data_and_an_id() {
    let gateway = Gateway::start();
    gateway.upstream.answer(|_| Answer::json(r#"[{"state":"off"}]"#));
    let mut agent = agent(&gateway);
    let reply = agent.request("call_service", json!({"domain": "light", "service": "turn_off"}));
    let id = reply["result"]["request_id"].as_str().unwrap().to_owned();
    let expected = json!({"status": "executed", "data": {"result": [{"state": "off"}]}, "request_id": id});
    assert_eq!(reply["result"], expected);
    assert_eq!(gateway.row(&id)["outcome"], "executed");
    // `args` may be left out, or null.
    for params in [json!({"tool": "render"}), json!({"tool": "render", "args": null, "reason": null})] {
        assert_eq!(agent.call("tool_request", params)["result"]["status"], "executed");
    }
}

#[test]
fn a_service_that_answered_2xx_did_it_whatever_it_answered() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    let numbers = "numbers that JSON cannot hold (NaN, Infinity) are null";
    for (answer, data, lost, note) in [
        (
            Answer::json(r#"{"done":true,"watts": NaN}"#),
            json!({"done": true, "watts": null}),
            None,
            Some(numbers),
        ),
        (Answer::json("{broken"), Value::Null, Some("bad_json"), None),
        (Answer::Reply(200, "text/plain", "x".repeat(2 << 20)), Value::Null, Some("too_large"), None),
        (
            Answer::Raw(b"HTTP/1.1 201 X\r\ncontent-length: 9\r\n\r\nhalf".to_vec()),
            Value::Null,
            Some("cut_off"),
            None,
        ),
        (
            Answer::Raw(
                b"HTTP/1.1 200 X\r\ncontent-type: image/png\r\ncontent-length: 5\r\n\r\n\x89PNG\xff".to_vec(),
            ),
            Value::Null,
            Some("binary"),
            Some("image/png, 5 bytes"),
        ),
    ] {
        gateway.upstream.answer(move |_| answer.clone());
        let params = json!({"tool": "render", "args": {"template": format!("{lost:?}")}, "idempotency_key": format!("{lost:?}")});
        let reply = agent.call("tool_request", params.clone());
        let result = &reply["result"];
        assert_eq!((&result["status"], &result["data"]), (&json!("executed"), &data), "{reply}");
        let remarks = |of: &Value| {
            (of["data_lost"].as_str().map(str::to_owned), of["data_note"].as_str().map(str::to_owned))
        };
        let expected = (lost.map(str::to_owned), note.map(str::to_owned));
        assert_eq!(remarks(result), expected, "{reply}");
        let again = agent.call("tool_request", params);
        assert_eq!(
            (again["result"]["replayed"].as_bool(), remarks(&again["result"])),
            (Some(true), expected.clone())
        );
        let row = gateway.row(result["request_id"].as_str().unwrap());
        assert_eq!((&row["outcome"], remarks(&row)), (&json!("executed"), expected));
        assert_eq!(
            agent.request("get_state", json!({"entity_id": "a"}))["error"].is_object(),
            lost.is_some()
        );
    }
}

#[test]
fn only_the_connection_that_asked_is_told_that_a_human_is_asked() {
    let gateway = Gateway::start();
    let (mut asker, mut sibling) = (agent(&gateway), agent(&gateway));
    let mut stranger = Agent::bearer(gateway.address, LAPTOP);
    let params =
        json!({"tool": TALK, "args": {"text": "hi"}, "reason": "the user asked", "session_id": "s-1"});
    let id = asker.send("tool_request", params);
    let notice = asker.receive();
    assert!(notice.get("id").is_none(), "{notice}");
    assert_eq!((&notice["jsonrpc"], &notice["method"]), (&json!("2.0"), &json!("approval_pending")));
    assert_eq!(notice["params"]["id"], id);
    let question = gateway.questions()[0].clone();
    assert_eq!(notice["params"]["request_id"], question["request_id"]);
    assert_eq!(notice["params"]["expires_at"], question["expires_at"]);
    assert_eq!(notice["params"].as_object().unwrap().len(), 3);
    assert_eq!((&question["reason"], &question["session_id"]), (&json!("the user asked"), &json!("s-1")));
    assert_eq!(question["agent_id"], "default");
    sibling.assert_quiet();
    stranger.assert_quiet();
    gateway.say_yes(question["request_id"].as_str().unwrap());
    let reply = asker.receive();
    assert_eq!(reply["result"]["request_id"], question["request_id"]);
    sibling.assert_quiet();
    stranger.assert_quiet();
    // Nobody is asked about what needs no human.
    asker.request("get_state", json!({"entity_id": "a"}));
    asker.assert_quiet();
}

#[test]
fn identical_open_calls_are_one() {
    let gateway = Gateway::start();
    let (mut one, mut two) = (agent(&gateway), agent(&gateway));
    let ids = [say(&mut one, "hi"), say(&mut one, "hi")];
    let asked = [one.asked(), one.asked()];
    let third = two.send("tool_request", json!({"args": {"text": "hi"}, "tool": TALK, "reason": "another"}));
    let also = two.asked();
    assert!(asked.iter().all(|a| *a == also), "{asked:?} {also}");
    assert_eq!(gateway.questions().len(), 1);
    // Another text, or another agent, is another call.
    say(&mut one, "ho");
    assert_ne!(one.asked(), also);
    let mut other = Agent::bearer(gateway.address, LAPTOP);
    let fourth = say(&mut other, "hi");
    assert_ne!(other.asked(), also);
    assert_eq!(gateway.questions().len(), 3);
    gateway.say_yes(&also);
    let mut replies = vec![one.receive(), one.receive()];
    let mut answered: Vec<_> = replies.iter().map(|r| r["id"].as_u64().unwrap()).collect();
    answered.sort_unstable();
    assert_eq!(answered, ids);
    replies.push(two.reply(third));
    for reply in replies {
        assert_eq!(reply["result"]["status"], "executed", "{reply}");
        assert_eq!(reply["result"]["request_id"], also);
    }
    assert_eq!(gateway.upstream.seen().len(), 1);
    other.assert_quiet();
    let _ = fourth;
    // What has ended is not joined any more.
    say(&mut one, "hi");
    assert_ne!(one.asked(), also);
}

#[test]
fn identical_running_calls_are_one() {
    let gateway = Gateway::start();
    gateway.upstream.answer(|_| Answer::Hold);
    let (mut one, mut two) = (agent(&gateway), agent(&gateway));
    let args = json!({"template": "a"});
    let first = one.send("tool_request", json!({"tool": "render", "args": args}));
    gateway.upstream.wait_for(1);
    let second = two.send("tool_request", json!({"tool": "render", "args": args}));
    two.assert_quiet();
    gateway.upstream.release();
    let (one, two) = (one.reply(first), two.reply(second));
    assert_eq!(one["result"]["request_id"], two["result"]["request_id"]);
    assert_eq!(gateway.upstream.seen().len(), 1);
}

#[test]
fn an_agent_takes_its_own_question_back() {
    let gateway = Gateway::start();
    let (mut asker, mut sibling) = (agent(&gateway), agent(&gateway));
    let asked = say(&mut asker, "hi");
    let id = asker.asked();
    let mut stranger = Agent::bearer(gateway.address, LAPTOP);
    let tried = stranger.call("cancel", json!({"request_id": id}));
    assert_eq!(tried["result"]["status"], "unknown", "another agent's question is none: {tried}");
    assert_eq!(gateway.questions().len(), 1);
    let done = sibling.call("cancel", json!({"request_id": id}));
    assert_eq!(done["result"], json!({"status": "withdrawn", "request_id": id}));
    let reply = asker.reply(asked);
    assert_eq!(error(&reply), (-32001, "withdrawn"));
    assert_eq!(reply["error"]["data"]["request_id"], id);
    assert_eq!(gateway.questions().len(), 0);
    let late = gateway.cli(&["approve", &id, "--json"]);
    assert_eq!(serde_json::from_slice::<Value>(&late.stdout).unwrap()["outcome"], "already_resolved");
    assert!(!late.status.success());
    let row = gateway.row(&id);
    assert_eq!((&row["resolution"], &row["outcome"]), (&json!("withdrawn"), &json!("withdrawn")));
    assert_eq!(gateway.upstream.seen().len(), 0);
    // Once settled there is nothing left to take back.
    let again = asker.call("cancel", json!({"request_id": id}));
    assert_ne!(again["result"]["status"], "withdrawn", "{again}");
    let nothing = asker.call("cancel", json!({"request_id": "00000000-0000-4000-8000-000000000000"}));
    assert_eq!(nothing["result"]["status"], "unknown");
}

#[test]
fn a_call_that_runs_is_not_taken_back() {
    let gateway = Gateway::start();
    gateway.upstream.answer(|_| Answer::Hold);
    let mut agent = agent(&gateway);
    let asked = say(&mut agent, "hi");
    let id = agent.asked();
    gateway.say_yes(&id);
    gateway.upstream.wait_for(1);
    let tried = agent.call("cancel", json!({"request_id": id}));
    assert_ne!(tried["result"]["status"], "withdrawn", "{tried}");
    gateway.upstream.release();
    assert_eq!(agent.reply(asked)["result"]["status"], "executed");
}

#[test]
fn only_an_agent_that_may_explain_is_told_why() {
    let gateway = Gateway::start();
    let lock = json!({"tool": "call_service", "args": {"domain": "lock", "service": "unlock"}});
    assert_eq!(error(&agent(&gateway).call("explain", lock.clone())), (-32601, "method_not_found"));
    let mut agent = Agent::bearer(gateway.address, LAPTOP);
    let why = agent.call("explain", lock)["result"].clone();
    assert_eq!(
        (&why["decision"], &why["signature"]),
        (&json!("deny"), &json!("call_service(lock.unlock, )"))
    );
    assert_eq!(why["rule"]["pattern"], "call_service(lock.*)");
    assert_eq!(why["rule"]["description"], "Lock control is always denied");
    assert!(!why["trace"].as_array().unwrap().is_empty());
    for (params, decision) in [
        (json!({"tool": "get_state", "args": {"entity_id": "a"}}), "allow"),
        (
            json!({"tool": TALK, "args": {"text": "a"}, "reason": "r", "session_id": "s", "idempotency_key": "k"}),
            "ask",
        ),
        (json!({"tool": "nope"}), "invalid"),
        (json!({"tool": "get_state"}), "invalid"),
    ] {
        let why = agent.call("explain", params.clone());
        assert_eq!(why["result"]["decision"], decision, "{params}: {why}");
    }
    let where_from = agent.call("explain", json!({"tool": "drop_all"})).to_string();
    assert!(!where_from.contains("permissions.yaml"), "{where_from}");
    assert_eq!(
        error(&agent.call("explain", json!({"tool": "say", "agent": "default"}))),
        (-32600, "invalid_request")
    );
    // Nothing was done, asked or written down.
    assert_eq!((gateway.upstream.seen().len(), gateway.questions().len(), gateway.audit().len()), (0, 0, 0));
}

#[test]
fn tools_are_listed_but_those_that_are_always_denied() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    let result = agent.call("list_tools", json!({}))["result"].clone();
    let tools = result["tools"].as_array().unwrap();
    let names: Vec<_> = tools.iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["call_service", "get_state", "render", "say"]);
    let state = &tools[1];
    let expected = json!({"name": "get_state", "description": "Reads a state", "service": "home",
        "args": {"entity_id": {"required": true}}});
    assert_eq!(*state, expected);
    assert_eq!(tools[0]["args"]["domain"], json!({"required": true, "validate": "^[a-z_]+$"}));
    assert_eq!(tools[0]["args"]["entity_id"], json!({"required": false}));
    let text = result.to_string();
    assert!(
        !text.contains("/api/") && !text.contains("127.0.0.1"),
        "how it is called is the gateway's: {text}"
    );
}
