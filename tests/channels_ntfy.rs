//! The ntfy channel against a server that is as strict as the documented one: every message within its limits, buttons
//! that answer, updates in place, and nothing lost while the server refuses.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;
mod ntfy;

use harness::gateway::TOKEN;
use harness::site::{Page, Site};
use harness::{Agent, Gateway, Setup, eventually};
use ntfy::{Ntfy, Published};
use serde_json::{Value, json};

const KEY: &str = "tk_0123456789abcdefghijklmnopqrs";

fn setup(server: &Ntfy, more: &str) -> Setup {
    let usual = Setup::with_pages();
    let channels = format!(
        "channels:\n  phone: {{type: ntfy, url: \"{}\", topic: home-1, token: \"{KEY}\"{more}}}\nservices:\n",
        server.url()
    );
    let config = usual.config.replace("services:\n", &channels);
    let config = config.replace("gateway:\n", "gateway:\n  public_url: \"http://127.0.0.1:1\"\n");
    Setup { config, ..usual }
}

struct World {
    server: Ntfy,
    gateway: Gateway,
    agent: Agent,
}

impl World {
    fn new(more: &str) -> World {
        World::with(Ntfy::start(KEY), more)
    }

    fn with(server: Ntfy, more: &str) -> World {
        let gateway = Gateway::with(&setup(&server, more));
        let agent = Agent::login(gateway.address, TOKEN);
        World { server, gateway, agent }
    }

    fn ask(&mut self, text: &str) -> (u64, String) {
        let call =
            self.agent.send("tool_request", json!({"tool": "say", "args": {"text": text, "pin": "4711"}}));
        (call, self.gateway.question())
    }

    /// What the phone shows of a question: the newest message of its sequence.
    fn shown(&self, sequence: &str) -> Option<Published> {
        self.server.published().into_iter().rfind(|message| message.sequence() == sequence)
    }

    fn until(&self, sequence: &str, words: &str) -> Published {
        eventually(words, || self.shown(sequence).filter(|message| message.text().contains(words)))
    }

    /// Presses a button as the app does.
    fn press(&self, message: &Published, label: &str) -> Page {
        let button = message.button(label);
        let path = button["url"].as_str().unwrap().strip_prefix("http://127.0.0.1:1").unwrap();
        let headers = button["headers"].as_object().unwrap();
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
        Site::of(&self.gateway).ask("POST", path, &headers, button["body"].as_str().unwrap())
    }
}

#[test]
fn a_question_opens_the_pages_and_is_replaced_when_it_ends() {
    let mut world = World::new("");
    let (call, id) = world.ask("hello");
    let asked = world.until(&id, "text: hello");
    assert_eq!(asked.body["topic"], "home-1");
    assert_eq!((&asked.body["title"], &asked.body["priority"]), (&json!("❓ Allow say"), &json!(4)));
    assert!(!asked.text().contains("4711"), "{asked:?}");
    let actions = asked.body["actions"].as_array().unwrap();
    assert_eq!(actions.len(), 1, "without actions: answer nothing in it answers");
    assert_eq!((&actions[0]["action"], &actions[0]["url"]), (&json!("view"), &asked.body["click"]));
    assert_eq!(asked.body["click"], "http://127.0.0.1:1/approvals/");
    world.gateway.say_yes(&id);
    assert_eq!(world.agent.reply(call)["result"]["status"], "executed");
    let ended = world.until(&id, "executed");
    assert_eq!((&ended.body["title"], ended.body.get("actions")), (&json!("✅ say"), None));
    world.gateway.verify();
}

#[test]
fn buttons_answer_once() {
    let mut world = World::new(", actions: answer, priority: 5");
    let (call, id) = world.ask("hello");
    let asked = world.until(&id, "text: hello");
    assert_eq!(asked.body["priority"], 5);
    let done = world.press(&asked, "Allow");
    assert_eq!((done.status, done.json()["outcome"].as_str()), (200, Some("resolved")), "{done:?}");
    assert_eq!(world.agent.reply(call)["result"]["status"], "executed");
    assert_eq!(world.press(&asked, "Deny").status, 409);
    world.until(&id, "executed");
    assert_eq!(world.gateway.row(&id)["resolved_by"], "phone:ntfy");

    let (call, id) = world.ask("again");
    world.press(&world.until(&id, "text: again"), "Deny");
    assert_eq!(world.agent.reply(call)["error"]["data"]["reason"], "denied_by_user");
    world.until(&id, "Denied by phone:ntfy");
}

#[test]
fn a_long_call_takes_several_messages_in_order() {
    let mut world = World::new(", actions: answer");
    let text = "\"quoted\" and é, ".repeat(500);
    let (_, id) = world.ask(&text);
    let last = world.until(&id, "Part 4 of 4");
    let parts = world.server.published();
    let numbers: Vec<_> = parts
        .iter()
        .map(|part| part.text().lines().find(|l| l.starts_with("Part ")).map(str::to_owned))
        .collect();
    let expected: Vec<_> = (1..=4).map(|part| Some(format!("Part {part} of 4"))).collect();
    assert_eq!(numbers, expected);
    assert!(parts[..3].iter().all(|part| part.body.get("actions").is_none()));
    assert_eq!(world.press(&last, "Deny").status, 200);
}

