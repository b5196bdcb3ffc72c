//! Results that wait for their agent until it has provably received them.
//!
//! The agent of these tests answers pings only while it reads: after a text it has not yet seen the ping behind it.

use async_tungstenite::tungstenite::Message;
use serde_json::{Value, json};

use crate::harness::gateway::{LAPTOP, TOKEN};
use crate::harness::{Agent, Answer, Gateway, PATIENCE, Setup, eventually};

fn agent(gateway: &Gateway) -> Agent {
    Agent::bearer(gateway.address, TOKEN)
}

fn pending(agent: &mut Agent) -> Vec<Value> {
    agent.call("get_pending_results", json!({}))["result"]["results"].as_array().unwrap().clone()
}

/// Asks for `say`, and leaves.
fn ask_and_leave(gateway: &Gateway, text: &str) -> String {
    let mut agent = agent(gateway);
    agent.send("tool_request", json!({"tool": "say", "args": {"text": text, "pin": "1234"}}));
    agent.asked()
}

fn outcome(result: &Value) -> Value {
    serde_json::from_str(result["result"].as_str().unwrap()).unwrap()
}

#[test]
fn a_result_waits_for_the_agent() {
    let gateway = Gateway::start();
    let id = ask_and_leave(&gateway, "hi");
    assert_eq!(pending(&mut agent(&gateway)), Vec::<Value>::new());
    gateway.say_yes(&id);
    let waiting = eventually("the result", || pending(&mut agent(&gateway)).pop());
    let mut names: Vec<_> = waiting.as_object().unwrap().keys().cloned().collect();
    names.sort_unstable();
    let expected = ["args", "created_at", "expires_at", "request_id", "result", "signature", "tool_name"];
    assert_eq!(names, expected);
    assert_eq!((&waiting["request_id"], &waiting["tool_name"]), (&json!(id), &json!("say")));
    assert_eq!(waiting["signature"], "say");
    let args: Value = serde_json::from_str(waiting["args"].as_str().unwrap()).unwrap();
    assert_eq!(args, json!({"text": "hi", "pin": "•••"}));
    assert_eq!(outcome(&waiting), json!({"status": "executed", "data": {"ok": true}}));
    let times = (waiting["created_at"].as_str().unwrap(), waiting["expires_at"].as_str().unwrap());
    assert!(times.0 < times.1 && times.0.ends_with('Z'), "{times:?}");
    assert_eq!(gateway.upstream.seen().len(), 1);
}

#[test]
fn what_was_lost_of_a_result_is_told_in_the_inbox_and_in_the_record() {
    let gateway = Gateway::start();
    gateway.upstream.answer(|_| Answer::json("{broken"));
    let id = ask_and_leave(&gateway, "hi");
    gateway.say_yes(&id);
    let waiting = eventually("the result", || pending(&mut agent(&gateway)).pop());
    assert_eq!(outcome(&waiting), json!({"status": "executed", "data": null, "data_lost": "bad_json"}));
    assert_eq!(gateway.json(&["audit", "show", &id])["data_lost"], "bad_json");
}

#[test]
fn a_result_counts_as_received_when_the_ping_behind_it_is_answered() {
    let gateway = Gateway::start();
    let id = ask_and_leave(&gateway, "hi");
    gateway.say_yes(&id);
    let mut deaf = agent(&gateway);
    eventually("the result", || {
        let results = pending(&mut deaf);
        (!results.is_empty()).then_some(())
    });
    // It has not read on, so it has not answered the ping: the result is returned again, here and elsewhere.
    let mut other = agent(&gateway);
    assert_eq!(pending(&mut other)[0]["request_id"], id);
    drop((deaf, other));
    let mut third = agent(&gateway);
    assert_eq!(pending(&mut third)[0]["request_id"], id);
    // Reading on answers the ping.
    third.assert_quiet();
    eventually("the receipt to be written down", || pending(&mut third).is_empty().then_some(()));
    assert!(pending(&mut agent(&gateway)).is_empty());
}

