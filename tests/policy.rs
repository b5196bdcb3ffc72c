//! Trying a policy before it counts: starters and recipes with their tests, the record judged anew.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use harness::gateway::TOKEN;
use harness::{Agent, Answer, BINARY, Folder, Gateway, Setup, error};
use serde_json::{Value, json};

const STARTERS: [&str; 9] = [
    "home",
    "read-only",
    "ask-everything",
    "deny-by-default",
    "spend-cap",
    "pii-egress",
    "refunds",
    "shell-and-browser",
    "mcp-tools",
];

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(folder).env_remove("AGENTPASS_CONFIG").env_remove("NOTIFY_SOCKET");
    command.output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The lines of a test run, which must have passed.
fn passed(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    stdout(&output)
}

#[test]
fn every_starter_is_right_and_passes_its_tests() {
    for starter in STARTERS {
        let folder = Folder::new();
        passed(&folder.0, &["init", "gateway", "--starter", starter]);
        let own = folder.0.join("gateway");
        let check = run(&own, &["check", "--json"]);
        let findings: Value = serde_json::from_str(&stdout(&check)).unwrap();
        assert_eq!(findings["ok"], true, "{starter}: {findings:#}");
        // Everything but the places that are machine's own: names that are looked up, the port.
        let warnings = findings["findings"].as_array().unwrap().iter();
        let of_policy = |finding: &&Value| !finding["file"].as_str().unwrap().ends_with("config.yaml");
        let of_policy: Vec<_> = warnings.filter(of_policy).collect();
        assert!(of_policy.is_empty(), "{starter}: {of_policy:#?}");
        let lines = passed(&own, &["policy", "test"]);
        assert!(lines.lines().count() >= 3, "{starter}: {lines}");
        assert!(lines.lines().all(|line| line.starts_with("ok ")), "{starter}: {lines}");
        // From another directory, as the next steps say.
        passed(&folder.0, &["policy", "test", "--config", "gateway/config.yaml"]);
        let help = stdout(&run(&folder.0, &["init", "--help"]));
        assert!(help.split(|c: char| c.is_whitespace() || c == ',').any(|word| word == starter), "{help}");
    }
    let unknown = run(Path::new("."), &["init", "nowhere", "--starter", "hoem"]);
    assert_eq!(unknown.status.code(), Some(4));
    assert!(stderr(&unknown).contains("did you mean \"home\"?"), "{}", stderr(&unknown));
    assert!(!Path::new("nowhere").exists());
}

// The recipes of docs/policy.md.

/// The YAML blocks of a part of the page that begin with the name of a file, by that name.
fn files_of(recipe: &str) -> Vec<(&str, &str)> {
    let blocks = recipe.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.filter_map(|block| Some((block.lines().next()?.strip_prefix("# ")?, block))).collect()
}

const CONFIG: &str = r#"
gateway: {host: "127.0.0.1", port: 0, health_port: off}
agents:
  default: {token: "a-token-of-the-default-agent"}
  laptop: {token: "a-token-of-the-laptop-agent", groups: [admins]}
people: {anna: {local: anna}, ben: {local: ben}}
messenger: {type: local}
services:
  example: {url: "http://127.0.0.1:9", auth: {type: none}, tools: "tools.yaml"}
"#;

