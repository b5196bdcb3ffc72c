//! Hostile crowds: whatever they do, an agent that is connected and one that comes are served within a second, and the
//! gateway's memory is what it was.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use async_tungstenite::tungstenite::{Bytes, Message};
use harness::agent::dial_from;
use harness::gateway::{LAPTOP, TOKEN};
use harness::{Agent, Answer, Gateway, PATIENCE, Setup, takes_less};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

/// What the product promises to agents while it is under attack.
const SERVED_WITHIN: Duration = Duration::from_secs(1);
/// How much more memory may be resident afterwards, in KiB.
const FLAT: u64 = 8 * 1024;
/// The same when large messages were in flight: the allocator keeps a part of what they took, however long it was.
const FLAT_AFTER_LARGE: u64 = 24 * 1024;
/// On a machine that is busy with other work everything takes longer: as many times as long as what is slowest in peace
/// may a call take during an attack.
const SLOWER: u32 = 20;
/// How many times the agents are served during an attack, and how long after one another.
const SAMPLES: u32 = 5;
const BETWEEN: Duration = Duration::from_millis(60);

const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The moment of an attack: it goes on until it is over, and is only judged once it is on.
#[derive(Default)]
struct Siege {
    on: AtomicBool,
    over: AtomicBool,
}

impl Siege {
    /// Everything is in place.
    fn begin(&self) {
        self.on.store(true, Ordering::Relaxed);
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// Keeps what was built up until the end.
    fn hold(&self) {
        self.begin();
        while self.goes_on() {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Attacks a gateway with `attackers` threads of `attack` while agents are served.
fn besiege(attackers: usize, attack: impl Fn(&Gateway, &Siege, usize) + Sync) {
    besiege_with(&Setup::default(), FLAT, attackers, attack);
}

fn besiege_with(setup: &Setup, flat: u64, attackers: usize, attack: impl Fn(&Gateway, &Siege, usize) + Sync) {
    // One attack at a time: the promise of a second is about one gateway on one machine.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    many_files();
    takes_less(SERVED_WITHIN, || siege(setup, flat, attackers, &attack));
}

/// One attack, from the start of the gateway to the end. Gives how long an agent has waited at most, as on a machine that
/// does nothing else.
fn siege(
    setup: &Setup,
    flat: u64,
    attackers: usize,
    attack: &(impl Fn(&Gateway, &Siege, usize) + Sync),
) -> Duration {
    let gateway = Gateway::with(setup);
    let mut agent = Agent::login(gateway.address, TOKEN);
    let peaceful = (0..20).map(|_| serve(&gateway, &mut agent)).max().unwrap();
    let before = resident(&gateway);
    let siege = Siege::default();
    let slowest = thread::scope(|scope| {
        for n in 0..attackers {
            let (gateway, siege) = (&gateway, &siege);
            scope.spawn(move || attack(gateway, siege, n));
        }
        let served =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| watch(&gateway, &mut agent, &siege)));
        siege.over.store(true, Ordering::Relaxed);
        served.unwrap()
    });
    eventually_flat(&gateway, before + flat);
    let promised = SERVED_WITHIN.max(peaceful * SLOWER);
    SERVED_WITHIN.mul_f64(slowest.as_secs_f64() / promised.as_secs_f64())
}

/// Serves the agents again and again until the attack has been on for a while.
fn watch(gateway: &Gateway, agent: &mut Agent, siege: &Siege) -> Duration {
    let patience = Instant::now() + PATIENCE;
    let (mut samples, mut slowest) = (0, Duration::ZERO);
    while samples < SAMPLES {
        assert!(Instant::now() < patience, "the attack does not get going");
        slowest = slowest.max(serve(gateway, agent));
        samples += u32::from(siege.on.load(Ordering::Relaxed));
        thread::sleep(BETWEEN);
    }
    slowest
}

/// A call by an agent that is connected, and one each by an agent that comes from here and from elsewhere.
fn serve(gateway: &Gateway, agent: &mut Agent) -> Duration {
    let arguments = json!({"entity_id": "sun"});
    let began = Instant::now();
    assert_eq!(agent.request("get_state", arguments.clone())["result"]["status"], "executed");
    let connected = began.elapsed();
    let arrivals = [HERE, ELSEWHERE].map(|source| {
        let began = Instant::now();
        let mut newcomer = arrive(source, gateway);
        assert_eq!(newcomer.request("get_state", arguments.clone())["result"]["status"], "executed");
        began.elapsed()
    });
    arrivals.into_iter().fold(connected, Duration::max)
}

/// A crowd from more addresses than there are places can push an agent out before it has said its token; it is told to
/// come again, and comes again.
fn arrive(source: Ipv4Addr, gateway: &Gateway) -> Agent {
    let patience = Instant::now() + PATIENCE;
    loop {
        let refused = match Agent::connect_from(source, gateway.address).map(Agent::authenticated) {
            Ok(Ok(agent)) => return agent,
            Ok(Err(refused)) | Err(refused) => refused,
        };
        assert!(!refused.contains("-32005"), "{refused}");
        assert!(Instant::now() < patience, "{refused}");
    }
}

/// Resident memory in KiB.
fn resident(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn eventually_flat(gateway: &Gateway, most: u64) {
    let mut lowest = u64::MAX;
    let patience = Instant::now() + PATIENCE;
    while lowest > most {
        lowest = lowest.min(resident(gateway));
        assert!(Instant::now() < patience, "{lowest} KiB, {most} KiB would be flat");
        thread::sleep(Duration::from_millis(20));
    }
}

/// This process plays a thousand peers.
fn many_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}

/// Addresses of this machine, a different one each time.
fn address(n: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + u32::try_from(n).unwrap())
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nhost: gateway\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A connection that is a WebSocket, but nobody yet.
fn upgraded(source: Ipv4Addr, gateway: &Gateway) -> Option<TcpStream> {
    let mut stream = dial_from(source, gateway.address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    stream.write_all(UPGRADE.as_bytes()).ok()?;
    stream.write_all(b"\r\n").ok()?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(stream)
}

/// The head of a masked text frame that promises `length` bytes.
fn promise(length: u64) -> Vec<u8> {
    let mut head = vec![0x81, 0xff];
    head.extend(length.to_be_bytes());
    head.extend([0; 4]);
    head
}

#[test]
fn a_thousand_silent_connections_from_one_address() {
    besiege(1, |gateway, siege, _| {
        let crowd: Vec<_> = (0..1000).map(|_| dial_from(HERE, gateway.address).unwrap()).collect();
        siege.hold();
        drop(crowd);
    });
}

#[test]
fn a_thousand_silent_connections_from_a_thousand_addresses() {
    besiege(1, |gateway, siege, _| {
        let crowd: Vec<_> = (0..1000).map(|n| dial_from(address(n), gateway.address).unwrap()).collect();
        siege.hold();
        drop(crowd);
    });
}

#[test]
fn silent_connections_that_never_stop_coming() {
    besiege(2, |gateway, siege, n| {
        let mut crowd = std::collections::VecDeque::new();
        siege.begin();
        for next in (n * 100_000..).take_while(|_| siege.goes_on()) {
            crowd.extend(dial_from(address(next % 4000), gateway.address));
            if crowd.len() > 500 {
                crowd.pop_front();
            }
        }
    });
}

#[test]
fn silent_websockets_that_never_stop_coming() {
    besiege(2, |gateway, siege, n| {
        let mut crowd = std::collections::VecDeque::new();
        siege.begin();
        for next in (n * 1000..).take_while(|_| siege.goes_on()) {
            crowd.extend(upgraded(address(next % 4000), gateway));
            if crowd.len() > 500 {
                crowd.pop_front();
            }
        }
    });
}

#[test]
fn requests_that_come_byte_by_byte() {
    besiege(1, |gateway, siege, _| {
        let mut crowd: Vec<_> =
            (0..200).filter_map(|n| dial_from(address(n), gateway.address).ok()).collect();
        siege.begin();
        for byte in UPGRADE.bytes().cycle().take_while(|_| siege.goes_on()) {
            for (n, peer) in crowd.iter_mut().enumerate() {
                if peer.write_all(&[byte]).is_err() {
                    *peer = dial_from(address(n), gateway.address).unwrap();
                }
            }
            thread::sleep(Duration::from_millis(10));
        }
    });
}

#[test]
fn frames_that_come_byte_by_byte() {
    besiege(1, |gateway, siege, _| {
        let mut crowd: Vec<_> = (0..100).filter_map(|n| upgraded(address(n), gateway)).collect();
        // And one that is somebody.
        let mut member = Agent::login(gateway.address, LAPTOP);
        crowd.iter_mut().for_each(|peer| drop(peer.write_all(&promise(1_000_000))));
        member.socket.get_mut().write_all(&promise(1_000_000)).unwrap();
        siege.begin();
        while siege.goes_on() {
            crowd.iter_mut().for_each(|peer| drop(peer.write_all(b"x")));
            member.socket.get_mut().write_all(b"x").unwrap();
            thread::sleep(Duration::from_millis(10));
        }
    });
}

#[test]
fn wrong_tokens_as_fast_as_they_can_be_sent() {
    besiege(4, |gateway, siege, n| {
        siege.begin();
        for next in (0..).take_while(|_| siege.goes_on()) {
            // From the address of an agent, from few addresses, from many; as a header, as a message.
            let source = [HERE, address(n), address(next % 4000), address(next % 50)][n];
            let Ok(mut stream) = dial_from(source, gateway.address) else { continue };
            stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            // The same again and again, and always another.
            let token = format!("wrong {}", if n < 2 { 0 } else { next });
            let header =
                if next % 2 == 0 { format!("authorization: Bearer {token}\r\n\r\n") } else { "\r\n".into() };
            let _ = stream.write_all(UPGRADE.as_bytes()).and_then(|()| stream.write_all(header.as_bytes()));
            let text =
                format!(r#"{{"jsonrpc":"2.0","method":"auth","params":{{"token":"{token}"}},"id":1}}"#);
            let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
            frame.extend(text.as_bytes());
            let _ = stream.write_all(&frame);
            let _ = stream.read(&mut [0; 256]);
        }
    });
}

#[test]
fn pings_without_end() {
    besiege(2, |gateway, siege, n| {
        siege.begin();
        while siege.goes_on() {
            let mut peer = match n {
                0 => Agent::connect_from(address(n), gateway.address).unwrap(),
                _ => Agent::login(gateway.address, LAPTOP),
            };
            let ping = || Message::Ping(Bytes::from_static(b"are you there?"));
            while siege.goes_on() && peer.socket.send(ping()).is_ok() {}
        }
    });
}

#[test]
fn frames_that_promise_to_be_huge() {
    besiege(2, |gateway, siege, n| {
        siege.begin();
        for next in (0_usize..).take_while(|_| siege.goes_on()) {
            let Some(mut peer) = upgraded(address(n), gateway) else { continue };
            let length = [u64::MAX >> 1, 1 << 40, u64::from(u32::MAX), (1 << 20) + 1][next % 4];
            let _ = peer.write_all(&promise(length));
            let _ = peer.read(&mut [0; 256]);
        }
    });
}

#[test]
fn json_that_is_deep_or_wide_or_a_batch_of_thousands() {
    let deep = format!("{}{}", "[".repeat(400_000), "]".repeat(400_000));
    let one = r#"{"jsonrpc":"2.0","method":"list_tools","id":1}"#;
    let batch = format!("[{}{one}]", format!("{one},").repeat(15_000));
    let wide = format!(r#"{{"jsonrpc":"2.0","method":"x","id":1,"params":{{{}"z":1}}}}"#, keys(60_000));
    let hundred = format!("[{}{one}]", format!("{one},").repeat(99));
    besiege_with(&Setup::default(), FLAT_AFTER_LARGE, 2, |gateway, siege, _| {
        let mut peer = Agent::login(gateway.address, LAPTOP);
        siege.begin();
        for text in [&deep, &batch, &wide, &hundred].into_iter().cycle().take_while(|_| siege.goes_on()) {
            peer.send_text(text);
            let reply = peer.receive();
            // What begins with `[` is a batch, and the deep one has one item.
            let answers = reply.as_array().map_or(1, Vec::len);
            assert!([1, 100].contains(&answers), "{answers} answers");
            assert!(answers == 100 || reply.get(0).unwrap_or(&reply).get("error").is_some(), "{reply}");
        }
    });
}

fn keys(count: u32) -> String {
    (0..count).map(|n| format!("\"k{n}\":[],")).collect()
}

/// Frames that have been sent before any of them is served: those of one agent over many connections, and one of
/// another behind them.
#[test]
fn agents_take_turns_however_many_connections_they_have() {
    const CROWD: usize = 60;
    const CALLS: usize = 30;
    let gateway = Gateway::start();
    let mut crowd: Vec<_> = (0..CROWD).map(|_| Agent::login(gateway.address, LAPTOP)).collect();
    let mut modest = Agent::login(gateway.address, TOKEN);
    for round in ["one", "two", "three", "four"] {
        let params = json!({"tool": round});
        let request = |id| json!({"jsonrpc": "2.0", "method": "tool_request", "params": params, "id": id});
        let batch = json!((0..CALLS).map(request).collect::<Vec<_>>()).to_string();
        gateway.pause();
        crowd.iter_mut().for_each(|agent| agent.send_text(&batch));
        modest.send_text(&request(0).to_string());
        gateway.go_on();
        assert_eq!(modest.receive()["error"]["data"]["reason"], "unknown_tool");
        for agent in &mut crowd {
            assert_eq!(agent.receive().as_array().unwrap().len(), CALLS);
        }
        let (all, before) = served(&gateway, round);
        assert_eq!(all, CROWD * CALLS);
        assert!(before < all / 2, "{before} of {all} were served first");
    }
}

/// How many requests for this tool the record has of the crowd, and how many of them before that of the other agent.
fn served(gateway: &Gateway, tool: &str) -> (usize, usize) {
    gateway.followed();
    let db = rusqlite::Connection::open(gateway.path("data/agentpass.db")).unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    let sql = "SELECT count(*), count(*) FILTER (WHERE seq < o.own) FROM calls,
               (SELECT seq AS own FROM calls WHERE agent = 'default' AND tool = ?1) o
               WHERE agent = 'laptop' AND tool = ?1";
    let counts = db.query_row(sql, [tool], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).unwrap();
    (counts.0.try_into().unwrap(), counts.1.try_into().unwrap())
}

#[test]
fn peers_that_ask_for_much_and_never_read() {
    let setup = Setup::default();
    let limited = "may_explain: true, max_requests_per_minute: 60";
    let config = setup.config.replace("may_explain: true", limited);
    besiege_with(&Setup { config, ..setup }, FLAT_AFTER_LARGE, 2, |gateway, siege, n| {
        gateway.upstream.answer(|seen| match seen.target.contains("large") {
            true => Answer::Reply(200, "text/plain", "x".repeat(250_000)),
            false => Answer::json("{}"),
        });
        let mut peer = Agent::login(gateway.address, LAPTOP);
        peer.socket.get_mut().set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        let call = json!({"tool": "get_state", "args": {"entity_id": format!("large{n}")}});
        let request = |method: &str, params: &serde_json::Value, id: u32| {
            Message::text(json!({"jsonrpc": "2.0", "method": method, "params": params, "id": id}).to_string())
        };
        siege.begin();
        for id in (0..).take_while(|_| siege.goes_on()) {
            let sent =
                [("tool_request", &call), ("get_pending_results", &json!({})), ("list_tools", &json!({}))]
                    .into_iter()
                    .try_for_each(|(method, params)| peer.socket.send(request(method, params, id)));
            if sent.is_err() {
                siege.hold();
            }
        }
        let _ = peer.socket.get_mut().shutdown(Shutdown::Both);
    });
}
