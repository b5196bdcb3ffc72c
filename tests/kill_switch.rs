//! The kill switch: what it ends, what it lets go on, what it outlives, and who lifts it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::thread;
use std::time::Duration;

use harness::agent::error;
use harness::gateway::{LAPTOP, TOKEN};
use harness::site::Site;
use harness::{Agent, Answer, Gateway, Setup, eventually};
use serde_json::{Value, json};

const STOPPED: (i64, &str) = (-32003, "kill_switch");

/// One POST at once, under a key.
fn allowed(text: &str) -> Value {
    let args = json!({"domain": "light", "service": "turn_off", "text": text});
    json!({"tool": "call_service", "args": args, "idempotency_key": text})
}

fn asked(text: &str) -> Value {
    json!({"tool": "say", "args": {"text": text}, "idempotency_key": text})
}

fn seen(gateway: &Gateway, text: &str) -> usize {
    gateway.upstream.seen().iter().filter(|seen| seen.json()["text"] == text).count()
}

fn stopped(gateway: &Gateway) -> Value {
    gateway.json(&["status", "--json"])["stopped"].clone()
}

fn is_executed(reply: &Value) -> bool {
    reply["result"]["status"] == "executed"
}

/// Events of this kind, as the record has them.
fn events(gateway: &Gateway, kind: &str) -> Vec<Value> {
    let db = rusqlite::Connection::open(gateway.path("data/agentpass.db")).unwrap();
    let mut rows = db.prepare("SELECT body FROM events WHERE kind = ? ORDER BY seq").unwrap();
    let bodies = rows.query_map([kind], |row| row.get::<_, String>(0)).unwrap();
    bodies.map(|body| serde_json::from_str(&body.unwrap()).unwrap()).collect()
}

#[test]
fn everything_stops_at_once_and_says_why() {
    let gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    assert!(is_executed(&agent.call("tool_request", allowed("before"))));
    let open = agent.send("tool_request", asked("open"));
    let id = agent.asked();
    gateway
        .upstream
        .answer(|seen| if seen.json()["text"] == "long" { Answer::Hold } else { Answer::json("{}") });
    let mut other = Agent::login(gateway.address, LAPTOP);
    let under_way = other.send("tool_request", allowed("long"));
    eventually("the call at its service", || (seen(&gateway, "long") == 1).then_some(()));

    let told = gateway.json(&["kill", "--reason", "Something is off", "--json"]);
    assert_eq!((&told["withdrawn"], &told["executing"]), (&json!(1), &json!(1)), "{told}");
    assert_eq!((&told["already"], &told["recorded"]), (&json!(false), &json!(true)));
    let by = told["stopped"]["by"].as_str().unwrap();
    assert!(by.starts_with("local:"), "{told}");
    // The question has ended, and its agent hears why.
    assert_eq!(error(&agent.reply(open)), STOPPED);
    let row = gateway.row(&id);
    assert_eq!((&row["resolution"], &row["resolved_by"]), (&json!("withdrawn"), &json!(by)), "{row}");
    assert_eq!(gateway.approve(&id), "already_resolved");
    // New calls, replays and bad calls hear it alike, over connections that stay.
    for call in [allowed("new"), asked("new"), allowed("before"), json!({"tool": "no_such_tool", "args": {}})]
    {
        assert_eq!(error(&agent.call("tool_request", call.clone())), STOPPED, "{call}");
    }
    // What was at its service is seen through and told.
    gateway.upstream.release();
    assert!(is_executed(&other.reply(under_way)));
    assert_eq!(error(&other.call("tool_request", allowed("other"))), STOPPED);
    let now = stopped(&gateway);
    assert_eq!((&now["all"], &now["agents"], &now["by"]), (&json!(true), &json!([]), &json!(by)), "{now}");
    assert_eq!(now["reason"], "Something is off");
    assert!(String::from_utf8(gateway.cli(&["status"]).stdout).unwrap().contains("EVERYTHING by local:"));
    let explained = other.call("explain", json!({"tool": "get_state", "args": {"entity_id": "x"}}));
    assert_eq!(explained["result"]["decision"], "deny", "{explained}");
    assert_eq!(explained["result"]["reasons"], json!([{"reason": "kill_switch"}]));
    // Twice is once.
    assert_eq!(gateway.json(&["kill", "--json"])["already"], true);

    let resumed = gateway.json(&["resume", "--json"]);
    assert_eq!((&resumed["resumed"]["agent"], &resumed["still_stopped"]), (&Value::Null, &json!([])));
    let replay = agent.call("tool_request", allowed("before"));
    assert_eq!(replay["result"]["replayed"], true, "{replay}");
    assert!(is_executed(&agent.call("tool_request", allowed("new"))), "its key stands for nothing");
    assert_eq!(["before", "long", "new", "open"].map(|text| seen(&gateway, text)), [1, 1, 1, 0]);
    assert_eq!(gateway.cli(&["resume"]).status.code(), Some(5));
    let stops = events(&gateway, "stopped");
    assert_eq!((stops.len(), &stops[0]["reason"]), (1, &json!("Something is off")), "{stops:?}");
    assert_eq!(events(&gateway, "resumed").len(), 1);
    gateway.verify();
}

