//! Questions and their answers: one winner, whoever else answers, withdraws, expires or reloads at the same time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::process::{Command, Output, Stdio};
use std::thread;

use harness::gateway::{LAPTOP, TOKEN};
use harness::{Agent, Answer, BINARY, Gateway, Setup, eventually};
use serde_json::{Value, json};

/// A gateway, an agent that has asked to say "hello", the id of its request on the wire and of the question.
fn asked() -> (Gateway, Agent, u64, String) {
    asked_with(&Setup::default())
}

fn asked_with(setup: &Setup) -> (Gateway, Agent, u64, String) {
    let gateway = Gateway::with(setup);
    let mut agent = Agent::login(gateway.address, TOKEN);
    let wire = agent.send("tool_request", json!({"tool": "say", "args": {"text": "hello"}}));
    let id = agent.asked();
    (gateway, agent, wire, id)
}

fn answer(gateway: &Gateway, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = gateway.cli(&[arguments, &["--json"]].concat());
    (output.status.code(), outcome(&output))
}

fn outcome(output: &Output) -> Value {
    let reply: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    reply["outcome"].clone()
}

/// Who runs the tests, as the gateway has to name them.
fn myself() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    format!("local:{}", String::from_utf8(output.stdout).unwrap().trim())
}

#[test]
fn of_two_approvals_at_once_one_counts() {
    let (gateway, mut agent, wire, id) = asked();
    let approve = || {
        let mut command = Command::new(BINARY);
        command.args(["approve", &id, "--json"]).current_dir(&gateway.folder.0);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let both = [approve(), approve()].map(|child| child.wait_with_output().unwrap());
    let mut results: Vec<_> = both.iter().map(|o| (o.status.code().unwrap(), outcome(o))).collect();
    results.sort_by_key(|(code, _)| *code);
    assert_eq!(results, [(0, json!("resolved")), (5, json!("already_resolved"))]);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    assert_eq!(gateway.upstream.seen().len(), 1);
    let row = gateway.row(&id);
    assert_eq!((&row["resolution"], &row["resolved_by"]), (&json!("approved"), &json!(myself())));
    assert_eq!((&row["decision"], &row["outcome"]), (&json!("ask"), &json!("executed")));
}

#[test]
fn of_many_answers_at_once_one_counts_and_all_say_the_same() {
    for round in 0..10 {
        let (gateway, mut agent, wire, id) = asked();
        let mut other = Agent::login(gateway.address, TOKEN);
        let commands: Vec<Value> = (0..6)
            .map(|n| json!({"command": if (n + round) % 2 == 0 { "approve" } else { "deny" }, "id": id}))
            .collect();
        let (answers, withdrawn) = thread::scope(|scope| {
            let answers: Vec<_> = commands
                .iter()
                .map(|command| scope.spawn(|| gateway.control(command).unwrap()["outcome"].clone()))
                .collect();
            let withdrawn = other.call("cancel", json!({"request_id": id}))["result"]["status"].clone();
            (answers.into_iter().map(|a| a.join().unwrap()).collect::<Vec<_>>(), withdrawn)
        });
        let winners =
            answers.iter().filter(|a| **a == "resolved").count() + usize::from(withdrawn == "withdrawn");
        assert_eq!(winners, 1, "{answers:?}, {withdrawn}");
        assert!(answers.iter().all(|a| *a == "resolved" || *a == "already_resolved"), "{answers:?}");
        let winner = answers.iter().position(|a| *a == "resolved").map(|n| commands[n]["command"].clone());
        let expected = match winner.as_ref().and_then(Value::as_str) {
            Some("approve") => ("approved", 1),
            Some(_) => ("denied", 0),
            None => ("withdrawn", 0),
        };
        let reply = agent.reply(wire);
        assert_eq!(reply.get("result").is_some(), expected.1 == 1, "{reply}");
        assert_eq!(gateway.row(&id)["resolution"], expected.0);
        assert_eq!(gateway.upstream.seen().len(), expected.1);
        gateway.verify();
    }
}

#[test]
fn a_note_reaches_the_agent() {
    let (gateway, mut agent, wire, id) = asked();
    assert_eq!(answer(&gateway, &["deny", &id, "--note", "not at night"]), (Some(0), json!("resolved")));
    let error = agent.reply(wire)["error"].clone();
    assert_eq!((&error["code"], &error["message"]), (&json!(-32001), &json!("Denied by user")));
    assert_eq!(
        (&error["data"]["reason"], &error["data"]["note"]),
        (&json!("denied_by_user"), &json!("not at night"))
    );
    let row = gateway.row(&id);
    assert_eq!((&row["resolution"], &row["resolved_by"]), (&json!("denied"), &json!(myself())));
    assert_eq!(answer(&gateway, &["approve", &id]), (Some(5), json!("already_resolved")));
    assert!(gateway.upstream.seen().is_empty());
}

#[test]
fn a_late_answer_is_expired() {
    let setup = Setup::default();
    let config = setup.config.replace("approval_timeout: 60", "approval_timeout: 1");
    let (gateway, mut agent, wire, id) = asked_with(&Setup { config, ..setup });
    let reply = agent.reply(wire);
    assert_eq!(
        (&reply["error"]["code"], &reply["error"]["data"]["request_id"]),
        (&json!(-32002), &json!(id))
    );
    assert_eq!(answer(&gateway, &["approve", &id]), (Some(5), json!("expired")));
    assert_eq!(gateway.row(&id)["resolution"], "timed_out");
    assert!(gateway.upstream.seen().is_empty());
}

#[test]
fn ids_that_fit_no_question_or_several() {
    let gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    assert_eq!(answer(&gateway, &["approve", "no-such-id"]), (Some(5), json!("unknown")));
    let never = "00000000-0000-4000-8000-000000000000";
    assert_eq!(answer(&gateway, &["approve", never]), (Some(5), json!("unknown")));
    // With seventeen questions, two begin with the same of sixteen digits.
    let config = Setup::default().config.replace("max_pending_approvals: 10", "max_pending_approvals: 17");
    gateway.configure(&Setup { config, ..Setup::default() });
    assert!(gateway.cli(&["reload"]).status.success());
    let ids: Vec<String> = (0..17)
        .map(|n| {
            agent.send("tool_request", json!({"tool": "say", "args": {"text": n.to_string()}}));
            agent.asked()
        })
        .collect();
    let shared =
        ids.iter().map(|id| &id[..1]).find(|d| ids.iter().filter(|id| id.starts_with(d)).count() > 1);
    let output = gateway.cli(&["approve", shared.unwrap()]);
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8(output.stderr).unwrap().contains("several questions begin with this id"));
    assert_eq!(gateway.questions().len(), 17, "none of them was answered");
    // A beginning of four or more that fits one question alone is enough.
    let alone = (4..=36).map(|n| &ids[0][..n]).find(|p| ids[1..].iter().all(|id| !id.starts_with(p)));
    assert_eq!(answer(&gateway, &["approve", alone.unwrap()]), (Some(0), json!("resolved")));
    assert_eq!(gateway.upstream.wait_for(1)[0].json()["text"], "0");
}

