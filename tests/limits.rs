//! Limits: exactly as many executions as they let through, whatever comes at once, however it ends.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::thread;
use std::time::Duration;

use async_tungstenite::tungstenite::Message;
use harness::agent::error;
use harness::gateway::{LAPTOP, TOKEN};
use harness::upstream::Answer;
use harness::{Agent, Gateway, Setup, TestClock, eventually};
use serde_json::{Value, json};

/// `get_state` and `say` are allowed, `call_service` is asked about; `limits` stands below `limits:`.
fn setup(limits: &str) -> Setup {
    let permissions = format!(
        "rules:\n  - {{pattern: \"get_state*\", action: allow}}\n  - {{pattern: \"say*\", action: allow}}\n\
         defaults:\n  - {{pattern: \"*\", action: ask}}\nlimits:\n{limits}"
    );
    let usual = Setup::default();
    let config = usual.config.replace("max_pending_approvals: 10", "max_pending_approvals: 100");
    Setup { permissions, config, ..usual }
}

fn read(agent: &mut Agent, entity: &str) -> Value {
    agent.request("get_state", json!({"entity_id": entity}))
}

fn read_in(agent: &mut Agent, session: &str, entity: &str) -> Value {
    let args = json!({"entity_id": entity});
    agent.call("tool_request", json!({"tool": "get_state", "args": args, "session_id": session}))
}

fn is_executed(reply: &Value) -> bool {
    reply["result"]["status"] == "executed"
}

/// What the counters of this limit hold in all.
fn counted(gateway: &Gateway, name: &str) -> i64 {
    let rows = gateway.json(&["limits", "--json"]);
    let rows = rows.as_array().unwrap().iter().filter(|row| row["name"] == name);
    rows.map(|row| row["count"].as_i64().unwrap()).sum()
}

/// Requests of one agent on one connection, all sent before any is answered; how many were executed. Fewer answers come
/// when the gateway is gone.
fn burst(
    gateway: &Gateway,
    token: &'static str,
    name: &'static str,
    count: usize,
) -> thread::JoinHandle<usize> {
    let mut agent = Agent::login(gateway.address, token);
    thread::spawn(move || {
        let (mut executed, mut sent, mut answered) = (0, 0, 0);
        while answered < count {
            // As many at once as a connection may have.
            while sent < count && sent - answered < 30 {
                let args = json!({"entity_id": format!("{name}.{sent}")});
                let request = json!({"jsonrpc": "2.0", "id": sent, "method": "tool_request", "params": {"tool": "get_state", "args": args}});
                if agent.socket.send(Message::text(request.to_string())).is_err() {
                    return executed;
                }
                sent += 1;
            }
            let Ok(reply) = agent.try_receive() else { return executed };
            executed += usize::from(is_executed(&reply));
            answered += 1;
        }
        executed
    })
}

#[test]
fn ten_thousand_calls_at_once_lead_to_exactly_as_many_executions_as_the_limits_allow() {
    let gateway = Gateway::with(&setup(
        "  - {name: all, pattern: \"get_state*\", count: calls, window: day, deny_above: 700}\n\
         \x20 - {name: each, pattern: \"get_state*\", per: agent, window: 1h, deny_above: 400}\n",
    ));
    let names = ["a", "b", "c", "d", "e"];
    let default: Vec<_> = names.iter().map(|name| burst(&gateway, TOKEN, name, 1000)).collect();
    let names = ["v", "w", "x", "y", "z"];
    let laptop: Vec<_> = names.iter().map(|name| burst(&gateway, LAPTOP, name, 1000)).collect();
    let sum =
        |bursts: Vec<thread::JoinHandle<usize>>| bursts.into_iter().map(|b| b.join().unwrap()).sum::<usize>();
    let (default, laptop) = (sum(default), sum(laptop));
    assert_eq!(default + laptop, 700, "{default} and {laptop}");
    assert!(default <= 400 && laptop <= 400, "{default} and {laptop}");
    assert_eq!(gateway.upstream.seen().len(), 700);
    assert_eq!((counted(&gateway, "all"), counted(&gateway, "each")), (700, 700));
    gateway.verify();
}

