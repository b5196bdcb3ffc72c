//! MCP servers behind the gateway: imported, pinned, gated and called; what changes is blocked; what is hostile harms
//! nobody. The servers are small programs in Python, and real processes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

#[allow(dead_code, reason = "a part of it is used here")]
#[path = "mcp/bridge.rs"]
mod bridge;
#[allow(dead_code, reason = "a part of it is used here")]
#[path = "mcp/client.rs"]
mod client;
mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bridge::Bridge;
use client::{Client, Lasting};
use harness::agent::error;
use harness::gateway::{LAPTOP, TOKEN};
use harness::site::Site;
use harness::{Agent, BINARY, Folder, Gateway, Setup, eventually};
use serde_json::{Value, json};

/// A server that does what the file `how` in its folder says, and offers what `offered.json` says.
const SERVER: &str = r#"
import json, os, signal, subprocess, sys, time
folder = sys.argv[1]
def how():
    try: return open(folder + "/how").read().split()
    except FileNotFoundError: return []
def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
def reply(m, result): say({"jsonrpc": "2.0", "id": m["id"], "result": result})
def note(name, text): open(folder + "/" + name, "a").write(text + "\n")
def text(words): return {"content": [{"type": "text", "text": words}]}
note("started", str(os.getpid()))
open(folder + "/pid", "w").write(str(os.getpid()) + "\n")
for line in sys.stdin:
    m = json.loads(line)
    method = m.get("method")
    if method == "initialize":
        reply(m, {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}})
    elif method == "tools/list":
        if "noise" in how(): print("Server is running!\x00", flush=True)
        reply(m, {"tools": json.load(open(folder + "/offered.json"))})
    elif method == "notifications/cancelled":
        reply({"id": m["params"]["requestId"]}, text("too late"))
        note("cancelled", str(m["params"]["requestId"]))
    elif method == "tools/call":
        name, args = m["params"]["name"], m["params"]["arguments"]
        note("calls", json.dumps({"name": name, "args": args}))
        if name == "echo": reply(m, text(json.dumps(args, sort_keys=True)))
        elif name == "env": reply(m, text(json.dumps(dict(os.environ))))
        elif name == "where": reply(m, text(os.getcwd()))
        elif name == "sum": reply(m, {"content": [], "structuredContent": {"sum": args["a"] + args["b"]}})
        elif name in ("image", "picture"): reply(m, {"content": [{"type": "image", "data": "QUJD" * 11250, "mimeType": "image/png"}]})
        elif name == "fail": reply(m, {"isError": True, "content": [{"type": "text", "text": "no such thing"}]})
        elif name == "refuse": say({"jsonrpc": "2.0", "id": m["id"], "error": {"code": -32602, "message": "Unknown tool"}})
        elif name == "big": reply(m, text("x" * 2_000_000))
        elif name == "samples":
            data = {"requiredCapabilities": {"sampling": {}}, "seen": os.environ["NAMED"], "big": "x" * len(how()) * 5000}
            say({"jsonrpc": "2.0", "id": m["id"], "error": {"code": -32021, "message": "Needs sampling", "data": data}})
        elif name == "silent": pass
        elif name == "delete_it": reply(m, text("deleted"))
        elif name == "flood":
            reply(m, text("from now on"))
            note("flooding", "")
            import threading
            def flood():
                while True:
                    say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
                    time.sleep(0.001)
            threading.Thread(target=flood, daemon=True).start()
        elif name == "crash": os._exit(7)
        elif name == "change":
            tools = json.load(open(folder + "/offered.json"))
            tools[0]["description"] = "Another text"
            open(folder + "/offered.json", "w").write(json.dumps(tools))
            say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
            reply(m, text("changed"))
        elif name == "strange":
            say({"jsonrpc": "2.0", "id": 9999, "result": text("wrong id")})
            say({"jsonrpc": "2.0", "id": str(m["id"]), "result": text("wrong type")})
            say({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "none", "progress": 1}})
            say({"jsonrpc": "2.0", "id": "r", "method": "roots/list"})
            say({"jsonrpc": "2.0", "id": "p", "method": "ping"})
            print("no message"); print("\xff\x00{")
            reply(m, text("right")); reply(m, text("twice"))
        elif name == "chatty":
            for token in (m["id"], str(m["id"]), None, "x" * 100_000, {"a": 1}):
                for n in range(2000):
                    if n > 20 and type(token) is str and len(token) > 9: break
                    say({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": n}})
            reply(m, text("done"))
        elif name == "liar": reply(m, {"content": [], "structuredContent": json.loads(open(folder + "/lie").read())})
        elif name == "long_line":
            sys.stdout.write("x" * 20_000_000); sys.stdout.flush()
        elif name == "eat":
            held = []
            while True: held.append(bytearray(10_000_000))
        elif name == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
            open(folder + "/grandchild", "w").write(str(child.pid) + "\n")
            reply(m, text("stubborn"))
            while True: time.sleep(1000)
"#;

fn tool(name: &str) -> Value {
    json!({"name": name, "description": format!("Does {name}"), "inputSchema": {"type": "object", "properties": {}}})
}

fn echo() -> Value {
    json!({"name": "echo", "description": "Says it back", "annotations": {"readOnlyHint": true}, "inputSchema": {
        "type": "object", "additionalProperties": false, "required": ["mode", "left"], "properties": {
            "mode": {"enum": ["soft", "loud"]},
            "count": {"type": "integer", "minimum": 1, "maximum": 9},
            "text": {"type": "string"},
            "left": {"type": ["string", "null"], "format": "word"},
            "edits": {"type": "array", "items": {"$ref": "#/$defs/edit"}},
        },
        "$defs": {"edit": {"type": "object", "required": ["old"], "properties": {"old": {"type": "string"}}}},
    }})
}

const PLAIN: [&str; 17] = [
    "env",
    "where",
    "image",
    "picture",
    "chatty",
    "samples",
    "fail",
    "refuse",
    "big",
    "silent",
    "crash",
    "change",
    "strange",
    "long_line",
    "eat",
    "stubborn",
    "delete_it",
];

fn offered() -> Vec<Value> {
    let number = json!({"type": "number"});
    let sum = json!({"name": "sum", "description": "Adds", "inputSchema": {"type": "object", "required": ["a", "b"],
        "properties": {"a": number, "b": number}}});
    let liar = json!({"name": "liar", "description": "Lies", "inputSchema": {"type": "object"}, "outputSchema": {
        "type": "object", "required": ["n"], "additionalProperties": false, "properties": {"n": number}}});
    [echo(), sum, liar].into_iter().chain(PLAIN.map(tool)).collect()
}

const RULES: &str = r#"
rules:
  - {pattern: "s__echo(3, , *)", action: ask, always: true}
  - {pattern: "s__echo*", action: deny, when: {text: {regex: ".*forbidden.*"}}, description: "No"}
  - {pattern: "s__delete_it", action: ask, always: true}
  - {pattern: "s__picture", action: ask, always: true}
  - {pattern: "s__*", action: allow}
defaults:
  - {pattern: "*", action: ask}
"#;

/// The interpreter itself: `python3` may be a script that sets variables.
fn python() -> String {
    let ask = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    String::from_utf8(ask.stdout).unwrap().trim().to_owned()
}

struct World {
    gateway: Gateway,
}

fn setup(folder: &Path, more: &str) -> Setup {
    let usual = Setup::with_pages();
    let (python, script) = (python(), folder.join("server.py"));
    let service = format!(
        "services:\n  s:\n    handler: mcp\n    command: [{:?}, {:?}, {:?}]\n    env: {{NAMED: \"${{HIDDEN}}\", OPEN: \"yes\"}}\n    tools: s.mcp.yaml\n{more}",
        python,
        script.to_str().unwrap(),
        folder.to_str().unwrap(),
    );
    let config = usual.config.replace("services:\n", &service);
    Setup { config, permissions: RULES.into(), ..usual }
}

const HIDDEN: (&str, &str) = ("HIDDEN", "a-hidden-value-0123456789");

fn write_server(folder: &Path, tools: &[Value]) {
    fs::write(folder.join("server.py"), SERVER).unwrap();
    fs::write(folder.join("offered.json"), Value::from(tools).to_string()).unwrap();
}

fn command(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(folder).env(HIDDEN.0, HIDDEN.1).stdin(Stdio::null());
    command.output().unwrap()
}

fn done(output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout.clone()).unwrap()
}

impl World {
    fn new() -> World {
        World::with("", &offered())
    }

    /// With further lines of the service's configuration.
    fn with(more: &str, tools: &[Value]) -> World {
        let folder = Folder::new();
        write_server(&folder.0, tools);
        let setup = setup(&folder.0, more);
        let path = folder.0.clone();
        // The files must be there before the import.
        let config = setup.config.replace("{upstream}", "http://127.0.0.1:9");
        fs::write(path.join("config.yaml"), config).unwrap();
        fs::write(path.join("permissions.yaml"), &setup.permissions).unwrap();
        fs::write(path.join("tools.yaml"), &setup.tools).unwrap();
        done(&command(&path, &["mcp", "import", "s"]));
        let _ = fs::remove_file(path.join("started"));
        let gateway = Gateway::in_folder(folder, &setup, &[HIDDEN, ("AGENTPASS_SECRET", "not for children")]);
        World { gateway }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.gateway.path(name)
    }

    fn agent(&self) -> Agent {
        Agent::login(self.gateway.address, TOKEN)
    }

    fn lines(&self, name: &str) -> usize {
        fs::read_to_string(self.path(name)).map_or(0, |text| text.lines().count())
    }

    fn server(&self) -> Value {
        self.gateway.json(&["status", "--json"])["services"]["s"]["server"].clone()
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Value>)) {
        let mut tools = offered();
        change(&mut tools);
        fs::write(self.path("offered.json"), Value::from(tools).to_string()).unwrap();
    }
}

