//! Edit, then approve: what is executed is the changed call, once, under the same request; what is said against the
//! change ends the change and not the question.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;
mod random;
mod telegram_api;
mod telegram_world;

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use harness::gateway::{LAPTOP, TOKEN, cli};
use harness::site::Site;
use harness::{Agent, Answer, Gateway, Setup, eventually, timing};
use random::Random;
use serde_json::{Value, json};
use telegram_api::{ANNA, BEN, GROUP, Telegram};
use telegram_world::say;

const PERMISSIONS: &str = r#"
rules:
  - {pattern: "call_service(lock.*)", action: deny, description: "Lock control is always denied"}
  - {pattern: "say*", action: ask}
defaults:
  - {pattern: "get_*", action: allow}
  - {pattern: "*", action: ask}
"#;

fn setup() -> Setup {
    Setup { permissions: PERMISSIONS.into(), ..Setup::default() }
}

fn dim(agent: &mut Agent) -> u64 {
    agent.send("tool_request", json!({"tool": "call_service", "args": args(100), "idempotency_key": "dim-1"}))
}

fn args(brightness: u32) -> Value {
    json!({"domain": "light", "service": "turn_on", "entity_id": "light.desk", "brightness": brightness})
}

/// Exit code and the answer of `approve --json` with these options.
fn approve(gateway: &Gateway, options: &[&str]) -> (i32, Value) {
    let output = cli(&gateway.folder, &[&["approve", "--json"], options].concat(), "");
    let text = String::from_utf8(output.stdout).unwrap();
    print!("{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// What the service was told to do: path and body.
fn sent(gateway: &Gateway) -> Vec<(String, Value)> {
    let seen = gateway.upstream.seen();
    seen.iter().filter(|seen| seen.method == "POST").map(|seen| (seen.target.clone(), seen.json())).collect()
}

#[test]
fn the_changed_call_is_made_once_and_both_are_in_the_record() {
    let gateway = Gateway::with(&setup());
    let mut agent = Agent::login(gateway.address, TOKEN);
    let call = dim(&mut agent);
    let id = gateway.question();
    let (code, answer) = approve(
        &gateway,
        &[&id, "--set", "brightness:=60", "--set", "transition:=null", "--set", "entity_id=light.door"],
    );
    assert_eq!((code, &answer["outcome"]), (0, &json!("resolved")), "{answer}");
    let reply = agent.reply(call);
    assert_eq!(reply["result"]["edited"], json!(["brightness", "entity_id"]), "{reply}");
    assert_eq!(reply["result"]["request_id"], id.as_str());
    let body = json!({"brightness": 60, "entity_id": "light.door"});
    assert_eq!(sent(&gateway), [("/api/services/light/turn_on".to_owned(), body)]);

    // The key stands for what the agent asked, and the answer still says what was changed.
    let again = dim(&mut agent);
    let again = agent.reply(again);
    assert_eq!(
        (&again["result"]["replayed"], &again["result"]["edited"]),
        (&json!(true), &reply["result"]["edited"])
    );
    assert_eq!(sent(&gateway).len(), 1);

    let row = gateway.row(&id);
    assert_eq!(row["args"], args(100));
    assert_eq!(row["edited"]["names"], json!(["brightness", "entity_id"]));
    assert_eq!(row["edited"]["args"]["brightness"], 60);
    assert_eq!(row["edited"]["signature"], "call_service(light.turn_on, light.door)");
    assert!(row["edited"]["by"].as_str().unwrap().starts_with("local:"), "{row}");
    assert_eq!((&row["outcome"], &row["resolution"]), (&json!("executed"), &json!("approved")));
    let shown = gateway.json(&["audit", "show", &id, "--json"]);
    let kinds: Vec<_> =
        shown["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["requested", "edited", "answered", "executing", "finished"]);
    gateway.verify();
}

#[test]
fn what_is_said_against_a_change_leaves_the_question_open() {
    let gateway = Gateway::with(&setup());
    let mut agent = Agent::login(gateway.address, TOKEN);
    let call = dim(&mut agent);
    let id = gateway.question();
    let before = gateway.questions();
    let refused = [
        (&["--set", "domain=LIGHT"][..], 4, "refused"),
        (&["--set", "domain:=null"], 4, "refused"),
        (&["--set", "colour=red"], 4, "refused"),
        (&["--set", "brightness:=[1"], 4, ""),
        (&["--set", "x=1", "--set", "x=2"], 4, ""),
        (&["--set", "entity_id=s3rvice-cr3dential-0123456789"], 4, "refused"),
        (&["--set", "domain=lock"], 1, "denied"),
        (&["--set", "brightness:=60", "--digest", "0011223344556677"], 1, "stale"),
        (&["--digest", "0011223344556677"], 1, "stale"),
    ];
    for (options, code, outcome) in refused {
        let (exit, answer) = approve(&gateway, &[&[id.as_str()], options].concat());
        assert_eq!(
            (exit, answer["outcome"].as_str().unwrap_or_default()),
            (code, outcome),
            "{options:?}: {answer}"
        );
    }
    let said = cli(&gateway.folder, &["approve", &id, "--set", "domain=lock"], "");
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("a rule denies it now: Lock control is always denied"), "{said}");
    assert_eq!(gateway.questions(), before);
    assert!(sent(&gateway).is_empty());
    let digest = before[0]["digest"].as_str().unwrap();
    assert_eq!(approve(&gateway, &[&id, "--digest", digest]).0, 0);
    let reply = agent.reply(call);
    assert_eq!((&reply["result"]["status"], &reply["result"]["edited"]), (&json!("executed"), &Value::Null));
    assert_eq!(sent(&gateway)[0].1["brightness"], 100);
    let (code, answer) = approve(&gateway, &[&id, "--set", "brightness:=1"]);
    assert_eq!((code, &answer["outcome"]), (5, &json!("already_resolved")), "{answer}");
    gateway.verify();
}

#[test]
fn secrets_are_neither_changed_nor_shown() {
    let gateway = Gateway::with(&setup());
    let mut agent = Agent::login(gateway.address, LAPTOP);
    let call = agent.send("tool_request", json!({"tool": "say", "args": {"text": "hi", "pin": "4711"}}));
    let id = gateway.question();
    for set in ["pin=1", "pin:=null"] {
        let (code, answer) = approve(&gateway, &[&id, "--set", set]);
        assert_eq!((code, &answer["outcome"]), (4, &json!("refused")), "{answer}");
    }
    let shown = cli(&gateway.folder, &["approve", &id, "--set", "text=hello"], "");
    let shown = String::from_utf8([shown.stdout, shown.stderr].concat()).unwrap();
    assert!(shown.contains("text ⟨changed⟩") && shown.contains("text ⟨as asked⟩"), "{shown}");
    assert!(shown.contains("•••") && !shown.contains("4711"), "{shown}");
    assert_eq!(agent.reply(call)["result"]["edited"], json!(["text"]));
    assert_eq!(sent(&gateway)[0].1, json!({"text": "hello", "pin": "4711"}));
    let record = gateway.json(&["audit", "show", &id, "--json"]).to_string();
    assert!(!record.contains("4711"));
}

/// The same call is joined by what it was when it was asked, also after somebody has changed it.
#[test]
fn limits_count_the_changed_call_and_joins_go_by_the_call_as_asked() {
    let limits = "limits:\n  - {name: bright, pattern: \"call_service*\", count: \"arg:brightness\", per: agent, window: 1h, deny_above: 100}\n";
    let gateway = Gateway::with(&Setup { permissions: format!("{PERMISSIONS}{limits}"), ..setup() });
    let mut agent = Agent::login(gateway.address, TOKEN);
    let first = dim(&mut agent);
    let id = gateway.question();
    let mut other = Agent::login(gateway.address, TOKEN);
    let joined = other.send("tool_request", json!({"tool": "call_service", "args": args(100)}));
    eventually("the second one joins", || (gateway.whole_questions()[0]["times_asked"] == 2).then_some(()));
    let (code, answer) = approve(&gateway, &[&id, "--set", "brightness:=101"]);
    assert_eq!((code, &answer["outcome"]), (1, &json!("denied")), "{answer}");
    assert_eq!(approve(&gateway, &[&id, "--set", "brightness:=30"]).0, 0);
    for reply in [agent.reply(first), other.reply(joined)] {
        assert_eq!(
            (&reply["result"]["edited"], &reply["result"]["request_id"]),
            (&json!(["brightness"]), &json!(id))
        );
    }
    let counted = gateway.json(&["limits", "--json"]);
    assert_eq!(counted[0]["count"], "30", "{counted}");
    assert_eq!(sent(&gateway).len(), 1);
}

fn pages() -> Setup {
    Setup { permissions: PERMISSIONS.into(), ..Setup::with_pages() }
}

/// What follows `before` up to the next quote, with the escapes of HTML undone.
fn after(page: &str, before: &str) -> String {
    let rest = page.split_once(before).unwrap_or_else(|| panic!("{before} is not in {page}")).1;
    rest.split('"').next().unwrap().replace("&quot;", "\"").replace("&amp;", "&")
}

#[test]
fn a_plain_form_changes_arguments_shows_them_and_approves_just_that() {
    let gateway = Gateway::with(&pages());
    let site = Site::signed_in(&gateway);
    let mut agent = Agent::login(gateway.address, TOKEN);
    let call = dim(&mut agent);
    let id = gateway.question();
    let (edit, answer) = (format!("/approvals/{id}/edit"), format!("/approvals/{id}"));
    let form = site.get(&edit);
    // Declared arguments first, by name; what the agent added comes after them.
    for field in
        ["name=\"a0\" value=\"light\"", "name=\"a1\" value=\"light.desk\"", "name=\"a3\" value=\"100\""]
    {
        assert!(form.body.contains(field), "{field}: {}", form.body);
    }
    let digest = after(&form.body, "name=\"digest\" value=\"");
    let fields = |domain: &'static str, digest: &str| {
        let fields = [("a0", domain), ("a1", "light.desk"), ("a2", "turn_on"), ("a3", "60"), ("o1", "on")];
        let all = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        [&all[..], &[("digest".to_owned(), digest.to_owned())]].concat()
    };
    let post = |path: &str, fields: Vec<(String, String)>| {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        site.post(path, &fields)
    };
    for (domain, digest, status, said) in [
        ("LIGHT", digest.as_str(), 400, "Not like this"),
        ("lock", digest.as_str(), 200, "Lock control is always denied"),
        ("light", "0011223344556677", 409, "Look again"),
    ] {
        let page = post(&edit, fields(domain, digest));
        assert!(page.status == status && page.body.contains(said), "{domain}: {} {}", page.status, page.body);
    }
    let page = post(&edit, fields("light", &digest));
    assert!(page.body.contains("⟨changed⟩") && page.body.contains("⟨as asked⟩"), "{}", page.body);
    assert!(sent(&gateway).is_empty() && gateway.questions().len() == 1);
    let set = after(&page.body, "name=\"set\" value=\"");
    assert_eq!(serde_json::from_str::<Value>(&set).unwrap(), json!({"brightness": 60, "entity_id": null}));
    let yes = |digest: &str| {
        let fields = [("choice", "approve"), ("set", set.as_str()), ("digest", digest)];
        post(&answer, fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
    };
    assert_eq!(yes("0011223344556677").status, 409);
    assert_eq!(yes(&digest).status, 303);
    assert_eq!(agent.reply(call)["result"]["edited"], json!(["brightness", "entity_id"]));
    assert_eq!(sent(&gateway)[0].1, json!({"brightness": 60}));
    let record = site.get(&format!("/audit/call/{id}")).body;
    assert!(record.contains("Arguments as changed") && record.contains("edited"), "{record}");
}

#[test]
fn many_are_answered_at_once_and_what_came_since_is_not() {
    let gateway = Gateway::with(&pages());
    let site = Site::signed_in(&gateway);
    let (mut agent, mut laptop) =
        (Agent::login(gateway.address, TOKEN), Agent::login(gateway.address, LAPTOP));
    let say = |agent: &mut Agent, text: &str| {
        agent.send("tool_request", json!({"tool": "say", "args": {"text": text}}))
    };
    let said: Vec<_> = ["one", "two"].map(|text| say(&mut agent, text)).into();
    let dimmed = dim(&mut agent);
    let other = say(&mut laptop, "three");
    eventually("four questions", || (gateway.questions().len() == 4).then_some(()));
    for options in [
        &["--all"][..],
        &["--agent", "default"],
        &["--all", "--agent", "default", "--rule", "1", "--default", "1"],
    ] {
        assert_eq!(approve(&gateway, options).0, 4, "{options:?}");
    }
    let all = ["approve", "--all", "--agent", "default", "--rule", "2", "--json"];
    let output = cli(&gateway.folder, &all, "");
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((output.status.code(), lines.len()), (Some(0), 2), "{lines:?}");
    assert!(lines.iter().all(|line| line["outcome"] == "resolved"), "{lines:?}");
    // In whatever order.
    let mut missing: BTreeSet<u64> = said.into_iter().collect();
    while !missing.is_empty() {
        let message = agent.receive();
        if let Some(call) = message["id"].as_u64() {
            assert!(missing.remove(&call) && message["result"]["status"] == "executed", "{message}");
        }
    }
    // The page: one that was shown, one that is no more, one whose call is another.
    let page = site.get("/approvals/").body;
    let boxes: Vec<_> =
        page.split("name=\"q\" value=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(boxes.len(), 2, "{page}");
    let gone = lines[0]["request_id"].as_str().unwrap().to_owned() + ".0011223344556677";
    let mut fields: Vec<_> = boxes.iter().map(|shown| ("q", *shown)).collect();
    fields.extend([("q", gone.as_str()), ("choice", "deny")]);
    let told = site.post("/approvals/several", &fields).body;
    assert_eq!(told.matches("Denied by you").count(), 2, "{told}");
    assert!(told.contains("Approved by local:"), "{told}");
    assert!(agent.reply(dimmed)["error"].is_object() && laptop.reply(other)["error"].is_object());
    let output = cli(&gateway.folder, &["deny", "--all", "--agent", "default", "--json"], "");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
}

/// What was asked, changed and answered about a call, in order.
fn kinds(gateway: &Gateway, id: &str) -> Vec<String> {
    let story = gateway.json(&["audit", "show", id, "--json"]);
    story["events"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap().to_owned()).collect()
}

/// Anna has said yes to the call as it was; whoever changes it is the first to say yes to the call as it is.
#[test]
fn a_change_voids_what_others_have_said_yes_to_and_every_card_is_replaced() {
    let telegram = Telegram::start();
    let people = format!("people:\n  anna: {{telegram: {}}}\n  ben: {{telegram: {}}}\n", ANNA.id, BEN.id);
    let permissions = "rules: [{pattern: say, action: ask, approvals: 2}]\n".to_owned();
    let mut gateway = Gateway::with(&Setup { permissions, ..telegram_world::setup(&telegram, &people) });
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", say("hello"));
    let id = agent.asked();
    let old = telegram.card(GROUP, "hello");
    telegram.toast(&telegram.tap(&old, "Allow", ANNA));
    let (code, answer) = approve(&gateway, &[&id, "--set", "text=goodbye"]);
    assert_eq!((code, &answer["outcome"], &answer["have"]), (0, &json!("counted"), &json!(1)), "{answer}");
    let toast = telegram.tap_stale(&old, "Allow", ANNA);
    assert!(telegram.toast(&toast).text.contains("look again"));
    telegram.becomes(&old, "the end of the old card", |shown| {
        shown.text().starts_with("✏️ Changed") && shown.buttons().is_empty()
    });
    let new = telegram
        .find(GROUP, "the new card", |shown| shown.text().contains("goodbye") && !shown.buttons().is_empty());
    assert!(new.text().contains("look again") && new.text().contains("⟨as asked⟩"), "{}", new.text());
    let toast = telegram.tap_stale(&old, "Allow", BEN);
    assert!(telegram.toast(&toast).text.contains("out of date"));
    // All of that is known after a crash.
    gateway.kill();
    gateway.restart();
    let question = &gateway.whole_questions()[0];
    assert_eq!((&question["approvals"]["have"], &question["args"]["text"]), (&json!(1), &json!("goodbye")));
    assert_eq!(question["edited"]["asked"]["args"]["text"], "hello");
    assert!(gateway.upstream.seen().is_empty());
    telegram.toast(&telegram.tap(&new, "Allow", BEN));
    gateway.upstream.wait_for(1);
    eventually("the end", || (gateway.row(&id)["outcome"] == "executed").then_some(()));
    assert_eq!(sent(&gateway), [("/api/say".to_owned(), json!({"text": "goodbye"}))]);
    let all = ["requested", "counted", "edited", "counted", "answered", "executing", "finished"];
    assert_eq!(kinds(&gateway, &id), all);
    telegram.assert_clean();
    gateway.verify();
}

/// A change there and back again makes the same call, which nobody has said yes to yet.
#[test]
fn a_change_that_is_taken_back_brings_no_yes_back() {
    let telegram = Telegram::start();
    let people = format!("people:\n  anna: {{telegram: {}}}\n", ANNA.id);
    let permissions = "rules: [{pattern: say, action: ask, approvals: 3}]\n".to_owned();
    let mut gateway = Gateway::with(&Setup { permissions, ..telegram_world::setup(&telegram, &people) });
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", say("hello"));
    let id = agent.asked();
    let card = telegram.card(GROUP, "hello");
    telegram.toast(&telegram.tap(&card, "Allow", ANNA));
    assert_eq!(approve(&gateway, &[&id, "--set", "text=goodbye"]).1["have"], 1);
    assert_eq!(approve(&gateway, &[&id, "--set", "text=hello"]).1["have"], 1);
    let tally = |gateway: &Gateway| gateway.whole_questions()[0]["approvals"]["by"].clone();
    let before = tally(&gateway);
    assert!(before.as_array().unwrap().len() == 1 && !before.to_string().contains("telegram"), "{before}");
    gateway.kill();
    gateway.restart();
    assert_eq!(tally(&gateway), before);
    gateway.verify();
}

#[test]
fn a_changed_call_needs_what_is_stricter_of_both() {
    let permissions = r#"
rules:
  - {pattern: "call_service(light.*)", action: ask, approvals: 2}
  - {pattern: "call_service(cover.*)", action: ask, approvals: 3}
  - {pattern: "call_service(fan.*)", action: allow}
  - {pattern: "call_service(switch.*)", action: ask, approvers: ["local:nobody"]}
"#;
    let mut gateway = Gateway::with(&Setup { permissions: permissions.into(), ..setup() });
    let mut agent = Agent::login(gateway.address, TOKEN);
    let ask = |agent: &mut Agent, entity: &str| {
        let args = json!({"domain": "light", "service": "turn_on", "entity_id": entity});
        agent.send("tool_request", json!({"tool": "call_service", "args": args}));
        agent.asked()
    };
    for (place, (domain, need)) in [("cover", 3), ("fan", 2)].into_iter().enumerate() {
        let id = ask(&mut agent, &format!("light.n{place}"));
        let (code, answer) = approve(&gateway, &[&id, "--set", &format!("domain={domain}")]);
        assert_eq!(
            (code, &answer["outcome"], &answer["need"]),
            (0, &json!("counted"), &json!(need)),
            "{answer}"
        );
    }
    // Nobody changes a call into one that is for others to approve.
    let id = ask(&mut agent, "light.n3");
    let (code, answer) = approve(&gateway, &[&id, "--set", "domain=switch"]);
    assert_eq!((code, &answer["outcome"]), (1, &json!("not_approver")), "{answer}");
    assert_eq!(kinds(&gateway, &id), ["requested"]);
    gateway.kill();
    // Though the rules ask for less by now.
    gateway.configure(&Setup { permissions: PERMISSIONS.into(), ..setup() });
    gateway.restart();
    let needs: Vec<_> = gateway.whole_questions().iter().map(|q| q["approvals"]["need"].clone()).collect();
    assert_eq!(needs, [3, 2, 2]);
    assert!(sent(&gateway).is_empty());
    gateway.verify();
}

/// However changes and answers race: what is made is one call at most, and it is the one that the winner saw.
#[test]
fn answers_and_changes_that_race() {
    let gateway = Gateway::with(&setup());
    let mut random = Random::new(20_261_129);
    for round in 0..24 {
        let mut agent = Agent::login(gateway.address, TOKEN);
        let (call, id, digest, before) = {
            let call = agent.send("tool_request", json!({"tool": "call_service", "args": args(100 + round)}));
            let id = agent.asked();
            let digest = gateway.whole_questions()[0]["digest"].clone();
            (call, id, digest, sent(&gateway).len())
        };
        let yes = |set: Value| json!({"command": "approve", "id": id, "digest": digest, "set": set});
        let mut all = [
            (yes(json!({})), Some(100 + round)),
            (yes(json!({"brightness": 1})), Some(1)),
            (yes(json!({"brightness": 2})), Some(2)),
            (json!({"command": "deny", "id": id}), None),
        ];
        let at = random.below(all.len());
        all.rotate_left(at);
        let gateway = &gateway;
        let answers: Vec<_> = thread::scope(|scope| {
            let answer = |(command, brightness): &(Value, Option<u32>)| {
                let (command, brightness) = (command.clone(), *brightness);
                scope.spawn(move || (gateway.control(&command).unwrap(), brightness))
            };
            let running: Vec<_> = all.iter().map(answer).collect();
            running.into_iter().map(|it| it.join().unwrap()).collect()
        });
        let winners: Vec<_> = answers.iter().filter(|(answer, _)| answer["outcome"] == "resolved").collect();
        assert_eq!(winners.len(), 1, "{answers:?}");
        let reply = agent.reply(call);
        let made: Vec<_> =
            sent(gateway)[before..].iter().map(|(_, body)| body["brightness"].clone()).collect();
        match winners[0].1 {
            Some(brightness) => assert_eq!(made, [brightness], "{answers:?}"),
            None => assert!(made.is_empty() && reply["error"].is_object(), "{answers:?}: {reply}"),
        }
        for (answer, _) in &answers {
            let outcome = answer["outcome"].as_str().unwrap();
            assert!(["resolved", "already_resolved", "stale"].contains(&outcome), "{answers:?}");
        }
    }
    gateway.verify();
}

/// With one place for calls, which somebody else's call holds: the changed call is approved and waits when the power goes.
#[test]
fn an_approved_change_that_waits_outlives_a_crash_and_is_made_once() {
    let config = setup().config.replace("rate_limit:", "max_concurrent_calls: 1\nrate_limit:");
    let mut gateway = Gateway::with(&Setup { config, ..setup() });
    gateway
        .upstream
        .answer(|seen| if seen.target.contains("hold") { Answer::Hold } else { Answer::json("{}") });
    let mut laptop = Agent::login(gateway.address, LAPTOP);
    laptop.send("tool_request", json!({"tool": "get_state", "args": {"entity_id": "hold"}}));
    gateway.upstream.wait_for(1);
    let mut agent = Agent::login(gateway.address, TOKEN);
    dim(&mut agent);
    let id = agent.asked();
    assert_eq!(approve(&gateway, &[&id, "--set", "brightness:=60"]).1["outcome"], "resolved");
    assert_eq!(kinds(&gateway, &id), ["requested", "edited", "answered"]);
    gateway.kill();
    gateway.upstream.release();
    gateway.restart();
    eventually("the changed call", || (gateway.row(&id)["outcome"] == "executed").then_some(()));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let again = dim(&mut agent);
    let again = agent.reply(again);
    assert_eq!(
        (&again["result"]["replayed"], &again["result"]["edited"]),
        (&json!(true), &json!(["brightness"])),
        "{again}"
    );
    assert_eq!(
        sent(&gateway),
        [("/api/services/light/turn_on".into(), json!({"brightness": 60, "entity_id": "light.desk"}))]
    );
    gateway.verify();
}

/// Killed as soon as the record has one more step of a change that is approved, or at any moment before: the question is
/// open again and about what the record says, or the changed call was made. Nobody's yes makes the original.
#[test]
fn killed_between_a_change_and_its_claim() {
    let mut gateway = Gateway::with(&setup());
    let mut random = Random::new(20_261_128);
    for round in 0..12 {
        let mut agent = Agent::login(gateway.address, TOKEN);
        let (asked, changed, before) = (1000 + round, 1 + round, sent(&gateway).len());
        let params =
            json!({"tool": "call_service", "args": args(asked), "idempotency_key": format!("k{round}")});
        agent.send("tool_request", params.clone());
        let id = agent.asked();
        let as_asked = gateway.whole_questions()[0]["digest"].clone();
        let approve_changed = json!({"command": "approve", "id": id, "set": {"brightness": changed}});
        let open = gateway.say_and_leave(&[approve_changed]);
        match round % 3 {
            0 => thread::sleep(Duration::from_micros(random.below(12_000).try_into().unwrap())),
            step => wait_for_step(&gateway, &id, if step == 1 { "edited" } else { "answered" }),
        }
        gateway.kill();
        drop(open);
        gateway.restart();
        let made = |gateway: &Gateway| -> Vec<Value> {
            sent(gateway)[before..].iter().map(|(_, body)| body["brightness"].clone()).collect()
        };
        let steps = kinds(&gateway, &id);
        if steps.iter().any(|kind| kind == "answered") {
            let ended = || gateway.row(&id)["outcome"] != "pending";
            eventually("the end of the changed call", || ended().then_some(()));
            let outcome = gateway.row(&id)["outcome"].as_str().unwrap().to_owned();
            let fits = match outcome.as_str() {
                "executed" => made(&gateway) == [changed],
                "unknown" => [&[][..], &[json!(changed)]].contains(&made(&gateway).as_slice()),
                _ => false,
            };
            assert!(fits, "round {round}: {outcome}, {steps:?}, {:?}", made(&gateway));
        } else {
            assert_eq!(made(&gateway), Vec::<Value>::new(), "round {round}: {steps:?}");
            let is_changed = steps.iter().any(|kind| kind == "edited");
            let question = &gateway.whole_questions()[0];
            let shown = if is_changed { changed } else { asked };
            assert_eq!(
                (&question["request_id"], &question["args"]["brightness"]),
                (&json!(id), &json!(shown))
            );
            let yes = |digest: &Value| {
                gateway.control(&json!({"command": "approve", "id": id, "digest": digest})).unwrap()["outcome"].clone()
            };
            if is_changed {
                assert_eq!(yes(&as_asked), "stale", "a button of the card as it was");
            }
            assert_eq!(yes(&question["digest"]), "resolved");
            eventually("the call", || (gateway.row(&id)["outcome"] == "executed").then_some(()));
            assert_eq!(made(&gateway), [shown], "round {round}: {steps:?}");
        }
        // The key leads to what was done, and to nothing more.
        let told = made(&gateway);
        let mut agent = Agent::login(gateway.address, TOKEN);
        let reply = agent.call("tool_request", params);
        let is_unknown = reply["error"]["data"]["reason"] == "unknown_result";
        assert!(is_unknown || reply["result"]["replayed"] == true, "{reply}");
        assert_eq!(made(&gateway), told);
        gateway.verify();
    }
}

/// Waits until the record has this step of the call.
fn wait_for_step(gateway: &Gateway, id: &str, kind: &str) {
    let db = rusqlite::Connection::open(gateway.path("data/agentpass.db")).unwrap();
    let sql = "SELECT count(*) FROM events WHERE kind = ?1 AND request_id = ?2";
    let mut count = db.prepare(sql).unwrap();
    let deadline = Instant::now() + timing::PATIENCE;
    while count.query_row([kind, id], |row| row.get::<_, i64>(0)).unwrap() == 0 {
        assert!(Instant::now() < deadline, "no {kind} of {id}");
    }
}

const BOARD: &str = "a-token-of-the-board-0123456789";

/// Pages, a program that answers over HTTP, and everything that can deny a change: a rule, a limit, a flow.
fn everything_that_denies() -> Setup {
    let usual = pages();
    let board = format!("channels:\n  board: {{type: api, token: \"{BOARD}\"}}\nservices:\n");
    Setup {
        config: usual.config.replace("services:\n", &board),
        tools: format!("{}{CUSTOMERS}", usual.tools),
        permissions: format!("{PERMISSIONS}{FLOW_AND_LIMIT}"),
    }
}

const CUSTOMERS: &str = r#"
  get_customer:
    kind: read
    data: {from: crm, labels: [pii]}
    request: {method: GET, path: /customer}
  mail:
    kind: send
    data: {to: external_email, domain: {arg: to}}
    args: {to: {type: string, required: true}}
    extra_args: refuse
    request: {method: POST, path: /mail}
"#;
const FLOW_AND_LIMIT: &str = r#"
flows:
  - {from: crm, to: external_email, labels: [pii], action: ask, domains: [customer.example]}
limits:
  - {name: bright, pattern: "call_service*", count: "arg:brightness", per: agent, window: 1h, deny_above: 100}
"#;

/// Whatever is said against a change ends the change and not the question, whichever way it comes.
#[test]
fn a_change_is_denied_by_rule_limit_and_flow_on_every_surface() {
    let gateway = Gateway::with(&everything_that_denies());
    let site = Site::signed_in(&gateway);
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.request("get_customer", json!({}));
    let light = dim(&mut agent);
    let dimming = agent.asked();
    let mail = agent.send("tool_request", json!({"tool": "mail", "args": {"to": "anna@customer.example"}}));
    let mailing = agent.asked();
    let before = gateway.questions();
    let digest = |id: &str| {
        let question = gateway.questions().into_iter().find(|question| question["request_id"] == id);
        question.unwrap()["digest"].as_str().unwrap().to_owned()
    };
    let bearer = format!("Bearer {BOARD}");
    let api = |body: Value| {
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        Site::of(&gateway).ask("POST", "/approvals/api/resolve", &headers, &body.to_string())
    };
    // What is set, the word for it, the exit code, the status of the API and of the page.
    let against = [
        (&dimming, json!({"domain": "lock"}), "denied", 1, 200),
        (&dimming, json!({"brightness": 101}), "denied", 1, 200),
        (&mailing, json!({"to": "eve@evil.example"}), "denied", 1, 200),
        (&dimming, json!({"domain": "LIGHT"}), "refused", 4, 400),
        (&mailing, json!({"to": null}), "refused", 4, 400),
        (&mailing, json!({"to": 7}), "refused", 4, 400),
        (&mailing, json!({"cc": "eve@evil.example"}), "refused", 4, 400),
    ];
    for (id, set, word, code, status) in &against {
        let (name, value) = set.as_object().unwrap().iter().next().unwrap();
        let (exit, told) = approve(&gateway, &[id, "--set", &format!("{name}:={value}")]);
        assert_eq!((exit, &told["outcome"]), (*code, &json!(word)), "terminal: {set}: {told}");
        let page = api(json!({"request_id": id, "approved": true, "set": set}));
        assert_eq!(
            (page.status, &page.json()["outcome"]),
            (*status, &json!(word.to_uppercase())),
            "API: {set}"
        );
        let (set, digest) = (set.to_string(), digest(id));
        let fields = [("choice", "approve"), ("set", &set), ("digest", &digest)];
        let told = site.answer(id, &fields);
        assert_eq!(
            (&told["outcome"], &told["is_over"]),
            (&json!(word), &json!(false)),
            "page: {set}: {told}"
        );
        assert_eq!(site.post(&format!("/approvals/{id}"), &fields).status, *status, "form: {set}");
        assert_eq!(gateway.questions(), before, "{set}");
    }
    assert!(sent(&gateway).is_empty());
    let edits = |outcome: &str| {
        let metrics = site.get("/metrics").body;
        let name = format!("agentpass_edits_total{{outcome=\"{outcome}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name).map(str::to_owned));
        line.map_or(0, |count| count.parse::<u32>().unwrap())
    };
    assert_eq!(["denied", "refused", "resolved"].map(edits), [3 * 4, 4 * 4, 0]);

    // The limit counts what is made: the change for the better is made, and so is the mail as it was asked.
    let page = api(json!({"request_id": dimming, "approved": true, "set": {"brightness": 40}}));
    assert_eq!((page.status, &page.json()["outcome"]), (200, &json!("RESOLVED")), "{}", page.body);
    assert_eq!(agent.reply(light)["result"]["edited"], json!(["brightness"]));
    gateway.say_yes(&mailing);
    assert_eq!(agent.reply(mail)["result"]["status"], "executed");
    assert_eq!(["denied", "refused", "resolved"].map(edits), [3 * 4, 4 * 4, 1]);
    gateway.verify();
}