#[test]
fn every_recipe_of_the_page_is_right_and_passes_its_tests() {
    let page = include_str!("../docs/policy.md");
    let recipes: Vec<&str> = page.split("\n## ").filter(|part| part.starts_with(char::is_numeric)).collect();
    assert_eq!(recipes.len(), 11);
    for recipe in recipes {
        let title = recipe.lines().next().unwrap();
        let (folder, files) = (Folder::new(), files_of(recipe));
        let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["tools.yaml", "permissions.yaml", "tests.yaml"], "{title}");
        fs::write(folder.0.join("config.yaml"), CONFIG).unwrap();
        files.iter().for_each(|(name, text)| fs::write(folder.0.join(name), text).unwrap());
        let findings = run(&folder.0, &["check", "--insecure", "--json"]);
        let findings: Value = serde_json::from_str(&stdout(&findings)).unwrap();
        let wrong = |finding: &&Value| !finding["file"].as_str().unwrap().ends_with("config.yaml");
        let wrong: Vec<_> = findings["findings"].as_array().unwrap().iter().filter(wrong).collect();
        assert!(wrong.is_empty(), "{title}: {wrong:#?}");
        let lines = passed(&folder.0, &["policy", "test", "tests.yaml"]);
        assert!(lines.lines().all(|line| line.starts_with("ok ")), "{title}: {lines}");
    }
}

// What `policy test` says.

const LAMPS: &str = r#"
rules:
  - {pattern: "lamp(*)", action: allow, description: "Lamps"}
  - {pattern: "lock", action: deny}
limits:
  - {name: lamps, pattern: "lamp(*)", per: [agent], count: calls, window: 1h, ask_above: 20}
"#;

const TOOLS: &str = r#"
tools:
  lamp:
    description: "Switch a lamp"
    signature: "{lamp}"
    args: {lamp: {required: true}}
    request: {method: POST, path: "/{lamp}"}
  lock:
    description: "Open the door"
    request: {method: POST, path: "/lock"}
"#;

/// A folder with a policy, and this tests file in its place.
fn with_tests(tests: &str) -> Folder {
    let folder = Folder::new();
    let write = |name: &str, text: &str| fs::write(folder.0.join(name), text).unwrap();
    write("config.yaml", CONFIG);
    write("permissions.yaml", LAMPS);
    write("tools.yaml", TOOLS);
    fs::create_dir(folder.0.join("tests")).unwrap();
    write("tests/lamps.yaml", tests);
    folder
}