#[test]
fn kill_minus_nine_forgets_no_execution() {
    let mut gateway =
        Gateway::with(&setup("  - {name: all, pattern: \"get_state*\", window: day, deny_above: 300}\n"));
    // Long enough that some are cut off at every kill.
    gateway.upstream.answer(|_| {
        thread::sleep(Duration::from_millis(2));
        Answer::json("{}")
    });
    let mut executed = 0;
    for round in 1..=4 {
        let names: [&'static str; 3] =
            [["a", "b", "c"], ["d", "e", "f"], ["g", "h", "i"], ["j", "k", "l"]][round - 1];
        let bursts: Vec<_> = names.iter().map(|name| burst(&gateway, TOKEN, name, 1000)).collect();
        gateway.upstream.wait_for(round * 50);
        gateway.kill();
        executed += bursts.into_iter().map(|b| b.join().unwrap()).sum::<usize>();
        gateway.restart();
        // Whatever reached the service was on record before it was sent.
        let seen = i64::try_from(gateway.upstream.seen().len()).unwrap();
        let counted = counted(&gateway, "all");
        assert!(seen <= counted && counted <= 300, "{seen} executed, {counted} counted");
    }
    let bursts: Vec<_> = ["m", "n", "o"].iter().map(|name| burst(&gateway, TOKEN, name, 500)).collect();
    executed += bursts.into_iter().map(|b| b.join().unwrap()).sum::<usize>();
    assert_eq!(counted(&gateway, "all"), 300);
    let seen = gateway.upstream.seen().len();
    assert!(executed <= seen && seen <= 300, "{executed} answered, {seen} done");
    gateway.verify();
}

#[test]
fn open_questions_do_not_pass_a_limit_together() {
    let gateway = Gateway::with(&setup(
        "  - {name: calls, pattern: \"call_service*\", per: [agent], window: 1h, deny_above: 3}\n",
    ));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let args = |n: usize| json!({"domain": "light", "service": "turn_on", "entity_id": format!("light.{n}")});
    let requests: Vec<_> = (0..10)
        .map(|n| agent.send("tool_request", json!({"tool": "call_service", "args": args(n)})))
        .collect();
    let asked: Vec<_> = requests.iter().map(|_| agent.asked()).collect();
    // Nobody is told "too late": the answer counts, but nothing runs.
    asked.iter().for_each(|id| assert_eq!(gateway.approve(id), "resolved"));
    let replies: Vec<_> = requests.iter().map(|_| agent.receive()).collect();
    let (executed, denied): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| is_executed(reply));
    assert_eq!((executed.len(), denied.len()), (3, 7));
    for reply in denied {
        assert_eq!(error(reply), (-32003, "limit_reached"), "{reply}");
        let data = &reply["error"]["data"];
        assert_eq!(data["limit"], "calls");
        assert_eq!(data["reasons"], json!([{"reason": "limit_reached", "limit": "calls"}]));
        let retry_after = data["retry_after"].as_u64().unwrap();
        assert!((3600..=3660).contains(&retry_after), "{retry_after}");
    }
    assert_eq!(gateway.upstream.seen().len(), 3);
    assert_eq!(error(&agent.request("call_service", args(10))), (-32003, "limit_reached"), "not even asked");
    gateway.verify();
}

#[test]
fn a_threshold_asks_and_what_is_denied_or_unanswered_does_not_count() {
    let gateway = Gateway::with(&setup(
        "  - {name: reads, pattern: \"get_state*\", per: agent, window: 1h, ask_above: 2, deny_above: 3}\n",
    ));
    let mut agent = Agent::login(gateway.address, TOKEN);
    assert!(is_executed(&read(&mut agent, "a.1")) && is_executed(&read(&mut agent, "a.2")));
    for n in 0..3 {
        let args = json!({"entity_id": format!("b.{n}")});
        let request = agent.send("tool_request", json!({"tool": "get_state", "args": args}));
        let id = agent.asked();
        assert!(gateway.cli(&["deny", &id]).status.success());
        assert_eq!(error(&agent.reply(request)), (-32001, "denied_by_user"));
    }
    assert_eq!(counted(&gateway, "reads"), 2);
    let request = agent.send("tool_request", json!({"tool": "get_state", "args": {"entity_id": "a.3"}}));
    let id = agent.asked();
    assert_eq!(gateway.approve(&id), "resolved");
    assert!(is_executed(&agent.reply(request)));
    assert_eq!(error(&read(&mut agent, "a.4")), (-32003, "limit_reached"));
    let mut laptop = Agent::login(gateway.address, LAPTOP);
    assert!(is_executed(&read(&mut laptop, "a.4")), "another agent has a counter of its own");
    let explained = laptop.call("explain", json!({"tool": "get_state", "args": {"entity_id": "a.5"}}));
    let limit = &explained["result"]["limits"][0];
    let figures = ["count", "after", "ask_above", "deny_above"].map(|name| limit[name].as_i64());
    assert_eq!(
        (&limit["name"], figures),
        (&json!("reads"), [Some(1), Some(2), Some(2), Some(3)]),
        "{explained}"
    );
}