#[test]
fn only_the_agent_that_asked_takes_a_question_back() {
    let (gateway, mut agent, wire, id) = asked();
    let mut laptop = Agent::login(gateway.address, LAPTOP);
    let stranger = laptop.call("cancel", json!({"request_id": id}));
    assert_eq!(stranger["result"]["status"], "unknown", "{stranger}");
    assert_eq!(gateway.questions().len(), 1);
    let cancel = agent.send("cancel", json!({"request_id": id}));
    let mut replies = [agent.receive(), agent.receive()];
    replies.sort_by_key(|reply| reply["id"].as_u64());
    assert_eq!(replies.each_ref().map(|r| r["id"].as_u64().unwrap()), [wire, cancel]);
    assert_eq!(replies[0]["error"]["data"]["reason"], "withdrawn");
    assert_eq!(replies[1]["result"]["status"], "withdrawn");
    assert_eq!(answer(&gateway, &["approve", &id]), (Some(5), json!("already_resolved")));
    assert_eq!(gateway.row(&id)["resolution"], "withdrawn");
    assert!(gateway.upstream.seen().is_empty());
}

// --- sparing the person ---

fn denied_note(reply: &Value) -> String {
    assert_eq!(reply["error"]["data"]["reason"], "denied_by_user", "{reply}");
    reply["error"]["data"]["note"].as_str().unwrap_or_default().to_owned()
}

