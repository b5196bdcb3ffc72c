//! `agentpass mcp analyze` with servers that do everything that servers should not. They are small programs in Python, and
//! real processes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;

use harness::{BINARY, Folder, eventually};
use serde_json::{Value, json};

/// What all servers begin with: `say` writes a message, `lines` yields those that come.
const BEGINNING: &str = r#"
import json, os, signal, subprocess, sys, time
def say(message): print(json.dumps(message), flush=True)
def lines():
    for line in sys.stdin: yield json.loads(line)
def reply(m, result): say({"jsonrpc": "2.0", "id": m["id"], "result": result})
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}
def tool(name, text="Does it"): return {"name": name, "description": text, "annotations": {}, "inputSchema": {"type": "object", "properties": {"a": {}}}}
def serve(on_list, *page):
    for m in lines():
        if m.get("method") == "initialize": reply(m, HELLO)
        elif m.get("method") == "tools/list": on_list(m)
"#;

/// The interpreter itself: `python3` may be a script that sets variables.
fn python() -> &'static str {
    static FOUND: LazyLock<String> = LazyLock::new(|| {
        let ask = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
        String::from_utf8(ask.stdout).unwrap().trim().to_owned()
    });
    &FOUND
}

struct Server {
    folder: Folder,
    script: PathBuf,
}

impl Server {
    fn new(rest: &str) -> Server {
        let folder = Folder::new();
        let script = folder.0.join("server.py");
        fs::write(&script, format!("{BEGINNING}\n{rest}")).unwrap();
        Server { folder, script }
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(["mcp", "analyze", "--stdio"]).args(options);
        command.arg("--").arg(python()).arg(&self.script).arg(&self.folder.0);
        command.env("AGENTPASS_SECRET", "not for children").env("NAMED", "passed on");
        command
    }

    fn run(&self, options: &[&str]) -> Output {
        self.command(options).output().unwrap()
    }

    /// Exit 5 and why.
    fn fails(&self, options: &[&str]) -> String {
        let output = self.run(options);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(5), "{told}");
        told
    }

    fn report(&self, options: &[&str]) -> Value {
        let output = self.run(&[options, &["--json"]].concat());
        let told = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {told}"))
    }

    /// The process whose number the server wrote into this file of its folder.
    fn process(&self, name: &str) -> PathBuf {
        let file = self.folder.0.join(name);
        let number = || fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n'));
        Path::new("/proc").join(eventually(name, number).trim())
    }
}

/// Gone, or a zombie that waits for its parent.
fn is_gone(process: &Path) -> bool {
    fs::read_to_string(process.join("stat"))
        .map_or(true, |stat| stat.rsplit(')').next().unwrap().starts_with(" Z"))
}

#[test]
fn a_list_is_read_through_noise_requests_and_strange_replies() {
    let server = Server::new(
        r#"
def pages(m):
    say({"jsonrpc": "2.0", "id": 77, "method": "roots/list"})
    answer = json.loads(sys.stdin.readline())
    assert answer["id"] == 77 and answer["error"]["code"] == -32601, answer
    say({"jsonrpc": "2.0", "id": "x", "method": "ping"})
    assert json.loads(sys.stdin.readline())["result"] == {}
    print("Server is running!"); print("{broken"); print("[1]"); print("\x00\xff")
    say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    say({"jsonrpc": "2.0", "id": str(m["id"]), "result": {"tools": [tool("wrong")]}})
    say({"jsonrpc": "2.0", "id": m["id"] + 100, "result": {"tools": [tool("wrong")]}})
    if "cursor" in m["params"]: reply(m, {"tools": [tool("second")]})
    else: reply(m, {"tools": [tool("first")], "nextCursor": "2"})
serve(pages)
"#,
    );
    let report = server.report(&[]);
    let names: Vec<&str> =
        report["tools"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["first", "second"]);
    assert_eq!(
        report["upstream"],
        json!({"protocol": "2025-11-25", "server": {"name": "s", "version": "1"}})
    );
    assert_eq!((&report["ok"], &report["max"]), (&json!(true), &json!(74)));
}

