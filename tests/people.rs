//! Questions that several people must say yes to, over all channels, also when the gateway is killed in between.

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
use std::sync::Arc;

use agentpass::testing::model::{People, PeopleTerms, Responder, Terms};
use harness::gateway::TOKEN;
use harness::site::{Site, link};
use harness::{Agent, Folder, Gateway, Setup, eventually, timing};
use random::Random;
use serde_json::{Value, json};
use telegram_api::{ANNA, BEN, GROUP, Telegram};

/// Two of anna, ben and whoever runs the tests must say yes to what is said.
const RULE: &str =
    "rules: [{pattern: say, action: ask, approvals: 2, approvers: [anna, ben, \"local:ME\"]}]\n";

fn me() -> String {
    let output = std::process::Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

struct House {
    telegram: Telegram,
    gateway: Gateway,
    setup: Setup,
}

impl House {
    fn new(people: &str, rules: &str) -> House {
        let telegram = Telegram::start();
        let usual = telegram_world::setup(&telegram, people);
        let config = usual.config.replace("health_port: off", "health_port: 0");
        let setup = Setup { config, permissions: rules.replace("ME", &me()), ..usual };
        let gateway = Gateway::with(&setup);
        House { telegram, gateway, setup }
    }

    fn ask(&self) -> (Agent, u64, String) {
        self.ask_to_say("hello")
    }

    fn ask_to_say(&self, text: &str) -> (Agent, u64, String) {
        let mut agent = Agent::login(self.gateway.address, TOKEN);
        let wire = agent.send("tool_request", telegram_world::say(text));
        let id = agent.asked();
        (agent, wire, id)
    }

    fn answer(&self, what: &str, id: &str) -> (Option<i32>, Value) {
        let output = self.gateway.cli(&[what, id, "--json"]);
        (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
    }

    fn tally(&self) -> Value {
        self.gateway.whole_questions()[0]["approvals"].clone()
    }

    fn done(&self) -> usize {
        self.gateway.upstream.seen().len()
    }
}

fn listed() -> String {
    format!("people:\n  anna: {{telegram: {}}}\n  ben: {{telegram: {}}}\n", ANNA.id, BEN.id)
}

#[test]
fn two_people_say_yes_and_all_channels_show_who() {
    let house = House::new(&listed(), RULE);
    let (mut agent, wire, id) = house.ask();
    let card = house.telegram.card(GROUP, "hello");
    let toast = house.telegram.tap(&card, "Allow", ANNA);
    assert!(house.telegram.toast(&toast).text.contains("1 of 2"));
    let shown =
        house.telegram.becomes(&card, "who said yes", |shown| shown.text().contains("1 of 2 said yes"));
    assert!(!shown.buttons().is_empty(), "the others can still answer");
    assert_eq!(house.tally()["by"], json!([format!("telegram:{}", ANNA.id)]));
    // The same human once more is nothing.
    let toast = house.telegram.tap(&shown, "Allow", ANNA);
    assert!(house.telegram.toast(&toast).text.contains("1 of 2"));
    assert_eq!(house.done(), 0);
    let (code, reply) = house.answer("approve", &id);
    assert_eq!((code, &reply["outcome"]), (Some(0), &json!("resolved")), "{reply}");
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    assert_eq!(house.done(), 1);
    let story = house.gateway.json(&["audit", "show", &id, "--json"]);
    let kinds: Vec<_> = story["events"].as_array().unwrap().iter().map(|e| e["kind"].clone()).collect();
    assert_eq!(kinds, ["requested", "counted", "answered", "executing", "finished"]);
    assert_eq!(story["events"][1]["body"]["need"], 2);
    house.gateway.verify();
}

#[test]
fn a_yes_on_the_command_line_is_told_as_counted_and_one_no_is_no() {
    let house = House::new(&listed(), RULE);
    let (mut agent, wire, id) = house.ask();
    let (code, reply) = house.answer("approve", &id);
    assert_eq!(
        (code, &reply["outcome"], &reply["have"], &reply["need"]),
        (Some(0), &json!("counted"), &json!(1), &json!(2))
    );
    assert_eq!(house.answer("approve", &id).1["outcome"], "counted");
    let card = house.telegram.card(GROUP, "hello");
    house.telegram.tap(&card, "Deny", BEN);
    assert_eq!(agent.reply(wire)["error"]["code"], -32001);
    assert_eq!(house.answer("approve", &id).1["outcome"], "already_resolved");
    assert_eq!(house.done(), 0);
    house.gateway.verify();
}

#[test]
fn who_is_no_approver_has_no_effect_and_is_told_so() {
    let rule = "rules: [{pattern: say, action: ask, approvers: [anna]}]\n";
    let house = House::new(&listed(), rule);
    let (mut agent, wire, id) = house.ask();
    for what in ["approve", "deny"] {
        let (code, reply) = house.answer(what, &id);
        assert_eq!((code, &reply["outcome"]), (Some(1), &json!("not_approver")));
    }
    let site = Site::signed_in(&house.gateway);
    assert_eq!(site.answer(&id, &[("choice", "approve")])["outcome"], "not_approver");
    let told = site.post(&format!("/approvals/{id}"), &[("choice", "approve")]);
    assert!(told.status == 403 && told.body.contains("not among those"), "{told:?}");
    let card = house.telegram.card(GROUP, "hello");
    let toast = house.telegram.tap(&card, "Deny", BEN);
    assert!(house.telegram.toast(&toast).text.contains("may not"));
    agent.assert_quiet();
    house.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
}

#[test]
fn a_partial_yes_is_kept_over_a_crash_and_is_no_approval() {
    let mut house = House::new(&listed(), RULE);
    let (_agent, _, id) = house.ask();
    assert_eq!(house.answer("approve", &id).1["outcome"], "counted");
    house.gateway.kill();
    house.gateway.restart();
    assert_eq!(house.tally(), json!({"have": 1, "need": 2, "by": [format!("local:{}", me())]}));
    assert_eq!((house.answer("approve", &id).1["outcome"].clone(), house.done()), (json!("counted"), 0));
    let card = house.telegram.find(GROUP, "the card of before", |m| m.text().contains("1 of 2 said yes"));
    house.telegram.tap(&card, "Allow", BEN);
    house.gateway.upstream.wait_for(1);
    eventually("the end", || (house.gateway.row(&id)["outcome"] == "executed").then_some(()));
    house.gateway.verify();
}

#[test]
fn a_question_needs_the_stricter_of_the_rule_as_asked_and_as_it_is_now() {
    let house = House::new(&listed(), "rules: [{pattern: say, action: ask, approvals: 2}]\n");
    let (mut agent, wire, id) = house.ask();
    let card = house.telegram.card(GROUP, "hello");
    house.telegram.tap(&card, "Allow", ANNA);
    eventually("anna's yes", || (house.tally()["have"] == 1).then_some(()));
    let reload = |rules: &str| {
        house.gateway.configure(&Setup { permissions: rules.to_owned(), ..house.setup.clone() });
        assert!(house.gateway.cli(&["reload"]).status.success());
    };
    // Anna is no approver any more, and one yes is not enough because two were asked for.
    reload(&format!("rules: [{{pattern: say, action: ask, approvers: [ben, \"local:{}\"]}}]\n", me()));
    assert_eq!(house.tally()["have"], 0);
    assert_eq!(house.answer("approve", &id).1["have"], 1);
    let toast = house.telegram.tap(&card, "Allow", ANNA);
    assert!(house.telegram.toast(&toast).text.contains("may not"));
    house.telegram.tap(&card, "Allow", BEN);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
}

/// However the people of a house answer, on whatever channels and how often: nobody counts twice.
#[test]
fn nobody_counts_twice() {
    let mut random = Random::new(20_261_129);
    let seed = random.seed;
    for round in 0..2000 {
        let mut people = People::default();
        let mut ways: Vec<(usize, String)> = Vec::new();
        for human in 0..4 {
            let name = format!("p{human}");
            let listed = [format!("telegram:{human}"), format!("local:u{human}"), format!("web:w{human}")];
            listed.iter().for_each(|identity| people.add(&name, identity).unwrap());
            let web = [format!("web:u{human}/link@127.0.0.1"), format!("web:{name} (link by local:root)")];
            ways.extend(listed.into_iter().chain(web).map(|way| (human, way)));
            people.add(&name, &format!("board:{name}")).unwrap();
            ways.push((human, format!("board:{name}")));
        }
        let mut answers: Vec<_> = (0..random.below(12)).map(|_| random.pick(&ways)).collect();
        if random.one_in(3) {
            answers.extend(answers.clone());
        }
        let humans: BTreeSet<_> = answers.iter().map(|(human, _)| human).collect();
        let known: BTreeSet<_> =
            answers.iter().filter(|(_, way)| !way.starts_with("board:")).map(|(human, _)| human).collect();
        let by: Vec<_> = answers.iter().map(|(_, way)| Responder::recorded(way)).collect();
        let terms = Terms::of([Arc::new(PeopleTerms { approvals: 3, ..PeopleTerms::default() })]);
        let have = terms.have(&by, &people) as usize;
        // A token may stand for one more at most, whoever it says was there.
        assert!(
            have <= humans.len() && have <= known.len() + 1,
            "seed {seed}, round {round}: {answers:?} count {have}"
        );
        assert!(have >= known.len(), "seed {seed}, round {round}: {answers:?} count {have}");
    }
}

/// What `agentpass check` says of these people and this rule.
fn said(people: &str, rule: &str) -> String {
    let folder = Folder::new();
    let put = |name: &str, text: &str| std::fs::write(folder.0.join(name), text).unwrap();
    put("config.yaml", &format!("agent: {{token: a-token-of-sufficient-length}}\n{people}\n"));
    put("permissions.yaml", &format!("rules: [{{pattern: \"*\", {rule}}}]\n"));
    String::from_utf8(harness::gateway::cli(&folder, &["check"], "").stderr).unwrap()
}

#[test]
fn mistakes_are_named_with_a_remedy() {
    let anna = "people: {anna: {local: anna}, ben: {web: ben}}";
    for (people, rule, finding) in [
        (anna, "action: ask, approvals: 3, approvers: [anna, ben]", "approvers names 2"),
        (anna, "action: ask, approvals: 2, approvers: [anna, \"local:anna\"]", "approvers names 1"),
        (anna, "action: ask, approvers: [cleo]", "nobody is called \"cleo\""),
        (anna, "action: ask, approvers: [\"unix:root\"]", "write local:root"),
        (anna, "action: ask, approvers: []", "approvers is empty"),
        (anna, "action: ask, notify: [radio]", "nobody is called \"radio\""),
        (anna, "action: ask, escalate: {to: [ben]}", "after is missing"),
        (anna, "action: allow, approvals: 2", "only applies to action: ask"),
        (
            anna,
            "action: ask, remind: 15m",
            "a question is open for 15 min only (approval_timeout): nobody is reminded",
        ),
        (anna, "action: ask, escalate: {after: 1h, to: [ben]}", "nobody else is told"),
        (anna, "action: ask, remind: 16m", "a longer approval_timeout"),
        ("", "action: ask, approvals: 2", "nobody is listed in people"),
        ("people: {anna: {unix: anna}}", "action: ask", "write local: NAME"),
        ("people: {anna: {radio: 1}}", "action: ask", "there is no channel radio"),
        ("people: {anna: {}}", "action: ask", "anna has no identity"),
        ("people: {anna: {local: x}, ben: {local: x}}", "action: ask", "an identity of anna already"),
        ("people: {\"a:b\": {local: x}}", "action: ask", "not a name for a person"),
    ] {
        let said = said(people, rule);
        assert!(said.contains(finding), "{people}, {rule}: {said}");
    }
    let right = said(
        anna,
        "action: ask, approvals: 2, approvers: [anna, ben, \"local:root\"], remind: 5m, escalate: {after: 5m, to: [local]}",
    );
    assert!(!right.contains("error") && !right.contains("cannot load"), "{right}");
    assert!(!right.contains("approval_timeout"), "{right}");
}

/// The same human by every way there is, in every order: they never count twice.
#[test]
fn one_human_counts_once_over_all_channels() {
    let people = format!("people:\n  anna: {{telegram: {}, local: {}}}\n", ANNA.id, me());
    let house = House::new(&people, "rules: [{pattern: say, action: ask, approvals: 2}]\n");
    let (site, named) = (Site::signed_in(&house.gateway), signed_in_as(&house.gateway, "anna"));
    let ways = |id: &str, card: &telegram_api::Shown, way: usize| match way {
        0 => drop(house.answer("approve", id)),
        1 => drop(site.answer(id, &[("choice", "approve")])),
        2 => drop(named.answer(id, &[("choice", "approve")])),
        _ => drop(house.telegram.toast(&house.telegram.tap(card, "Allow", ANNA))),
    };
    for seed in 0..4_usize {
        let text = format!("words of round {seed}");
        let (mut agent, wire, id) = house.ask_to_say(&text);
        let card = house.telegram.card(GROUP, &text);
        for step in 0..4 {
            ways(&id, &card, (seed + step * (1 + 2 * (seed % 2))) % 4);
            assert_eq!(house.tally()["have"], 1, "round {seed}, step {step}");
        }
        assert_eq!(house.done(), 0);
        house.answer("deny", &id);
        assert_eq!(agent.reply(wire)["error"]["code"], -32001);
    }
}

fn signed_in_as(gateway: &Gateway, name: &str) -> Site {
    let output = gateway.cli(&["web", "--as", name]);
    assert!(output.status.success(), "{output:?}");
    let url = String::from_utf8(output.stdout).unwrap();
    let token = url.trim().split("link=").nth(1).unwrap().to_owned();
    let mut site = Site::of(gateway);
    let page = site.post("/sign-in", &[("link", &token)]);
    site.take_session(&page);
    site
}

#[test]
fn a_link_may_name_a_person_and_the_record_says_who_made_it() {
    let house = House::new(&listed(), "rules: [{pattern: say, action: ask, approvers: [anna]}]\n");
    let (mut agent, wire, id) = house.ask();
    // Whoever runs the tests is root, who may do so for others.
    if me() != "root" {
        assert_eq!(house.gateway.cli(&["web", "--as", "anna"]).status.code(), Some(4));
        return;
    }
    assert_eq!(house.gateway.cli(&["web", "--as", "nobody"]).status.code(), Some(4));
    let site = signed_in_as(&house.gateway, "anna");
    assert_eq!(site.answer(&id, &[("choice", "approve")])["outcome"], "resolved");
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    assert_eq!(house.gateway.row(&id)["resolved_by"], "web:anna (link by local:root)");
    assert!(!link(&house.gateway).is_empty());
}

/// Who is nobody any more has granted nothing; who gave it is found however they had signed in.
#[test]
fn a_grant_ends_with_who_gave_it() {
    let rule = "rules: [{pattern: say, action: ask, grant: {for: 1h, scope: rule}}]\n";
    let people = |name: &str| format!("people:\n  {name}: {{telegram: {}, local: {}}}\n", ANNA.id, me());
    let mut house = House::new(&people("anna"), rule);
    let lasting = |house: &House| house.gateway.json(&["grants", "--json"]).as_array().unwrap().len();
    let given = |house: &House, round: &str| {
        let (mut agent, wire, id) = house.ask_to_say(round);
        let site = signed_in_as(&house.gateway, "anna");
        let shown = house.gateway.whole_questions()[0]["digest"].as_str().unwrap().to_owned();
        let answer = site.answer(&id, &[("choice", "approve:3600"), ("digest", &shown)]);
        assert_eq!(answer["outcome"], "resolved", "{answer}");
        assert_eq!(agent.reply(wire)["result"]["status"], "executed");
        assert_eq!(lasting(house), 1);
    };
    given(&house, "first");
    let revoked = |house: &House, by: &str| {
        house.gateway.json(&["grants", "revoke", "--by", by, "--json"]).as_array().unwrap().len()
    };
    assert_eq!((revoked(&house, "web:ben"), revoked(&house, "web:anna")), (0, 1));
    given(&house, "second");
    house.setup.config = house.setup.config.replace(&people("anna"), &people("cleo"));
    house.gateway.configure(&house.setup);
    assert!(house.gateway.cli(&["reload"]).status.success());
    assert_eq!(lasting(&house), 0);
    let ended = house.gateway.json(&["grants", "--all", "--json"])[0]["ended"].clone();
    assert_eq!(ended, "whoever gave it is no approver any more");

    // The same of somebody in the chat.
    let (mut agent, wire, _) = house.ask_to_say("third");
    let card = house.telegram.card(GROUP, "third");
    house.telegram.tap(&card, "Allow 1 h", BEN);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    assert_eq!(lasting(&house), 1);
    house.setup.config = house.setup.config.replace(&format!(", {}]", BEN.id), "]");
    house.gateway.configure(&house.setup);
    assert!(house.gateway.cli(&["reload"]).status.success());
    assert_eq!(lasting(&house), 0);
    house.gateway.verify();
}

#[test]
fn people_are_listed_with_their_identities() {
    let house = House::new(&listed(), RULE);
    let people = house.gateway.json(&["people", "--json"]);
    assert_eq!(
        people[1],
        json!({"name": "ben", "identities": [{"channel": "telegram", "user": BEN.id.to_string()}]})
    );
    let text = String::from_utf8(house.gateway.cli(&["people"]).stdout).unwrap();
    assert!(text.starts_with("PERSON") && text.contains("anna"), "{text}");
}

#[test]
fn others_are_told_later_and_everybody_is_reminded_once() {
    let rule = "rules: [{pattern: say, action: ask, notify: [local], remind: 1s, escalate: {after: 2s, to: [ben]}}]\n";
    let house = House::new(&listed(), rule);
    let (_agent, _, _) = house.ask();
    let card = house.telegram.find(GROUP, "the card for ben", |m| m.text().contains("For "));
    assert!(card.entities().iter().any(|e| e["type"] == "text_mention" && e["user"]["id"] == BEN.id));
    let rule = "rules: [{pattern: say, action: ask, remind: 1s}]\n";
    let house = House::new(&listed(), rule);
    let (_agent, _, _) = house.ask();
    house.telegram.find(GROUP, "the reminder", |m| m.text().contains("Still waiting for an answer"));
}

#[test]
fn a_no_while_the_last_yes_is_written_counts() {
    let house = House::new(&listed(), RULE);
    let (mut agent, wire, id) = house.ask();
    let card = house.telegram.card(GROUP, "hello");
    let toast = house.telegram.tap(&card, "Allow", ANNA);
    assert!(house.telegram.toast(&toast).text.contains("1 of 2"));
    // The gateway cannot write until this is let go.
    let db = rusqlite::Connection::open(house.gateway.path("data/agentpass.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (yes, no) = std::thread::scope(|scope| {
        let yes = scope.spawn(|| house.answer("approve", &id));
        std::thread::sleep(std::time::Duration::from_millis(400));
        let no = scope.spawn(|| house.answer("deny", &id));
        std::thread::sleep(std::time::Duration::from_millis(400));
        db.execute_batch("ROLLBACK").unwrap();
        (yes.join().unwrap(), no.join().unwrap())
    });
    assert_eq!((&yes.1["outcome"], &no.1["outcome"]), (&json!("resolved"), &json!("resolved")));
    assert_eq!(telegram_world::reason(&agent.reply(wire)), "denied_by_user");
    assert_eq!(house.done(), 0);
    house.gateway.verify();
}
