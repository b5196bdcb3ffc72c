//! One call at a time: how long it takes, beside the same call without a gateway.

use std::time::Duration;

use super::Bench;
use super::direct;
use super::load::{self, Calls, READ, Timings, Until, WRITE};
use super::machine;
use super::program::{Folder, Gateway};
use super::setup::{PLAIN, Setup, token};
use super::table::{Figure, Table};

pub fn run(bench: &Bench, table: &mut Table) {
    let time = bench.options.time();
    let before = direct::calls(bench.upstream.address, 1, time / 2);
    let rows = [
        ("allowed read", PLAIN, READ),
        ("allowed read", Setup::with_sync("all"), READ),
        ("allowed read", Setup::with_tls(), READ),
        ("allowed write", PLAIN, WRITE),
        ("allowed write", Setup::with_tls(), WRITE),
    ];
    let measured = rows.map(|(what, setup, calls)| {
        let (timings, cpu) = one_at_a_time(bench, &setup, calls);
        (what, setup.mode(), timings, cpu)
    });
    let after = direct::calls(bench.upstream.address, 1, time / 2);
    let floor = (before.median() + after.median()) / 2;

    table.part("LATENCY, one at a time", &["p50", "p99", "p99.9", "p50 : direct"]);
    row(table, "direct call, before", "", &before, None);
    for (what, mode, timings, _) in &measured {
        row(table, what, mode, timings, Some(floor));
    }
    row(table, "direct call, after", "", &after, None);
    row(table, "fdatasync of 4 KiB", "this disk", &direct::syncs(&Folder::new().0, time / 2), Some(floor));
    table.part("CPU, one at a time", &["gateway"]);
    for (what, mode, _, cpu) in &measured {
        table.row(what, mode, &[Figure::Time(*cpu)]);
    }
}

/// How long the calls took, and the gateway's processor time for each.
pub fn one_at_a_time(bench: &Bench, setup: &Setup, calls: Calls) -> (Timings, Duration) {
    eprintln!("  {}, {}", calls.tool, setup.mode());
    let gateway = Gateway::start(bench, setup);
    let mut links = [gateway.route.connect(&token(0))];
    load::warm_up(&mut links, calls, 1);
    let (served, cpu) = (bench.upstream.served(), machine::cpu(gateway.pid()));
    let timings = load::run(&mut links, calls, 1, Until::Time(bench.options.time()));
    let cpu = (machine::cpu(gateway.pid()) - cpu) / timings.calls() as u32;
    assert_eq!(bench.upstream.served() - served, timings.calls(), "calls that reached the service");
    (timings, cpu)
}

fn row(table: &mut Table, what: &str, mode: &str, timings: &Timings, floor: Option<Duration>) {
    let quantile = |share| Figure::Time(timings.quantile(share));
    let beside = floor.map_or(Figure::None, |floor| Figure::beside(timings.median(), floor));
    table.row(what, mode, &[quantile(0.5), quantile(0.99), quantile(0.999), beside]);
}
