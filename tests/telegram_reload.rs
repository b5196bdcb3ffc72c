//! Channels come, go and change with a reload: the real binary against a strict fake of the Bot API.

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

use std::time::{Duration, Instant};

use harness::gateway::{SERVICE_SECRET, TOKEN};
use harness::{Agent, Gateway, Setup, eventually};
use serde_json::{Value, json};
use telegram_api::{ANNA, BEN, BOT_TOKEN, GROUP, Kind, Telegram};
use telegram_world::{World, at_once, say, seen, setup};

at_once!(reloads: [
    a_channel_that_appears_asks_what_is_open,
    a_channel_that_disappears_takes_its_cards_down,
    an_unreachable_channel_disappears_at_once,
    a_channel_that_changes_keeps_its_cards,
    taps_of_somebody_who_was_removed_do_not_count,
    another_chat_gets_the_cards,
    a_channel_that_stays_is_left_alone,
    a_wrong_token_makes_the_channel_unhealthy,
    reminders_are_switched_on_and_off,
    a_stop_in_the_middle_of_a_change_is_a_stop,
]);

const OTHER_GROUP: i64 = -1_001_777;

fn reload(gateway: &Gateway, setup: &Setup) {
    gateway.configure(setup);
    let output = gateway.cli(&["reload"]);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && !err.contains("count after a restart"), "{out}{err}");
}

fn changed(telegram: &Telegram, from: &str, to: &str) -> Setup {
    let setup = setup(telegram, "");
    assert!(setup.config.contains(from));
    Setup { config: setup.config.replace(from, to), ..setup }
}

fn channels(gateway: &Gateway) -> Value {
    gateway.json(&["status", "--json"])["channels"].clone()
}

fn ask(gateway: &Gateway, text: &str) -> (Agent, u64) {
    let mut agent = Agent::login(gateway.address, TOKEN);
    let wire = agent.send("tool_request", say(text));
    eventually("the question", || (!gateway.questions().is_empty()).then_some(()));
    (agent, wire)
}

fn a_channel_that_appears_asks_what_is_open() {
    let (telegram, gateway) = (Telegram::start(), Gateway::start());
    let (mut agent, wire) = ask(&gateway, "hello");
    assert_eq!(channels(&gateway).as_object().unwrap().len(), 1);
    reload(&gateway, &setup(&telegram, ""));
    let card = telegram.card(GROUP, "hello");
    telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    telegram.ends(&card, "Allowed");
    assert_eq!(channels(&gateway)["telegram"]["up"], true);
    World { telegram, gateway }.check();
}

fn a_channel_that_disappears_takes_its_cards_down() {
    let world = World::new();
    let (mut agent, wire, card) = world.asked("hello");
    world.knows(&card);
    let later = world.agent().send("tool_request", say("later"));
    assert!(later > 0);
    let other = world.card("later");
    world.knows(&other);
    reload(&world.gateway, &Setup::default());
    for card in [&card, &other] {
        let down = world.telegram.ends(card, "Not asked here any more: say");
        assert!(down.text().contains("`agentpass approvals`"), "{}", down.text());
    }
    assert_eq!(channels(&world.gateway), json!({"local": channels(&world.gateway)["local"]}));
    // Nobody is heard there any more, whatever an old client still shows.
    world.telegram.tap_stale(&card, "Allow", ANNA);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!((world.gateway.questions().len(), world.telegram.unanswered()), (2, 1));
    assert_eq!(world.telegram.bot_messages(GROUP).len(), 2);
    world.telegram.advance(Duration::from_secs(200));
    // What is still open is asked there when the channel comes back, on new cards.
    reload(&world.gateway, &setup(&world.telegram, ""));
    let again =
        world.telegram.find(GROUP, "a new card", |new| new.id != card.id && new.text().contains("hello"));
    assert_eq!(world.gateway.questions().len(), 2);
    world.telegram.tap(&again, "Allow", BEN);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    world.check();
}

fn an_unreachable_channel_disappears_at_once() {
    let world = World::new();
    let (_agent, _, card) = world.asked("hello");
    world.knows(&card);
    world.telegram.down();
    eventually("the outage", || (channels(&world.gateway)["telegram"]["up"] == false).then_some(()));
    reload(&world.gateway, &Setup::default());
    let began = Instant::now();
    eventually("the end", || world.gateway.log().contains("through it any longer").then_some(()));
    assert!(began.elapsed() < Duration::from_secs(12), "until it gives up: {:?}", began.elapsed());
    assert!(channels(&world.gateway)["telegram"].is_null());
    // It is taken up again where it was left.
    world.telegram.up();
    reload(&world.gateway, &setup(&world.telegram, ""));
    world.telegram.tap(&card, "Deny", ANNA);
    world.telegram.ends(&card, "Denied");
    world.check();
}