fn deny_once(gateway: &Gateway, agent: &mut Agent, text: &str) {
    let wire = agent.send("tool_request", json!({"tool": "say", "args": {"text": text}}));
    let id = agent.asked();
    assert_eq!(answer(gateway, &["deny", &id]), (Some(0), json!("resolved")));
    assert_eq!(denied_note(&agent.reply(wire)), "");
}

#[test]
fn after_three_denials_the_same_call_is_not_asked_about() {
    let gateway = Gateway::start();
    let (mut agent, mut laptop) =
        (Agent::login(gateway.address, TOKEN), Agent::login(gateway.address, LAPTOP));
    (0..3).for_each(|_| deny_once(&gateway, &mut agent, "hello"));
    let reply = agent.request("say", json!({"text": "hello"}));
    let note = denied_note(&reply);
    assert!(
        note.starts_with("denied 3 times in 10 minutes; not asked again until ") && note.ends_with(" UTC"),
        "{note}"
    );
    let row = gateway.row(reply["error"]["data"]["request_id"].as_str().unwrap());
    for (name, value) in
        [("decision", "ask"), ("resolution", "denied"), ("resolved_by", "cool_down"), ("outcome", "denied")]
    {
        assert_eq!(row[name], value, "{name}");
    }
    // Another call and another agent are asked about.
    deny_once(&gateway, &mut agent, "hello!");
    deny_once(&gateway, &mut laptop, "hello");
    let config = Setup::default().config + "approvals: {cool_down: off}\n";
    gateway.configure(&Setup { config, ..Setup::default() });
    assert!(gateway.cli(&["reload"]).status.success());
    deny_once(&gateway, &mut agent, "hello");
    assert!(gateway.upstream.seen().is_empty());
    gateway.verify();
}

#[test]
fn explain_knows_of_denials_and_open_questions() {
    let config = Setup::default().config.replace("max_pending_approvals: 10", "max_pending_approvals: 1")
        + "approvals: {cool_down: {denies: 1}}\n";
    let gateway = Gateway::with(&Setup { config, ..Setup::default() });
    let (mut agent, mut laptop) =
        (Agent::login(gateway.address, TOKEN), Agent::login(gateway.address, LAPTOP));
    deny_once(&gateway, &mut laptop, "hello");
    let mut reasons = |text: &str| {
        let explained =
            laptop.call("explain", json!({"tool": "say", "args": {"text": text}}))["result"].clone();
        assert_eq!(explained["decision"], "ask", "{explained}");
        explained["reasons"].clone()
    };
    let cooled = reasons("hello");
    let asked = json!({"reason": "asked_by_default", "rule": "*"});
    assert_eq!(cooled[1]["reason"], "cool_down", "{cooled}");
    let until = cooled[1]["until"].as_str().unwrap();
    assert!(until.len() == 24 && until.ends_with('Z'), "{until}");
    assert_eq!(reasons("hello!"), json!([asked]));
    assert_eq!(reasons(&"x".repeat(12_001)), json!([asked, {"reason": "too_large_to_show"}]));
    // Another agent's questions take no room.
    agent.send("tool_request", json!({"tool": "say", "args": {"text": "one"}}));
    agent.asked();
    assert_eq!(reasons("hello!"), json!([asked]));
    let mut second = Agent::login(gateway.address, LAPTOP);
    let wire = second.send("tool_request", json!({"tool": "say", "args": {"text": "one"}}));
    let id = second.asked();
    assert_eq!(reasons("hello!"), json!([asked, {"reason": "too_many_pending"}]));
    // It joins the question that is open, which takes no further room.
    assert_eq!(reasons("one"), json!([asked]));
    let refused = second.request("say", json!({"text": "hello!"}));
    assert_eq!(refused["error"]["data"]["reason"], "too_many_pending", "{refused}");
    gateway.say_yes(&id);
    second.reply(wire);
    assert_eq!(reasons("hello!"), json!([asked]));
}

