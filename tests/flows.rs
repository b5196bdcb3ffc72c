//! Data that an agent has read goes with it: flows and `after` see it whatever hands it out, over restarts and crashes,
//! until its time is over or a person lets it be forgotten.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use harness::gateway::{LAPTOP, TOKEN};
use harness::site::Site;
use harness::{Agent, Answer, Gateway, Setup, TestClock, error, eventually};
use serde_json::{Value, json};

const TOOLS: &str = r#"
tools:
  customer:
    kind: read
    data: {from: crm, labels: [pii]}
    args: {id: {required: true}}
    signature: "{id}"
    request: {method: GET, path: "/customers/{id}"}
  page:
    kind: read
    data: {untrusted: true}
    request: {method: GET, path: /page}
  weather:
    request: {method: GET, path: /weather}
  mail:
    kind: send
    data: {to: external_email, domain: {arg: to}}
    args: {to: {type: string, required: true}, subject: {free_text: true}}
    extra_args: refuse
    request: {method: POST, path: /mail}
  hook:
    data: {to: webhook}
    args: {text: {free_text: true}}
    extra_args: refuse
    request: {method: POST, path: /hook}
  post:
    kind: send
    args: {text: {free_text: true}}
    extra_args: refuse
    request: {method: POST, path: /post}
"#;

const PERMISSIONS: &str = r#"
rules:
  - {kinds: [send], after: [untrusted, pii], action: deny, description: "Private data, foreign text and a way out"}
  - {pattern: "*", action: allow}
flows:
  - {from: crm, to: external_email, labels: [pii], action: ask, domains: [customer.example], description: "Customers' own mail"}
"#;

fn setup() -> Setup {
    Setup { tools: TOOLS.into(), permissions: PERMISSIONS.into(), ..Setup::default() }
}