fn text(reply: &Value) -> &str {
    reply["result"]["data"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{reply}"))
}

fn is_gone(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .map_or(true, |stat| stat.rsplit(')').next().unwrap().starts_with(" Z"))
}

#[test]
fn tools_are_imported_gated_and_called() {
    let world = World::new();
    let mut agent = world.agent();
    assert_eq!(world.server()["running"], false);
    assert_eq!(world.lines("started"), 0, "a server is started when it is called");
    let reply = agent.request("s__echo", json!({"mode": "soft", "count": 2, "text": "a (b) [c]\n*"}));
    let said: Value = serde_json::from_str(text(&reply)).unwrap();
    assert_eq!(said, json!({"mode": "soft", "count": 2, "text": "a (b) [c]\n*", "left": null}), "{reply}");
    let row = world.gateway.row(reply["result"]["request_id"].as_str().unwrap());
    assert_eq!(row["signature"], "s__echo(2, , soft)", "{row}");
    let sum = agent.request("s__sum", json!({"a": 1, "b": 2.5}));
    assert_eq!(sum["result"]["data"], json!({"sum": 3.5}), "{sum}");
    // The gate looks at what the server's schema describes.
    let denied = agent.request("s__echo", json!({"mode": "soft", "left": "x", "text": "a forbidden word"}));
    assert_eq!(error(&denied), (-32003, "denied_by_policy"), "{denied}");
    for (args, argument) in [
        (json!({"mode": "quiet"}), "mode"),
        (json!({"count": 2}), "mode"),
        (json!({"mode": "soft", "count": 10}), "count"),
        (json!({"mode": "soft", "other": 1}), "other"),
        (json!({"mode": "soft", "edits": [{"old": 1}]}), "edits[0].old"),
        (json!({"mode": "soft", "left": "a*"}), "left"),
    ] {
        let refused = agent.request("s__echo", args);
        assert_eq!(error(&refused).1, "invalid_argument", "{refused}");
        assert_eq!(refused["error"]["data"]["argument"], argument, "{refused}");
    }
    let request = agent.send("tool_request", json!({"tool": "s__delete_it", "args": {}}));
    let id = agent.asked();
    assert_eq!(world.lines("calls"), 2);
    world.gateway.say_yes(&id);
    assert_eq!(text(&agent.reply(request)), "deleted");
    assert_eq!(world.lines("calls"), 3);
    let server = world.server();
    assert_eq!((&server["running"], &server["tools"]), (&json!(true), &json!(20)), "{server}");
    assert!(server["memory_bytes"].as_u64().unwrap() > 1_000_000, "{server}");
    assert_eq!(world.lines("started"), 1);
    let file = fs::read_to_string(world.path("s.mcp.yaml")).unwrap();
    assert!(
        file.contains("kind: \"delete\" # guessed") && file.contains("kind: \"read\" # guessed"),
        "{file}"
    );
    world.gateway.verify();
}

#[test]
fn results_are_relayed_within_bounds_and_errors_are_told() {
    let world = World::new();
    let mut agent = world.agent();
    let image = agent.request("s__image", json!({}));
    let result = &image["result"];
    assert_eq!(result["data"]["content"][0]["mimeType"], "image/png");
    assert_eq!(result["data_note"], "image, 34 kB");
    let row = world.gateway.json(&["audit", "show", result["request_id"].as_str().unwrap(), "--json"]);
    assert!(row.to_string().contains("image, 34 kB"), "{row}");
    let failed = agent.request("s__fail", json!({}));
    assert_eq!(error(&failed).1, "service_error");
    assert!(failed.to_string().contains("no such thing"), "{failed}");
    let refused = agent.request("s__refuse", json!({}));
    assert!(error(&refused).1 == "service_error" && refused.to_string().contains("-32602"), "{refused}");
    let big = agent.request("s__big", json!({}));
    assert_eq!(
        (&big["result"]["data"], &big["result"]["data_lost"]),
        (&json!(null), &json!("too_large")),
        "{big}"
    );
    let strange = agent.request("s__strange", json!({}));
    assert_eq!(text(&strange), "right");
    let next = agent.request("s__where", json!({}));
    assert!(text(&next).ends_with("data/children/s"), "{next}");
    let log = world.gateway.log();
    assert_eq!(log.matches("no messages").count(), 1, "{log}");
}

#[test]
fn a_server_gets_no_more_of_the_environment_than_is_named_and_its_secrets_are_scrubbed() {
    let world = World::new();
    let reply = world.agent().request("s__env", json!({}));
    let seen: Value = serde_json::from_str(text(&reply)).unwrap();
    assert_eq!((&seen["NAMED"], &seen["OPEN"]), (&json!("[redacted]"), &json!("yes")));
    for name in seen.as_object().unwrap().keys() {
        let known = ["PATH", "HOME", "LANG", "TZ", "NAMED", "OPEN", "LC_CTYPE", "PWD", "SHLVL", "_"];
        assert!(known.contains(&name.as_str()), "{name}");
    }
    assert!(!world.gateway.log().contains(HIDDEN.1));
}

#[test]
fn a_time_out_cancels_one_call_and_leaves_the_others_alone() {
    let world = World::with("    timeout: 2\n", &offered());
    let mut agent = world.agent();
    let silent = agent.send("tool_request", json!({"tool": "s__silent", "args": {}}));
    let other = agent.send("tool_request", json!({"tool": "s__where", "args": {}}));
    assert!(agent.reply(other)["result"].is_object());
    assert_eq!(error(&agent.reply(silent)).1, "unknown_result");
    eventually("the server hears of it", || (world.lines("cancelled") == 1).then_some(()));
    assert!(agent.request("s__where", json!({}))["result"].is_object());
    assert_eq!((world.lines("started"), world.lines("calls")), (1, 3), "nothing is sent twice");
}

/// A list that changes all the time keeps no call from its turn.
#[test]
fn a_server_whose_list_always_changes_keeps_no_call_waiting() {
    let tools: Vec<_> = offered().into_iter().chain([tool("flood")]).collect();
    let world = World::with("", &tools);
    let mut agent = world.agent();
    assert_eq!(text(&agent.request("s__flood", json!({}))), "from now on");
    for _ in 0..20 {
        assert!(agent.request("s__where", json!({}))["result"].is_object());
    }
    assert_eq!((world.lines("started"), world.lines("calls")), (1, 21));
}

#[test]
fn an_answer_that_comes_too_late_is_nobody_s() {
    let world = World::with("    timeout: 2\n", &offered());
    let mut agent = world.agent();
    let silent = agent.request("s__silent", json!({}));
    assert_eq!(error(&silent).1, "unknown_result");
    eventually("the server answers what was given up", || (world.lines("cancelled") == 1).then_some(()));
    for _ in 0..3 {
        assert!(text(&agent.request("s__where", json!({}))).ends_with("data/children/s"));
    }
    let id = silent["error"]["data"]["request_id"].as_str().unwrap();
    assert_eq!(world.gateway.row(id)["outcome"], "unknown");
    assert_eq!((world.lines("started"), world.lines("calls")), (1, 4));
    world.gateway.verify();
}

#[test]
fn progress_that_nobody_asked_for_disturbs_no_open_call() {
    let world = World::new();
    let (mut agent, mut other) = (world.agent(), world.agent());
    agent.send("tool_request", json!({"tool": "s__silent", "args": {}}));
    assert_eq!(text(&other.request("s__chatty", json!({}))), "done");
    assert!(other.request("s__where", json!({}))["result"].is_object());
    let site = Site::signed_in(&world.gateway);
    eventually("the first call alone is under way", || {
        site.get("/metrics").body.contains("agentpass_executing_calls 1\n").then_some(())
    });
    assert!(world.gateway.most_memory() < 200 << 20);
    assert_eq!(world.lines("started"), 1);
}

/// What a call has done is not undone by what the server says of it.
#[test]
fn structured_content_that_breaks_its_schema_is_relayed_as_what_it_is() {
    let world = World::new();
    let mut agent = world.agent();
    for (lie, data) in [
        (r#"{"n": "no number"}"#, json!({"n": "no number"})),
        (r#"{"other": [1, {"n": null}]}"#, json!({"other": [1, {"n": null}]})),
        ("[1, 2]", json!([1, 2])),
        (r#""a text""#, json!("a text")),
        ("7", json!(7)),
        ("null", json!({"content": []})),
    ] {
        fs::write(world.path("lie"), lie).unwrap();
        let reply = agent.request("s__liar", json!({}));
        assert_eq!(reply["result"]["data"], data, "{lie}: {reply}");
    }
    // Too deep to be read.
    fs::write(world.path("lie"), format!("{}{}", "[".repeat(110), "]".repeat(110))).unwrap();
    let deep = agent.request("s__liar", json!({}));
    assert_eq!(deep["result"]["data_lost"], "bad_json", "{deep}");
    assert!(agent.request("s__where", json!({}))["result"].is_object());
    world.gateway.verify();
}

#[test]
fn the_kind_and_size_of_data_stand_where_the_outcome_is_told() {
    let world = World::new();
    let mut agent = world.agent();
    let request = agent.send("tool_request", json!({"tool": "s__picture", "args": {}}));
    let id = agent.asked();
    let told = done(&world.gateway.cli(&["approve", &id]));
    assert!(told.contains("executed: image, 34 kB"), "{told}");
    assert_eq!(agent.reply(request)["result"]["data_note"], "image, 34 kB");
}

#[test]
fn a_missing_capability_is_relayed_to_new_clients_with_what_the_server_says_of_it() {
    let world = World::new();
    let data = json!({"requiredCapabilities": {"sampling": {}}, "seen": "[redacted]", "big": ""});
    let expected = json!({"code": -32021, "message": "The MCP server says: Needs sampling", "data": data});
    let client = Client::new(&world.gateway, TOKEN);
    let page = client.call("s__samples", json!({}));
    assert_eq!((page.status, &page.json()["error"]), (400, &expected), "{page:?}");
    let mut lasting = Lasting::new(&world.gateway);
    assert_eq!(lasting.call(LAPTOP, "s__samples", &json!({}))["error"], expected);
    // The next request on the same connection says that it has arrived.
    let pending = lasting.call(LAPTOP, "agentpass_pending", &json!({}));
    assert_eq!(pending["result"]["structuredContent"]["results"], json!([]), "{pending}");
    let mut bridge = Bridge::of(&world.gateway, TOKEN);
    assert_eq!(bridge.call("s__samples", json!({}))["error"], expected);
    for old in [
        Client::legacy(&world.gateway, TOKEN).old_call("s__samples", json!({})),
        bridge.old_call("s__samples", json!({})),
    ] {
        assert!(old["isError"] == true && old.to_string().contains("service_error"), "{old}");
    }
    let wire = world.agent().request("s__samples", json!({}));
    assert_eq!(
        (error(&wire), &wire["error"]["data"]["mcp_data"]),
        ((-32004, "service_error"), &data),
        "{wire}"
    );
    // More than an error may bring is no error of this kind.
    fs::write(world.path("how"), "loud").unwrap();
    let loud = client.call("s__samples", json!({}));
    assert_eq!((loud.status, &loud.json()["result"]["isError"]), (200, &json!(true)), "{loud:?}");
    world.gateway.verify();
}

#[test]
fn drift_and_memory_stand_on_the_overview_and_among_the_metrics() {
    let world = World::new();
    let site = Site::signed_in(&world.gateway);
    let metrics = site.get("/metrics").body;
    assert!(metrics.contains("agentpass_service_memory_bytes{service=\"s\"} 0\n"), "{metrics}");
    world.change(|tools| tools[0]["description"] = "Another".into());
    assert!(world.agent().request("s__where", json!({}))["result"].is_object());
    let metrics = site.get("/metrics").body;
    assert!(metrics.contains("agentpass_service_blocked_tools{service=\"s\"} 1\n"), "{metrics}");
    assert!(!metrics.contains("agentpass_service_memory_bytes{service=\"s\"} 0\n"), "{metrics}");
    let page = site.get("/").body;
    assert!(page.contains(" MB; changed: echo<"), "{page}");
}

#[test]
fn a_server_that_dies_is_not_asked_again_at_once_and_its_call_is_not_repeated() {
    let world = World::new();
    let mut agent = world.agent();
    let crashed = agent.request("s__crash", json!({}));
    assert_eq!(error(&crashed).1, "unknown_result");
    assert_eq!(world.lines("calls"), 1);
    eventually("the server is back", || {
        let reply = agent.request("s__where", json!({}));
        reply["result"].is_object().then_some(()).or_else(|| {
            assert_eq!(error(&reply).1, "service_unreachable");
            None
        })
    });
    assert_eq!((world.lines("started"), world.lines("calls")), (2, 2));
}

#[test]
fn what_floods_eats_or_forks_is_ended_within_its_bounds() {
    let world = World::with("    max_memory_mb: 200\n", &offered());
    let mut agent = world.agent();
    for name in ["s__long_line", "s__eat"] {
        let reply = agent.request(name, json!({}));
        assert_eq!(error(&reply).1, "unknown_result", "{name}: {reply}");
        eventually("the server is back", || {
            agent.request("s__where", json!({}))["result"].is_object().then_some(())
        });
    }
    assert!(world.gateway.most_memory() < 200 << 20);
    let pid = fs::read_to_string(world.path("pid")).unwrap();
    assert!(agent.request("s__stubborn", json!({}))["result"].is_object());
    let grandchild = fs::read_to_string(world.path("grandchild")).unwrap();
    let mut gateway = world.gateway;
    gateway.kill();
    eventually("no process is left", || (is_gone(&pid) && is_gone(&grandchild)).then_some(()));
}

#[test]
fn a_changed_tool_is_blocked_alone_and_told() {
    let world = World::new();
    let mut agent = world.agent();
    let echo = json!({"mode": "soft", "text": "x"});
    assert!(agent.request("s__echo", echo.clone())["result"].is_object());
    // A question that is open over the change is void.
    let asked = agent
        .send("tool_request", json!({"tool": "s__echo", "args": {"mode": "soft", "count": 3, "text": "x"}}));
    agent.asked();
    assert!(agent.request("s__change", json!({}))["result"].is_object());
    assert_eq!(error(&agent.reply(asked)).1, "approval_void");
    let denied = agent.request("s__echo", echo.clone());
    assert_eq!(error(&denied), (-32003, "tool_changed"), "{denied}");
    assert!(agent.request("s__sum", json!({"a": 1, "b": 2}))["result"].is_object(), "others go on");
    assert_eq!(world.server()["changed"], json!(["echo"]));
    let log = world.gateway.log();
    assert_eq!(log.matches("agentpass mcp diff s").count(), 1, "{log}");
    let diff = command(&world.path(""), &["mcp", "diff", "s"]);
    assert_eq!(diff.status.code(), Some(1));
    let shown = String::from_utf8(diff.stdout).unwrap();
    assert!(shown.contains("- \"Says it back\"") && shown.contains("+ \"Another text\""), "{shown}");
    // Looked at, imported and reloaded, it can be called.
    done(&command(&world.path(""), &["mcp", "import", "s"]));
    done(&world.gateway.cli(&["reload"]));
    assert!(agent.request("s__echo", echo)["result"].is_object());
    assert_eq!(world.server()["changed"], json!([]));
    assert_eq!(world.lines("calls"), 4, "nothing was called meanwhile");
}

#[test]
fn schemas_annotations_names_and_new_tools_are_compared_at_each_start() {
    for what in ["inputSchema", "annotations", "title", "outputSchema"] {
        let world = World::new();
        world.change(|tools| tools[0][what] = json!({"type": "object", "readOnlyHint": false}));
        let denied = world.agent().request("s__echo", json!({"mode": "soft", "text": "x"}));
        assert_eq!(error(&denied).1, "tool_changed", "{what}: {denied}");
        assert_eq!(world.lines("calls"), 0);
    }
    let world = World::new();
    world.change(|tools| tools[0]["name"] = "echo2".into());
    let mut agent = world.agent();
    assert_eq!(error(&agent.request("s__echo", json!({"mode": "soft", "text": "x"}))).1, "tool_changed");
    assert_eq!(error(&agent.request("s__echo2", json!({"mode": "soft", "text": "x"}))).1, "unknown_tool");
    let server = world.server();
    assert_eq!((&server["vanished"], &server["new"]), (&json!(["echo"]), &json!(["echo2"])));
    let loose = World::with("    on_change: warn\n", &offered());
    loose.change(|tools| tools[0]["description"] = "Another".into());
    assert!(loose.agent().request("s__echo", json!({"mode": "soft", "text": "x"}))["result"].is_object());
    assert_eq!(loose.server()["changed"], json!(["echo"]));
}

#[test]
fn an_idle_server_is_ended_and_started_again() {
    let world = World::with("    idle_stop: 10s\n", &offered());
    let mut agent = world.agent();
    assert!(agent.request("s__where", json!({}))["result"].is_object());
    let pid = fs::read_to_string(world.path("pid")).unwrap();
    eventually("it is ended", || is_gone(&pid).then_some(()));
    eventually("status says so", || (world.server()["running"] == false).then_some(()));
    assert!(agent.request("s__where", json!({}))["result"].is_object());
    assert_eq!(world.lines("started"), 2);
}

#[test]
fn a_reload_that_leaves_the_server_as_it_is_does_not_start_it_anew() {
    let world = World::new();
    let mut agent = world.agent();
    assert!(agent.request("s__where", json!({}))["result"].is_object());
    done(&world.gateway.cli(&["reload"]));
    assert!(agent.request("s__where", json!({}))["result"].is_object());
    assert_eq!(world.lines("started"), 1);
}

/// A yes is for the server as it was when the question was asked: not for one that works on something else.
#[test]
fn a_server_in_another_environment_voids_what_was_asked() {
    let world = World::new();
    let mut agent = world.agent();
    let wire = agent.send("tool_request", json!({"tool": "s__delete_it", "args": {}}));
    agent.asked();
    let config = fs::read_to_string(world.path("config.yaml")).unwrap();
    fs::write(world.path("config.yaml"), config.replace("OPEN: \"yes\"", "OPEN: \"no\"")).unwrap();
    done(&world.gateway.cli(&["reload"]));
    assert_eq!(error(&agent.reply(wire)).1, "approval_void");
    assert_eq!(world.lines("calls"), 0);
}

/// A folder with a configuration and a server that was not imported.
fn folder(tools: &[Value]) -> Folder {
    let folder = Folder::new();
    write_server(&folder.0, tools);
    let setup = setup(&folder.0, "");
    fs::write(folder.0.join("config.yaml"), setup.config.replace("{upstream}", "http://127.0.0.1:9"))
        .unwrap();
    fs::write(folder.0.join("permissions.yaml"), "defaults: [{pattern: \"*\", action: ask}]\n").unwrap();
    fs::write(folder.0.join("tools.yaml"), setup.tools).unwrap();
    folder
}

#[test]
fn the_same_server_makes_the_same_file_and_the_owner_s_words_are_kept() {
    let folder = folder(&offered());
    let file = folder.0.join("s.mcp.yaml");
    let check = command(&folder.0, &["check", "--insecure"]);
    assert!(check.status.success());
    let told = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(told.contains("agentpass mcp import s"), "{told}");
    done(&command(&folder.0, &["mcp", "import", "s"]));
    let first = fs::read_to_string(&file).unwrap();
    done(&command(&folder.0, &["mcp", "import", "s"]));
    assert_eq!(fs::read_to_string(&file).unwrap(), first);
    let own = "  \"echo\":\n    kind: send\n    risk: irreversible\n    signature: \"{text}\"\n    free_text: [left]\n    data: {from: notes}\n";
    let changed = first.replace("  \"echo\":\n    kind: \"read\" # guessed: look at it\n", own);
    assert_ne!(changed, first);
    fs::write(&file, &changed).unwrap();
    done(&command(&folder.0, &["mcp", "import", "s"]));
    let kept = fs::read_to_string(&file).unwrap();
    for word in
        ["kind: \"send\"\n", "risk: \"irreversible\"", "signature: \"{text}\"", "\"left\"", "\"notes\""]
    {
        assert!(kept.contains(word), "{word}: {kept}");
    }
    let explained = done(&command(
        &folder.0,
        &["explain", "--json", "s__echo", "--json-args", r#"{"mode":"soft","text":"abc","left":"a*"}"#],
    ));
    assert!(explained.contains("s__echo(abc)"), "{explained}");
    let some =
        done(&command(&folder.0, &["mcp", "import", "s", "--include", "s*", "--include", "echo", "--json"]));
    let some: Value = serde_json::from_str(&some).unwrap();
    assert_eq!(
        some["tools"],
        json!(["s__echo", "s__samples", "s__silent", "s__strange", "s__stubborn", "s__sum"])
    );
}

#[test]
fn a_failed_import_touches_nothing() {
    let folder = folder(&offered());
    let file = folder.0.join("s.mcp.yaml");
    done(&command(&folder.0, &["mcp", "import", "s"]));
    let before = fs::read_to_string(&file).unwrap();
    fs::write(folder.0.join("offered.json"), "{broken").unwrap();
    assert_eq!(command(&folder.0, &["mcp", "import", "s"]).status.code(), Some(5));
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    assert!(!folder.0.join("s.mcp.yaml.new").exists());
    assert_eq!(command(&folder.0, &["mcp", "import", "none"]).status.code(), Some(78));
    // What was changed by hand is not what was imported.
    fs::write(&file, before.replace("Says it back", "Says more")).unwrap();
    let check = command(&folder.0, &["check", "--insecure"]);
    let told = String::from_utf8_lossy(&check.stderr);
    assert!(check.status.code() == Some(78) && told.contains("is not the one that was imported"), "{told}");
}

#[test]
fn tools_that_cannot_be_checked_or_hide_something_are_left_out_by_name() {
    let mut tools = vec![echo()];
    let mut with = |name: &str, schema: Value| {
        tools.push(json!({"name": name, "description": "Does", "inputSchema": schema}));
    };
    with("tuple", json!({"type": "object", "properties": {"a": {"prefixItems": [true]}}}));
    with("looks", json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)"}}}));
    with("remote", json!({"type": "object", "properties": {"a": {"$ref": "https://example.org/x"}}}));
    with("root", json!({"type": "string"}));
    with("agentpass_wait", json!({"type": "object"}));
    with("twice", json!({"type": "object"}));
    with("twice", json!({"type": "object"}));
    tools.push(json!({"name": "hides", "description": "a\u{e0041}b", "inputSchema": {"type": "object"}}));
    let folder = folder(&tools);
    let report = done(&command(&folder.0, &["mcp", "import", "s", "--json"]));
    let report: Value = serde_json::from_str(&report).unwrap();
    let left: Vec<&str> =
        report["left_out"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(left, ["agentpass_wait", "hides", "looks", "remote", "root", "tuple", "twice"], "{report}");
    assert!(report["left_out"].to_string().contains("prefixItems"), "{report}");
}

#[test]
fn a_server_is_added_in_one_step() {
    let folder = folder(&offered());
    let script = folder.0.join("server.py");
    let (script, own) = (script.to_str().unwrap(), folder.0.to_str().unwrap());
    let python = python();
    let add =
        |name: &str| command(&folder.0, &["mcp", "add", name, "--env", "OPEN=1", "--", &python, script, own]);
    let told = done(&add("more"));
    assert!(told.contains("more__echo") && told.contains("pattern: \"more*\""), "{told}");
    let config = fs::read_to_string(folder.0.join("config.yaml")).unwrap();
    assert!(config.contains("\n  more: {") && folder.0.join("tools/more.mcp.yaml").exists(), "{config}");
    done(&command(&folder.0, &["check", "--insecure"]));
    assert_eq!(add("more").status.code(), Some(4));
    assert_eq!(add("a__b").status.code(), Some(4));
    let remote = command(&folder.0, &["mcp", "add", "remote", "https://mcp.example/mcp"]);
    assert_eq!(remote.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&remote.stderr).contains("over HTTP cannot be put behind"), "{remote:?}");
    let before = fs::read_to_string(folder.0.join("config.yaml")).unwrap();
    let failed = command(&folder.0, &["mcp", "add", "bad", "--", "/no/such/program"]);
    assert_eq!(failed.status.code(), Some(5));
    assert_eq!(fs::read_to_string(folder.0.join("config.yaml")).unwrap(), before);
    assert!(!folder.0.join("config.yaml.new").exists() && !folder.0.join("tools/bad.mcp.yaml").exists());
}

#[test]
fn mistakes_in_the_configuration_are_found() {
    let folder = folder(&offered());
    done(&command(&folder.0, &["mcp", "import", "s"]));
    let config = fs::read_to_string(folder.0.join("config.yaml")).unwrap();
    for (line, wrong) in [
        ("    prefix: a__b\n", "is not a prefix"),
        ("    era: new\n", "unknown era"),
        ("    on_change: maybe\n", "unknown on_change"),
        ("    idle_stop: 1s\n", "idle_stop must be"),
        ("    max_memory_mb: 1\n", "max_memory_mb must be"),
        ("    uri: x\n", "unknown key \"uri\""),
        (
            "  t: {handler: mcp, url: \"https://mcp.example\", tools: t.yaml}\n",
            "over HTTP cannot be put behind",
        ),
        ("  t: {handler: python, handler_class: \"a:B\", tools: t.yaml}\n", "there is no handler python yet"),
        ("  t: {handler: mcp, tools: t.yaml}\n", "command is missing"),
        ("  t: {handler: mcp, command: [], tools: t.yaml}\n", "command names no program"),
        ("  t: {handler: mcp, command: \"npx x\", tools: t.yaml}\n", "command must be a list"),
        ("  t: {handler: mcp, prefix: s, command: [x], tools: s.mcp.yaml}\n", "the other one of s is in"),
    ] {
        fs::write(
            folder.0.join("config.yaml"),
            config.replace("    tools: s.mcp.yaml\n", &format!("    tools: s.mcp.yaml\n{line}")),
        )
        .unwrap();
        let check = command(&folder.0, &["check", "--insecure"]);
        let told = String::from_utf8_lossy(&check.stderr).into_owned();
        assert!(check.status.code() == Some(78) && told.contains(wrong), "{line}: {told}");
    }
    let npx = "    tools: s.mcp.yaml\n  t: {handler: mcp, command: [npx, \"-y\", \"@a/b\"], tools: t.yaml}\n";
    fs::write(folder.0.join("config.yaml"), config.replace("    tools: s.mcp.yaml\n", npx)).unwrap();
    let check = command(&folder.0, &["check", "--insecure"]);
    let told = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(check.status.success() && told.contains("@a/b@1.2.3"), "{told}");
}