#[test]
fn a_limit_that_has_no_room_keeps_no_key_and_counts_anew_at_a_persons_word() {
    let mut gateway = Gateway::with(&setup(
        "  - {name: reads, pattern: \"get_state*\", per: agent, window: month, deny_above: 1}\n\
         \x20 - {name: says, pattern: \"say*\", window: 2h, deny_above: 5}\n",
    ));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let keyed = |agent: &mut Agent| {
        let params = json!({"tool": "get_state", "args": {"entity_id": "a.2"}, "idempotency_key": "k"});
        agent.call("tool_request", params)
    };
    assert!(is_executed(&read(&mut agent, "a.1")));
    assert_eq!(error(&keyed(&mut agent)), (-32003, "limit_reached"));
    assert_eq!(error(&keyed(&mut agent)), (-32003, "limit_reached"));
    gateway.kill();
    gateway.restart();
    let mut agent = Agent::login(gateway.address, TOKEN);
    assert_eq!(error(&keyed(&mut agent)), (-32003, "limit_reached"), "a restart forgets nothing");

    for (arguments, problem) in [
        (&["limits", "reset", "nothing"][..], "there is no such limit"),
        (&["limits", "reset", "says", "--agent", "default"], "does not count by agents"),
        (&["limits", "reset", "reads", "--agent", "nobody"], "there is no such agent"),
    ] {
        let output = gateway.cli(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(5) && text.contains(problem), "{text}");
    }
    assert!(gateway.cli(&["limits", "reset", "reads", "--agent", "laptop"]).status.success());
    assert_eq!(counted(&gateway, "reads"), 1, "only that agent's");
    assert!(gateway.cli(&["limits", "reset", "reads", "--agent", "default"]).status.success());
    let reply = keyed(&mut agent);
    assert!(is_executed(&reply) && reply["result"].get("replayed").is_none(), "{reply}");
    assert_eq!(keyed(&mut agent)["result"]["replayed"], true);
    assert_eq!(counted(&gateway, "reads"), 1, "a replay does not count");
    gateway.kill();
    gateway.restart();
    assert_eq!(counted(&gateway, "reads"), 1, "what was reset stays reset");
    let shown = String::from_utf8(gateway.cli(&["limits"]).stdout).unwrap();
    assert!(shown.contains("reads") && shown.contains("1 call within a month"), "{shown}");
    let exported = String::from_utf8(gateway.cli(&["audit", "export"]).stdout).unwrap();
    assert_eq!(exported.matches("limit_reset").count(), 2, "recorded, with who");
    gateway.verify();
}

#[test]
fn counts_stay_over_a_reload_while_what_is_counted_stays() {
    let limit =
        |rest: &str| setup(&format!("  - {{name: reads, pattern: \"get_state*\", per: agent, {rest}}}\n"));
    let gateway = Gateway::with(&limit("window: 1h, deny_above: 2"));
    let mut agent = Agent::login(gateway.address, TOKEN);
    assert!(is_executed(&read(&mut agent, "a.1")) && is_executed(&read(&mut agent, "a.2")));
    let mut after = |rest: &str| {
        gateway.configure(&limit(rest));
        assert!(gateway.cli(&["reload"]).status.success());
        is_executed(&read(&mut agent, "a.3"))
    };
    assert!(!after("window: 1h, deny_above: 2, description: \"no more\""));
    assert!(after("window: 1h, deny_above: 3"));
    assert!(!after("window: 1h, deny_above: 3"));
    assert!(after("window: 2h, deny_above: 1"), "another window is another limit");
}

#[test]
fn sessions_have_counters_of_their_own_and_are_bounded() {
    let gateway = Gateway::with(&setup(
        "  - {name: task, pattern: \"get_state*\", per: [agent, session], window: session, deny_above: 1}\n",
    ));
    let mut agent = Agent::login(gateway.address, TOKEN);
    assert!(is_executed(&read_in(&mut agent, "s0", "a.1")));
    let denied = read_in(&mut agent, "s0", "a.2");
    assert_eq!(error(&denied), (-32003, "limit_reached"));
    assert!(denied["error"]["data"].get("retry_after").is_none(), "no time heals it: {denied}");
    assert!(is_executed(&read(&mut agent, "a.1")), "the unnamed session is one more");
    for n in 1..999 {
        assert!(is_executed(&read_in(&mut agent, &format!("s{n}"), "a.1")), "{n}");
    }
    let refused = read_in(&mut agent, "one more", "a.1");
    assert_eq!(error(&refused), (-32006, "too_many_sessions"), "{refused}");
    assert_eq!(error(&read_in(&mut agent, "s5", "a.1")), (-32003, "limit_reached"), "it lives");
    let mut laptop = Agent::login(gateway.address, LAPTOP);
    assert!(is_executed(&read_in(&mut laptop, "one more", "a.1")), "another agent's sessions are its own");
}

