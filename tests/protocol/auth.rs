//! Who may come in: the first message, the bearer token, the door.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use async_tungstenite::tungstenite::Message;
use rustix::net::{AddressFamily, SocketType};
use serde_json::json;

use crate::harness::gateway::{LAPTOP, TOKEN};
use crate::harness::{Agent, Gateway, Setup, error, eventually};

/// A connection that comes from this loopback address.
fn from(source: [u8; 4], gateway: SocketAddr) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::new(IpAddr::V4(Ipv4Addr::from(source)), 0)).unwrap();
    rustix::net::connect(&socket, &gateway).unwrap();
    TcpStream::from(socket)
}

/// Whether the other end has closed this connection.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    match stream.read(&mut [0; 512]) {
        Ok(count) => count == 0,
        Err(e) => e.kind() != std::io::ErrorKind::WouldBlock,
    }
}

#[test]
fn the_first_message_authenticates() {
    let gateway = Gateway::start();
    let mut agent = Agent::connect(gateway.address);
    agent.send_text(&format!(
        r#"{{"jsonrpc":"2.0","method":"auth","params":{{"token":"{TOKEN}"}},"id":"auth-1"}}"#
    ));
    let reply = agent.receive();
    assert_eq!((&reply["id"], &reply["jsonrpc"]), (&json!("auth-1"), &json!("2.0")));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        reply["result"],
        json!({"status": "authenticated", "agent_id": "default", "version": version})
    );
    assert_eq!(agent.request("get_state", json!({"entity_id": "a"}))["result"]["status"], "executed");
}

#[test]
fn the_upgrade_request_authenticates() {
    let gateway = Gateway::start();
    let mut agent = Agent::bearer(gateway.address, LAPTOP);
    agent.assert_quiet();
    assert_eq!(agent.request("get_state", json!({"entity_id": "a"}))["result"]["status"], "executed");
    assert_eq!(gateway.audit()[0]["agent_id"], "laptop");
    // A client that sends its token in both ways is no stranger; one that sends another agent's is.
    assert_eq!(agent.call("auth", json!({"token": LAPTOP}))["result"]["agent_id"], "laptop");
    let other = agent.call("auth", json!({"token": TOKEN}));
    assert_eq!(error(&other), (-32005, "not_authenticated"));
}

