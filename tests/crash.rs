//! Kill -9, SIGTERM and lost connections at every step of a call: the service is called at most once, the record says
//! what is known, and the agent learns it when it is back.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use harness::gateway::{LAPTOP, TOKEN};
use harness::{Agent, Answer, Gateway, Setup, TestClock, eventually};
use serde_json::{Value, json};

/// A question to a human, then one POST.
fn asked(text: &str) -> Value {
    json!({"tool": "say", "args": {"text": text}, "idempotency_key": text})
}

/// One POST at once.
fn allowed(text: &str) -> Value {
    let args = json!({"domain": "light", "service": "turn_off", "text": text});
    json!({"tool": "call_service", "args": args, "idempotency_key": text})
}

/// How often the service saw the call with this text.
fn seen(gateway: &Gateway, text: &str) -> usize {
    gateway.upstream.seen().iter().filter(|seen| seen.json()["text"] == text).count()
}

/// Asks again with the same key, answers yes to what is asked, and gives the reply.
fn learn(gateway: &Gateway, agent: &mut Agent, params: &Value) -> Value {
    let id = agent.send("tool_request", params.clone());
    loop {
        let message = agent.receive();
        if message["id"] == id {
            return message;
        }
        if message["method"] == "approval_pending" {
            gateway.approve(message["params"]["request_id"].as_str().unwrap());
        }
    }
}

fn pending(agent: &mut Agent) -> Vec<Value> {
    agent.call("get_pending_results", json!({}))["result"]["results"].as_array().unwrap().clone()
}

/// Results that the record takes for not received.
fn results_waiting(gateway: &Gateway) -> i64 {
    let db = rusqlite::Connection::open(gateway.path("data/agentpass.db")).unwrap();
    db.query_row("SELECT count(*) FROM results WHERE received = 0", [], |row| row.get(0)).unwrap()
}

/// The inbox's entry for a request. To be asked once: what has been returned counts as received soon after.
fn waiting(agent: &mut Agent, id: &str) -> Option<Value> {
    told(&pending(agent), id)
}

/// What these entries of the inbox tell of a request.
fn told(entries: &[Value], id: &str) -> Option<Value> {
    let entry = entries.iter().find(|entry| entry["request_id"] == id)?;
    Some(serde_json::from_str(entry["result"].as_str().unwrap()).unwrap())
}

fn with_approval_timeout(seconds: u32) -> Setup {
    let setup = Setup::default();
    Setup {
        config: setup.config.replace("approval_timeout: 60", &format!("approval_timeout: {seconds}")),
        ..setup
    }
}

// --- while the question is open ---

#[test]
fn an_open_question_survives_and_the_key_leads_to_its_result() {
    let mut gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", asked("a"));
    let id = agent.asked();
    let before = gateway.questions();
    gateway.kill();
    gateway.restart();
    assert_eq!(gateway.questions(), before, "same id, same words, same deadline");
    let mut agent = Agent::login(gateway.address, TOKEN);
    let reply = learn(&gateway, &mut agent, &asked("a"));
    assert_eq!(
        (&reply["result"]["status"], &reply["result"]["request_id"]),
        (&json!("executed"), &json!(id))
    );
    let again = learn(&gateway, &mut agent, &asked("a"));
    assert_eq!(again["result"]["replayed"], true, "{again}");
    assert_eq!(seen(&gateway, "a"), 1);
    assert_eq!(gateway.row(&id)["outcome"], "executed");
    gateway.verify();
}

#[test]
fn an_open_question_survives_and_the_result_waits_in_the_inbox() {
    let mut gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", asked("a"));
    let id = agent.asked();
    gateway.kill();
    gateway.restart();
    assert_eq!(gateway.approve(&id), "resolved");
    eventually("the call", || (gateway.row(&id)["outcome"] == "executed").then_some(()));
    let mut agent = Agent::login(gateway.address, TOKEN);
    assert_eq!(waiting(&mut agent, &id).unwrap()["status"], "executed");
    eventually("the receipt", || pending(&mut agent).is_empty().then_some(()));
    // It is written down a little later; a crash before that would only offer the result once more.
    eventually("the receipt to be kept", || (results_waiting(&gateway) == 0).then_some(()));
    gateway.kill();
    gateway.restart();
    let mut agent = Agent::login(gateway.address, TOKEN);
    assert!(pending(&mut agent).is_empty(), "a receipt survives");
    assert_eq!(learn(&gateway, &mut agent, &asked("a"))["result"]["replayed"], true);
    assert_eq!(seen(&gateway, "a"), 1);
}

#[test]
fn a_deadline_that_passed_while_down_is_a_time_out() {
    let mut gateway = Gateway::with(&with_approval_timeout(1));
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", asked("a"));
    let id = agent.asked();
    gateway.kill();
    thread::sleep(Duration::from_millis(1100));
    gateway.restart();
    eventually("the time-out", || (gateway.row(&id)["outcome"] == "timed_out").then_some(()));
    assert_eq!(gateway.approve(&id), "expired");
    let mut agent = Agent::login(gateway.address, TOKEN);
    let told = waiting(&mut agent, &id).unwrap();
    assert_eq!((&told["status"], &told["reason"]), (&json!("denied"), &json!("approval_timed_out")));
    let reply = learn(&gateway, &mut agent, &asked("a"));
    assert_eq!(reply["error"]["code"], -32002, "{reply}");
    assert_eq!(seen(&gateway, "a"), 0);
    gateway.verify();
}

/// Changes the record behind the gateway's back.
fn falsify(gateway: &Gateway, sql: &str) {
    let db = rusqlite::Connection::open(gateway.path("data/agentpass.db")).unwrap();
    db.execute_batch(sql).unwrap();
}