#[test]
fn one_agent_stops_alone() {
    let gateway = Gateway::start();
    let mut laptop = Agent::login(gateway.address, LAPTOP);
    let mut other = Agent::login(gateway.address, TOKEN);
    let open = laptop.send("tool_request", asked("a"));
    laptop.asked();
    let other_open = other.send("tool_request", asked("b"));
    let stays = other.asked();
    assert_eq!(gateway.cli(&["kill", "--agent", "lapdog"]).status.code(), Some(5));
    let told = gateway.json(&["kill", "--agent", "laptop", "--json"]);
    assert_eq!((&told["stopped"]["agent"], &told["withdrawn"]), (&json!("laptop"), &json!(1)), "{told}");
    assert_eq!(error(&laptop.reply(open)), STOPPED);
    assert_eq!(error(&laptop.call("tool_request", allowed("c"))), STOPPED);
    assert!(is_executed(&other.call("tool_request", allowed("d"))));
    assert_eq!(gateway.question(), stays);
    gateway.json(&["kill", "--json"]);
    assert_eq!(error(&other.reply(other_open)), STOPPED);
    // Resuming everything leaves the agent stopped, and says so.
    let resumed = gateway.json(&["resume", "--json"]);
    assert_eq!(resumed["still_stopped"][0]["agent"], "laptop", "{resumed}");
    let now = stopped(&gateway);
    assert_eq!((&now["all"], &now["agents"]), (&json!(false), &json!(["laptop"])), "{now}");
    assert_eq!(error(&laptop.call("tool_request", allowed("e"))), STOPPED);
    assert!(is_executed(&other.call("tool_request", allowed("f"))));
    assert_eq!(gateway.cli(&["resume"]).status.code(), Some(5));
    gateway.json(&["resume", "--agent", "laptop", "--json"]);
    assert!(is_executed(&laptop.call("tool_request", allowed("g"))));
    gateway.verify();
}

#[test]
fn it_outlives_restarts_crashes_reloads_and_what_retention_drops() {
    let mut gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", asked("open"));
    let id = agent.asked();
    gateway.json(&["kill", "--json"]);
    gateway.kill();
    gateway.restart();
    let refused = |gateway: &Gateway| {
        let mut agent = Agent::login(gateway.address, TOKEN);
        assert_eq!(error(&agent.call("tool_request", allowed("a"))), STOPPED);
    };
    refused(&gateway);
    eventually("the end of the question", || (gateway.row(&id)["resolution"] == "withdrawn").then_some(()));
    assert!(gateway.cli(&["reload"]).status.success());
    refused(&gateway);
    gateway.terminate();
    gateway.restart();
    refused(&gateway);
    // The tables that follow events are made anew; the stop stands, as it does when its event is long gone.
    gateway.terminate();
    assert!(gateway.cli(&["audit", "rebuild"]).status.success());
    gateway.restart();
    refused(&gateway);
    gateway.verify();
    gateway.json(&["resume", "--json"]);
    gateway.kill();
    gateway.restart();
    let mut agent = Agent::login(gateway.address, TOKEN);
    assert!(is_executed(&agent.call("tool_request", allowed("a"))));
    gateway.terminate();
    let db = rusqlite::Connection::open(gateway.path("data/agentpass.db")).unwrap();
    db.execute("INSERT INTO stops VALUES ('laptop', 'local:root', 1, NULL)", []).unwrap();
    let verified = gateway.cli(&["audit", "verify"]);
    let told = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(!verified.status.success() && told.contains("who is stopped"), "{told}");
}

