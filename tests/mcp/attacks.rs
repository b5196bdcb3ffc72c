//! Strangers, other agents and clients that never end: refused, bounded, and nothing is executed.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Client, Lasting, Open, gateway, holding, light, text};
use crate::harness::gateway::{LAPTOP, TOKEN};
use crate::harness::{Answer, Gateway, eventually};

/// More than the gateway may ever need for what happens here. Unbounded, each of these tests would need some gigabytes.
const BOUND: usize = 512 << 20;

#[test]
fn nothing_of_one_agents_helps_another() {
    let gateway = gateway();
    let old = Client::legacy(&gateway, TOKEN);
    let params =
        json!({"name": "call_service", "arguments": light(), "_meta": {"agentpass/idempotency_key": "k"}});
    let pending = old.old("tools/call", params.clone()).json()["result"].clone();
    let id = gateway.question();
    assert!(text(&pending).contains(&id));
    // The session of the one with the token of the other, for everything that a session is for.
    let thief = Client { session: old.session.clone(), ..Client::new(&gateway, LAPTOP) };
    assert_eq!(thief.old("tools/call", params.clone()).status, 404);
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    assert_eq!(thief.send(&[], &cancel).status, 404);
    let bearer = format!("Bearer {LAPTOP}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("mcp-session-id", &old.session),
        ("accept", "text/event-stream"),
    ];
    assert_eq!(thief.site.ask("GET", "/mcp", &headers, "").status, 405);
    assert_eq!(thief.site.ask("DELETE", "/mcp", &headers, "").status, 404);
    // Its request id and its key.
    let laptop = Client::legacy(&gateway, LAPTOP);
    assert!(text(&laptop.old_call("agentpass_wait", json!({"request_id": id}))).contains("no such request"));
    let empty = laptop.old_call("agentpass_pending", json!({}));
    assert_eq!(empty["structuredContent"]["waiting_for_a_person"], json!([]));
    laptop.old("tools/call", params);
    assert_eq!(gateway.questions().len(), 2, "the same key of another agent is another call");
    gateway.say_yes(&id);
    gateway.upstream.wait_for(1);
    eventually("the result of the one waits for it alone", || {
        let results = |client: &Client| {
            let pending = client.old_call("agentpass_pending", json!({}));
            pending["structuredContent"]["results"].as_array().unwrap().len()
        };
        (results(&old) == 1 && results(&laptop) == 0).then_some(())
    });
    assert!(text(&laptop.old_call("agentpass_wait", json!({"request_id": id}))).contains("no such request"));
    assert_eq!(gateway.upstream.seen().len(), 1);
    gateway.verify();
}

#[test]
fn a_thousand_sessions_leave_the_newest() {
    let gateway = gateway();
    let clients: Vec<_> = (0..1000).map(|_| Client::legacy(&gateway, TOKEN)).collect();
    let status = |client: &Client| client.old("ping", json!({})).status;
    assert_eq!(
        (status(&clients[0]), status(&clients[935]), status(&clients[936]), status(&clients[999])),
        (404, 404, 200, 200)
    );
    // Another agent's session has its own place.
    let laptop = Client::legacy(&gateway, LAPTOP);
    (0..64).for_each(|_| drop(Client::legacy(&gateway, TOKEN)));
    assert_eq!(status(&laptop), 200);
    assert!(gateway.most_memory() < BOUND);
}

#[test]
fn streams_without_end_are_bounded_for_each_agent() {
    let gateway = gateway();
    let listen = || {
        let params = json!({"notifications": {"toolsListChanged": true}});
        Open::new_era(&gateway, "subscriptions/listen", "", params)
    };
    let mut streams: Vec<_> = (0..64).map(|_| listen()).collect();
    for stream in &mut streams {
        assert_eq!(stream.next().unwrap()["method"], "notifications/subscriptions/acknowledged");
    }
    let refused = Client::new(&gateway, TOKEN).call("get_state", json!({"entity_id": "a"}));
    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"));
    let served = Client::new(&gateway, LAPTOP).call("get_state", json!({"entity_id": "a"})).json();
    assert_eq!(served["result"]["isError"], false);
    // One that leaves makes room.
    drop(streams.pop());
    eventually("room", || {
        (Client::new(&gateway, TOKEN).call("get_state", json!({"entity_id": "a"})).status == 200)
            .then_some(())
    });
    assert!(gateway.most_memory() < BOUND);
}

#[test]
fn clients_that_never_read_take_bounded_memory() {
    let gateway = Gateway::with(&holding(60));
    gateway.upstream.answer(|_| Answer::Reply(200, "text/plain", "\u{1}".repeat(1_000_000)));
    // Each answer takes 7 MB; all of them would be 1.8 GB.
    let mut deaf: Vec<_> = (0..64).map(|_| Lasting::new(&gateway)).collect();
    for round in 0..4 {
        for (n, client) in deaf.iter_mut().enumerate() {
            // Those that have been ended cannot be written to.
            let _ = client.ask(LAPTOP, "get_state", &json!({"entity_id": format!("e{round}.{n}")}));
        }
    }
    eventually("connections to end", || gateway.log().contains("of answers unread").then_some(()));
    let reply = Client::new(&gateway, TOKEN).call("agentpass_pending", json!({})).json();
    assert_eq!(reply["result"]["isError"], false);
    assert!(gateway.most_memory() < BOUND, "{} MB", gateway.most_memory() >> 20);
}

#[test]
fn bodies_without_end_and_without_bottom_are_refused() {
    let gateway = gateway();
    let client = Client::new(&gateway, TOKEN);
    let deep = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "get_state", "arguments":
        (0..40).fold(Value::Null, |inner, _| json!({"a": inner}))}});
    assert_eq!(client.send(&[], &deep).status, 400);
    let long = json!({"jsonrpc": "2.0", "id": 1, "method": "x", "params": {"a": "x".repeat(1 << 20)}});
    assert_eq!(client.send(&[], &long).status, 413);
    let batch = json!([{"jsonrpc": "2.0", "id": 1, "method": "ping"}]);
    assert_eq!(client.send(&[], &batch).status, 400);
    // One that is never complete.
    let mut stream = TcpStream::connect(gateway.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let written = (0..1000).take_while(|_| stream.write_all(chunk.as_bytes()).is_ok()).count();
    assert!(written < 1000, "64 MB were taken");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    assert!(gateway.upstream.seen().is_empty());
    assert!(gateway.most_memory() < BOUND);
}