/// Waits until the question has timed out, and gives how long that took since `began`.
fn times_out(gateway: &Gateway, id: &str, began: Instant) -> Duration {
    eventually("the time-out", || (gateway.row(id)["outcome"] == "timed_out").then_some(()));
    began.elapsed()
}

#[test]
fn a_clock_set_back_while_down_makes_no_question_longer() {
    let clock = TestClock::new();
    let mut gateway = Gateway::with_clock(&with_approval_timeout(14), &clock);
    let mut agent = Agent::login(gateway.address, TOKEN);
    let began = Instant::now();
    agent.send("tool_request", asked("hello"));
    let id = agent.asked();
    thread::sleep(Duration::from_secs(8));
    gateway.kill();
    clock.shift(-3600);
    let down = Instant::now();
    gateway.restart();
    assert_eq!(gateway.question(), id);
    let took = times_out(&gateway, &id, began);
    assert!(took >= Duration::from_secs(13), "{took:?}");
    // Six are left of its fourteen seconds.
    assert!(down.elapsed() < Duration::from_secs(13), "{:?}", down.elapsed());
    assert_eq!((gateway.approve(&id).as_str(), seen(&gateway, "hello")), ("expired", 0));
    gateway.verify();
}

#[test]
fn a_clock_that_jumps_meanwhile_makes_no_question_longer() {
    let clock = TestClock::new();
    let gateway = Gateway::with_clock(&with_approval_timeout(4), &clock);
    let mut agent = Agent::login(gateway.address, TOKEN);
    let began = Instant::now();
    agent.send("tool_request", asked("back"));
    let back = agent.asked();
    clock.shift(-3600);
    let took = times_out(&gateway, &back, began);
    assert!(took >= Duration::from_secs(3), "{took:?}");
    agent.send("tool_request", asked("forth"));
    let forth = agent.asked_among_replies();
    clock.shift(3600);
    assert_eq!(gateway.approve(&forth), "expired");
    assert_eq!((seen(&gateway, "back"), seen(&gateway, "forth")), (0, 0));
}

#[test]
fn after_a_new_start_of_the_machine_its_running_time_counts() {
    let clock = TestClock::new();
    let mut gateway = Gateway::with_clock(&with_approval_timeout(40), &clock);
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", asked("hello"));
    let id = agent.asked();
    gateway.kill();
    clock.shift(-3600);
    // The machine that the tests run on has been running for longer than forty seconds.
    falsify(&gateway, "UPDATE meta SET value = 'another' WHERE name = 'boot'");
    let began = Instant::now();
    gateway.restart();
    assert!(times_out(&gateway, &id, began) < Duration::from_secs(30));
    assert_eq!(seen(&gateway, "hello"), 0);
}

/// Changes the configuration while the gateway is down with an open question: nobody is asked any more.
fn changed_while_down(change: impl Fn(&mut Setup), resolution: &str, reason: &str) {
    let mut gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", asked("a"));
    let id = agent.asked();
    gateway.kill();
    let mut setup = Setup::default();
    change(&mut setup);
    gateway.configure(&setup);
    gateway.restart();
    eventually("the end of the question", || (gateway.row(&id)["resolution"] == resolution).then_some(()));
    assert!(gateway.questions().is_empty());
    assert_ne!(gateway.approve(&id), "resolved");
    let mut agent = Agent::login(gateway.address, TOKEN);
    let told = waiting(&mut agent, &id).unwrap();
    assert_eq!((&told["status"], &told["reason"]), (&json!("denied"), &json!(reason)));
    assert_eq!(seen(&gateway, "a"), 0);
    gateway.verify();
}

#[test]
fn a_tool_that_changed_while_down_voids_the_question() {
    changed_while_down(
        |setup| setup.tools = setup.tools.replace("/api/say", "/api/shout"),
        "void",
        "approval_void",
    );
}

#[test]
fn a_deny_that_came_while_down_ends_the_question() {
    let rule = "rules:\n  - {pattern: \"say*\", action: deny}";
    changed_while_down(
        |setup| setup.permissions = setup.permissions.replacen("rules:", rule, 1),
        "void",
        "denied_by_policy",
    );
}

// --- changed from outside ---

