//! The kill switch from the phone: two taps stop everything, and who may not, or comes too late, stops nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;
mod telegram_api;
mod telegram_world;

use harness::timing;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use harness::agent::error;
use harness::gateway::LAPTOP;
use harness::{Agent, eventually};
use serde_json::{Value, json};
use telegram_api::{ANNA, BEN, GROUP, STRANGER, Shown};
use telegram_world::{World, at_once, say};

at_once!(the_kill_switch_on_the_phone: [
    two_taps_stop_everything_and_a_word_resumes_it,
    one_agent_is_stopped_alone,
    who_may_not_stops_nothing,
    a_button_that_is_old_or_made_up_stops_nothing,
    a_restart_between_the_taps_changes_nothing,
    what_was_stopped_at_the_terminal_is_not_resumed_here,
    a_word_that_is_older_than_the_stop_resumes_nothing,
    a_flood_of_questions_does_not_come_before_the_button,
]);

const STOPPED: (i64, &str) = (-32003, "kill_switch");

impl World {
    /// The button that answers `/kill`.
    fn asked_to_stop(&self, words: &str, question: &str) -> Shown {
        self.telegram.say(GROUP, ANNA, words);
        self.telegram.card(GROUP, question)
    }

    fn says(&self, text: &str) -> Shown {
        self.telegram.find(GROUP, text, |message| message.text().contains(text))
    }

