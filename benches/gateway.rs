//! What the gateway costs, measured: `cargo bench --bench gateway`, and a table on stdout.
//!
//! Everything runs on loopback: a fake service and a fake Bot API in threads of this process, the real program beside
//! it, and a client that does as little as it can. `benches/README.md` says what each row means.

// A measurement that cannot go on, or that saw one wrong answer, says so and ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "figures with errors in them are worse than none"
)]

#[path = "gateway/approvals.rs"]
mod approvals;
#[path = "gateway/bot_api.rs"]
mod bot_api;
#[path = "gateway/compare.rs"]
mod compare;
#[path = "gateway/connections.rs"]
mod connections;
#[path = "gateway/decisions.rs"]
mod decisions;
#[path = "gateway/direct.rs"]
mod direct;
#[path = "gateway/disk.rs"]
mod disk;
#[path = "gateway/http.rs"]
mod http;
#[path = "gateway/latency.rs"]
mod latency;
#[path = "gateway/link.rs"]
mod link;
#[path = "gateway/load.rs"]
mod load;
#[path = "gateway/machine.rs"]
mod machine;
#[path = "gateway/mcp.rs"]
mod mcp;
#[path = "gateway/memory.rs"]
mod memory;
#[path = "gateway/million.rs"]
mod million;
#[path = "gateway/options.rs"]
mod options;
#[path = "gateway/owner.rs"]
mod owner;
#[path = "gateway/program.rs"]
mod program;
#[path = "gateway/setup.rs"]
mod setup;
#[path = "gateway/start.rs"]
mod start;
#[path = "gateway/table.rs"]
mod table;
#[path = "gateway/throughput.rs"]
mod throughput;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use http::Upstream;
use options::Options;
use table::Table;

/// What every part works with.
pub struct Bench {
    options: Options,
    upstream: Rc<Upstream>,
    /// What starts the gateway: the program, perhaps behind another one that runs it.
    command: Vec<PathBuf>,
}

impl Bench {
    /// The program that is measured.
    fn program(&self) -> &Path {
        self.command.last().unwrap()
    }
}

type Part = fn(&Bench, &mut Table);

/// The parts, in the order in which they run.
const PARTS: [(&str, Part); 11] = [
    ("compare", compare::run),
    ("latency", latency::run),
    ("throughput", throughput::run),
    ("approvals", approvals::run),
    ("connections", connections::run),
    ("bytes", disk::run),
    ("memory", memory::run),
    ("mcp", mcp::run),
    ("start", start::run),
    ("decisions", decisions::run),
    ("size", start::size),
];

fn main() -> ExitCode {
    let options = match Options::from_arguments(&PARTS.map(|(name, _)| name)) {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    machine::allow_many_files();
    program::Folder::sweep();
    let command = vec![options.program.clone()];
    let bench = Bench { options, upstream: Rc::new(Upstream::start()), command };
    let mut table = Table::new(machine::heading(&bench.options));
    let chosen = PARTS.iter().filter(|(name, _)| bench.options.wants(name));
    let failed: Vec<_> = chosen.filter(|(name, part)| !succeeds(name, *part, &bench, &mut table)).collect();
    if let Some(file) = &bench.options.json {
        std::fs::write(file, table.json()).unwrap();
    }
    failed.iter().for_each(|(name, _)| println!("\n{name} FAILED: its reason is above, on stderr"));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A part that fails does not keep the others from running.
fn succeeds(name: &str, part: Part, bench: &Bench, table: &mut Table) -> bool {
    eprintln!("[{name}]");
    catch_unwind(AssertUnwindSafe(|| part(bench, table))).is_ok()
}
