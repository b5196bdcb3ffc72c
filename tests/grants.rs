//! Grants: what a person has said yes to beforehand is let through, exactly as the words say, and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::thread;
use std::time::Duration;

use async_tungstenite::tungstenite::Message;
use harness::agent::error;
use harness::gateway::{LAPTOP, TOKEN};
use harness::site::Site;
use harness::upstream::Answer;
use harness::{Agent, Gateway, Setup, TestClock, eventually};
use serde_json::{Value, json};

const TOOLS: &str = r#"
tools:
  lamp:
    description: "Switches a lamp"
    signature: "{entity_id}"
    args:
      entity_id: {required: true}
      brightness: {type: integer}
      note: {free_text: true}
      colour: {type: array}
    extra_args: allow
    request: {method: POST, path: "/api/lamp"}
  fan:
    description: "Switches a fan"
    signature: "{entity_id}"
    args: {entity_id: {required: true}}
    request: {method: POST, path: "/api/fan"}
"#;

const RULES: &str = r#"rules:
  - {pattern: "lamp(light.desk)", action: ask, description: "The desk", grant: {for: [15m, 1h], uses: 3}}
  - {pattern: "lamp(light.door)", action: ask, always: true}
  - {pattern: "lamp(light.all*)", action: ask, grant: {for: 1h, scope: rule}}
  - {pattern: "lamp(light.one)", action: ask, grant: {for: 1h, scope: call, session: true}}
  - {pattern: "lamp(lock.*)", action: deny}
defaults:
  - {pattern: "*", action: ask}
"#;

fn setup(permissions: &str) -> Setup {
    let usual = Setup::default();
    let config = usual.config.replace("max_pending_approvals: 10", "max_pending_approvals: 100");
    let config = format!("{config}\napprovals: {{cool_down: off}}\n");
    Setup { config, tools: TOOLS.into(), permissions: permissions.into() }
}

fn is_executed(reply: &Value) -> bool {
    reply["result"]["status"] == "executed"
}

/// Asks for a lamp; the id of the question about it.
fn question(agent: &mut Agent, args: &Value) -> String {
    agent.send("tool_request", json!({"tool": "lamp", "args": args}));
    agent.asked()
}

/// What comes of a call: its reply, or None when a person is asked. The question is denied then.
fn outcome(gateway: &Gateway, agent: &mut Agent, params: Value) -> Option<Value> {
    let request = agent.send("tool_request", params);
    let reply = loop {
        let message = agent.receive();
        if message["method"] == "approval_pending" {
            break None;
        }
        if message["id"] == request {
            break Some(message);
        }
    };
    if reply.is_none() {
        gateway.say_no(&gateway.question());
        agent.reply(request);
    }
    reply
}

fn passes(gateway: &Gateway, agent: &mut Agent, args: Value) -> bool {
    let reply = outcome(gateway, agent, json!({"tool": "lamp", "args": args}));
    reply.is_some_and(|reply| is_executed(&reply))
}

/// Grants at the question about these arguments; the grant.
fn granted(gateway: &Gateway, agent: &mut Agent, args: &Value, time: &str) -> Value {
    let id = question(agent, args);
    let reply = gateway.json(&["approve", &id, "--for", time, "--json"]);
    assert_eq!(reply["outcome"], "resolved", "{reply}");
    assert!(is_executed(&agent.receive()));
    reply["grant"].clone()
}

fn grants(gateway: &Gateway, all: bool) -> Vec<Value> {
    let arguments: &[&str] = if all { &["grants", "--all", "--json"] } else { &["grants", "--json"] };
    gateway.json(arguments).as_array().unwrap().clone()
}