    fn stopped(&self) -> Value {
        self.gateway.json(&["status", "--json"])["stopped"].clone()
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

fn two_taps_stop_everything_and_a_word_resumes_it() {
    let world = World::new();
    let (mut agent, wire, card) = world.asked("hello");
    let button = world.asked_to_stop("/kill", "Stop everything?");
    assert!(!button.text().contains("hello"));
    assert_eq!(world.stopped()["all"], false, "asking stops nothing");
    assert_eq!(world.gateway.questions().len(), 1);
    let toast = world.telegram.toast(&world.telegram.tap(&button, "Yes, stop", ANNA));
    assert!(toast.text.contains("Everything is stopped; 1 question withdrawn"), "{toast:?}");
    assert_eq!(error(&agent.reply(wire)), STOPPED);
    let now = world.stopped();
    assert_eq!((&now["all"], &now["by"]), (&json!(true), &json!("telegram:7001")), "{now}");
    world.telegram.ends(&button, "Everything is stopped");
    world.telegram.ends(&card, "void");
    // Once more, by another phone that still shows the button: nothing changes.
    let toast = world.telegram.toast(&world.telegram.tap_stale(&button, "Yes, stop", BEN));
    assert!(toast.text.contains("stopped already"), "{toast:?}");
    assert_eq!(world.stopped(), now);
    assert_eq!(error(&agent.call("tool_request", say("again"))), STOPPED);
    // Somebody else may let it go on.
    world.telegram.say(GROUP, BEN, "/resume");
    world.says("Everything may make calls again.");
    assert_eq!(world.stopped()["all"], false);
    agent.send("tool_request", say("again"));
    world.card("again");
    world.telegram.say(GROUP, BEN, "/resume");
    world.says("Nothing is stopped.");
    world.check();
}

fn one_agent_is_stopped_alone() {
    let world = World::new();
    world.telegram.say(GROUP, ANNA, "/kill lapdog");
    let answer = world.says("There is no such agent");
    assert!(answer.text().contains("laptop"), "{}", answer.text());
    let button = world.asked_to_stop("/kill Laptop", "Stop all calls of laptop?");
    world.telegram.toast(&world.telegram.tap(&button, "Yes, stop", ANNA));
    let now = world.stopped();
    assert_eq!((&now["all"], &now["agents"]), (&json!(false), &json!(["laptop"])), "{now}");
    let mut laptop = Agent::login(world.gateway.address, LAPTOP);
    assert_eq!(error(&laptop.call("tool_request", say("hello"))), STOPPED);
    let (_agent, ..) = world.asked("other");
    // Everything is not stopped, and whoever says so hears what is.
    world.telegram.say(GROUP, ANNA, "/resume");
    let answer = world.says("That is not stopped.");
    assert!(answer.text().contains("Agent laptop is stopped by telegram:7001"), "{}", answer.text());
    world.telegram.say(GROUP, ANNA, "/resume laptop");
    world.says("Agent laptop may make calls again.");
    assert_eq!(world.stopped()["agents"], json!([]));
    world.check();
}

fn who_may_not_stops_nothing() {
    let world = World::new();
    let (_agent, _, card) = world.asked("hello");
    world.telegram.say(GROUP, STRANGER, "/kill");
    world.says("You may not use this bot.");
    world.telegram.say(ANNA.id, ANNA, "/kill");
    let button = world.asked_to_stop("/kill", "Stop everything?");
    let data = button.button("Yes, stop").unwrap();
    let toast = world.telegram.toast(&world.telegram.tap(&button, "Yes, stop", STRANGER));
    assert_eq!(toast.text, "You may not approve this.");
    // In another chat, and without one.
    let copy = world.telegram.forward(&button, ANNA.id, ANNA);
    world.telegram.toast(&world.telegram.tap_stale(&copy, "Yes, stop", ANNA));
    world.telegram.tap_raw(ANNA, json!({"data": data}));
    world.telegram.tap_raw(ANNA, json!({"data": data, "inline_message_id": "AAA"}));
    eventually("all answers", || (world.telegram.unanswered() == 0).then_some(()));
    assert_eq!(world.stopped()["all"], false);
    assert_eq!(world.gateway.questions().len(), 1);
    // Nor does a stranger let anything go on.
    world.telegram.toast(&world.telegram.tap(&button, "Yes, stop", ANNA));
    world.telegram.say(GROUP, STRANGER, "/resume");
    world.telegram.say(ANNA.id, ANNA, "/resume");
    let mark = world.telegram.say(GROUP, BEN, "/status");
    world.telegram.find(GROUP, "the status", |message| message.text().contains("Everything is stopped by"));
    assert!(mark > 0 && world.stopped()["all"] == true);
    world.telegram.ends(&card, "void");
    world.check();
}

fn a_button_that_is_old_or_made_up_stops_nothing() {
    let world = World::new();
    let button = world.asked_to_stop("/kill", "Stop everything?");
    let made = |asked: i64| format!("1k{}", URL_SAFE_NO_PAD.encode(asked.to_be_bytes()));
    for data in [made(now_ms() - 61_000), made(now_ms() + 60_000), made(0), made(i64::MAX), made(i64::MIN)] {
        let toast = world.telegram.toast(&world.telegram.tap_data(GROUP, button.id, &data, ANNA));
        assert!(toast.text.contains("too old"), "{toast:?}");
    }
    let gone: Vec<u8> = now_ms().to_be_bytes().into_iter().chain([7; 16]).collect();
    let data = format!("1k{}", URL_SAFE_NO_PAD.encode(gone));
    let toast = world.telegram.toast(&world.telegram.tap_data(GROUP, button.id, &data, ANNA));
    assert!(toast.text.contains("no such agent"), "{toast:?}");
    assert_eq!((&world.stopped()["all"], &world.stopped()["agents"]), (&json!(false), &json!([])));
    world.telegram.ends(&button, "Not stopped");
    world.check();
}

fn a_restart_between_the_taps_changes_nothing() {
    let mut world = World::new();
    let button = world.asked_to_stop("/kill", "Stop everything?");
    world.gateway.kill();
    let tap = world.telegram.tap(&button, "Yes, stop", ANNA);
    world.gateway.restart();
    world.telegram.toast(&tap);
    assert_eq!(world.stopped()["all"], true);
    world.gateway.kill();
    world.gateway.restart();
    assert_eq!(world.stopped()["all"], true);
    world.telegram.say(GROUP, ANNA, "/resume");
    world.says("Everything may make calls again.");
    world.check();
}

fn what_was_stopped_at_the_terminal_is_not_resumed_here() {
    let world = World::new();
    world.gateway.json(&["kill", "--reason", "Look at it", "--json"]);
    world.says("Everything is stopped by local:");
    world.telegram.say(GROUP, ANNA, "/resume");
    let answer = world.says("resume it there");
    assert!(answer.text().contains("Look at it"), "{}", answer.text());
    // A stop in the chat beside it makes nothing weaker.
    let button = world.asked_to_stop("/kill", "Stop everything?");
    let toast = world.telegram.toast(&world.telegram.tap(&button, "Yes, stop", ANNA));
    assert!(toast.text.contains("already"), "{toast:?}");
    world.telegram.say(GROUP, BEN, "/resume");
    world.telegram.say(GROUP, BEN, "/status");
    world.says("Open questions: 0");
    assert_eq!(world.stopped()["all"], true);
    world.gateway.json(&["resume", "--json"]);
    assert_eq!(world.stopped()["all"], false);
    world.check();
}

fn a_word_that_is_older_than_the_stop_resumes_nothing() {
    let world = World::new();
    let button = world.asked_to_stop("/kill", "Stop everything?");
    world.telegram.toast(&world.telegram.tap(&button, "Yes, stop", ANNA));
    // As it comes when the phone or the gateway was away meanwhile.
    let written = |seconds: i64| {
        let chat = json!({"id": GROUP, "type": "supergroup"});
        let from = json!({"id": ANNA.id, "is_bot": false, "first_name": "Anna"});
        let date = now_ms() / 1000 + seconds;
        json!({"message_id": 900_000 + seconds, "chat": chat, "from": from, "date": date, "text": "/resume"})
    };
    world.telegram.push("message", written(-30));
    world.says("It was stopped after you wrote this.");
    assert_eq!(world.stopped()["all"], true);
    world.telegram.push("message", written(1));
    world.says("Everything may make calls again.");
    world.check();
}

fn a_flood_of_questions_does_not_come_before_the_button() {
    let world = World::new();
    let mut agent = world.agent();
    for n in 0..8 {
        agent.send("tool_request", say(&format!("question {n}")));
    }
    world.card("question 0");
    let button = world.asked_to_stop("/kill", "Stop everything?");
    let shown = world.telegram.bot_messages(GROUP).iter().filter(|m| m.text().contains("question")).count();
    assert!(shown < 8, "the button came after all questions");
    world.telegram.toast(&world.telegram.tap(&button, "Yes, stop", ANNA));
    assert_eq!(world.gateway.questions().len(), 0);
    eventually("a quiet chat", || {
        let open = |m: &&Shown| m.text().contains("question") && !m.buttons().is_empty();
        (world.telegram.bot_messages(GROUP).iter().filter(open).count() == 0).then_some(())
    });
    thread_rest();
    world.check();
}

/// Edits that are on their way come to an end.
fn thread_rest() {
    std::thread::sleep(Duration::from_millis(200));
}
