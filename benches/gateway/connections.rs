//! New connections: TCP, TLS where there is some, the upgrade and the token in it.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Bench;
use super::direct;
use super::link::Route;
use super::load::Timings;
use super::program::Gateway;
use super::setup::{AGENTS, PLAIN, Setup, token};
use super::table::{Figure, Table};

pub fn run(bench: &Bench, table: &mut Table) {
    let time = bench.options.time();
    let before = direct::connections(bench.upstream.address, time / 4);
    let mut rows = Vec::new();
    for setup in [PLAIN, Setup::with_tls()] {
        for clients in [1, 4] {
            eprintln!("  {clients} at a time, {}", setup.mode());
            let gateway = Gateway::start(bench, &setup);
            let what = if clients == 1 { "one after another" } else { "four at a time" };
            let mode = if setup.tls { "TLS 1.3, full" } else { "no TLS" };
            rows.push((what, mode, open(&gateway.route, clients, time)));
        }
    }
    let after = direct::connections(bench.upstream.address, time / 4);
    let floor = (before.median() + after.median()) / 2;

    table.part("NEW CONNECTIONS", &["opened", "p50", "p99", "p50 : direct"]);
    row(table, "direct: connect and call, before", "", &before, None);
    rows.iter().for_each(|(what, mode, timings)| row(table, what, mode, timings, Some(floor)));
    row(table, "direct: connect and call, after", "", &after, None);
    table.note(
        "until the agent is authenticated by the upgrade request. No session is resumed; the client checks",
    );
    table.note("the certificate, on the same cores.");
}

/// Opens and closes connections on `clients` threads. Closed ones keep their port for a minute, so they come from
/// many addresses.
fn open(route: &Route, clients: usize, time: Duration) -> Timings {
    let (began, opened) = (Instant::now(), AtomicUsize::new(0));
    let client = || {
        let mut latencies = Vec::new();
        while began.elapsed() < time {
            let number = opened.fetch_add(1, Ordering::Relaxed);
            let sent = Instant::now();
            let link = route.connect_from(source(number), &token(number % AGENTS));
            latencies.push(sent.elapsed());
            drop(link);
        }
        latencies
    };
    let latencies = thread::scope(|scope| {
        let running: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        running.into_iter().flat_map(|client| client.join().expect("a client failed")).collect()
    });
    Timings::new(latencies, began.elapsed())
}

/// One of a hundred addresses of this machine.
pub fn source(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, 1 + (number % 100) as u8)
}

fn row(table: &mut Table, what: &str, mode: &str, timings: &Timings, floor: Option<Duration>) {
    let beside = floor.map_or(Figure::None, |floor| Figure::beside(timings.median(), floor));
    let [p50, p99] = [0.5, 0.99].map(|share| Figure::Time(timings.quantile(share)));
    table.row(what, mode, &[Figure::PerSecond(timings.per_second()), p50, p99, beside]);
}
