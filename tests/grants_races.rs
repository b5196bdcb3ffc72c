//! Grants that are used by many at once, and that end while they are.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use async_tungstenite::tungstenite::Message;
use harness::gateway::TOKEN;
use harness::upstream::Answer;
use harness::{Agent, Gateway, Setup, TestClock};
use serde_json::{Value, json};

const TOOLS: &str = r#"
tools:
  lamp:
    description: "Switches a lamp"
    signature: "{entity_id}"
    args: {entity_id: {required: true}, brightness: {type: integer}}
    request: {method: POST, path: "/api/lamp"}
  plugs:
    description: "Switches plugs"
    signature: "{ids}"
    args: {ids: {type: array, each: true, required: true}, n: {type: integer}}
    request: {method: POST, path: "/api/plugs"}
"#;

const RULES: &str = r#"rules:
  - {pattern: "lamp(*)", action: ask, grant: {for: [1h], uses: 40}}
  - {pattern: "plugs(*)", action: ask, grant: {for: [1h], uses: 40, scope: rule}}
"#;

fn setup() -> Setup {
    let usual = Setup::default();
    let config = usual.config.replace("max_pending_approvals: 10", "max_pending_approvals: 1000");
    Setup {
        config: format!("{config}\napprovals: {{cool_down: off}}\n"),
        tools: TOOLS.into(),
        permissions: RULES.into(),
    }
}

fn gateway() -> Gateway {
    slow(Gateway::with(&setup()))
}

/// Calls take long enough that some are under way at every moment.
fn slow(gateway: Gateway) -> Gateway {
    gateway.upstream.answer(|_| {
        thread::sleep(Duration::from_millis(3));
        Answer::json("{}")
    });
    gateway
}

/// Calls that are all sent before any is answered; how many were executed. One that is asked about is heard as well, and
/// fewer answers come when the gateway is gone.
fn burst(gateway: &Gateway, calls: Vec<Value>) -> thread::JoinHandle<usize> {
    let mut agent = Agent::login(gateway.address, TOKEN);
    thread::spawn(move || {
        for (n, call) in calls.iter().enumerate() {
            let request = json!({"jsonrpc": "2.0", "id": n, "method": "tool_request", "params": call});
            if agent.socket.send(Message::text(request.to_string())).is_err() {
                return 0;
            }
        }
        let mut executed = 0;
        for _ in &calls {
            let Ok(reply) = agent.try_receive() else { return executed };
            executed += usize::from(reply["result"]["status"] == "executed");
        }
        executed
    })
}

fn lamp(place: usize, n: usize) -> Value {
    json!({"tool": "lamp", "args": {"entity_id": "light.desk", "brightness": place * 1000 + n}})
}

fn lamps(gateway: &Gateway, places: std::ops::Range<usize>) -> Vec<thread::JoinHandle<usize>> {
    places.map(|place| burst(gateway, (0..10).map(|n| lamp(place, n)).collect())).collect()
}

fn sum(bursts: Vec<thread::JoinHandle<usize>>) -> usize {
    bursts.into_iter().map(|burst| burst.join().unwrap()).sum()
}

fn beforehand(gateway: &Gateway, pattern: &str, uses: u32) {
    gateway.json(&["grant", "default", pattern, "--for", "1h", "--uses", &uses.to_string(), "--json"]);
}

/// In the order of the record: no grant is used after its end or beyond its uses. How often all were used.
fn uses_in_order(gateway: &Gateway) -> u64 {
    let export = String::from_utf8(gateway.cli(&["audit", "export"]).stdout).unwrap();
    let (mut left, mut used) = (BTreeMap::new(), 0);
    for line in export.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let body: Value =
            event["body"].as_str().map(|text| serde_json::from_str(text).unwrap()).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        match event["kind"].as_str() {
            Some("granted") => {
                let uses = body["grant"]["uses"].as_u64().unwrap_or(u64::MAX);
                left.insert(text(&body["grant"]["grant_id"]), uses);
            }
            Some("grant_ended") => drop(left.remove(&text(&body["grant_id"]))),
            Some("requested") if body["grant"].is_object() => {
                let uses = body["grant"]["uses"].as_u64().unwrap();
                let id = text(&body["grant"]["grant_id"]);
                let left = left.get_mut(&id).unwrap_or_else(|| panic!("{id} was used after its end: {line}"));
                *left = left.checked_sub(uses).unwrap_or_else(|| panic!("{id} was used too often: {line}"));
                used += uses;
            }
            _ => {}
        }
    }
    used
}

#[test]
fn many_at_once_use_what_was_granted_at_a_question_and_no_more() {
    let gateway = gateway();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let wire = agent.send("tool_request", lamp(9, 0));
    let id = agent.asked();
    gateway.json(&["approve", &id, "--for", "1h", "--uses", "17", "--json"]);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    // Another one that covers the same: both together.
    beforehand(&gateway, "lamp(light.d*)", 6);
    assert_eq!(sum(lamps(&gateway, 0..6)), 17 + 6);
    assert_eq!(gateway.upstream.seen().len(), 1 + 17 + 6);
    assert_eq!(uses_in_order(&gateway), 17 + 6);
    gateway.verify();
}

