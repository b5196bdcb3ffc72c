//! Agents that ask for much over many connections and read nothing: what waits for them in memory has a bound, others
//! are served meanwhile, and no result is lost.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

mod harness;

use async_tungstenite::tungstenite::Message;
use harness::gateway::{LAPTOP, TOKEN};
use harness::{Agent, Answer, Gateway, eventually};
use serde_json::{Value, json};

/// What one answer of the service holds.
const LARGE: usize = 890_000;
const CONNECTIONS: usize = 24;
/// As many as one connection may have in flight.
const IN_FLIGHT: usize = 32;
/// What may be resident at the worst moment, in KiB: 32 MiB may wait for one agent, and answers are held several
/// times while they are made. Without the bounds it would be 250 to 700 MB.
const MOST: u64 = 200 * 1024;

fn gateway() -> Gateway {
    let gateway = Gateway::start();
    gateway.upstream.answer(|seen| match seen.target.split_once("large_") {
        Some((_, "controls")) => {
            // Each character takes six bytes in the record, and seven in an answer.
            Answer::Reply(200, "text/plain", "\u{1}".repeat(LARGE / 7))
        }
        // So many of them are under way at once that whole ones would come near the bound.
        Some((_, name)) if name.starts_with("half") => {
            Answer::Reply(200, "text/plain", "x".repeat(LARGE / 2))
        }
        // Six of these are more than may wait, five are not.
        Some((_, name)) if name.starts_with("six_mb") => {
            Answer::Reply(200, "text/plain", "\u{1}".repeat(1_000_000))
        }
        Some((_, name)) if name.starts_with("objects") => Answer::Reply(200, "application/json", objects()),
        Some(_) => Answer::Reply(200, "text/plain", "x".repeat(LARGE)),
        None => Answer::json("{}"),
    });
    gateway
}

/// What would be eighty times as large as a tree.
fn objects() -> String {
    format!("[{}0]", r#"{"a":0},"#.repeat(LARGE / 8))
}

/// A connection of the laptop that asks and does not read.
fn deaf(gateway: &Gateway, ask: impl Fn(usize) -> Value) -> Agent {
    let mut agent = Agent::login(gateway.address, LAPTOP);
    // What is answered at once is sent by another way.
    let listing = (0..100).map(|n| request(n, "list_tools", &json!({})));
    for asked in (0..IN_FLIGHT).map(ask).chain(listing) {
        // It may have been ended for what others of the crowd have not read.
        if agent.socket.send(Message::text(asked.to_string())).is_err() {
            break;
        }
    }
    agent
}

fn request(id: usize, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params, "id": id})
}

fn large(name: &str) -> Value {
    json!({"tool": "get_state", "args": {"entity_id": format!("large_{name}")}})
}

/// Others are served, and it never took too much memory.
fn assert_bounded(gateway: &Gateway) {
    let mut other = Agent::login(gateway.address, TOKEN);
    let reply = other.request("get_state", json!({"entity_id": "sun"}));
    assert_eq!(reply["result"]["status"], "executed", "{reply}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
    assert!(peak < MOST, "{peak} KiB");
}

fn await_eviction(gateway: &Gateway) {
    eventually("a connection to end", || gateway.log().contains("of answers unread").then_some(()));
}

/// Leaves a result in the inbox of the laptop.
fn leave(gateway: &Gateway, name: &str) {
    let mut agent = Agent::login(gateway.address, LAPTOP);
    agent.send("tool_request", large(name));
    gateway.upstream.wait_for(1);
    drop(agent);
    eventually("the call to end", || gateway.log().contains("ended: executed").then_some(()));
}

#[test]
fn results_asked_for_again_and_again() {
    let gateway = gateway();
    leave(&gateway, "1");
    let ask = |n| request(n, "get_pending_results", &json!({}));
    // Few: an agent's budget is some sixty answers, and what the system keeps for many connections would be all of them.
    let crowd: Vec<_> = (0..4).map(|_| deaf(&gateway, ask)).collect();
    await_eviction(&gateway);
    assert_bounded(&gateway);
    drop(crowd);
    let mut reader = Agent::login(gateway.address, LAPTOP);
    let results = eventually("the result", || {
        let reply = reader.call("get_pending_results", json!({}));
        reply["result"]["results"].as_array().and_then(|results| results.first().cloned())
    });
    assert!(results["result"].as_str().unwrap().len() > LARGE);
}

#[test]
fn results_asked_for_in_batches() {
    let gateway = gateway();
    leave(&gateway, "1");
    let ask = |n| request(n, "get_pending_results", &json!({}));
    let all: Value = (0..IN_FLIGHT).map(ask).collect();
    let crowd: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let mut agent = Agent::login(gateway.address, LAPTOP);
            agent.socket.send(Message::text(all.to_string())).unwrap();
            agent
        })
        .collect();
    await_eviction(&gateway);
    assert_bounded(&gateway);
    drop(crowd);
}

#[test]
fn calls_with_large_results() {
    let gateway = gateway();
    let crowd: Vec<_> = (0..CONNECTIONS)
        .map(|c| deaf(&gateway, |n| request(n, "tool_request", &large(&format!("half_{c}_{n}")))))
        .collect();
    await_eviction(&gateway);
    assert_bounded(&gateway);
    // Its calls go on without it; whoever reads gets what it asks for.
    drop(crowd);
    let mut reader = Agent::login(gateway.address, LAPTOP);
    let mut tries = 0..;
    let reply = eventually("a large result", || {
        let reply = reader.request("get_state", large(&format!("again_{}", tries.next()?))["args"].clone());
        (reply["result"]["status"] == "executed").then_some(reply)
    });
    assert_eq!(reply["result"]["data"].as_str().map(str::len), Some(LARGE));
    gateway.verify();
}

#[test]
fn connections_that_ask_and_go() {
    let gateway = gateway();
    leave(&gateway, "controls");
    let ask = |n| request(n, "get_pending_results", &json!({}));
    for _ in 0..100 {
        drop(deaf(&gateway, ask));
    }
    assert_bounded(&gateway);
}

#[test]
fn answers_of_many_small_objects() {
    let gateway = gateway();
    let mut agent = Agent::login(gateway.address, LAPTOP);
    for n in 0..8 {
        agent.send("tool_request", large(&format!("objects{n}")));
    }
    for _ in 0..8 {
        let reply = agent.receive();
        assert_eq!(reply["result"]["data"].as_array().map(Vec::len), Some(LARGE / 8 + 1));
    }
    assert_bounded(&gateway);
}

#[test]
fn who_reads_does_not_suffer_from_who_does_not() {
    let gateway = gateway();
    let mut deaf = Agent::login(gateway.address, LAPTOP);
    for n in 0..5 {
        deaf.send("tool_request", large(&format!("six_mb_{n}")));
    }
    eventually("five results to wait", || {
        (gateway.log().matches("ended: executed").count() == 5).then_some(())
    });
    assert!(!gateway.log().contains("of answers unread"));
    let mut reader = Agent::login(gateway.address, LAPTOP);
    for n in 0..3 {
        let reply = reader.request("get_state", large(&format!("six_mb_mine_{n}"))["args"].clone());
        assert_eq!(reply["result"]["data"].as_str().map(str::len), Some(1_000_000), "{n}");
    }
    await_eviction(&gateway);
    let left = std::iter::from_fn(|| deaf.try_receive().ok()).count();
    assert!(left < 5, "the deaf one got all {left}");
}
