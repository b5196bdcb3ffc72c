//! Many connections of several agents at once, and how they end.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::gateway::{LAPTOP, TOKEN};
use crate::harness::{Agent, Answer, Gateway, Setup, takes_less};

#[test]
fn answers_come_as_they_are_ready() {
    let gateway = Gateway::start();
    gateway.upstream.answer(|seen| match seen.target.contains("slow") {
        true => Answer::Hold,
        false => Answer::json(r#"{"ok":true}"#),
    });
    let mut agent = Agent::bearer(gateway.address, TOKEN);
    let slow = agent.send("tool_request", json!({"tool": "get_state", "args": {"entity_id": "slow"}}));
    let asked = agent.send("tool_request", json!({"tool": "say", "args": {"text": "hi"}}));
    let question = agent.asked();
    let fast = agent.send("tool_request", json!({"tool": "get_state", "args": {"entity_id": "fast"}}));
    assert_eq!(agent.receive()["id"], fast);
    let tools = agent.send("list_tools", json!({}));
    assert_eq!(agent.receive()["id"], tools);
    gateway.say_yes(&question);
    assert_eq!(agent.receive()["id"], asked);
    gateway.upstream.release();
    assert_eq!(agent.receive()["id"], slow);
}

#[test]
fn two_agents_on_many_connections_get_each_its_own_answers() {
    let gateway = Gateway::start();
    gateway.upstream.answer(|seen| Answer::json(&json!({"target": seen.target}).to_string()));
    let address = gateway.address;
    let threads: Vec<_> = (0..16)
        .map(|connection| {
            let token = if connection % 2 == 0 { TOKEN } else { LAPTOP };
            thread::spawn(move || {
                let mut agent = Agent::bearer(address, token);
                let entity = |n: u64| format!("c{connection}.n{n}");
                let sent: Vec<u64> = (1..=20)
                    .map(|n| {
                        agent.send(
                            "tool_request",
                            json!({"tool": "get_state", "args": {"entity_id": entity(n)}}),
                        )
                    })
                    .collect();
                for _ in sent {
                    let reply = agent.receive();
                    let wanted = format!("/api/states/{}", entity(reply["id"].as_u64().unwrap()));
                    assert_eq!(reply["result"]["data"]["target"], wanted);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(gateway.upstream.seen().len(), 320);
    let of = |agent: &str| gateway.audit().iter().filter(|row| row["agent_id"] == agent).count();
    assert_eq!((of("default"), of("laptop")), (160, 160));
}

#[test]
fn a_token_removed_by_a_reload_closes_its_connections() {
    let gateway = Gateway::start();
    let mut stays = Agent::bearer(gateway.address, TOKEN);
    stays.assert_quiet();
    let mut setup = Setup::default();
    setup.config = setup.config.lines().filter(|l| !l.contains("laptop")).collect::<Vec<_>>().join("\n");
    takes_less(Duration::from_secs(1), || {
        gateway.configure(&Setup::default());
        assert!(gateway.cli(&["reload"]).status.success());
        let mut goes = Agent::bearer(gateway.address, LAPTOP);
        goes.assert_quiet();
        gateway.configure(&setup);
        let began = Instant::now();
        assert!(gateway.cli(&["reload"]).status.success());
        assert_eq!(goes.close_code(), Some(1008));
        began.elapsed()
    });
    stays.assert_quiet();
    let again = Agent::try_connect(gateway.address, &[("authorization", &format!("Bearer {LAPTOP}"))]);
    assert!(again.err().unwrap().contains("401"));
}

#[test]
fn a_token_changed_by_a_reload_closes_its_connections() {
    let gateway = Gateway::start();
    let mut agent = Agent::bearer(gateway.address, LAPTOP);
    agent.assert_quiet();
    let mut setup = Setup::default();
    setup.config = setup.config.replace(LAPTOP, "another-token-of-the-laptop");
    gateway.configure(&setup);
    gateway.hang_up();
    assert_eq!(agent.close_code(), Some(1008));
    Agent::login(gateway.address, "another-token-of-the-laptop");
}

#[test]
fn a_bad_reload_changes_nothing() {
    let gateway = Gateway::start();
    let mut agent = Agent::bearer(gateway.address, LAPTOP);
    let mut setup = Setup::default();
    setup.config = setup.config.lines().filter(|l| !l.contains("laptop")).collect::<Vec<_>>().join("\n");
    setup.permissions.push_str("rule: []\n");
    gateway.configure(&setup);
    assert!(!gateway.cli(&["reload"]).status.success());
    agent.assert_quiet();
    assert_eq!(agent.request("drop_all", json!({}))["error"]["code"], -32003);
}

#[test]
fn a_shutdown_says_come_back() {
    let mut gateway = Gateway::start();
    let mut idle = Agent::bearer(gateway.address, TOKEN);
    let mut asking = Agent::bearer(gateway.address, LAPTOP);
    asking.send("tool_request", json!({"tool": "say", "args": {"text": "hi"}}));
    asking.asked();
    assert_eq!(gateway.terminate(), Some(0));
    assert_eq!(idle.close_code(), Some(1012));
    assert_eq!(asking.notices, Vec::<Value>::new());
    // The very next thing is the close frame: nobody said no.
    let ended = asking.try_receive().unwrap_err();
    assert!(ended.contains("restart") || ended.contains("Restart"), "{ended}");
}

#[test]
fn a_call_that_runs_at_a_shutdown_is_seen_through() {
    let mut gateway = Gateway::start();
    gateway.upstream.answer(|_| Answer::Hold);
    let mut agent = Agent::bearer(gateway.address, TOKEN);
    agent.send("tool_request", json!({"tool": "render"}));
    gateway.upstream.wait_for(1);
    let upstream = gateway.upstream.clone();
    let releaser = thread::spawn(move || {
        assert_eq!(agent.close_code(), Some(1012));
        upstream.release();
    });
    assert_eq!(gateway.terminate(), Some(0));
    releaser.join().unwrap();
    gateway.restart();
    let results = Agent::bearer(gateway.address, TOKEN).call("get_pending_results", json!({}));
    let result = results["result"]["results"][0]["result"].as_str().unwrap().to_owned();
    assert_eq!(serde_json::from_str::<Value>(&result).unwrap()["status"], "executed");
    assert_eq!(gateway.upstream.seen().len(), 1);
}
