//! Attacks that worked once, against the real binary. Each one is a promise of the design that must not break again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;
#[path = "attacks/waiting.rs"]
mod waiting;

use std::os::unix::fs::PermissionsExt as _;

use harness::gateway::{LAPTOP, TOKEN};
use harness::site::Site;
use harness::{Agent, Answer, Gateway, Setup, error, eventually, terminal};
use serde_json::{Value, json};

/// The usual configuration with one text replaced.
fn setup(from: &str, to: &str) -> Setup {
    let usual = Setup::default();
    assert!(usual.config.contains(from), "{from}");
    Setup { config: usual.config.replace(from, to), ..usual }
}

/// Runs SQL in the gateway's record, as a broken disk or a second program might.
fn sql(gateway: &Gateway, text: &str) {
    let db = rusqlite::Connection::open(gateway.path("data/agentpass.db")).unwrap();
    db.busy_timeout(harness::PATIENCE).unwrap();
    db.execute_batch(text).unwrap();
}

/// A record that takes no event of this kind.
fn forbid(gateway: &Gateway, kind: &str) {
    sql(
        gateway,
        &format!(
            "CREATE TRIGGER forbidden BEFORE INSERT ON events WHEN NEW.kind = '{kind}'
             BEGIN SELECT RAISE(ABORT, 'forbidden'); END"
        ),
    );
}

#[test]
fn an_argument_with_an_empty_value_is_shown_to_the_approver() {
    let gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let args = json!({"domain": "light", "service": "toggle", "everything": ""});
    agent.send("tool_request", json!({"tool": "call_service", "args": args}));
    agent.asked();
    let (_, shown) = terminal::run(&gateway.folder, &["approvals"], &[]);
    assert!(shown.contains("everything"), "the approver does not see it: {shown}");
}

/// What is looked for in an answer is the agent's choice here: it must not keep the gateway busy for minutes.
#[test]
fn long_secrets_of_a_call_make_nobody_wait() {
    let usual = Setup::default();
    let permissions = usual.permissions.replace("rules:", "rules:\n  - {pattern: \"say\", action: allow}");
    let gateway = Gateway::with(&Setup { permissions, ..usual });
    let mut greedy = Agent::login(gateway.address, TOKEN);
    for pin in ["\"\u{e4}".repeat(20_000), "abcdefgh".repeat(8_000)] {
        greedy.send("tool_request", json!({"tool": "say", "args": {"text": "x", "pin": pin}}));
    }
    let mut other = Agent::login(gateway.address, LAPTOP);
    let state = other.call("tool_request", json!({"tool": "get_state", "args": {"entity_id": "light.a"}}));
    assert_eq!(state["result"]["status"], "executed", "{state}");
    for _ in 0..2 {
        let reply = greedy.receive();
        assert_eq!(reply["result"]["status"], "executed", "{reply}");
        assert!(!reply.to_string().contains("abcdefgh"), "{reply}");
    }
}

#[test]
fn a_name_that_looks_declared_is_shown_as_what_it_is() {
    let gateway = Gateway::with(&Setup::with_pages());
    let mut agent = Agent::login(gateway.address, TOKEN);
    let args = json!({"domain": "light", "service": "toggle", "entity_\u{456}d": "light.hall"});
    agent.send("tool_request", json!({"tool": "call_service", "args": args}));
    let id = agent.asked();
    let name = "entity_⟨U+0456⟩d";
    let site = Site::signed_in(&gateway);
    for shown in [terminal::run(&gateway.folder, &["approvals"], &[]).1, site.get("/approvals/").body] {
        assert!(shown.contains(&format!("{name} ⟨not declared⟩")), "{shown}");
        assert!(shown.matches("⟨not declared⟩").count() == 1, "{shown}");
    }
    gateway.say_no(&id);
    let show = terminal::run(&gateway.folder, &["audit", "show", &id], &[]).1;
    for told in [show, site.get(&format!("/audit/call/{id}")).body] {
        assert!(told.contains(name), "{told}");
    }
}

