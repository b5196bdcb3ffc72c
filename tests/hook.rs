//! The hook of coding agents, from an event on stdin to the decision on stdout, against a real gateway.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};

use harness::gateway::TOKEN;
use harness::{BINARY, Folder, Gateway, Setup, TestClock};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

fn setup() -> Setup {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let usual = Setup::default();
    let services = format!(
        "services:\n  coding: {{handler: permit, tools: \"{}\"}}\n",
        root.join("tools/coding-agent.yaml").display()
    );
    let permissions =
        std::fs::read_to_string(root.join("etc/starters/shell-and-browser/permissions.yaml")).unwrap();
    Setup { config: usual.config.replace("services:\n", &services), permissions, ..usual }
}

fn event(kind: &str, tool: &str, input: Value) -> Value {
    json!({"session_id": "s-1", "transcript_path": "/t", "cwd": "/home/pi/work", "hook_event_name": kind,
           "tool_name": tool, "tool_input": input})
}

/// A hook that has its event and goes on by itself.
fn begun(url: &str, event: &str, more: &[&str]) -> Child {
    let mut command = Command::new(BINARY);
    command.args(["hook", "claude-code"]).args(more).env("AGENTPASS_URL", url).env("AGENT_TOKEN", TOKEN);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may read no further than it needs.
    let _ = child.stdin.take().unwrap().write_all(event.as_bytes());
    child
}

/// Exit code, the decision, stderr.
fn ended(output: Output) -> (Option<i32>, Value, String) {
    let said = String::from_utf8(output.stderr).unwrap();
    let decision = match output.stdout.as_slice() {
        [] => Value::Null,
        text => serde_json::from_slice::<Value>(text).unwrap()["hookSpecificOutput"].clone(),
    };
    (output.status.code(), decision, said)
}

fn run(url: &str, event: &Value, more: &[&str]) -> (Option<i32>, Value, String) {
    ended(begun(url, &event.to_string(), more).wait_with_output().unwrap())
}

fn url(gateway: &Gateway) -> String {
    format!("ws://{}", gateway.address)
}

#[test]
fn the_phone_decides_what_the_rules_leave_open() {
    let gateway = Gateway::with(&setup());
    let status = event("PreToolUse", "Bash", json!({"command": "git status"}));
    let (code, decision, said) = run(&url(&gateway), &status, &[]);
    assert_eq!((code, &decision["permissionDecision"]), (Some(0), &json!("allow")), "{decision} {said}");
    assert_eq!(decision["hookEventName"], "PreToolUse");

    let denied = event("PreToolUse", "Bash", json!({"command": "sudo ls"}));
    let (code, decision, _) = run(&url(&gateway), &denied, &[]);
    assert_eq!((code, &decision["permissionDecision"]), (Some(0), &json!("deny")), "{decision}");
    assert_eq!(decision["permissionDecisionReason"], "Denied by policy: Nothing as root");

    let remove = event("PermissionRequest", "Bash", json!({"command": "git status; rm -rf ~"}));
    let child = begun(&url(&gateway), &remove.to_string(), &[]);
    let question = gateway.question();
    assert_eq!(gateway.whole_questions()[0]["args"]["cwd"], "/home/pi/work");
    assert_eq!(gateway.json(&["deny", &question, "--note", "not my home", "--json"])["outcome"], "resolved");
    let (code, decision, _) = ended(child.wait_with_output().unwrap());
    let expected = json!({"behavior": "deny", "message": "Denied by a person: not my home"});
    assert_eq!((code, &decision["decision"]), (Some(0), &expected), "{decision}");

    let edit = event(
        "PermissionRequest",
        "Edit",
        json!({"file_path": "a.rs", "old_string": "a", "new_string": "b"}),
    );
    let child = begun(&url(&gateway), &edit.to_string(), &[]);
    gateway.say_yes(&gateway.question());
    let (code, decision, _) = ended(child.wait_with_output().unwrap());
    assert_eq!((code, &decision["decision"]), (Some(0), &json!({"behavior": "allow"})), "{decision}");
    let outcomes: Vec<_> = gateway.audit().iter().map(|row| row["outcome"].clone()).collect();
    assert_eq!(outcomes, ["permitted", "denied", "denied", "permitted"]);
    gateway.verify();
}

