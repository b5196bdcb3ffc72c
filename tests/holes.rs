//! The holes of the predecessor, one test for each. All of them were found by running it, and each test here would
//! have failed on it.
//!
//! Left out: the audit page had no login (there is no such page yet). What was found with its Telegram channel is
//! tested here with the local one: nobody to answer, and texts longer than one message of 4096 characters.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use harness::gateway::{LAPTOP, TOKEN, cli};
use harness::{Agent, Answer, Folder, Gateway, Setup, error, eventually};
use serde_json::{Value, json};

fn agent(gateway: &Gateway) -> Agent {
    Agent::login(gateway.address, TOKEN)
}

fn ask(agent: &mut Agent, text: &str) -> u64 {
    agent.send("tool_request", json!({"tool": "say", "args": {"text": text}}))
}

fn pending(gateway: &Gateway) -> Vec<Value> {
    agent(gateway).call("get_pending_results", json!({}))["result"]["results"].as_array().unwrap().clone()
}

#[test]
fn a_disconnect_while_waiting_does_not_execute_twice() {
    let gateway = Gateway::start();
    let mut first = agent(&gateway);
    ask(&mut first, "once");
    let id = first.asked();
    drop(first);
    // It comes back and asks the same again, as a client does that lost its connection.
    let mut second = agent(&gateway);
    let asked = ask(&mut second, "once");
    assert_eq!(second.asked(), id);
    gateway.say_yes(&id);
    assert_eq!(second.reply(asked)["result"]["status"], "executed");
    assert!(!gateway.cli(&["approve", &id]).status.success());
    let executions = gateway.audit().iter().filter(|row| row["outcome"] == "executed").count();
    assert_eq!((gateway.upstream.seen().len(), executions), (1, 1));
}

#[test]
fn policy_human_record_and_service_see_the_same_call() {
    let permissions = "rules:\n  - {pattern: \"call_service(light.turn_on, light.bed)\", action: ask}\ndefaults:\n  - {pattern: \"*\", action: deny}\n".into();
    let setup = Setup { permissions, ..Setup::default() };
    let gateway = Gateway::with(&setup);
    let mut agent = Agent::login(gateway.address, LAPTOP);
    // The arguments stand in another order than in the signature's template, with one more between them.
    let args = json!({"brightness": 7, "entity_id": "light.bed", "service": "turn_on", "domain": "light"});
    let judged = agent.call("explain", json!({"tool": "call_service", "args": args}))["result"].clone();
    let asked = agent.send("tool_request", json!({"tool": "call_service", "args": args}));
    let id = agent.asked();
    let shown = gateway.questions()[0].clone();
    gateway.say_yes(&id);
    assert_eq!(agent.reply(asked)["result"]["status"], "executed");
    let recorded = gateway.row(&id);
    for seen in [&judged, &shown, &recorded] {
        assert_eq!(seen["signature"], "call_service(light.turn_on, light.bed)");
    }
    assert_eq!((&shown["args"], &recorded["args"]), (&args, &args));
    let sent = gateway.upstream.seen()[0].clone();
    assert_eq!(sent.target, "/api/services/light/turn_on");
    assert_eq!(sent.json(), json!({"brightness": 7, "entity_id": "light.bed"}));
}

#[test]
fn a_missing_argument_gets_a_reply() {
    let gateway = Gateway::start();
    let reply = agent(&gateway).request("get_state", json!({}));
    assert_eq!(error(&reply), (-32600, "invalid_argument"));
}

#[test]
fn params_that_are_no_object_get_a_reply() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    for params in [json!([]), json!("x"), json!(7), json!(null)] {
        assert_eq!(error(&agent.call("tool_request", params)), (-32600, "invalid_request"));
    }
}

#[test]
fn nobody_is_asked_about_an_unknown_tool() {
    let gateway = Gateway::start();
    let reply = agent(&gateway).request("say_it", json!({"text": "hi"}));
    assert_eq!(error(&reply), (-32004, "unknown_tool"));
    assert_eq!(gateway.questions().len(), 0);
    assert!(gateway.audit().iter().all(|row| row["decision"].is_null()));
}

