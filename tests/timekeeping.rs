//! A clock that is wrong when the gateway starts (a Raspberry Pi has none of its own), and one that is set while it
//! runs: times in the record never run back unless a time service vouches for it, and the record says what it knew.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use harness::gateway::TOKEN;
use harness::{Agent, Gateway, Setup, TestClock, eventually};
use serde_json::{Value, json};

/// All events, the oldest first: kind, time, body.
fn events(gateway: &Gateway) -> Vec<(String, i64, Value)> {
    let exported = gateway.cli(&["audit", "export"]).stdout;
    let lines = exported.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    let event = |line: Value| {
        let body = serde_json::from_str(line["body"].as_str()?).ok()?;
        Some((line["kind"].as_str()?.to_owned(), line["at_ms"].as_i64()?, body))
    };
    lines.filter_map(event).collect()
}

/// The newest event of this kind.
fn newest(gateway: &Gateway, kind: &str) -> Option<(i64, Value)> {
    events(gateway).into_iter().rev().find(|event| event.0 == kind).map(|(_, at, body)| (at, body))
}

/// Whether this machine's own time service says that the clock is right: then the gateway believes it.
fn is_vouched_for() -> bool {
    std::path::Path::new("/run/systemd/timesync/synchronized").exists()
}

#[test]
fn a_start_with_an_old_clock_goes_on_from_the_record() {
    let clock = TestClock::new();
    let mut gateway = Gateway::with_clock(&Setup::default(), &clock);
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.request("get_state", json!({"entity_id": "sensor.a"}));
    assert_eq!(gateway.terminate(), Some(0));
    clock.shift(-3600);
    gateway.restart();
    let started = eventually("the second start", || {
        (events(&gateway).iter().filter(|event| event.0 == "started").count() == 2)
            .then(|| newest(&gateway, "started"))
    });
    let (at, body) = started.unwrap();
    let corrected = body["clock_corrected_ms"].as_u64().unwrap();
    let before =
        events(&gateway).iter().filter(|event| event.0 == "stopped").map(|event| event.1).max().unwrap();
    if is_vouched_for() {
        assert_eq!((corrected, body["clock"].as_str()), (0, Some("synchronized")));
        assert!(at < before);
        return;
    }
    assert!((3_500_000..3_600_001).contains(&corrected), "{body}");
    assert!(body["clock"] == "unknown" || body["clock"] == "unsynchronized", "{body}");
    eventually("the log", || {
        let log = gateway.log();
        (log.contains("stands 35") && log.contains("before the record")).then_some(())
    });
    Agent::login(gateway.address, TOKEN).request("get_state", json!({"entity_id": "sensor.b"}));
    let times: Vec<_> = events(&gateway).iter().map(|event| event.1).collect();
    assert!(times.is_sorted(), "{times:?}");
    gateway.verify();

    // The network tells the time: the record says so, and goes on with it.
    clock.shift(7200);
    let (at, body) = eventually("the clock was set", || newest(&gateway, "clock_set"));
    let step = body["step_ms"].as_i64().unwrap();
    assert!((10_799_000..=10_801_000).contains(&step), "{body}");
    assert!(at > before + 7_000_000, "{at}");
    assert!(eventually("the log", || gateway.log().contains("clock was set by +10800").then_some(true)));
}

#[test]
fn a_clock_that_stands_before_the_record_is_not_set_until_a_person_accepts_it() {
    let clock = TestClock::new();
    let mut gateway = Gateway::with_clock(&Setup::default(), &clock);
    let is_set = |gateway: &Gateway| gateway.json(&["status", "--json"])["clock"]["set"].as_bool().unwrap();
    assert!(is_set(&gateway));
    Agent::login(gateway.address, TOKEN).request("get_state", json!({"entity_id": "sensor.a"}));
    clock.shift(-240);
    assert!(is_set(&gateway), "a little behind is no doubt");
    clock.shift(-3600);
    assert!(!is_set(&gateway));
    let shown = String::from_utf8(gateway.cli(&["status"]).stdout).unwrap();
    assert!(shown.contains("NOT SET") && shown.contains("agentpass clock accept"), "{shown}");
    eventually("the log", || gateway.log().contains("the clock is not set").then_some(()));
    // Neither calls at the new time nor a restart make it right.
    Agent::login(gateway.address, TOKEN).request("get_state", json!({"entity_id": "sensor.b"}));
    assert_eq!(gateway.terminate(), Some(0));
    gateway.restart();
    assert!(!is_set(&gateway));
    assert!(gateway.cli(&["clock", "accept"]).status.success());
    assert!(is_set(&gateway));
    let (_, body) = newest(&gateway, "clock_accepted").unwrap();
    assert!(body["by"].as_str().unwrap().starts_with("local:"), "{body}");
    assert_eq!(gateway.terminate(), Some(0));
    gateway.restart();
    assert!(is_set(&gateway), "it stays accepted");
    clock.shift(-400 * 365 * 24 * 3600 / 10);
    assert!(!is_set(&gateway), "before the program was made");
    gateway.verify();
}

/// A clock that is not set says nothing about the time of day: what a time forbids is forbidden, what it allows is not.
#[test]
fn a_time_of_day_that_nobody_knows_never_allows() {
    let always = "time: {days: [mon, tue, wed, thu, fri, sat, sun], zone: UTC}";
    let permissions = format!(
        "rules:\n  - {{pattern: \"say*\", {always}, action: allow}}\n  - {{pattern: \"get_*\", action: allow}}\n\
         defaults: [{{pattern: \"*\", action: deny}}]\n"
    );
    let clock = TestClock::new();
    let gateway = Gateway::with_clock(&Setup { permissions, ..Setup::default() }, &clock);
    let mut agent = Agent::login(gateway.address, TOKEN);
    let say = |agent: &mut Agent| agent.request("say", json!({"text": "hi"}));
    assert_eq!(say(&mut agent)["result"]["status"], "executed");
    clock.shift(-3600);
    assert_eq!(harness::error(&say(&mut agent)), (-32003, "denied_by_policy"));
    let other = agent.request("get_state", json!({"entity_id": "a.b"}));
    assert_eq!(other["result"]["status"], "executed", "what asks for no time goes on: {other}");
    clock.shift(0);
    assert_eq!(say(&mut agent)["result"]["status"], "executed");
}