fn a_channel_that_changes_keeps_its_cards() {
    let telegram = Telegram::start();
    let only_anna = changed(&telegram, &format!("{}, {}", ANNA.id, BEN.id), &ANNA.id.to_string());
    let gateway = Gateway::with(&only_anna);
    let world = World { telegram, gateway };
    let (mut agent, wire, card) = world.asked("hello");
    world.knows(&card);
    let refused = world.telegram.tap(&card, "Allow", BEN);
    assert_eq!(world.telegram.toast(&refused).text, "You may not approve this.");
    reload(&world.gateway, &setup(&world.telegram, ""));
    eventually("the other rules", || {
        let query = world.telegram.tap_stale(&card, "Allow", BEN);
        (world.telegram.toast(&query).text == "Allowed.").then_some(())
    });
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    world.telegram.ends(&card, "Allowed");
    assert_eq!((world.telegram.bot_messages(GROUP).len(), seen(&world.gateway, "hello")), (1, 1));
    world.check();
}

fn taps_of_somebody_who_was_removed_do_not_count() {
    let world = World::new();
    let agents: Vec<_> = (0..10).map(|i| world.asked(&format!("number {i}."))).collect();
    agents.iter().for_each(|(_, _, card)| world.knows(card));
    // All of them reach the gateway in one answer, or in few.
    agents.iter().for_each(|(_, _, card)| drop(world.telegram.tap(card, "Allow", BEN)));
    let done = || (0..10).filter(|i| seen(&world.gateway, &format!("number {i}.")) == 1).count();
    eventually("the first call", || (done() > 0).then_some(()));
    let only_anna = format!("{}, {}", ANNA.id, BEN.id);
    reload(&world.gateway, &changed(&world.telegram, &only_anna, &ANNA.id.to_string()));
    eventually("all taps to be heard", || world.telegram.waiting_updates().is_empty().then_some(()));
    let log = world.gateway.log();
    let since = log.lines().skip_while(|line| !line.contains("configuration reloaded"));
    let late = since.filter(|line| line.contains(": approved by telegram:")).count();
    assert!(late <= 1, "only an answer that was on its way to the disk counts: {log}");
    world.check();
}

fn another_chat_gets_the_cards() {
    let world = World::new();
    world.telegram.add_chat(OTHER_GROUP, Kind::Supergroup);
    let (mut agent, wire, card) = world.asked("hello");
    world.knows(&card);
    reload(&world.gateway, &changed(&world.telegram, &GROUP.to_string(), &OTHER_GROUP.to_string()));
    world.telegram.ends(&card, "Not asked here any more");
    let moved = world.telegram.card(OTHER_GROUP, "hello");
    world.telegram.tap(&moved, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    world.telegram.ends(&moved, "Allowed");
    world.check();
}

fn a_channel_that_stays_is_left_alone() {
    let world = World::new();
    let (_agent, _, card) = world.asked("hello");
    eventually("the first poll", || (world.telegram.polling() > 0).then_some(()));
    let greeted = world.telegram.requests("deleteWebhook").len();
    reload(&world.gateway, &setup(&world.telegram, "approval_timeout: 120"));
    world.gateway.hang_up();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(world.telegram.requests("deleteWebhook").len(), greeted);
    world.telegram.tap(&card, "Deny", ANNA);
    world.telegram.ends(&card, "Denied");
    assert_eq!(card.edits(), 0);
    world.check();
}

fn a_wrong_token_makes_the_channel_unhealthy() {
    let world = World::new();
    let wrong = "123456789:AAwrongwrongwrongwrongwrongwrongwrong";
    reload(&world.gateway, &changed(&world.telegram, BOT_TOKEN, wrong));
    let detail = eventually("the failure", || {
        let telegram = channels(&world.gateway)["telegram"].clone();
        (telegram["up"] == false)
            .then(|| telegram["detail"].as_str().unwrap_or_default().to_owned())
            .filter(|detail| detail.contains("not valid") || detail.contains("no such bot"))
    });
    assert!(!detail.contains(wrong), "{detail}");
    let (mut agent, wire) = ask(&world.gateway, "hello");
    let id = world.gateway.question();
    world.gateway.say_yes(&id);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    // The right one again.
    reload(&world.gateway, &setup(&world.telegram, ""));
    let (_agent, _, card) = world.asked("again");
    assert!(card.text().contains("again"));
    assert!(!world.gateway.log().contains(SERVICE_SECRET));
}

fn reminders_are_switched_on_and_off() {
    let world = World::new();
    reload(&world.gateway, &setup(&world.telegram, "approvals: {reminder: true}\napproval_timeout: 14"));
    let (_agent, _, card) = world.asked("hello");
    world.telegram.becomes(&card, "a reminder", |card| card.text().contains("Still waiting"));
    assert_eq!(world.telegram.requests("deleteWebhook").len(), 1, "the channel is the same");
    world.check();
}

fn a_stop_in_the_middle_of_a_change_is_a_stop() {
    let mut world = World::new();
    let (_agent, _, card) = world.asked("hello");
    world.knows(&card);
    world.telegram.break_down("editMessageText", telegram_api::Fault::Hang);
    reload(&world.gateway, &Setup::default());
    assert_eq!(world.gateway.terminate(), Some(0));
    world.telegram.heal();
    world.gateway.configure(&setup(&world.telegram, ""));
    world.gateway.restart();
    // The card was left as it was, and works again.
    world.telegram.tap(&card, "Allow", ANNA);
    world.telegram.ends(&card, "Done.");
    assert_eq!(seen(&world.gateway, "hello"), 1);
    world.check();
}
