//! Grants on the phone: offered, given, shown with their uses, and ended, also by somebody else.

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

use harness::agent::error;
use harness::{Gateway, eventually};
use serde_json::{Value, json};
use telegram_api::{ANNA, BEN, GROUP, STRANGER, Shown, Telegram};
use telegram_world::{World, at_once, say, setup};

at_once!(grants_on_the_phone: [
    a_button_grants_and_its_card_says_how_often_it_was_used,
    what_was_ended_elsewhere_is_told_on_the_card,
    all_grants_are_listed_and_can_be_ended,
    who_may_not_grants_and_ends_nothing,
    a_restart_keeps_the_card_and_its_button,
]);

const RULES: &str = "rules:
  - {pattern: say, action: ask, grant: {for: [15m, 1h], uses: 3, scope: rule}}
  - {pattern: \"get_state*\", action: ask, grant: {for: 1h}}
";

fn world() -> World {
    let telegram = Telegram::start();
    let setup =
        harness::Setup { permissions: RULES.to_owned(), ..setup(&telegram, "approvals: {cool_down: off}") };
    let gateway = Gateway::with(&setup);
    World { telegram, gateway }
}

fn grants(world: &World) -> Vec<Value> {
    world.gateway.json(&["grants", "--json"]).as_array().unwrap().clone()
}

/// A question at which anna grants 15 minutes; its card.
fn granted(world: &World, text: &str) -> (harness::Agent, Shown) {
    let (mut agent, wire, card) = world.asked(text);
    assert_eq!(card.buttons()[..4], ["Deny", "Allow", "Allow 15 min", "Allow 1 h"]);
    assert!(card.text().contains("at most 3 times, for 15 min or 1 h"), "{}", card.text());
    let toast = world.telegram.toast(&world.telegram.tap(&card, "Allow 15 min", ANNA));
    assert_eq!(toast.text, "Allowed, and granted.");
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    let card = world.telegram.becomes(&card, "the grant", |shown| {
        shown.text().contains("Done.") && shown.text().contains("Granted until")
    });
    assert!(card.text().contains(", 0 of 3 used"), "{}", card.text());
    assert!(card.buttons().iter().all(|label| label.starts_with("Revoke ")) && card.buttons().len() == 1);
    (agent, card)
}

fn revoke(card: &Shown) -> String {
    card.buttons().into_iter().find(|label| label.starts_with("Revoke ")).unwrap()
}

fn a_button_grants_and_its_card_says_how_often_it_was_used() {
    let world = world();
    let (mut agent, card) = granted(&world, "hello");
    assert_eq!(grants(&world)[0]["granted_by"], "telegram:7001");
    assert_eq!(agent.call("tool_request", say("one"))["result"]["grant"]["uses_left"], 2);
    let card = world.telegram.becomes(&card, "a use", |shown| shown.text().contains(", 1 of 3 used"));
    // The next one is within the minute: the card waits, and says it all when the grant ends.
    let edits = card.edits();
    assert_eq!(agent.call("tool_request", say("two"))["result"]["grant"]["uses_left"], 1);
    let toast = world.telegram.toast(&world.telegram.tap(&card, &revoke(&card), BEN));
    assert_eq!(toast.text, "Revoked.");
    let ended =
        world.telegram.becomes(&card, "its end", |shown| shown.text().contains("Grant revoked by Ben"));
    assert!(ended.text().contains(", 2 of 3 used") && ended.buttons().is_empty(), "{}", ended.text());
    assert_eq!(ended.edits(), edits + 1);
    assert_eq!(grants(&world), [] as [Value; 0]);
    agent.send("tool_request", say("three"));
    world.card("three");
    // The button that another phone still shows.
    let toast = world.telegram.toast(&world.telegram.tap_stale(&card, &revoke(&card), ANNA));
    assert_eq!(toast.text, "This grant has ended already.");
    world.is_done_with(&ended);
    world.check();
}

fn what_was_ended_elsewhere_is_told_on_the_card() {
    let world = world();
    let (_agent, card) = granted(&world, "hello");
    world.gateway.json(&["grants", "revoke", "--by", "telegram:7001", "--json"]);
    let ended = world.telegram.becomes(&card, "its end", |shown| shown.text().contains("Grant revoked by"));
    assert!(ended.text().contains("on the gateway") && ended.buttons().is_empty(), "{}", ended.text());
    let (mut agent, card) = granted(&world, "again");
    assert!(world.gateway.cli(&["kill"]).status.success());
    let ended =
        world.telegram.becomes(&card, "its end", |shown| shown.text().contains("Grant ended, stopped by"));
    assert!(ended.buttons().is_empty());
    assert_eq!(error(&agent.call("tool_request", say("no"))), (-32003, "kill_switch"));
    assert!(world.gateway.cli(&["resume"]).status.success());
    agent.send("tool_request", say("asked about"));
    world.card("asked about");
    assert_eq!(grants(&world), [] as [Value; 0]);
    world.check();
}

fn all_grants_are_listed_and_can_be_ended() {
    let world = world();
    world.telegram.say(GROUP, ANNA, "/grants");
    world.telegram.find(GROUP, "nothing", |shown| shown.text().contains("Nothing is granted."));
    let (mut agent, _card) = granted(&world, "hello");
    // What agents have a say in is no link.
    let wire =
        agent.send("tool_request", json!({"tool": "get_state", "args": {"entity_id": "www.example.org"}}));
    let asked = world.card("www.example.org");
    world.telegram.tap(&asked, "Allow 1 h", BEN);
    agent.reply(wire);
    world.telegram.say(GROUP, BEN, "/grants");
    let list = world.telegram.find(GROUP, "the list", |shown| shown.text().contains("• "));
    assert!(
        list.text().contains("everything of default that \"say\" asks about, 0 of 3 used"),
        "{}",
        list.text()
    );
    assert!(list.text().contains("every get_state(www.example.org) of default"), "{}", list.text());
    assert_eq!(list.live(), [] as [String; 0]);
    assert_eq!(list.buttons().len(), 2);
    let say_id = grants(&world).iter().find(|grant| grant["rule"] == "say").unwrap()["grant_id"].clone();
    let label = format!("Revoke {}", &say_id.as_str().unwrap()[..8]);
    let toast = world.telegram.toast(&world.telegram.tap(&list, &label, BEN));
    assert_eq!(toast.text, "Revoked.");
    let left = grants(&world);
    assert_eq!((left.len(), &left[0]["granted_by"]), (1, &json!("telegram:7002")));
    world.check();
}

fn who_may_not_grants_and_ends_nothing() {
    let world = world();
    let (_agent, _, asked) = world.asked("hello");
    let toast = world.telegram.toast(&world.telegram.tap(&asked, "Allow 1 h", STRANGER));
    assert_eq!(toast.text, "You may not approve this.");
    assert_eq!((grants(&world).len(), world.gateway.questions().len()), (0, 1));
    world.telegram.tap(&asked, "Allow 15 min", ANNA);
    let card = world.telegram.becomes(&asked, "the grant", |shown| shown.text().contains("Granted until"));
    let toast = world.telegram.toast(&world.telegram.tap(&card, &revoke(&card), STRANGER));
    assert_eq!(toast.text, "You may not approve this.");
    assert_eq!(grants(&world).len(), 1);
    world.check();
}

fn a_restart_keeps_the_card_and_its_button() {
    let mut world = world();
    let (_agent, card) = granted(&world, "hello");
    world.knows(&card);
    world.gateway.kill();
    world.gateway.restart();
    let mut agent = world.agent();
    assert_eq!(agent.call("tool_request", say("again"))["result"]["grant"]["uses_left"], 2);
    let shown = world.telegram.becomes(&card, "a use", |shown| shown.text().contains(", 1 of 3 used"));
    world.telegram.tap(&shown, &revoke(&shown), ANNA);
    let ended = world.telegram.becomes(&card, "its end", |shown| shown.text().contains("Grant revoked by"));
    assert!(ended.buttons().is_empty());
    eventually("no grant", || grants(&world).is_empty().then_some(()));
    world.check();
}
