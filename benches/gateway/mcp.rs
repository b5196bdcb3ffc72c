//! The same call over MCP: new clients, and old ones with their sessions, each over a connection that stays open. And what a
//! session costs that nobody uses.

use std::net::Ipv4Addr;
use std::time::Instant;

use serde_json::{Value, json};

use super::Bench;
use super::connections::source;
use super::http::Http;
use super::latency;
use super::link::{Route, Wire};
use super::load::{READ, Timings};
use super::machine;
use super::memory::settled;
use super::program::Gateway;
use super::setup::{AGENTS, PLAIN, Setup, token};
use super::table::{Figure, Table};

const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";
/// Sessions of one agent, as many as it may have.
const SESSIONS: usize = 64;

pub fn run(bench: &Bench, table: &mut Table) {
    table.part("MCP, an allowed read, one at a time", &["p50", "p99", "p50 : WebSocket", "gateway CPU"]);
    for setup in [PLAIN, Setup::with_tls()] {
        let (floor, cpu) = latency::one_at_a_time(bench, &setup, READ);
        row(table, "WebSocket", &setup, &floor, cpu, None);
        for (what, era) in [("MCP 2026-07-28", MODERN), ("MCP 2025-11-25", LEGACY)] {
            let (timings, cpu) = reads(bench, &setup, era);
            row(table, what, &setup, &timings, cpu, Some(&floor));
        }
    }
    table.part("MCP, sessions that wait", &["RssAnon for each"]);
    for setup in [PLAIN, Setup::with_tls()] {
        sessions(bench, table, &setup);
        streams(bench, table, &setup, bench.options.pick(1_000, 400) as usize);
    }
}

fn row(
    table: &mut Table,
    what: &str,
    setup: &Setup,
    timings: &Timings,
    cpu: std::time::Duration,
    floor: Option<&Timings>,
) {
    let [p50, p99] = [0.5, 0.99].map(|share| Figure::Time(timings.quantile(share)));
    let beside = floor.map_or(Figure::None, |floor| Figure::beside(timings.median(), floor.median()));
    table.row(what, &setup.mode(), &[p50, p99, beside, Figure::Time(cpu)]);
}

/// A client on a connection that stays open.
struct Client {
    http: Http<Box<dyn Wire>>,
    token: String,
    /// Empty for new clients.
    session: String,
}

impl Client {
    fn new(route: &Route, source: Ipv4Addr, token: String) -> Client {
        Client { http: Http::on(route.open_from(source)), token, session: String::new() }
    }

    fn send(&mut self, method: &str, headers: &str, body: &str) {
        let head = format!(
            "{method} /mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             accept: application/json, text/event-stream\r\n{headers}{}content-length: {}\r\n\r\n{body}",
            self.token,
            self.session,
            body.len()
        );
        self.http.write(head.as_bytes()).unwrap();
    }

    /// Begins a session.
    fn initialize(&mut self) {
        let params = json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "b", "version": "1"}});
        let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string();
        self.session.clear();
        self.send("POST", "", &body);
        let answer = self.http.read().expect("an answer");
        let head = String::from_utf8_lossy(answer.head).into_owned();
        let session = head.lines().find(|line| line.to_ascii_lowercase().starts_with("mcp-session-id:"));
        self.session = format!("{}\r\n", session.unwrap_or_else(|| panic!("no session: {head}")));
    }

    fn read(&mut self, number: u64) {
        let mut params = json!({"name": "read", "arguments": {"id": format!("sensor.n{number}")}});
        let headers = if self.session.is_empty() {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {},
            });
            "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: read\r\n"
        } else {
            "mcp-protocol-version: 2025-11-25\r\n"
        };
        let body =
            json!({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}).to_string();
        self.send("POST", headers, &body);
        let answer = self.http.read().expect("an answer");
        let answer: Value = serde_json::from_slice(answer.body).unwrap();
        assert!(answer["id"] == number && answer["result"]["isError"] == false, "not executed: {answer}");
    }
}

/// How long calls took, and the gateway's processor time for each.
fn reads(bench: &Bench, setup: &Setup, era: &str) -> (Timings, std::time::Duration) {
    eprintln!("  read over MCP {era}, {}", setup.mode());
    let gateway = Gateway::start(bench, setup);
    let mut client = Client::new(&gateway.route, Ipv4Addr::LOCALHOST, token(0));
    if era == LEGACY {
        client.initialize();
    }
    (0..200).for_each(|number| client.read(number));
    let (served, cpu) = (bench.upstream.served(), machine::cpu(gateway.pid()));
    let (began, mut latencies) = (Instant::now(), Vec::new());
    while began.elapsed() < bench.options.time() {
        let sent = Instant::now();
        client.read(1_000 + latencies.len() as u64);
        latencies.push(sent.elapsed());
    }
    let cpu = (machine::cpu(gateway.pid()) - cpu) / latencies.len() as u32;
    assert_eq!(bench.upstream.served() - served, latencies.len() as u64, "calls that reached the service");
    (Timings::new(latencies, began.elapsed()), cpu)
}

/// Sessions whose clients have gone.
fn sessions(bench: &Bench, table: &mut Table, setup: &Setup) {
    let gateway = Gateway::start(bench, setup);
    let before = settled(&gateway);
    for agent in 0..AGENTS {
        let mut client = Client::new(&gateway.route, source(agent), token(agent));
        (0..SESSIONS).for_each(|_| client.initialize());
    }
    let count = AGENTS * SESSIONS;
    let each = (settled(&gateway).anonymous - before.anonymous) / count as f64;
    table.row(&format!("{count} sessions, no connections"), &setup.mode(), &[Figure::Bytes(each)]);
}

/// Sessions whose clients listen for changes, as the usual ones do.
fn streams(bench: &Bench, table: &mut Table, setup: &Setup, count: usize) {
    let gateway = Gateway::start(bench, setup);
    let before = settled(&gateway);
    let clients: Vec<_> = (0..count)
        .map(|n| {
            let mut client = Client::new(&gateway.route, source(n), token(n % AGENTS));
            client.initialize();
            client.send("GET", "", "");
            assert!(client.http.read().expect("a stream").head.starts_with(b"HTTP/1.1 200"));
            client
        })
        .collect();
    let each = (settled(&gateway).anonymous - before.anonymous) / count as f64;
    table.row(&format!("{count} sessions that listen"), &setup.mode(), &[Figure::Bytes(each)]);
    drop(clients);
}
