//! What systemd hears from the gateway: ready when it listens, a line of status, the watchdog only while the thread
//! that writes the record answers, and the journal's priorities.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::gateway::TOKEN;
use harness::{Agent, Folder, Gateway, Setup, eventually};
use serde_json::json;

/// The socket that systemd listens on.
struct Systemd {
    socket: UnixDatagram,
    path: String,
    waiting: RefCell<VecDeque<String>>,
    _folder: Folder,
}

impl Systemd {
    fn new() -> Systemd {
        let folder = Folder::new();
        let path = folder.0.join("notify").display().to_string();
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Systemd { socket, path, waiting: RefCell::default(), _folder: folder }
    }

    /// The gateway as a service of it.
    fn start(&self, environment: &[(&str, &str)]) -> Gateway {
        let environment = [&[("NOTIFY_SOCKET", self.path.as_str())], environment].concat();
        Gateway::with_environment(&Setup::default(), &environment)
    }

    /// What has arrived by now, line by line.
    fn heard(&self) -> Vec<String> {
        let mut waiting = self.waiting.borrow_mut();
        let mut message = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut message) {
            waiting.extend(String::from_utf8_lossy(&message[..length]).lines().map(str::to_owned));
        }
        waiting.drain(..).collect()
    }

    /// Everything up to the first line that begins so.
    fn wait_for(&self, wanted: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let at = eventually(wanted, || {
            lines.extend(self.heard());
            lines.iter().position(|line| line.starts_with(wanted))
        });
        self.waiting.borrow_mut().extend(lines.drain(at + 1..));
        lines
    }
}

#[test]
fn ready_is_said_once_it_listens_and_reloads_and_the_stop_are_told() {
    let systemd = Systemd::new();
    let mut gateway = systemd.start(&[]);
    systemd.wait_for("READY=1");
    systemd.wait_for("STATUS=0 agents connected, 0 questions open");
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", json!({"tool": "say", "args": {"text": "hello"}}));
    systemd.wait_for("STATUS=1 agent connected, 1 question open");

    gateway.hang_up();
    let heard = systemd.wait_for("READY=1");
    let at = |wanted: &str| heard.iter().position(|line| line.starts_with(wanted));
    assert!(at("RELOADING=1") < at("READY=1") && at("MONOTONIC_USEC=").is_some(), "{heard:?}");

    assert_eq!(gateway.terminate(), Some(0));
    systemd.wait_for("STOPPING=1");
    assert!(!heard.iter().any(|line| line.starts_with("WATCHDOG")), "nobody asked for it");
}

#[test]
fn the_watchdog_is_fed_only_while_the_record_can_be_written_to() {
    let systemd = Systemd::new();
    let gateway = systemd.start(&[("WATCHDOG_USEC", "100000")]);
    systemd.wait_for("WATCHDOG=1");

    // Another process holds the record for as long as SQLite waits for it: the thread answers nobody meanwhile.
    let held = rusqlite::Connection::open(gateway.path("data/agentpass.db")).unwrap();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", json!({"tool": "get_state", "args": {"entity_id": "sensor.a"}}));
    let (mut fed, mut longest) = (Instant::now(), Duration::ZERO);
    let reply = eventually("the answer", || {
        longest = longest.max(fed.elapsed());
        if systemd.heard().iter().any(|line| line == "WATCHDOG=1") {
            fed = Instant::now();
        }
        agent.come_by_now().pop()
    });
    assert_eq!(harness::error(&reply).1, "store_unavailable", "{reply}");
    assert!(longest > Duration::from_secs(1), "at most {longest:?} apart, a twentieth when all is well");

    held.execute_batch("ROLLBACK").unwrap();
    systemd.wait_for("WATCHDOG=1");
}

#[test]
fn the_journal_gets_priorities_and_writes_the_time_itself() {
    let folder = Folder::new();
    let path = folder.0.join("journal");
    let journal = File::create(&path).unwrap();
    let inode = journal.metadata().unwrap();
    let mut child = Command::new(harness::BINARY)
        .args(["demo", "--yes"])
        .current_dir(&folder.0)
        .env("JOURNAL_STREAM", format!("{}:{}", inode.dev(), inode.ino()))
        .env("LOG_LEVEL", "info")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(journal)
        .spawn()
        .unwrap();
    assert!(child.wait().unwrap().success());
    let log = std::fs::read_to_string(&path).unwrap();
    assert!(log.lines().any(|line| line.starts_with("<6>[agentpass::daemon] agentpass ")), "{log}");
    assert!(log.lines().any(|line| line.starts_with("<4>[")), "{log}");
}
