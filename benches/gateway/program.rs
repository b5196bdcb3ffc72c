//! The program that is measured, running in a folder of its own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use openssl::ssl::{SslConnector, SslMethod};
use rustix::process::{Pid, Signal, kill_process};

use super::Bench;
use super::link::Route;
use super::setup::Setup;

/// Where files lie in memory, on most machines.
const MEMORY: &str = "/dev/shm";

/// A folder on the disk that holds the record; removed in the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("bench-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// Removes what runs left behind that were interrupted: folders, and logs in memory.
    pub fn sweep() {
        let places = [env!("CARGO_TARGET_TMPDIR"), MEMORY].map(fs::read_dir);
        for entry in places.into_iter().flatten().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let rest = name.strip_prefix("agentpass-").unwrap_or(&name).strip_prefix("bench-");
            let process = rest.and_then(|rest| rest.split('-').next());
            if process.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
                let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
            }
        }
    }

    /// All files of the record together, in bytes.
    pub fn record_size(&self) -> f64 {
        let files = fs::read_dir(self.0.join("data")).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>() as f64
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running gateway.
pub struct Gateway {
    child: Child,
    pub route: Route,
    pub folder: Folder,
    log: PathBuf,
}

impl Gateway {
    /// With an empty record.
    pub fn start(bench: &Bench, setup: &Setup) -> Gateway {
        Gateway::start_in(bench, setup, Folder::new())
    }

    /// With the record that is there.
    pub fn start_in(bench: &Bench, setup: &Setup, folder: Folder) -> Gateway {
        setup.write(&folder.0, bench.upstream.address);
        let log = memory_file(&folder);
        let mut command = command(bench, &folder.0, setup);
        let child = command.stderr(File::create(&log).unwrap()).spawn().expect("the program to start");
        let mut gateway = Gateway { child, route: Route { address: nowhere(), tls: None }, folder, log };
        gateway.route.address = gateway.wait_for_address();
        gateway.route.tls = setup.tls.then(|| trusting(&gateway.folder.0.join("cert.pem")));
        gateway
    }

    fn wait_for_address(&mut self) -> SocketAddr {
        let patience = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(address) = fs::read_to_string(&self.log).unwrap().lines().find_map(listening) {
                return address;
            }
            let ended = self.child.try_wait().unwrap().is_some() || Instant::now() > patience;
            assert!(!ended, "the gateway does not listen:\n{}", self.last_words());
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Bytes of its log so far.
    pub fn log_size(&self) -> f64 {
        fs::metadata(&self.log).unwrap().len() as f64
    }

    /// Ends it in order, which leaves one file of the record, and gives the folder back.
    pub fn stop(mut self) -> Folder {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success(), "{}", self.last_words());
        std::mem::replace(&mut self.folder, Folder(PathBuf::new()))
    }

    /// Ends it in order and gives the number that stands behind `what` in its last words.
    pub fn stop_and_tell(mut self, what: &str) -> f64 {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success(), "{}", self.last_words());
        let words = self.last_words();
        let (_, number) = words.split_once(what).expect("a number");
        number.split_whitespace().next().unwrap().parse().unwrap()
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the end of the gateway's log ---\n{}", self.last_words());
        }
        let _ = fs::remove_file(&self.log);
    }
}

/// From the moment before the program is started until it says that it listens, in a folder that is set up. It is
/// ended in order after that.
pub fn time_to_listen(bench: &Bench, setup: &Setup, folder: &Folder) -> Duration {
    let mut command = command(bench, &folder.0, setup);
    let began = Instant::now();
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the program to start");
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let heard = lines.by_ref().map(Result::unwrap).find(|line| listening(line).is_some());
    let time = began.elapsed();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    lines.for_each(drop);
    assert!(heard.is_some() && child.wait().unwrap().success(), "the gateway did not start and end in order");
    time
}

fn command(bench: &Bench, folder: &Path, setup: &Setup) -> Command {
    let mut command = Command::new(&bench.command[0]);
    command.args(&bench.command[1..]).args([
        "serve",
        "--config",
        "config.yaml",
        "--log-level",
        &bench.options.log_level,
    ]);
    if !setup.tls {
        command.arg("--insecure");
    }
    command.current_dir(folder).env_remove("LOG_LEVEL").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// The address in the line that says so.
fn listening(line: &str) -> Option<SocketAddr> {
    let after = line.split_once("listening on ")?.1;
    after.split_once("://")?.1.split([',', ' ']).next()?.parse().ok()
}

/// The log lies in memory where that is possible: it should not count as written to the disk, and a pipe would wake
/// this process for every line.
fn memory_file(folder: &Folder) -> PathBuf {
    let memory = Path::new(MEMORY);
    let name = folder.0.file_name().unwrap().to_string_lossy().into_owned();
    if memory.is_dir() { memory.join(format!("agentpass-{name}.log")) } else { folder.0.join("log") }
}

fn nowhere() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 0))
}

/// A TLS client that checks the certificate as an agent would.
fn trusting(certificate: &Path) -> SslConnector {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_ca_file(certificate).unwrap();
    connector.build()
}