#[test]
fn arguments_that_are_no_strings_are_checked_like_all_others() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    for args in [
        json!({"domain": ["lock"], "service": "unlock"}),
        json!({"domain": {"lock": true}, "service": "unlock"}),
        json!({"domain": 7, "service": "unlock"}),
        json!({"domain": "light", "service": "turn_off", "entity_id": ["lock.front"]}),
        json!({"domain": "light", "service": "turn_off", "x": ["a*"]}),
        json!({"domain": "light", "service": "turn_off", "x": {"y": [{"a?": 1}]}}),
    ] {
        let reply = agent.request("call_service", args.clone());
        assert_eq!(error(&reply), (-32600, "invalid_argument"), "{args}");
    }
    for args in [
        json!({"domain": "light", "service": "turn_off", "target": {"entity_id": ["lock.front"]}}),
        json!({"domain": "light", "service": "turn_off", "target": {"lock.front": true}, "x": [["lock.back"]]}),
    ] {
        let reply = agent.request("call_service", args.clone());
        assert_eq!(error(&reply), (-32003, "denied_by_policy"), "{args}");
    }
    assert_eq!((gateway.upstream.seen().len(), gateway.questions().len()), (0, 0));
}

#[test]
fn path_values_are_escaped() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    for (value, target) in [
        ("a&b=c", "/api/states/a%26b%3Dc"),
        ("a#b", "/api/states/a%23b"),
        ("a b%2e", "/api/states/a%20b%252e"),
        ("a@evil.example:80", "/api/states/a%40evil.example%3A80"),
        ("ä", "/api/states/%C3%A4"),
    ] {
        let reply = agent.request("get_state", json!({"entity_id": value}));
        assert_eq!(reply["result"]["status"], "executed", "{value}: {reply}");
        assert_eq!(gateway.upstream.seen().last().unwrap().target, target, "{value}");
    }
    let before = gateway.upstream.seen().len();
    for value in [".", "..", "../config", "\\\\evil", "%2e%2e", "..%2fconfig"] {
        assert_eq!(error(&agent.request("get_state", json!({"entity_id": value}))).0, -32600, "{value}");
    }
    assert_eq!(gateway.upstream.seen().len(), before);
}

#[test]
fn a_pattern_must_match_the_whole_value() {
    let mut setup = Setup::default();
    // No anchors: the predecessor looked at the beginning only.
    setup.tools = setup.tools.replace("\"^[a-z_]+$\"", "\"[a-z_]+\"");
    let gateway = Gateway::with(&setup);
    let mut agent = agent(&gateway);
    for domain in ["light/../../admin", "light\u{2028}", "light turn", "7light"] {
        let reply = agent.request("call_service", json!({"domain": domain, "service": "turn_off"}));
        assert_eq!(error(&reply), (-32600, "invalid_argument"), "{domain:?}");
    }
    let reply = agent.request("call_service", json!({"domain": "light", "service": "turn_off"}));
    assert_eq!(reply["result"]["status"], "executed");
}

#[test]
fn silent_strangers_do_not_block_the_agent() {
    let gateway = Gateway::start();
    let mute = TcpStream::connect(gateway.address).unwrap();
    let upgraded = Agent::connect(gateway.address);
    let began = Instant::now();
    let reply = agent(&gateway).request("get_state", json!({"entity_id": "a"}));
    assert_eq!(reply["result"]["status"], "executed");
    assert!(began.elapsed() < Duration::from_secs(9), "until they are sent away: {:?}", began.elapsed());
    drop((mute, upgraded));
}

#[test]
fn a_second_agent_is_served_beside_the_first() {
    let gateway = Gateway::start();
    let (mut one, mut two) = (agent(&gateway), Agent::login(gateway.address, LAPTOP));
    let mut three = agent(&gateway);
    for agent in [&mut one, &mut two, &mut three] {
        assert_eq!(agent.request("get_state", json!({"entity_id": "a"}))["result"]["status"], "executed");
    }
}

#[test]
fn a_variable_in_a_comment_does_not_stop_the_start() {
    let mut setup = Setup::default();
    setup.config = format!("# token: ${{NOT_SET_ANYWHERE}}\n{}\n# ${{NOR_THIS}}\n", setup.config);
    let gateway = Gateway::with(&setup);
    assert_eq!(agent(&gateway).request("render", json!({}))["result"]["status"], "executed");
}