/// An editor empties a file before it fills it; a reload in between must not turn what is denied into questions.
#[test]
fn permissions_that_were_cut_while_saving_change_nothing() {
    let gateway = Gateway::start();
    let file = gateway.path("permissions.yaml");
    let reload = |text: &str| {
        std::fs::write(&file, text).unwrap();
        gateway.cli(&["reload"])
    };
    for cut in ["", "# the rules of this house\n", "rules:\n", "rules: [] # none\u{85}defaults: []\n"] {
        let output = reload(cut);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{cut:?} is taken");
        assert!(said.contains("permissions.yaml") && said.contains("help: "), "{said}");
    }
    let mut agent = Agent::login(gateway.address, TOKEN);
    let denied = agent.request("drop_all", json!({}));
    assert_eq!(error(&denied), (-32003, "denied_by_policy"));
    assert!(reload("rules: []\n").status.success());
    agent.send("tool_request", json!({"tool": "drop_all", "args": {}}));
    agent.asked();
}

#[test]
fn a_question_of_an_agent_that_was_removed_is_void() {
    let gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, LAPTOP);
    agent.send("tool_request", json!({"tool": "say", "args": {"text": "hello"}}));
    let id = agent.asked();
    let laptop = r#"  laptop: {token: "a-token-of-the-laptop-agent", may_explain: true}"#;
    gateway.configure(&setup(laptop, ""));
    assert!(gateway.cli(&["reload"]).status.success());
    eventually("the question to end", || gateway.questions().is_empty().then_some(()));
    assert_eq!(gateway.row(&id)["resolution"], "void");
    assert!(gateway.upstream.seen().is_empty());
}

#[test]
fn a_question_of_an_agent_that_was_removed_is_void_after_a_restart_too() {
    let mut gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, LAPTOP);
    agent.send("tool_request", json!({"tool": "say", "args": {"text": "hello"}}));
    let id = agent.asked();
    gateway.kill();
    let laptop = r#"  laptop: {token: "a-token-of-the-laptop-agent", may_explain: true}"#;
    gateway.configure(&setup(laptop, ""));
    gateway.restart();
    eventually("the question to end", || (gateway.row(&id)["resolution"] == "void").then_some(()));
    assert!(gateway.questions().is_empty());
}

#[test]
fn what_the_agent_was_told_was_not_executed_is_not_executed_after_a_restart() {
    let usual = Setup::default();
    // A yes that grants more is written down before the claim, and not with it.
    let rule = "rules:\n  - {pattern: \"say*\", action: ask, grant: {for: 15m}}\n";
    let permissions = usual.permissions.replace("rules:\n", rule);
    let mut gateway = Gateway::with(&Setup { permissions, ..usual });
    let mut agent = Agent::login(gateway.address, TOKEN);
    let request = agent.send("tool_request", json!({"tool": "say", "args": {"text": "hello"}}));
    let id = agent.asked();
    forbid(&gateway, "executing");
    gateway.cli(&["approve", &id, "--for", "15m"]);
    let reply = agent.reply(request);
    assert_eq!(reply["error"]["data"]["reason"], "store_unavailable", "{reply}");
    eventually("the end to be recorded", || (gateway.row(&id)["outcome"] != "pending").then_some(()));
    sql(&gateway, "DROP TRIGGER forbidden");
    gateway.kill();
    gateway.restart();
    // Whatever was taken up runs before a call that comes now.
    Agent::login(gateway.address, TOKEN).request("render", json!({"template": "x"}));
    let seen: Vec<_> = gateway.upstream.seen().into_iter().map(|s| s.target).collect();
    assert_eq!(seen, ["/api/template"], "it ran although the agent was told that it did not");
}