fn events(gateway: &Gateway, kind: &str) -> Vec<Value> {
    let output = gateway.cli(&["audit", "export"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ours = all.filter(|event| event["kind"] == kind);
    ours.map(|event| serde_json::from_str(event["body"].as_str().unwrap()).unwrap()).collect()
}

#[test]
fn an_answer_grants_what_its_words_say() {
    let gateway = Gateway::with(&setup(RULES));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let desk = json!({"entity_id": "light.desk", "brightness": 7, "note": "a"});
    let id = question(&mut agent, &desk);
    let card = gateway.cli(&["approvals"]);
    let whole = &gateway.whole_questions()[0];
    let offered =
        "every lamp(light.desk) of default, at most 3 times, for 15 min or 1 h (brightness may differ)";
    assert!(whole["shown"].to_string().contains(offered), "{whole}");
    assert_eq!(
        whole["grant"],
        json!({"for": [900, 3600], "uses": 3, "scope": "signature", "session": false})
    );
    assert!(card.status.success());

    let too_much: [&[&str]; 4] = [
        &["--for", "61m"],
        &["--for", "1h", "--uses", "4"],
        &["--for", "0s"],
        &["--for", "1h", "--uses", "0"],
    ];
    for wish in too_much {
        let arguments = [&["approve", &id, "--json"], wish].concat();
        let output = gateway.cli(&arguments);
        assert_eq!(output.status.code(), Some(4), "{arguments:?}");
        let reply: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(reply["outcome"], "refused", "{reply}");
    }
    assert_eq!(gateway.questions().len(), 1, "the question is still open");

    let reply = gateway.json(&["approve", &id, "--for", "15m", "--json"]);
    let grant = &reply["grant"];
    assert!(is_executed(&agent.receive()), "the answered call itself");
    let expected = [
        ("grant_id", json!(id)),
        ("agent_id", json!("default")),
        ("session_id", json!(null)),
        ("scope", json!("signature")),
        ("covers", json!("every lamp(light.desk) of default (brightness may differ)")),
        ("rule", json!("The desk")),
        ("uses_left", json!(3)),
        ("ended", json!(null)),
    ];
    for (name, value) in expected {
        assert_eq!(grant[name], value, "{name}");
    }
    assert!(grant["granted_by"].as_str().unwrap().starts_with("local:"));
    assert_eq!(grants(&gateway, false), vec![grant.clone()]);

    for other in [
        json!({"entity_id": "light.desk", "brightness": 7, "note": "b"}),
        json!({"entity_id": "light.desk", "brightness": 7}),
        json!({"entity_id": "light.desk", "note": "a", "colour": [1]}),
        json!({"entity_id": "light.desk", "note": "a", "undeclared": 1}),
        json!({"entity_id": "light.hall", "note": "a"}),
    ] {
        assert!(!passes(&gateway, &mut agent, other.clone()), "{other}");
    }
    let mut laptop = Agent::login(gateway.address, LAPTOP);
    assert!(!passes(&gateway, &mut laptop, desk.clone()), "of another agent");
    for (left, brightness) in [(2, 7), (1, 8), (0, 9)] {
        let args = json!({"entity_id": "light.desk", "brightness": brightness, "note": "a"});
        let reply = agent.request("lamp", args);
        let told = &reply["result"]["grant"];
        assert_eq!((&told["grant_id"], &told["uses_left"]), (&json!(id), &json!(left)), "{reply}");
        assert_eq!(told["until"], grant["until"]);
    }
    assert!(!passes(&gateway, &mut agent, desk), "it is used up, and a person is asked");
    assert_eq!(grants(&gateway, false), [] as [Value; 0]);
    assert_eq!(grants(&gateway, true)[0]["ended"], "used up");
    let uses: Vec<_> = events(&gateway, "requested").into_iter().filter(|e| e["grant"].is_object()).collect();
    assert_eq!(uses.len(), 3);
    assert_eq!(uses[0]["grant"], json!({"grant_id": id, "uses": 1}));
    assert_eq!(uses[0]["reasons"], json!([{"reason": "granted", "grant_id": id}]));
    assert_eq!(events(&gateway, "granted").len(), 1);
    gateway.verify();
}

#[test]
fn scopes_sessions_and_what_is_not_offered() {
    let gateway = Gateway::with(&setup(RULES));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let id = question(&mut agent, &json!({"entity_id": "light.hall"}));
    let output = gateway.cli(&["approve", &id, "--for", "15m"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing can be granted here"), "{output:?}");
    gateway.say_no(&id);
    agent.receive();

    let grant = granted(&gateway, &mut agent, &json!({"entity_id": "light.all1"}), "1h");
    assert_eq!(grant["covers"], "everything of default that \"lamp(light.all*)\" asks about");
    assert_eq!(grant["uses_left"], json!(null));
    assert!(passes(&gateway, &mut agent, json!({"entity_id": "light.all2", "undeclared": 1})));
    assert!(!passes(&gateway, &mut agent, json!({"entity_id": "light.hall"})));

    let one = json!({"entity_id": "light.one", "brightness": 1});
    let in_session = |args: &Value| json!({"tool": "lamp", "args": args, "session_id": "s"});
    agent.send("tool_request", in_session(&one));
    let id = agent.asked();
    let grant = gateway.json(&["approve", &id, "--for", "1h", "--json"])["grant"].clone();
    assert_eq!(grant["session_id"], "s");
    assert_eq!(grant["covers"], "every lamp(light.one) of default with the same arguments, in session \"s\"");
    assert!(is_executed(&agent.receive()));
    assert!(outcome(&gateway, &mut agent, in_session(&one)).is_some_and(|reply| is_executed(&reply)));
    assert!(!passes(&gateway, &mut agent, one), "not in the unnamed session");
    let other = json!({"entity_id": "light.one", "brightness": 2});
    assert_eq!(outcome(&gateway, &mut agent, in_session(&other)), None);
    gateway.verify();
}

#[test]
fn beforehand_only_ask_becomes_allow() {
    let rules = format!(
        "{RULES}limits:\n  - {{name: few, pattern: \"fan*\", window: 1h, ask_above: 1, deny_above: 2}}\n"
    );
    let gateway = Gateway::with(&setup(&rules));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let give = |pattern: &str, more: &[&str]| {
        gateway.json(&[&["grant", "default", pattern, "--for", "1h", "--json"], more].concat())["grant"]
            .clone()
    };
    let grant = give("*", &[]);
    assert_eq!((&grant["scope"], &grant["rule"]), (&json!("pattern"), &json!(null)));
    assert_eq!(grant["covers"], "every * of default");
    assert!(passes(&gateway, &mut agent, json!({"entity_id": "light.hall"})));
    assert!(!passes(&gateway, &mut agent, json!({"entity_id": "light.door"})), "always asks");
    let denied = agent.request("lamp", json!({"entity_id": "lock.front"}));
    assert_eq!(error(&denied), (-32003, "denied_by_policy"));
    let fan = |n: usize| json!({"tool": "fan", "args": {"entity_id": format!("fan.{n}")}});
    assert!(outcome(&gateway, &mut agent, fan(1)).is_some_and(|reply| is_executed(&reply)));
    assert_eq!(outcome(&gateway, &mut agent, fan(2)), None, "the limit asks, whatever is granted");

    let revoked = gateway.json(&["grants", "revoke", grant["grant_id"].as_str().unwrap(), "--json"]);
    assert!(revoked[0]["ended"].as_str().unwrap().starts_with("revoked by local:"), "{revoked}");
    assert!(!passes(&gateway, &mut agent, json!({"entity_id": "light.hall"})));
    give("lamp(light.h*)", &["--session", "s", "--uses", "1"]);
    assert!(!passes(&gateway, &mut agent, json!({"entity_id": "light.hall"})));
    let args = json!({"tool": "lamp", "args": {"entity_id": "light.hall"}, "session_id": "s"});
    assert!(outcome(&gateway, &mut agent, args.clone()).is_some_and(|reply| is_executed(&reply)));
    assert_eq!(outcome(&gateway, &mut agent, args), None);
    for bad in [
        &["grant", "nobody", "*", "--for", "1h"][..],
        &["grant", "default", "no_such_tool*", "--for", "1h"],
        &["grant", "default", "*", "--for", "31d"],
        &["grant", "default", "*", "--for", "soon"],
        &["grant", "default", "*", "--for", "1h", "--uses", "0"],
        &["grants", "revoke"],
        &["grants", "revoke", "a", "--all"],
    ] {
        assert_eq!(gateway.cli(bad).status.code(), Some(4), "{bad:?}");
    }
    assert_eq!(gateway.cli(&["grants", "revoke", "0000"]).status.code(), Some(5));
    give("lamp*", &[]);
    assert_eq!(gateway.json(&["grants", "revoke", "--agent", "laptop", "--json"]), json!([]));
    assert_eq!(gateway.json(&["grants", "revoke", "--all", "--json"]).as_array().unwrap().len(), 1);
    gateway.verify();
}

#[test]
fn time_is_never_extended() {
    let clock = TestClock::new();
    let mut gateway = Gateway::with_clock(&setup(RULES), &clock);
    let mut agent = Agent::login(gateway.address, TOKEN);
    let hall = || json!({"entity_id": "light.hall"});
    let give = |gateway: &Gateway, time: &str| {
        gateway.json(&["grant", "default", "lamp(light.hall)", "--for", time, "--json"]);
    };
    give(&gateway, "1h");
    assert!(passes(&gateway, &mut agent, hall()));
    clock.shift(3601);
    assert!(!passes(&gateway, &mut agent, hall()), "its time is over by the wall clock");
    assert_eq!(grants(&gateway, true)[0]["ended"], "its time is over");
    eventually("its end in the record", || (events(&gateway, "grant_ended").len() == 1).then_some(()));

    // A clock set back within what may still be right: the machine's own time counts.
    give(&gateway, "10s");
    clock.shift(3601 - 200);
    eventually("ten seconds by the machine's own time", || grants(&gateway, false).is_empty().then_some(()));
    assert!(!passes(&gateway, &mut agent, hall()));

    // Set back further, nobody knows the time: nothing that lasts for a while lets anything through.
    clock.shift(3601);
    give(&gateway, "1h");
    assert!(passes(&gateway, &mut agent, hall()));
    clock.shift(0);
    assert!(!passes(&gateway, &mut agent, hall()));
    clock.shift(3601);

    // Down over its end.
    give(&gateway, "20m");
    gateway.kill();
    clock.shift(3601 + 3600);
    gateway.restart();
    let mut agent = Agent::login(gateway.address, TOKEN);
    assert!(!passes(&gateway, &mut agent, hall()), "it ended while the gateway was down");
    gateway.verify();
}

#[test]
fn a_changed_rule_tool_or_agent_ends_it_and_a_moved_rule_does_not() {
    let gateway = Gateway::with(&setup(RULES));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let all = || json!({"entity_id": "light.all1"});
    let reload = |setup: &Setup| {
        gateway.configure(setup);
        assert!(gateway.cli(&["reload"]).status.success());
    };
    let last_end = || grants(&gateway, true)[0]["ended"].as_str().map(str::to_owned);
    granted(&gateway, &mut agent, &all(), "1h");
    let moved = RULES.replace("rules:\n", "rules:\n  - {pattern: \"fan(x)\", action: deny}\n");
    reload(&setup(&moved));
    assert!(passes(&gateway, &mut agent, all()), "the rule says the same");
    reload(&setup(&RULES.replace("scope: rule}}", "scope: rule}, risk: [data_mutation, none]}")));
    assert!(!passes(&gateway, &mut agent, all()));
    assert_eq!(last_end().as_deref(), Some("the rule has changed"));
    reload(&setup(RULES));
    assert!(!passes(&gateway, &mut agent, all()), "what has ended stays ended");

    granted(&gateway, &mut agent, &all(), "1h");
    let changed = Setup { tools: TOOLS.replace("Switches a lamp", "Switches any lamp"), ..setup(RULES) };
    reload(&changed);
    assert_eq!(last_end().as_deref(), Some("a tool that it covers has changed"));
    assert!(!passes(&gateway, &mut agent, all()));
    reload(&setup(RULES));

    gateway.json(&["grant", "laptop", "fan*", "--for", "1h", "--json"]);
    let without = setup(RULES);
    let config =
        without.config.replace("  laptop: {token: \"a-token-of-the-laptop-agent\", may_explain: true}\n", "");
    reload(&Setup { config, ..without });
    assert_eq!(last_end().as_deref(), Some("the agent was removed"));
    let whys: Vec<_> = events(&gateway, "grant_ended").iter().map(|e| e["why"].clone()).collect();
    assert_eq!(whys, ["rule_changed", "tool_changed", "agent_removed"]);
    gateway.verify();
}

/// Calls sent before any is answered; how many were executed. Fewer answers come when the gateway is gone.
fn burst(gateway: &Gateway, name: &'static str, count: usize) -> thread::JoinHandle<usize> {
    let mut agent = Agent::login(gateway.address, TOKEN);
    thread::spawn(move || {
        let mut executed = 0;
        for n in 0..count {
            let args = json!({"entity_id": format!("light.{name}{n}")});
            let params = json!({"tool": "lamp", "args": args});
            let request = json!({"jsonrpc": "2.0", "id": n, "method": "tool_request", "params": params});
            if agent.socket.send(Message::text(request.to_string())).is_err() {
                return executed;
            }
        }
        let mut heard = 0;
        while heard < count {
            let Ok(reply) = agent.try_receive() else { return executed };
            executed += usize::from(is_executed(&reply));
            heard += 1;
        }
        executed
    })
}

#[test]
fn uses_are_executions_at_most_whatever_comes_at_once_and_however_it_ends() {
    let mut gateway = Gateway::with(&setup(RULES));
    gateway.upstream.answer(|_| {
        thread::sleep(Duration::from_millis(3));
        Answer::json("{}")
    });
    gateway.json(&["grant", "default", "lamp*", "--for", "1h", "--uses", "60", "--json"]);
    let left = |gateway: &Gateway| grants(gateway, true)[0]["uses_left"].as_u64().unwrap();
    let names: [&'static str; 3] = ["a", "b", "c"];
    for round in 1..=2 {
        let bursts: Vec<_> = names.iter().map(|name| burst(&gateway, name, 10)).collect();
        gateway.upstream.wait_for(round * 10);
        gateway.kill();
        bursts.into_iter().for_each(|burst| drop(burst.join()));
        gateway.restart();
        let (seen, left) = (gateway.upstream.seen().len() as u64, left(&gateway));
        assert!(seen + left <= 60, "{seen} executed and {left} left");
    }
    // What is left goes to exactly as many of those who come at once.
    let before = left(&gateway);
    let names: [&'static str; 9] = ["d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let bursts: Vec<_> = names.iter().map(|name| burst(&gateway, name, 10)).collect();
    let executed: usize = bursts.into_iter().map(|burst| burst.join().unwrap()).sum();
    assert_eq!(executed as u64, before);
    assert!(gateway.upstream.seen().len() <= 60);
    assert_eq!(left(&gateway), 0);
    gateway.verify();
    // The tables say the same when they are made anew.
    assert!(gateway.terminate() == Some(0));
    assert!(gateway.cli(&["audit", "rebuild"]).status.success());
    gateway.restart();
    assert_eq!(grants(&gateway, true)[0]["uses_left"], 0);
}

#[test]
fn a_start_believes_only_what_events_prove() {
    let mut gateway = Gateway::with(&setup(RULES));
    gateway.json(&["grant", "default", "lamp*", "--for", "1h", "--uses", "2", "--json"]);
    let mut agent = Agent::login(gateway.address, TOKEN);
    assert!(passes(&gateway, &mut agent, json!({"entity_id": "light.a"})));
    gateway.json(&["grant", "default", "fan*", "--for", "1h", "--json"]);
    gateway.json(&["grants", "revoke", "--all", "--json"]);
    gateway.json(&["grant", "default", "lamp*", "--for", "1h", "--uses", "2", "--json"]);
    assert!(passes(&gateway, &mut agent, json!({"entity_id": "light.a"})));
    assert_eq!(gateway.terminate(), Some(0));
    let db = rusqlite::Connection::open(gateway.path("data/agentpass.db")).unwrap();
    db.execute("UPDATE grants SET used = 0, ended = NULL, ended_at = NULL, ended_by = NULL", []).unwrap();
    drop(db);
    gateway.restart();
    let lasting = grants(&gateway, false);
    assert_eq!(lasting.len(), 1, "{lasting:?}");
    assert_eq!(lasting[0]["uses_left"], 1);
    let mut agent = Agent::login(gateway.address, TOKEN);
    assert!(passes(&gateway, &mut agent, json!({"entity_id": "light.a"})));
    assert!(!passes(&gateway, &mut agent, json!({"entity_id": "light.a"})));
}

#[test]
fn the_pages_grant_show_and_revoke_without_scripts() {
    let pages = Setup::with_pages().config;
    let config = format!("{pages}\napprovals: {{cool_down: off, grant: {{for: [15m], scope: call}}}}\n");
    let gateway = Gateway::with(&Setup { config, ..setup(RULES) });
    let mut agent = Agent::login(gateway.address, TOKEN);
    let hall = json!({"entity_id": "light.hall"});
    let id = question(&mut agent, &hall);
    let site = Site::signed_in(&gateway);
    let card = site.get("/approvals/").body;
    assert!(card.contains("every lamp(light.hall) of default with the same arguments, for 15 min"), "{card}");
    assert!(card.contains("value=\"approve:900\""), "{card}");
    let shown = gateway.whole_questions()[0]["digest"].as_str().unwrap().to_owned();
    let too_long = site.answer(&id, &[("choice", "approve:901"), ("digest", &shown)]);
    assert_eq!(too_long["outcome"], "refused", "{too_long}");
    let page = site.post(&format!("/approvals/{id}"), &[("choice", "approve:900"), ("digest", &shown)]);
    assert_eq!(page.status, 303, "{page:?}");
    assert!(is_executed(&agent.receive()));
    assert!(passes(&gateway, &mut agent, hall.clone()));
    assert!(site.get("/").body.contains("1 grant"));
    let page = site.get("/grants/");
    assert!(page.body.contains("every lamp(light.hall) of default with the same arguments"), "{page:?}");
    assert_eq!(site.post("/grants/revoke", &[("which", &id)]).status, 303);
    assert!(site.get("/grants/").body.contains("ended: revoked by web:"));
    assert!(!passes(&gateway, &mut agent, hall));
    assert_eq!(Site::of(&gateway).get("/grants/").status, 401);
}

/// A call that waits under a grant which ends is let through by another one, and says so.
#[test]
fn the_grant_that_is_named_is_the_one_that_was_used() {
    let usual = setup(RULES);
    let config = usual.config.replace("rate_limit:", "max_concurrent_calls: 1\nrate_limit:");
    let gateway = Gateway::with(&Setup { config, ..usual });
    gateway.upstream.answer(|_| Answer::Hold);
    let give = |time: &str| {
        let given = gateway.json(&["grant", "default", "*", "--for", time, "--json"]);
        given["grant"]["grant_id"].as_str().unwrap().to_owned()
    };
    let (first, second) = (give("1h"), give("2h"));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let holds = agent.send("tool_request", json!({"tool": "fan", "args": {"entity_id": "fan.1"}}));
    gateway.upstream.wait_for(1);
    let waits = agent.send("tool_request", json!({"tool": "fan", "args": {"entity_id": "fan.2"}}));
    eventually("it is judged", || (gateway.log().matches("allow fan").count() == 2).then_some(()));
    gateway.json(&["grants", "revoke", &first, "--json"]);
    gateway.upstream.release();
    let replies = [agent.receive(), agent.receive()];
    let named = |id: u64| {
        let reply = replies.iter().find(|reply| reply["id"] == id).unwrap();
        assert!(is_executed(reply), "{reply}");
        reply["result"]["grant"]["grant_id"].as_str().unwrap().to_owned()
    };
    assert_eq!((named(holds), named(waits)), (first, second));
}
