//! The agent's commands as a shell sees them: the real binary against a scripted gateway.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod fake_gateway;

use std::fs::File;
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use fake_gateway::*;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

fn agentpass(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentpass"));
    command.args(args).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The binary with address and token in the environment.
fn at(gateway: &FakeGateway, args: &[&str]) -> Command {
    let mut command = agentpass(args);
    command.env("AGENTPASS_URL", &gateway.url).env("AGENT_TOKEN", TOKEN);
    command
}

/// A finished run in words: exit code, stdout, stderr.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

fn ended(output: Output) -> Ended {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended {
        code: output.status.code().expect("no signal"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

fn run(command: &mut Command) -> Ended {
    ended(command.output().unwrap())
}

/// Mistakes are found without a gateway.
fn refused(args: &[&str]) -> Ended {
    run(agentpass(args).env("AGENTPASS_URL", "ws://127.0.0.1:9").env("AGENT_TOKEN", TOKEN))
}

#[test]
fn a_result_is_json_on_stdout_and_nothing_else() {
    let gateway = FakeGateway::playing(|peer| {
        let (id, call) = peer.call();
        assert_eq!(call.tool, "ha_call_service");
        assert_eq!(Value::Object(call.args), json!({"domain": "light", "on": true, "n": 3, "text": "a=b"}));
        assert_eq!((call.reason.as_deref(), call.session_id.as_deref()), (Some("dark"), Some("s")));
        assert_eq!(call.idempotency_key.as_deref(), Some("k"));
        peer.pending(&id, "r-1", "2999-01-01T00:00:00Z");
        peer.executed(&id, json!({"state": "on", "sly": "\u{9b}31m"}));
        peer.ping("receipt");
        peer.expect_pong("receipt");
        assert_eq!(peer.expect_close(), 1000);
    });
    let line = [
        "request",
        "--reason=dark",
        "ha_call_service",
        "domain=light",
        "on:=true",
        "--session",
        "s",
        "text=a=b",
    ];
    let more = ["--json-args", "{\"n\":3}", "--idempotency-key=k", "--timeout=60"];
    let got = run(&mut at(&gateway, &[&line[..], &more[..]].concat()));
    assert_eq!((got.code, got.err.as_str()), (0, ""), "{got:?}");
    assert_eq!(got.out, "{\n  \"sly\": \"\\u009b31m\",\n  \"state\": \"on\"\n}\n");
    gateway.finish();
}

#[test]
fn a_call_whose_answer_was_lost_is_done_and_says_so() {
    let gateway = FakeGateway::playing(|peer| {
        let (id, _) = peer.call();
        peer.reply(
            &id,
            json!({"status": "executed", "data": null, "data_lost": "cut_off", "data_note": "so \u{9b}it is"}),
        );
        peer.drain();
    });
    let got = run(&mut at(&gateway, &["request", "t"]));
    assert_eq!((got.code, got.out.as_str()), (0, "null\n"), "{got:?}");
    let told = "agentpass: executed, but the service's answer was lost: cut off\nagentpass: note on the data: so ⟨U+009B⟩it is\n";
    assert_eq!(got.err, told);
    gateway.finish();
}

#[test]
fn every_error_has_its_exit_code() {
    for (code, data, exit, parts) in [
        (
            -32001,
            json!({"reason": "denied_by_user", "note": "no!", "request_id": "r-7"}),
            1,
            ["message (no!)", "at request r-7"],
        ),
        (-32003, json!({"reason": "denied_by_policy", "rule": "no locks"}), 1, ["message (no locks)", ""]),
        (-32002, json!({"reason": "approval_timed_out"}), 2, ["message", ""]),
        (-32005, json!({"reason": "not_authenticated"}), 3, ["message", "help: check the token"]),
        (
            -32600,
            json!({"reason": "invalid_argument", "argument": "x"}),
            4,
            ["message", "help: `agentpass tools`"],
        ),
        (-32601, json!({"reason": "method_not_found"}), 4, ["message", ""]),
        (-32004, json!({"reason": "service_error", "status": 404}), 5, ["message", ""]),
        (-32004, json!({"reason": "unknown_result"}), 5, ["message", "help: it may have been carried out"]),
        (
            -32006,
            json!({"reason": "rate_limited", "retry_after": 11.5}),
            5,
            ["message", "help: try again in 12 s"],
        ),
    ] {
        let gateway = FakeGateway::playing(move |peer| {
            let (id, _) = peer.call();
            peer.error(&id, code, "Message", data);
            peer.drain();
        });
        let got = run(&mut at(&gateway, &["request", "t"]));
        assert_eq!((got.code, got.out.as_str()), (exit, ""), "{code} {got:?}");
        assert!(got.err.starts_with("agentpass: could not run t: "), "{got:?}");
        assert!(parts.iter().all(|part| got.err.contains(part)), "{got:?}");
        gateway.finish();
    }
}

#[test]
fn hostile_texts_cannot_steer_the_terminal() {
    let gateway = FakeGateway::playing(|peer| {
        let (id, _) = peer.call();
        peer.error(&id, -32004, "a\nagentpass: all is well\u{1b}[2J\u{202e}", json!({"request_id": "\u{7}"}));
        peer.drain();
    });
    let got = run(&mut at(&gateway, &["request", "t"]));
    assert_eq!(got.code, 5);
    assert!(
        !got.err.contains(|c: char| c.is_control() && c != '\n') && !got.err.contains('\u{202e}'),
        "{got:?}"
    );
    assert_eq!(got.err.lines().count(), 2, "{got:?}");
    gateway.finish();
}

#[test]
fn a_call_cut_off_is_picked_up() {
    let gateway = FakeGateway::start(vec![
        script(|peer| {
            peer.welcome();
            let (_, call) = peer.call();
            assert_eq!(call.idempotency_key.as_deref(), Some("k"));
        }),
        script(|peer| {
            peer.welcome();
            let (id, call) = peer.call();
            assert_eq!(call.idempotency_key.as_deref(), Some("k"));
            peer.executed(&id, json!("once"));
            peer.drain();
        }),
    ]);
    let got = run(&mut at(&gateway, &["request", "t", "--idempotency-key", "k"]));
    assert_eq!((got.code, got.out.as_str()), (0, "\"once\"\n"), "{got:?}");
    gateway.finish();
}

#[test]
fn the_timeout_bounds_the_whole_wait() {
    let gateway = FakeGateway::playing(|peer| {
        let (id, _) = peer.call();
        peer.pending(&id, "r-3", "2999-01-01T00:00:00Z");
        peer.drain();
    });
    let began = Instant::now();
    let got = run(&mut at(&gateway, &["request", "t", "--timeout", "3"]));
    assert_eq!(got.code, 2, "{got:?}");
    assert!(got.err.contains("at request r-3") && got.err.contains("agentpass pending"), "{got:?}");
    assert!(began.elapsed() >= Duration::from_secs(3) && began.elapsed() < Duration::from_secs(30));
    gateway.finish();
}

#[test]
fn without_a_connection_it_is_three_and_fast() {
    let nobody = ["--url", "ws://127.0.0.1:9", "--token", "t"];
    for command in [&["request", "t"][..], &["tools"], &["pending"]] {
        let got = run(&mut agentpass(&[command, &nobody[..]].concat()));
        assert_eq!(got.code, 3, "{got:?}");
        assert!(got.err.contains("cannot reach the gateway"), "{got:?}");
        let got = run(agentpass(command).env("AGENT_TOKEN", "t"));
        assert_eq!(got.code, 3);
        assert!(got.err.contains("AGENTPASS_URL"), "{got:?}");
        let got = run(agentpass(command).env("AGENTPASS_URL", "ws://127.0.0.1:9").env("AGENT_TOKEN", ""));
        assert_eq!(got.code, 3);
        assert!(got.err.contains("AGENT_TOKEN"), "{got:?}");
    }
}

#[test]
fn a_bad_token_is_three_and_is_not_repeated() {
    let gateway = FakeGateway::start(vec![script(|peer| {
        let id = peer.auth();
        peer.error(&id, -32005, "Not authenticated", json!({}));
        peer.close(1008);
    })]);
    let got = run(&mut at(&gateway, &["request", "t"]));
    assert_eq!(got.code, 3, "{got:?}");
    assert!(!got.err.contains(TOKEN) && got.err.contains("check the token"), "{got:?}");
    gateway.finish();
}

#[test]
fn the_token_may_come_from_a_file() {
    let gateway = FakeGateway::playing(|peer| {
        let (id, _) = peer.call();
        peer.executed(&id, Value::Null);
        peer.drain();
    });
    let path = std::env::temp_dir().join(format!("agentpass-token-{}", std::process::id()));
    writeln!(File::create(&path).unwrap(), "{TOKEN}").unwrap();
    let file = path.to_str().unwrap();
    let got = run(&mut agentpass(&["request", "t", "--url", &gateway.url, "--token-file", file]));
    assert_eq!((got.code, got.out.as_str()), (0, "null\n"), "{got:?}");
    gateway.finish();
    let both = refused(&["request", "t", "--token", "x", "--token-file", file]);
    assert_eq!(both.code, 4, "{both:?}");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(refused(&["request", "t", "--token-file", file]).code, 4);
}

#[test]
fn bad_arguments_are_four_with_one_line_and_help() {
    for (args, part) in [
        (&["request", "t", "foo"][..], "\"foo\" is not key=value"),
        (&["request", "t", "a:=x"], "not JSON"),
        (&["request", "t", "a=1", "--json-args", "{\"a\":2}"], "\"a\" is given twice"),
        (&["request"], "required positional arguments not provided"),
        (&["request", "t", "--loud", "x"], "unrecognized argument: --loud"),
        (&["request", "t", "--timeout", "soon"], "--timeout"),
        (&["request", "t", "--url"], "--url needs a value"),
        (&["request", "t", "--url=http://x"], "wss://"),
        (&["request", "t", "--pin", "abc"], "a pin is sha256:"),
        (&["request", "t", "--ca-cert", "/nonexistent/ca.pem"], "at /nonexistent/ca.pem"),
        (&["tools", "--json=1"], "--json takes no value"),
        (&["tools", "--log-level", "loud"], "error, warn, info, debug or trace"),
        (&["frobnicate"], "frobnicate"),
        (&["--frobnicate", "x"], "--frobnicate"),
    ] {
        let got = refused(args);
        assert_eq!((got.code, got.out.as_str()), (4, ""), "{args:?} {got:?}");
        let mut lines = got.err.lines();
        let first = lines.next().unwrap().strip_prefix("agentpass: could not ").unwrap();
        assert!(first.split_once(": ").unwrap().1.starts_with(|c: char| !c.is_uppercase()), "{got:?}");
        assert!(got.err.contains(part), "{part} {got:?}");
        assert!(lines.all(|line| line.starts_with("  help: ") || line.starts_with("  at ")), "{got:?}");
    }
    let bytes = std::ffi::OsString::from_vec(vec![0xff]);
    let got = run(agentpass(&["request"]).arg(bytes));
    assert_eq!(got.code, 4);
    assert!(got.err.contains("is not UTF-8"), "{got:?}");
    let got = run(agentpass(&["tools"]).env("LOG_LEVEL", "loud"));
    assert_eq!(got.code, 78, "{got:?}");
}

#[test]
fn a_request_that_is_too_long_is_refused_here() {
    let gateway = FakeGateway::playing(|peer| peer.drain());
    let reason = "x".repeat(501);
    let got = run(&mut at(&gateway, &["request", "t", "--reason", &reason]));
    assert_eq!(got.code, 4, "{got:?}");
    assert!(got.err.contains("reason is too long"), "{got:?}");
    gateway.finish();
}

#[test]
fn help_goes_to_stdout_and_is_no_error() {
    for args in [&["--help"][..], &["-h"], &["help"]] {
        let got = run(&mut agentpass(args));
        assert_eq!((got.code, got.err.as_str()), (0, ""), "{got:?}");
        assert!(got.out.contains("request") && got.out.contains("serve"), "{got:?}");
    }
    for args in [&["request", "--help"][..], &["request", "t", "-h"], &["help", "request"]] {
        let got = run(&mut agentpass(args));
        assert_eq!((got.code, got.err.as_str()), (0, ""), "{got:?}");
        assert!(got.out.contains("--idempotency-key") && got.out.contains("can see it"), "{got:?}");
    }
    for args in [["-V"], ["--version"]] {
        let got = run(&mut agentpass(&args));
        assert_eq!(got.out, format!("agentpass {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn a_tool_may_be_called_help_and_a_value_may_begin_with_dashes() {
    let gateway = FakeGateway::playing(|peer| {
        let (id, call) = peer.call();
        assert_eq!((call.tool.as_str(), call.reason.as_deref()), ("help", Some("--why")));
        assert_eq!(Value::Object(call.args), json!({"a": "-1", "--b": "-h"}));
        peer.executed(&id, json!(1));
        peer.drain();
    });
    let got = run(&mut at(&gateway, &["request", "help", "a=-1", "--reason=--why", "--", "--b=-h"]));
    assert_eq!(got.code, 0, "{got:?}");
    gateway.finish();
}

#[test]
fn a_closed_stdout_is_no_error_and_a_full_disk_is() {
    let gateway = FakeGateway::playing(|peer| {
        let (id, _) = peer.call();
        peer.executed(&id, json!("x".repeat(200_000)));
        peer.drain();
    });
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let got = run(at(&gateway, &["request", "t"]).stdout(writer));
    assert_eq!((got.code, got.err.as_str()), (0, ""), "{got:?}");
    gateway.finish();

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let got = run(agentpass(&["--help"]).stdout(writer));
    assert_eq!((got.code, got.err.as_str()), (0, ""), "{got:?}");

    let full = File::options().write(true).open("/dev/full").unwrap();
    let got = run(agentpass(&["--help"]).stdout(full));
    assert_eq!(got.code, 5);
    assert!(got.err.starts_with("agentpass: could not write the output: "), "{got:?}");

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let got = run(agentpass(&["tools"]).stderr(writer));
    assert_eq!(got.code, 3, "{got:?}");
}

fn list_of_tools(peer: &mut Peer) {
    let request = peer.request();
    assert_eq!((request.method.as_str(), request.params.len()), ("list_tools", 0));
    let tool = json!({"name": "get", "description": "Fetch\u{1b}[2J", "service": "s",
        "args": {"id": {"required": true}, "deep": {"required": false}}});
    peer.reply(&request.id, json!({"tools": [tool]}));
    assert_eq!(peer.expect_close(), 1000);
}

#[test]
fn tools_are_json_for_programs_and_a_table_for_people() {
    let gateway = FakeGateway::playing(list_of_tools);
    let got = run(&mut at(&gateway, &["tools"]));
    assert_eq!(got.code, 0, "{got:?}");
    let tools: Value = serde_json::from_str(&got.out).unwrap();
    assert_eq!(tools[0]["args"]["id"]["required"], true);
    gateway.finish();

    let gateway = FakeGateway::playing(list_of_tools);
    let seen = on_a_terminal(&gateway, "tools");
    assert!(seen.contains("get   id [deep]") || seen.contains("get   [deep] id"), "{seen}");
    assert!(seen.contains("⟨U+001B⟩[2J") && seen.contains("code 0"), "{seen}");
    gateway.finish();
}

#[test]
fn pending_results_are_printed_and_acknowledged() {
    let result = json!({"request_id": "r", "tool_name": "t", "args": "{}", "signature": "t",
        "result": "{\"status\":\"executed\",\"data\":1}", "created_at": "x", "expires_at": "y"});
    let expected = json!([result]);
    let gateway = FakeGateway::playing(move |peer| {
        let request = peer.request();
        assert_eq!((request.method.as_str(), request.params.len()), ("get_pending_results", 0));
        peer.reply(&request.id, json!({"results": [result]}));
        std::thread::sleep(Duration::from_millis(30));
        peer.ping("got it?");
        peer.expect_pong("got it?");
        assert_eq!(peer.expect_close(), 1000);
    });
    let got = run(&mut at(&gateway, &["pending"]));
    assert_eq!(got.code, 0, "{got:?}");
    assert_eq!(serde_json::from_str::<Value>(&got.out).unwrap(), expected);
    gateway.finish();
}

/// What a person sees on a terminal, made by script(1).
fn on_a_terminal(gateway: &FakeGateway, line: &str) -> String {
    let binary = env!("CARGO_BIN_EXE_agentpass");
    let output = Command::new("script")
        .args(["-qec", &format!("{binary} {line}; echo code $?"), "/dev/null"])
        .env("AGENTPASS_URL", &gateway.url)
        .env("AGENT_TOKEN", TOKEN)
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::null())
        .output()
        .expect("this test needs script(1) of util-linux");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn progress_is_shown_on_a_terminal_and_wiped_away() {
    let gateway = FakeGateway::playing(|peer| {
        let (id, _) = peer.call();
        peer.pending(&id, "r", "2999-01-01T00:00:00Z");
        // It has heard of the question then, and shows it half a second later at most.
        peer.ping("heard");
        peer.expect_pong("heard");
        std::thread::sleep(Duration::from_secs(2));
        peer.executed(&id, json!("done"));
        peer.drain();
    });
    let seen = on_a_terminal(&gateway, "request t");
    let (before, after) = seen.rsplit_once("\r\u{1b}[K").expect("nothing was wiped away");
    assert!(before.contains("\r\u{1b}[Kwaiting for approval, "), "{seen:?}");
    assert!(before.ends_with(" left"), "{seen:?}");
    assert!(after.starts_with("\"done\""), "{seen:?}");
    assert!(after.contains("code 0"), "{seen:?}");
    gateway.finish();
}

fn interrupt(child: &Child) {
    kill_process(Pid::from_child(child), Signal::INT).unwrap();
}

#[test]
fn ctrl_c_withdraws_the_question() {
    let (asked, when_asked) = std::sync::mpsc::channel();
    let gateway = FakeGateway::playing(move |peer| {
        let (id, _) = peer.call();
        peer.pending(&id, "r-5", "2999-01-01T00:00:00Z");
        peer.ping("said");
        peer.expect_pong("said");
        asked.send(()).unwrap();
        let request = peer.request();
        assert_eq!((request.method.as_str(), request.params), ("cancel", args(json!({"request_id": "r-5"}))));
        peer.reply(&request.id, json!({}));
        assert_eq!(peer.expect_close(), 1000);
    });
    let child = at(&gateway, &["request", "t"]).spawn().unwrap();
    when_asked.recv().unwrap();
    interrupt(&child);
    let got = ended(child.wait_with_output().unwrap());
    assert_eq!((got.code, got.out.as_str()), (130, ""), "{got:?}");
    gateway.finish();
}

#[test]
fn ctrl_c_does_not_wait_long_for_a_gateway_that_is_silent() {
    takes_less(Duration::from_millis(1500), || {
        let (asked, when_asked) = std::sync::mpsc::channel();
        let gateway = FakeGateway::playing(move |peer| {
            let (id, _) = peer.call();
            peer.pending(&id, "r-5", "2999-01-01T00:00:00Z");
            peer.ping("said");
            peer.expect_pong("said");
            asked.send(()).unwrap();
            assert_eq!(peer.request().method, "cancel");
            asked.send(()).unwrap();
            peer.drain();
        });
        let child = at(&gateway, &["request", "t"]).spawn().unwrap();
        when_asked.recv().unwrap();
        let began = Instant::now();
        interrupt(&child);
        when_asked.recv().unwrap();
        interrupt(&child);
        let got = ended(child.wait_with_output().unwrap());
        assert_eq!(got.code, 130, "{got:?}");
        gateway.finish();
        began.elapsed()
    });
}

#[test]
fn a_log_at_trace_tells_no_secret() {
    let gateway = FakeGateway::playing(|peer| {
        let (id, _) = peer.call();
        peer.executed(&id, json!("the result"));
        peer.drain();
    });
    let got =
        run(at(&gateway, &["request", "t", "a=the-argument", "--log-level", "trace"])
            .env("RUST_LOG", "trace"));
    assert_eq!(got.code, 0, "{got:?}");
    assert!(!got.err.contains(TOKEN) && !got.err.contains("the-argument"), "{got:?}");
    gateway.finish();
}