/// The text of the next answer.
fn page(agent: &mut Agent) -> (usize, Vec<Value>) {
    agent.send_text(&format!(
        r#"{{"jsonrpc":"2.0","method":"get_pending_results","id":"{}"}}"#,
        "\u{7f}".repeat(256)
    ));
    loop {
        let Message::Text(text) = agent.socket.read().unwrap() else { continue };
        let reply: Value = serde_json::from_str(text.as_str()).unwrap();
        return (text.len(), reply["result"]["results"].as_array().unwrap().clone());
    }
}

/// Asks for something that is executed, and leaves before the answer comes.
fn execute_and_leave(gateway: &Gateway, args: &Value, number: usize) {
    let mut agent = agent(gateway);
    agent.send("tool_request", json!({"tool": "call_service", "args": args}));
    gateway.upstream.wait_for(number);
    drop(agent);
    let ended = || gateway.audit().iter().filter(|row| row["outcome"] == "executed").count() == number;
    eventually("the call to end", || ended().then_some(()));
}

#[test]
fn what_fits_into_no_message_stands_in_nobodys_way() {
    let gateway = Gateway::start();
    gateway.upstream.answer(|seen| {
        let with = |text: &str, times| Answer::Reply(200, "text/plain", text.repeat(times));
        match seen.body.split("answer:").nth(1).and_then(|kind| kind.chars().next()) {
            Some('l') => with("x", 1_000_000),
            // Escaped twice, each is four bytes long.
            Some('q') => with("\"", 300_000),
            Some('m') => with("\"", 100_000),
            _ => with("ok", 1),
        }
    });
    let args = |kind: &str, more: usize| {
        let text = "x".repeat(60_000);
        json!({"domain": "light", "service": "turn_off", "answer": format!("answer:{kind}"), "x": vec![text; more]})
    };
    for (n, (kind, more)) in
        [("l", 0), ("q", 0), ("m", 0), ("s", 15), ("m", 15), ("m", 0)].into_iter().enumerate()
    {
        execute_and_leave(&gateway, &args(kind, more), n + 1);
    }
    let mut agent = agent(&gateway);
    let mut got: Vec<Value> = Vec::new();
    eventually("all results", || {
        let (bytes, results) = page(&mut agent);
        assert!(bytes < 900_000, "{bytes} bytes in one message");
        assert!(results.len() <= 6);
        got.extend(results);
        got.dedup_by_key(|result| result["request_id"].clone());
        (got.len() == 6).then_some(())
    });
    for lost in &got[..2] {
        let (id, told) = (lost["request_id"].as_str().unwrap(), outcome(lost));
        assert_eq!((&told["status"], &told["data"]), (&json!("executed"), &Value::Null), "{told}");
        assert_eq!(told["data_lost"], "too_large");
        let note = told["data_note"].as_str().unwrap();
        assert!(note.contains(&format!("agentpass audit show {id}")), "{note}");
    }
    assert!(got[2..].iter().all(|result| outcome(result).get("data_lost").is_none()));
    // Long arguments are cut before anything is lost.
    let args: Value = serde_json::from_str(got[3]["args"].as_str().unwrap()).unwrap();
    assert!(args["…"].as_str().unwrap().contains("[cut, "), "{args}");
    // They have arrived, and the owner can still read what was too large.
    agent.assert_quiet();
    eventually("all to be received", || page(&mut agent).1.is_empty().then_some(()));
    let shown = gateway.json(&["audit", "show", got[0]["request_id"].as_str().unwrap(), "--json"]);
    assert_eq!(shown["execution_result"].as_str().map(str::len), Some(1_000_000 + r#"{"result":""}"#.len()));
    gateway.verify();
    // What somebody else has put in its place is not shown as the service's.
    gateway.followed();
    let db = rusqlite::Connection::open(gateway.path("data/agentpass.db")).unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    db.execute("UPDATE results SET data = '\"forged\"' WHERE keyed = 1", []).unwrap();
    let shown = gateway.json(&["audit", "show", got[0]["request_id"].as_str().unwrap(), "--json"]);
    assert!(shown["execution_result"].as_str().unwrap().contains("[cut, "), "{shown}");
}

#[test]
fn a_reply_that_was_not_received_comes_again() {
    let gateway = Gateway::start();
    let mut deaf = agent(&gateway);
    let id = deaf.request("render", json!({"template": "a"}))["result"]["request_id"].clone();
    // While the connection lives the reply is on its way, and is not offered twice.
    let mut other = agent(&gateway);
    assert!(pending(&mut other).is_empty());
    drop(deaf);
    let again = eventually("the reply in the inbox", || pending(&mut other).pop());
    assert_eq!(again["request_id"], id);
    // One that was received does not.
    let mut good = agent(&gateway);
    good.request("render", json!({"template": "b"}));
    good.assert_quiet();
    drop(good);
    eventually("only one result to be left", || (pending(&mut agent(&gateway)).len() <= 1).then_some(()));
}

#[test]
fn a_result_is_its_agents_own() {
    let gateway = Gateway::start();
    let id = ask_and_leave(&gateway, "hi");
    gateway.say_yes(&id);
    eventually("the result", || pending(&mut agent(&gateway)).pop());
    let mut other = Agent::bearer(gateway.address, LAPTOP);
    assert!(pending(&mut other).is_empty());
    assert_eq!(pending(&mut agent(&gateway)).len(), 1);
}

#[test]
fn every_way_to_end_has_its_status() {
    let gateway = Gateway::start();
    let denied = ask_and_leave(&gateway, "no");
    let withdrawn = ask_and_leave(&gateway, "never mind");
    let failed = ask_and_leave(&gateway, "fails");
    let unknown = ask_and_leave(&gateway, "lost");
    let mut hasty = Setup::default();
    hasty.config = hasty.config.replace("approval_timeout: 60", "approval_timeout: 0.3");
    gateway.configure(&hasty);
    assert!(gateway.cli(&["reload"]).status.success());
    let timed_out = ask_and_leave(&gateway, "late");
    gateway.upstream.answer(|seen| match seen.body.contains("lost") {
        true => Answer::Close,
        false => Answer::Reply(500, "text/plain", "boom".into()),
    });
    gateway.json(&["deny", &denied, "--note", "no way", "--json"]);
    agent(&gateway).call("cancel", json!({"request_id": withdrawn}));
    gateway.say_yes(&failed);
    gateway.say_yes(&unknown);
    let results = eventually("all five", || Some(pending(&mut agent(&gateway))).filter(|r| r.len() == 5));
    for (id, status, reason) in [
        (denied, "denied", "denied_by_user"),
        (withdrawn, "denied", "withdrawn"),
        (failed, "error", "service_error"),
        (unknown, "error", "unknown_result"),
        (timed_out, "denied", "approval_timed_out"),
    ] {
        let result = outcome(results.iter().find(|r| r["request_id"] == id).unwrap());
        assert_eq!((&result["status"], &result["reason"]), (&json!(status), &json!(reason)), "{result}");
    }
}

#[test]
fn results_wait_through_a_crash() {
    let mut gateway = Gateway::start();
    let (first, second) = (ask_and_leave(&gateway, "one"), ask_and_leave(&gateway, "two"));
    gateway.say_yes(&first);
    eventually("the result", || pending(&mut agent(&gateway)).pop());
    gateway.kill();
    gateway.restart();
    assert_eq!(pending(&mut agent(&gateway))[0]["request_id"], first);
    gateway.say_yes(&second);
    eventually("both results", || (pending(&mut agent(&gateway)).len() == 2).then_some(()));
    assert_eq!(gateway.upstream.seen().len(), 2);
}
