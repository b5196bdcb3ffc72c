//! Whatever waits between check and act: a reload must reach it, and nobody may wait for another agent's calls.

use serde_json::{Value, json};

use super::harness::gateway::{LAPTOP, TOKEN};
use super::harness::{Agent, Answer, Gateway, Setup, Upstream, error, eventually};
use super::sql;

#[test]
fn a_key_that_could_not_be_written_is_not_answered_as_if_it_held() {
    let gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let first = agent.send("tool_request", json!({"tool": "say", "args": {"text": "hello"}}));
    let id = agent.asked();
    // As on a full disk: no key can be kept.
    sql(
        &gateway,
        "CREATE TRIGGER full BEFORE INSERT ON events WHEN NEW.kind = 'joined'
                   BEGIN SELECT RAISE(ABORT, 'full'); END",
    );
    let keyed = json!({"tool": "say", "args": {"text": "hello"}, "idempotency_key": "k"});
    let mut other = Agent::login(gateway.address, TOKEN);
    // The question is never answered before this is.
    let reply = other.call("tool_request", keyed.clone());
    assert_eq!(error(&reply), (-32004, "store_unavailable"), "{reply}");
    sql(&gateway, "DROP TRIGGER full");
    gateway.say_yes(&id);
    assert_eq!(agent.reply(first)["result"]["status"], "executed");
    // What was not carried out under this key is asked about, and then it holds.
    let again = other.send("tool_request", keyed.clone());
    gateway.say_yes(&other.asked());
    assert_eq!(other.reply(again)["result"]["status"], "executed");
    assert_eq!(other.call("tool_request", keyed)["result"]["replayed"], true);
    assert_eq!(gateway.upstream.seen().len(), 2);
}

/// So few slots for calls at once that a few slow calls hold them all.
fn with_slots(count: usize) -> Setup {
    let usual = Setup::default();
    Setup { config: format!("{}max_concurrent_calls: {count}\n", usual.config), ..usual }
}

/// Holds the one slot, and lines up behind it a call that is allowed and one that is approved. Gives their numbers.
fn behind_a_slow_call(gateway: &Gateway, agent: &mut Agent) -> [u64; 2] {
    gateway.upstream.answer(|_| Answer::Hold);
    agent.send("tool_request", json!({"tool": "render", "args": {"template": "slow"}}));
    gateway.upstream.wait_for(1);
    let approved = agent.send("tool_request", json!({"tool": "say", "args": {"text": "hello"}}));
    gateway.say_yes(&agent.asked());
    let args = json!({"domain": "light", "service": "turn_off"});
    let allowed = agent.send("tool_request", json!({"tool": "call_service", "args": args}));
    agent.call("list_tools", json!({}));
    [allowed, approved]
}

