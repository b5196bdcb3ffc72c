//! What an attack on the waiting found.

use serde_json::{Value, json};

use crate::client::{Client, Lasting, gateway, holding, text};
use crate::harness::gateway::{LAPTOP, TOKEN};
use crate::harness::{Answer, Gateway, eventually};

/// A call that is allowed at once.
fn allowed(text: &str) -> Value {
    json!({"domain": "light", "service": "turn_off", "text": text})
}

#[test]
fn a_call_that_is_seen_through_is_told_while_everything_is_stopped() {
    let gateway = gateway();
    gateway.upstream.answer(|_| Answer::Hold);
    let client = Client::new(&gateway, TOKEN);
    let come = |state: Option<&Value>| {
        let mut params = json!({"name": "call_service", "arguments": allowed("x")});
        if let Some(state) = state {
            params["requestState"] = state.clone();
        }
        client.new_era("tools/call", params).json()["result"].clone()
    };
    let first = come(None);
    assert_eq!(first["resultType"], "input_required", "{first}");
    gateway.json(&["kill", "--json"]);
    let second = come(Some(&first["requestState"]));
    assert_eq!(second["resultType"], "input_required", "{second}");
    gateway.upstream.release();
    eventually("the call to end", || gateway.log().contains("ended: executed").then_some(()));
    let done = come(Some(&first["requestState"]));
    assert_eq!(done["isError"], false, "{done}");
    // What is new is stopped, and so is what was not under way.
    let denied = client.call("call_service", allowed("y")).json()["result"].clone();
    assert!(text(&denied).contains("kill_switch"), "{denied}");
    gateway.json(&["resume", "--json"]);
    assert_eq!(come(Some(&first["requestState"]))["isError"], false);
    assert_eq!(gateway.upstream.seen().len(), 1);
    gateway.verify();
}

#[test]
fn coming_back_counts_as_nothing() {
    let usual = holding(1);
    let config = usual.config.replace("max_requests_per_minute: 100000", "max_requests_per_minute: 2");
    let gateway = Gateway::with(&crate::harness::Setup { config, ..usual });
    let client = Client::new(&gateway, TOKEN);
    let mut params = json!({"name": "say", "arguments": {"text": "hello"}});
    for _ in 0..3 {
        let leg = client.new_era("tools/call", params.clone()).json()["result"].clone();
        assert_eq!(leg["resultType"], "input_required", "{leg}");
        params["requestState"] = leg["requestState"].clone();
    }
    gateway.say_yes(&gateway.question());
    let done = client.new_era("tools/call", params).json()["result"].clone();
    assert_eq!(done["isError"], false, "{done}");
}

#[test]
fn any_result_that_waits_is_found_however_many_are_older() {
    let gateway = Gateway::with(&holding(1));
    let old = Client::legacy(&gateway, LAPTOP);
    let mut calls = 0;
    let last = loop {
        // Some of these clients leave so late that their answer is with them.
        for _ in 0..60 {
            let mut lost = Lasting::new(&gateway);
            lost.ask(LAPTOP, "get_state", &json!({"entity_id": format!("e{calls}")})).unwrap();
            calls += 1;
            gateway.upstream.wait_for(calls);
        }
        let rows = eventually("all calls to have ended", || {
            let rows = gateway.audit();
            (rows.iter().filter(|row| row["outcome"] == "executed").count() == calls).then_some(rows)
        });
        let last = rows[0]["request_id"].clone();
        let pending = old.old_call("agentpass_pending", json!({}));
        let listed = pending["structuredContent"]["results"].as_array().unwrap();
        assert!(listed.len() <= 100);
        if listed.len() == 100 && listed.iter().all(|result| result["request_id"] != last) {
            break last;
        }
        assert!(calls < 900, "clients leave before they are answered");
    };
    let found = old.old_call("agentpass_wait", json!({"request_id": last}));
    assert_eq!(
        (&found["isError"], &found["_meta"]["agentpass/request_id"]),
        (&json!(false), &last),
        "{found}"
    );
    let other = Client::legacy(&gateway, TOKEN);
    assert!(text(&other.old_call("agentpass_wait", json!({"request_id": last}))).contains("no such request"));
}

/// Each answer takes 7 MB: that is how long a control character becomes.
fn large_answers() -> Gateway {
    let gateway = Gateway::with(&holding(60));
    gateway.upstream.answer(|_| Answer::Reply(200, "text/plain", "\u{1}".repeat(1_000_000)));
    gateway
}

#[test]
fn answers_that_were_read_take_no_room_while_their_connections_stay() {
    let gateway = large_answers();
    let mut clients: Vec<_> = (0..6).map(|_| Lasting::new(&gateway)).collect();
    for round in 0..2 {
        for (n, client) in clients.iter_mut().enumerate() {
            let reply = client.call(TOKEN, "get_state", &json!({"entity_id": format!("e{n}")}));
            assert_eq!(reply["result"]["isError"], false, "{round} {n}: {:.200}", reply.to_string());
        }
    }
    assert!(!gateway.log().contains("of answers unread"));
}

#[test]
fn a_connection_that_leaves_most_unread_ends_and_others_are_served() {
    let gateway = large_answers();
    let mut deaf: Vec<_> = (0..8).map(|_| Lasting::new(&gateway)).collect();
    for (n, client) in deaf.iter_mut().enumerate() {
        // More than the system takes off the gateway's hands.
        for _ in 0..4 {
            let _ = client.ask(LAPTOP, "get_state", &json!({"entity_id": format!("e{n}")}));
        }
    }
    eventually("a connection to end", || gateway.log().contains("of answers unread").then_some(()));
    let mut reader = Lasting::new(&gateway);
    let reply = reader.call(LAPTOP, "get_state", &json!({"entity_id": "mine"}));
    assert_eq!(reply["result"]["isError"], false, "{:.300}", reply.to_string());
}