/// What `audit verify` says is wrong.
fn fault(gateway: &Gateway) -> String {
    let output = gateway.cli(&["audit", "verify"]);
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Two questions, which are open when the gateway is killed.
fn two_questions() -> (Gateway, [String; 2]) {
    let gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let ids = ["a", "b"].map(|text| {
        agent.send("tool_request", asked(text));
        agent.asked_among_replies()
    });
    (gateway, ids)
}

#[test]
fn a_question_whose_row_was_changed_is_void() {
    let by = "state = 'approved', approved_by = 'local:root'";
    let changes = [
        (format!("UPDATE open_calls SET {by} WHERE request_id = 'ID'"), "another state"),
        (
            "UPDATE open_calls SET args = (SELECT args FROM open_calls WHERE request_id = 'OTHER')
             WHERE request_id = 'ID'"
                .into(),
            "another args",
        ),
        ("UPDATE open_calls SET args = '{' WHERE request_id = 'ID'".into(), "another args"),
        (
            "UPDATE open_calls SET expires = expires + 3600000 WHERE request_id = 'ID'".into(),
            "another expires",
        ),
        ("UPDATE open_calls SET reason = 'harmless' WHERE request_id = 'ID'".into(), "another reason"),
        ("UPDATE open_calls SET agent = 'laptop' WHERE request_id = 'ID'".into(), "another agent"),
        ("DELETE FROM open_calls WHERE request_id = 'ID'".into(), "not among the open calls"),
    ];
    for (change, words) in changes {
        let (mut gateway, [a, b]) = two_questions();
        gateway.kill();
        falsify(&gateway, &change.replace("ID", &a).replace("OTHER", &b));
        let told = fault(&gateway);
        assert!(told.contains(&a) && told.contains(words), "{change}: {told}");
        gateway.restart();
        eventually("the end", || (gateway.row(&a)["resolution"] == "void").then_some(()));
        assert_eq!((gateway.question(), seen(&gateway, "a")), (b.clone(), 0), "{change}");
        gateway.say_yes(&b);
        eventually("the other call", || (seen(&gateway, "b") == 1).then_some(()));
        assert_eq!(seen(&gateway, "a"), 0, "{change}");
        let told = fault(&gateway);
        assert!(told.contains("changed from outside") && told.contains(&a), "{change}: {told}");
        let logged = || gateway.log().contains(&a) && gateway.log().contains("audit verify");
        eventually("the log", || logged().then_some(()));
    }
}

#[test]
fn what_was_executed_is_not_executed_again() {
    let mut gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", asked("a"));
    let id = agent.asked();
    falsify(&gateway, "CREATE TABLE aside AS SELECT * FROM open_calls");
    gateway.say_yes(&id);
    eventually("the call", || (gateway.row(&id)["outcome"] == "executed").then_some(()));
    gateway.followed();
    gateway.kill();
    falsify(
        &gateway,
        "INSERT INTO open_calls SELECT * FROM aside; DROP TABLE aside;
         UPDATE open_calls SET state = 'approved', approved_by = 'local:root'",
    );
    assert!(fault(&gateway).contains("it has ended"), "{}", fault(&gateway));
    gateway.restart();
    assert!(gateway.questions().is_empty());
    thread::sleep(Duration::from_millis(300));
    assert_eq!((seen(&gateway, "a"), gateway.row(&id)["outcome"].as_str()), (1, Some("executed")));
}

#[test]
fn a_yes_that_cannot_be_written_down_leaves_the_question_open() {
    let gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", asked("a"));
    let id = agent.asked();
    for stuck in ["answered", "executing"] {
        falsify(
            &gateway,
            &format!(
                "CREATE TRIGGER stuck BEFORE INSERT ON events WHEN NEW.kind = '{stuck}'
                 BEGIN SELECT RAISE(ABORT, 'stuck'); END"
            ),
        );
        let refused = gateway.cli(&["approve", &id]);
        assert!(!refused.status.success(), "{stuck}");
        falsify(&gateway, "DROP TRIGGER stuck");
        assert_eq!((gateway.question(), seen(&gateway, "a")), (id.clone(), 0), "{stuck}");
    }
    gateway.say_yes(&id);
    eventually("the call", || (gateway.row(&id)["outcome"] == "executed").then_some(()));
    assert_eq!(seen(&gateway, "a"), 1);
    gateway.verify();
}

#[test]
fn a_running_gateway_goes_by_what_it_knows_itself() {
    let (gateway, [a, b]) = two_questions();
    // Approved by nobody; and the waiting one's state taken back while it is being answered.
    falsify(&gateway, "UPDATE open_calls SET state = 'approved', approved_by = 'local:root'");
    let swap = "UPDATE open_calls SET args = '{\"text\":\"c\"}'";
    falsify(&gateway, swap);
    gateway.say_yes(&a);
    eventually("the call", || (gateway.row(&a)["outcome"] == "executed").then_some(()));
    falsify(&gateway, "DELETE FROM open_calls");
    gateway.say_no(&b);
    eventually("the denial", || (gateway.row(&b)["outcome"] == "denied").then_some(()));
    assert_eq!(["a", "b", "c"].map(|text| seen(&gateway, text)), [1, 0, 0]);
    gateway.verify();
}

#[test]
fn a_key_whose_row_is_gone_is_still_taken() {
    let forget = ["DELETE FROM keys", "UPDATE keys SET expires = 0", "UPDATE keys SET key = 'x' || key"];
    for (down, change) in [false, true].into_iter().flat_map(|down| forget.map(|change| (down, change))) {
        let mut gateway = Gateway::start();
        let mut agent = Agent::login(gateway.address, TOKEN);
        let first = agent.call("tool_request", allowed("a"));
        assert_eq!(first["result"]["status"], "executed", "{first}");
        gateway.followed();
        if down {
            gateway.kill();
        }
        falsify(&gateway, change);
        if change.contains("key") && !change.contains("expires") {
            assert!(fault(&gateway).contains("idempotency key"), "{}", fault(&gateway));
        }
        if down {
            gateway.restart();
        }
        let again = Agent::login(gateway.address, TOKEN).call("tool_request", allowed("a"));
        assert_eq!(
            (&again["result"]["replayed"], seen(&gateway, "a")),
            (&json!(true), 1),
            "{change}: {again}"
        );
        assert_eq!(again["result"]["request_id"], first["result"]["request_id"]);
    }
}

#[test]
fn a_key_that_leads_to_another_call_is_found() {
    for down in [false, true] {
        let mut gateway = Gateway::start();
        let mut agent = Agent::login(gateway.address, TOKEN);
        let ids = ["a", "b"].map(|text| {
            let reply = agent.call("tool_request", allowed(text));
            reply["result"]["request_id"].as_str().unwrap().to_owned()
        });
        gateway.followed();
        if down {
            gateway.kill();
        }
        falsify(
            &gateway,
            "UPDATE keys SET request_id = (SELECT k.request_id FROM keys k WHERE k.key = 'b') WHERE key = 'a'",
        );
        assert!(fault(&gateway).contains("idempotency key"), "{}", fault(&gateway));
        if down {
            gateway.restart();
        }
        let again = Agent::login(gateway.address, TOKEN).call("tool_request", allowed("a"));
        assert_eq!(
            (&again["result"]["replayed"], &again["result"]["request_id"]),
            (&json!(true), &json!(ids[0]))
        );
        assert_eq!((seen(&gateway, "a"), seen(&gateway, "b")), (1, 1));
    }
}

#[test]
fn a_key_of_a_caller_who_joined_survives_its_row() {
    let mut gateway = Gateway::start();
    let mut agents = ["k1", "k2"].map(|key| {
        let mut agent = Agent::login(gateway.address, TOKEN);
        agent.send("tool_request", json!({"tool": "say", "args": {"text": "a"}, "idempotency_key": key}));
        agent
    });
    let id = agents[0].asked();
    assert_eq!(agents[1].asked(), id);
    gateway.say_yes(&id);
    eventually("the call", || (gateway.row(&id)["outcome"] == "executed").then_some(()));
    gateway.verify();
    gateway.followed();
    gateway.kill();
    falsify(&gateway, "DELETE FROM keys");
    gateway.restart();
    let mut agent = Agent::login(gateway.address, TOKEN);
    for key in ["k1", "k2"] {
        let again =
            agent.call("tool_request", json!({"tool": "say", "args": {"text": "a"}, "idempotency_key": key}));
        assert_eq!(
            (&again["result"]["replayed"], &again["result"]["request_id"]),
            (&json!(true), &json!(id))
        );
    }
    assert_eq!(seen(&gateway, "a"), 1);
    gateway.verify();
}

#[test]
fn a_forged_answer_is_withheld() {
    let forged = [
        "UPDATE results SET data = '{\"forged\":true}'",
        "UPDATE results SET outcome = '{\"is\":\"denied_by_user\",\"note\":\"forged\"}', data = NULL",
        "UPDATE results SET data = '{\"forged\":true}'; UPDATE calls SET finished_seq = NULL",
    ];
    for (down, change) in [false, true].into_iter().flat_map(|down| forged.map(|change| (down, change))) {
        let mut gateway = Gateway::start();
        let mut agent = Agent::login(gateway.address, TOKEN);
        agent.send("tool_request", allowed("a"));
        eventually("the call", || (seen(&gateway, "a") == 1).then_some(()));
        drop(agent);
        eventually("its end", || (gateway.audit()[0]["outcome"] == "executed").then_some(()));
        gateway.followed();
        if down {
            gateway.kill();
        }
        falsify(&gateway, &format!("UPDATE results SET received = 0; {change}"));
        assert!(!fault(&gateway).is_empty());
        if down {
            gateway.restart();
        }
        let mut agent = Agent::login(gateway.address, TOKEN);
        let told = pending(&mut agent);
        assert!(!json!(told).to_string().contains("forged"), "{change}: {told:?}");
        assert!(json!(told).to_string().contains("unknown_result"), "{change}: {told:?}");
        let again = agent.call("tool_request", allowed("a"));
        assert_eq!(again["error"]["data"]["reason"], "unknown_result", "{change}: {again}");
        assert_eq!(seen(&gateway, "a"), 1);
        let logged = || gateway.log().contains("its result was changed from outside");
        eventually("the log", || logged().then_some(()));
        assert!(fault(&gateway).contains("changed"));
    }
}

#[test]
fn another_agents_answer_is_not_handed_out() {
    let gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", allowed("a"));
    eventually("the call", || (seen(&gateway, "a") == 1).then_some(()));
    drop(agent);
    eventually("its end", || (gateway.audit()[0]["outcome"] == "executed").then_some(()));
    gateway.followed();
    falsify(&gateway, "UPDATE results SET received = 0, agent = 'laptop'");
    let told = pending(&mut Agent::login(gateway.address, LAPTOP));
    assert!(told.is_empty(), "{told:?}");
    assert!(fault(&gateway).contains("changed"));
}

#[test]
fn where_events_are_missing_nothing_open_runs_and_no_key_is_given_away() {
    let (mut gateway, [a, b]) = two_questions();
    let mut agent = Agent::login(gateway.address, TOKEN);
    assert_eq!(agent.call("tool_request", allowed("c"))["result"]["status"], "executed");
    gateway.say_yes(&a);
    eventually("the call", || (gateway.row(&a)["outcome"] == "executed").then_some(()));
    gateway.followed();
    gateway.kill();
    // The call and its key never were, and what was done is still to be done.
    falsify(
        &gateway,
        "DELETE FROM keys WHERE key = 'c';
         DELETE FROM events WHERE seq = (SELECT seq FROM calls WHERE tool = 'call_service');",
    );
    gateway.restart();
    assert!(gateway.questions().is_empty());
    eventually("the end", || (gateway.row(&b)["outcome"] == "unknown").then_some(()));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let again = agent.call("tool_request", allowed("c"));
    assert_eq!(again["error"]["data"]["reason"], "store_unavailable", "{again}");
    let without = json!({"tool": "call_service", "args": allowed("d")["args"]});
    assert_eq!(agent.call("tool_request", without)["result"]["status"], "executed");
    assert_eq!(["a", "b", "c", "d"].map(|text| seen(&gateway, text)), [1, 0, 1, 1]);
    assert!(fault(&gateway).contains("missing"), "{}", fault(&gateway));
}

#[test]
fn an_anchor_kept_elsewhere_finds_a_record_rolled_back_with_its_head() {
    let mut gateway = Gateway::start();
    let call = |gateway: &Gateway, text: &str| {
        let reply = Agent::login(gateway.address, TOKEN).call("tool_request", allowed(text));
        assert_eq!(reply["result"]["status"], "executed", "{reply}");
    };
    let anchor = |gateway: &Gateway| {
        let output = gateway.cli(&["audit", "anchor"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let verify = |gateway: &Gateway, line: &str| gateway.cli(&["audit", "verify", "--anchor", line]);
    call(&gateway, "a");
    assert_eq!(gateway.terminate(), Some(0));
    let [db, head] = ["data/agentpass.db", "data/agentpass.db.head"].map(|name| gateway.path(name));
    let older = [&db, &head].map(|path| std::fs::read(path).unwrap());
    let early = anchor(&gateway);
    gateway.restart();
    call(&gateway, "b");
    assert_eq!(gateway.terminate(), Some(0));
    let late = anchor(&gateway);
    assert_eq!(late.lines().count(), 1);
    assert_eq!(gateway.json(&["audit", "anchor", "--json"])["line"], late.trim_end());
    for line in [&early, &late] {
        let output = verify(&gateway, line);
        assert!(String::from_utf8_lossy(&output.stdout).contains("it holds the anchor"), "{output:?}");
    }
    std::fs::write(&db, &older[0]).unwrap();
    std::fs::write(&head, &older[1]).unwrap();
    gateway.restart();
    gateway.verify();
    let told = |line: &str| String::from_utf8_lossy(&verify(&gateway, line).stderr).into_owned();
    assert!(told(&late).contains("older copy"), "{}", told(&late));
    (0..5).for_each(|n| call(&gateway, &format!("c{n}")));
    gateway.verify();
    assert!(told(&late).contains("not the event that the anchor was taken of"), "{}", told(&late));
    assert_eq!((told(&early), verify(&gateway, "nonsense").status.code()), (String::new(), Some(4)));
}

#[test]
fn what_is_cut_off_the_running_record_is_missed_also_after_something_failed() {
    let mut gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", asked("q"));
    agent.asked();
    let mut other = Agent::login(gateway.address, TOKEN);
    for text in ["c", "d"] {
        assert_eq!(other.call("tool_request", allowed(text))["result"]["status"], "executed");
    }
    eventually("its end", || (gateway.audit()[0]["outcome"] == "executed").then_some(()));
    gateway.followed();
    falsify(
        &gateway,
        "CREATE TEMP TABLE cut AS SELECT max(seq) AS seq FROM calls;
         DELETE FROM events WHERE seq >= (SELECT seq FROM cut);
         DELETE FROM results WHERE seq >= (SELECT seq FROM cut);
         DELETE FROM keys WHERE request_id = (SELECT request_id FROM calls WHERE seq = (SELECT seq FROM cut));
         DELETE FROM calls WHERE seq >= (SELECT seq FROM cut);",
    );
    // The key stands for another call: this is written and taken back.
    let mut joins = asked("q");
    joins["idempotency_key"] = json!("c");
    let refused = other.call("tool_request", joins);
    assert_eq!(refused["error"]["data"]["reason"], "idempotency_conflict", "{refused}");
    assert_eq!(other.call("tool_request", allowed("e"))["result"]["status"], "executed");
    gateway.terminate();
    let found = fault(&gateway);
    assert!(found.contains("missing"), "{found}");
}

// --- an orderly stop ---

#[test]
fn a_stop_leaves_questions_open_and_answers_nobody() {
    let mut gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", asked("a"));
    let id = agent.asked();
    let before = gateway.questions();
    gateway.ask_to_stop();
    assert_eq!(agent.close_code(), Some(1012), "no reply, only: come back");
    assert_eq!(gateway.wait(), Some(0));
    gateway.restart();
    assert_eq!(gateway.questions(), before);
    let mut agent = Agent::login(gateway.address, TOKEN);
    let reply = learn(&gateway, &mut agent, &asked("a"));
    assert_eq!(reply["result"]["request_id"], json!(id), "{reply}");
    assert_eq!(seen(&gateway, "a"), 1);
    gateway.verify();
}

#[test]
fn a_stop_waits_for_running_calls_and_records_their_results() {
    let mut gateway = Gateway::start();
    gateway.upstream.answer(|_| Answer::Hold);
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", allowed("a"));
    agent.send("tool_request", asked("b"));
    gateway.approve(&agent.asked());
    gateway.upstream.wait_for(2);
    gateway.ask_to_stop();
    assert_eq!(agent.close_code(), Some(1012));
    gateway.upstream.release();
    assert_eq!(gateway.wait(), Some(0));
    gateway.restart();
    let mut agent = Agent::login(gateway.address, TOKEN);
    for params in [allowed("a"), asked("b")] {
        let reply = learn(&gateway, &mut agent, &params);
        assert_eq!(reply["result"]["replayed"], true, "{reply}");
        assert_eq!(seen(&gateway, params["idempotency_key"].as_str().unwrap()), 1);
    }
    gateway.verify();
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let setup = Setup::default();
    let mut gateway =
        Gateway::with(&Setup { config: setup.config.replace("timeout: 45", "timeout: 60"), ..setup });
    gateway.upstream.answer(|_| Answer::Hold);
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", allowed("a"));
    gateway.upstream.wait_for(1);
    let began = Instant::now();
    gateway.ask_to_stop();
    assert_eq!(gateway.wait(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(45), "{:?}", began.elapsed());
    gateway.restart();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let reply = learn(&gateway, &mut agent, &allowed("a"));
    assert_eq!(reply["error"]["data"]["reason"], "unknown_result", "{reply}");
    assert_eq!(seen(&gateway, "a"), 1);
}

// --- while the service is at it ---

#[test]
fn a_call_that_was_under_way_is_unknown_and_never_repeated() {
    let mut gateway = Gateway::start();
    gateway.upstream.answer(|_| Answer::Hold);
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", allowed("a"));
    agent.send("tool_request", asked("b"));
    gateway.approve(&agent.asked());
    gateway.upstream.wait_for(2);
    gateway.kill();
    gateway.restart();
    let rows = gateway.audit();
    assert!(rows.iter().all(|row| row["outcome"] == "unknown"), "{rows:?}");
    let mut agent = Agent::login(gateway.address, TOKEN);
    // Both at once: to ask again is to read on, and that is a receipt.
    let waiting = pending(&mut agent);
    for row in &rows {
        let told = told(&waiting, row["request_id"].as_str().unwrap()).unwrap();
        assert_eq!((&told["status"], &told["reason"]), (&json!("error"), &json!("unknown_result")));
    }
    for params in [allowed("a"), asked("b")] {
        let error = learn(&gateway, &mut agent, &params)["error"].clone();
        assert_eq!((&error["code"], &error["data"]["reason"]), (&json!(-32004), &json!("unknown_result")));
    }
    gateway.upstream.release();
    assert_eq!(gateway.upstream.seen().len(), 2);
    gateway.verify();
}

// --- lost connections ---

#[test]
fn an_agent_that_leaves_loses_nothing() {
    let gateway = Gateway::start();
    gateway.upstream.answer(|_| Answer::Hold);
    // Before it is asked, while it is asked, and after the approval.
    let mut first = Agent::login(gateway.address, TOKEN);
    first.send("tool_request", asked("first"));
    drop(first);
    let first = gateway.question();
    let mut second = Agent::login(gateway.address, TOKEN);
    second.send("tool_request", asked("second"));
    let second_id = second.asked();
    drop(second);
    let mut third = Agent::login(gateway.address, TOKEN);
    third.send("tool_request", asked("third"));
    let third_id = third.asked();
    for id in [&first, &second_id, &third_id] {
        assert_eq!(gateway.approve(id), "resolved");
    }
    gateway.upstream.wait_for(3);
    drop(third);
    gateway.upstream.release();
    for id in [&first, &second_id, &third_id] {
        eventually("the call", || (gateway.row(id)["outcome"] == "executed").then_some(()));
    }
    // Each time over a new connection, so that nothing counts as received.
    let results = || pending(&mut Agent::login(gateway.address, TOKEN));
    let waiting = eventually("all results", || Some(results()).filter(|results| results.len() == 3));
    assert!(waiting.iter().all(|entry| entry["tool_name"] == "say"), "{waiting:?}");
    assert_eq!(gateway.upstream.seen().len(), 3);
}

// --- at random moments ---

/// Numbers from a seed (splitmix64): a failure can be repeated.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// From which moment on the time to the kill is counted.
#[derive(Clone, Copy, Debug)]
enum From {
    /// The requests were sent: it falls into recording and asking.
    Requests,
    /// The approvals were sent: it falls into answering, claiming and calling.
    Approvals,
    /// The service has seen the first call: it falls into settling, replying and receipts.
    Service,
}

/// The usual configuration with another credential, and with so few places that calls wait for one.
fn some_setup(numbers: &mut Seeded) -> Setup {
    let usual = Setup::default();
    let credential = format!("s3rvice-cr3dential-{:010}", numbers.below(10_000_000_000));
    let config = usual.config.replace(harness::gateway::SERVICE_SECRET, &credential);
    Setup { config: format!("{config}max_concurrent_calls: {}\n", 1 + numbers.below(3)), ..usual }
}

/// Puts another configuration in force, without waiting for it.
fn reload(gateway: &Gateway, setup: &Setup) -> UnixStream {
    gateway.configure(setup);
    gateway.say_and_leave(&[json!({"command": "reload"})])
}

/// One round: some calls, a reload to `setup` and a kill within `delay`, a restart, and everything must fit together.
fn round(gateway: &mut Gateway, name: &str, from: From, delay: Duration, setup: &Setup) {
    let calls: Vec<Value> = (0..2)
        .flat_map(|n| [asked(&format!("{name} asked {n}")), allowed(&format!("{name} allowed {n}"))])
        .collect();
    let texts: Vec<&str> = calls.iter().map(|call| call["idempotency_key"].as_str().unwrap()).collect();
    let before = gateway.upstream.seen().len();
    let mut agent = Agent::login(gateway.address, TOKEN);
    for call in &calls {
        agent.send("tool_request", call.clone());
    }
    let mut open = None;
    if !matches!(from, From::Requests) {
        let ids = [agent.asked_among_replies(), agent.asked_among_replies()];
        let approvals = ids.map(|id| json!({"command": "approve", "id": id}));
        open = Some(gateway.say_and_leave(&approvals));
    }
    if matches!(from, From::Service) {
        gateway.upstream.wait_for(before + 3);
    }
    thread::sleep(delay / 2);
    let reload = reload(gateway, setup);
    thread::sleep(delay / 2);
    gateway.kill();
    drop((open, reload));
    let at_kill: Vec<usize> = texts.iter().map(|text| seen(gateway, text)).collect();
    gateway.restart();
    gateway.verify();
    consistent(gateway, &texts, &at_kill);
    let mut agent = Agent::login(gateway.address, TOKEN);
    for (call, text) in calls.iter().zip(&texts) {
        let reply = learn(gateway, &mut agent, call);
        match reply["result"]["status"] == "executed" {
            true => assert_eq!(seen(gateway, text), 1, "{reply}"),
            false => assert_eq!(reply["error"]["data"]["reason"], "unknown_result", "{reply}"),
        }
        assert!(seen(gateway, text) <= 1, "{text} was done twice");
        let id = reply["result"]["request_id"].as_str().or(reply["error"]["data"]["request_id"].as_str());
        let row = gateway.row(id.unwrap());
        let known = if reply["error"].is_null() { "executed" } else { "unknown" };
        assert_eq!(row["outcome"], known, "{row}");
    }
}

/// What the record says right after the restart, against what the service saw until the kill.
fn consistent(gateway: &Gateway, texts: &[&str], at_kill: &[usize]) {
    let rows = gateway.audit();
    for (text, &count) in texts.iter().zip(at_kill) {
        assert!(count <= 1, "{text} was done twice");
        let Some(row) = rows.iter().find(|row| row["args"]["text"] == *text) else {
            assert_eq!(count, 0, "{text} was done and is not in the record");
            continue;
        };
        match row["outcome"].as_str().unwrap() {
            // An approval that had not been acted on is acted on after the restart.
            "executed" if row["decision"] == "ask" => assert_eq!(seen(gateway, text), 1, "{row}"),
            "executed" => assert_eq!(count, 1, "{row}"),
            "unknown" => {}
            "pending" => assert_eq!((count, &row["decision"]), (0, &json!("ask")), "{row}"),
            _ => panic!("{row}"),
        }
    }
}

fn rounds(seed: u64, from: From, window: u64) {
    let mut numbers = Seeded(seed);
    let mut gateway = Gateway::start();
    for n in 0..ROUNDS {
        let (delay, setup) = (Duration::from_micros(numbers.below(window)), some_setup(&mut numbers));
        round(&mut gateway, &format!("{from:?} {n} after {delay:?}"), from, delay, &setup);
    }
}

/// For each of the three.
const ROUNDS: u32 = 15;

#[test]
fn killed_while_requests_are_recorded() {
    rounds(1, From::Requests, 12_000);
}

#[test]
fn killed_while_approvals_are_acted_on() {
    rounds(2, From::Approvals, 12_000);
}

#[test]
fn killed_while_results_are_settled() {
    rounds(3, From::Service, 8_000);
}

/// A deny comes while approvals are acted on, and then the end: what was not sent before is not sent after either, and
/// everybody hears which of the two it is.
#[test]
fn killed_while_a_deny_comes_into_force() {
    let mut numbers = Seeded(4);
    let mut gateway = Gateway::start();
    for n in 0..ROUNDS {
        let before = some_setup(&mut numbers);
        let rule = "rules:\n  - {pattern: \"*\", action: deny}";
        let denying = Setup { permissions: before.permissions.replacen("rules:", rule, 1), ..before.clone() };
        gateway.configure(&before);
        assert_eq!(gateway.control(&json!({"command": "reload"})).unwrap()["reloaded"], true);
        let name = |what, i| format!("denied {n} {what} {i}");
        let calls: Vec<Value> =
            (0..3).flat_map(|i| [asked(&name("asked", i)), allowed(&name("allowed", i))]).collect();
        let mut agent = Agent::login(gateway.address, TOKEN);
        for call in &calls {
            agent.send("tool_request", call.clone());
        }
        let ids: Vec<_> = (0..3).map(|_| agent.asked_among_replies()).collect();
        let approvals: Vec<_> = ids.iter().map(|id| json!({"command": "approve", "id": id})).collect();
        let open = gateway.say_and_leave(&approvals);
        thread::sleep(Duration::from_micros(numbers.below(6_000)));
        let reload = reload(&gateway, &denying);
        thread::sleep(Duration::from_micros(numbers.below(6_000)));
        gateway.kill();
        drop((open, reload));
        gateway.restart();
        gateway.verify();
        let over = || gateway.audit().iter().all(|row| row["outcome"] != "pending");
        eventually("all calls to end", || over().then_some(()));
        let mut agent = Agent::login(gateway.address, TOKEN);
        for call in &calls {
            let (reply, times) = (
                learn(&gateway, &mut agent, call),
                seen(&gateway, call["idempotency_key"].as_str().unwrap()),
            );
            match reply["error"]["code"].as_i64() {
                None => assert_eq!(times, 1, "{reply}"),
                // What was done before the deny came is not told again, but marked.
                Some(-32003) if reply["error"]["data"]["replayed"] == true && times == 1 => {
                    let id = reply["error"]["data"]["request_id"].as_str().unwrap();
                    assert_eq!(gateway.row(id)["outcome"], "executed", "{reply}");
                }
                Some(-32003) => assert_eq!(times, 0, "told as denied and sent: {reply}"),
                Some(_) => assert_eq!(reply["error"]["data"]["reason"], "unknown_result", "{reply}"),
            }
            assert!(times <= 1, "done twice: {reply}");
        }
    }
}

// --- disks ---

/// A small disk of its own, gone when dropped.
struct Disk(std::path::PathBuf);

impl Disk {
    /// None when this user may not mount anything, which only root may.
    fn mount(name: &str) -> Option<Disk> {
        let path = std::env::temp_dir().join(format!("agentpass-disk-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let disk = Disk(path);
        if disk.run("mount", &["-t", "tmpfs", "-o", "size=2m", "tmpfs"]) {
            return Some(disk);
        }
        assert!(!rustix::process::geteuid().is_root(), "root could not mount a tmpfs");
        eprintln!("not tested: only root can mount a disk of its own");
        None
    }

    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        Command::new(program).args(arguments).arg(&self.0).status().is_ok_and(|status| status.success())
    }

    fn setup(&self) -> Setup {
        let setup = with_approval_timeout(60);
        let database = self.0.join("agentpass.db");
        Setup { config: setup.config.replace("data/agentpass.db", database.to_str().unwrap()), ..setup }
    }

    /// Leaves not a byte.
    fn fill(&self) {
        let mut file =
            std::fs::OpenOptions::new().append(true).create(true).open(self.0.join("fill")).unwrap();
        for size in [64 << 10, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("fill")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.run("umount", &["-l"]);
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Calls until the record cannot be written any more; all before were done.
fn call_until_refused(agent: &mut Agent, make: impl Fn(u32) -> Value) -> (u32, Value) {
    for n in 0..1000 {
        let reply = agent.call("tool_request", make(n));
        if reply.get("error").is_some() {
            return (n, reply);
        }
    }
    panic!("a full disk took a thousand calls");
}

#[test]
fn nothing_is_executed_on_a_full_disk_and_everything_again_when_there_is_room() {
    let Some(disk) = Disk::mount("full") else { return };
    let mut setup = disk.setup();
    setup.permissions.push_str("limits:\n  - {name: all, pattern: \"*\", window: day, deny_above: 100000}\n");
    let gateway = Gateway::with(&setup);
    let counted = || gateway.json(&["limits", "--json"])[0]["count"].as_u64().unwrap();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let open = agent.send("tool_request", asked("open"));
    let id = agent.asked();
    disk.fill();
    let (done, reply) = call_until_refused(&mut agent, |n| allowed(&format!("full {n}")));
    let error = &reply["error"];
    assert_eq!(
        (&error["code"], &error["data"]["reason"]),
        (&json!(-32004), &json!("store_unavailable")),
        "{reply}"
    );
    assert_eq!(gateway.upstream.seen().len(), done as usize, "nothing unrecorded was done");
    assert_eq!(counted(), u64::from(done), "and what was not done does not count");
    // Reads that need no record do not make it look well.
    pending(&mut agent);
    assert_eq!(gateway.json(&["status", "--json"])["store"]["writable"], false);
    // An answer that cannot be recorded is none: the question stays open.
    let answer = gateway.control(&json!({"command": "approve", "id": id})).unwrap();
    assert!(answer["error"]["message"].as_str().unwrap().contains("could not be recorded"), "{answer}");
    let refused = agent.request("get_state", json!({"entity_id": "x"}));
    assert_eq!(refused["error"]["data"]["reason"], "store_unavailable", "{refused}");
    disk.free();
    assert_eq!(agent.call("tool_request", allowed("room"))["result"]["status"], "executed");
    assert_eq!(gateway.json(&["status", "--json"])["store"]["writable"], true);
    assert_eq!(gateway.approve(&id), "resolved");
    assert_eq!(agent.reply(open)["result"]["request_id"], json!(id));
    assert_eq!(seen(&gateway, "open"), 1);
    assert_eq!(counted(), u64::try_from(gateway.upstream.seen().len()).unwrap());
    gateway.verify();
}

#[test]
fn the_kill_switch_works_on_a_full_disk_and_is_recorded_when_there_is_room() {
    let Some(disk) = Disk::mount("kill") else { return };
    let mut gateway = Gateway::with(&disk.setup());
    let mut agent = Agent::login(gateway.address, TOKEN);
    let open = agent.send("tool_request", asked("open"));
    let id = agent.asked();
    disk.fill();
    call_until_refused(&mut agent, |n| allowed(&format!("full {n}")));
    let before = gateway.upstream.seen().len();
    let told = gateway.json(&["kill", "--json"]);
    assert_eq!((&told["recorded"], &told["withdrawn"]), (&json!(false), &json!(1)), "{told}");
    assert_eq!(agent.reply(open)["error"]["data"]["reason"], "kill_switch");
    let status = || gateway.json(&["status", "--json"])["stopped"].clone();
    assert_eq!((&status()["all"], &status()["each"][0]["recorded"]), (&json!(true), &json!(false)));
    let refused = agent.call("tool_request", allowed("stopped"));
    assert_eq!(refused["error"]["data"]["reason"], "kill_switch", "{refused}");
    // Nobody resumes what cannot be recorded.
    assert_eq!(gateway.cli(&["resume"]).status.code(), Some(5));
    assert_ne!(gateway.control(&json!({"command": "approve", "id": id})).unwrap()["outcome"], "resolved");
    disk.free();
    eventually("the record of it", || (status()["each"][0]["recorded"] == true).then_some(()));
    eventually("the end of the question", || (gateway.row(&id)["resolution"] == "withdrawn").then_some(()));
    gateway.kill();
    gateway.restart();
    assert_eq!(gateway.json(&["status", "--json"])["stopped"]["all"], true);
    assert_eq!(gateway.upstream.seen().len(), before);
    gateway.verify();
}

#[test]
fn a_full_disk_makes_no_question_longer() {
    let Some(disk) = Disk::mount("deadline") else { return };
    let setup = disk.setup();
    let config = setup.config.replace("approval_timeout: 60", "approval_timeout: 4");
    let gateway = Gateway::with(&Setup { config, ..setup });
    let mut asker = Agent::login(gateway.address, TOKEN);
    let open = asker.send("tool_request", asked("open"));
    let id = asker.asked();
    disk.fill();
    // Over a connection of its own: the other one may hear of its deadline meanwhile.
    let mut agent = Agent::login(gateway.address, TOKEN);
    call_until_refused(&mut agent, |n| allowed(&format!("full {n}")));
    assert_eq!(asker.reply(open)["error"]["code"], -32002);
    assert!(gateway.questions().is_empty());
    assert_eq!(gateway.approve(&id), "expired");
    disk.free();
    eventually("the record of it", || (gateway.row(&id)["resolution"] == "timed_out").then_some(()));
    assert_eq!(seen(&gateway, "open"), 0);
    gateway.verify();
}

#[test]
fn a_gateway_does_not_start_on_a_read_only_disk() {
    let Some(disk) = Disk::mount("read-only") else { return };
    let mut gateway = Gateway::with(&disk.setup());
    gateway.kill();
    assert!(disk.run("mount", &["-o", "remount,ro"]));
    let output = gateway.cli(&["serve", "--insecure"]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("read-only") && said.contains("help: "), "{said}");
    assert!(disk.run("mount", &["-o", "remount,rw"]));
    gateway.restart();
    gateway.verify();
}