#[test]
fn approvals_and_expiries_do_not_count_as_denials() {
    let config = Setup::default().config + "approvals: {cool_down: {denies: 2}}\n";
    let gateway = Gateway::with(&Setup { config, ..Setup::default() });
    let mut agent = Agent::login(gateway.address, TOKEN);
    deny_once(&gateway, &mut agent, "hello");
    let wire = agent.send("tool_request", json!({"tool": "say", "args": {"text": "hello"}}));
    assert_eq!(gateway.approve(&agent.asked()), "resolved");
    agent.reply(wire);
    (0..2).for_each(|_| deny_once(&gateway, &mut agent, "hello"));
    assert!(denied_note(&agent.request("say", json!({"text": "hello"}))).starts_with("denied 2 times"));
}

#[test]
fn identical_questions_are_one_that_says_how_often() {
    let (gateway, mut agent, wire, id) = asked();
    assert_eq!(gateway.whole_questions()[0]["times_asked"], 1);
    let again = json!({"tool": "say", "args": {"text": "hello"}});
    let same = agent.send("tool_request", again.clone());
    assert_eq!(agent.asked(), id);
    let mut keyed = again;
    keyed["idempotency_key"] = json!("k");
    let other = agent.send("tool_request", keyed.clone());
    assert_eq!(agent.asked(), id);
    // A key that is known is the same request once more, not one more.
    let resent = agent.send("tool_request", keyed);
    assert_eq!(agent.asked(), id);
    let questions = gateway.whole_questions();
    assert_eq!((questions.len(), &questions[0]["times_asked"]), (1, &json!(3)));
    let shown = questions[0]["shown"].as_array().unwrap();
    assert_eq!(shown.last().unwrap(), &json!({"label": "asked", "lines": ["3 times"]}));
    assert_eq!(gateway.approve(&id), "resolved");
    for wire in [wire, same, other, resent] {
        assert_eq!(agent.receive()["result"]["request_id"], json!(id), "{wire}");
    }
    assert_eq!(gateway.upstream.seen().len(), 1);
}

// --- a reload in the middle ---

