//! From exec to listening, and what is executed.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Bench;
use super::load::Timings;
use super::million;
use super::program::{Folder, Gateway, time_to_listen};
use super::setup::{PLAIN, Setup};
use super::table::{Figure, Table};

pub fn run(bench: &Bench, table: &mut Table) {
    table.part("START, exec to listening", &["best", "p50", "worst", "p50 : --version"]);
    let floor = version(bench);
    row(table, "`--version`, to its end", "", &floor, None);
    for setup in [PLAIN.for_one(), Setup::with_tls().for_one()] {
        let folder = Gateway::start(bench, &setup).stop();
        row(table, "empty record", &setup.mode(), &starts(bench, &setup, &folder), Some(floor.median()));
    }
    if let Some(folder) = million::copy(bench) {
        let setup = PLAIN.for_one();
        setup.write(&folder.0, bench.upstream.address);
        let what = format!("a million calls, {:.0} MB", folder.record_size() / 1e6);
        row(table, &what, &setup.mode(), &starts(bench, &setup, &folder), Some(floor.median()));
    }
    let setup = PLAIN.for_one();
    let folder = Gateway::start(bench, &setup).stop();
    count(&folder);
    row(
        table,
        "a million live counters",
        &setup.mode(),
        &starts(bench, &setup, &folder),
        Some(floor.median()),
    );
    table.note("the best has its files in the page cache; ended in order each time");
}

/// Writes what a million calls that differ have counted under one limit, of fifty agents.
fn count(folder: &Folder) {
    let db = rusqlite::Connection::open(folder.0.join("data/agentpass.db")).unwrap();
    let agent = "'agent-' || (n / 20000)";
    let key =
        format!("'{{\"agent\":\"' || {agent} || '\",\"call\":\"' || printf('%064x', n * 7919) || '\"}}'");
    let sql = format!(
        "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 999999)
         INSERT INTO counters (of, key, until, name, agent, amount, first, at)
         SELECT printf('%064x', 1), {key}, 4102444800000 + n % 60 * 60000, 'each', {agent}, '1', 0, 0 FROM numbers"
    );
    assert_eq!(db.execute(&sql, []).unwrap(), 1_000_000);
}

/// The least that starting the program takes.
fn version(bench: &Bench) -> Timings {
    timed(bench, || {
        let began = Instant::now();
        let mut command = Command::new(&bench.options.program);
        assert!(command.arg("--version").stdout(Stdio::null()).status().unwrap().success());
        began.elapsed()
    })
}

fn starts(bench: &Bench, setup: &Setup, folder: &Folder) -> Timings {
    timed(bench, || time_to_listen(bench, setup, folder))
}

fn timed(bench: &Bench, mut once: impl FnMut() -> Duration) -> Timings {
    let times: Vec<Duration> = (0..bench.options.pick(30, 5)).map(|_| once()).collect();
    let all = times.iter().sum();
    Timings::new(times, all)
}

fn row(table: &mut Table, what: &str, mode: &str, timings: &Timings, floor: Option<Duration>) {
    let [best, p50, worst] = [0.0, 0.5, 1.0].map(|share| Figure::Time(timings.quantile(share)));
    let beside = floor.map_or(Figure::None, |floor| Figure::beside(timings.median(), floor));
    table.row(what, mode, &[best, p50, worst, beside]);
}

/// The program's file.
pub fn size(bench: &Bench, table: &mut Table) {
    table.part("SIZE", &["file"]);
    let bytes = std::fs::metadata(&bench.options.program).unwrap().len() as f64;
    table.row("program", "", &[Figure::Bytes(bytes)]);
    table.note(
        "a build with symbols is several times larger than the stripped program of the release profile",
    );
}
