//! `/metrics` of the real gateway: every call moves the counters that it should, and no others.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;
mod prometheus;

use harness::gateway::LAPTOP;
use harness::site::{Page, Site};
use harness::{Agent, Answer, Gateway, Setup, error, eventually};
use prometheus::{Scrape, parse};
use serde_json::{Value, json};

const TOKEN: &str = harness::gateway::TOKEN;

fn get(gateway: &Gateway) -> Page {
    let page = Site::of(gateway).get("/metrics");
    assert_eq!(page.status, 200, "{page:?}");
    page
}

fn scrape(gateway: &Gateway) -> Scrape {
    let page = get(gateway);
    parse(&page.body).unwrap_or_else(|e| panic!("{e}\n{}", page.body))
}

fn setup(changes: &[(&str, &str)]) -> Setup {
    let mut setup = Setup::with_pages();
    for (from, to) in changes {
        assert!(setup.config.contains(from), "{from}");
        setup.config = setup.config.replace(from, to);
    }
    setup
}

fn reload(gateway: &Gateway) {
    let reply = gateway.control(&json!({"command": "reload"})).unwrap();
    assert_eq!(reply["reloaded"], true, "{reply}");
}

/// What moved: tool, decision, outcome, reason.
type End<'a> = [&'a str; 4];