fn reload(gateway: &Gateway, change: impl Fn(&mut Setup)) {
    let mut setup = Setup::default();
    change(&mut setup);
    gateway.configure(&setup);
    let output = gateway.cli(&["reload"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn deny_say(setup: &mut Setup) {
    let rule = "rules:\n  - {pattern: \"say*\", action: deny, description: \"Be quiet\"}";
    setup.permissions = setup.permissions.replacen("rules:", rule, 1);
}

/// A reload that overtakes an open question ends it; nothing can be approved any more.
fn voids(change: impl Fn(&mut Setup), reason: &str, why: &str) {
    let (gateway, mut agent, wire, id) = asked();
    reload(&gateway, change);
    let error = agent.reply(wire)["error"].clone();
    assert_eq!((&error["code"], &error["data"]["reason"]), (&json!(-32003), &json!(reason)), "{error}");
    assert_eq!(answer(&gateway, &["approve", &id]), (Some(5), json!("already_resolved")));
    for command in ["approve", "deny"] {
        let told = String::from_utf8(gateway.cli(&[command, &id]).stderr).unwrap();
        assert!(told.contains(&format!("it is void: {why}")), "{told}");
    }
    assert_eq!(gateway.row(&id)["resolution"], "void");
    assert!(gateway.upstream.seen().is_empty());
    gateway.verify();
}

#[test]
fn a_deny_that_comes_while_a_question_is_open_wins() {
    voids(deny_say, "denied_by_policy", "a rule denies it now: Be quiet");
}

#[test]
fn a_tool_that_changes_while_a_question_is_open_voids_it() {
    let why = "the tool has changed since it was asked for";
    voids(|setup| setup.tools = setup.tools.replace("/api/say", "/api/shout"), "approval_void", why);
}

#[test]
fn an_agent_that_is_removed_leaves_no_question_behind() {
    let (gateway, mut agent, _, id) = asked();
    reload(&gateway, |setup| {
        let line = "  default: {token: \"a-token-of-the-default-agent\"}\n";
        setup.config = setup.config.replace(line, "");
    });
    assert_eq!(answer(&gateway, &["approve", &id]).1, json!("already_resolved"));
    eventually("the end", || (gateway.row(&id)["resolution"] == "void").then_some(()));
    while agent.try_receive().is_ok() {}
    assert!(gateway.upstream.seen().is_empty());
}

#[test]
fn a_reload_that_does_not_touch_a_question_leaves_it_alone() {
    let (gateway, mut agent, wire, id) = asked();
    let before = gateway.questions();
    reload(&gateway, |setup| setup.tools = setup.tools.replace("/api/template", "/api/other"));
    assert_eq!(gateway.questions(), before);
    assert_eq!(gateway.approve(&id), "resolved");
    assert_eq!(agent.reply(wire)["result"]["request_id"], json!(id));
}

#[test]
fn a_reload_does_not_disturb_a_call_that_is_at_the_service() {
    let (gateway, mut agent, wire, id) = asked();
    gateway.upstream.answer(|_| Answer::Hold);
    assert_eq!(gateway.approve(&id), "resolved");
    gateway.upstream.wait_for(1);
    reload(&gateway, deny_say);
    gateway.upstream.release();
    assert_eq!(agent.reply(wire)["result"]["request_id"], json!(id));
    let row = gateway.row(&id);
    assert_eq!((&row["resolution"], &row["outcome"]), (&json!("approved"), &json!("executed")));
    let next = agent.request("say", json!({"text": "again"}));
    assert_eq!(next["error"]["data"]["reason"], "denied_by_policy");
    assert_eq!(gateway.upstream.seen().len(), 1);
}

#[test]
fn an_approval_and_a_deny_at_the_same_moment_never_run_a_denied_call() {
    for _ in 0..10 {
        let (gateway, mut agent, wire, id) = asked();
        let mut setup = Setup::default();
        deny_say(&mut setup);
        gateway.configure(&setup);
        let approve = json!({"command": "approve", "id": id});
        thread::scope(|scope| {
            scope.spawn(|| gateway.control(&json!({"command": "reload"})).unwrap());
            scope.spawn(|| gateway.control(&approve).unwrap());
        });
        let reply = agent.reply(wire);
        let row = gateway.row(&id);
        match reply.get("result") {
            Some(_) => assert_eq!((&row["outcome"], gateway.upstream.seen().len()), (&json!("executed"), 1)),
            None => {
                assert_eq!(reply["error"]["code"], -32003, "{reply}");
                assert_eq!((&row["outcome"], gateway.upstream.seen().len()), (&json!("denied"), 0), "{row}");
            }
        }
        gateway.verify();
    }
}

#[test]
fn who_takes_back_a_question_that_has_ended_hears_how() {
    let usual = Setup::default();
    // The call at the service outlives the question that nobody answers, however slow the machine is.
    let config = usual
        .config
        .replace("approval_timeout: 60", "approval_timeout: 5")
        .replace("    timeout: 45\n", "    timeout: 60\n");
    let mut gateway = Gateway::with(&Setup { config, ..usual });
    gateway.upstream.answer(|_| Answer::Hold);
    let mut agent = Agent::login(gateway.address, TOKEN);
    let cancel = |agent: &mut Agent, id: &str| {
        let request = agent.send("cancel", json!({"request_id": id}));
        loop {
            let message = agent.receive();
            if message["id"] == request {
                break message["result"]["status"].as_str().unwrap().to_owned();
            }
        }
    };
    let ask = |agent: &mut Agent, text: &str| {
        agent.send("tool_request", json!({"tool": "say", "args": {"text": text}}));
        agent.asked_among_replies()
    };
    let running = ask(&mut agent, "running");
    gateway.say_yes(&running);
    let denied = ask(&mut agent, "denied");
    gateway.say_no(&denied);
    let late = ask(&mut agent, "late");
    gateway.upstream.wait_for(1);
    assert_eq!(cancel(&mut agent, &running), "already_resolved", "it is at the service");
    assert_eq!(cancel(&mut agent, &denied), "already_resolved");
    eventually("the time-out", || (gateway.row(&late)["outcome"] == "timed_out").then_some(()));
    assert_eq!(cancel(&mut agent, &late), "expired");
    gateway.upstream.release();
    eventually("the call", || (gateway.row(&running)["outcome"] == "executed").then_some(()));
    let told = [(&running, "already_resolved"), (&denied, "already_resolved"), (&late, "expired")];
    for restarted in [false, true] {
        if restarted {
            gateway.kill();
            gateway.restart();
            agent = Agent::login(gateway.address, TOKEN);
        }
        for (id, said) in told {
            assert_eq!(cancel(&mut agent, id), said, "after a restart: {restarted}");
        }
    }
    // Another agent learns nothing of them.
    let mut laptop = Agent::login(gateway.address, LAPTOP);
    for (id, _) in told {
        assert_eq!(cancel(&mut laptop, id), "unknown");
    }
}

#[test]
fn who_answers_right_after_a_reload_hears_what_it_has_brought() {
    let (gateway, mut agent, wire, id) = asked();
    let mut setup = Setup::default();
    deny_say(&mut setup);
    gateway.configure(&setup);
    // Both in one breath: nothing has been written down between them.
    let commands = [json!({"command": "reload"}), json!({"command": "approve", "id": id})];
    let answers = gateway.say_and_leave(&commands);
    let lines: Vec<Value> = std::io::BufRead::lines(std::io::BufReader::new(answers))
        .take(2)
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    assert_eq!(lines[0]["reloaded"], true, "{lines:?}");
    let told = json!({
        "outcome": "already_resolved",
        "request_id": id,
        "resolution": "void",
        "why": "a rule denies it now: Be quiet",
    });
    assert_eq!(lines[1], told);
    let reply = agent.reply(wire);
    assert_eq!(reply["error"]["data"]["reason"], "denied_by_policy", "{reply}");
    assert_eq!(reply["error"]["data"]["rule"], "Be quiet", "{reply}");
}

#[test]
fn a_question_of_an_agent_that_was_removed_is_told_as_that() {
    let gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, LAPTOP);
    agent.send("tool_request", json!({"tool": "say", "args": {"text": "hello"}}));
    let id = agent.asked();
    let laptop = r#"  laptop: {token: "a-token-of-the-laptop-agent", may_explain: true}"#;
    reload(&gateway, |setup| setup.config = setup.config.replace(laptop, ""));
    let row = eventually("the end", || Some(gateway.row(&id)).filter(|row| row["outcome"] == "denied"));
    assert_eq!((&row["resolution"], &row["outcome_reason"]), (&json!("void"), &json!("agent_removed")));
    let told = String::from_utf8(gateway.cli(&["approve", &id]).stderr).unwrap();
    assert!(told.contains("it is void: the agent that asked was removed"), "{told}");
}

#[test]
fn who_answers_too_late_hears_who_was_first() {
    let (gateway, mut agent, wire, id) = asked();
    gateway.say_no(&id);
    agent.reply(wire);
    let told = String::from_utf8(gateway.cli(&["approve", &id]).stderr).unwrap();
    assert!(told.contains("it has been denied already by local:"), "{told}");
}

#[test]
fn a_reply_that_a_rule_forbids_by_now_is_not_told_again() {
    let gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let mut again = || {
        let params = json!({"tool": "get_state", "args": {"entity_id": "a"}, "idempotency_key": "k"});
        agent.call("tool_request", params)
    };
    assert_eq!(again()["result"]["status"], "executed");
    assert_eq!(again()["result"]["replayed"], true);
    let rule = "rules:\n  - {pattern: \"get_state*\", action: deny, description: \"No more\"}";
    reload(&gateway, |setup| setup.permissions = setup.permissions.replacen("rules:", rule, 1));
    let denied = again();
    assert_eq!(denied["error"]["code"], -32003, "{denied}");
    assert_eq!(denied["error"]["data"]["rule"], "No more", "{denied}");
    assert_eq!(denied["error"]["data"]["replayed"], true, "it was done before: {denied}");
    reload(&gateway, |_| {});
    assert_eq!(again()["result"]["replayed"], true);
    assert_eq!(gateway.upstream.seen().len(), 1);
}