#[test]
fn a_quote_in_a_secret_stays_in_the_secret() {
    let mut setup = Setup::default();
    setup.config = setup.config.replace(&format!("token: \"{LAPTOP}\""), "token: \"${ODD_TOKEN}\"");
    let odd = r#"quote"}, intruder: {token: "x-y-z-x-y-z-x-y-z"} # '"#;
    let gateway = Gateway::with_environment(&setup, &[("ODD_TOKEN", odd)]);
    let mut laptop = Agent::login(gateway.address, odd);
    assert_eq!(laptop.request("render", json!({}))["result"]["status"], "executed");
    let status = gateway.json(&["status", "--json"]).to_string();
    assert!(!status.contains("intruder"), "{status}");
}

#[test]
fn a_misspelt_key_of_the_permissions_stops_the_start() {
    let setup = Setup::default();
    let gateway = Gateway::with(&setup);
    let broken = Setup { permissions: setup.permissions.replace("rules:", "rule:"), ..setup };
    gateway.configure(&broken);
    // Neither a reload nor a start takes it, and the denies stay in force.
    assert!(!gateway.cli(&["reload"]).status.success());
    let lock = json!({"domain": "lock", "service": "unlock"});
    assert_eq!(error(&agent(&gateway).request("call_service", lock)), (-32003, "denied_by_policy"));
    let folder = Folder::new();
    for name in ["config.yaml", "permissions.yaml", "tools.yaml"] {
        std::fs::copy(gateway.path(name), folder.0.join(name)).unwrap();
    }
    let started = cli(&folder, &["serve", "--insecure"], "");
    let said = String::from_utf8(started.stderr).unwrap();
    assert_eq!(started.status.code(), Some(78), "{said}");
    assert!(said.contains("permissions.yaml") && said.contains("rule"), "{said}");
}

#[test]
fn configured_error_messages_reach_the_agent() {
    let gateway = Gateway::start();
    gateway.upstream.answer(|_| Answer::Reply(404, "text/plain", "light.attic".into()));
    let reply = agent(&gateway).request("get_state", json!({"entity_id": "light.attic"}));
    assert_eq!(reply["error"]["message"], "Entity not found: light.attic");
}

#[test]
fn plain_text_answers_are_results() {
    let gateway = Gateway::start();
    gateway.upstream.answer(|_| Answer::Reply(200, "text/plain; charset=utf-8", "21.5 °C\n".into()));
    let reply = agent(&gateway).request("render", json!({"template": "{{ states('sensor.t') }}"}));
    assert_eq!(reply["result"]["data"], "21.5 °C\n");
    // Even when it looks like something else.
    gateway.upstream.answer(|_| Answer::Reply(200, "text/plain", "{\"a\":1}".into()));
    assert_eq!(agent(&gateway).request("render", json!({}))["result"]["data"], "{\"a\":1}");
}

#[test]
fn results_are_kept_until_they_were_received() {
    let gateway = Gateway::start();
    let mut asker = agent(&gateway);
    ask(&mut asker, "hi");
    let id = asker.asked();
    drop(asker);
    gateway.say_yes(&id);
    // Each of these connections dies with the result unread behind it.
    eventually("the result", || pending(&gateway).pop());
    assert_eq!(pending(&gateway)[0]["request_id"], id);
    let mut good = agent(&gateway);
    good.call("get_pending_results", json!({}));
    good.call("list_tools", json!({}));
    eventually("it to be received", || pending(&gateway).is_empty().then_some(()));
}

#[test]
fn an_open_question_survives_a_restart_and_its_approval_counts() {
    for orderly in [true, false] {
        let mut gateway = Gateway::start();
        let mut asker = agent(&gateway);
        ask(&mut asker, "hi");
        let id = asker.asked();
        if orderly {
            assert_eq!(gateway.terminate(), Some(0));
        } else {
            gateway.kill();
        }
        gateway.restart();
        assert_eq!(gateway.question(), id);
        gateway.say_yes(&id);
        let result = eventually("the result", || pending(&gateway).pop());
        assert_eq!(result["request_id"], id);
        assert!(result["result"].as_str().unwrap().contains("executed"), "{result}");
        assert_eq!(gateway.upstream.seen().len(), 1);
    }
}