#[test]
fn identical_calls_join_within_one_session_alone() {
    let gateway = Gateway::with(&setup("  []\n"));
    gateway.upstream.answer(|_| Answer::Hold);
    let mut agent = Agent::login(gateway.address, TOKEN);
    let params = |session: Option<&str>| {
        let mut params = json!({"tool": "get_state", "args": {"entity_id": "a.1"}});
        session.into_iter().for_each(|name| params["session_id"] = name.into());
        params
    };
    let sessions = [None, Some("s"), Some("t"), Some("s"), None];
    let sent: Vec<_> = sessions.iter().map(|session| agent.send("tool_request", params(*session))).collect();
    gateway.upstream.wait_for(3);
    gateway.upstream.release();
    let mut ids: Vec<_> =
        sent.iter().map(|_| agent.receive()["result"]["request_id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), gateway.upstream.seen().len()), (3, 3));
}

#[test]
fn the_owner_is_told_once_that_a_limit_is_reached() {
    let gateway = Gateway::with(&setup(
        "  - {name: reads, pattern: \"get_state*\", per: agent, window: day, deny_above: 1}\n",
    ));
    let watcher = gateway.say_and_leave(&[json!({"command": "watch"})]);
    let mut agent = Agent::login(gateway.address, TOKEN);
    eventually("the watcher", || {
        let status = gateway.json(&["status", "--json"]);
        (status["channels"]["local"]["detail"] == "1 watching").then_some(())
    });
    for n in 0..5 {
        read(&mut agent, &format!("a.{n}"));
    }
    let mut laptop = Agent::login(gateway.address, LAPTOP);
    for n in 0..3 {
        read(&mut laptop, &format!("a.{n}"));
    }
    watcher.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut lines = BufReader::new(watcher).lines();
    let mut notice = || {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        line["notice"].as_str().unwrap_or_else(|| panic!("{line}")).to_owned()
    };
    assert!(notice().contains("reads is reached by default"));
    assert!(notice().contains("reads is reached by laptop"));
    // A question comes next: there was no third word.
    agent.send("tool_request", json!({"tool": "render", "args": {"template": "x"}}));
    let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(line["tool"], "render", "{line}");
}

#[test]
fn what_limits_said_is_counted_by_name() {
    let limits =
        setup("  - {name: reads, pattern: \"get_state*\", window: day, ask_above: 1, deny_above: 2}\n");
    let config = limits.config.replace("health_port: off", "health_port: 0");
    let gateway = Gateway::with(&Setup { config, ..limits });
    let mut agent = Agent::login(gateway.address, TOKEN);
    assert!(is_executed(&read(&mut agent, "a.1")));
    let request = agent.send("tool_request", json!({"tool": "get_state", "args": {"entity_id": "a.2"}}));
    let id = agent.asked();
    assert_eq!(gateway.approve(&id), "resolved");
    assert!(is_executed(&agent.reply(request)));
    read(&mut agent, "a.3");
    read(&mut agent, "a.4");
    let admin = gateway.json(&["status", "--json"])["admin"][0].as_str().unwrap().to_owned();
    let address = admin.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    for line in [
        "agentpass_policy_reasons_total{reason=\"asked_by_limit\",name=\"reads\"} 1",
        "agentpass_policy_reasons_total{reason=\"limit_reached\",name=\"reads\"} 2",
    ] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
}

#[test]
fn the_owner_is_explained_what_the_running_gateway_would_do() {
    let gateway = Gateway::with(&setup(
        "  - {name: few, pattern: \"get_state*\", per: agent, count: calls, window: day, deny_above: 1}\n",
    ));
    let mut agent = Agent::login(gateway.address, TOKEN);
    assert!(is_executed(&read(&mut agent, "sun.sun")));
    let call = ["explain", "get_state", "entity_id=sun.sun", "--agent", "default", "--json"];
    let files = gateway.json(&call);
    assert_eq!((&files["decision"], &files["limits"][0]["count"]), (&json!("allow"), &json!(0)));
    let live = gateway.json(&[&call[..], &["--live"]].concat());
    assert_eq!((&live["decision"], &live["limits"][0]["count"]), (&json!("deny"), &json!(1)));
    assert_eq!(live["reasons"], json!([{"reason": "limit_reached", "limit": "few"}]));
    let laptop =
        gateway.json(&["explain", "get_state", "entity_id=sun.sun", "--agent", "laptop", "--json", "--live"]);
    assert_eq!(laptop["decision"], "allow", "each agent has a count of its own");
    // Nothing was done, and nothing counted, by asking.
    assert_eq!((gateway.upstream.seen().len(), counted(&gateway, "few")), (1, 1));
    let stranger = gateway.cli(&["explain", "get_state", "--agent", "nobody", "--live"]);
    assert_eq!(stranger.status.code(), Some(4));
    gateway.verify();
}

/// One call at once, so that others wait for it.
fn one_at_a_time(limits: &str) -> Setup {
    let usual = setup(limits);
    let config = usual.config.replace("rate_limit:", "max_concurrent_calls: 1\nrate_limit:");
    Setup { config, ..usual }
}

/// Holds the only slot until the upstream is released.
fn hold(gateway: &Gateway, agent: &mut Agent) {
    gateway.upstream.answer(|_| Answer::Hold);
    agent.send("tool_request", json!({"tool": "say", "args": {"text": "wait"}}));
    gateway.upstream.wait_for(1);
}

/// Sends calls one after the other, each when the one before has been judged.
fn line_up(gateway: &Gateway, agent: &mut Agent, entities: &[&str]) {
    let judged = || gateway.log().matches(" get_state").count();
    for entity in entities {
        let before = judged();
        agent.send("tool_request", json!({"tool": "get_state", "args": {"entity_id": entity}}));
        eventually("it is judged", || (judged() > before).then_some(()));
    }
}

#[test]
fn a_call_that_waits_counts_in_the_window_in_which_it_is_made() {
    let clock = TestClock::new();
    let gateway = Gateway::with_clock(
        &one_at_a_time("  - {name: reads, pattern: \"get_state*\", window: 1h, deny_above: 1}\n"),
        &clock,
    );
    let mut agent = Agent::login(gateway.address, TOKEN);
    hold(&gateway, &mut agent);
    line_up(&gateway, &mut agent, &["a.1"]);
    clock.shift(2 * 3600);
    // The first one's window is over, and it has not been made.
    line_up(&gateway, &mut agent, &["a.2"]);
    gateway.upstream.release();
    let replies = [agent.receive(), agent.receive(), agent.receive()];
    let executed = replies.iter().filter(|reply| is_executed(reply)).count();
    let denied: Vec<_> = replies.iter().filter(|reply| !is_executed(reply)).map(error).collect();
    assert_eq!((executed, denied), (2, vec![(-32003, "limit_reached")]));
    assert_eq!((gateway.upstream.seen().len(), counted(&gateway, "reads")), (2, 1));
}

#[test]
fn a_limit_that_counts_anew_counts_the_calls_that_wait() {
    let mut gateway = Gateway::with(&one_at_a_time(
        "  - {name: all, pattern: \"get_state*\", window: day, deny_above: 2}\n\
         \x20 - {name: each, pattern: \"get_state*\", per: agent, window: day, deny_above: 2}\n",
    ));
    let mut agent = Agent::login(gateway.address, TOKEN);
    hold(&gateway, &mut agent);
    line_up(&gateway, &mut agent, &["a.1", "a.2"]);
    for arguments in [&["limits", "reset", "all"][..], &["limits", "reset", "each", "--agent", "default"]] {
        assert!(gateway.cli(arguments).status.success());
    }
    assert_eq!((counted(&gateway, "all"), counted(&gateway, "each")), (2, 2));
    let mut laptop = Agent::login(gateway.address, LAPTOP);
    assert_eq!(error(&read(&mut laptop, "b.1")), (-32003, "limit_reached"));
    gateway.upstream.release();
    assert!((0..3).all(|_| is_executed(&agent.receive())));
    assert_eq!((counted(&gateway, "all"), counted(&gateway, "each")), (2, 2));
    assert_eq!(error(&read(&mut agent, "a.3")), (-32003, "limit_reached"));
    gateway.kill();
    gateway.restart();
    assert_eq!((counted(&gateway, "all"), counted(&gateway, "each")), (2, 2));
    assert_eq!(gateway.upstream.seen().len(), 3);
    gateway.verify();
}

#[test]
fn what_counts_after_a_reset_among_many_calls_is_what_the_record_says() {
    let mut gateway = Gateway::with(&setup(
        "  - {name: all, pattern: \"get_state*\", window: day, deny_above: 1000000}\n\
         \x20 - {name: time, pattern: \"get_state*\", count: seconds, window: day, deny_above: 1000000}\n",
    ));
    let bursts: Vec<_> = ["a", "b", "c"].iter().map(|name| burst(&gateway, TOKEN, name, 300)).collect();
    let mut resets = 0;
    while resets < 20 || gateway.upstream.seen().len() < 600 {
        assert_eq!(
            gateway.control(&json!({"command": "limits_reset", "name": "all"})).unwrap()["reset"],
            "all"
        );
        resets += 1;
    }
    let executed: usize = bursts.into_iter().map(|burst| burst.join().unwrap()).sum();
    assert_eq!(executed, 900);
    let before = counted(&gateway, "all");
    gateway.kill();
    gateway.restart();
    assert_eq!(counted(&gateway, "all"), before, "after {resets} resets");
    gateway.verify();
}

#[test]
fn a_session_counts_all_its_calls_after_a_crash_whichever_was_made_first() {
    let usual =
        setup("  - {name: task, pattern: \"get_*\", per: [agent, session], window: day, deny_above: 9}\n");
    let tools = usual.tools.split("  call_service:").next().unwrap().replace("get_state", "get_peek");
    let config = usual
        .config
        .replace("rate_limit:", "max_concurrent_calls: 4\nrate_limit:")
        .replace("storage:", "  other: {url: \"{upstream}\", tools: \"other.yaml\"}\nstorage:");
    let permissions = usual.permissions.replace("\"get_state*\", action", "\"get_*\", action");
    let mut gateway = Gateway::prepared(&Setup { config, permissions, ..usual }, &[], |folder| {
        std::fs::write(folder.join("other.yaml"), &tools).unwrap();
    });
    let mut agent = Agent::login(gateway.address, TOKEN);
    gateway.upstream.answer(|seen| match seen.target.ends_with("/say") {
        true => Answer::Hold,
        false => Answer::json("{}"),
    });
    // All slots that one service may take.
    for n in 0..2 {
        agent.send("tool_request", json!({"tool": "say", "args": {"text": n.to_string()}}));
    }
    gateway.upstream.wait_for(2);
    let in_session = |tool: &str, n: u32| json!({"tool": tool, "args": {"entity_id": format!("a.{n}")}, "session_id": "job"});
    agent.send("tool_request", in_session("get_state", 0));
    eventually("it is judged", || gateway.log().contains("allow get_state").then_some(()));
    for n in 1..=3 {
        assert!(is_executed(&agent.call("tool_request", in_session("get_peek", n))));
    }
    gateway.upstream.release();
    assert!((0..3).all(|_| is_executed(&agent.receive())));
    assert_eq!(counted(&gateway, "task"), 4);
    gateway.kill();
    gateway.restart();
    assert_eq!(counted(&gateway, "task"), 4);
    gateway.verify();
}

#[test]
fn only_calls_that_are_made_count_and_so_do_those_that_fail() {
    let gateway =
        Gateway::with(&setup("  - {name: reads, pattern: \"*\", per: agent, window: day, deny_above: 3}\n"));
    let mut agent = Agent::login(gateway.address, TOKEN);
    gateway.upstream.answer(|_| Answer::Reply(500, "text/plain", "no".into()));
    assert_eq!(error(&read(&mut agent, "a.1")).1, "service_error");
    assert_eq!(counted(&gateway, "reads"), 1, "it may have done something");
    for (tool, args) in
        [("get_state", json!({})), ("get_state", json!({"entity_id": "a/b"})), ("no_tool", json!({}))]
    {
        assert!(agent.request(tool, args)["error"].is_object());
    }
    gateway.upstream.answer(|_| Answer::Hold);
    let same = json!({"tool": "get_state", "args": {"entity_id": "a.2"}});
    let joined: Vec<_> = (0..3).map(|_| agent.send("tool_request", same.clone())).collect();
    gateway.upstream.wait_for(2);
    let asked =
        agent.send("tool_request", json!({"tool": "call_service", "args": {"domain": "a", "service": "b"}}));
    let id = agent.asked();
    assert_eq!(counted(&gateway, "reads"), 2, "neither the joined nor the one that is asked about");
    gateway.upstream.release();
    assert!(joined.iter().all(|_| is_executed(&agent.receive())));
    assert!(gateway.cli(&["deny", &id]).status.success());
    assert_eq!(error(&agent.reply(asked)).1, "denied_by_user");
    assert_eq!(counted(&gateway, "reads"), 2);
    gateway.verify();
}

/// A later reader of the record knows why, and which policy decided.
#[test]
fn an_event_says_all_reasons_and_the_policy_that_decided() {
    let limit = |most: u32| {
        setup(&format!("  - {{name: few, pattern: \"get_state*\", window: day, deny_above: {most}}}\n"))
    };
    let gateway = Gateway::with(&limit(0));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let mut newest = |entity: &str| {
        read(&mut agent, entity);
        let exported = String::from_utf8(gateway.cli(&["audit", "export"]).stdout).unwrap();
        let mut events = exported.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let body = events.rfind(|event| event["kind"] == "requested").unwrap()["body"].clone();
        let body: Value = serde_json::from_str(body.as_str().unwrap()).unwrap();
        (body["reasons"].clone(), body["policy_digest"].as_str().unwrap().to_owned())
    };
    let reached = json!([{"reason": "limit_reached", "limit": "few"}]);
    let (first, second) = (newest("a.1"), newest("a.2"));
    assert_eq!((&first, &first.0), (&second, &reached));
    gateway.configure(&limit(1));
    assert!(gateway.cli(&["reload"]).status.success());
    let other = newest("a.3");
    assert_ne!(other.1, first.1, "another policy");
    gateway.configure(&limit(0));
    assert!(gateway.cli(&["reload"]).status.success());
    assert_eq!(newest("a.4"), first, "the same as before");
}

const SHOP: &str = r#"
tools:
  refund:
    kind: pay
    cost: {arg: usd}
    tokens: 500
    args: {order: {type: string, required: true}, usd: {type: number}}
    signature: "{order}"
    extra_args: refuse
    request: {method: POST, path: /refund}
  remind:
    args: {who: {type: array, each: true, items: {type: string}}}
    signature: "{who}"
    extra_args: refuse
    request: {method: POST, path: /remind}
"#;

fn shop(limits: &str) -> Setup {
    let permissions = format!("rules: [{{pattern: \"*\", action: allow}}]\nlimits:\n{limits}");
    Setup { tools: SHOP.into(), permissions, ..Setup::default() }
}

fn refund(agent: &mut Agent, order: &str, usd: &str) -> Value {
    let usd: Value = serde_json::from_str(usd).unwrap();
    agent.request("refund", json!({"order": order, "usd": usd}))
}

/// Name, count, bounds and whether there is an end, of each limit.
fn rows(gateway: &Gateway) -> Vec<(String, Value, Value, Value, bool)> {
    let rows = gateway.json(&["limits", "--json"]);
    let row = |row: &Value| {
        let ends = row["resets_at"].is_string();
        (
            row["name"].as_str().unwrap().into(),
            row["count"].clone(),
            row["ask_above"].clone(),
            row["deny_above"].clone(),
            ends,
        )
    };
    rows.as_array().unwrap().iter().map(row).collect()
}

/// Money is exact, what is charged is what was claimed, and all of it is the same after a crash and from the events alone.
#[test]
fn money_tokens_and_arguments_are_counted_exactly_and_outlive_crashes() {
    let mut gateway = Gateway::with(&shop(
        "  - {name: money, pattern: \"refund*\", count: cost, window: day, deny_above: 0.3}\n\
         \x20 - {name: tokens, pattern: \"*\", count: tokens, per: agent, window: month, deny_above: 100000}\n\
         \x20 - {name: by-arg, pattern: \"refund*\", count: \"arg:usd\", window: 1h, ask_above: 7, deny_above: 9}\n",
    ));
    let mut agent = Agent::login(gateway.address, TOKEN);
    for order in ["a", "b", "c"] {
        assert!(is_executed(&refund(&mut agent, order, "0.1")), "three tenths are allowed: {order}");
    }
    let denied = refund(&mut agent, "d", "0.000000001");
    assert_eq!(
        (error(&denied), &denied["error"]["data"]["limit"]),
        ((-32003, "limit_reached"), &json!("money"))
    );
    let doubtful = [json!({"order": "e"}), json!({"order": "f", "usd": -1})];
    for args in doubtful {
        let denied = agent.request("refund", args.clone());
        let reasons = &denied["error"]["data"]["reasons"];
        let named = |limit: &str| json!({"reason": "limit_reached", "limit": limit});
        assert_eq!(*reasons, json!([named("money"), named("by-arg")]), "{args}: {denied}");
        assert!(denied["error"]["data"].get("retry_after").is_none(), "no time makes it readable: {denied}");
    }
    // A tool that declares neither costs nothing.
    assert!(is_executed(&agent.request("remind", json!({"who": ["anna"]}))));
    let expected = vec![
        ("money".into(), json!("0.3"), Value::Null, json!("0.3"), true),
        ("tokens".into(), json!(1500), Value::Null, json!(100_000), true),
        ("by-arg".into(), json!("0.3"), json!("7"), json!("9"), true),
    ];
    assert_eq!(rows(&gateway), expected);
    gateway.kill();
    gateway.restart();
    assert_eq!(rows(&gateway), expected);
    gateway.terminate();
    assert!(gateway.cli(&["audit", "rebuild"]).status.success());
    gateway.restart();
    assert_eq!(rows(&gateway), expected);
    assert_eq!(error(&refund(&mut Agent::login(gateway.address, TOKEN), "d", "0.1")).1, "limit_reached");
    assert_eq!(gateway.upstream.seen().len(), 4);
    gateway.verify();
}

#[test]
fn each_element_of_a_list_is_one_call_and_no_part_of_a_list_is_made() {
    let gateway = Gateway::with(&shop(
        "  - {name: mails, pattern: \"remind*\", per: agent, window: 1h, deny_above: 4}\n\
         \x20 - {name: anna, pattern: \"remind(anna)\", window: 1h, deny_above: 1}\n",
    ));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let mut remind = |who: Value| agent.request("remind", json!({ "who": who }));
    assert!(is_executed(&remind(json!(["anna", "ben", "cleo"]))));
    let denied = remind(json!(["ben", "dora"]));
    assert_eq!(denied["error"]["data"]["reasons"], json!([{"reason": "limit_reached", "limit": "mails"}]));
    let denied = remind(json!(["anna"]));
    assert_eq!(denied["error"]["data"]["reasons"], json!([{"reason": "limit_reached", "limit": "anna"}]));
    assert!(is_executed(&remind(json!(["ben"]))));
    assert_eq!((counted(&gateway, "mails"), counted(&gateway, "anna")), (4, 1));
    assert_eq!(gateway.upstream.seen().len(), 2);
}

#[test]
fn questions_count_once_they_are_answered_with_yes_and_a_limit_asks_nobody_twice() {
    let gateway = Gateway::with(&setup(
        "  - {name: bother, pattern: \"call_service*\", per: agent, count: questions, window: day, deny_above: 2}\n\
         \x20 - {name: reads, pattern: \"get_state*\", per: agent, window: 1h, ask_above: 1, deny_above: 9}\n",
    ));
    let mut agent = Agent::login(gateway.address, TOKEN);
    // Three are asked about at once; the second and the third would be, each, above the bound when their turn comes.
    let sent: Vec<_> = (0..4)
        .map(|n| {
            let args = json!({"entity_id": format!("a.{n}")});
            agent.send("tool_request", json!({"tool": "get_state", "args": args}))
        })
        .collect();
    let waiting = |count: usize| {
        let open = || gateway.questions();
        eventually("the questions", || Some(open()).filter(|open| open.len() == count))
    };
    for question in waiting(3) {
        assert_eq!(question["reasons"][0]["reason"], "asked_by_limit", "{question}");
        assert_eq!(gateway.approve(question["request_id"].as_str().unwrap()), "resolved");
    }
    let mut replies = Vec::new();
    while replies.len() < sent.len() {
        replies.extend(Some(agent.receive()).filter(|message| message.get("id").is_some()));
    }
    assert!(replies.iter().all(is_executed), "{replies:?}");
    assert!(gateway.questions().is_empty(), "nobody is asked again at the claim");
    assert_eq!(counted(&gateway, "reads"), 4);

    let service = |n: usize| json!({"tool": "call_service", "args": {"domain": "a", "service": "b", "entity_id": n.to_string()}});
    for n in 0..3 {
        let call = agent.send("tool_request", service(n));
        let id = agent.asked();
        // A no is no call, so the third question is asked as well.
        if n == 1 {
            gateway.say_no(&id);
        } else {
            assert_eq!(gateway.approve(&id), "resolved");
        }
        agent.reply(call);
    }
    assert_eq!(counted(&gateway, "bother"), 2);
    assert_eq!(error(&agent.call("tool_request", service(3))), (-32003, "limit_reached"));
    assert!(gateway.questions().is_empty());
}

#[test]
fn a_session_counts_anew_when_it_made_no_call_for_so_long() {
    let clock = TestClock::new();
    let usual =
        setup("  - {name: task, pattern: \"get_state*\", per: [session], window: session, deny_above: 1}\n");
    let permissions = format!("session_idle: 1h\n{}", usual.permissions);
    let mut gateway = Gateway::with_clock(&Setup { permissions, ..usual }, &clock);
    let mut agent = Agent::login(gateway.address, TOKEN);
    assert!(is_executed(&read_in(&mut agent, "s", "a.0")));
    // A call that is denied is a call: it keeps the session.
    for minutes in [40, 80, 120] {
        clock.shift(minutes * 60);
        assert_eq!(error(&read_in(&mut agent, "s", "a.1")).1, "limit_reached", "{minutes}");
    }
    gateway.kill();
    gateway.restart();
    let mut agent = Agent::login(gateway.address, TOKEN);
    assert_eq!(error(&read_in(&mut agent, "s", "a.1")).1, "limit_reached", "a crash ends no session");
    clock.shift(182 * 60);
    assert!(is_executed(&read_in(&mut agent, "s", "a.2")), "another session of the same name");
    assert_eq!(error(&read_in(&mut agent, "s", "a.3")).1, "limit_reached");
    gateway.verify();
}

#[test]
fn seconds_run_from_the_first_call_of_the_window_and_time_heals_them() {
    let clock = TestClock::new();
    let gateway = Gateway::with_clock(
        &setup(
            "  - {name: time, pattern: \"get_state*\", per: agent, count: seconds, window: 1h, deny_above: 60}\n",
        ),
        &clock,
    );
    let mut agent = Agent::login(gateway.address, TOKEN);
    assert!(is_executed(&read(&mut agent, "a.0")));
    clock.shift(50);
    assert!(is_executed(&read(&mut agent, "a.1")));
    clock.shift(120);
    let denied = read(&mut agent, "a.2");
    assert_eq!(error(&denied), (-32003, "limit_reached"));
    let retry_after = denied["error"]["data"]["retry_after"].as_i64().unwrap();
    assert!((3400..=3600).contains(&retry_after), "{denied}");
    let mut other = Agent::login(gateway.address, LAPTOP);
    assert!(is_executed(&read(&mut other, "a.2")));
    clock.shift(120 + retry_after + 1);
    assert!(is_executed(&read(&mut agent, "a.2")), "as promised");
}

/// Whatever lets a call through, rules, people or grants, however many at once and with a crash in between: no more are made
/// than the limit allows, and as many as it allows.
#[test]
fn no_mixture_of_ways_leads_to_one_execution_too_many() {
    let usual = setup("  - {name: all, pattern: \"*\", window: day, deny_above: 40}\n");
    let permissions = usual.permissions.replace(
        "rules:\n",
        "rules:\n  - {pattern: \"call_service*\", action: ask, grant: {for: [15m], uses: 1000, scope: rule}}\n",
    );
    let mut gateway = Gateway::with(&Setup { permissions, ..usual });
    gateway.upstream.answer(|_| {
        thread::sleep(Duration::from_millis(2));
        Answer::json("{}")
    });
    for round in 0..2 {
        let mut asking = [Agent::login(gateway.address, TOKEN), Agent::login(gateway.address, LAPTOP)];
        for (at, agent) in asking.iter_mut().enumerate() {
            for n in 0..30 {
                let args = json!({"domain": "light", "service": "turn_on", "entity_id": format!("{round}.{at}.{n}")});
                agent.send("tool_request", json!({"tool": "call_service", "args": args}));
            }
        }
        // Each is asked about, made by a grant, or denied.
        asking.iter_mut().for_each(|agent| (0..30).for_each(|_| drop(agent.receive())));
        let names: [&'static str; 2] = if round == 0 { ["a", "b"] } else { ["c", "d"] };
        let bursts: Vec<_> = names.iter().map(|name| burst(&gateway, TOKEN, name, 30)).collect();
        for (n, question) in gateway.questions().iter().enumerate() {
            let mut command = json!({"command": "approve", "id": question["request_id"]});
            if n % 7 == 3 {
                command["for"] = "15m".into();
            }
            drop(gateway.say_and_leave(&[command.clone(), command]));
            if round == 0 && gateway.upstream.seen().len() >= 15 {
                break;
            }
        }
        if round == 0 {
            gateway.upstream.wait_for(15);
            gateway.kill();
            bursts.into_iter().for_each(|burst| _ = burst.join().unwrap());
            gateway.restart();
            let (seen, counted) = (gateway.upstream.seen().len(), counted(&gateway, "all"));
            assert!(
                i64::try_from(seen).unwrap() <= counted && counted <= 40,
                "{seen} done, {counted} counted"
            );
        } else {
            bursts.into_iter().for_each(|burst| _ = burst.join().unwrap());
        }
    }
    let mut agent = Agent::login(gateway.address, TOKEN);
    eventually("the limit to be reached", || {
        (error(&read(&mut agent, "z.1")).1 == "limit_reached").then_some(())
    });
    assert_eq!(counted(&gateway, "all"), 40);
    assert!(gateway.upstream.seen().len() <= 40, "{}", gateway.upstream.seen().len());
    gateway.verify();
}