fn reload(gateway: &Gateway, setup: &Setup) {
    gateway.configure(setup);
    let done = gateway.cli(&["reload"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// What the service has seen but the slow call.
fn sent(gateway: &Gateway) -> Vec<String> {
    gateway.upstream.seen().into_iter().map(|seen| seen.target).filter(|t| t != "/api/template").collect()
}

#[test]
fn a_deny_reaches_calls_that_wait_for_a_slot_at_once() {
    let usual = with_slots(1);
    let gateway = Gateway::with(&usual);
    let mut agent = Agent::login(gateway.address, TOKEN);
    let waiting = behind_a_slow_call(&gateway, &mut agent);
    let rule = "rules:\n  - {pattern: \"*\", action: deny, description: \"Nothing more\"}";
    let permissions = usual.permissions.replacen("rules:", rule, 1);
    reload(&gateway, &Setup { permissions, ..usual });
    // The slow call is still held: nobody's turn has come.
    for _ in waiting {
        let reply = agent.receive();
        assert!(waiting.iter().any(|id| reply["id"] == *id), "{reply}");
        assert_eq!(error(&reply), (-32003, "denied_by_policy"), "{reply}");
        assert_eq!(reply["error"]["data"]["rule"], "Nothing more", "{reply}");
        let id = reply["error"]["data"]["request_id"].as_str().unwrap();
        assert_eq!(gateway.row(id)["outcome"], "denied");
    }
    gateway.upstream.release();
    agent.receive();
    assert_eq!(sent(&gateway), Vec::<String>::new());
    gateway.verify();
}

#[test]
fn a_call_that_waits_for_a_slot_leaves_with_the_credential_in_force() {
    let usual = with_slots(1);
    let gateway = Gateway::with(&usual);
    let mut agent = Agent::login(gateway.address, TOKEN);
    behind_a_slow_call(&gateway, &mut agent);
    let config = usual.config.replace("s3rvice-cr3dential-0123456789", "another-cr3dential-98765");
    reload(&gateway, &Setup { config, ..usual });
    gateway.upstream.release();
    let seen = gateway.upstream.wait_for(3);
    for call in &seen[1..] {
        assert_eq!(call.header("authorization"), Some("Bearer another-cr3dential-98765"), "{call:?}");
    }
}

#[test]
fn a_tool_that_changes_voids_the_calls_that_wait_for_a_slot() {
    let usual = with_slots(1);
    let gateway = Gateway::with(&usual);
    let mut agent = Agent::login(gateway.address, TOKEN);
    behind_a_slow_call(&gateway, &mut agent);
    let tools = usual.tools.replace("/api/say", "/api/shout").replace("/api/services/", "/api/other/");
    reload(&gateway, &Setup { tools, ..usual });
    for _ in 0..2 {
        let reply = agent.receive();
        assert_eq!(error(&reply), (-32003, "approval_void"), "{reply}");
    }
    gateway.upstream.release();
    agent.receive();
    assert_eq!(sent(&gateway), Vec::<String>::new());
}

#[test]
fn what_waits_for_a_slot_and_is_allowed_no_more_is_asked_about() {
    let usual = with_slots(1);
    let gateway = Gateway::with(&usual);
    let mut agent = Agent::login(gateway.address, TOKEN);
    let [allowed, approved] = behind_a_slow_call(&gateway, &mut agent);
    let rule = "  - {pattern: \"call_service(light.turn_off*\", action: allow}\n";
    let permissions = usual.permissions.replace(rule, "");
    reload(&gateway, &Setup { permissions, ..usual });
    let asked = agent.asked();
    assert_eq!(gateway.row(&asked)["tool_name"], "call_service");
    gateway.upstream.release();
    // An approval is not asked for twice, and what is asked has not been answered.
    let replies = [agent.receive(), agent.receive()];
    assert!(replies.iter().any(|reply| reply["id"] == approved), "{replies:?}");
    assert!(replies.iter().all(|reply| reply["id"] != allowed), "{replies:?}");
    assert_eq!(sent(&gateway), ["/api/say"]);
}

#[test]
fn a_call_of_an_agent_that_was_removed_while_it_waited_for_a_slot_is_not_sent() {
    let usual = with_slots(1);
    let gateway = Gateway::with(&usual);
    gateway.upstream.answer(|_| Answer::Hold);
    let mut slow = Agent::login(gateway.address, TOKEN);
    slow.send("tool_request", json!({"tool": "render", "args": {"template": "slow"}}));
    gateway.upstream.wait_for(1);
    let mut agent = Agent::login(gateway.address, LAPTOP);
    agent.send("tool_request", json!({"tool": "say", "args": {"text": "hello"}}));
    let id = agent.asked();
    gateway.say_yes(&id);
    let laptop = r#"  laptop: {token: "a-token-of-the-laptop-agent", may_explain: true}"#;
    reload(&gateway, &Setup { config: usual.config.replace(laptop, ""), ..usual });
    eventually("the call to end", || (gateway.row(&id)["outcome"] == "denied").then_some(()));
    gateway.upstream.release();
    slow.receive();
    assert_eq!(sent(&gateway), Vec::<String>::new());
}

#[test]
fn a_call_that_waits_for_its_connection_and_is_allowed_no_more_is_not_sent() {
    // It takes connections and never says a word of TLS; what comes afterwards would be sent.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let usual = Setup::default();
    let config = usual.config.replace("{upstream}", &format!("https://{}", silent.local_addr().unwrap()));
    let gateway = Gateway::with(&Setup { config, ..usual.clone() });
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", json!({"tool": "render", "args": {"template": "x"}}));
    let (connection, _) = silent.accept().unwrap();
    let permissions = usual.permissions.replacen("  - {pattern: \"render*\", action: allow}\n", "", 1);
    assert_ne!(permissions, usual.permissions);
    let config = gateway.path("config.yaml");
    let same = std::fs::read_to_string(config).unwrap();
    reload(&gateway, &Setup { config: same, permissions, ..usual });
    drop(connection);
    let reply = agent.receive();
    assert_eq!(error(&reply), (-32003, "denied_by_policy"), "{reply}");
    assert!(reply["error"]["data"]["rule"].as_str().unwrap().contains("ask for it again"), "{reply}");
}

#[test]
fn a_deny_reaches_a_call_that_waits_for_its_connection() {
    // It takes the connection and never says a word of TLS.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let usual = Setup::default();
    let config = usual.config.replace("{upstream}", &format!("https://{}", silent.local_addr().unwrap()));
    let usual = Setup { config, ..usual };
    let gateway = Gateway::with(&usual);
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", json!({"tool": "render", "args": {"template": "x"}}));
    let (connection, _) = silent.accept().unwrap();
    let rule = "rules:\n  - {pattern: \"render*\", action: deny}";
    let permissions = usual.permissions.replacen("rules:", rule, 1);
    reload(&gateway, &Setup { permissions, ..usual });
    drop(connection);
    let reply = agent.receive();
    assert_eq!(error(&reply), (-32003, "denied_by_policy"), "{reply}");
}

/// A request can be many times as large as the arguments that it is made of.
#[test]
fn calls_that_wait_for_a_slot_hold_no_request() {
    const WAITING: usize = 24;
    const TEXT: usize = 64 << 10;
    const COPIES: usize = 32;
    let usual = with_slots(1);
    let fields: Vec<_> = (0..COPIES).map(|n| format!("f{n}: \"{{text}}\"")).collect();
    let request = format!("request: {{method: POST, path: \"/api/say\", body: {{{}}}}}", fields.join(", "));
    let tools = usual.tools.replace("request: {method: POST, path: \"/api/say\"}", &request);
    let permissions =
        usual.permissions.replacen("rules:", "rules:\n  - {pattern: \"say\", action: allow}", 1);
    assert!(tools != usual.tools && permissions != usual.permissions);
    let gateway = Gateway::with(&Setup { tools, permissions, ..usual });
    gateway.upstream.answer(|_| Answer::Hold);
    let mut agent = Agent::login(gateway.address, TOKEN);
    let mut say = |n: usize| {
        let text = format!("{n:02}{}", "x".repeat(TEXT - 2));
        agent.send("tool_request", json!({"tool": "say", "args": {"text": text}}));
        // Whatever is done at once for this call has been done.
        agent.call("list_tools", json!({}));
    };
    // One is at the service, and one waits already.
    (0..2).for_each(&mut say);
    let before = gateway.most_memory();
    (2..WAITING + 2).for_each(&mut say);
    let more = gateway.most_memory() - before;
    let requests = WAITING * COPIES * TEXT;
    assert!(more < requests / 3, "{} of {} MiB are held", more >> 20, requests >> 20);
    assert_eq!(gateway.upstream.wait_for(1).len(), 1, "all others wait");
    gateway.upstream.release();
    for _ in 0..WAITING + 2 {
        assert_eq!(agent.receive()["result"]["status"], "executed");
    }
    assert!(gateway.upstream.seen().iter().all(|seen| seen.body.len() > COPIES * TEXT));
}

#[test]
fn slow_calls_of_one_agent_take_no_slot_from_another_agent() {
    let (slow, usual) = (Upstream::start(), with_slots(4));
    let services = format!("services:\n  slow: {{url: \"{}\", timeout: 30, tools: slow.yaml}}", slow.url());
    let setup = Setup { config: usual.config.replace("services:", &services), ..usual };
    let tools = "tools:\n  wait:\n    description: \"Takes its time\"\n    args: {n: {}}
    request: {method: GET, path: \"/{n}\"}\n";
    let permissions =
        setup.permissions.replace("defaults:\n", "defaults:\n  - {pattern: \"wait\", action: allow}\n");
    let setup = Setup { permissions, ..setup };
    let gateway =
        Gateway::prepared(&setup, &[], |folder| std::fs::write(folder.join("slow.yaml"), tools).unwrap());
    slow.answer(|_| Answer::Hold);
    let mut greedy = Agent::login(gateway.address, TOKEN);
    for n in 0..20 {
        greedy.send("tool_request", json!({"tool": "wait", "args": {"n": n.to_string()}}));
    }
    slow.wait_for(2);
    // Neither another agent nor another service waits for any of them.
    let mut modest = Agent::login(gateway.address, LAPTOP);
    for agent in [&mut modest, &mut greedy] {
        let reply = agent.request("render", json!({"template": "x"}));
        assert_eq!(reply["result"]["status"], "executed", "{reply}");
    }
    assert_eq!(slow.seen().len(), 2, "its own slot and half of the open ones");
    slow.release();
    slow.wait_for(20);
}

#[test]
fn a_call_that_gets_no_slot_is_busy_not_sent_and_can_be_repeated() {
    let usual = with_slots(1);
    let tools = usual.tools.replace(r#"description: "Says something""#, r#"description: "Says", timeout: 3"#);
    assert_ne!(tools, usual.tools);
    let tools = tools.replace("description: \"Says\", timeout: 3", "description: \"Says\"\n    timeout: 3");
    let permissions =
        usual.permissions.replacen("rules:", "rules:\n  - {pattern: \"say\", action: allow}", 1);
    let gateway = Gateway::with(&Setup { tools, permissions, ..usual });
    gateway.upstream.answer(|_| Answer::Hold);
    let mut agent = Agent::login(gateway.address, TOKEN);
    let slow = agent.send("tool_request", json!({"tool": "render", "args": {"template": "slow"}}));
    gateway.upstream.wait_for(1);
    let hasty = json!({"tool": "say", "args": {"text": "hello"}, "idempotency_key": "k"});
    let reply = agent.call("tool_request", hasty.clone());
    assert_eq!(error(&reply), (-32004, "busy"), "{reply}");
    assert!(reply["error"]["message"].as_str().unwrap().starts_with("Not sent"), "{reply}");
    let row = gateway.row(reply["error"]["data"]["request_id"].as_str().unwrap());
    assert_eq!(row["outcome"], "failed");
    gateway.upstream.release();
    agent.reply(slow);
    let again = agent.call("tool_request", hasty);
    assert_eq!(again["result"]["status"], "executed", "the same key stands for the repetition: {again}");
    assert_eq!(again["result"]["replayed"], Value::Null);
    gateway.verify();
}
