//! Approvals on Telegram where something went wrong with a card, a message or a person.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;
mod telegram_api;
mod telegram_world;

use telegram_api::{ANNA, BEN, Fault};
use telegram_world::{World, at_once, reason};

at_once!(notes_and_names: [
    a_note_names_who_wrote_it,
    a_restart_forgets_nobodys_name,
]);

fn a_note_names_who_wrote_it() {
    let world = World::with("approvals: {note_seconds: 20}");
    let (mut agent, wire, card) = world.asked("hello");
    world.telegram.tap(&card, "Deny", ANNA);
    world.telegram.becomes(&card, "an invitation", |m| m.text().contains("reply"));
    world.telegram.reply(&card, BEN, "not at night");
    assert_eq!(reason(&agent.reply(wire)), "denied_by_user");
    let card = world.telegram.ends(&card, "denied");
    assert!(card.text().contains("By Anna (7001) at"), "{}", card.text());
    assert!(card.text().contains("The agent was told by Ben (7002): not at night"), "{}", card.text());
    let row = world.gateway.audit().remove(0);
    assert_eq!((&row["resolved_by"], &row["note_by"]), (&"telegram:7001".into(), &"telegram:7002".into()));
    world.check();
}

fn a_restart_forgets_nobodys_name() {
    let mut world = World::new();
    let (mut agent, wire, card) = world.asked("hello");
    world.knows(&card);
    world.telegram.break_down("editMessageText", Fault::Page(502));
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    world.gateway.kill();
    world.telegram.heal();
    world.gateway.restart();
    let card = world.telegram.ends(&card, "done");
    assert!(card.text().contains("By Anna (7001) at"), "{}", card.text());
    world.check();
}
