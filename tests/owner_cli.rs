//! The owner's commands, as scripts and people use them: shapes, exit codes, and what is said when something is wrong.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use agentpass::testing::base::clock::Timestamp;
use harness::gateway::{LAPTOP, SERVICE_SECRET, TOKEN, cli};
use harness::{Agent, Answer, BINARY, Folder, Gateway, Setup, eventually, stranger, terminal};
use serde_json::{Value, json};

const LOCK: [&str; 4] = ["call_service", "domain=lock", "service=unlock", "entity_id=lock.front"];

/// The usual files in a folder of their own, without a gateway.
fn files(setup: &Setup) -> Folder {
    let folder = Folder::new();
    put(&folder, "config.yaml", &setup.config.replace("{upstream}", "http://127.0.0.1:1"));
    put(&folder, "tools.yaml", &setup.tools);
    put(&folder, "permissions.yaml", &setup.permissions);
    folder
}

/// A file that only its owner may read.
fn put(folder: &Folder, name: &str, text: &str) {
    fs::write(folder.0.join(name), text).unwrap();
    fs::set_permissions(folder.0.join(name), fs::Permissions::from_mode(0o600)).unwrap();
}

fn ran(folder: &Folder, arguments: &[&str]) -> (i32, String, String) {
    told(cli(folder, arguments, ""))
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn on(gateway: &Gateway, arguments: &[&str]) -> (i32, String, String) {
    told(gateway.cli(arguments))
}

fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap_or_else(|| panic!("{value}")).keys().map(String::as_str).collect()
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?}: {e}"))).collect()
}

fn explained(folder: &Folder, call: &[&str]) -> Value {
    let (code, out, err) = ran(folder, &[&["explain", "--json"], call].concat());
    assert_eq!((code, err.as_str()), (0, ""), "{call:?}");
    serde_json::from_str(&out).unwrap()
}

// explain

#[test]
fn a_refused_character_is_told_with_what_is_valid() {
    let folder = files(&Setup::default());
    let why = explained(&folder, &["get_state", "entity_id=a*"]);
    assert_eq!((&why["argument"], &why["character"]), (&json!("entity_id"), &json!("*")));
    assert!(why["valid"].as_str().unwrap().contains("none of * ? [ ] ( ) ,"), "{why}");
    let (_, out, _) = ran(&folder, &["explain", "get_state", "entity_id=a*"]);
    assert!(out.contains("contains forbidden characters: *") && out.contains("none of * ?"), "{out}");
    let gateway = Gateway::start();
    let url = format!("ws://{}", gateway.address);
    let call = ["request", "get_state", "entity_id=a*", "--url", &url, "--token", TOKEN];
    let (code, _, err) = told(gateway.cli(&call));
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("help: it holds \"*\"; valid is text that holds none of * ? [ ] ( ) ,"), "{err}");
}

#[test]
fn explain_gives_decision_rule_and_trace() {
    let folder = files(&Setup::default());
    let deny = explained(&folder, &LOCK);
    assert_eq!(
        members(&deny),
        BTreeSet::from(["decision", "signature", "rule", "reasons", "trace", "limits", "flows"])
    );
    assert_eq!(deny["decision"], "deny");
    assert_eq!(deny["signature"], "call_service(lock.unlock, lock.front)");
    let rule = json!({
        "list": "rules", "index": 1, "pattern": "call_service(lock.*)", "action": "deny",
        "description": "Lock control is always denied", "file": "permissions.yaml",
    });
    assert_eq!(deny["rule"], rule);
    assert_eq!(
        deny["reasons"],
        json!([{"reason": "denied_by_policy", "rule": "Lock control is always denied"}])
    );
    let last = deny["trace"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["index"], &last["matched"]), (&json!(1), &json!(true)));

    let allow = explained(&folder, &["get_state", "entity_id=sensor.a"]);
    assert_eq!((&allow["decision"], &allow["rule"]["list"]), (&json!("allow"), &json!("defaults")));
    assert!(allow["rule"].get("description").is_none(), "{allow}");
    let trace = allow["trace"].as_array().unwrap();
    assert!(trace.iter().rev().skip(1).all(|step| step["matched"] == false), "{allow}");

    let ask = explained(&folder, &["say", "text=hello"]);
    assert_eq!((&ask["decision"], &ask["rule"]["pattern"]), (&json!("ask"), &json!("*")));
}

#[test]
fn explain_asks_where_no_rule_speaks() {
    let folder = files(&Setup { permissions: "rules: []\n".into(), ..Setup::default() });
    let ask = explained(&folder, &["say", "text=hello"]);
    assert_eq!((&ask["decision"], &ask["rule"], &ask["trace"]), (&json!("ask"), &json!(null), &json!([])));
}

#[test]
fn explain_knows_what_would_be_refused_before_the_policy() {
    let folder = files(&Setup::default());
    for (call, reason, argument) in [
        (&["nosuch"][..], "unknown_tool", json!(null)),
        (&["get_state"], "invalid_argument", json!("entity_id")),
        (&["get_state", "entity_id=a*"], "invalid_argument", json!("entity_id")),
        (&["render", "nosuch=1"], "invalid_argument", json!("nosuch")),
        (&["call_service", "domain=light;", "service=on"], "invalid_argument", json!("domain")),
    ] {
        let invalid = explained(&folder, call);
        assert_eq!(invalid["decision"], "invalid", "{call:?}");
        assert_eq!((&invalid["reason"], &invalid["argument"]), (&json!(reason), &argument), "{invalid}");
        assert_eq!((&invalid["rule"], &invalid["trace"]), (&json!(null), &json!([])));
    }
}

