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

use telegram_api::ANNA;
use telegram_world::{World, at_once, say, seen};

at_once!(review: [
    blank_lines_push_nothing_out_of_sight,
    an_argument_of_spaces_is_seen,
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