#[test]
fn a_timeout_that_cannot_be_recorded_leaves_no_question_behind() {
    let gateway = Gateway::with(&setup("approval_timeout: 60", "approval_timeout: 1"));
    let mut agent = Agent::login(gateway.address, TOKEN);
    forbid(&gateway, "answered");
    let request = agent.send("tool_request", json!({"tool": "say", "args": {"text": "hello"}}));
    let id = agent.asked();
    let reply = agent.reply(request);
    assert_eq!(reply["error"]["data"]["reason"], "approval_timed_out", "{reply}");
    assert!(gateway.questions().is_empty(), "a question that nobody waits for stays open for ever");
    assert_eq!(gateway.json(&["status", "--json"])["open_questions"], 0);
    sql(&gateway, "DROP TRIGGER forbidden");
    eventually("the end to be recorded", || (gateway.row(&id)["resolution"] == "timed_out").then_some(()));
}

#[test]
fn a_key_of_another_call_is_a_conflict_even_when_an_identical_call_is_open() {
    let gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let keyed = |tool: &str, args: Value| json!({"tool": tool, "args": args, "idempotency_key": "k"});
    let first = agent.call("tool_request", keyed("render", json!({"template": "x"})));
    assert_eq!(first["result"]["status"], "executed", "{first}");
    agent.send("tool_request", json!({"tool": "say", "args": {"text": "hello"}}));
    agent.asked();
    let second = agent.send("tool_request", keyed("say", json!({"text": "hello"})));
    // The question is never answered: only a conflict can come at once.
    let reply = agent.reply(second);
    assert_eq!(reply["error"]["data"]["reason"], "idempotency_conflict", "{reply}");
}

#[test]
fn the_inbox_comes_in_portions_that_clients_can_take() {
    let gateway = Gateway::start();
    let big = "x".repeat(400_000);
    gateway.upstream.answer(move |_| Answer::json(&format!("\"{big}\"")));
    for number in 0..4 {
        let mut agent = Agent::login(gateway.address, TOKEN);
        agent.send("tool_request", json!({"tool": "render", "args": {"template": format!("t{number}")}}));
        gateway.upstream.wait_for(number + 1);
    }
    let done = || gateway.audit().iter().filter(|row| row["outcome"] == "executed").count() == 4;
    eventually("all to end", || done().then_some(()));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let mut got = Vec::new();
    eventually("all results", || {
        let reply = agent.call("get_pending_results", json!({}));
        assert!(reply.to_string().len() < 900_000, "{} bytes in one message", reply.to_string().len());
        for result in reply["result"]["results"].as_array().unwrap() {
            let id = result["request_id"].as_str().unwrap().to_owned();
            if !got.contains(&id) {
                got.push(id);
            }
        }
        (got.len() == 4).then_some(())
    });
}

#[test]
fn the_inbox_is_read_a_bounded_number_of_times_at_once_on_a_connection() {
    let gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let batch: Vec<_> =
        (0..100).map(|id| json!({"jsonrpc": "2.0", "method": "get_pending_results", "id": id})).collect();
    agent.send_text(&Value::Array(batch).to_string());
    let answers = agent.receive();
    let refused = answers.as_array().unwrap().iter().filter(|a| a["error"]["code"] == -32006).count();
    assert_eq!(refused, 100 - 32);
    assert!(agent.call("get_pending_results", json!({}))["result"].is_object());
}

#[test]
fn strangers_who_were_turned_away_do_not_pile_up() {
    let gateway = Gateway::start();
    let open = || std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap().count();
    let before = open();
    let strangers: Vec<_> = (0..60)
        .map(|_| {
            let mut stranger = Agent::connect(gateway.address);
            stranger.send_text("hello");
            stranger
        })
        .collect();
    assert!(open() < before + 20, "{} descriptors for {} strangers", open() - before, strangers.len());
}

