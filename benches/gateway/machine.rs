//! The machine below: what it is, what it lets us do, and what /proc says of a process.

use std::fs;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::options::Options;

/// Ten thousand connections are as many open files, here and in the gateway, which inherits the limit.
pub fn allow_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// What stands above the table.
pub fn heading(options: &Options) -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or("\t: unknown processor");
    let cores = available_parallelism().map_or(1, |n| n.get());
    let load = read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned();
    vec![
        format!("program  {} ({})", options.program.display(), options.label),
        format!(
            "machine  {cores} cores of {}, Linux {}, load {load} at the start",
            model.split(':').nth(1).unwrap_or_default().trim(),
            read("/proc/sys/kernel/osrelease").trim()
        ),
        format!(
            "mode     all on loopback, record on {}, log level {} into memory; {}",
            file_system(Path::new(env!("CARGO_TARGET_TMPDIR"))),
            options.log_level,
            options.pick("full runs", "QUICK runs: rough figures")
        ),
        "         service, Bot API and client share these cores with the gateway".into(),
    ]
}

/// The type of the file system that holds `path`.
fn file_system(path: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let holding = fields.filter(|f| f.len() > 2 && path.starts_with(f[1]));
    holding.max_by_key(|f| f[1].len()).map_or_else(|| "?".into(), |f| f[2].to_owned())
}

/// Resident memory of a process, in bytes.
#[derive(Clone, Copy)]
pub struct Memory {
    /// All of it, pages of the program's file included.
    pub resident: f64,
    /// What is the process' alone and not in any file.
    pub anonymous: f64,
}

impl Memory {
    pub fn of(pid: u32) -> Memory {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
        };
        Memory { resident: field("VmRSS:"), anonymous: field("RssAnon:") }
    }
}

/// What a process has written, in bytes.
#[derive(Clone, Copy)]
pub struct Written {
    /// Sent towards a disk, in whole pages.
    pub disk: f64,
    /// Handed to write calls of any kind: files, sockets, the log.
    pub calls: f64,
}

impl Written {
    pub fn by(pid: u32) -> Written {
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
        let field = |name: &str| -> f64 {
            io.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
        };
        Written { disk: field("write_bytes:"), calls: field("wchar:") }
    }

    pub fn since(self, before: Written) -> Written {
        Written { disk: self.disk - before.disk, calls: self.calls - before.calls }
    }
}

/// The unit of processor time in /proc, the same on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// Processor time that a process has taken, in its own code and in the kernel, all threads together.
pub fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in brackets may hold anything; user and system time are the 12th and 13th field behind it.
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    TICK * (fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap())
}