#[test]
fn explain_reads_typed_arguments_and_rules_for_agents() {
    let permissions = r#"
rules:
  - {pattern: "say", agents: ["kitchen-*"], action: deny}
  - {pattern: "call_service*", any_value: "lock.*", action: deny}
defaults: [{pattern: "*", action: ask}]
"#;
    let config = Setup::default().config.replace("laptop:", "kitchen-pi:");
    let folder = files(&Setup { permissions: permissions.into(), config, ..Setup::default() });
    assert_eq!(explained(&folder, &["say", "text=x"])["decision"], "ask");
    assert_eq!(explained(&folder, &["say", "text=x", "--agent", "kitchen-pi"])["decision"], "deny");
    let call = ["call_service", "domain=light", "service=turn_on"];
    let hidden = [&call[..], &[r#"target:={"entity_id":["lock.front"]}"#]].concat();
    assert_eq!(explained(&folder, &hidden)["decision"], "deny");
    let member = [&call[..], &["--json-args", r#"{"entity_id":"light.a"}"#]].concat();
    assert_eq!(explained(&folder, &member)["decision"], "ask");
}

#[test]
fn explain_tells_people_the_same() {
    let folder = files(&Setup::default());
    let (code, out, err) = ran(&folder, &[&["explain"], &LOCK[..]].concat());
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(
        out,
        "deny: call_service(lock.unlock, lock.front)\n  \
         by rules[1] call_service(lock.*) in permissions.yaml\n  \
         says: Lock control is always denied\n\n\
         rules in the order they were looked at:\n  \
         rules[1]  deny  call_service(lock.*)  matched\n"
    );
    let (code, out, _) = ran(&folder, &["explain", "nosuch"]);
    assert_eq!(code, 0);
    assert!(out.starts_with("invalid: Unknown tool: nosuch (unknown_tool)\n  help: the tools are "), "{out}");
}

#[test]
fn explain_takes_a_batch_from_stdin() {
    let folder = files(&Setup::default());
    let input = "\
        {\"tool\":\"get_state\",\"args\":{\"entity_id\":\"a\"}}\n\n\
        {\"agent\":\"laptop\",\"tool\":\"drop_all\"}\n\
        {\"tool\":\"render\",\"args\":[]}\n\
        {\"tool\":\"say\",\"args\":{\"text\":\"x\",\"text\":\"y\"}}\n\
        {\"tool\":\"say\",\"args\":{\"text\":\"x\"}}";
    let (code, out, err) = told(cli(&folder, &["explain", "--stdin"], input));
    assert_eq!((code, err.as_str()), (0, ""));
    let decisions: Vec<_> =
        objects(&out).iter().map(|d| d["decision"].as_str().unwrap().to_owned()).collect();
    assert_eq!(decisions, ["allow", "deny", "invalid", "invalid", "ask"]);

    for (line, cause) in [
        ("nonsense", "line 2: not JSON"),
        ("[]", "line 2: not a JSON object"),
        ("{}", "line 2: tool must be a string"),
        (r#"{"tool":"say","arguments":{}}"#, "line 2: unknown member \"arguments\""),
        (r#"{"tool":"say","agent":7}"#, "line 2: agent must be a string"),
    ] {
        let (code, out, err) =
            told(cli(&folder, &["explain", "--stdin"], &format!("{{\"tool\":\"drop_all\"}}\n{line}\n")));
        assert_eq!((code, objects(&out).len()), (4, 1), "{line}");
        assert!(err.contains(cause), "{err}");
    }
}

#[test]
fn explain_says_what_it_cannot_use() {
    let folder = files(&Setup::default());
    for call in [&["explain"][..], &["explain", "--stdin", "say"], &["explain", "say", "text"]] {
        let (code, out, err) = ran(&folder, call);
        assert_eq!((code, out.as_str()), (4, ""), "{call:?}");
        assert!(
            err.starts_with("agentpass: could not explain the call: ") && err.contains("\n  help: "),
            "{err}"
        );
    }
    put(&folder, "permissions.yaml", "rules: [{pattern: \"*\", action: alow}]\n");
    let (code, out, err) = ran(&folder, &["explain", "say", "text=x", "--json"]);
    assert_eq!((code, out.as_str()), (78, ""));
    assert!(err.contains("unknown action \"alow\"\n  at permissions.yaml:1:32\n  help: "), "{err}");
}

// check

#[test]
fn check_finds_everything_at_once() {
    let folder = files(&Setup::default());
    let (code, out, err) = ran(&folder, &["check"]);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");

    put(&folder, "permissions.yaml", "rules: [{pattern: \"*\", action: alow}]\n");
    put(&folder, "tools.yaml", "tools: {x: {request: {method: GET, path: \"/\", querry: {}}}}\n");
    let (code, out, err) = ran(&folder, &["check"]);
    assert_eq!((code, out.as_str()), (78, ""));
    assert!(
        err.contains("agentpass: cannot load permissions: unknown action \"alow\"\n  at permissions.yaml:1:32\n  help: "),
        "{err}"
    );
    assert!(err.contains("unknown key \"querry\"\n  at tools.yaml:1:47\n"), "{err}");
    assert!(err.ends_with("agentpass: the configuration cannot be used: 2 errors\n"), "{err}");

    let (code, out, err) = ran(&folder, &["check", "--json"]);
    assert_eq!((code, err.as_str()), (78, ""));
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(members(&report), BTreeSet::from(["ok", "findings"]));
    assert_eq!(report["ok"], false);
    let found = report["findings"].as_array().unwrap();
    let alow = found.iter().find(|f| f["file"] == "permissions.yaml").unwrap();
    assert_eq!((&alow["severity"], &alow["line"], &alow["column"]), (&json!("error"), &json!(1), &json!(32)));
    assert!(alow["text"].is_string() && alow["help"].is_string(), "{alow}");
}

#[test]
fn warnings_are_no_error() {
    let config = Setup::default().config.replace("\"a-token-of-the-laptop-agent\"", "short");
    let folder = files(&Setup { config, ..Setup::default() });
    fs::set_permissions(folder.0.join("config.yaml"), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, _, err) = ran(&folder, &["check"]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("agentpass: warning: ") && err.contains("help: chmod o-r config.yaml"), "{err}");
    assert!(err.ends_with("agentpass: the configuration can be used; 3 warnings\n"), "{err}");
    let report: Value = serde_json::from_str(&ran(&folder, &["check", "--json"]).1).unwrap();
    assert_eq!(report["ok"], true);
    assert!(report["findings"].as_array().unwrap().iter().all(|f| f["severity"] == "warning"), "{report}");
}

/// Times go by the machine's clocks, and nobody knows what those show: UTC would be another time.
#[test]
fn a_time_zone_that_cannot_be_read_stops_what_goes_by_it() {
    let usual = Setup::default();
    let checked = |more: &str, zone: &str| {
        let folder = files(&Setup { permissions: format!("{}{more}", usual.permissions), ..usual.clone() });
        let mut command = Command::new(BINARY);
        told(command.args(["check"]).env("TZ", zone).current_dir(&folder.0).output().unwrap())
    };
    let limit = |window: &str| {
        format!("limits:\n  - {{name: a, pattern: \"render*\", window: {window}, deny_above: 9}}\n")
    };
    let rule =
        |zone: &str| format!("  - {{pattern: \"render*\", time: {{from: \"08:00\"{zone}}}, action: deny}}\n");
    for wrong in [limit("day"), limit("week"), limit("month"), rule("")] {
        let (code, _, err) = checked(&wrong, "No/Such_Place");
        let told = "the machine's time zone is not known: TZ says \"No/Such_Place\", which is not a time zone known here";
        assert!(code == 78 && err.contains(told) && err.contains("help: install the zone database"), "{err}");
        let (code, _, err) = checked(&wrong, "CET-1CEST,M3.5.0,M10.5.0/3");
        assert_eq!(code, 0, "{err}");
    }
    for right in [limit("24h"), limit("session"), rule(", zone: \"CET-1CEST,M3.5.0,M10.5.0/3\"")] {
        let (code, _, err) = checked(&right, "No/Such_Place");
        assert_eq!(code, 0, "{err}");
    }
    let (code, _, err) = checked(&rule(", zone: \"No/Such_Place\""), "UTC");
    assert!(code == 78 && err.contains("there is no time zone \"No/Such_Place\""), "{err}");
}

/// One piece of code decides for all three: what keeps a gateway from starting is found before, and is never taken over
/// by one that runs.
#[test]
fn what_serve_refuses_is_refused_by_check_and_reload() {
    let gateway = Gateway::secure(&Setup::default());
    let right = fs::read_to_string(gateway.path("config.yaml")).unwrap();
    let other = agentpass::testing::net::tls::self_signed(&["localhost".to_owned()]).unwrap();
    fs::write(gateway.path("other.pem"), &other.key_pem).unwrap();
    fs::write(gateway.path("empty.pem"), "").unwrap();
    fs::create_dir(gateway.path("folder")).unwrap();
    let deep = format!("control_socket: \"{}/control.sock\"", "d".repeat(110));
    let table = [
        ("cert: cert.pem", "cert: gone.pem", "cannot read ", ":5:15"),
        ("cert: cert.pem", "cert: empty.pem", "no certificate in ", ":5:15"),
        ("key: key.pem", "key: gone.pem", "cannot read ", ":5:30"),
        ("key: key.pem", "key: empty.pem", "no private key in ", ":5:30"),
        ("key: key.pem", "key: other.pem", "does not belong to", ":5:30"),
        ("port: 0", "port: 8931\n  health_port: 8931", "health_port is 8931, which is the agents' port", ""),
        (
            "  tls: {cert: cert.pem, key: key.pem}\n  health_port: off",
            "  health_host: 0.0.0.0",
            "without TLS on 0.0.0.0",
            "",
        ),
        ("control_socket: \"control.sock\"", &deep, "and 107 is the most", ":6:19"),
        ("path: \"data/agentpass.db\"", "path: folder", "folder is a directory", ""),
    ];
    for (from, to, expected, place) in table {
        let text = right.replace("  health_port: off\n", "").replace(from, to);
        let text = if from.contains("off") { right.replace(from, to) } else { text };
        assert_ne!(text, right, "{from}");
        fs::write(gateway.path("config.yaml"), text).unwrap();
        for command in ["check", "serve", "reload"] {
            let socket = ["reload", "--socket", "control.sock"];
            let arguments = if command == "reload" { &socket[..] } else { &[command][..] };
            let (code, _, err) = on(&gateway, arguments);
            assert_eq!(code, 78, "{command} with {to}: {err}");
            assert!(
                err.contains(expected) && err.contains(&format!("config.yaml{place}")),
                "{command}: {err}"
            );
        }
        eventually("a line in the log", || gateway.log().contains(expected).then_some(()));
    }
    fs::write(gateway.path("config.yaml"), &right).unwrap();
    assert_eq!(on(&gateway, &["check"]).0, 0);
    assert_eq!(on(&gateway, &["reload"]).0, 0);
}

#[test]
fn what_is_shipped_passes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let passes = |config: &Path| {
        let mut command = Command::new(BINARY);
        command
            .args(["check", "--config"])
            .arg(config)
            .arg("--permissions")
            .arg(root.join("etc/permissions.yaml"));
        let (code, _, err) =
            told(command.env("AGENT_TOKEN", "a-token-for-this-check-only").output().unwrap());
        assert_eq!(code, 0, "{}: {err}", config.display());
    };
    // The installation makes the certificate that it names.
    let shipped = files(&Setup::default());
    assert_eq!(ran(&shipped, &["init", "made"]).0, 0);
    fs::copy(root.join("etc/config.yaml"), shipped.0.join("made/config.yaml")).unwrap();
    passes(&shipped.0.join("made/config.yaml"));
    let tools: Vec<_> =
        fs::read_dir(root.join("tools")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(tools.len() >= 3, "{tools:?}");
    let folder = Folder::new();
    for file in tools {
        let service = match file.ends_with("coding-agent.yaml") {
            true => "handler: permit",
            false => "auth: {type: none}, url: \"http://127.0.0.1:1\"",
        };
        let text = format!(
            "agent: {{token: \"${{AGENT_TOKEN}}\"}}\nservices: {{s: {{{service}, tools: {file:?}}}}}\n"
        );
        put(&folder, "config.yaml", &text);
        passes(&folder.0.join("config.yaml"));
    }
}

// approvals

const QUESTION: [&str; 13] = [
    "digest",
    "agent_id",
    "args",
    "created_at",
    "expires_at",
    "reason",
    "request_id",
    "risk",
    "rule",
    "session_id",
    "signature",
    "tool",
    "reasons",
];

fn ask(agent: &mut Agent, text: &str) -> u64 {
    let params = json!({"tool": "say", "args": {"text": text, "pin": "4711"}, "reason": "to be polite"});
    agent.send("tool_request", params)
}

#[test]
fn approvals_are_an_array_of_questions() {
    let gateway = Gateway::start();
    assert_eq!(gateway.json(&["approvals", "--json"]), json!([]));
    let mut agent = Agent::login(gateway.address, TOKEN);
    ask(&mut agent, "hello");
    let id = gateway.question();
    let question = gateway.questions().remove(0);
    assert_eq!(members(&question), BTreeSet::from(QUESTION));
    assert_eq!(question["request_id"], id.as_str());
    assert_eq!(question["agent_id"], "default");
    assert_eq!(question["tool"], "say");
    assert_eq!(question["signature"], "say");
    assert_eq!(question["args"], json!({"text": "hello", "pin": "•••"}));
    assert_eq!(question["reason"], "to be polite");
    assert_eq!(question["rule"]["list"], "defaults");
    let time = |name: &str| {
        let text = question[name].as_str().unwrap();
        assert!(text.ends_with('Z'), "{text}");
        Timestamp::parse(text).unwrap()
    };
    assert_eq!(time("expires_at").since(time("created_at")).as_secs(), 60);
    // Without a terminal the flag is not needed.
    assert_eq!(serde_json::from_str::<Value>(&on(&gateway, &["approvals"]).1).unwrap(), json!([question]));
}

struct Watcher {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watcher {
    fn start(gateway: &Gateway, arguments: &[&str]) -> Watcher {
        let mut command = Command::new(BINARY);
        command.args(arguments).current_dir(&gateway.folder.0).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Watcher { child, lines }
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn watching_prints_one_object_per_line() {
    let mut gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    ask(&mut agent, "first");
    let first = gateway.question();
    let mut watcher = Watcher::start(&gateway, &["approvals", "--watch", "--json"]);
    let question = watcher.next();
    assert_eq!(members(&question), BTreeSet::from(QUESTION));
    assert_eq!(question["request_id"], first.as_str());
    ask(&mut agent, "second");
    let second = watcher.next();
    assert_eq!(second["args"]["text"], "second");
    assert_eq!(on(&gateway, &["approve", &first]).0, 0);
    let settled = watcher.next();
    assert_eq!((&settled["request_id"], &settled["settled"]), (&json!(first), &json!("approved")));
    assert!(settled["by"].as_str().unwrap().starts_with("local:"), "{settled}");
    assert_eq!(watcher.next()["finished"], "executed");
    gateway.terminate();
    assert!(watcher.lines.next().is_none());
    assert_eq!(watcher.child.wait().unwrap().code(), Some(3));
}

#[test]
fn a_person_answers_in_a_terminal() {
    let gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let long = "a long text ".repeat(20);
    let first = ask(&mut agent, &long);
    gateway.question();
    let mut laptop = Agent::login(gateway.address, LAPTOP);
    let second = ask(&mut laptop, "second");
    eventually("two questions", || (gateway.questions().len() == 2).then_some(()));
    // What the time left is written over with, a second after the question came up.
    let tick = "\x1b7\r";
    let talk = [
        ("(1 more waiting)", "y\n"),
        ("only just come up", ""),
        (tick, "maybe\n"),
        ("y approves, n denies", ""),
        ("approve? [y/n] ", "y\n"),
        (": approved by local:", ""),
        ("text      second", ""),
        (tick, "n not now\n"),
        ("denied by local:", "\x03"),
    ];
    let (code, screen) = terminal::run(&gateway.folder, &["approvals", "--watch"], &talk);
    assert_eq!(code, 130, "{screen}");
    assert_eq!(agent.reply(first)["result"]["status"], "executed", "{screen}");
    let denied = laptop.reply(second);
    assert!(denied["error"].to_string().contains("not now"), "{denied}");
    // The question is wrapped by us, below its label, and nothing of it is lost.
    let words = screen.matches(" long").count();
    assert!(words == 20 && screen.contains("\n              text a long text"), "{words} of 20:\n{screen}");
    assert!(screen.lines().all(|line| line.chars().count() <= 80 || line.contains('\x1b')), "{screen}");
}

#[test]
fn a_person_grants_in_a_terminal() {
    let usual = Setup::default();
    let permissions =
        "rules: [{pattern: \"say*\", action: ask, grant: {for: [90s, 15m], uses: 3, scope: rule}}]\n"
            .to_owned();
    let gateway = Gateway::with(&Setup { permissions, ..usual });
    let mut agent = Agent::login(gateway.address, TOKEN);
    let wire = ask(&mut agent, "first");
    gateway.question();
    // What the time left is written over with, a second after the question came up.
    let tick = "\x1b7\r";
    let talk = [
        ("approve? [y/y 90s/y 15m/n] ", ""),
        (tick, "y please\n"),
        ("at most 5", ""),
        ("approve? ", ""),
        (tick, "y 1h\n"),
        ("not approved: at most 15 min can be granted here", ""),
        ("approve? ", ""),
        (tick, "y 15m 2\n"),
        (", 2 uses left, until", "\x03"),
    ];
    let (code, screen) = terminal::run(&gateway.folder, &["approvals", "--watch"], &talk);
    assert_eq!(code, 130, "{screen}");
    assert_eq!(agent.reply(wire)["result"]["status"], "executed", "{screen}");
    let reply = agent.request("say", json!({"text": "second"}));
    assert_eq!(reply["result"]["grant"]["uses_left"], 1, "{reply}");
}

#[test]
fn tables_fit_the_terminal() {
    let (gateway, _agent) = history();
    let id = gateway.audit()[1]["request_id"].as_str().unwrap().to_owned();
    for (command, part) in [
        (&["audit", "list"][..], "TIME (UTC)  ID        AGENT    DECIDED BY  OUTCOME   CALL"),
        (&["audit", "show", &id], "  arguments  pin   •••\n             text  hello\n"),
        (&["audit", "stats"], "5 calls, 5 of them in the last 24 hours"),
        (&["approvals"], "nothing waits for an answer"),
        (&["status"], "  services    home  "),
        (&["explain", "drop_all"], "deny: drop_all\n"),
        (&["--help"], "Commands:"),
        (&["audit", "list", "--help"], "Usage: agentpass audit list [--tool <tool>]"),
    ] {
        let (code, screen) = terminal::run(&gateway.folder, command, &[]);
        assert_eq!(code, 0, "{command:?}: {screen}");
        assert!(screen.contains(part), "{part:?} is missing in\n{screen}");
        let long = screen.lines().find(|line| line.chars().count() > 84);
        assert_eq!(long, None, "{command:?}");
    }
}

#[test]
fn terminals_have_colours_and_files_none() {
    let (gateway, _agent) = history();
    for (command, coloured) in [
        (&["explain", "drop_all"][..], "\x1b[31mdeny\x1b[0m: drop_all"),
        (&["audit", "list"], "\x1b[31mdenied\x1b[0m "),
        (&["explain", "say", "--agent", "x"], "\x1b[31magentpass:\x1b[0m could not"),
    ] {
        let (_, screen) = terminal::in_colour(&gateway.folder, command);
        assert!(screen.contains(coloured), "{screen:?}");
        let (_, out, err) = on(&gateway, command);
        assert!(!out.contains('\x1b') && !err.contains('\x1b'), "{out}{err}");
        assert!(!terminal::run(&gateway.folder, command, &[]).1.contains('\x1b'));
    }
}

#[test]
fn an_answer_says_what_became_of_it() {
    let gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let call = ask(&mut agent, "hello");
    let id = gateway.question();
    let resolved = gateway.json(&["approve", &id, "--json"]);
    assert_eq!(resolved, json!({"outcome": "resolved", "request_id": id}));
    assert_eq!(agent.reply(call)["result"]["status"], "executed");
    let (code, out, err) = on(&gateway, &["deny", &id, "--json"]);
    let again: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, err.as_str()), (5, ""));
    let by = gateway.row(&id)["resolved_by"].clone();
    let told =
        json!({"outcome": "already_resolved", "request_id": id, "resolution": "approved", "resolved_by": by});
    assert_eq!(again, told);
    let (code, out, _) = on(&gateway, &["approve", "ffffffff-0000-4000-8000-000000000000", "--json"]);
    assert_eq!((code, &serde_json::from_str::<Value>(&out).unwrap()["outcome"]), (5, &json!("unknown")));

    let (code, out, err) = on(&gateway, &["approve", &id]);
    assert_eq!((code, out.as_str()), (5, ""));
    assert!(err.starts_with("agentpass: could not approve: it has been approved already by local:"), "{err}");
    let (code, _, err) = on(&gateway, &["deny", "ffffffff"]);
    assert_eq!(code, 5);
    assert!(err.starts_with("agentpass: could not deny: there is no such open question\n  help: "), "{err}");
}

#[test]
fn ids_may_be_shortened_and_a_no_may_have_a_reason() {
    let gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let call = ask(&mut agent, "hello");
    let id = gateway.question();
    let (code, out, err) = on(&gateway, &["deny", &id[..8], "--note", "not at night"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, format!("{id} is denied\n"));
    let reply = agent.reply(call);
    assert_eq!(reply["error"]["code"], -32001, "{reply}");
    assert!(reply.to_string().contains("not at night"), "{reply}");
    assert_eq!(gateway.row(&id)["note"], "not at night");
    assert!(gateway.upstream.seen().is_empty());
}

#[test]
fn approve_tells_how_the_call_went() {
    let gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let call = ask(&mut agent, "hello");
    let id = gateway.question();
    // One character is enough while nothing else begins with it.
    let (code, out, err) = on(&gateway, &["approve", &id[..1]]);
    assert_eq!((code, out, err), (0, format!("{id} is approved\nexecuted\n"), String::new()));
    let (code, _, err) = on(&gateway, &["approve", &id[..8]]);
    assert_eq!(code, 5);
    assert!(err.contains("it has been approved already by local:"), "{err}");
    agent.reply(call);

    let long = "x".repeat(501);
    let call = ask(&mut agent, "again");
    let id = gateway.question();
    let (code, _, err) = on(&gateway, &["deny", &id, "--note", &long]);
    assert_eq!(code, 4);
    assert!(err.contains("the note has 501 characters, and 500 is the most"), "{err}");
    assert_eq!(gateway.questions().len(), 1, "still open");
    gateway.say_no(&id);
    agent.reply(call);
}

#[test]
fn mistyped_words_get_the_right_one() {
    let folder = files(&Setup::default());
    for (arguments, expected) in [
        (&["aprove", "x"][..], "did you mean approve?"),
        (&["audit", "lst"], "did you mean list?"),
        (&["audit", "list", "--agnet", "x"], "did you mean --agent?"),
        (&["request", "say", "--timout", "5"], "did you mean --timeout?"),
        (&["explain", "say", "--agent", "lapptop"], "did you mean \"laptop\"?"),
        (&["explain", "say", "--agent", "nobody"], "the agents are default, laptop"),
    ] {
        let (code, _, err) = ran(&folder, arguments);
        assert_eq!(code, 4, "{arguments:?}");
        assert!(err.contains(&format!("\n  help: {expected}")), "{arguments:?}: {err}");
    }
    for (arguments, expected) in [
        (&["explain", "sya"][..], "did you mean \"say\"?"),
        (&["explain", "render", "templat=x"], "did you mean \"template\"?"),
        (&["explain", "call_service", "domain=Light", "service=on"], "it matches ^[a-z_]+$"),
        (&["explain", "get_state", "entity_id=a*"], "it holds none of * ? [ ] ( ) ,"),
    ] {
        let (code, out, _) = ran(&folder, arguments);
        assert_eq!(code, 0, "{arguments:?}");
        let flat = out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(&format!("help: {expected}")), "{arguments:?}: {out}");
    }
}

#[test]
fn values_are_read_as_the_tool_declares_them() {
    let tools = format!(
        "{}  count:\n    args: {{n: {{type: integer, required: true, description: How many}}, text: {{}}}}\n    extra_args: refuse\n    \
         request: {{method: POST, path: \"/api/count\"}}\n",
        Setup::default().tools
    );
    let permissions = format!(
        "{}  - {{pattern: \"*\", action: ask}}\n",
        "rules:\n  - {pattern: count, action: allow}\ndefaults:\n"
    );
    let gateway = Gateway::with(&Setup { tools, permissions, ..Setup::default() });
    let url = format!("ws://{}", gateway.address);
    let request = |arguments: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(["request", "--url", &url]).args(arguments).env("AGENT_TOKEN", TOKEN);
        told(command.output().unwrap())
    };
    let (code, _, err) = request(&["count", "n=12", "text=7"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let sent: Value = serde_json::from_str(&gateway.upstream.seen()[0].body).unwrap();
    assert_eq!(sent, json!({"n": 12, "text": "7"}));
    let (code, _, err) = request(&["count", "n=twelve"]);
    assert!(code == 4 && err.contains("\n  help: it is of type integer; How many"), "{err}");
    let (code, _, err) = request(&["count", "n=1", "--timeout", "1.5s"]);
    assert!(
        code == 4 && err.contains("a number of seconds above 0\n  help: agentpass request --help"),
        "{err}"
    );
    let (code, _, err) = request(&["cuont", "n=1"]);
    assert!(code == 5 && err.contains("\n  help: did you mean \"count\"?"), "{err}");
    assert_eq!(gateway.upstream.seen().len(), 1);
}

#[test]
fn the_configuration_may_be_named_by_a_variable() {
    let (folder, elsewhere) = (files(&Setup::default()), Folder::new());
    let mut command = Command::new(BINARY);
    command.arg("check").current_dir(&elsewhere.0).env("AGENTPASS_CONFIG", folder.0.join("config.yaml"));
    assert_eq!(told(command.output().unwrap()).0, 0);
}

#[test]
fn help_names_values_and_short_forms() {
    let folder = Folder::new();
    let (code, out, _) = ran(&folder, &["help", "audit", "list"]);
    assert_eq!((code, &out), (0, &ran(&folder, &["audit", "list", "--help"]).1));
    for line in ["  --tool <tool>", "  --limit, -n <limit>", "  --config, -c <file>", "  --help, -h "] {
        assert!(out.contains(line), "{out}");
    }
    assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
}

#[test]
fn times_may_be_spans() {
    let gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.request("get_state", json!({"entity_id": "x"}));
    let listed = |since: &str| objects(&on(&gateway, &["audit", "list", "--json", "--since", since]).1).len();
    assert_eq!([listed("24h"), listed("2w"), listed("0s")], [1, 1, 0]);
    let (code, _, err) = on(&gateway, &["audit", "list", "-n", "x"]);
    assert!(code == 4 && err.contains("it must be a whole number"), "{err}");
    let (code, _, err) = on(&gateway, &["audit", "list", "--since", "yesterday"]);
    assert!(code == 4 && err.contains("--since is not a time such as 24h"), "{err}");
    let stats = gateway.json(&["audit", "stats", "--json"]);
    assert_eq!(stats["top_agents"], json!([{"agent_id": "default", "count": 1}]));
}

#[test]
fn an_id_that_is_not_unique_answers_nothing() {
    let config = Setup::default().config.replace("max_pending_approvals: 10", "max_pending_approvals: 40");
    let gateway = Gateway::with(&Setup { config, ..Setup::default() });
    let mut agent = Agent::login(gateway.address, TOKEN);
    // Seventeen ids that begin with one of sixteen digits.
    for n in 0..17 {
        ask(&mut agent, &n.to_string());
    }
    let ids =
        eventually("17 questions", || Some(gateway.questions()).filter(|questions| questions.len() == 17));
    let first = |question: &Value| question["request_id"].as_str().unwrap()[..1].to_owned();
    let mut seen = BTreeSet::new();
    let shared = ids.iter().map(first).find(|digit| !seen.insert(digit.clone())).unwrap();
    let (code, out, err) = on(&gateway, &["approve", &shared]);
    assert_eq!((code, out.as_str()), (5, ""));
    assert!(err.contains("several questions begin with this id\n  help: "), "{err}");
    assert_eq!(gateway.questions().len(), 17);
}

// status, reload, and finding the gateway

#[test]
fn status_has_its_members() {
    let gateway = Gateway::start();
    let _agent = Agent::login(gateway.address, LAPTOP);
    let status = gateway.json(&["status", "--json"]);
    for name in ["version", "uptime_s", "agents", "open_questions", "channels", "store", "services"] {
        assert!(status.get(name).is_some(), "{name} is missing in {status}");
    }
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["agents"]["laptop"]["connections"], 1);
    assert_eq!(status["agents"]["default"]["connections"], 0);
    assert_eq!(status["store"]["writable"], true);
    assert_eq!(status["channels"]["local"]["up"], true);
    assert!(status["services"]["home"].is_object() && status["uptime_s"].is_u64(), "{status}");
    let (code, text, _) = on(&gateway, &["status"]);
    assert_eq!(code, 0);
    for part in
        [concat!("agentpass ", env!("CARGO_PKG_VERSION"), ", up "), "none open", "laptop   1 connected"]
    {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(!text.contains(SERVICE_SECRET) && !status.to_string().contains(SERVICE_SECRET));
}

#[test]
fn status_names_the_next_step_until_there_is_none() {
    let bare = Setup::default();
    let at = bare.config.find("services:").unwrap();
    let rest = bare.config.find("storage:").unwrap();
    let config = format!("{}services: {{}}\n{}", &bare.config[..at], &bare.config[rest..]);
    let setup = Setup { config, permissions: "rules: []\n".into(), ..bare };
    let gateway = Gateway::with(&setup);
    let shown = || on(&gateway, &["status"]).1;
    assert!(shown().contains("\nNext: uncomment a service in config.yaml"), "{}", shown());
    gateway.configure(&Setup::default());
    assert_eq!(on(&gateway, &["reload"]).0, 0);
    assert!(
        shown().contains("export AGENTPASS_URL=ws://") && shown().contains("stands in .env"),
        "{}",
        shown()
    );
    assert!(!gateway.json(&["status", "--json"]).to_string().contains("export"));
    let _agent = Agent::login(gateway.address, TOKEN);
    let text = shown();
    assert!(!text.contains("Next") && !text.contains("export"), "{text}");
}

fn decision(agent: &mut Agent) -> String {
    let reply = agent.request("get_state", json!({"entity_id": "a"}));
    reply["result"]["status"].as_str().map_or_else(|| reply["error"]["code"].to_string(), str::to_owned)
}

#[test]
fn reload_takes_good_files_and_keeps_the_old_ones_otherwise() {
    let gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    assert_eq!(decision(&mut agent), "executed");
    let denying = |action: &str| Setup {
        permissions: format!("rules: [{{pattern: \"get_*\", action: {action}}}]\n"),
        ..Setup::default()
    };
    gateway.configure(&denying("deny"));
    let (code, out, _) = on(&gateway, &["reload"]);
    assert_eq!((code, out.as_str()), (0, "reloaded; the new configuration is in force\n"));
    assert_eq!(decision(&mut agent), "-32003");

    gateway.configure(&denying("alow"));
    let (code, out, err) = on(&gateway, &["reload"]);
    assert_eq!((code, out.as_str()), (78, ""));
    assert!(err.contains("unknown action \"alow\"\n  at permissions.yaml:1:36\n  help: "), "{err}");
    assert!(err.contains("agentpass: could not reload the configuration: "), "{err}");
    assert_eq!(decision(&mut agent), "-32003");

    // The same by signal.
    gateway.hang_up();
    eventually("the complaint", || gateway.log().contains("not reloaded: ").then_some(()));
    assert_eq!(decision(&mut agent), "-32003");
    gateway.configure(&denying("allow"));
    gateway.hang_up();
    eventually("the new rule", || (decision(&mut agent) == "executed").then_some(()));
}

#[test]
fn the_gateway_is_found_by_socket_or_configuration() {
    let gateway = Gateway::start();
    let elsewhere = Folder::new();
    let path = |name: &str| gateway.path(name).display().to_string();
    for option in [["--socket", &path("control.sock")], ["--config", &path("config.yaml")]] {
        for command in [&["status"][..], &["approvals"], &["reload"]] {
            let (code, _, err) = ran(&elsewhere, &[command, &option[..]].concat());
            assert_eq!(code, 0, "{command:?} {option:?}: {err}");
        }
    }
    assert_eq!(ran(&elsewhere, &["audit", "list", "--config", &path("config.yaml")]).0, 0);
    for command in [&["status"][..], &["approvals"], &["reload"], &["approve", "ab"], &["audit", "list"]] {
        let (code, out, err) = ran(&elsewhere, command);
        assert_eq!((code, out.as_str()), (78, ""), "{command:?}");
        assert!(err.contains("there is no such file\n  at config.yaml\n"), "{err}");
    }
}

#[test]
fn without_a_gateway_there_is_a_hint() {
    let folder = files(&Setup::default());
    for command in [&["status"][..], &["approvals"], &["approvals", "--watch"], &["reload"], &["deny", "ab"]]
    {
        let (code, out, err) = ran(&folder, command);
        assert_eq!((code, out.as_str()), (3, ""), "{command:?}");
        assert!(err.starts_with("agentpass: could not ") && err.contains("control.sock\n"), "{err}");
        assert!(err.ends_with("  help: is the gateway running? `agentpass serve` starts it\n"), "{err}");
    }
    let (code, _, err) = ran(&folder, &["audit", "list"]);
    assert_eq!(code, 5);
    assert!(err.contains("there is no record at ") && err.contains("help: start the gateway once"), "{err}");
}

#[test]
fn who_may_not_answer_is_told_so() {
    let gateway = Gateway::start();
    let open =
        |name: &str, mode| fs::set_permissions(gateway.path(name), fs::Permissions::from_mode(mode)).unwrap();
    open("config.yaml", 0o644);
    // As root the stranger is another user; otherwise it is the socket that lets nobody in.
    open("control.sock", if rustix::process::geteuid().is_root() { 0o660 } else { 0o000 });
    let (code, out, err) = told(stranger::run(&gateway.folder, &["approve", "ab"]));
    assert_eq!((code, out.as_str()), (3, ""), "{err}");
    assert!(
        err.contains("permission denied") && err.contains("help: only root and members of the group"),
        "{err}"
    );
}

// the record

fn history() -> (Gateway, Agent) {
    let gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.request("get_state", json!({"entity_id": "a"}));
    agent.request("call_service", json!({"domain": "lock", "service": "unlock"}));
    agent.request("nosuch", json!({}));
    let call = ask(&mut agent, "hello");
    let id = gateway.question();
    gateway.json(&["approve", &id, "--json"]);
    agent.reply(call);
    gateway.upstream.answer(|_| Answer::Reply(404, "application/json", "{}".into()));
    let mut laptop = Agent::login(gateway.address, LAPTOP);
    laptop.request("get_state", json!({"entity_id": "b"}));
    (gateway, agent)
}

#[test]
fn the_list_is_one_object_per_line_newest_first() {
    let (gateway, mut agent) = history();
    ask(&mut agent, "open");
    let open = gateway.question();
    let (code, out, err) = on(&gateway, &["audit", "list", "--json"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let rows = objects(&out);
    let words =
        |name: &str| rows.iter().map(|row| row[name].as_str().unwrap_or("-").to_owned()).collect::<Vec<_>>();
    assert_eq!(words("tool_name"), ["say", "get_state", "say", "nosuch", "call_service", "get_state"]);
    assert_eq!(words("decision"), ["ask", "allow", "ask", "-", "deny", "allow"]);
    assert_eq!(words("outcome"), ["pending", "failed", "executed", "refused", "denied", "executed"]);
    assert_eq!(words("resolution"), ["-", "-", "approved", "-", "-", "-"]);
    assert_eq!(words("agent_id"), ["default", "laptop", "default", "default", "default", "default"]);
    assert_eq!(words("request_id")[0], open);
    let named = [
        "request_id",
        "timestamp",
        "agent_id",
        "session_id",
        "tool_name",
        "args",
        "signature",
        "decision",
        "resolution",
        "resolved_by",
        "resolved_at",
        "outcome",
        "execution_result",
    ];
    for row in &rows {
        assert!(named.iter().all(|name| row.get(name).is_some()), "{row}");
        assert!(!row.to_string().contains("4711"), "{row}");
    }
    let approved = &rows[2];
    assert!(approved["resolved_by"].as_str().unwrap().starts_with("local:"), "{approved}");
    assert_eq!(approved["args"], json!({"text": "hello", "pin": "•••"}));
    assert_eq!(approved["execution_result"], r#"{"ok":true}"#);
    let times: Vec<_> =
        rows.iter().map(|r| Timestamp::parse(r["timestamp"].as_str().unwrap()).unwrap()).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
}

#[test]
fn the_list_can_be_filtered() {
    let (gateway, _agent) = history();
    let rows = |options: &[&str]| {
        let (code, out, err) = on(&gateway, &[&["audit", "list"], options].concat());
        assert_eq!((code, err.as_str()), (0, ""), "{options:?}");
        objects(&out)
    };
    let all = rows(&[]);
    assert_eq!(all.len(), 5);
    for (options, count) in [
        (&["--tool", "get_state"][..], 2),
        (&["--tool", "*s*"], 5),
        (&["--tool", "say"], 1),
        (&["--agent", "laptop"], 1),
        (&["--agent", "nobody"], 0),
        (&["--decision", "allow"], 2),
        (&["--decision", "deny"], 1),
        (&["--outcome", "refused"], 1),
        (&["--outcome", "executed"], 2),
        (&["--limit", "2"], 2),
        (&["--since", "2020-01-01"], 5),
        (&["--until", "2020-01-01T00:00:00Z"], 0),
        (&["--tool", "get_state", "--outcome", "failed", "--agent", "laptop"], 1),
    ] {
        assert_eq!(rows(options).len(), count, "{options:?}");
    }
    let third = all[2]["timestamp"].as_str().unwrap();
    assert!(rows(&["--since", third]).iter().any(|row| row["request_id"] == all[2]["request_id"]));
    assert!(rows(&["--until", third]).iter().all(|row| row["request_id"] != all[2]["request_id"]));
    for option in
        [["--decision", "maybe"], ["--outcome", "good"], ["--since", "yesterday"], ["--limit", "many"]]
    {
        let (code, out, err) = on(&gateway, &[&["audit", "list"], &option[..]].concat());
        assert_eq!((code, out.as_str()), (4, ""), "{option:?}");
        assert!(err.contains(option[0]) && err.contains("\n  help: agentpass audit"), "{err}");
    }
}

#[test]
fn one_call_is_shown_with_its_events() {
    let (gateway, _agent) = history();
    let row = gateway.audit().remove(1);
    let id = row["request_id"].as_str().unwrap();
    let shown = gateway.json(&["audit", "show", &id[..8], "--json"]);
    assert_eq!(shown["request_id"], id);
    let events = shown["events"].as_array().unwrap();
    let kinds: Vec<_> = events.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["requested", "answered", "executing", "finished"]);
    for (id, cause) in [("ffffffff", "no such request"), ("no-id", "no such request")] {
        let (code, out, err) = on(&gateway, &["audit", "show", id]);
        assert_eq!((code, out.as_str()), (5, ""));
        assert!(err.contains(cause) && err.contains("help: `agentpass audit list`"), "{err}");
    }
}

#[test]
fn verify_finds_a_changed_row_and_names_it() {
    let (mut gateway, _agent) = history();
    let (code, out, _) = on(&gateway, &["audit", "verify"]);
    assert_eq!(code, 0);
    assert!(out.starts_with("whole: ") && out.contains(" events of 5 calls"), "{out}");
    gateway.terminate();
    let db = rusqlite::Connection::open(gateway.path("data/agentpass.db")).unwrap();
    let seq: i64 =
        db.query_row("SELECT min(seq) FROM events WHERE body LIKE '%lock%'", [], |row| row.get(0)).unwrap();
    let changed =
        db.execute("UPDATE events SET body = replace(body, 'lock', 'lamp') WHERE seq = ?", [seq]).unwrap();
    assert_eq!(changed, 1);
    drop(db);
    let (code, out, err) = on(&gateway, &["audit", "verify"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.starts_with("agentpass: could not verify the record: ") && err.contains(&seq.to_string()),
        "{err}"
    );
}

#[test]
fn an_export_can_be_verified_elsewhere() {
    let (gateway, _agent) = history();
    let (code, export, err) = on(&gateway, &["audit", "export"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(objects(&export).len() > 8, "{export}");
    let elsewhere = Folder::new();
    put(&elsewhere, "export.jsonl", &export);
    let file = elsewhere.0.join("export.jsonl").display().to_string();
    let (code, out, err) = on(&gateway, &["audit", "verify", &file]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("whole: ") && !out.contains("the order only"), "{out}");
    // Another machine has no configuration and no key: the order is still proven.
    let (code, out, err) = ran(&elsewhere, &["audit", "verify", "export.jsonl"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("the order only"), "{out}");

    put(&elsewhere, "export.jsonl", &export.replacen("lock", "lamp", 1));
    let (code, _, err) = on(&gateway, &["audit", "verify", &file]);
    assert_eq!(code, 1, "{err}");
    let (code, _, err) = ran(&elsewhere, &["audit", "verify", "nosuch.jsonl"]);
    assert_eq!(code, 5);
    assert!(err.contains("\n  at nosuch.jsonl\n"), "{err}");
}

#[test]
fn stats_count() {
    let (gateway, _agent) = history();
    let stats = gateway.json(&["audit", "stats", "--json"]);
    assert_eq!((&stats["total_requests"], &stats["last_24h"]), (&json!(5), &json!(5)));
    assert_eq!(stats["approval_rate"], 1.0);
    assert_eq!(stats["decision_breakdown"], json!({"allow": 2, "ask": 1, "deny": 1}));
    assert_eq!(stats["outcome_breakdown"], json!({"executed": 2, "denied": 1, "failed": 1, "refused": 1}));
    assert_eq!(stats["top_tools"][0], json!({"tool_name": "get_state", "count": 2}));
    let none = gateway.json(&["audit", "stats", "--until", "2020-01-01"]);
    assert_eq!((&none["total_requests"], &none["approval_rate"]), (&json!(0), &json!(null)));
}

#[test]
fn nobody_has_to_read_to_the_end() {
    let (gateway, _agent) = history();
    for command in [
        &["--help"][..],
        &["approvals", "--json"],
        &["status"],
        &["audit", "list", "--json"],
        &["audit", "export"],
        &["audit", "stats"],
        &["explain", "drop_all", "--json"],
    ] {
        let mut child = Command::new(BINARY);
        child.args(command).current_dir(&gateway.folder.0).stdin(Stdio::null());
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let (code, _, err) = told(child.wait_with_output().unwrap());
        assert_eq!((code, err.as_str()), (0, ""), "{command:?}");
    }
}

#[test]
fn channels_are_listed_and_tested() {
    let gateway = Gateway::start();
    let (code, out, _) = on(&gateway, &["channels", "--json"]);
    let rows: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, rows.as_array().unwrap().len()), (0, 1), "{rows}");
    assert_eq!(
        [&rows[0]["name"], &rows[0]["type"], &rows[0]["up"]],
        [&json!("local"), &json!("local"), &json!(true)]
    );
    assert!(on(&gateway, &["channels"]).1.contains("local"));
    let (code, out, _) = on(&gateway, &["channels", "test", "local"]);
    assert!(code == 0 && out.contains("nothing is sent"), "{out}");
    let (code, _, err) = on(&gateway, &["channels", "test", "nowhere"]);
    assert!(code == 5 && err.contains("no such channel"), "{code} {err}");
}
