//! A gateway process in a folder of its own, and the command line beside it.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

use super::{BINARY, Folder, Upstream, eventually};

/// The token of the agent "default".
pub const TOKEN: &str = "a-token-of-the-default-agent";
/// The token of the second agent, "laptop", which may explain.
pub const LAPTOP: &str = "a-token-of-the-laptop-agent";
/// The service's credential. It must never come out anywhere.
pub const SERVICE_SECRET: &str = "s3rvice-cr3dential-0123456789";

/// A configuration to start from. Every part can be replaced.
#[derive(Clone)]
pub struct Setup {
    /// Below `agents:` to the end of the file; `{upstream}` is the service's URL.
    pub config: String,
    pub tools: String,
    pub permissions: String,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup { config: CONFIG.into(), tools: TOOLS.into(), permissions: PERMISSIONS.into() }
    }
}

impl Setup {
    /// With the admin pages, which are switched off otherwise.
    pub fn with_pages() -> Setup {
        let usual = Setup::default();
        Setup { config: usual.config.replace("health_port: off", "health_port: 0"), ..usual }
    }
}

/// The service may take so long that a call which a test holds back never times out, however slow the machine is.
const CONFIG: &str = r#"
gateway:
  host: "127.0.0.1"
  port: 0
  health_port: off
  control_socket: "control.sock"
agents:
  default: {token: "a-token-of-the-default-agent"}
  laptop: {token: "a-token-of-the-laptop-agent", may_explain: true}
messenger: {type: local}
services:
  home:
    url: "{upstream}"
    auth: {type: bearer, token: "s3rvice-cr3dential-0123456789"}
    timeout: 45
    tools: "tools.yaml"
    errors:
      - {status: 404, message: "Entity not found: {body}"}
storage: {path: "data/agentpass.db"}
approval_timeout: 60
rate_limit: {max_pending_approvals: 10, max_requests_per_minute: 100000}
"#;

const TOOLS: &str = r#"
tools:
  get_state:
    description: "Reads a state"
    signature: "{entity_id}"
    args:
      entity_id: {required: true}
    request: {method: GET, path: "/api/states/{entity_id}"}
  call_service:
    description: "Calls a service"
    signature: "{domain}.{service}, {entity_id}"
    args:
      domain: {required: true, validate: "^[a-z_]+$"}
      service: {required: true, validate: "^[a-z_]+$"}
      entity_id: {}
    extra_args: allow
    request: {method: POST, path: "/api/services/{domain}/{service}", body_exclude: [domain, service]}
    response: {wrap: result}
  say:
    description: "Says something"
    args:
      text: {required: true, free_text: true}
      pin: {secret: true}
    extra_args: refuse
    request: {method: POST, path: "/api/say"}
  render:
    description: "Renders text"
    args: {template: {free_text: true}}
    extra_args: refuse
    request: {method: POST, path: "/api/template"}
  drop_all:
    description: "Never"
    request: {method: POST, path: "/api/drop"}
    extra_args: refuse
"#;

const PERMISSIONS: &str = r#"
rules:
  - {pattern: "call_service(lock.*)", action: deny, description: "Lock control is always denied"}
  - {pattern: "call_service*", any_value: "lock.*", action: deny, description: "Nor by another way"}
  - {pattern: "call_service(light.turn_off*", action: allow}
  - {pattern: "drop_all", action: deny}
  - {pattern: "render*", action: allow}
defaults:
  - {pattern: "get_*", action: allow}
  - {pattern: "*", action: ask}
"#;