#[test]
fn the_folder_of_the_record_is_private_wherever_the_control_socket_is() {
    let gateway = Gateway::with(&setup(r#""control.sock""#, r#""data/control.sock""#));
    let mode = std::fs::metadata(gateway.path("data")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700, "{mode:o}");
}

#[test]
fn a_secret_argument_that_a_service_echoes_is_not_recorded() {
    let gateway = Gateway::start();
    gateway.upstream.answer(|seen| Answer::json(&seen.body));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let args = json!({"text": "hello", "pin": "98-hidden-76"});
    let request = agent.send("tool_request", json!({"tool": "say", "args": args}));
    let id = agent.asked();
    gateway.cli(&["approve", &id]);
    assert_eq!(agent.reply(request)["result"]["status"], "executed");
    let export = gateway.cli(&["audit", "export"]);
    let text = String::from_utf8(export.stdout).unwrap();
    assert!(text.contains(&id) && !text.contains("98-hidden-76"), "{text}");
}

#[test]
fn calls_that_are_denied_do_not_push_the_others_out_of_the_record() {
    let gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let text = "x".repeat(60_000);
    // One is denied by a rule, the other is too large to be shown to anybody.
    for service in ["lock", "light"] {
        let args = json!({"domain": service, "service": "open", "a": [text, text, text, text]});
        let reply = agent.request("call_service", args);
        assert!(reply["error"].is_object(), "{reply}");
    }
    let rows = gateway.audit();
    assert_eq!(rows.len(), 2);
    for row in rows {
        let size = row.to_string().len();
        assert!(size < 10_000 && row.to_string().contains("[cut, 240"), "{size} bytes are kept");
    }
}

/// What the gateway's record says to a query.
fn count(gateway: &Gateway, sql: &str) -> u64 {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let db = rusqlite::Connection::open_with_flags(gateway.path("data/agentpass.db"), flags).unwrap();
    db.busy_timeout(harness::PATIENCE).unwrap();
    db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().try_into().unwrap()
}

/// Asks for something that is executed, and leaves before the answer comes.
fn ask_and_leave(gateway: &Gateway, token: &str, entity: &str) {
    let done = "SELECT count(*) FROM calls WHERE outcome = 'executed'";
    let before = count(gateway, done);
    let mut agent = Agent::login(gateway.address, token);
    agent.send("tool_request", json!({"tool": "get_state", "args": {"entity_id": entity}}));
    gateway.upstream.wait_for(usize::try_from(before).unwrap() + 1);
    drop(agent);
    eventually("the call to end", || (count(gateway, done) > before).then_some(()));
}

#[test]
fn an_agent_that_does_not_fetch_its_results_fills_its_own_share_only() {
    let gateway =
        Gateway::with(&setup(r#"{path: "data/agentpass.db"}"#, r#"{path: "data/agentpass.db", max_mb: 16}"#));
    gateway.upstream.answer(|seen| match seen.target.ends_with("large") {
        true => Answer::json(&format!("\"{}\"", "x".repeat(400_000))),
        false => Answer::json("1"),
    });
    ask_and_leave(&gateway, TOKEN, "small");
    for _ in 0..15 {
        ask_and_leave(&gateway, LAPTOP, "large");
    }
    // A sixteenth of 16 MiB for results of one agent: two of 400 KB. The newest are there, the others' too, and the
    // record of all.
    let kept = count(&gateway, "SELECT sum(size) FROM results WHERE agent = 'laptop'");
    assert!((800_000..1 << 20).contains(&kept), "{kept} bytes");
    assert_eq!(
        count(&gateway, "SELECT max(seq) FROM results"),
        count(&gateway, "SELECT max(seq) FROM calls")
    );
    let mut other = Agent::login(gateway.address, TOKEN);
    let results = other.call("get_pending_results", json!({}));
    assert_eq!(results["result"]["results"].as_array().map(Vec::len), Some(1), "{results}");
    assert_eq!(gateway.audit().len(), 16);
    gateway.verify();
}

#[test]
fn large_arguments_do_not_push_what_others_did_out_of_the_record() {
    let gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, LAPTOP);
    let text = "x".repeat(60_000);
    let args = json!({"domain": "light", "service": "turn_off", "a": vec![text; 16]});
    let mut last = Value::Null;
    for _ in 0..40 {
        last = agent.request("call_service", args.clone());
    }
    assert_eq!(error(&last), (-32006, "rate_limited"), "40 MB in a moment");
    assert!(last["error"]["data"]["retry_after"].as_u64().unwrap() > 60, "{last}");
    let bytes = count(&gateway, "SELECT sum(octet_length(body)) FROM events");
    assert!((16 << 20..20 << 20).contains(&bytes), "{bytes} bytes");
    // What is not large goes on, and so does everybody else.
    let small = json!({"domain": "light", "service": "turn_off", "a": "x".repeat(1900)});
    assert_eq!(agent.request("call_service", small)["result"]["status"], "executed");
    let mut other = Agent::login(gateway.address, TOKEN);
    assert_eq!(other.request("call_service", args)["result"]["status"], "executed");
}

/// What a server with a folder hands out that decodes a path before it resolves `..` (Python's http.server is one), or
/// that decodes it twice.
fn decoding_server(root: &std::path::Path, target: &str, times: usize) -> Answer {
    let path = target.split('?').next().unwrap().to_owned();
    let decoded = (0..times)
        .fold(path, |path, _| percent_encoding::percent_decode_str(&path).decode_utf8_lossy().into_owned());
    let mut file = root.to_owned();
    for part in decoded.split(['/', '\\']).map(|part| part.split(';').next().unwrap()) {
        match part {
            "" | "." => {}
            ".." => drop(file.pop()),
            part => file.push(part),
        }
    }
    match std::fs::read_to_string(&file) {
        Ok(text) if file.starts_with(root) => Answer::json(&Value::from(text).to_string()),
        Ok(_) | Err(_) => Answer::Reply(404, "text/plain", String::new()),
    }
}

#[test]
fn an_argument_in_the_path_does_not_reach_another_folder_of_a_server_that_decodes_it() {
    let tools = r#"
tools:
  read:
    extra_args: refuse
    args: {f: {required: true, free_text: true}}
    request: {method: GET, path: "/public/{f}"}
  read_deep:
    extra_args: refuse
    args: {f: {required: true, free_text: true}}
    request: {method: GET, path: "/public/{f...}"}
"#;
    let allow = r#"rules: [{pattern: "read*", action: allow}]"#;
    let gateway =
        Gateway::with(&Setup { tools: tools.into(), permissions: allow.into(), ..Setup::default() });
    let root = gateway.path("site");
    for (folder, file, text) in
        [("public", "note.txt", "hello"), ("private", "key.txt", "the key"), ("public/a", "b", "deep")]
    {
        std::fs::create_dir_all(root.join(folder)).unwrap();
        std::fs::write(root.join(folder).join(file), text).unwrap();
    }
    let mut agent = Agent::login(gateway.address, TOKEN);
    for times in [1, 2] {
        let served = root.clone();
        gateway.upstream.answer(move |seen| decoding_server(&served, &seen.target, times));
        for (tool, file, text) in
            [("read", "note.txt", "hello"), ("read_deep", "note.txt", "hello"), ("read_deep", "a/b", "deep")]
        {
            let reply = agent.request(tool, json!({"f": file}));
            assert_eq!(reply["result"]["data"], text, "{reply}");
        }
        let before = gateway.upstream.seen().len();
        for file in [
            "../private/key.txt",
            "..\\private\\key.txt",
            "%2e%2e/private/key.txt",
            "..%2fprivate%2fkey.txt",
            "%2e%2e%2fprivate%2fkey.txt",
            "..;/private/key.txt",
            "..;x=1/private/key.txt",
            "..#/private/key.txt",
            "x/../../private/key.txt",
            "x%2f..%2f..%2fprivate%2fkey.txt",
        ] {
            for tool in ["read", "read_deep"] {
                let reply = agent.request(tool, json!({"f": file}));
                assert_eq!(reply["error"]["code"], -32600, "{tool} {file}: {reply}");
                assert_eq!(reply["error"]["data"]["argument"], "f", "{tool} {file}: {reply}");
            }
        }
        assert_eq!(gateway.upstream.seen().len(), before, "something was sent");
    }
}