#[test]
fn each_element_is_a_use_also_when_many_come_at_once_and_the_gateway_is_killed() {
    let mut gateway = gateway();
    beforehand(&gateway, "plugs(*)", 40);
    let plugs = |place: usize, n: usize| {
        let ids: Vec<_> = (0..=n % 4).map(|id| format!("p{id}")).collect();
        json!({"tool": "plugs", "args": {"ids": ids, "n": place * 100 + n}})
    };
    let all = |gateway: &Gateway, places: std::ops::Range<usize>| -> Vec<_> {
        places.map(|place| burst(gateway, (0..8).map(|n| plugs(place, n)).collect())).collect()
    };
    let bursts = all(&gateway, 0..3);
    gateway.upstream.wait_for(4);
    gateway.kill();
    bursts.into_iter().for_each(|burst| drop(burst.join()));
    gateway.restart();
    let bursts = all(&gateway, 3..9);
    sum(bursts);
    let elements: usize =
        gateway.upstream.seen().iter().map(|seen| seen.json()["ids"].as_array().unwrap().len()).sum();
    let used = uses_in_order(&gateway);
    assert!(elements as u64 <= used && used <= 40, "{elements} elements, {used} uses");
    // What is left is used by a call that is small enough, to the last.
    let mut agent = Agent::login(gateway.address, TOKEN);
    for n in used..40 {
        let reply = agent.call("tool_request", plugs(50 + n as usize, 0));
        assert_eq!(reply["result"]["grant"]["uses_left"], 39 - n, "{reply}");
    }
    agent.send("tool_request", plugs(99, 0));
    agent.asked();
    gateway.verify();
}

/// Why a grant ends, and what ends it.
type End = (&'static str, fn(&Gateway));

/// Whatever ends a grant in the middle of its uses: nothing is claimed under it behind its end in the record, and nothing
/// more once whoever ended it has heard that it is ended.
#[test]
fn nothing_is_claimed_behind_the_end_of_a_grant() {
    let ends: [End; 5] = [
        ("revoked", |gateway| drop(gateway.json(&["grants", "revoke", "--all", "--json"]))),
        ("stopped", |gateway| assert!(gateway.cli(&["kill"]).status.success())),
        ("rule_changed", |gateway| {
            reload(gateway, |setup| setup.permissions = RULES.replace("uses: 40", "uses: 39"))
        }),
        ("tool_changed", |gateway| {
            reload(gateway, |setup| setup.tools = TOOLS.replace("Switches a lamp", "Switches it"))
        }),
        ("agent_removed", |gateway| {
            reload(gateway, |setup| {
                setup.config =
                    setup.config.replace("  default: {token: \"a-token-of-the-default-agent\"}\n", "");
            });
        }),
    ];
    for (why, end) in ends {
        let gateway = gateway();
        let mut agent = Agent::login(gateway.address, TOKEN);
        let wire = agent.send("tool_request", lamp(9, 0));
        let id = agent.asked();
        gateway.json(&["approve", &id, "--for", "1h", "--json"]);
        agent.reply(wire);
        let bursts = lamps(&gateway, 0..6);
        gateway.upstream.wait_for(5);
        end(&gateway);
        let ended = gateway.json(&["grants", "--all", "--json"]);
        let left = ended[0]["uses_left"].clone();
        assert!(ended[0]["ended"].is_string(), "{why}: {ended}");
        bursts.into_iter().for_each(|burst| drop(burst.join()));
        let used = uses_in_order(&gateway);
        assert!(gateway.upstream.seen().len() as u64 <= 1 + used, "{why}: more was done than was claimed");
        assert_eq!(gateway.json(&["grants", "--all", "--json"])[0]["uses_left"], 40 - used, "{why}: {left}");
        assert_eq!(gateway.json(&["grants", "--json"]), json!([]), "{why}");
        gateway.verify();
    }
}

fn reload(gateway: &Gateway, change: impl FnOnce(&mut Setup)) {
    let mut setup = setup();
    change(&mut setup);
    gateway.configure(&setup);
    assert!(gateway.cli(&["reload"]).status.success());
}

#[test]
fn time_runs_out_in_the_middle_of_its_uses() {
    let clock = TestClock::new();
    let mut gateway = slow(Gateway::with_clock(&setup(), &clock));
    beforehand(&gateway, "lamp(*)", 40);
    let bursts = lamps(&gateway, 0..3);
    gateway.upstream.wait_for(3);
    clock.shift(3601);
    bursts.into_iter().for_each(|burst| drop(burst.join()));
    // Who comes from now on is asked about.
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", lamp(8, 1));
    agent.asked();
    gateway.kill();
    // Neither a restart nor a clock that goes back brings it back: the record knows a later time.
    clock.shift(3601 - 200);
    gateway.restart();
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", lamp(8, 2));
    agent.asked();
    assert_eq!(gateway.json(&["grants", "--json"]), json!([]));
    uses_in_order(&gateway);
    gateway.verify();
}