/// A running gateway.
pub struct Gateway {
    pub folder: Folder,
    pub upstream: Upstream,
    pub address: SocketAddr,
    child: Child,
    log: Log,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Gateway {
    /// A gateway with the usual configuration.
    pub fn start() -> Gateway {
        Gateway::with(&Setup::default())
    }

    /// A gateway with this configuration.
    pub fn with(setup: &Setup) -> Gateway {
        Gateway::with_environment(setup, &[])
    }

    /// The same, with further environment variables.
    pub fn with_environment(setup: &Setup, environment: &[(&str, &str)]) -> Gateway {
        Gateway::in_folder(Folder::new(), setup, environment)
    }

    /// The same, by a wall clock that the test can set.
    pub fn with_clock(setup: &Setup, clock: &super::TestClock) -> Gateway {
        let environment = clock.environment();
        let pairs: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Gateway::with_environment(setup, &pairs)
    }

    /// The same in a folder that exists already.
    pub fn in_folder(folder: Folder, setup: &Setup, environment: &[(&str, &str)]) -> Gateway {
        Gateway::prepared_in(folder, setup, environment, |_| {})
    }

    /// The same, with further files: `prepare` writes them into the folder.
    pub fn prepared(setup: &Setup, environment: &[(&str, &str)], prepare: impl FnOnce(&Path)) -> Gateway {
        Gateway::prepared_in(Folder::new(), setup, environment, prepare)
    }

    fn prepared_in(
        folder: Folder,
        setup: &Setup,
        environment: &[(&str, &str)],
        prepare: impl FnOnce(&Path),
    ) -> Gateway {
        let arguments = ["serve", "--insecure", "--config", "config.yaml"];
        Gateway::with_arguments(folder, setup, &arguments, environment, prepare)
    }

    /// One with TLS, for which `cert.pem` and `key.pem` are made and named in the configuration.
    pub fn secure(setup: &Setup) -> Gateway {
        let config =
            setup.config.replace("\n  port: 0", "\n  port: 0\n  tls: {cert: cert.pem, key: key.pem}");
        let setup = Setup { config, ..setup.clone() };
        let made = agentpass::testing::net::tls::self_signed(&["localhost".to_owned()]).unwrap();
        Gateway::with_arguments(Folder::new(), &setup, &["serve"], &[], |folder| {
            std::fs::write(folder.join("cert.pem"), &made.cert_pem).unwrap();
            std::fs::write(folder.join("key.pem"), &made.key_pem).unwrap();
        })
    }

    fn with_arguments(
        folder: Folder,
        setup: &Setup,
        arguments: &[&str],
        environment: &[(&str, &str)],
        prepare: impl FnOnce(&Path),
    ) -> Gateway {
        let upstream = Upstream::start();
        write(&folder, setup, &upstream);
        prepare(&folder.0);
        let arguments: Vec<_> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let environment =
            environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<Vec<_>>();
        let (child, address, log) = spawn(&folder, &arguments, &environment);
        Gateway { folder, upstream, address, child, log, arguments, environment }
    }

    /// Replaces the files; they count after a reload or a restart.
    pub fn configure(&self, setup: &Setup) {
        write(&self.folder, setup, &self.upstream);
    }

    /// Ends the process as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.wait();
    }

    /// Waits until the tables of the record have followed its events, for whoever looks into them or changes them.
    pub fn followed(&self) {
        let db = rusqlite::Connection::open(self.path("data/agentpass.db")).unwrap();
        db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        let sql = "SELECT (SELECT min(folded) FROM projections) >= (SELECT max(seq) FROM events)";
        let followed = || db.query_row(sql, [], |row| row.get::<_, bool>(0)).unwrap();
        eventually("the tables to follow the events", || followed().then_some(()));
    }