/// Does something, and expects these ends of calls, once each, and so many joined requests.
fn expect<T>(gateway: &Gateway, ends: &[End<'_>], joined: u32, act: impl FnOnce() -> T) -> T {
    let before = scrape(gateway);
    let done = act();
    let after = scrape(gateway);
    let moved = after.moved(&before, "agentpass_calls_total");
    let names = ["tool", "decision", "outcome", "reason"];
    let mut told: Vec<_> = moved.iter().map(|(l, by)| (names.map(|n| l[n].as_str()), *by)).collect();
    let mut wanted: Vec<_> = ends.iter().map(|end| (*end, 1.0)).collect();
    told.sort_by_key(|(end, _)| *end);
    wanted.sort_by_key(|(end, _)| *end);
    assert_eq!(told, wanted);
    let joins = |read: &Scrape| read.value("agentpass_joined_requests_total", &[]);
    assert_eq!(joins(&after) - joins(&before), f64::from(joined), "joined");
    done
}

fn asked(agent: &mut Agent, tool: &str, args: Value) -> (u64, String) {
    let id = agent.send("tool_request", json!({"tool": tool, "args": args}));
    (id, agent.asked())
}

#[test]
fn what_anybody_on_this_machine_gets_is_well_formed_and_names_nobody() {
    let gateway = Gateway::with(&setup(&[]));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let hostile = "evil\"}\\\n# HELP x\u{202e}";
    let args = json!({"entity_id": "canary-argument"});
    let params =
        json!({"tool": "get_state", "args": args, "reason": "canary-reason", "session_id": "canary-session"});
    agent.call("tool_request", params);
    agent.request(hostile, json!({}));
    let (id, request) = asked(&mut agent, "say", json!({"text": "canary-text"}));
    gateway.say_no(&request);
    agent.reply(id);

    let page = get(&gateway);
    assert_eq!(page.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(page.header("cache-control"), "no-store");
    let read = parse(&page.body).unwrap_or_else(|e| panic!("{e}\n{}", page.body));
    for secret in ["canary", "evil", &request, harness::gateway::SERVICE_SECRET, TOKEN] {
        assert!(!page.body.contains(secret), "{secret} is in\n{}", page.body);
    }
    let known = [
        "tool", "decision", "outcome", "reason", "ended", "service", "agent", "durable", "channel",
        "version", "le",
    ];
    let labels = read.samples.keys().flat_map(|(_, labels)| labels.keys());
    labels.for_each(|label| assert!(known.contains(&label.as_str()), "{label}"));
    assert_eq!(read.value("agentpass_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    assert_eq!(read.value("agentpass_connections", &[("agent", "default")]), 1.0);
    assert!(read.value("process_resident_memory_bytes", &[]) > 1e6);
    assert!(read.value("process_cpu_seconds_total", &[]) > 0.0);
    assert!(read.value("process_open_fds", &[]) > 3.0);
}

/// The table in the manual names every metric, and no other.
#[test]
fn the_manual_names_every_metric() {
    let read = scrape(&Gateway::with(&setup(&[])));
    let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    let rows =
        manual.lines().filter(|line| line.starts_with("| `agentpass_") || line.starts_with("| `process_"));
    let named: Vec<_> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap().split(", "))
        .map(|name| name.trim().trim_matches('`').split('{').next().unwrap().to_owned())
        .collect();
    let mut sorted = named.clone();
    sorted.sort();
    assert_eq!(sorted, read.families.keys().cloned().collect::<Vec<_>>());
}

#[test]
fn every_policy_decision_and_refusal_is_counted_once() {
    let gateway = Gateway::with(&setup(&[("may_explain: true", "max_requests_per_minute: 1")]));
    let mut agent = Agent::login(gateway.address, TOKEN);
    expect(&gateway, &[["get_state", "allow", "executed", ""]], 0, || {
        agent.request("get_state", json!({"entity_id": "a"}))
    });
    expect(&gateway, &[["drop_all", "deny", "denied", "denied_by_policy"]], 0, || {
        agent.request("drop_all", json!({}))
    });
    expect(&gateway, &[["other", "none", "refused", "unknown_tool"]], 0, || {
        agent.request("no_such_tool", json!({}))
    });
    expect(&gateway, &[["get_state", "none", "refused", "invalid_argument"]], 0, || {
        agent.request("get_state", json!({}))
    });
    expect(&gateway, &[["other", "none", "refused", "invalid_request"]], 0, || {
        let reply = agent.call("tool_request", json!({"tool": 7}));
        assert_eq!(error(&reply), (-32600, "invalid_request"));
    });
    expect(&gateway, &[["say", "ask", "refused", "too_large_to_show"]], 0, || {
        agent.request("say", json!({"text": "x".repeat(60_000)}))
    });
    let mut laptop = Agent::login(gateway.address, harness::gateway::LAPTOP);
    expect(&gateway, &[["render", "allow", "executed", ""]], 0, || laptop.request("render", json!({})));
    // Only the first of a flood is in the record; the counter has them all.
    for _ in 0..3 {
        expect(&gateway, &[["render", "none", "refused", "rate_limited"]], 0, || {
            laptop.request("render", json!({}))
        });
    }
}

#[test]
fn every_end_of_a_question_is_counted_once() {
    let gateway = Gateway::with(&setup(&[
        ("approval_timeout: 60", "approval_timeout: 6"),
        ("max_pending_approvals: 10", "max_pending_approvals: 1"),
    ]));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let open = |gateway: &Gateway| scrape(gateway).value("agentpass_open_questions", &[]);
    expect(&gateway, &[["say", "ask", "timed_out", "approval_timed_out"]], 0, || {
        let (id, _) = asked(&mut agent, "say", json!({"text": "0"}));
        assert_eq!(open(&gateway), 1.0);
        agent.reply(id)
    });
    assert_eq!(open(&gateway), 0.0);

    gateway.configure(&setup(&[("max_pending_approvals: 10", "max_pending_approvals: 1")]));
    reload(&gateway);
    expect(&gateway, &[["say", "ask", "executed", ""]], 0, || {
        let (id, request) = asked(&mut agent, "say", json!({"text": "1"}));
        gateway.say_yes(&request);
        agent.reply(id)
    });
    expect(&gateway, &[["say", "ask", "denied", "denied_by_user"]], 0, || {
        let (id, request) = asked(&mut agent, "say", json!({"text": "2"}));
        gateway.say_no(&request);
        agent.reply(id)
    });
    let full = ["say", "ask", "refused", "too_many_pending"];
    expect(&gateway, &[full, ["say", "ask", "withdrawn", "withdrawn"]], 0, || {
        let (id, request) = asked(&mut agent, "say", json!({"text": "3"}));
        assert_eq!(error(&agent.request("say", json!({"text": "4"}))).1, "too_many_pending");
        agent.call("cancel", json!({"request_id": request}));
        agent.reply(id)
    });
    let after = scrape(&gateway);
    for (ended, count) in [("approved", 1.0), ("denied", 1.0), ("withdrawn", 1.0), ("timed_out", 1.0)] {
        assert_eq!(after.value("agentpass_waiting_seconds_count", &[("ended", ended)]), count, "{ended}");
    }
    let waited = after.value("agentpass_waiting_seconds_sum", &[("ended", "timed_out")]);
    assert!((5.9..=6.0).contains(&waited), "{waited}");
}

#[test]
fn every_way_a_service_can_answer_is_counted_once() {
    let gateway = Gateway::with(&setup(&[("timeout: 45", "timeout: 3\n    max_response_bytes: 1000")]));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let cases = [
        (Answer::Reply(500, "text/plain", "broken".into()), "get_state", "failed", "service_error"),
        (Answer::Close, "get_state", "failed", "service_error"),
        (Answer::Silence, "get_state", "failed", "service_timeout"),
        (Answer::json(&format!("\"{}\"", "x".repeat(2000))), "get_state", "failed", "response_too_large"),
        (Answer::Close, "render", "unknown", "unknown_result"),
    ];
    let before = scrape(&gateway);
    let count = cases.len();
    for (number, (answer, tool, outcome, reason)) in cases.into_iter().enumerate() {
        gateway.upstream.answer(move |_| answer.clone());
        let args = if tool == "render" { json!({}) } else { json!({"entity_id": number.to_string()}) };
        expect(&gateway, &[[tool, "allow", outcome, reason]], 0, || agent.request(tool, args));
    }
    let after = scrape(&gateway);
    let by = |name: &str, labels: &[(&str, &str)]| after.value(name, labels) - before.value(name, labels);
    assert_eq!(by("agentpass_execution_seconds_count", &[("service", "home")]), count as f64);
    assert!(
        by("agentpass_execution_seconds_sum", &[("service", "home")]) >= 3.0,
        "one was silent for three seconds"
    );
    assert_eq!(by("agentpass_decision_seconds_count", &[]), count as f64);
    // Reads are recorded and settled without waiting for the disk, the call with side effects with it.
    assert_eq!(by("agentpass_commit_seconds_count", &[("durable", "yes")]), 2.0);
    assert!(by("agentpass_store_sync_seconds_count", &[]) >= 2.0);
    assert!(by("agentpass_store_commits_total", &[]) >= count as f64);
    assert!(by("agentpass_store_events", &[]) >= 2.0 * count as f64);
}

#[test]
fn the_kind_of_a_tool_says_whether_its_calls_wait_for_the_disk() {
    let tools = r#"
tools:
  plug: {kind: write, extra_args: refuse, request: {method: GET, path: "/cm?cmnd=Power"}}
  search: {kind: read, extra_args: refuse, request: {method: POST, path: "/search"}}
"#;
    let permissions = r#"rules: [{pattern: "*", action: allow}]"#;
    let gateway =
        Gateway::with(&Setup { tools: tools.into(), permissions: permissions.into(), ..setup(&[]) });
    let mut agent = Agent::login(gateway.address, TOKEN);
    for (tool, waits) in [("plug", 2.0), ("search", 0.0)] {
        let before = scrape(&gateway);
        assert_eq!(agent.request(tool, json!({}))["result"]["status"], "executed");
        let name = "agentpass_commit_seconds_count";
        let durable = |scrape: &Scrape| scrape.value(name, &[("durable", "yes")]);
        assert_eq!(durable(&scrape(&gateway)) - durable(&before), waits, "{tool}");
    }
}

#[test]
fn who_joins_or_repeats_a_call_is_not_counted_as_another() {
    let gateway = Gateway::with(&setup(&[]));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let with_key =
        |text: &str, key: &str| json!({"tool": "say", "args": {"text": text}, "idempotency_key": key});
    expect(&gateway, &[["say", "ask", "executed", ""]], 2, || {
        let first = agent.send("tool_request", with_key("a", "one"));
        let request = agent.asked();
        let second = agent.send("tool_request", with_key("a", "one"));
        let third = agent.send("tool_request", with_key("a", "two"));
        eventually("both to have joined", || {
            (scrape(&gateway).value("agentpass_joined_requests_total", &[]) == 2.0).then_some(())
        });
        gateway.say_yes(&request);
        let mut replies = Vec::new();
        while replies.len() < 3 {
            let message = agent.receive();
            replies.extend(message["id"].as_u64());
        }
        replies.sort_unstable();
        assert_eq!(replies, [first, second, third]);
    });
    expect(&gateway, &[], 1, || {
        assert_eq!(agent.call("tool_request", with_key("a", "one"))["result"]["replayed"], true);
    });
    expect(&gateway, &[["say", "none", "refused", "idempotency_conflict"]], 0, || {
        assert_eq!(error(&agent.call("tool_request", with_key("b", "one"))).1, "idempotency_conflict");
    });
}

#[test]
fn a_tool_that_a_reload_takes_away_is_no_longer_named() {
    let gateway = Gateway::with(&setup(&[]));
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.request("render", json!({}));
    let (id, _) = asked(&mut agent, "say", json!({"text": "x"}));
    let mut less = setup(&[]);
    less.tools = less.tools.replace("  say:", "  tell:").replace("  render:", "  paint:");
    gateway.configure(&less);
    expect(&gateway, &[["other", "ask", "denied", "approval_void"]], 0, || {
        reload(&gateway);
        agent.reply(id)
    });
    let body = get(&gateway).body;
    assert!(!body.contains("\"say\"") && !body.contains("\"render\""), "{body}");
}

#[test]
fn connections_and_wrong_tokens_are_counted() {
    let gateway = Gateway::with(&setup(&[]));
    let strangers = |count: f64| {
        eventually("strangers to come and go", || {
            (scrape(&gateway).value("agentpass_unauthenticated_connections", &[]) == count).then_some(())
        });
    };
    let stranger = Agent::connect(gateway.address);
    strangers(1.0);
    drop(stranger);
    strangers(0.0);
    let _agent = Agent::login(gateway.address, TOKEN);
    strangers(0.0);
    assert!(Agent::try_connect(gateway.address, &[("authorization", "Bearer wrong")]).is_err());
    let mut wrong = Agent::connect(gateway.address);
    wrong.call("auth", json!({"token": "wrong"}));
    let read = scrape(&gateway);
    assert_eq!(read.value("agentpass_failed_authentications_total", &[]), 2.0);
    assert_eq!(read.value("agentpass_connections", &[("agent", "default")]), 1.0);
    assert_eq!(read.value("agentpass_connections", &[("agent", "laptop")]), 0.0);
}

#[test]
fn calls_that_wait_for_a_place_are_counted_apart() {
    let setup = setup(&[]);
    let config = format!("{}max_concurrent_calls: 1\n", setup.config);
    let gateway = Gateway::with(&Setup { config, ..setup });
    gateway.upstream.answer(|_| Answer::Hold);
    let mut agent = Agent::login(gateway.address, TOKEN);
    for n in 0..3 {
        agent.send("tool_request", json!({"tool": "render", "args": {"template": n.to_string()}}));
    }
    gateway.upstream.wait_for(1);
    let counts = || ["waiting", "executing"].map(|what| format!("agentpass_{what}_calls"));
    eventually("two to wait", || {
        let read = scrape(&gateway);
        (counts().map(|name| read.value(&name, &[])) == [2.0, 1.0]).then_some(())
    });
    gateway.upstream.release();
    (0..3).for_each(|_| drop(agent.receive()));
    eventually("none to wait", || {
        let read = scrape(&gateway);
        (counts().map(|name| read.value(&name, &[])) == [0.0, 0.0]).then_some(())
    });
}

#[test]
fn what_greedy_agents_lose_and_are_refused_is_counted() {
    let gateway = Gateway::with(&setup(&[(
        r#"{path: "data/agentpass.db"}"#,
        r#"{path: "data/agentpass.db", max_mb: 1}"#,
    )]));
    gateway.upstream.answer(|_| Answer::json(&format!("\"{}\"", "x".repeat(40_000))));
    for number in 1..=3 {
        let mut agent = Agent::login(gateway.address, TOKEN);
        agent.send("tool_request", json!({"tool": "get_state", "args": {"entity_id": number.to_string()}}));
        gateway.upstream.wait_for(number);
        drop(agent);
        eventually("the call to end", || {
            (gateway.log().matches("ended: executed").count() == number).then_some(())
        });
    }
    // A sixteenth of a mebibyte has room for one of them.
    assert_eq!(scrape(&gateway).value("agentpass_store_dropped_results_total", &[]), 2.0);

    let mut agent = Agent::login(gateway.address, LAPTOP);
    let listing = |id| json!({"jsonrpc": "2.0", "method": "list_tools", "id": id});
    let batch = json!((0..100).map(listing).collect::<Vec<_>>()).to_string();
    let refused = (0..10_000).find_map(|_| {
        agent.send_text(&batch);
        let answers = agent.receive();
        Some(answers.as_array().unwrap().iter().filter(|a| a["error"].is_object()).count()).filter(|n| *n > 0)
    });
    assert_eq!(
        scrape(&gateway).value("agentpass_refused_other_requests_total", &[]),
        refused.unwrap() as f64
    );
}

#[test]
fn after_a_crash_it_tells_how_many_calls_were_cut_off_and_counts_on_with_the_questions() {
    let mut gateway = Gateway::with(&setup(&[]));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let (_, request) = asked(&mut agent, "say", json!({"text": "x"}));
    gateway.upstream.answer(|_| Answer::Hold);
    agent.send("tool_request", json!({"tool": "render", "args": {}}));
    eventually("the call to reach the service", || {
        (scrape(&gateway).value("agentpass_executing_calls", &[]) == 1.0
            && !gateway.upstream.seen().is_empty())
        .then_some(())
    });
    gateway.kill();
    gateway.upstream.answer(|_| Answer::json("{}"));
    gateway.restart();
    let read = scrape(&gateway);
    assert_eq!(read.value("agentpass_cut_off_calls", &[]), 1.0);
    assert_eq!(read.value("agentpass_open_questions", &[]), 1.0);
    expect(&gateway, &[["say", "ask", "executed", ""]], 0, || {
        gateway.say_yes(&request);
        eventually("the call to be done", || (gateway.row(&request)["outcome"] == "executed").then_some(()));
    });
}