#[test]
fn a_failure_is_shown_with_what_was_expected_and_what_came() {
    let folder = with_tests(
        r#"
tests:
  - {name: lamp, call: {tool: lamp, args: {lamp: hall}}, expect: {decision: allow, rule: "Lamps", reasons: []}}
  - {name: lock, call: {tool: lock}, expect: {decision: ask, rule: "Doors", reasons: [asked_by_rule]}}
  - {name: by pattern, call: {tool: lock}, expect: {decision: deny, rule: "lock", reasons: [denied_by_policy]}}
  - {name: nothing there, call: {tool: door}, expect: {decision: invalid, reasons: [unknown_tool]}}
  - {name: no lamp, call: {tool: lamp}, expect: allow}
"#,
    );
    let output = run(&folder.0, &["policy", "test"]);
    assert_eq!(output.status.code(), Some(1));
    let expected = "ok    lamp
FAIL  lock (tests/lamps.yaml)
      - decision: ask
      + decision: deny
      - rule: Doors
      + rule: lock
      - reasons: [asked_by_rule]
      + reasons: [denied_by_policy]
ok    by pattern
ok    nothing there
FAIL  no lamp (tests/lamps.yaml)
      - decision: allow
      + decision: invalid
";
    assert_eq!(stdout(&output), expected);
    assert!(stderr(&output).contains("3 passed, 2 failed"), "{}", stderr(&output));
    let output = run(&folder.0, &["policy", "test", "--json", "tests/lamps.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let shown: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(shown[0]["passed"], true);
    let lock = json!({
        "file": "tests/lamps.yaml", "name": "lock", "passed": false,
        "expected": {"decision": "ask", "rule": "Doors", "reasons": ["asked_by_rule"]},
        "got": {"decision": "deny", "rule": "lock", "reasons": ["denied_by_policy"]},
    });
    assert_eq!(shown[1], lock);
}

#[test]
fn a_tests_file_with_a_mistake_tests_nothing() {
    let call = "call: {tool: lock}";
    for (tests, finding) in [
        ("", "tests is missing"),
        ("tests: []", "there are no tests in the file"),
        ("test: []", "unknown key \"test\""),
        (&*format!("tests: [{{{call}, expect: deny}}]"), "name is missing"),
        (&*format!("tests: [{{name: a, {call}}}]"), "expect is missing"),
        (&*format!("tests: [{{name: a, {call}, expect: }}]"), "expect has no value"),
        (&*format!("tests: [{{name: a, {call}, expect: no}}]"), "unknown expect \"no\""),
        (&*format!("tests: [{{name: a, {call}, expect: {{rule: x}}}}]"), "decision is missing"),
        (
            &*format!("tests: [{{name: a, {call}, expect: {{decision: deny, why: x}}}}]"),
            "unknown key \"why\"",
        ),
        (&*format!("tests: [{{name: a, agnet: x, {call}, expect: deny}}]"), "unknown key \"agnet\""),
        (&*format!("tests: [{{name: a, agent: x, {call}, expect: deny}}]"), "there is no agent \"x\""),
        (&*format!("tests: [{{name: a, at: noon, {call}, expect: deny}}]"), "\"noon\" is not a time"),
        (&*format!("tests: [{{name: a, counts: {{doors: 1}}, {call}, expect: deny}}]"), "no limit \"doors\""),
        (&*format!("tests: [{{name: a, counts: {{lamps: -1}}, {call}, expect: deny}}]"), "at least 0"),
        (&*format!("tests: [{{name: a, counts: {{lamps: many}}, {call}, expect: deny}}]"), "at least 0"),
        (
            &*format!("tests: [{{name: a, read: [{{labels: [pii]}}], {call}, expect: deny}}]"),
            "from is missing",
        ),
        ("tests: [{name: a, call: {args: {}}, expect: deny}]", "tool is missing"),
        ("tests: [{name: a, call: {tool: lock, arguments: {}}, expect: deny}]", "unknown key \"arguments\""),
        ("tests: [{name: a, call: {tool: lock, args: [1]}, expect: deny}]", "args must be a section of keys"),
    ] {
        let folder = with_tests(tests);
        let output = run(&folder.0, &["policy", "test"]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{tests}: {}{said}", stdout(&output));
        assert!(said.contains("cannot load tests") && said.contains(finding), "{tests}: {said}");
        assert!(said.contains("tests/lamps.yaml"), "{tests}: {said}");
        assert_eq!(stdout(&output), "", "{tests}");
    }
}

#[test]
fn without_a_tests_file_nothing_has_passed() {
    let folder = with_tests("tests: [{name: a, call: {tool: lock}, expect: deny}]");
    assert_eq!(passed(&folder.0, &["policy", "test"]), "ok    a\n");
    let missing = run(&folder.0, &["policy", "test", "tests/doors.yaml"]);
    assert_eq!(missing.status.code(), Some(78));
    assert!(stderr(&missing).contains("there is no such file"), "{}", stderr(&missing));
    fs::remove_file(folder.0.join("tests/lamps.yaml")).unwrap();
    for _ in 0..2 {
        let none = run(&folder.0, &["policy", "test"]);
        assert_eq!(none.status.code(), Some(78), "{}", stderr(&none));
        assert!(stderr(&none).contains("there is no tests file"), "{}", stderr(&none));
        let _ = fs::remove_dir(folder.0.join("tests"));
    }
    fs::write(folder.0.join("permissions.yaml"), "rules: [{}]").unwrap();
    assert_eq!(run(&folder.0, &["policy", "test"]).status.code(), Some(78));
}

// The record, judged anew.

/// The usual gateway, where some calls have been made: reading is allowed, a lamp is asked about, a lock is denied.
fn with_a_record() -> Gateway {
    let gateway = Gateway::start();
    gateway.upstream.answer(|_| Answer::json("[]"));
    let mut agent = Agent::login(gateway.address, TOKEN);
    for _ in 0..2 {
        let read = agent.request("get_state", json!({"entity_id": "sensor.hall"}));
        assert_eq!(read["result"]["status"], "executed", "{read}");
    }
    let lamp = |service: &str| json!({"domain": "light", "service": service, "entity_id": "light.hall"});
    for service in ["turn_on", "toggle"] {
        let id = agent.send("tool_request", json!({"tool": "call_service", "args": lamp(service)}));
        let question = agent.asked();
        assert_eq!(gateway.approve(&question), "resolved");
        assert_eq!(agent.reply(id)["result"]["status"], "executed");
    }
    let lock = json!({"domain": "lock", "service": "unlock", "entity_id": "lock.front"});
    assert_eq!(error(&agent.request("call_service", lock)).1, "denied_by_policy");
    let said = agent.send("tool_request", json!({"tool": "say", "args": {"text": "hi", "pin": "1234"}}));
    let question = agent.asked();
    assert_eq!(gateway.approve(&question), "resolved");
    assert_eq!(agent.reply(said)["result"]["status"], "executed");
    gateway
}

#[test]
fn a_replay_says_what_would_have_been_decided_otherwise() {
    let gateway = with_a_record();
    let same = gateway.cli(&["policy", "replay"]);
    assert_eq!((same.status.code(), &*stdout(&same)), (Some(0), ""), "{}", stderr(&same));
    assert!(stderr(&same).contains("0 of 6 calls would be decided otherwise"), "{}", stderr(&same));

    let other = r#"
rules:
  - {pattern: "call_service(light.turn_on, *)", action: allow}
  - {pattern: "say", when: {pin: {eq: "1234"}}, action: deny}
defaults:
  - {pattern: "*", action: ask}
"#;
    fs::write(gateway.path("other.yaml"), other).unwrap();
    let replay = gateway.cli(&["policy", "replay", "--permissions", "other.yaml"]);
    assert_eq!(replay.status.code(), Some(1), "{}", stderr(&replay));
    let text = stdout(&replay);
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines.remove(0),
        "2 × get_state(sensor.hall): was allow, would be ask",
        "the most first: {text}"
    );
    lines.sort_unstable();
    let expected = [
        "1 × call_service(light.turn_on, light.hall): was ask, would be allow",
        "1 × call_service(lock.unlock, lock.front): was deny, would be ask",
    ];
    assert_eq!(lines, expected, "the redacted pin is not the one that is denied: {text}");
    assert!(stderr(&replay).contains("4 of 6 calls"), "{}", stderr(&replay));

    let none = gateway.cli(&["policy", "replay", "--permissions", "other.yaml", "--agent", "laptop"]);
    assert_eq!((none.status.code(), &*stdout(&none)), (Some(0), ""));
    let none = gateway.cli(&["policy", "replay", "--permissions", "other.yaml", "--since", "2999-01-01"]);
    assert_eq!(none.status.code(), Some(0));
    let wrong = gateway.cli(&["policy", "replay", "--since", "yesterday"]);
    assert_eq!(wrong.status.code(), Some(4));
    let missing = gateway.cli(&["policy", "replay", "--permissions", "none.yaml"]);
    assert_eq!(missing.status.code(), Some(78));

    let all = "rules: []\ndefaults: [{pattern: \"*\", action: deny}]\n";
    fs::write(gateway.path("other.yaml"), all).unwrap();
    let json = gateway.cli(&["policy", "replay", "--permissions", "other.yaml", "--json"]);
    assert_eq!(json.status.code(), Some(1));
    let groups: Value = serde_json::from_str(&stdout(&json)).unwrap();
    let say = groups.as_array().unwrap().iter().find(|group| group["tool"] == "say").unwrap();
    assert_eq!(
        (&say["was"], &say["would_be"], &say["redacted"]),
        (&json!("ask"), &json!("deny"), &json!(true))
    );
    assert_eq!(say["reasons"][0]["reason"], "denied_by_policy");
    assert_eq!((&groups[0]["count"], &groups[0]["agents"]), (&json!(2), &json!(["default"])));
}

#[test]
fn limits_are_counted_on_the_way_as_they_would_have_been() {
    let gateway = Gateway::start();
    gateway.upstream.answer(|_| Answer::json("[]"));
    let mut agent = Agent::login(gateway.address, TOKEN);
    for room in 0..6 {
        let read = agent.request("get_state", json!({"entity_id": format!("sensor.room{room}")}));
        assert_eq!(read["result"]["status"], "executed", "{read}");
    }
    let limited = r#"
rules: [{pattern: "get_*", action: allow}]
limits:
  - {name: reads, pattern: "get_*", per: [agent], count: calls, window: 1h, ask_above: 2, deny_above: 4}
"#;
    fs::write(gateway.path("limited.yaml"), limited).unwrap();
    let replay = gateway.cli(&["policy", "replay", "--permissions", "limited.yaml"]);
    let mut lines: Vec<String> = stdout(&replay).lines().map(str::to_owned).collect();
    lines.sort_unstable();
    let line = |room, decision| format!("1 × get_state(sensor.room{room}): was allow, would be {decision}");
    assert_eq!(lines, [line(2, "ask"), line(3, "ask"), line(4, "deny"), line(5, "deny")]);
}

#[test]
fn tests_from_the_record_pass_as_they_are() {
    let gateway = with_a_record();
    let written = gateway.cli(&["policy", "test", "--from-record", "--since", "1h"]);
    assert_eq!(written.status.code(), Some(0), "{}", stderr(&written));
    let file = gateway.path("tests/from-record.yaml");
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.matches("  - name:").count(), 5, "each call once: {text}");
    assert!(text.contains("are redacted") && !text.contains("1234"), "{text}");
    let tested = gateway.cli(&["policy", "test"]);
    assert_eq!(tested.status.code(), Some(0), "{}{}", stdout(&tested), stderr(&tested));
    let again = gateway.cli(&["policy", "test", "--from-record"]);
    assert_eq!(again.status.code(), Some(5), "a file that exists is left alone");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    let elsewhere = gateway.cli(&["policy", "test", "--from-record", "mine.yaml"]);
    assert_eq!(elsewhere.status.code(), Some(0), "{}", stderr(&elsewhere));
    assert_eq!(fs::read_to_string(gateway.path("mine.yaml")).unwrap(), text);
    let nothing = gateway.cli(&["policy", "test", "--from-record", "--since", "2999-01-01", "none.yaml"]);
    assert_eq!(nothing.status.code(), Some(5));
    assert!(!gateway.path("none.yaml").exists());
    assert_eq!(gateway.cli(&["policy", "test", "--since", "1h"]).status.code(), Some(4));
}

#[test]
fn what_the_record_does_not_hold_is_not_guessed() {
    let tools = "  keep:\n    description: \"Keeps a file\"\n    args: {file: {type: bytes, required: true}}
    extra_args: refuse\n    request: {method: POST, path: \"/files\"}\n";
    let usual = Setup::default();
    let gateway = Gateway::with(&Setup { tools: format!("{}{tools}", usual.tools), ..usual });
    gateway.upstream.answer(|_| Answer::json("{}"));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let long =
        json!({"domain": "lock", "service": "unlock", "entity_id": "lock.front", "note": "x".repeat(5000)});
    assert_eq!(error(&agent.request("call_service", long)).1, "denied_by_policy");
    let kept = agent.send("tool_request", json!({"tool": "keep", "args": {"file": "AAECAw=="}}));
    let question = agent.asked();
    assert_eq!(gateway.approve(&question), "resolved");
    assert_eq!(agent.reply(kept)["result"]["status"], "executed");

    fs::write(gateway.path("other.yaml"), "rules: [{pattern: \"*\", action: allow}]").unwrap();
    let replay = gateway.cli(&["policy", "replay", "--permissions", "other.yaml"]);
    assert_eq!(replay.status.code(), Some(0), "no difference is known: {}", stderr(&replay));
    let mut lines: Vec<String> = stdout(&replay).lines().map(str::to_owned).collect();
    lines.sort_unstable();
    let expected = [
        "1 × call_service(lock.unlock, lock.front): was deny, cannot be judged: its arguments were redacted",
        "1 × keep: was ask, cannot be judged: its arguments were redacted",
    ];
    assert_eq!(lines, expected);
    let written = gateway.cli(&["policy", "test", "--from-record"]);
    assert_eq!(written.status.code(), Some(5), "there is nothing to test: {}", stderr(&written));
    let read = agent.request("get_state", json!({"entity_id": "sensor.hall"}));
    assert_eq!(read["result"]["status"], "executed", "{read}");
    assert!(gateway.cli(&["policy", "test", "--from-record"]).status.success());
    let text = fs::read_to_string(gateway.path("tests/from-record.yaml")).unwrap();
    assert_eq!((text.matches("left out").count(), text.matches("- name:").count()), (2, 1), "{text}");
}

// The starter that guards personal data, in a gateway that runs.

fn starter_setup(name: &str) -> Setup {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/starters").join(name);
    let text = |file: &str| fs::read_to_string(root.join(file)).unwrap();
    Setup { tools: text("tools.yaml"), permissions: text("permissions.yaml"), ..Setup::default() }
}

#[test]
fn who_has_read_a_customer_and_a_web_page_is_not_allowed_to_mail_a_stranger() {
    let gateway = Gateway::with(&starter_setup("pii-egress"));
    gateway.upstream.answer(|_| Answer::json("{}"));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let mail = |to: &str| json!({"to": to, "subject": "Hello", "text": "As you asked"});
    let within = agent.request("mail_send", mail("anna@office.example"));
    assert_eq!(within["result"]["status"], "executed", "nothing was read: {within}");

    for (tool, args) in
        [("crm_find_customer", json!({"id": 7})), ("web_read", json!({"url": "https://news.example/"}))]
    {
        let read = agent.request(tool, args);
        assert_eq!(read["result"]["status"], "executed", "{read}");
    }
    for receiver in ["mallory@elsewhere.example", "anna@office.example"] {
        let sent = agent.send("tool_request", json!({"tool": "mail_send", "args": mail(receiver)}));
        let asked = agent.asked();
        let question = gateway.questions().into_iter().find(|q| q["request_id"] == *asked).unwrap();
        let reasons: Vec<_> = question["reasons"].as_array().unwrap().iter().map(|r| &r["reason"]).collect();
        assert_eq!(reasons, ["asked_by_rule", "asked_by_flow"], "{question:#}");
        let shown = stdout(&gateway.cli(&["approvals"]));
        let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        for why in ["The agent has read personal data and text of outsiders", "Personal data by mail"] {
            assert!(shown.contains(why), "{why}: {shown}");
        }
        let denied = gateway.cli(&["deny", &asked]);
        assert!(denied.status.success(), "{}", stderr(&denied));
        assert_eq!(error(&agent.reply(sent)).1, "denied_by_user");
    }
    let mails = gateway.upstream.seen().iter().filter(|seen| seen.target == "/mail").count();
    assert_eq!(mails, 1, "the one of before");

    let other = harness::gateway::LAPTOP;
    let free = Agent::login(gateway.address, other).request("mail_send", mail("anna@office.example"));
    assert_eq!(free["result"]["status"], "executed", "another agent has read nothing: {free}");
}

#[test]
fn a_replay_remembers_what_was_read_as_the_gateway_did() {
    let gateway = Gateway::with(&starter_setup("pii-egress"));
    gateway.upstream.answer(|_| Answer::json("{}"));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let customer = json!({"tool": "crm_find_customer", "args": {"id": 7}, "idempotency_key": "k"});
    let mail = json!({"to": "anna@office.example", "subject": "Hello", "text": "As you asked"});
    assert_eq!(agent.call("tool_request", customer.clone())["result"]["status"], "executed");
    let forgotten = gateway.cli(&["forget", "default"]);
    assert!(forgotten.status.success(), "{}", stderr(&forgotten));
    let free = agent.request("mail_send", mail.clone());
    assert_eq!(free["result"]["status"], "executed", "nothing is with it any more: {free}");
    let again = agent.call("tool_request", customer);
    assert_eq!(
        (&again["result"]["status"], &again["result"]["replayed"]),
        (&json!("executed"), &json!(true))
    );
    let sent = agent.send("tool_request", json!({"tool": "mail_send", "args": mail}));
    let asked = agent.asked();
    assert!(gateway.cli(&["deny", &asked]).status.success());
    assert_eq!(error(&agent.reply(sent)).1, "denied_by_user");

    let same = gateway.cli(&["policy", "replay"]);
    assert_eq!((same.status.code(), &*stdout(&same)), (Some(0), ""), "{}", stderr(&same));
    assert!(stderr(&same).contains("0 of 3 calls would be decided otherwise"), "{}", stderr(&same));
}

/// Every key of a test: who calls, when, in which session, after what was read and counted.
#[test]
fn a_test_says_who_when_in_which_session_and_after_what() {
    let folder = with_tests(
        r#"
tests:
  - {name: nobody's group, call: {tool: lamp, args: {lamp: hall}}, expect: allow}
  - {name: by group, agent: laptop, call: {tool: lamp, args: {lamp: hall}}, expect: {decision: deny, rule: "Not the admins"}}
  - {name: at night, at: "2026-07-01T22:30:00Z", call: {tool: door}, expect: deny}
  - {name: by day, at: "2026-07-01T12:00:00Z", call: {tool: door}, expect: allow}
  - {name: as far as it goes, counts: {lamps: 19}, call: {tool: lamp, args: {lamp: hall}}, expect: allow}
  - {name: one more, counts: {lamps: 20}, call: {tool: lamp, args: {lamp: hall}}, expect: {decision: ask, reasons: [asked_by_limit]}}
  - {name: in its session, session: s, counts: {task: 1}, call: {tool: lamp, args: {lamp: hall}}, expect: {decision: deny, reasons: [limit_reached]}}
  - {name: nothing read, call: {tool: send}, expect: allow}
  - {name: a label, read: [pii], call: {tool: send}, expect: {decision: deny, reasons: [flow_denied]}}
  - {name: a source, read: [{from: crm, labels: [plan]}], call: {tool: send}, expect: {decision: ask, reasons: [asked_by_flow]}}
  - {name: both, read: [{from: crm, labels: [plan]}, pii], call: {tool: send}, expect: {decision: deny, reasons: [flow_denied]}}
"#,
    );
    let policy = r#"
rules:
  - {pattern: "lamp(*)", agents: ["@admins"], action: deny, description: "Not the admins"}
  - {pattern: "door", time: {from: "22:00", to: "06:00", zone: UTC}, action: deny}
  - {pattern: "*", action: allow}
limits:
  - {name: lamps, pattern: "lamp(*)", per: [agent], window: 1h, ask_above: 20}
  - {name: task, pattern: "lamp(*)", per: [agent, session], window: session, deny_above: 1}
flows:
  - {from: crm, to: webhook, labels: [plan], action: ask}
"#;
    fs::write(folder.0.join("permissions.yaml"), policy).unwrap();
    let tools = "  door:\n    request: {method: POST, path: /door}\n  send:\n    data: {to: webhook}\n    request: {method: POST, path: /send}\n";
    fs::write(folder.0.join("tools.yaml"), format!("{TOOLS}{tools}")).unwrap();
    let lines = passed(&folder.0, &["policy", "test"]);
    assert!(lines.lines().count() == 11 && lines.lines().all(|line| line.starts_with("ok ")), "{lines}");
}