fn start() -> Gateway {
    let gateway = Gateway::with(&setup());
    gateway.upstream.answer(|_| Answer::json(r#"{"name":"Anna"}"#));
    gateway
}

fn agent(gateway: &Gateway) -> Agent {
    Agent::bearer(gateway.address, TOKEN)
}

/// `executed`, or the reason of the refusal.
fn told(reply: &Value) -> String {
    match reply["result"]["status"].as_str() {
        Some(status) => status.to_owned(),
        None => error(reply).1.to_owned(),
    }
}

fn mail(agent: &mut Agent, to: &str) -> Value {
    agent.request("mail", json!({ "to": to }))
}

/// What the agent "default" carries, as `agents --json` says it.
fn carried(gateway: &Gateway) -> Value {
    let agents = gateway.json(&["agents", "--json"]);
    let own = agents.as_array().unwrap().iter().find(|agent| agent["agent"] == "default").unwrap();
    own["labels"].clone()
}

#[test]
fn what_was_read_is_not_mailed_to_a_stranger() {
    let gateway = start();
    let mut agent = agent(&gateway);
    assert_eq!(told(&mail(&mut agent, "eve@evil.example")), "executed", "it has read nothing yet");
    assert_eq!(told(&agent.request("customer", json!({"id": "7"}))), "executed");
    let denied = mail(&mut agent, "eve@evil.example");
    assert_eq!(error(&denied), (-32003, "flow_denied"));
    assert_eq!(
        denied["error"]["data"]["reasons"],
        json!([{"reason": "flow_denied", "flow": "Customers' own mail"}])
    );
    // Not even the word of a person lifts it, and nothing of the address is told.
    assert!(!denied.to_string().contains("evil"), "{denied}");
    let id = agent.send("tool_request", json!({"tool": "mail", "args": {"to": "anna@customer.example"}}));
    let question = agent.asked();
    gateway.approve(&question);
    assert_eq!(told(&agent.reply(id)), "executed");
    // No flow speaks of webhooks: what is sensitive does not go there.
    let hook = agent.request("hook", json!({"text": "x"}));
    assert_eq!(hook["error"]["data"]["reasons"], json!([{"reason": "flow_denied", "flow": "crm → webhook"}]));
    let mut other = Agent::bearer(gateway.address, LAPTOP);
    assert_eq!(
        told(&other.request("hook", json!({"text": "x"}))),
        "executed",
        "another agent has read nothing"
    );
    gateway.verify();
}

#[test]
fn three_harmless_calls_are_not_harmless_together() {
    let gateway = start();
    let mut agent = agent(&gateway);
    for tool in ["post", "page", "post", "weather", "post"] {
        assert_eq!(told(&agent.request(tool, json!({}))), "executed", "{tool}");
    }
    assert_eq!(told(&agent.request("customer", json!({"id": "7"}))), "executed");
    assert_eq!(carried(&gateway), json!(["pii", "untrusted"]));
    let denied = agent.request("post", json!({}));
    assert_eq!(error(&denied), (-32003, "denied_by_policy"));
    assert_eq!(denied["error"]["data"]["reasons"][0]["rule"], "Private data, foreign text and a way out");
    assert_eq!(told(&agent.request("weather", json!({}))), "executed");
    // A call that failed has read nothing.
    let mut other = Agent::bearer(gateway.address, LAPTOP);
    other.request("page", json!({}));
    gateway.upstream.answer(|_| Answer::Reply(500, "text/plain", "no".into()));
    assert_eq!(told(&other.request("customer", json!({"id": "8"}))), "service_error");
    gateway.upstream.answer(|_| Answer::json("{}"));
    assert_eq!(told(&other.request("post", json!({}))), "executed");
}

#[test]
fn it_outlives_restarts_and_crashes_until_it_is_forgotten() {
    let mut gateway = start();
    assert_eq!(told(&agent(&gateway).request("customer", json!({"id": "7"}))), "executed");
    gateway.kill();
    gateway.restart();
    assert_eq!(carried(&gateway), json!(["pii"]));
    assert_eq!(told(&agent(&gateway).request("hook", json!({}))), "flow_denied");
    gateway.terminate();
    gateway.restart();
    assert_eq!(told(&agent(&gateway).request("hook", json!({}))), "flow_denied");
    let forgotten = gateway.cli(&["forget", "nobody"]);
    assert_eq!(forgotten.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&forgotten.stderr).contains("there is no such agent"));
    let forgotten = gateway.cli(&["forget", "default"]);
    assert_eq!(String::from_utf8_lossy(&forgotten.stdout), "what default has read is forgotten\n");
    assert_eq!(carried(&gateway), json!([]));
    assert_eq!(told(&agent(&gateway).request("hook", json!({}))), "executed");
    gateway.kill();
    gateway.restart();
    assert_eq!(carried(&gateway), json!([]));
    let exported = gateway.cli(&["audit", "export"]);
    let events = String::from_utf8(exported.stdout).unwrap();
    let event = events.lines().find(|line| line.contains("\"forgotten\"")).unwrap();
    assert!(event.contains("local:"), "who did it: {event}");
    gateway.verify();
}

#[test]
fn its_time_goes_by() {
    let clock = TestClock::new();
    let gateway = Gateway::with_clock(&setup(), &clock);
    gateway.upstream.answer(|_| Answer::json("{}"));
    let mut agent = agent(&gateway);
    agent.request("customer", json!({"id": "7"}));
    clock.shift(8 * 3600 - 600);
    assert_eq!(told(&agent.request("hook", json!({}))), "flow_denied");
    clock.shift(8 * 3600 + 600);
    assert_eq!(told(&agent.request("hook", json!({}))), "executed");
    assert_eq!(carried(&gateway), json!([]));
}

/// A result is read when it is handed out, however long ago its call was made.
#[test]
fn an_outcome_that_is_told_once_more_is_read_once_more() {
    let clock = TestClock::new();
    let gateway = Gateway::with_clock(&setup(), &clock);
    gateway.upstream.answer(|_| Answer::json("{}"));
    let mut one = agent(&gateway);
    let keyed = json!({"tool": "customer", "args": {"id": "7"}, "idempotency_key": "k"});
    assert_eq!(told(&one.call("tool_request", keyed.clone())), "executed");
    clock.shift(9 * 3600);
    assert_eq!(told(&one.request("hook", json!({"text": "a"}))), "executed");
    let again = one.call("tool_request", keyed);
    assert_eq!(again["result"]["replayed"], true, "{again}");
    assert_eq!(told(&one.request("hook", json!({"text": "b"}))), "flow_denied");
    assert_eq!(gateway.upstream.seen().len(), 2);
}

#[test]
fn the_inbox_hands_data_out_too() {
    let mut gateway = start();
    gateway.upstream.answer(|_| Answer::Hold);
    let mut gone = agent(&gateway);
    gone.send("tool_request", json!({"tool": "customer", "args": {"id": "7"}}));
    gateway.upstream.wait_for(1);
    drop(gone);
    gateway.upstream.release();
    gateway.upstream.answer(|_| Answer::json("{}"));
    let ended = || gateway.audit().iter().any(|row| row["outcome"] == "executed").then_some(());
    eventually("the call ends", ended);
    gateway.cli(&["forget", "default"]);
    let mut back = agent(&gateway);
    assert_eq!(told(&back.request("hook", json!({"text": "a"}))), "executed");
    let results = back.call("get_pending_results", json!({}));
    assert_eq!(results["result"]["results"][0]["tool_name"], "customer", "{results}");
    assert_eq!(told(&back.request("hook", json!({"text": "b"}))), "flow_denied");
    gateway.kill();
    gateway.restart();
    assert_eq!(carried(&gateway), json!(["pii"]));
    gateway.verify();
}

#[test]
fn a_session_keeps_what_it_has_read_where_the_owner_wants_it_so() {
    let permissions = format!("{PERMISSIONS}data: {{remember: session}}\n");
    let mut gateway = Gateway::with(&Setup { permissions, ..setup() });
    gateway.upstream.answer(|_| Answer::json("{}"));
    let call = |agent: &mut Agent, tool: &str, session: Option<&str>, n: u32| {
        let args =
            if tool == "customer" { json!({"id": n.to_string()}) } else { json!({"text": n.to_string()}) };
        let mut params = json!({"tool": tool, "args": args});
        if let Some(session) = session {
            params["session_id"] = session.into();
        }
        told(&agent.call("tool_request", params))
    };
    let mut one = agent(&gateway);
    assert_eq!(call(&mut one, "customer", Some("a"), 1), "executed");
    assert_eq!(call(&mut one, "hook", Some("a"), 2), "flow_denied");
    assert_eq!(call(&mut one, "hook", Some("b"), 3), "executed");
    assert_eq!(call(&mut one, "hook", None, 4), "executed");
    gateway.kill();
    gateway.restart();
    let mut one = agent(&gateway);
    assert_eq!(call(&mut one, "hook", Some("a"), 5), "flow_denied");
    assert_eq!(call(&mut one, "hook", Some("b"), 6), "executed");
}

/// The call that was allowed, and waits, is looked at again when its agent has read something meanwhile.
#[test]
fn a_call_that_waits_is_looked_at_again_after_its_agent_has_read() {
    let config = Setup::default().config.replace("rate_limit:", "max_concurrent_calls: 1\nrate_limit:");
    let gateway = Gateway::with(&Setup { config, ..setup() });
    gateway.upstream.answer(|_| Answer::json("{}"));
    let mut one = agent(&gateway);
    let keyed = json!({"tool": "customer", "args": {"id": "7"}, "idempotency_key": "k"});
    assert_eq!(told(&one.call("tool_request", keyed.clone())), "executed");
    assert!(gateway.cli(&["forget", "default"]).status.success());
    gateway.upstream.answer(|_| Answer::Hold);
    let weather = one.send("tool_request", json!({"tool": "weather", "args": {}}));
    gateway.upstream.wait_for(2);
    let hook = one.send("tool_request", json!({"tool": "hook", "args": {}}));
    eventually("it is judged", || gateway.log().contains("allow hook").then_some(()));
    assert_eq!(told(&one.call("tool_request", keyed)), "executed");
    gateway.upstream.release();
    let replies = [one.receive(), one.receive()];
    let to = |id: u64| told(replies.iter().find(|reply| reply["id"] == id).unwrap());
    assert_eq!([to(weather), to(hook)], ["executed", "flow_denied"]);
    assert_eq!(gateway.upstream.seen().len(), 2);
}

/// The same when it waits into a time in which a rule denies it.
#[test]
fn a_call_that_waits_is_looked_at_again_when_its_time_is_over() {
    let clock = TestClock::new();
    let config = Setup::default().config.replace("rate_limit:", "max_concurrent_calls: 1\nrate_limit:");
    let minutes = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() / 60;
    let at = |later: u64| format!("{:02}:{:02}", (minutes + later) / 60 % 24, (minutes + later) % 60);
    let time = format!("{{from: \"{}\", to: \"{}\", zone: UTC}}", at(30), at(90));
    let permissions = format!(
        "rules:\n  - {{pattern: \"hook\", time: {time}, action: deny}}\n  - {{pattern: \"*\", action: allow}}\n"
    );
    let gateway = Gateway::with_clock(&Setup { config, permissions, ..setup() }, &clock);
    gateway.upstream.answer(|_| Answer::Hold);
    let mut one = agent(&gateway);
    let weather = one.send("tool_request", json!({"tool": "weather", "args": {}}));
    gateway.upstream.wait_for(1);
    let hook = one.send("tool_request", json!({"tool": "hook", "args": {}}));
    eventually("it is judged", || gateway.log().contains("allow hook").then_some(()));
    clock.shift(3600);
    gateway.upstream.release();
    let replies = [one.receive(), one.receive()];
    let to = |id: u64| told(replies.iter().find(|reply| reply["id"] == id).unwrap());
    assert_eq!([to(weather), to(hook)], ["executed", "denied_by_policy"]);
    assert_eq!(gateway.upstream.seen().len(), 1);
}

#[test]
fn flows_are_counted_by_their_names() {
    let usual = setup();
    let config = Setup::with_pages().config;
    let gateway = Gateway::with(&Setup { config, ..usual });
    gateway.upstream.answer(|_| Answer::json("{}"));
    let mut one = agent(&gateway);
    one.request("customer", json!({"id": "7"}));
    for n in 0..2 {
        assert_eq!(told(&one.request("hook", json!({"text": n.to_string()}))), "flow_denied");
    }
    assert_eq!(told(&mail(&mut one, "eve@evil.example")), "flow_denied");
    let metrics = Site::of(&gateway).get("/metrics").body;
    for (name, count) in [("crm → webhook", 2), ("Customers' own mail", 1)] {
        let line =
            format!("agentpass_policy_reasons_total{{reason=\"flow_denied\",name=\"{name}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
}

/// What a rule denies now is not told again, though it was done once.
#[test]
fn a_replay_is_judged_by_the_deny_rules_again() {
    let gateway = start();
    let mut one = agent(&gateway);
    let keyed = json!({"tool": "customer", "args": {"id": "7"}, "idempotency_key": "k"});
    assert_eq!(told(&one.call("tool_request", keyed.clone())), "executed");
    let deny = "rules:\n  - {pattern: \"customer(*)\", action: deny, description: \"No customers\"}\n";
    gateway.configure(&Setup { permissions: PERMISSIONS.replace("rules:\n", deny), ..setup() });
    assert!(gateway.cli(&["reload"]).status.success());
    let denied = one.call("tool_request", keyed.clone());
    assert_eq!(error(&denied), (-32003, "denied_by_policy"));
    assert_eq!(denied["error"]["data"]["rule"], "No customers", "{denied}");
    gateway.configure(&setup());
    assert!(gateway.cli(&["reload"]).status.success());
    assert_eq!(one.call("tool_request", keyed)["result"]["replayed"], true);
    assert_eq!(gateway.upstream.seen().len(), 1);
}

/// Its own session has read it, though the call was another's.
#[test]
fn who_joins_a_call_of_another_session_by_its_key_has_read_too() {
    let permissions = format!("{PERMISSIONS}data: {{remember: session}}\n");
    let mut gateway = Gateway::with(&Setup { permissions, ..setup() });
    gateway.upstream.answer(|seen| match seen.target.starts_with("/customers") {
        true => Answer::Hold,
        false => Answer::json("{}"),
    });
    let mut one = agent(&gateway);
    let customer = |session| json!({"tool": "customer", "args": {"id": "7"}, "idempotency_key": "k", "session_id": session});
    let hook =
        |session, n: u32| json!({"tool": "hook", "args": {"text": n.to_string()}, "session_id": session});
    let first = one.send("tool_request", customer("a"));
    gateway.upstream.wait_for(1);
    let second = one.send("tool_request", customer("b"));
    // What came before has been seen by then.
    assert_eq!(told(&one.call("tool_request", hook("b", 1))), "executed");
    gateway.upstream.release();
    let replies = [one.receive(), one.receive()];
    for id in [first, second] {
        assert_eq!(told(replies.iter().find(|reply| reply["id"] == id).unwrap()), "executed");
    }
    let denied = |one: &mut Agent, n| {
        let told = ["a", "b", "c"].map(|session| told(&one.call("tool_request", hook(session, n))));
        assert_eq!(told, ["flow_denied", "flow_denied", "executed"]);
    };
    denied(&mut one, 2);
    assert_eq!(gateway.upstream.seen().len(), 3);
    gateway.kill();
    gateway.restart();
    denied(&mut agent(&gateway), 3);
    gateway.verify();
}

/// What the tool is going to read counts as read, for rules that ask what was read and for flows.
#[test]
fn a_tool_that_reads_and_sends_in_one_call_is_seen() {
    let tools = "  forward:\n    kind: send\n    data: {from: crm, labels: [pii], untrusted: true, to: webhook}\n    request: {method: POST, path: /forward}\n\
                 \x20 answer:\n    kind: send\n    data: {from: tickets, labels: [pii], untrusted: true}\n    request: {method: POST, path: /answer}\n";
    let gateway = Gateway::with(&Setup { tools: format!("{TOOLS}{tools}"), ..setup() });
    let mut one = agent(&gateway);
    let denied = one.request("answer", json!({}));
    assert_eq!(
        denied["error"]["data"]["reasons"][0]["rule"], "Private data, foreign text and a way out",
        "{denied}"
    );
    let denied = one.request("forward", json!({}));
    let reasons = denied["error"]["data"]["reasons"].as_array().unwrap();
    let kinds: Vec<_> = reasons.iter().map(|reason| &reason["reason"]).collect();
    assert_eq!(kinds, ["denied_by_policy", "flow_denied"], "in the order rules, flows: {denied}");
    assert_eq!(
        (&reasons[1]["flow"], denied["error"]["data"].get("retry_after")),
        (&json!("crm → webhook"), None)
    );
    assert!(gateway.upstream.seen().is_empty());
    assert_eq!(carried(&gateway), json!([]), "nothing was read");
}

#[test]
fn where_nothing_is_remembered_only_the_call_itself_counts() {
    let permissions = format!("{PERMISSIONS}data: {{remember: off}}\n");
    let tools = format!(
        "{TOOLS}  forward:\n    data: {{from: crm, labels: [pii], to: webhook}}\n    request: {{method: POST, path: /forward}}\n"
    );
    let gateway = Gateway::with(&Setup { permissions, tools, ..setup() });
    gateway.upstream.answer(|_| Answer::json("{}"));
    let mut one = agent(&gateway);
    for tool in ["customer", "page", "hook", "post"] {
        let args = if tool == "customer" { json!({"id": "7"}) } else { json!({}) };
        assert_eq!(told(&one.request(tool, args)), "executed", "{tool}");
    }
    assert_eq!(told(&one.request("forward", json!({}))), "flow_denied");
}

#[test]
fn a_denial_by_a_flow_or_a_stop_is_not_kept_under_its_key() {
    let gateway = start();
    let mut one = agent(&gateway);
    one.request("customer", json!({"id": "7"}));
    let keyed = |n: u32| json!({"tool": "hook", "args": {"text": "x"}, "idempotency_key": format!("k{n}")});
    assert_eq!(told(&one.call("tool_request", keyed(1))), "flow_denied");
    assert!(gateway.cli(&["kill"]).status.success());
    assert_eq!(told(&one.call("tool_request", keyed(2))), "kill_switch");
    assert!(gateway.cli(&["resume"]).status.success());
    assert!(gateway.cli(&["forget", "default"]).status.success());
    for n in [1, 2] {
        let reply = one.call("tool_request", keyed(n));
        assert_eq!((told(&reply), reply["result"].get("replayed")), ("executed".into(), None), "{reply}");
        assert_eq!(one.call("tool_request", keyed(n))["result"]["replayed"], true);
    }
}

#[test]
fn the_owner_and_the_agent_are_explained_which_flow_decides() {
    let gateway = start();
    let mut one = Agent::bearer(gateway.address, LAPTOP);
    assert_eq!(told(&one.request("customer", json!({"id": "7"}))), "executed");
    let by_agent = one.call("explain", json!({"tool": "mail", "args": {"to": "eve@evil.example"}}));
    let call = ["explain", "mail", "to=eve@evil.example", "--agent", "laptop", "--json", "--live"];
    let live = gateway.json(&call);
    for explained in [&by_agent["result"], &live] {
        assert_eq!(explained["decision"], "deny", "{explained}");
        let flow = &explained["flows"][0];
        let fields = ["from", "to", "labels", "action", "flow"].map(|name| flow[name].clone());
        let expected = [
            json!("crm"),
            json!("external_email"),
            json!(["pii"]),
            json!("deny"),
            json!("Customers' own mail"),
        ];
        assert_eq!(fields, expected, "{explained}");
        assert_eq!(explained["reasons"], json!([{"reason": "flow_denied", "flow": "Customers' own mail"}]));
    }
    let from_files = gateway.json(&call[..6]);
    assert_eq!(
        (&from_files["decision"], &from_files["flows"]),
        (&json!("allow"), &json!([])),
        "{from_files}"
    );
}