#[test]
fn a_server_that_refuses_is_asked_again_and_nothing_is_shown_twice() {
    let server = Ntfy::start(KEY);
    server.refuse(vec![429, 507, 500]);
    let mut world = World::with(server, "");
    let (_, id) = world.ask("hello");
    eventually("the reason", || {
        let channels = world.gateway.json(&["channels", "--json"]);
        let phone = channels.as_array().unwrap().iter().find(|it| it["name"] == "phone").unwrap().clone();
        (phone["up"] == false && phone["detail"].as_str()?.contains("the server answered")).then_some(())
    });
    world.until(&id, "text: hello");
    world.gateway.kill();
    world.gateway.restart();
    world.gateway.say_no(&id);
    world.until(&id, "Denied by local");
    let shown: Vec<_> = world.server.published().iter().map(Published::sequence).collect();
    assert!(shown.iter().all(|sequence| *sequence == id), "{shown:?}");
}

#[test]
fn a_question_that_could_not_be_sent_is_sent_after_a_restart() {
    let server = Ntfy::start(KEY);
    server.refuse(vec![500; 1000]);
    let mut world = World::with(server, "");
    let (_, id) = world.ask("hello");
    eventually("an attempt", || (world.server.refused() > 0).then_some(()));
    world.gateway.kill();
    world.server.refuse(Vec::new());
    world.gateway.restart();
    world.until(&id, "text: hello");
    assert_eq!(world.server.published().len(), 1);
}

#[test]
fn a_wrong_token_is_told_and_a_reload_mends_it() {
    let mut world = World::with(Ntfy::start("tk_another"), "");
    let (_, id) = world.ask("hello");
    let test = world.gateway.cli(&["channels", "test", "phone"]);
    assert_eq!(test.status.code(), Some(5));
    let said = String::from_utf8(test.stdout).unwrap();
    assert!(said.contains("the token may not write to this topic"), "{said}");
    world.server.expect(KEY);
    let path = world.gateway.path("config.yaml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, config.replace("topic: home-1", "topic: home-2")).unwrap();
    assert_eq!(world.gateway.control(&json!({"command": "reload"})).unwrap()["reloaded"], true);
    assert_eq!(world.until(&id, "text: hello").body["topic"], "home-2");
    let test = world.gateway.cli(&["channels", "test", "phone"]);
    assert!(test.status.success(), "{test:?}");
    assert!(world.server.published().iter().any(|message| message.text().starts_with("A test")));
    for place in [world.gateway.log(), world.gateway.json(&["channels", "--json"]).to_string()] {
        assert!(!place.contains(KEY), "{place}");
    }
}

#[test]
fn a_changed_call_is_shown_anew_and_earlier_buttons_are_void() {
    let mut world = World::new(", actions: answer");
    let permissions = "rules: [{pattern: say, action: ask, approvals: 2}]\n";
    std::fs::write(world.gateway.path("permissions.yaml"), permissions).unwrap();
    assert_eq!(world.gateway.control(&json!({"command": "reload"})).unwrap()["reloaded"], true);
    let (call, id) = world.ask("hello");
    let first = world.until(&id, "text: hello");
    let edited = world.gateway.cli(&["approve", &id, "--set", "text=bye", "--json"]);
    let said: Value = serde_json::from_slice(&edited.stdout).unwrap();
    assert_eq!(said["outcome"], "counted", "{edited:?}");
    let second = world.until(&id, "look again");
    assert!(second.text().contains("bye"), "{second:?}");
    assert_eq!(world.press(&first, "Allow").status, 409);
    assert_eq!(world.press(&second, "Allow").json()["outcome"], "resolved");
    assert_eq!(world.agent.reply(call)["result"]["status"], "executed");
}

#[test]
fn no_button_answers_where_plain_http_leads_beyond_this_machine() {
    let server = Ntfy::start(KEY);
    let usual = setup(&server, ", actions: answer");
    let config = usual.config.replace("http://127.0.0.1:1", "http://192.0.2.7:8080");
    let gateway = Gateway::with(&Setup { config, ..usual });
    let agent = Agent::login(gateway.address, TOKEN);
    let mut world = World { server, gateway, agent };
    let (_, id) = world.ask("hello");
    let asked = world.until(&id, "text: hello");
    let actions = asked.body["actions"].as_array().unwrap();
    assert_eq!((actions.len(), &actions[0]["action"]), (1, &json!("view")), "{asked:?}");
}

#[test]
fn a_phone_is_reminded_once_in_the_same_place() {
    let server = Ntfy::start(KEY);
    let rule = "{pattern: say, action: ask, notify: [phone], remind: 1s}";
    let permissions = format!("rules: [{rule}]\n");
    let gateway = Gateway::with(&Setup { permissions, ..setup(&server, ", actions: answer") });
    let agent = Agent::login(gateway.address, TOKEN);
    let mut world = World { server, gateway, agent };
    let (call, id) = world.ask("hello");
    let of_it = |it: &Published| it.sequence() == id && it.text().contains("text: hello");
    let shown = |world: &World| world.server.published().into_iter().filter(of_it).collect::<Vec<_>>();
    let both = eventually("the reminder", || Some(shown(&world)).filter(|all| all.len() == 2));
    assert_eq!(both[0].body, both[1].body);
    assert_eq!(world.press(&both[1], "Allow").json()["outcome"], "resolved");
    assert_eq!(world.agent.reply(call)["result"]["status"], "executed");
    world.until(&id, "executed");
    assert_eq!(shown(&world).len(), 2);
}
