//! What a review of the Telegram channel has found: the real binary against a strict fake of the Bot API.

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

use harness::gateway::LAPTOP;
use harness::{Agent, eventually};
use serde_json::json;
use telegram_api::{ANNA, BEN, Fault, GROUP};
use telegram_world::{World, at_once, reason, say, seen};

at_once!(review: [
    blank_lines_push_nothing_out_of_sight,
    an_argument_of_spaces_is_seen,
    a_name_poses_as_nothing_else,
    who_joins_while_the_card_is_being_sent_is_counted,
    an_edit_that_fails_for_ever_holds_no_question_up,
    an_agent_with_many_long_questions_keeps_nobody_waiting,
    a_note_is_on_the_card_after_a_restart,
    nobody_is_asked_for_a_reason_that_is_not_taken,
]);

// --- what a person sees ---

fn blank_lines_push_nothing_out_of_sight() {
    let world = World::new();
    let text = format!("open the safe{}\nand the window", "\n ".repeat(400));
    let mut agent = world.agent();
    let wire = agent.send("tool_request", say(&text));
    let card = world.card("open the safe");
    let lines = card.text().lines().count();
    assert!(lines < 30, "{lines} lines:\n{}", card.text());
    assert!(card.text().contains("⟨400 blank lines⟩") && card.text().contains("and the window"));
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    assert_eq!(seen(&world.gateway, &text), 1);
    world.check();
}

fn an_argument_of_spaces_is_seen() {
    let world = World::new();
    let mut agent = world.agent();
    agent.send("tool_request", say("   "));
    let card = world.card("Allow say");
    assert!(card.text().contains("text: ⟨3 spaces⟩"), "{}", card.text());
    world.check();
}

fn a_name_poses_as_nothing_else() {
    let world = World::new();
    let far = " ".repeat(2000);
    let args = json!({"domain": "light", "service": "turn_on", "entity_id": "light.door",
        "entity_id: light.lamp": "x", (far): "y"});
    world.agent().send("tool_request", json!({"tool": "call_service", "args": args}));
    let card = world.card("light.door");
    let shown = card.text();
    assert!(shown.contains("\n  \"entity_id: light.lamp\" ⟨not declared⟩: x"), "{shown}");
    assert!(shown.contains("\n  \"⟨2000 spaces⟩\" ⟨not declared⟩: y"), "{shown}");
    world.check();
}

fn who_joins_while_the_card_is_being_sent_is_counted() {
    let world = World::new();
    world.telegram.fault("sendMessage", Fault::Late, 1);
    let mut first = world.agent();
    first.send("tool_request", say("hello"));
    eventually("the card", || (world.telegram.requests("sendMessage").len() == 1).then_some(()));
    let mut second = world.agent();
    second.send("tool_request", say("hello"));
    second.asked();
    world.telegram.release();
    let card = world.card("hello");
    let card = world.telegram.becomes(&card, "a count", |m| m.text().contains("Asked 2 times"));
    assert_eq!(card.buttons(), ["Deny", "Allow", "Deny with a reason"]);
    world.check();
}

fn a_note_is_on_the_card_after_a_restart() {
    let mut world = World::with("approvals: {note_seconds: 50}");
    let (mut agent, wire, card) = world.asked("hello");
    world.knows(&card);
    world.telegram.break_down("editMessageText", Fault::Page(502));
    let tap = world.telegram.tap(&card, "Deny with a reason", ANNA);
    world.telegram.toast(&tap);
    world.telegram.reply(&card, BEN, "not at night");
    let reply = agent.reply(wire);
    assert_eq!(reply["error"]["data"]["note"], "not at night", "{reply}");
    world.gateway.kill();
    world.telegram.heal();
    world.gateway.restart();
    let card = world.telegram.ends(&card, "denied");
    assert!(card.text().contains("The agent was told by Ben (7002): not at night"), "{}", card.text());
    world.check();
}

fn nobody_is_asked_for_a_reason_that_is_not_taken() {
    let world = World::with("approvals: {note_seconds: 0}");
    let (mut agent, wire, card) = world.asked("hello");
    assert_eq!(card.buttons(), ["Deny", "Allow"]);
    // A card from before a reload may still have the button.
    let data = card.button("Deny").unwrap().replacen("1d", "1r", 1);
    let tap = world.telegram.tap_data(GROUP, card.id, &data, ANNA);
    assert_eq!(world.telegram.toast(&tap).text, "Denied.");
    assert_eq!(reason(&agent.reply(wire)), "denied_by_user");
    world.check();
}

// --- faults ---

fn an_edit_that_fails_for_ever_holds_no_question_up() {
    let world = World::new();
    let (mut agent, wire, card) = world.asked("hello");
    world.telegram.refuse("Allowed: say", 500);
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    let tries = || world.telegram.requests("editMessageText").len();
    eventually("the back-off to grow", || (tries() >= 5).then_some(()));
    let began = Instant::now();
    let (_agent, _, other) = world.asked("next");
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    world.telegram.heal();
    world.gateway.say_no(&world.gateway.question());
    eventually("both ends", || {
        let told = |card| world.telegram.message(GROUP, card).buttons().is_empty();
        (told(card.id) && told(other.id)).then_some(())
    });
    world.check();
}

// --- a hostile agent ---

fn an_agent_with_many_long_questions_keeps_nobody_waiting() {
    let world = World::new();
    world.telegram.flood_speed(None);
    let mut hostile = world.agent();
    for name in ["one", "two", "three", "four", "five", "six"] {
        hostile.send("tool_request", say(&format!("{name}{}", "x".repeat(11_000))));
        hostile.asked();
    }
    let mut other = Agent::login(world.gateway.address, LAPTOP);
    other.send("tool_request", say("please"));
    other.asked();
    let before = world.telegram.bot_messages(GROUP).len();
    let place = eventually("its card", || {
        let all = world.telegram.bot_messages(GROUP);
        all.iter().position(|m| m.text().contains("please") && !m.buttons().is_empty())
    });
    // One card of four or five messages may be on its way.
    assert!(place <= before + 6, "{} messages went first", place - before);
    world.check();
}