#[test]
fn without_a_gateway_the_next_start_is_stopped() {
    let mut gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", asked("open"));
    let id = agent.asked();
    gateway.kill();
    assert_eq!(gateway.cli(&["kill", "--agent", "lapdog"]).status.code(), Some(5));
    let told = gateway.json(&["kill", "--agent", "laptop", "--reason", "lost", "--json"]);
    let marker = told["marker"].as_str().unwrap().to_owned();
    assert!(marker.ends_with("data/agentpass.db.stop") && told["recorded"] == false, "{told}");
    gateway.json(&["kill", "--json"]);
    assert_eq!(gateway.cli(&["resume"]).status.code(), Some(3));
    gateway.restart();
    assert!(!std::path::Path::new(&marker).exists());
    let now = stopped(&gateway);
    assert_eq!((&now["all"], &now["agents"]), (&json!(true), &json!(["laptop"])), "{now}");
    assert_eq!(now["each"][1]["reason"], "lost", "{now}");
    eventually("the end of the question", || (gateway.row(&id)["resolution"] == "withdrawn").then_some(()));
    gateway.json(&["resume", "--json"]);
    gateway.json(&["resume", "--agent", "laptop", "--json"]);
    gateway.kill();
    // What nobody can read stops everything.
    for content in ["", "what?\n", "{\"by\":\"local:root\"}\n"] {
        std::fs::write(&marker, content).unwrap();
        gateway.restart();
        assert_eq!(stopped(&gateway)["all"], true, "{content:?}");
        gateway.json(&["resume", "--json"]);
        gateway.kill();
    }
    gateway.restart();
    assert_eq!(stopped(&gateway)["all"], false);
    gateway.verify();
}

/// As when the disk is full: it counts, and nobody is told that it is safe before it is.
#[test]
fn a_stop_that_cannot_be_written_down_counts_and_says_so() {
    let mut gateway = Gateway::start();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let db = rusqlite::Connection::open(gateway.path("data/agentpass.db")).unwrap();
    db.execute_batch(
        "CREATE TRIGGER stuck BEFORE INSERT ON events WHEN NEW.kind = 'stopped'
         BEGIN SELECT RAISE(ABORT, 'stuck'); END",
    )
    .unwrap();
    for already in [false, true, true] {
        let told = gateway.json(&["kill", "--json"]);
        assert_eq!((&told["already"], &told["recorded"]), (&json!(already), &json!(false)), "{told}");
        assert_eq!(error(&agent.call("tool_request", allowed("a"))), STOPPED);
    }
    let told = String::from_utf8(gateway.cli(&["kill"]).stdout).unwrap();
    assert!(told.contains("stopped already") && told.contains("NOT BE RECORDED"), "{told}");
    assert_eq!(stopped(&gateway)["each"][0]["recorded"], false);
    assert!(!gateway.cli(&["resume"]).status.success());
    assert_eq!(error(&agent.call("tool_request", allowed("a"))), STOPPED);
    db.execute_batch("DROP TRIGGER stuck").unwrap();
    eventually("the record of it", || (stopped(&gateway)["each"][0]["recorded"] == true).then_some(()));
    let told = gateway.json(&["kill", "--json"]);
    assert_eq!((&told["already"], &told["recorded"]), (&json!(true), &json!(true)), "{told}");
    gateway.kill();
    gateway.restart();
    assert_eq!(stopped(&gateway)["all"], true);
    assert_eq!((seen(&gateway, "a"), events(&gateway, "stopped").len()), (0, 1));
    gateway.verify();
}

/// Whoever presses second is not told that it is recorded while the first one's is still being written.
#[test]
fn a_second_stop_is_acknowledged_no_sooner_than_the_first_is_on_disk() {
    let mut gateway = Gateway::start();
    for _ in 0..6 {
        let _first = gateway.say_and_leave(&[json!({"command": "kill"})]);
        let told = gateway.control(&json!({"command": "kill"})).unwrap();
        assert_eq!(told["recorded"], true, "{told}");
        gateway.kill();
        gateway.restart();
        assert_eq!(stopped(&gateway)["all"], true, "{told}");
        gateway.json(&["resume", "--json"]);
    }
    gateway.verify();
}