    /// Asks the process to stop and gives its exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.wait()
    }

    /// Asks the process to stop, and waits for nothing.
    pub fn ask_to_stop(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits until the process has ended and gives its exit code. The log is complete then.
    pub fn wait(&mut self) -> Option<i32> {
        let status = self.child.wait().unwrap();
        if let Some(reader) = self.log.reader.take() {
            reader.join().unwrap();
        }
        status.code()
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    }

    /// Stops the process where it is, until [`Gateway::go_on`].
    pub fn pause(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        eventually("the process to stand still", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
            stat.rsplit(')').next()?.trim_start().starts_with('T').then_some(())
        });
    }

    /// Lets a paused process run.
    pub fn go_on(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    }

    /// Starts a killed or stopped gateway again, on a new port.
    pub fn restart(&mut self) {
        let (child, address, log) = spawn(&self.folder, &self.arguments, &self.environment);
        (self.child, self.address, self.log) = (child, address, log);
    }

    /// What has come from the process's stderr since it was started; all that it wrote once it has ended.
    pub fn log(&self) -> String {
        self.log.text.lock().unwrap().clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that the process has had at once, in bytes.
    pub fn most_memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    /// Runs an owner command in the gateway's folder.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        cli(&self.folder, arguments, "")
    }

    /// An owner command that must succeed, and its stdout as JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.cli(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?} gave {text:?}: {e}"))
    }

    /// One line to the control socket and the answer, without starting a process. None when the gateway is gone.
    pub fn control(&self, command: &Value) -> Option<Value> {
        let mut stream = UnixStream::connect(self.path("control.sock")).ok()?;
        stream.write_all(format!("{command}\n").as_bytes()).ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    /// Lines to the control socket, without waiting for any answer.
    pub fn say_and_leave(&self, commands: &[Value]) -> UnixStream {
        let mut stream = UnixStream::connect(self.path("control.sock")).unwrap();
        let lines: String = commands.iter().map(|command| format!("{command}\n")).collect();
        stream.write_all(lines.as_bytes()).unwrap();
        stream
    }

    /// Says yes to a question and gives what became of that.
    pub fn approve(&self, id: &str) -> String {
        let reply = self.control(&json!({"command": "approve", "id": id})).unwrap();
        reply["outcome"].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned()
    }

    /// `audit verify` must find nothing.
    pub fn verify(&self) {
        let output = self.cli(&["audit", "verify"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The open questions.
    pub fn questions(&self) -> Vec<Value> {
        self.json(&["approvals", "--json"]).as_array().unwrap().clone()
    }

    /// The open questions with all that the control socket says of them.
    pub fn whole_questions(&self) -> Vec<Value> {
        let mut socket = UnixStream::connect(self.path("control.sock")).unwrap();
        socket.write_all(b"{\"command\":\"approvals\"}\n").unwrap();
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line).unwrap();
        let reply: Value = serde_json::from_str(&line).unwrap();
        reply["approvals"].as_array().unwrap().clone()
    }

    /// Waits for the one open question and gives its id.
    pub fn question(&self) -> String {
        eventually("a question", || {
            self.questions().first().map(|q| q["request_id"].as_str().unwrap().to_owned())
        })
    }

    /// Says yes to a question, which must be open.
    pub fn say_yes(&self, id: &str) {
        assert_eq!(self.approve(id), "resolved");
    }

    /// Says no to a question, which must be open.
    pub fn say_no(&self, id: &str) {
        assert_eq!(self.json(&["deny", id, "--json"])["outcome"], "resolved");
    }

    /// The audit log, the newest first.
    pub fn audit(&self) -> Vec<Value> {
        let output = self.cli(&["audit", "list", "--json", "--limit", "1000"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The audit row of one request.
    pub fn row(&self, id: &str) -> Value {
        let rows = self.audit();
        rows.into_iter()
            .find(|row| row["request_id"] == id)
            .unwrap_or_else(|| panic!("{id} is not in the record"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the gateway's log ---\n{}", self.log());
        }
    }
}

/// Runs the binary in `folder` with `input` on stdin.
pub fn cli(folder: &Folder, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(BINARY)
        .args(arguments)
        .current_dir(&folder.0)
        .env_remove("AGENTPASS_URL")
        .env_remove("AGENT_TOKEN")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn write(folder: &Folder, setup: &Setup, upstream: &Upstream) {
    let put = |name: &str, text: &str| std::fs::write(folder.0.join(name), text).unwrap();
    put("config.yaml", &setup.config.replace("{upstream}", &upstream.url()));
    put("tools.yaml", &setup.tools);
    put("permissions.yaml", &setup.permissions);
}

/// What a process writes to stderr.
struct Log {
    text: Arc<Mutex<String>>,
    /// Ends when the process has closed its stderr.
    reader: Option<JoinHandle<()>>,
}

type Started = (Child, SocketAddr, Log);

fn spawn(folder: &Folder, arguments: &[String], environment: &[(String, String)]) -> Started {
    let mut child = Command::new(BINARY)
        .args(arguments)
        .current_dir(&folder.0)
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = Arc::new(Mutex::new(String::new()));
    let (kept, stderr) = (text.clone(), child.stderr.take().unwrap());
    let reader = thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut log = kept.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
    let address = eventually("the gateway to listen", || {
        let text = text.lock().unwrap().clone();
        if let Some(status) = child.try_wait().unwrap() {
            panic!("the gateway ended with {status}:\n{text}");
        }
        let after = text.split("listening on ").nth(1)?;
        after.split("://").nth(1)?.split_whitespace().next()?.trim_end_matches(',').parse().ok()
    });
    (child, address, Log { text, reader: Some(reader) })
}
