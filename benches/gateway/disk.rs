//! What a call leaves in the record and what it writes to the disk: SD cards wear out by the second.

use super::Bench;
use super::load::{self, ASK_WRITE, Calls, READ, Until, WRITE};
use super::machine::Written;
use super::million;
use super::owner::Approver;
use super::program::{Folder, Gateway};
use super::setup::{PLAIN, Setup, token};
use super::table::{Figure, Table};

/// How calls come.
#[derive(Clone, Copy)]
struct Load {
    what: &'static str,
    calls: Calls,
    connections: usize,
    depth: usize,
}

const LOADS: [Load; 5] = [
    Load { what: "reads, one at a time", calls: READ, connections: 1, depth: 1 },
    Load { what: "reads, 4x16", calls: READ, connections: 4, depth: 16 },
    Load { what: "writes, one at a time", calls: WRITE, connections: 1, depth: 1 },
    Load { what: "writes, 4x16", calls: WRITE, connections: 4, depth: 16 },
    Load { what: "approved writes, one at a time", calls: ASK_WRITE, connections: 1, depth: 1 },
];

pub fn run(bench: &Bench, table: &mut Table) {
    let count = bench.options.pick(10_000, 2_000);
    table.part("DISK, bytes per call", &["record", "to disk", "by write()", "disk : record"]);
    for setup in [PLAIN, Setup::with_sync("all")] {
        for load in LOADS.iter().filter(|load| setup.sync == "writes" || load.calls.tool == "read") {
            row(bench, table, &setup, *load, count, empty(bench, &setup));
        }
    }
    if let Some(folder) = million::copy(bench) {
        let load = Load { what: "reads behind a million others", ..LOADS[0] };
        row(bench, table, &PLAIN, load, count, folder);
    }
    table.note(&format!(
        "{count} calls each. record: files after an orderly stop. to disk, by write(): /proc/PID/io;"
    ));
    table.note("to disk counts pages on their way to it, by write() what was handed over (without the log).");
}

/// A folder whose record has its tables and nothing else.
fn empty(bench: &Bench, setup: &Setup) -> Folder {
    Gateway::start(bench, setup).stop()
}

fn row(bench: &Bench, table: &mut Table, setup: &Setup, load: Load, count: u64, folder: Folder) {
    eprintln!("  {}, {}", load.what, setup.mode());
    let before = folder.record_size();
    let gateway = Gateway::start_in(bench, setup, folder);
    let written = send(&gateway, load, count);
    let kept = gateway.stop().record_size() - before;
    let per_call = |bytes: f64| Figure::Bytes(bytes / count as f64);
    let figures = [per_call(kept), per_call(written.disk), per_call(written.calls)];
    table.row(load.what, &setup.mode(), &[&figures[..], &[Figure::Times(written.disk / kept)]].concat());
}

/// Sends `count` calls and gives what the gateway wrote meanwhile, without its log.
fn send(gateway: &Gateway, load: Load, count: u64) -> Written {
    let approver = load.calls.tool.starts_with("ask").then(|| Approver::start(&gateway.folder, 1));
    let mut links: Vec<_> = (0..load.connections).map(|n| gateway.route.connect(&token(n))).collect();
    let (before, log) = (Written::by(gateway.pid()), gateway.log_size());
    let each = Until::Calls(count / load.connections as u64);
    load::run(&mut links, load.calls, load.depth, each);
    let mut written = Written::by(gateway.pid()).since(before);
    written.calls -= gateway.log_size() - log;
    drop(approver);
    written
}
