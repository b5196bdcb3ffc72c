//! Ask, approve, execute: whole rounds with a person who says yes at once.

use std::thread;
use std::time::{Duration, Instant};

use super::Bench;
use super::bot_api;
use super::direct;
use super::load::{self, ASK_READ, ASK_WRITE, Calls, Timings, Until};
use super::owner::Approver;
use super::program::Gateway;
use super::setup::{PLAIN, Setup, token};
use super::table::{Figure, Table};

/// Longer than the pace of messages in one chat and the edits of one card: no question waits for another.
const PAUSE: Duration = Duration::from_secs(4);

pub fn run(bench: &Bench, table: &mut Table) {
    let time = bench.options.time();
    let before = direct::calls(bench.upstream.address, 1, time / 2);
    let mut rows = Vec::new();
    for calls in [ASK_READ, ASK_WRITE] {
        for (connections, depth) in [(1, 1), (4, 16), (16, 4)] {
            let what = format!("{}, {connections}x{depth}", calls.tool);
            rows.push((what, "local", local(bench, calls, connections, depth)));
        }
    }
    for calls in [ASK_READ, ASK_WRITE] {
        rows.push((format!("{}, one by one", calls.tool), "Bot API", through_telegram(bench, calls)));
    }
    let after = direct::calls(bench.upstream.address, 1, time / 2);
    let floor = (before.median() + after.median()) / 2;

    table.part("ASK, APPROVE, EXECUTE", &["rounds", "p50", "p99", "p50 : direct"]);
    row(table, "direct call, before", "", &before, None);
    rows.iter().for_each(|(what, mode, timings)| row(table, what, mode, timings, Some(floor)));
    row(table, "direct call, after", "", &after, None);
    table.note(
        "sync writes, no TLS, a person who answers at once. On the Bot API the channel keeps the pace of",
    );
    table.note("one message per second and chat by design: only the time of one question is measured there.");
}

fn local(bench: &Bench, calls: Calls, connections: usize, depth: usize) -> Timings {
    eprintln!("  {}, {connections}x{depth}", calls.tool);
    let gateway = Gateway::start(bench, &PLAIN);
    let approver = Approver::start(&gateway.folder, (connections * depth).min(32));
    let mut links: Vec<_> = (0..connections).map(|n| gateway.route.connect(&token(n))).collect();
    load::warm_up(&mut links, calls, depth);
    let served = bench.upstream.served();
    let timings = load::run(&mut links, calls, depth, Until::Time(bench.options.time()));
    assert_eq!(bench.upstream.served() - served, timings.calls(), "calls that reached the service");
    drop(approver);
    timings
}

fn through_telegram(bench: &Bench, calls: Calls) -> Timings {
    let rounds = bench.options.pick(10, 2);
    eprintln!("  {} through the Bot API, {rounds} times", calls.tool);
    let gateway = Gateway::start(bench, &Setup { messenger: bot_api::messenger(), ..PLAIN });
    let mut links = [gateway.route.connect(&token(0))];
    let began = Instant::now();
    let round = |_| {
        thread::sleep(PAUSE);
        load::run(&mut links, calls, 1, Until::Calls(1)).median()
    };
    Timings::new((0..rounds).map(round).collect(), began.elapsed())
}

fn row(table: &mut Table, what: &str, mode: &str, timings: &Timings, floor: Option<Duration>) {
    let beside = floor.map_or(Figure::None, |floor| Figure::beside(timings.median(), floor));
    let rate = if mode == "Bot API" { Figure::None } else { Figure::PerSecond(timings.per_second()) };
    let [p50, p99] = [0.5, 0.99].map(|share| Figure::Time(timings.quantile(share)));
    table.row(what, mode, &[rate, p50, p99, beside]);
}