#[test]
fn anything_else_first_is_refused() {
    let gateway = Gateway::start();
    for (first, id) in [
        (r#"{"jsonrpc":"2.0","method":"list_tools","params":{},"id":7}"#.to_owned(), json!(7)),
        (r#"{"jsonrpc":"2.0","method":"auth","params":{},"id":8}"#.into(), json!(8)),
        (r#"{"jsonrpc":"2.0","method":"auth","params":{"token":7},"id":9}"#.into(), json!(9)),
        (
            format!(
                r#"{{"jsonrpc":"2.0","method":"auth","params":{{"token":"{TOKEN}","agent":"x"}},"id":1}}"#
            ),
            json!(1),
        ),
        (format!(r#"{{"jsonrpc":"2.0","method":"auth","params":{{"token":"{TOKEN}"}}}}"#), json!(null)),
        (
            format!(r#"[{{"jsonrpc":"2.0","method":"auth","params":{{"token":"{TOKEN}"}},"id":1}}]"#),
            json!(null),
        ),
        ("{".into(), json!(null)),
        (String::new(), json!(null)),
    ] {
        let mut agent = Agent::connect(gateway.address);
        agent.send_text(&first);
        let reply = agent.receive();
        assert_eq!(error(&reply), (-32005, "not_authenticated"), "{first}");
        assert_eq!(reply["id"], id, "{first}");
        assert_eq!(agent.close_code(), Some(1008), "{first}");
    }
    let mut agent = Agent::connect(gateway.address);
    agent.socket.send(Message::binary(vec![1])).unwrap();
    assert_eq!(agent.close_code(), Some(1003));
    assert_eq!(gateway.audit().len(), 0);
    // None of this was a wrong token: it does not count against the address.
    Agent::login(gateway.address, TOKEN);
}

#[test]
fn a_wrong_token_is_refused() {
    let gateway = Gateway::start();
    for token in ["", "wrong", "a-token-of-the-default-agen", "a-token-of-the-default-agent "] {
        let mut agent = Agent::connect(gateway.address);
        let reply = agent.call("auth", json!({"token": token}));
        assert_eq!(error(&reply), (-32005, "not_authenticated"), "{token:?}");
        assert_eq!(agent.close_code(), Some(1008), "{token:?}");
    }
    let refused = Agent::try_connect(gateway.address, &[("authorization", "Bearer wrong")]).err().unwrap();
    assert!(refused.contains("401"), "{refused}");
    // Another scheme is no bearer token: the first message is waited for.
    let mut agent = Agent::try_connect(gateway.address, &[("authorization", "Basic d3Jvbmc=")]).unwrap();
    assert_eq!(agent.call("auth", json!({"token": TOKEN}))["result"]["agent_id"], "default");
}

#[test]
fn ten_seconds_of_silence_are_enough() {
    let gateway = Gateway::start();
    let began = Instant::now();
    let mut agent = Agent::connect(gateway.address);
    let mut mute = TcpStream::connect(gateway.address).unwrap();
    let reply = agent.receive();
    assert_eq!(error(&reply), (-32005, "not_authenticated"));
    assert_eq!(agent.close_code(), Some(1008));
    assert!(began.elapsed() >= Duration::from_secs(9), "{:?}", began.elapsed());
    eventually("the socket without a request to be closed", || is_closed(&mut mute).then_some(()));
}

#[test]
fn ten_failures_a_minute_close_the_door_for_that_address() {
    let gateway = Gateway::start();
    let early = Agent::login(gateway.address, TOKEN);
    for n in 0..12 {
        let refused = wrong(&gateway, n);
        assert!(refused.contains("401"), "an address with a live agent is not locked out: {refused}");
    }
    drop(early);
    eventually("the address to be refused", || wrong(&gateway, 0).contains("429").then_some(()));
    // Other addresses do not notice.
    let other = [("authorization", "Bearer wrong")];
    let refused = Agent::over(from([127, 0, 0, 2], gateway.address), &other).err().unwrap();
    assert!(refused.contains("401"), "{refused}");
}

/// What is said to a token that is nobody's.
fn wrong(gateway: &Gateway, n: usize) -> String {
    let bearer = format!("Bearer wrong {n}");
    Agent::try_connect(gateway.address, &[("authorization", &bearer)]).err().unwrap()
}

#[test]
fn the_right_token_gets_in_whatever_others_at_its_address_have_done() {
    let gateway = Gateway::start();
    (0..10).for_each(|n| assert!(wrong(&gateway, n).contains("401")));
    assert!(wrong(&gateway, 11).contains("429"));
    // After the upgrade, which lifts the lock-out for as long as that agent lives, and before it.
    let by_message = Agent::login(gateway.address, TOKEN);
    drop(by_message);
    eventually("the address to be refused again", || wrong(&gateway, 0).contains("429").then_some(()));
    Agent::bearer(gateway.address, LAPTOP).assert_quiet();
}

#[test]
fn the_same_wrong_token_counts_once_however_often_it_is_tried() {
    let mut gateway = Gateway::start();
    for _ in 0..15 {
        assert!(wrong(&gateway, 0).contains("401"));
        let mut agent = Agent::connect(gateway.address);
        assert_eq!(error(&agent.call("auth", json!({"token": "wrong 0"}))).0, -32005);
    }
    // Whatever it has to say is in the log now.
    gateway.terminate();
    let lines = gateway.log().matches("authentication failed").count();
    assert_eq!(lines, 1, "{}", gateway.log());
}

#[test]
fn behind_a_trusted_proxy_everybody_counts_for_themselves() {
    let mut setup = Setup::default();
    setup.config =
        setup.config.replace("port: 0", "port: 0\n  trusted_proxies: [\"127.0.0.1\", \"10.0.0.0/8\"]");
    let gateway = Gateway::with(&setup);
    let said = |headers: &[(&'static str, &str)], n: usize| {
        let bearer = format!("Bearer wrong {n}");
        let headers: Vec<_> = headers.iter().copied().chain([("authorization", bearer.as_str())]).collect();
        Agent::try_connect(gateway.address, &headers).err().unwrap()
    };
    for n in 0..10 {
        assert!(said(&[("x-forwarded-for", "203.0.113.9, 192.0.2.7, 10.0.0.1")], n).contains("401"));
    }
    // Whatever the agent itself has written to the left of it.
    assert!(said(&[("x-forwarded-for", "198.51.100.1, 192.0.2.7")], 0).contains("429"));
    assert!(said(&[("forwarded", "for=\"192.0.2.7:4711\";proto=https")], 0).contains("429"));
    for header in ["192.0.2.8", "203.0.113.9"] {
        assert!(said(&[("x-forwarded-for", header)], 0).contains("401"), "{header}");
    }
    // What cannot be read counts for the proxy, and so does what is said twice and differently.
    for n in 0..9 {
        assert!(said(&[("x-forwarded-for", "192.0.2.9, unknown")], n).contains("401"));
    }
    assert!(said(&[("x-forwarded-for", "192.0.2.9"), ("forwarded", "for=192.0.2.10")], 9).contains("401"));
    assert!(said(&[], 0).contains("429"));
    eventually("the log", || {
        gateway
            .log()
            .contains("connection from 192.0.2.7 through 127.0.0.1: authentication failed")
            .then_some(())
    });
    // A stranger's word is nothing.
    let forged = [("x-forwarded-for", "192.0.2.7"), ("authorization", "Bearer wrong")];
    let refused = Agent::over(from([127, 0, 0, 2], gateway.address), &forged).err().unwrap();
    assert!(refused.contains("401"), "{refused}");
    let right = format!("Bearer {TOKEN}");
    let headers = [("x-forwarded-for", "192.0.2.7"), ("authorization", right.as_str())];
    Agent::try_connect(gateway.address, &headers).unwrap().assert_quiet();
    eventually("the log", || {
        gateway.log().contains("agent default connected from 192.0.2.7 through 127.0.0.1").then_some(())
    });
}

#[test]
fn more_strangers_than_one_address_may_have_can_come_through_a_proxy() {
    let mut setup = Setup::default();
    setup.config = setup.config.replace("port: 0", "port: 0\n  trusted_proxies: 127.0.0.1");
    let gateway = Gateway::with(&setup);
    let through = |client: &str| Agent::try_connect(gateway.address, &[("x-forwarded-for", client)]).unwrap();
    let mut strangers: Vec<_> = (0..20).map(|n| through(&format!("192.0.2.{n}"))).collect();
    for agent in &mut strangers {
        assert_eq!(agent.call("auth", json!({"token": TOKEN}))["result"]["agent_id"], "default");
    }
    // Eight of one client, as without a proxy.
    let mut crowd: Vec<_> = (0..9).map(|_| through("192.0.2.200")).collect();
    assert_eq!(crowd[0].close_code(), Some(1013));
    assert_eq!(crowd[8].call("auth", json!({"token": TOKEN}))["result"]["agent_id"], "default");
}

#[test]
fn failures_of_the_first_message_count_too() {
    let gateway = Gateway::start();
    for n in 0..10 {
        let mut agent = Agent::connect(gateway.address);
        assert_eq!(error(&agent.call("auth", json!({"token": format!("wrong {n}")}))).0, -32005);
        assert_eq!(agent.close_code(), Some(1008));
    }
    assert!(wrong(&gateway, 0).contains("429"));
}

#[test]
fn a_browser_comes_in_only_from_an_origin_on_the_list() {
    let mut setup = Setup::default();
    setup.config = setup.config.replace("port: 0", "port: 0\n  allowed_origins: [\"https://home.example\"]");
    let gateway = Gateway::with(&setup);
    let connect = |origin: &str| {
        let bearer = format!("Bearer {TOKEN}");
        Agent::try_connect(gateway.address, &[("origin", origin), ("authorization", &bearer)])
    };
    for origin in
        ["https://evil.example", "null", "", "https://home.example.evil.example", "http://home.example"]
    {
        assert!(connect(origin).err().unwrap().contains("403"), "{origin}");
    }
    connect("https://home.example").unwrap().assert_quiet();
}

#[test]
fn the_oldest_silent_stranger_of_an_address_makes_room() {
    let gateway = Gateway::start();
    let mut silent: Vec<_> = (0..8).map(|_| TcpStream::connect(gateway.address).unwrap()).collect();
    let mut agent = Agent::login(gateway.address, TOKEN);
    eventually("the oldest to leave", || is_closed(&mut silent[0]).then_some(()));
    for (place, stream) in silent.iter_mut().enumerate().skip(1) {
        assert!(!is_closed(stream), "number {place} did not have to leave");
    }
    agent.assert_quiet();
}

#[test]
fn strangers_from_many_addresses_do_not_keep_an_agent_out() {
    let gateway = Gateway::start();
    let mut silent: Vec<_> = (0..32).map(|n| from([127, 0, 1, 1 + n / 8], gateway.address)).collect();
    let began = Instant::now();
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.assert_quiet();
    assert!(began.elapsed() < Duration::from_secs(9), "until they leave: {:?}", began.elapsed());
    eventually("the oldest to leave", || is_closed(&mut silent[0]).then_some(()));
    assert_eq!(silent.iter_mut().filter_map(|s| is_closed(s).then_some(())).count(), 1);
}
