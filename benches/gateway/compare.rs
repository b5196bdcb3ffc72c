//! This program beside an older one, in one run: by turns, several rounds, the best of each. What else the machine does
//! then meets both alike.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use super::Bench;
use super::load::{self, ASK_WRITE, Calls, READ, Timings, Until, WRITE};
use super::machine::{self, Written};
use super::owner::Approver;
use super::program::Gateway;
use super::setup::{PLAIN, token};
use super::table::{Figure, Table};

/// How calls come, and how many on each connection.
struct Load {
    what: &'static str,
    calls: Calls,
    connections: usize,
    depth: usize,
    each: u64,
}

const LOADS: [Load; 5] = [
    Load { what: "reads, one at a time", calls: READ, connections: 1, depth: 1, each: 4000 },
    Load { what: "reads, 4x16", calls: READ, connections: 4, depth: 16, each: 5000 },
    Load { what: "writes, one at a time", calls: WRITE, connections: 1, depth: 1, each: 1500 },
    Load { what: "approved writes, one at a time", calls: ASK_WRITE, connections: 1, depth: 1, each: 1000 },
    Load { what: "approved writes, 4x16", calls: ASK_WRITE, connections: 4, depth: 16, each: 1000 },
];

/// Calls counted under valgrind, besides as many as come before.
const COUNTED: u64 = 200;

/// What one program needed, each the best of all rounds.
#[derive(Clone, Copy)]
struct Best {
    p50: f64,
    rate: f64,
    cpu: f64,
    disk: f64,
}

pub fn run(bench: &Bench, table: &mut Table) {
    let Some(older) = bench.options.against.as_deref().map(built) else { return };
    let programs = [bench.with(vec![older]), bench.with(vec![bench.options.program.clone()])];
    table.part("OLD AND NEW", &["old", "new", "", "new : old"]);
    for load in &LOADS {
        eprintln!("  {}", load.what);
        let rounds = (0..bench.options.pick(7, 2)).map(|_| programs.each_ref().map(|one| round(one, load)));
        let [old, new] = rounds.reduce(|a, b| [a[0].or(b[0]), a[1].or(b[1])]).expect("a round");
        let time = |seconds| Figure::Nanos(seconds * 1e9);
        row(table, load, "p50", [old.p50, new.p50], time);
        row(table, load, "per second", [old.rate, new.rate], Figure::PerSecond);
        row(table, load, "CPU", [old.cpu, new.cpu], time);
        row(table, load, "to disk", [old.disk, new.disk], Figure::Bytes);
        if load.depth == 1 && has_valgrind() {
            row(
                table,
                load,
                "instructions",
                programs.each_ref().map(|one| instructions(one, load)),
                Figure::Count,
            );
        }
    }
    table.note(
        "By turns, the best of all rounds; CPU, bytes and instructions of the gateway alone, for each call.",
    );
}

fn row(table: &mut Table, load: &Load, what: &str, [old, new]: [f64; 2], figure: fn(f64) -> Figure) {
    table.row(load.what, what, &[figure(old), figure(new), Figure::None, Figure::Times(new / old)]);
}

impl Best {
    fn or(self, other: Best) -> Best {
        Best {
            p50: self.p50.min(other.p50),
            rate: self.rate.max(other.rate),
            cpu: self.cpu.min(other.cpu),
            disk: self.disk.min(other.disk),
        }
    }
}

/// The calls of one load with a gateway of its own.
fn round(bench: &Bench, load: &Load) -> Best {
    let gateway = Gateway::start(bench, &PLAIN);
    send(&gateway, load, load.depth as u64 * 8);
    let (written, cpu) = (Written::by(gateway.pid()), machine::cpu(gateway.pid()));
    let timings = send(&gateway, load, load.each);
    let calls = timings.calls() as f64;
    Best {
        p50: timings.median().as_secs_f64(),
        rate: timings.per_second(),
        cpu: (machine::cpu(gateway.pid()) - cpu).as_secs_f64() / calls,
        disk: Written::by(gateway.pid()).since(written).disk / calls,
    }
}

fn send(gateway: &Gateway, load: &Load, each: u64) -> Timings {
    let asks = load.calls.tool.starts_with("ask");
    let approver = asks.then(|| Approver::start(&gateway.folder, (load.connections * load.depth).min(32)));
    let mut links: Vec<_> = (0..load.connections).map(|n| gateway.route.connect(&token(n))).collect();
    let timings = load::run(&mut links, load.calls, load.depth, Until::Calls(each));
    drop(approver);
    timings
}

fn has_valgrind() -> bool {
    let asked =
        Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// Of one more call: the difference between two runs.
fn instructions(bench: &Bench, load: &Load) -> f64 {
    let words = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"].map(PathBuf::from);
    let counted = bench.with(words.into_iter().chain([bench.program().to_owned()]).collect());
    let count = |calls| {
        let gateway = Gateway::start(&counted, &PLAIN.for_one());
        send(&gateway, load, calls);
        gateway.stop_and_tell("Collected : ")
    };
    (count(2 * COUNTED) - count(COUNTED)) / COUNTED as f64
}

/// The program itself, or that of a commit, which is built as it was then into a folder of the bench.
fn built(against: &str) -> PathBuf {
    if Path::new(against).is_file() {
        return against.into();
    }
    // A branch, or HEAD~3, is another commit tomorrow.
    let mut name = Command::new("git");
    name.args(["rev-parse", "--verify", "--short=12"]).arg(format!("{against}^{{commit}}"));
    let named = name.output().unwrap();
    assert!(named.status.success(), "neither a program nor a commit: {against}");
    let against = String::from_utf8(named.stdout).unwrap().trim().to_owned();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("against-{against}"));
    let program = folder.join("target/release/agentpass");
    if !program.exists() {
        eprintln!("  building {against}");
        std::fs::create_dir_all(&folder).unwrap();
        let mut archive =
            Command::new("git").args(["archive", &against]).stdout(Stdio::piped()).spawn().unwrap();
        let files = archive.stdout.take().unwrap();
        let unpacked = Command::new("tar").args(["-x", "-C"]).arg(&folder).stdin(files).status().unwrap();
        assert!(archive.wait().unwrap().success() && unpacked.success(), "{against} cannot be unpacked");
        let mut build = Command::new("cargo");
        build.args(["build", "--release", "--locked"]).current_dir(&folder);
        build
            .env("CARGO_TARGET_DIR", folder.join("target"))
            .env("OPENSSL_SRC_PERL", folder.join(".cargo/openssl-configure"));
        assert!(build.status().unwrap().success(), "{against} does not build");
    }
    program
}

impl Bench {
    /// The same with another command before what the gateway is told.
    fn with(&self, command: Vec<PathBuf>) -> Bench {
        Bench { options: self.options.clone(), upstream: Rc::clone(&self.upstream), command }
    }
}