#[test]
fn a_server_without_a_handshake_is_asked_without_one() {
    let server = Server::new(
        r#"
for m in lines():
    if m["method"] == "initialize":
        say({"jsonrpc": "2.0", "id": m["id"], "error": {"code": -32022, "message": "no"}})
    else:
        assert m["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28", m
        reply(m, {"tools": [tool("only")]})
"#,
    );
    let report = server.report(&[]);
    assert_eq!(report["upstream"]["protocol"], "2026-07-28");
    assert_eq!(report["tools"][0]["name"], "only");
}

#[test]
fn a_server_gets_the_environment_that_is_named_and_nothing_else() {
    let server = Server::new(
        r#"
names = [pair.split("=")[0] for pair in open("/proc/self/environ").read().split("\0") if pair]
open(sys.argv[1] + "/names", "w").write(" ".join(sorted(names)))
serve(lambda m: reply(m, {"tools": [tool(os.environ["NAMED"].replace(" ", "_") + os.environ["GIVEN"])]}))
"#,
    );
    let report = server.report(&["--env", "NAMED", "--env", "GIVEN=1"]);
    assert_eq!(report["tools"][0]["name"], "passed_on1");
    let names = fs::read_to_string(server.folder.0.join("names")).unwrap();
    for name in names.split(' ') {
        assert!(["PATH", "HOME", "LANG", "TZ", "NAMED", "GIVEN"].contains(&name), "{names}");
    }
}

#[test]
fn whatever_a_server_does_the_command_ends_and_says_why() {
    let short: &[&str] = &["--timeout", "2"];
    for (rest, options, why) in [
        ("sys.exit('boom: no module')", &[][..], "boom: no module"),
        ("sys.exit(3)", &[], "exit code 3"),
        ("time.sleep(1000)", short, "no answer to initialize within 2 s"),
        ("while True: print('noise')", short, "no answer to initialize within 2 s"),
        ("while True: print('noise', file=sys.stderr)", short, "no answer to initialize within 2 s"),
        (
            "while True: say({'jsonrpc': '2.0', 'id': 1, 'method': 'sampling/createMessage'})",
            short,
            "no answer",
        ),
        ("serve(lambda m: time.sleep(1000))", short, "no answer to tools/list within 2 s"),
        ("serve(lambda m: reply(m, {'tools': [], 'nextCursor': 'same'}))", &[], "does not end"),
        ("serve(lambda m: reply(m, {'tools': [], 'nextCursor': str(m['id'])}))", &[], "does not end"),
        ("serve(lambda m: reply(m, {'tools': {}}))", &[], "cannot be understood"),
        ("serve(lambda m: reply(m, []))", &[], "cannot be understood"),
        (
            "serve(lambda m: say({'jsonrpc': '2.0', 'id': m['id'], 'error': {'code': -32603, 'message': 'no\\u202e'}}))",
            &[],
            "no⟨U+202E⟩ (-32603)",
        ),
        ("serve(lambda m: print('{\"a\":' * 3000, flush=True))", short, "not read"),
        ("serve(lambda m: os.close(1) or time.sleep(1000))", &[], "it ended"),
    ] {
        let told = Server::new(rest).fails(options);
        assert!(told.contains(why), "{rest}: {told}");
    }
    let output =
        Command::new(BINARY).args(["mcp", "analyze", "--stdio", "--", "/no/such/program"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8(output.stderr).unwrap().contains("there is no such program"));
}

#[test]
fn a_long_line_and_a_long_list_cost_bounded_memory() {
    let line = Server::new("serve(lambda m: [sys.stdout.write('x' * 2**20) for _ in range(100)])");
    let list = Server::new(
        "serve(lambda m: reply(m, {'tools': [tool('a', 'x' * 2**22)], 'nextCursor': str(m['id'])}))",
    );
    for (server, why) in [(line, "more than 8 MiB"), (list, "larger than 16 MiB")] {
        let mut shell = Command::new("sh");
        // KiB of data for us; the server itself may use as much.
        shell.args([
            "-c",
            "ulimit -d 131072; exec \"$@\"",
            "sh",
            BINARY,
            "mcp",
            "analyze",
            "--stdio",
            "--",
            python(),
        ]);
        let output = shell.arg(&server.script).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(5) && told.contains(why), "{told}");
    }
}

#[test]
fn a_server_that_eats_memory_is_ended_by_its_bound() {
    let server = Server::new("x = bytearray(600 * 2**20)\nserve(lambda m: reply(m, {'tools': []}))");
    assert!(server.fails(&["--max-memory-mb", "200"]).contains("MemoryError"));
    assert_eq!(server.report(&["--max-memory-mb", "900"])["tools"], json!([]));
}

/// A server that goes on after the end of its input and after SIGTERM, and whose grandchild in a session of its own holds
/// its pipes.
const STUBBORN: &str = r#"
signal.signal(signal.SIGTERM, signal.SIG_IGN)
GRANDCHILD = "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid(), file=open(sys.argv[1], 'w'), flush=True); time.sleep(1000)"
for name, alone in (("same", False), ("alone", True)):
    subprocess.Popen([sys.executable, "-c", GRANDCHILD, sys.argv[1] + "/" + name], start_new_session=alone)
for name in ("same", "alone"):
    while not os.path.exists(sys.argv[1] + "/" + name): time.sleep(0.01)
print(os.getpid(), file=open(sys.argv[1] + "/server", "w"), flush=True)
"#;

#[test]
fn nothing_is_left_of_a_server_that_does_not_want_to_end() {
    let end = "serve(lambda m: reply(m, {'tools': []}))\nwhile True: time.sleep(1000)";
    let server = Server::new(&format!("{STUBBORN}{end}"));
    assert_eq!(server.report(&[])["tools"], json!([]));
    for name in ["server", "same", "alone"] {
        assert!(is_gone(&server.process(name)), "{name}");
    }
}

fn start(server: &Server) -> Child {
    let mut command = server.command(&["--timeout", "600"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn nothing_is_left_when_the_command_is_killed() {
    let server = Server::new(&format!("{STUBBORN}\nwhile True: time.sleep(1000)"));
    let mut command = start(&server);
    let processes = ["server", "same", "alone"].map(|name| server.process(name));
    assert!(!processes.iter().any(|process| is_gone(process)));
    command.kill().unwrap();
    command.wait().unwrap();
    for process in processes {
        eventually("the end of the server's processes", || is_gone(&process).then_some(()));
    }
}

#[test]
fn a_server_does_not_outlive_its_guard() {
    let server = Server::new(
        "print(os.getpid(), os.getppid(), file=open(sys.argv[1] + '/server', 'w'), flush=True)\ntime.sleep(1000)",
    );
    let mut command = start(&server);
    let file = server.folder.0.join("server");
    let text =
        eventually("the server", || fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n')));
    let (server, guard) = text.trim().split_once(' ').unwrap();
    assert!(Command::new("kill").args(["-KILL", guard]).status().unwrap().success());
    eventually("the end of the server", || is_gone(&Path::new("/proc").join(server)).then_some(()));
    assert_eq!(command.wait().unwrap().code(), Some(5));
}

#[test]
fn a_file_is_enough_and_the_bound_is_the_exit_code() {
    let folder = Folder::new();
    let file = folder.0.join("list.json");
    let run = |text: &str, options: &[&str]| {
        fs::write(&file, text).unwrap();
        Command::new(BINARY).args(["mcp", "analyze"]).arg(&file).args(options).output().unwrap()
    };
    let list = |name: &str, text: &str| {
        let tool = json!({"name": name, "description": text, "inputSchema": {"type": "object"}});
        json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": [tool]}}).to_string()
    };
    let fine = run(&list("get_time", "Tells the time"), &[]);
    assert_eq!(fine.status.code(), Some(0));
    assert!(String::from_utf8(fine.stdout).unwrap().starts_with("get_time  12 low\n"));
    assert_eq!(run(&list("get_time", "Tells the time"), &["--max", "5"]).status.code(), Some(1));
    let hidden = run(&list("get_time", "Tells\u{200b} the time"), &[]);
    assert_eq!(hidden.status.code(), Some(1));
    let told = String::from_utf8(hidden.stdout).unwrap();
    assert!(told.contains("unusable at description") && told.contains("⟨U+200B⟩"), "{told}");
    for bad in ["", "7", "{}", "{\"tools\": 1}"] {
        assert_eq!(run(bad, &[]).status.code(), Some(4), "{bad}");
    }
}
