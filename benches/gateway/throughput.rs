//! Many calls at a time, on few connections and on many, with arguments of their own and with the same ones.

use std::time::Duration;

use super::Bench;
use super::direct;
use super::load::{self, Calls, READ, SAME_READ, Timings, Until, WRITE};
use super::machine;
use super::program::Gateway;
use super::setup::{PLAIN, Setup, token};
use super::table::{Figure, Table};

/// Connections, and calls in flight on each.
const SHAPES: [(usize, usize); 2] = [(4, 16), (64, 4)];

/// What is sent in each shape. A write waits for the disk in both modes.
fn loads() -> [(Setup, Calls); 6] {
    let all = Setup::with_sync("all");
    [
        (PLAIN, READ),
        (all.clone(), READ),
        (Setup::with_tls(), READ),
        (PLAIN, SAME_READ),
        (all, SAME_READ),
        (PLAIN, WRITE),
    ]
}

struct Row {
    what: String,
    mode: String,
    timings: Timings,
    executed: u64,
    /// Of the gateway, for each answer.
    cpu: Duration,
}

pub fn run(bench: &Bench, table: &mut Table) {
    table.part("THROUGHPUT", &["calls", "CPU/call", "p99", "calls : direct"]);
    let joined = SHAPES.map(|(connections, depth)| shape(bench, table, connections, depth));
    table.note(
        "CPU/call: of the gateway alone, user and system time; it says more than calls on a busy machine.",
    );
    table.note("same: identical calls of one agent that are open together are one call by contract: up to");
    table.note(&format!(
        "{:.0} answers came of one execution. All other calls were executed.",
        joined[0].max(joined[1])
    ));
}

/// The rows of one shape; gives how many answers came of one execution, at the most.
fn shape(bench: &Bench, table: &mut Table, connections: usize, depth: usize) -> f64 {
    let all = connections * depth;
    let direct = || direct::calls(bench.upstream.address, all, bench.options.time() / 2);
    let before = direct();
    let rows = loads().map(|(setup, calls)| measure(bench, &setup, calls, connections, depth));
    let after = direct();
    let floor = (before.per_second() + after.per_second()) / 2.0;
    row(table, &format!("direct, {all} connections, before"), "", &before, None);
    for Row { what, mode, timings, cpu, .. } in &rows {
        row(table, what, mode, timings, Some((*cpu, floor)));
    }
    row(table, &format!("direct, {all} connections, after"), "", &after, None);
    rows.iter().map(|row| row.timings.calls() as f64 / row.executed as f64).fold(1.0, f64::max)
}

fn measure(bench: &Bench, setup: &Setup, calls: Calls, connections: usize, depth: usize) -> Row {
    let same = if calls.distinct { "" } else { " same" };
    let what = format!("{connections}x{depth} {}{same}", calls.tool);
    eprintln!("  {what}, {}", setup.mode());
    let gateway = Gateway::start(bench, setup);
    // The rate of one agent has an upper bound, and only calls of one agent are joined.
    let agent = |n: usize| if calls.distinct { n } else { 0 };
    let mut links: Vec<_> = (0..connections).map(|n| gateway.route.connect(&token(agent(n)))).collect();
    load::warm_up(&mut links, calls, depth);
    let (served, cpu) = (bench.upstream.served(), machine::cpu(gateway.pid()));
    let timings = load::run(&mut links, calls, depth, Until::Time(bench.options.time()));
    let cpu = (machine::cpu(gateway.pid()) - cpu) / timings.calls() as u32;
    let executed = bench.upstream.served() - served;
    assert!(!calls.distinct || executed == timings.calls(), "{executed} of {} calls", timings.calls());
    Row { what, mode: setup.mode(), timings, executed, cpu }
}

fn row(table: &mut Table, what: &str, mode: &str, timings: &Timings, beside: Option<(Duration, f64)>) {
    let (calls, p99) = (Figure::PerSecond(timings.per_second()), Figure::Time(timings.quantile(0.99)));
    let (cpu, beside) = beside.map_or((Figure::None, Figure::None), |(cpu, floor)| {
        (Figure::Time(cpu), Figure::Times(timings.per_second() / floor))
    });
    table.row(what, mode, &[calls, cpu, p99, beside]);
}