#[test]
fn an_answer_that_comes_too_late_says_so() {
    let mut setup = Setup::default();
    setup.config = setup.config.replace("approval_timeout: 60", "approval_timeout: 0.5");
    let mut gateway = Gateway::with(&setup);
    let mut asker = agent(&gateway);
    let asked = ask(&mut asker, "hi");
    let id = asker.asked();
    assert_eq!(error(&asker.reply(asked)), (-32002, "approval_timed_out"));
    for restarted in [false, true] {
        if restarted {
            gateway.kill();
            gateway.restart();
        }
        let late = gateway.cli(&["approve", &id, "--json"]);
        assert!(!late.status.success(), "after a restart: {restarted}");
        let said: Value = serde_json::from_slice(&late.stdout).unwrap();
        assert_ne!(said["outcome"], "resolved", "after a restart: {restarted}");
    }
    assert_eq!(gateway.upstream.seen().len(), 0);
}

#[test]
fn a_shutdown_is_not_a_denial() {
    let mut gateway = Gateway::start();
    let mut asker = agent(&gateway);
    ask(&mut asker, "hi");
    let id = asker.asked();
    assert_eq!(gateway.terminate(), Some(0));
    assert_eq!(asker.close_code(), Some(1012));
    gateway.restart();
    let row = gateway.row(&id);
    assert_eq!((&row["outcome"], &row["resolution"]), (&json!("pending"), &Value::Null));
    assert_eq!(pending(&gateway), Vec::<Value>::new());
}

#[test]
fn a_question_that_reaches_nobody_ends_at_its_deadline() {
    let mut setup = Setup::default();
    setup.config = setup.config.replace("approval_timeout: 60", "approval_timeout: 0.5");
    let gateway = Gateway::with(&setup);
    // Nobody watches, nobody answers.
    let began = Instant::now();
    let mut agent = agent(&gateway);
    let asked = ask(&mut agent, "hi");
    agent.asked();
    assert_eq!(error(&agent.reply(asked)), (-32002, "approval_timed_out"));
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn a_long_question_is_shown_whole() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    let text = format!("{}the end", "word ".repeat(1800));
    let asked = ask(&mut agent, &text);
    let id = agent.asked();
    assert_eq!(gateway.questions()[0]["args"]["text"], text);
    gateway.say_yes(&id);
    assert_eq!(agent.reply(asked)["result"]["status"], "executed");
    assert_eq!(gateway.upstream.seen()[0].json()["text"], text);
}

#[test]
fn calls_that_need_no_approval_record_their_result() {
    let gateway = Gateway::start();
    gateway.upstream.answer(|_| Answer::json(r#"{"state":"on"}"#));
    let reply = agent(&gateway).request("get_state", json!({"entity_id": "light.bed"}));
    let row = gateway.row(reply["result"]["request_id"].as_str().unwrap());
    assert_eq!((&row["decision"], &row["outcome"]), (&json!("allow"), &json!("executed")));
    assert!(row["execution_result"].to_string().contains("on"), "{row}");
    gateway.upstream.answer(|_| Answer::Reply(500, "text/plain", "boom".into()));
    let reply = agent(&gateway).request("get_state", json!({"entity_id": "light.bed"}));
    let row = gateway.row(reply["error"]["data"]["request_id"].as_str().unwrap());
    assert_eq!(row["outcome"], "failed");
}

#[test]
fn tokens_are_compared_as_hashes() {
    // The time that a comparison takes cannot be tested from outside; that only hashes are compared can be: here
    // the gateway knows nothing else. (The comparison itself is `TokenHash::matches`, on `subtle`.)
    let hash = agentpass::testing::base::digest::Digest::sha256(LAPTOP.as_bytes()).hex();
    let mut setup = Setup::default();
    setup.config =
        setup.config.replace(&format!("token: \"{LAPTOP}\""), &format!("token_sha256: \"{hash}\""));
    let gateway = Gateway::with(&setup);
    Agent::login(gateway.address, LAPTOP);
    for wrong in [hash.as_str(), &LAPTOP[1..], &format!("{LAPTOP}x")] {
        let mut agent = Agent::connect(gateway.address);
        assert_eq!(error(&agent.call("auth", json!({"token": wrong}))), (-32005, "not_authenticated"));
    }
}