/// A yes to one use of a tool is one yes: the next use of it is asked about again, a repeated event is not.
#[test]
fn one_yes_is_for_one_use() {
    let gateway = Gateway::with(&setup());
    let mut one = event("PreToolUse", "Bash", json!({"command": "make"}));
    one["tool_use_id"] = "toolu_1".into();
    let child = begun(&url(&gateway), &one.to_string(), &[]);
    gateway.say_yes(&gateway.question());
    assert_eq!(ended(child.wait_with_output().unwrap()).1["permissionDecision"], "allow");
    let (_, again, _) = run(&url(&gateway), &one, &[]);
    assert_eq!(again["permissionDecision"], "allow", "{again}");
    one["tool_use_id"] = "toolu_2".into();
    let child = begun(&url(&gateway), &one.to_string(), &[]);
    gateway.say_no(&gateway.question());
    assert_eq!(ended(child.wait_with_output().unwrap()).1["permissionDecision"], "deny");
}

/// The same event once more, when its permit is over.
#[test]
fn nothing_is_allowed_on_a_permit_that_is_over() {
    let clock = TestClock::new();
    let gateway = Gateway::with_clock(&setup(), &clock);
    let mut status = event("PreToolUse", "Bash", json!({"command": "git status"}));
    status["tool_use_id"] = "toolu_1".into();
    assert_eq!(run(&url(&gateway), &status, &[]).1["permissionDecision"], "allow");
    clock.shift(61);
    let (code, decision, said) = run(&url(&gateway), &status, &[]);
    assert_eq!((code, &decision["permissionDecision"]), (Some(0), &json!("ask")), "{decision} {said}");
}

