//! Many calls at a time, on few connections and on many, with arguments of their own and with the same ones.

use super::Bench;
use super::direct;
use super::load::{self, Calls, READ, SAME_READ, Timings, Until, WRITE};
use super::program::Gateway;
use super::setup::{Setup, token};
use super::table::{Figure, Table};

/// Connections, and calls in flight on each.
const SHAPES: [(usize, usize); 2] = [(4, 16), (64, 4)];

/// What is sent in each shape. A write waits for the disk in both modes.
const LOADS: [(&str, Calls); 5] =
    [("writes", READ), ("writes", SAME_READ), ("writes", WRITE), ("all", READ), ("all", SAME_READ)];

struct Row {
    what: String,
    mode: String,
    timings: Timings,
    executed: u64,
}

pub fn run(bench: &Bench, table: &mut Table) {
    let time = bench.options.time();
    let mut before = Vec::new();
    let mut rows = Vec::new();
    for (connections, depth) in SHAPES {
        before.push(direct::calls(bench.upstream.address, connections * depth, time / 2));
        for (sync, calls) in LOADS {
            rows.push(measure(bench, sync, calls, connections, depth));
        }
    }
    let after = SHAPES.map(|(c, d)| direct::calls(bench.upstream.address, c * d, time / 2));

    table.part("THROUGHPUT", &["calls", "p50", "p99", "calls : direct"]);
    for (shape, (connections, depth)) in SHAPES.into_iter().enumerate() {
        let all = connections * depth;
        let floor = (before[shape].per_second() + after[shape].per_second()) / 2.0;
        row(table, &format!("direct, {all} connections, before"), "", &before[shape], None);
        for Row { what, mode, timings, .. } in &rows[shape * LOADS.len()..][..LOADS.len()] {
            row(table, what, mode, timings, Some(floor));
        }
        row(table, &format!("direct, {all} connections, after"), "", &after[shape], None);
    }
    table.note("`same`: identical calls of one agent that are open together are one call by contract;");
    let joined = rows.iter().map(|row| row.timings.calls() as f64 / row.executed as f64).fold(1.0, f64::max);
    table.note(&format!("up to {joined:.1} answers came of one execution here. All others ran once each."));
}

fn measure(bench: &Bench, sync: &'static str, calls: Calls, connections: usize, depth: usize) -> Row {
    let setup = Setup::with_sync(sync);
    let same = if calls.distinct { "" } else { " same" };
    let what = format!("{connections}x{depth} {}{same}", calls.tool);
    eprintln!("  {what}, {}", setup.mode());
    let gateway = Gateway::start(bench, &setup);
    // The rate of one agent has an upper bound, and only calls of one agent are joined.
    let agent = |n: usize| if calls.distinct { n } else { 0 };
    let mut links: Vec<_> = (0..connections).map(|n| gateway.route.connect(&token(agent(n)))).collect();
    load::warm_up(&mut links, calls, depth);
    let served = bench.upstream.served();
    let timings = load::run(&mut links, calls, depth, Until::Time(bench.options.time()));
    let executed = bench.upstream.served() - served;
    assert!(!calls.distinct || executed == timings.calls(), "{executed} of {} calls", timings.calls());
    Row { what, mode: setup.mode(), timings, executed }
}

fn row(table: &mut Table, what: &str, mode: &str, timings: &Timings, floor: Option<f64>) {
    let beside = floor.map_or(Figure::None, |floor| Figure::Times(timings.per_second() / floor));
    let quantile = |share| Figure::Time(timings.quantile(share));
    table.row(what, mode, &[Figure::PerSecond(timings.per_second()), quantile(0.5), quantile(0.99), beside]);
}