/// Calls of several agents, in every state, when it is pressed: afterwards nothing begins any more, and everybody hears what
/// became of theirs.
#[test]
fn nothing_begins_after_it_was_pressed() {
    let usual = Setup::default();
    let config =
        usual.config.replace("approval_timeout: 60", "approval_timeout: 60\nmax_concurrent_calls: 2");
    let gateway = Gateway::with(&Setup { config, ..usual });
    for round in 0..12u64 {
        gateway.upstream.answer(|_| {
            thread::sleep(Duration::from_millis(3));
            Answer::json("{}")
        });
        let callers: Vec<_> = (0..6)
            .map(|caller| {
                let token = if caller % 2 == 0 { TOKEN } else { LAPTOP };
                let mut agent = Agent::login(gateway.address, token);
                thread::spawn(move || {
                    let mut executed = 0;
                    for call in 0.. {
                        let text = format!("{round}-{caller}-{call}");
                        let reply = agent.call("tool_request", allowed(&text));
                        if !is_executed(&reply) {
                            assert_eq!(error(&reply), STOPPED, "{reply}");
                            break;
                        }
                        executed += 1;
                    }
                    executed
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(5 + round * 7));
        let before = gateway.upstream.seen().len();
        gateway.control(&json!({"command": "kill"})).unwrap();
        let done: usize = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
        let rows = gateway.audit();
        assert!(rows.iter().all(|row| row["outcome"] != "pending"));
        let of_round =
            |text: &Value| text.as_str().is_some_and(|text| text.starts_with(&format!("{round}-")));
        let seen = gateway.upstream.seen();
        let sent = seen.iter().filter(|seen| of_round(&seen.json()["text"])).count();
        assert_eq!(sent, done, "what was sent was told as done, and nothing else");
        // At most what was at the service or on its way there.
        assert!(seen.len() <= before + 4, "{before} before, {} after", seen.len());
        gateway.control(&json!({"command": "resume"})).unwrap();
    }
    gateway.verify();
}

/// Killed at whatever moment: what was told as recorded stands at the next start, and no approved call runs.
#[test]
fn a_crash_while_it_is_pressed_loses_nothing_that_was_told() {
    let mut gateway = Gateway::start();
    for round in 0..10u64 {
        let mut agent = Agent::login(gateway.address, TOKEN);
        let text = format!("crash {round}");
        agent.send("tool_request", asked(&text));
        let id = agent.asked();
        let both = [json!({"command": "kill"}), json!({"command": "approve", "id": id})];
        let both: Vec<_> = if round % 2 == 0 { both.to_vec() } else { both.into_iter().rev().collect() };
        let told = match round {
            0..4 => {
                let reply = gateway.control(&both[0]).unwrap();
                reply["recorded"] == true
            }
            _ => {
                let _open = gateway.say_and_leave(&both);
                thread::sleep(Duration::from_millis(round % 5));
                false
            }
        };
        gateway.kill();
        gateway.restart();
        let is_stopped = stopped(&gateway)["all"] == true;
        assert!(is_stopped || !told);
        let ended = || gateway.row(&id)["outcome"] != "pending";
        if is_stopped {
            eventually("the end", || ended().then_some(()));
            let mut agent = Agent::login(gateway.address, TOKEN);
            assert_eq!(error(&agent.call("tool_request", allowed(&text))), STOPPED);
            let row = gateway.row(&id);
            let fits = ["executed", "unknown"].contains(&row["outcome"].as_str().unwrap());
            assert!(seen(&gateway, &text) == 0 || fits, "{row}");
            gateway.json(&["resume", "--json"]);
        } else if !ended() {
            gateway.control(&json!({"command": "deny", "id": id})).unwrap();
        }
        assert!(seen(&gateway, &text) <= 1);
        gateway.verify();
    }
}

/// Where a call is when the power goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Where {
    /// A person has been asked.
    Question,
    /// Approved, or allowed, and there is no place for it.
    Queue,
    /// The yes is on its way.
    Claim,
    Service,
    /// It was executed, and its agent knows.
    Finished,
}

/// When the power goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stop {
    /// After the stop was acknowledged.
    Acknowledged,
    /// So many milliseconds after it was pressed, without waiting for an answer.
    Pressed(u64),
}

#[test]
fn killed_in_every_state_of_a_call_with_a_stop() {
    for place in [Where::Question, Where::Queue, Where::Claim, Where::Service, Where::Finished] {
        for stop in
            [Stop::Acknowledged, Stop::Pressed(0), Stop::Pressed(1), Stop::Pressed(3), Stop::Pressed(10)]
        {
            killed_and_stopped(place, stop);
        }
    }
}

/// Once the stop is in the record, nothing is made that was not at its service already, and every agent hears of it.
fn killed_and_stopped(place: Where, stop: Stop) {
    let usual = Setup::default();
    let config = usual.config.replace("rate_limit:", "max_concurrent_calls: 1\nrate_limit:");
    let mut gateway = Gateway::with(&Setup { config, ..usual });
    gateway
        .upstream
        .answer(|seen| if seen.json()["text"] == "long" { Answer::Hold } else { Answer::json("{}") });
    let mut agent = Agent::login(gateway.address, TOKEN);
    let (calls, question) = put(&gateway, &mut agent, place);
    let yes = question.filter(|_| place == Where::Claim).map(|id| json!({"command": "approve", "id": id}));
    let yes = yes.map(|yes| gateway.say_and_leave(&[yes]));
    // What is claimed when the stop is acknowledged is all that will be.
    let (claimed, pressed) = match stop {
        Stop::Acknowledged => {
            let told = gateway.control(&json!({"command": "kill"})).unwrap();
            assert_eq!(told["recorded"], true, "{told}");
            (Some(claims(&gateway)), None)
        }
        Stop::Pressed(after) => {
            let open = gateway.say_and_leave(&[json!({"command": "kill"})]);
            thread::sleep(Duration::from_millis(after));
            (None, Some(open))
        }
    };
    gateway.kill();
    drop((yes, pressed));
    gateway.upstream.release();
    gateway.restart();

    let case = format!("{place:?}, {stop:?}");
    let is_stopped = stopped(&gateway)["all"] == true;
    assert!(is_stopped || claimed.is_none(), "{case}");
    if !is_stopped {
        // The stop was lost before it was acknowledged, and whatever happens now is tested elsewhere.
        return gateway.verify();
    }
    let is_ended = || gateway.audit().iter().all(|row| row["outcome"] != "pending");
    eventually("an end of every call", || is_ended().then_some(()));
    assert!(gateway.questions().is_empty(), "{case}");
    assert!(
        claimed.is_none_or(|claimed| claims(&gateway) == claimed),
        "{case}: claimed after the stop was acknowledged"
    );
    for row in gateway.audit() {
        let text = row["args"]["text"].as_str().unwrap();
        let (outcome, times) = (row["outcome"].as_str().unwrap(), seen(&gateway, text));
        let fits = match (place, text) {
            (_, "long") => outcome == "unknown" && times == 1,
            (Where::Finished, _) => outcome == "executed" && times == 1,
            (Where::Claim, _) => match outcome {
                "executed" => times == 1,
                "unknown" => times <= 1,
                _ => outcome == "denied" && times == 0,
            },
            _ => outcome == "denied" && times == 0,
        };
        assert!(fits, "{case}: {times} of {row}");
    }
    // Replays hear of the stop, whatever became of the first.
    let mut agent = Agent::login(gateway.address, TOKEN);
    for call in &calls {
        assert_eq!(error(&agent.call("tool_request", call.clone())), STOPPED, "{case}: {call}");
    }
    let before = gateway.upstream.seen().len();
    gateway.json(&["resume", "--json"]);
    gateway.verify();
    assert_eq!(
        (gateway.upstream.seen().len(), gateway.questions().len()),
        (before, 0),
        "{case}: resuming makes nothing"
    );
    let again = |agent: &mut Agent| agent.call("tool_request", calls[0].clone());
    match place {
        Where::Service => assert_eq!(error(&again(&mut agent)), (-32004, "unknown_result"), "{case}"),
        Where::Finished => assert_eq!(again(&mut agent)["result"]["replayed"], true, "{case}"),
        Where::Question | Where::Queue | Where::Claim => {}
    }
    assert_eq!(gateway.upstream.seen().len(), before, "{case}");
}

/// Brings calls to this place, and gives them and the id of the question, where there is one.
fn put(gateway: &Gateway, agent: &mut Agent, place: Where) -> (Vec<Value>, Option<String>) {
    match place {
        Where::Question | Where::Claim => {
            agent.send("tool_request", asked("asked"));
            (vec![asked("asked")], Some(agent.asked()))
        }
        Where::Service => {
            agent.send("tool_request", allowed("long"));
            gateway.upstream.wait_for(1);
            (vec![allowed("long")], None)
        }
        Where::Finished => {
            assert!(is_executed(&agent.call("tool_request", allowed("short"))));
            (vec![allowed("short")], None)
        }
        Where::Queue => {
            Agent::login(gateway.address, LAPTOP).send("tool_request", allowed("long"));
            gateway.upstream.wait_for(1);
            agent.send("tool_request", asked("asked"));
            gateway.say_yes(&agent.asked());
            agent.send("tool_request", allowed("short"));
            eventually("it is judged", || {
                gateway.log().contains("by default: allow call_service").then_some(())
            });
            (vec![asked("asked"), allowed("short")], None)
        }
    }
}

/// How many calls the record has as claimed.
fn claims(gateway: &Gateway) -> i64 {
    let db = rusqlite::Connection::open(gateway.path("data/agentpass.db")).unwrap();
    let sql =
        "SELECT count(*) FROM events WHERE kind = 'executing' OR json_extract(body, '$.then') = 'executing'";
    db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
}

#[test]
fn the_circuit_breaker_stops_an_agent_that_is_denied_too_often() {
    let usual = Setup::default();
    let permissions = format!("circuit_breaker: {{denies: 3, window: 1h}}\n{}", usual.permissions);
    let mut gateway = Gateway::with(&Setup { permissions, ..usual });
    let mut agent = Agent::login(gateway.address, TOKEN);
    let denied = |agent: &mut Agent| agent.request("drop_all", json!({}));
    // Refused calls and a person's no do not count.
    for _ in 0..5 {
        agent.request("no_such_tool", json!({}));
    }
    agent.send("tool_request", asked("a"));
    let id = agent.asked();
    gateway.say_no(&id);
    agent.receive();
    for _ in 0..3 {
        assert_eq!(error(&denied(&mut agent)), (-32003, "denied_by_policy"));
    }
    assert_eq!(error(&denied(&mut agent)), STOPPED);
    assert_eq!(error(&agent.call("tool_request", allowed("b"))), STOPPED);
    let mut other = Agent::login(gateway.address, LAPTOP);
    assert!(is_executed(&other.call("tool_request", allowed("c"))));
    let now = stopped(&gateway);
    assert_eq!((&now["all"], &now["agents"]), (&json!(false), &json!(["default"])), "{now}");
    assert_eq!(
        (&now["by"], &now["reason"]),
        (&json!("circuit_breaker"), &json!("3 calls were denied within 1 h 0 min"))
    );
    eventually("the record of it", || (stopped(&gateway)["each"][0]["recorded"] == true).then_some(()));
    gateway.kill();
    gateway.restart();
    let mut agent = Agent::login(gateway.address, TOKEN);
    assert_eq!(error(&agent.call("tool_request", allowed("d"))), STOPPED);
    gateway.json(&["resume", "--agent", "default", "--json"]);
    assert!(is_executed(&agent.call("tool_request", allowed("d"))));
    gateway.verify();
}

#[test]
fn grants_end_with_a_stop_and_with_a_violation_where_the_owner_says_so() {
    let usual = Setup::default();
    let permissions = format!(
        "revoke_on_violation: true\nlimits: [{{name: lights, pattern: \"call_service*\", per: [agent], window: day, deny_above: 1}}]\n{}",
        usual.permissions
    );
    let mut gateway = Gateway::with(&Setup { permissions, ..usual });
    let grant = |gateway: &Gateway, agent: &str| {
        assert!(gateway.cli(&["grant", agent, "say*", "--for", "1h"]).status.success());
    };
    let lasting = |gateway: &Gateway| gateway.json(&["grants", "--json"]).as_array().unwrap().len();
    let mut agent = Agent::login(gateway.address, TOKEN);
    grant(&gateway, "default");
    grant(&gateway, "laptop");
    assert!(is_executed(&agent.call("tool_request", asked("granted"))));
    gateway.json(&["kill", "--agent", "laptop", "--json"]);
    assert_eq!(lasting(&gateway), 1);
    gateway.json(&["resume", "--agent", "laptop", "--json"]);
    assert_eq!(lasting(&gateway), 1, "what has ended does not come back");
    assert!(is_executed(&agent.call("tool_request", allowed("first"))));
    assert_eq!(error(&agent.call("tool_request", allowed("second"))), (-32003, "limit_reached"));
    assert_eq!(lasting(&gateway), 0);
    // A crash right after it was pressed brings none back.
    grant(&gateway, "default");
    gateway.control(&json!({"command": "kill"})).unwrap();
    gateway.kill();
    gateway.restart();
    gateway.json(&["resume", "--json"]);
    assert_eq!(lasting(&gateway), 0);
    gateway.verify();
}

#[test]
fn the_pages_stop_after_one_more_look_and_resume() {
    let gateway = Gateway::with(&Setup::with_pages());
    let mut agent = Agent::login(gateway.address, TOKEN);
    let mut laptop = Agent::login(gateway.address, LAPTOP);
    let site = Site::signed_in(&gateway);
    assert!(site.get("/").body.contains("href=\"/kill/\""));
    let page = site.get("/kill/");
    assert!(
        page.body.contains("Yes, stop") && page.body.contains("method=\"post\" action=\"/kill/\""),
        "{page:?}"
    );
    assert!(is_executed(&agent.call("tool_request", allowed("a"))), "looking stops nothing");

    assert_eq!(Site::of(&gateway).post("/kill/", &[]).status, 401);
    assert_eq!(Site { csrf: "x".into(), ..site.clone() }.post("/kill/", &[("agent", "")]).status, 403);
    assert_eq!(site.post("/kill/", &[("agent", "lapdog")]).status, 400);
    assert_eq!(stopped(&gateway)["all"], false);
    assert!(site.get("/healthz").json().get("stopped").is_none());

    assert_eq!(site.post("/kill/", &[("agent", "laptop")]).status, 303);
    assert_eq!(error(&laptop.call("tool_request", allowed("b"))), STOPPED);
    assert!(is_executed(&agent.call("tool_request", allowed("c"))));
    assert!(site.get("/metrics").body.contains("agentpass_stopped{agent=\"laptop\"} 1\n"));
    assert_eq!(site.post("/kill/", &[("agent", ""), ("reason", "<b>odd")]).status, 303);
    assert_eq!(error(&agent.call("tool_request", allowed("d"))), STOPPED);
    for path in ["/", "/approvals/", "/grants/", "/audit/", "/kill/"] {
        let page = site.get(path);
        let line = "Everything is stopped by web:";
        assert!(page.body.contains("role=\"alert\"") && page.body.contains(line), "{path}: {page:?}");
        assert!(page.body.contains("&lt;b&gt;odd"), "{path}");
    }
    let health = site.get("/healthz");
    assert_eq!((health.status, &health.json()["stopped"]), (200, &json!(true)));
    assert!(site.get("/metrics").body.contains("agentpass_stopped{agent=\"*\"} 1\n"));

    let at = |name: &str| {
        let body = site.get("/kill/").body;
        let form = format!("name=\"agent\" value=\"{name}\"><input type=\"hidden\" name=\"at\" value=\"");
        body.split(&form).nth(1).unwrap_or_else(|| panic!("{body}")).split('"').next().unwrap().to_owned()
    };
    let (all, alone) = (at(""), at("laptop"));
    assert_eq!(site.post("/kill/resume", &[("agent", ""), ("at", "1970-01-01T00:00:00Z")]).status, 303);
    assert_eq!(stopped(&gateway)["all"], true, "not the stop that was shown");
    assert_eq!(site.post("/kill/resume", &[("agent", ""), ("at", &all)]).status, 303);
    assert!(is_executed(&agent.call("tool_request", allowed("e"))));
    assert_eq!(error(&laptop.call("tool_request", allowed("f"))), STOPPED);
    assert_eq!(site.post("/kill/resume", &[("agent", "laptop"), ("at", &alone)]).status, 303);
    assert!(is_executed(&laptop.call("tool_request", allowed("g"))));
    assert!(!site.get("/").body.contains("role=\"alert\""));
    gateway.verify();
}