#[test]
fn a_gateway_that_is_not_there_decides_nothing_or_denies() {
    let nowhere = "ws://127.0.0.1:9";
    for (kind, asks) in [("PreToolUse", json!("ask")), ("PermissionRequest", Value::Null)] {
        let event = event(kind, "Bash", json!({"command": "ls"}));
        let (code, decision, said) = run(nowhere, &event, &[]);
        assert_eq!((code, &decision["permissionDecision"]), (Some(0), &asks), "{kind}: {decision}");
        assert!(said.starts_with("agentpass: "), "{said}");
        let (code, decision, _) = run(nowhere, &event, &["--on-error", "deny"]);
        let denied = [&decision["permissionDecision"], &decision["decision"]["behavior"]];
        assert!(code == Some(0) && denied.contains(&&json!("deny")), "{kind}: {decision}");
    }
    // What the model has made unreadable or too long is asked about all the same.
    let long = format!("{{\"command\":\"rm x #{}\"}}", "x".repeat(1 << 20));
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(40), "]".repeat(40));
    for input in [r#"{"command":"rm x # \ud800"}"#, &long, &deep] {
        let text = format!(r#"{{"hook_event_name":"PreToolUse","tool_name":"Bash","tool_input":{input}}}"#);
        let (code, decision, said) = ended(begun(nowhere, &text, &[]).wait_with_output().unwrap());
        assert_eq!((code, &decision["permissionDecision"]), (Some(0), &json!("ask")), "{decision} {said}");
    }
    let far = format!(r#"{{"tool_input":"{}","hook_event_name":"PreToolUse"}}"#, "x".repeat(17 << 20));
    assert_eq!(ended(begun(nowhere, &far, &[]).wait_with_output().unwrap()).0, Some(2));
    assert_eq!(ended(begun(nowhere, "{}", &["--on-error", "foo"]).wait_with_output().unwrap()).0, Some(2));
    // No event, no decision: silence, or the exit code that means no.
    for text in ["", "{", "[]", r#"{"hook_event_name":"Stop"}"#] {
        for (more, expected) in [(&[][..], 0), (&["--on-error", "deny"][..], 2)] {
            let output = begun(nowhere, text, more).wait_with_output().unwrap();
            let (code, decision, said) = ended(output);
            assert_eq!((code, decision), (Some(expected), Value::Null), "{text:?}: {said}");
            assert!(!said.is_empty(), "{text:?}");
        }
    }
}

#[test]
fn what_nobody_waits_for_any_more_is_taken_back() {
    let gateway = Gateway::with(&setup());
    let make = event("PreToolUse", "Bash", json!({"command": "make"}));
    for signal in [Some(Signal::TERM), Some(Signal::INT), None] {
        let more: &[&str] = if signal.is_none() { &["--timeout", "1"] } else { &[] };
        let child = begun(&url(&gateway), &make.to_string(), more);
        if let Some(signal) = signal {
            gateway.question();
            kill_process(Pid::from_child(&child), signal).unwrap();
        }
        let (code, decision, said) = ended(child.wait_with_output().unwrap());
        assert_eq!((code, &decision["permissionDecision"]), (Some(0), &json!("ask")), "{decision} {said}");
        assert!(gateway.questions().is_empty(), "{signal:?}");
    }
}

/// Nobody answers: the person at the terminal may, whatever is to be done on errors.
#[test]
fn a_question_that_times_out_goes_to_the_terminal() {
    let usual = setup();
    let config = usual.config.replace("approval_timeout: 60", "approval_timeout: 5");
    let gateway = Gateway::with(&Setup { config, ..usual });
    let make = event("PreToolUse", "Bash", json!({"command": "make"}));
    let (code, decision, said) = run(&url(&gateway), &make, &["--on-error", "deny"]);
    assert_eq!((code, &decision["permissionDecision"]), (Some(0), &json!("ask")), "{decision} {said}");
}

#[test]
fn a_restart_of_the_gateway_loses_no_question() {
    let mut gateway = Gateway::with(&setup());
    let make = event("PreToolUse", "Bash", json!({"command": "make"}));
    // The port stays the same.
    let child = begun(&url(&gateway), &make.to_string(), &[]);
    let question = gateway.question();
    let before = gateway.address;
    let usual = setup();
    let config = usual.config.replace("  port: 0", &format!("  port: {}", before.port()));
    gateway.kill();
    gateway.configure(&Setup { config, ..usual });
    gateway.restart();
    assert_eq!(gateway.address, before);
    gateway.say_yes(&question);
    let (code, decision, said) = ended(child.wait_with_output().unwrap());
    assert_eq!((code, &decision["permissionDecision"]), (Some(0), &json!("allow")), "{decision} {said}");
    assert_eq!(gateway.audit().len(), 1);
}

#[test]
fn it_is_written_into_the_settings_once_and_beside_what_is_there() {
    let folder = Folder::new();
    let file = folder.0.join("claude/settings.json");
    let hook = |more: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(["hook", "install", "claude-code", "--settings"]).arg(&file).args(more);
        command.output().unwrap().status.code()
    };
    assert_eq!(hook(&["--check"]), Some(1));
    assert_eq!(hook(&[]), Some(0));
    let read = || serde_json::from_slice::<Value>(&std::fs::read(&file).unwrap()).unwrap();
    let ours = json!([{"matcher": "*", "hooks": [{"type": "command", "command": "agentpass hook claude-code", "timeout": 600}]}]);
    assert_eq!(read(), json!({"hooks": {"PermissionRequest": ours}}));
    let mut more = read();
    more["model"] = "m".into();
    more["hooks"]["PreToolUse"] = json!([{"matcher": "Bash", "hooks": []}]);
    std::fs::write(&file, more.to_string()).unwrap();
    assert_eq!((hook(&["--check"]), hook(&[])), (Some(0), Some(0)));
    assert_eq!(read(), more);
    assert_eq!(hook(&["--event", "PreToolUse"]), Some(0));
    more["hooks"]["PreToolUse"].as_array_mut().unwrap().push(ours[0].clone());
    assert_eq!(read(), more);
    std::fs::write(&file, "{ // mine").unwrap();
    assert_eq!(hook(&[]), Some(5));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{ // mine");
    assert_eq!(hook(&["--event", "Stop"]), Some(4));
}
