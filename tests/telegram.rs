//! Approvals on Telegram: the real binary against a strict fake of the Bot API.

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

use std::thread;
use std::time::{Duration, Instant};

use harness::gateway::{LAPTOP, SERVICE_SECRET, TOKEN};
use harness::{Agent, Answer, Gateway, PATIENCE, eventually};
use serde_json::{Value, json};
use telegram_api::{ANNA, BEN, BOT_TOKEN, Fault, GROUP, Person, STRANGER, Telegram, text};
use telegram_world::{World, at_once, nothing_happened, reason, say, seen, setup};

at_once!(answers_notes_and_fatigue: [
    a_tap_on_allow_executes_once_and_the_card_says_so,
    a_tap_on_deny_denies,
    an_answer_on_the_gateway_is_shown_in_the_chat_and_the_other_way_round,
    of_two_phones_one_wins_and_the_other_is_told_who_did,
    a_tap_may_come_before_the_answer_to_send_message,
    a_card_that_was_sent_twice_counts_once_wherever_it_is_tapped,
    a_card_whose_number_was_lost_says_how_it_ended_when_it_is_tapped,
    an_answer_that_cannot_be_recorded_does_not_count,
    a_question_that_ends_before_its_turn_is_never_sent,
    a_reload_leaves_cards_alone,
    deny_answers_at_once,
    a_reply_after_deny_reaches_the_agent,
    no_reason_ends_the_wait,
    the_window_for_a_note_closes,
    a_denial_stands_after_a_kill_in_the_window,
    identical_questions_become_one_card_with_a_count,
    after_three_denies_nobody_is_asked_again,
    a_cap_on_open_questions,
    two_agents_with_the_same_call_are_two_questions,
    the_cool_down_can_be_switched_off,
    the_window_for_a_note_never_outlasts_the_question,
]);

at_once!(who_may_answer: [
    a_strangers_tap_has_no_power,
    anonymous_admins_and_channels_have_no_power,
    words_have_no_power_even_from_those_who_may,
    a_card_has_no_power_in_another_chat,
    data_that_is_not_of_this_card_has_no_power,
    odd_updates_are_passed_over,
    a_tap_that_comes_again_does_nothing_again,
    strangers_are_answered_but_do_not_fill_the_log,
    a_stranger_who_blocks_the_bot_holds_nothing_up,
    strangers_who_tap_hold_no_question_up,
]);

at_once!(what_a_person_sees: [
    the_card_shows_the_whole_call,
    a_long_call_is_split_and_nothing_is_lost,
    a_call_that_fails_says_so,
    expired_withdrawn_and_void_questions_say_so,
]);

at_once!(commands_health_and_configuration: [
    commands_are_for_those_who_may,
    a_limit_is_told_once_and_shown_on_demand,
    status_says_since_when_telegram_is_away_and_how_much_waits,
    a_wrong_token_is_a_configuration_error,
    a_webhook_is_taken_away_and_no_tap_is_dropped,
    the_token_is_never_written_anywhere,
    a_token_that_is_taken_back_is_said_in_status,
]);

at_once!(time_and_restarts: [
    a_question_survives_a_kill_with_its_card,
    a_tap_while_the_gateway_is_down_counts_when_it_is_back,
    a_question_that_expired_while_the_gateway_was_down_says_so,
    a_question_that_ended_on_the_gateway_while_a_card_could_not_be_edited_is_edited_later,
    an_orderly_stop_answers_nobody,
    a_restart_makes_no_question_longer,
    a_reminder_comes_at_half_time_where_it_is_wanted,
    after_a_long_absence_open_questions_say_so,
    a_short_absence_is_not_worth_an_edit,
    the_conflict_after_a_crash_is_no_alarm,
    a_stop_does_not_wait_for_a_service_that_hangs,
    a_call_that_was_under_way_at_a_kill_is_shown_as_unknown,
]);

at_once!(outages_and_refusals: [
    a_long_wait_that_the_service_wants_is_kept_and_stops_nothing_else,
    a_card_that_cannot_be_edited_any_more_stops_nothing,
    while_telegram_is_down_questions_are_open_and_are_sent_when_it_is_back,
    telegram_may_be_down_at_the_start,
    a_group_that_moved_is_followed,
    approvals_go_on_while_a_service_hangs,
    the_pace_of_messages_is_kept,
]);

// --- asking and answering ---

fn a_tap_on_allow_executes_once_and_the_card_says_so() {
    let world = World::new();
    let (mut agent, wire, card) = world.asked("hello");
    assert_eq!(card.buttons(), ["Deny", "Allow", "Deny with a reason"]);
    let tap = world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    let toast = world.telegram.toast(&tap);
    assert!(!toast.text.is_empty());
    let card = world.telegram.ends(&card, "done");
    assert!(card.text().contains("Anna") && card.text().contains("hello"), "{}", card.text());
    assert_eq!(seen(&world.gateway, "hello"), 1);
    assert_eq!(world.gateway.audit()[0]["resolved_by"], "telegram:7001");
    assert_eq!(world.telegram.unanswered(), 0);
    world.check();
}

fn a_tap_on_deny_denies() {
    let world = World::with("approvals: {note_seconds: 0}");
    let (mut agent, wire, card) = world.asked("hello");
    world.telegram.tap(&card, "Deny", BEN);
    assert_eq!(reason(&agent.reply(wire)), "denied_by_user");
    let card = world.telegram.ends(&card, "denied");
    assert!(card.text().contains("Ben"), "{}", card.text());
    assert_eq!(seen(&world.gateway, "hello"), 0);
    world.check();
}

fn an_answer_on_the_gateway_is_shown_in_the_chat_and_the_other_way_round() {
    let world = World::new();
    let (mut agent, wire, card) = world.asked("local");
    assert_eq!(world.gateway.approve(&world.gateway.question()), "resolved");
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    let ended = world.telegram.ends(&card, "done");
    assert!(ended.text().contains("on the gateway"), "{}", ended.text());
    let late = world.telegram.tap_stale(&card, "Deny", ANNA);
    assert!(world.telegram.toast(&late).text.to_lowercase().contains("already"));
    // And the other way round.
    let (mut agent, wire, card) = world.asked("remote");
    let id = world.gateway.question();
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    let reply = world.gateway.control(&json!({"command": "approve", "id": id})).unwrap();
    assert_eq!(reply["outcome"], "already_resolved");
    assert_eq!((seen(&world.gateway, "local"), seen(&world.gateway, "remote")), (1, 1));
    world.check();
}

fn of_two_phones_one_wins_and_the_other_is_told_who_did() {
    let world = World::with("approvals: {note_seconds: 0}");
    let (mut agent, wire, card) = world.asked("hello");
    let first = world.telegram.tap(&card, "Deny", ANNA);
    let second = world.telegram.tap(&card, "Allow", BEN);
    assert_eq!(reason(&agent.reply(wire)), "denied_by_user");
    let (won, lost) = (world.telegram.toast(&first), world.telegram.toast(&second));
    assert_ne!(won.text, lost.text);
    assert!(lost.text.contains("Anna"), "the second is not told who was first: {lost:?}");
    assert!(world.telegram.ends(&card, "denied").text().contains("Anna"));
    assert_eq!(seen(&world.gateway, "hello"), 0);
    world.check();
}

fn a_tap_may_come_before_the_answer_to_send_message() {
    let world = World::new();
    world.telegram.fault("sendMessage", Fault::Late, 1);
    let (mut agent, wire, card) = world.asked("hello");
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    world.telegram.release();
    world.telegram.ends(&card, "done");
    assert_eq!(seen(&world.gateway, "hello"), 1);
    world.check();
}

fn a_card_that_was_sent_twice_counts_once_wherever_it_is_tapped() {
    let world = World::new();
    world.telegram.fault("sendMessage", Fault::Lost, 1);
    let (mut agent, wire, card) = world.asked("hello");
    let first = world.telegram.tap(&card, "Allow", ANNA);
    world.telegram.toast(&first);
    let second = eventually("the second copy", || {
        world
            .telegram
            .bot_messages(GROUP)
            .into_iter()
            .find(|m| m.id != card.id && m.text().contains("hello"))
            .or_else(|| (seen(&world.gateway, "hello") == 1).then(|| card.clone()))
    });
    if !second.buttons().is_empty() {
        let again = world.telegram.tap_stale(&second, "Allow", ANNA);
        world.telegram.toast(&again);
    }
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    assert_eq!(seen(&world.gateway, "hello"), 1);
    world.check();
}

// --- who may answer ---

fn a_card_whose_number_was_lost_says_how_it_ended_when_it_is_tapped() {
    let world = World::new();
    world.telegram.fault("sendMessage", Fault::Lost, 1);
    let (mut agent, wire, card) = world.asked("hello");
    assert_eq!(world.gateway.approve(&world.gateway.question()), "resolved");
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    world.telegram.tap(&card, "Deny", ANNA);
    let ended = world.telegram.ends(&card, "done");
    assert!(ended.text().contains("on the gateway"), "{}", ended.text());
    world.check();
}

fn a_strangers_tap_has_no_power() {
    let world = World::new();
    let (_agent, _, card) = world.asked("hello");
    let id = world.gateway.question();
    let tap = world.telegram.tap(&card, "Allow", STRANGER);
    assert!(world.telegram.toast(&tap).text.contains("may not"), "{:?}", world.telegram.toast(&tap));
    eventually("strangers to leave a line in the log", || {
        world.gateway.log().contains("(666)").then_some(())
    });
    nothing_happened(&world, &id);
    world.check();
}

fn anonymous_admins_and_channels_have_no_power() {
    let world = World::new();
    let (_agent, _, card) = world.asked("hello");
    let id = world.gateway.question();
    let data = card.button("Allow").unwrap();
    let nobody = Person { id: 1_087_968_824, name: "Group" };
    let taps = [
        world.telegram.tap_data(GROUP, card.id, &data, nobody),
        world.telegram.tap_data(GROUP, card.id, &data, Person { id: 136_817_688, name: "Channel" }),
    ];
    for tap in &taps {
        world.telegram.toast(tap);
    }
    for text in ["yes", "allow", "/pending"] {
        world.telegram.say_anonymously(GROUP, text, Some(card.id));
        world.telegram.say_as_channel(GROUP, text, Some(card.id));
    }
    let sign = world.telegram.tap(&card, "Allow", STRANGER);
    world.telegram.toast(&sign);
    nothing_happened(&world, &id);
    world.check();
}

fn words_have_no_power_even_from_those_who_may() {
    let world = World::new();
    let (_agent, _, card) = world.asked("hello");
    let id = world.gateway.question();
    let said = world.telegram.reply(&card, ANNA, "Allow");
    world.telegram.rewrite(GROUP, said, "yes, allow it");
    world.telegram.say(GROUP, ANNA, &card.button("Allow").unwrap());
    world.telegram.reply(&card, BEN, "no");
    let sign = world.telegram.tap(&card, "Allow", STRANGER);
    world.telegram.toast(&sign);
    nothing_happened(&world, &id);
    world.check();
}

fn a_card_has_no_power_in_another_chat() {
    let world = World::new();
    let (_agent, _, card) = world.asked("hello");
    let id = world.gateway.question();
    let copy = world.telegram.forward(&card, ANNA.id, ANNA);
    let tap = world.telegram.tap_stale(&copy, "Allow", ANNA);
    world.telegram.toast(&tap);
    // A tap whose message is not known, and one with a message of another kind.
    let data = card.button("Allow").unwrap();
    for payload in [
        json!({"data": data}),
        json!({"data": data, "inline_message_id": "AAA"}),
        json!({"data": data, "message": null}),
        json!({"data": data, "message": {"message_id": card.id, "chat": {"id": ANNA.id, "type": "private"}, "date": 0}}),
        json!({"message": {"message_id": card.id, "chat": {"id": GROUP, "type": "supergroup"}, "date": 0}, "game_short_name": "x"}),
    ] {
        world.telegram.tap_raw(ANNA, payload);
    }
    eventually("all answers", || (world.telegram.unanswered() == 0).then_some(()));
    nothing_happened(&world, &id);
    world.check();
}

fn data_that_is_not_of_this_card_has_no_power() {
    let world = World::new();
    let (_agent, _, card) = world.asked("first");
    let id = world.gateway.question();
    let (_other, _, second) = world.asked("second");
    let data = card.button("Allow").unwrap();
    let mut taps: Vec<String> = ["", "x", "1a", "1aAAAAAAAAAAAAAAAAAAAAAA", "2a0000", "{}", "1a\u{0}"]
        .iter()
        .map(|data| world.telegram.tap_data(GROUP, card.id, data, ANNA))
        .collect();
    taps.push(world.telegram.tap_data(GROUP, card.id, &format!("{data}x"), ANNA));
    taps.push(world.telegram.tap_data(GROUP, card.id, &data.replacen('1', "9", 1), ANNA));
    // The data of one card on another: somebody would approve what he does not see.
    taps.push(world.telegram.tap_data(GROUP, second.id, &data, ANNA));
    for tap in &taps {
        world.telegram.toast(tap);
    }
    nothing_happened(&world, &id);
    assert_eq!(world.gateway.questions().len(), 2);
    world.check();
}

fn odd_updates_are_passed_over() {
    let world = World::new();
    let (mut agent, wire, card) = world.asked("hello");
    world.telegram.push("business_message", json!({"text": "x"}));
    world.telegram.push("something_of_next_year", json!([1, 2, 3]));
    world.telegram.push("callback_query", json!({}));
    world.telegram.push("callback_query", json!({"id": 5, "from": "x", "data": {}}));
    world.telegram.push("message", json!(null));
    world.telegram.push("message", json!({"chat": 1}));
    let first = world.telegram.say(GROUP, ANNA, "hello");
    assert!(first > 0);
    let next = world.telegram.past_updates().last().unwrap()["update_id"].as_i64().unwrap() + 1;
    world.telegram.go_on_from(next + 5_000_000);
    world.telegram.push("poll", json!({}));
    let tap = world.telegram.tap(&card, "Allow", ANNA);
    world.telegram.toast(&tap);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    eventually("everything to be acknowledged", || world.telegram.waiting_updates().is_empty().then_some(()));
    // After a week without updates their ids begin anywhere, also below.
    let (mut agent, wire, card) = world.asked("after a week");
    world.telegram.go_on_from(17);
    world.telegram.tap(&card, "Allow", BEN);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    eventually("everything to be acknowledged", || world.telegram.waiting_updates().is_empty().then_some(()));
    world.check();
}

fn a_tap_that_comes_again_does_nothing_again() {
    let world = World::new();
    let (mut agent, wire, card) = world.asked("hello");
    let taps = [0; 3].map(|_| world.telegram.tap(&card, "Allow", ANNA));
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    for tap in &taps {
        world.telegram.toast(tap);
    }
    for update in world.telegram.past_updates() {
        world.telegram.replay(update["update_id"].as_i64().unwrap());
    }
    let (mut agent, wire, card) = world.asked("again");
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    assert_eq!((seen(&world.gateway, "hello"), seen(&world.gateway, "again")), (1, 1));
    world.check();
}

// --- notes ---

fn deny_answers_at_once() {
    let world = World::with("approvals: {note_seconds: 600}\napproval_timeout: 900");
    let (mut agent, wire, card) = world.asked("hello");
    // What an older version has put on cards that are still in the chat.
    let data = card.button("Deny").unwrap();
    assert!(data.starts_with("1d") && data.len() == 24, "{data}");
    let tap = world.telegram.tap(&card, "Deny", ANNA);
    let error = agent.reply(wire)["error"].clone();
    assert_eq!((&error["data"]["reason"], &error["data"]["note"]), (&json!("denied_by_user"), &Value::Null));
    assert_eq!(world.telegram.toast(&tap).text, "Denied.");
    let ended = world.telegram.ends(&card, "denied");
    assert!(!ended.text().contains("reply"), "{}", ended.text());
    world.telegram.reply(&ended, ANNA, "because");
    world.telegram.find(GROUP, "an answer", |m| m.text().contains("answered already"));
    world.check();
}

fn a_reply_after_deny_reaches_the_agent() {
    let world = World::with("approvals: {note_seconds: 50}");
    let (mut agent, wire, card) = world.asked("hello");
    world.telegram.tap(&card, "Deny with a reason", ANNA);
    let invited = world.telegram.becomes(&card, "an invitation", |m| m.text().contains("reply"));
    assert_eq!(invited.buttons(), ["No reason"]);
    // It is decided already: nobody can approve it any more.
    let late = world.telegram.tap_stale(&card, "Allow", BEN);
    assert!(world.telegram.toast(&late).text.contains("Anna"), "{:?}", world.telegram.toast(&late));
    assert_eq!(world.gateway.audit()[0]["resolution"], "denied");
    world.telegram.reply(&card, STRANGER, "not from me");
    world.telegram.say_anonymously(GROUP, "nor from me", Some(card.id));
    world.telegram.say(GROUP, ANNA, "this is no reply");
    world.telegram.reply(&card, BEN, "not at\nnight");
    let error = agent.reply(wire)["error"].clone();
    assert_eq!(
        (&error["data"]["reason"], &error["data"]["note"]),
        (&json!("denied_by_user"), &json!("not at\nnight"))
    );
    let card = world.telegram.ends(&card, "denied");
    assert!(card.text().contains("night"), "{}", card.text());
    assert_eq!(seen(&world.gateway, "hello"), 0);
    world.check();
}

fn no_reason_ends_the_wait() {
    let world = World::with("approvals: {note_seconds: 60}");
    let (mut agent, wire, card) = world.asked("hello");
    world.telegram.tap(&card, "Deny with a reason", ANNA);
    let invited = world.telegram.becomes(&card, "an invitation", |m| m.buttons() == ["No reason"]);
    let tap = world.telegram.tap(&invited, "No reason", BEN);
    world.telegram.toast(&tap);
    let error = agent.reply(wire)["error"].clone();
    assert_eq!((&error["data"]["reason"], &error["data"]["note"]), (&json!("denied_by_user"), &Value::Null));
    world.telegram.ends(&card, "denied");
    world.check();
}

fn the_window_for_a_note_closes() {
    let world = World::with("approvals: {note_seconds: 2}");
    let (mut agent, wire, card) = world.asked("hello");
    let began = Instant::now();
    world.telegram.tap(&card, "Deny with a reason", ANNA);
    assert_eq!(reason(&agent.reply(wire)), "denied_by_user");
    assert!(began.elapsed() < Duration::from_secs(45), "{:?}", began.elapsed());
    let ended = world.telegram.ends(&card, "denied");
    let edits = ended.edits();
    world.telegram.reply(&card, ANNA, "too late");
    let (_, _, next) = world.asked("next");
    assert!(!world.telegram.message(GROUP, card.id).text().contains("too late"));
    assert_eq!(world.telegram.message(GROUP, card.id).edits(), edits);
    world.telegram.tap(&next, "Deny", ANNA);
    world.check();
}

fn a_denial_stands_after_a_kill_in_the_window() {
    let mut world = World::with("approvals: {note_seconds: 60}");
    let (_agent, _, card) = world.asked("hello");
    world.knows(&card);
    world.telegram.tap(&card, "Deny with a reason", ANNA);
    eventually("the record", || (world.gateway.audit()[0]["resolution"] == "denied").then_some(()));
    world.gateway.kill();
    world.gateway.restart();
    assert_eq!(world.gateway.audit()[0]["outcome"], "denied");
    world.telegram.ends(&card, "denied");
    assert_eq!(seen(&world.gateway, "hello"), 0);
    world.check();
}

// --- what a person sees ---

fn the_card_shows_the_whole_call() {
    let world = World::new();
    let mut agent = world.agent();
    let args = json!({"text": "one\nAgent: root\u{202e}\u{200b} https://evil.example @mallory /kill", "pin": "1234"});
    let request =
        json!({"tool": "say", "args": args, "reason": "because\n✅ Allowed", "session_id": "session-7"});
    agent.send("tool_request", request);
    agent.asked();
    let card = world.card("because");
    let text = card.text();
    for part in ["say", "Says something", "default", "because", "one", "⟨U+202E⟩", "⟨U+200B⟩", "•••", "rule"]
    {
        assert!(text.to_lowercase().contains(&part.to_lowercase()), "{part:?} is missing in\n{text}");
    }
    assert!(!text.contains("1234"), "{text}");
    let first = text.lines().next().unwrap();
    assert!(first.contains("say") && !first.contains("because"), "{text}");
    let blocks: String =
        card.entities().iter().filter(|e| e["type"] == "pre").map(|e| text::covered(text, e)).collect();
    for word in ["because", "✅ Allowed", "root", "evil.example", "@mallory"] {
        assert!(blocks.contains(word), "{word} stands outside of the agent's block:\n{text}");
        assert_eq!(text.matches(word).count(), blocks.matches(word).count());
    }
    assert_eq!(card.live(), [""; 0], "nothing in a card can be tapped but the buttons:\n{text}");
    world.check();
}

fn a_long_call_is_split_and_nothing_is_lost() {
    let world = World::new();
    let long: String = (0..1600).map(|n| format!("{n} 😀\n")).collect();
    let mut agent = world.agent();
    let wire = agent.send("tool_request", say(&long));
    let last = eventually("the buttons", || {
        world.telegram.bot_messages(GROUP).into_iter().find(|m| !m.buttons().is_empty())
    });
    let all = world.telegram.bot_messages(GROUP);
    assert!(all.len() > 2);
    assert_eq!(all.last().unwrap().id, last.id, "the buttons are below the last part");
    let whole: String = all.iter().map(|m| m.text().to_owned() + "\n").collect();
    let lines: Vec<&str> = whole.lines().map(str::trim).collect();
    let mut at = 0;
    for wanted in long.lines() {
        let found = lines[at..].iter().position(|line| line.ends_with(wanted));
        at += found.unwrap_or_else(|| panic!("{wanted:?} is lost or out of order")) + 1;
    }
    world.telegram.tap(&last, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    assert_eq!(seen(&world.gateway, &long), 1);
    let refused = agent.request("say", json!({"text": "x".repeat(13_000)}));
    assert_eq!(reason(&refused), "too_large_to_show");
    world.check();
}

fn a_call_that_fails_says_so() {
    let world = World::new();
    world.gateway.upstream.answer(|_| Answer::Reply(500, "text/plain", format!("no {SERVICE_SECRET}")));
    let (mut agent, wire, card) = world.asked("hello");
    world.telegram.tap(&card, "Allow", ANNA);
    assert!(agent.reply(wire)["error"].is_object());
    world.telegram.ends(&card, "failed");
    world.check();
}

fn expired_withdrawn_and_void_questions_say_so() {
    let world = World::with("approval_timeout: 4");
    let (_agent, _, card) = world.asked("expires");
    world.telegram.ends(&card, "expired");
    let late = world.telegram.tap_stale(&card, "Allow", ANNA);
    assert!(!world.telegram.toast(&late).text.is_empty());
    // The others are to end otherwise.
    world.gateway.configure(&setup(&world.telegram, ""));
    assert!(world.gateway.cli(&["reload"]).status.success());
    let (mut agent, _, card) = world.asked("is withdrawn");
    agent.send("cancel", json!({"request_id": world.gateway.question()}));
    world.telegram.ends(&card, "withdrawn");
    let (_agent, _, card) = world.asked("becomes void");
    let mut changed = setup(&world.telegram, "");
    changed.tools = changed.tools.replace("/api/say", "/api/shout");
    world.gateway.configure(&changed);
    assert!(world.gateway.cli(&["reload"]).status.success());
    world.telegram.ends(&card, "void");
    assert!(world.gateway.upstream.seen().is_empty());
    world.check();
}

// --- commands ---

fn a_limit_is_told_once_and_shown_on_demand() {
    let telegram = Telegram::start();
    let mut setup = setup(&telegram, "");
    let limit =
        "limits:\n  - {name: reads, pattern: \"get_state*\", per: agent, window: day, deny_above: 1}\n";
    setup.permissions.push_str(limit);
    let world = World { gateway: Gateway::with(&setup), telegram };
    let mut agent = world.agent();
    for n in 0..4 {
        agent.request("get_state", json!({"entity_id": format!("a.{n}")}));
    }
    let those_with = |text: &str| {
        let messages = world.telegram.bot_messages(GROUP);
        messages.iter().filter(|message| message.text().contains(text)).count()
    };
    eventually("the notice", || (those_with("The limit reads is reached by default") > 0).then_some(()));
    world.telegram.say(GROUP, ANNA, "/limits");
    let shown = "reads (default): 1 call within a day, denied above 1";
    eventually("the answer", || (those_with(shown) > 0).then_some(()));
    assert_eq!(those_with("is reached"), 1, "told once, and before what was asked for after it");
    world.check();
}

fn commands_are_for_those_who_may() {
    let world = World::new();
    let (_agent, _, card) = world.asked("hello");
    let answer = |text: &str, what: &str| {
        let before = world.telegram.bot_messages(GROUP).len();
        world.telegram.say(GROUP, ANNA, text);
        let messages = eventually(text, || {
            Some(world.telegram.bot_messages(GROUP)).filter(|messages| messages.len() > before)
        });
        let shown = messages.last().unwrap().text().to_owned();
        assert!(shown.contains(what), "{text}: {shown}");
        shown
    };
    answer("/pending", "say");
    let status = answer("/status@agentpass_test_bot", env!("CARGO_PKG_VERSION"));
    for part in ["up ", "Open questions: 1", "default: connected", "home: "] {
        assert!(status.contains(part), "{part:?} is missing in {status}");
    }
    let help = answer("/help", "/pending");
    assert!(help.contains("/status"), "{help}");
    let before = world.telegram.bot_messages(GROUP).len();
    world.telegram.say(GROUP, STRANGER, "/status");
    world.telegram.say(GROUP, ANNA, "/status@some_other_bot");
    world.telegram.say_anonymously(GROUP, "/status", None);
    world.telegram.say(STRANGER.id, STRANGER, "/status");
    world.telegram.say(ANNA.id, ANNA, "/pending");
    let sign = world.telegram.tap(&card, "Deny", STRANGER);
    world.telegram.toast(&sign);
    eventually("an answer", || (world.telegram.bot_messages(GROUP).len() > before).then_some(()));
    thread::sleep(Duration::from_secs(3));
    let more: Vec<_> = world.telegram.bot_messages(GROUP).split_off(before);
    let more: Vec<_> = more.iter().map(|message| message.text()).collect();
    assert_eq!(more, ["You may not use this bot."], "those who may not hear that, once");
    for chat in [STRANGER.id, ANNA.id] {
        let said: String = world.telegram.bot_messages(chat).iter().map(|m| m.text().to_owned()).collect();
        assert!(!said.contains(env!("CARGO_PKG_VERSION")) && !said.contains("say"), "{said}");
    }
    world.check();
}

// --- restarts ---

fn a_question_survives_a_kill_with_its_card() {
    let mut world = World::new();
    let (_agent, _, card) = world.asked("hello");
    world.knows(&card);
    let before = world.gateway.questions();
    world.gateway.kill();
    world.gateway.restart();
    assert_eq!(world.gateway.questions(), before);
    world.telegram.tap(&card, "Allow", ANNA);
    let id = before[0]["request_id"].as_str().unwrap();
    eventually("the call", || (world.outcome(id) == "executed").then_some(()));
    world.telegram.ends(&card, "done");
    assert_eq!(world.telegram.bot_messages(GROUP).len(), 1, "the same card, not a second one");
    assert_eq!(seen(&world.gateway, "hello"), 1);
    world.check();
}

fn a_tap_while_the_gateway_is_down_counts_when_it_is_back() {
    let mut world = World::new();
    let (_agent, _, card) = world.asked("hello");
    world.knows(&card);
    let id = world.gateway.question();
    world.gateway.kill();
    world.telegram.tap(&card, "Allow", ANNA);
    world.gateway.restart();
    eventually("the call", || (world.outcome(&id) == "executed").then_some(()));
    world.gateway.kill();
    world.gateway.restart();
    world.telegram.ends(&card, "done");
    assert_eq!(seen(&world.gateway, "hello"), 1);
    world.check();
}

fn a_question_that_expired_while_the_gateway_was_down_says_so() {
    let mut world = World::with("approval_timeout: 10");
    let (_agent, _, card) = world.asked("hello");
    world.knows(&card);
    let id = world.gateway.question();
    let expires = world.gateway.questions()[0]["expires_at"].clone();
    world.gateway.kill();
    thread::sleep(Duration::from_secs(10));
    world.telegram.tap(&card, "Allow", ANNA);
    world.gateway.restart();
    world.telegram.ends(&card, "expired");
    assert_eq!(world.gateway.row(&id)["resolution"], "timed_out", "{expires}");
    assert!(world.gateway.upstream.seen().is_empty());
    world.check();
}

fn a_question_that_ended_on_the_gateway_while_a_card_could_not_be_edited_is_edited_later() {
    let mut world = World::new();
    let (mut agent, wire, card) = world.asked("hello");
    world.knows(&card);
    world.telegram.down();
    assert_eq!(world.gateway.approve(&world.gateway.question()), "resolved");
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    world.gateway.kill();
    world.telegram.up();
    world.gateway.restart();
    world.telegram.ends(&card, "done");
    assert_eq!(seen(&world.gateway, "hello"), 1);
    world.check();
}

fn an_orderly_stop_answers_nobody() {
    let mut world = World::new();
    let (mut agent, _, card) = world.asked("hello");
    world.knows(&card);
    world.gateway.ask_to_stop();
    assert_eq!(agent.close_code(), Some(1012));
    let began = Instant::now();
    assert_eq!(world.gateway.wait(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(8), "a long poll keeps the gateway from stopping");
    assert_eq!(world.telegram.message(GROUP, card.id).buttons(), ["Deny", "Allow", "Deny with a reason"]);
    world.gateway.restart();
    world.telegram.tap(&card, "Allow", BEN);
    eventually("the call", || (seen(&world.gateway, "hello") == 1).then_some(()));
    world.telegram.ends(&card, "done");
    world.check();
}

// --- time ---

fn a_restart_makes_no_question_longer() {
    let mut world = World::with("approval_timeout: 14");
    let (_agent, _, card) = world.asked("hello");
    world.knows(&card);
    thread::sleep(Duration::from_secs(7));
    world.gateway.kill();
    let down = Instant::now();
    world.gateway.restart();
    world.telegram.ends(&card, "expired");
    assert!(down.elapsed() < Duration::from_secs(13), "half of its time is left: {:?}", down.elapsed());
    world.check();
}

fn a_reminder_comes_at_half_time_where_it_is_wanted() {
    let world = World::with("approval_timeout: 14\napprovals: {reminder: true}");
    let (_agent, _, card) = world.asked("hello");
    let reminded = world.telegram.becomes(&card, "a reminder", |m| m.edits() == 1);
    assert_eq!(reminded.buttons(), ["Deny", "Allow", "Deny with a reason"]);
    world.telegram.tap(&reminded, "Allow", ANNA);
    world.telegram.ends(&card, "done");
    world.check();
    let quiet = World::with("approval_timeout: 4");
    let (_agent, _, card) = quiet.asked("hello");
    assert_eq!(quiet.telegram.ends(&card, "expired").edits(), 1);
}

// --- faults ---

fn a_long_wait_that_the_service_wants_is_kept_and_stops_nothing_else() {
    let world = World::new();
    let wait = Fault::Error(
        429,
        "Too Many Requests: retry after 999999999",
        json!({"retry_after": 999_999_999_i64}),
    );
    world.telegram.fault("sendMessage", wait, 1);
    let mut agent = world.agent();
    let wire = agent.send("tool_request", say("hello"));
    eventually("the refusal", || (world.telegram.requests("sendMessage").len() == 1).then_some(()));
    assert_eq!(world.gateway.approve(&agent.asked()), "resolved");
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    thread::sleep(Duration::from_secs(2));
    assert_eq!(world.telegram.requests("sendMessage").len(), 1, "it did not wait");
    let row = world.gateway.json(&["status", "--json"]);
    assert!(row.to_string().contains("telegram"), "{row}");
    world.check();
}

fn a_card_that_cannot_be_edited_any_more_stops_nothing() {
    let world = World::new();
    let (mut agent, wire, card) = world.asked("locked");
    world.telegram.lock_message(&card);
    let (mut other, other_wire, gone) = world.asked("gone");
    world.telegram.delete(&gone);
    world.telegram.tap_stale(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    let id = world.gateway.question();
    assert_eq!(world.gateway.approve(&id), "resolved");
    assert_eq!(other.reply(other_wire)["result"]["status"], "executed");
    let (mut agent, wire, card) = world.asked("next");
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    world.telegram.ends(&card, "done");
    let tries = world.telegram.requests("editMessageText").len();
    thread::sleep(Duration::from_secs(3));
    assert_eq!(world.telegram.requests("editMessageText").len(), tries, "it tries for ever");
    world.check();
}

fn while_telegram_is_down_questions_are_open_and_are_sent_when_it_is_back() {
    let world = World::new();
    eventually("the poll", || (world.telegram.polling() == 1).then_some(()));
    world.telegram.down();
    let mut agent = world.agent();
    let (here, there) = (agent.send("tool_request", say("here")), agent.send("tool_request", say("there")));
    let here_id = agent.asked();
    agent.asked();
    let status = eventually("status to say so", || {
        let status = world.gateway.json(&["status", "--json"]);
        let channel = status["channels"]["telegram"].clone();
        (channel["up"] == false).then_some(channel)
    });
    assert!(status["detail"].as_str().unwrap().contains("since"), "{status}");
    let asked = world.gateway.questions();
    let first = asked.iter().find(|q| q["request_id"] == here_id.as_str()).unwrap();
    assert_eq!(first["request_id"], here_id.as_str());
    assert_eq!(world.gateway.approve(&here_id), "resolved");
    let reply = agent.reply(here);
    assert_eq!(reply["result"]["status"], "executed");
    world.telegram.up();
    let card = eventually("the card", || {
        world.telegram.bot_messages(GROUP).into_iter().find(|m| m.text().contains("there"))
    });
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(there)["result"]["status"], "executed");
    assert!(
        world.telegram.bot_messages(GROUP).iter().all(|m| !m.text().contains("here\n") || m.id == card.id)
    );
    world.telegram.ends(&card, "done");
    eventually("status to be well", || {
        let status = world.gateway.json(&["status", "--json"]);
        let channel = status["channels"]["telegram"].clone();
        (channel["up"] == true).then_some(())
    });
    world.check();
}

fn telegram_may_be_down_at_the_start() {
    let telegram = Telegram::start();
    telegram.down();
    let gateway = Gateway::with(&setup(&telegram, ""));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let wire = agent.send("tool_request", say("hello"));
    agent.asked();
    telegram.up();
    let card = eventually("the card", || telegram.bot_messages(GROUP).pop());
    telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    telegram.assert_clean();
}

fn a_group_that_moved_is_followed() {
    let world = World::new();
    let moved = -1_009_876_543_210;
    world.telegram.migrate(GROUP, moved);
    let mut agent = world.agent();
    let wire = agent.send("tool_request", say("hello"));
    let card = world.telegram.card(moved, "hello");
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    world.telegram.ends(&card, "done");
    eventually("the owner to learn the new number", || {
        world.gateway.log().contains(&moved.to_string()).then_some(())
    });
    world.check();
}

fn approvals_go_on_while_a_service_hangs() {
    let world = World::with("max_concurrent_calls: 2");
    world.gateway.upstream.answer(|_| Answer::Hold);
    let mut busy = world.agent();
    for n in 0..6 {
        busy.send("tool_request", json!({"tool": "render", "args": {"template": n.to_string()}}));
    }
    world.gateway.upstream.wait_for(2);
    let (mut agent, wire, card) = world.asked("hello");
    let began = Instant::now();
    let tap = world.telegram.tap(&card, "Allow", ANNA);
    world.telegram.toast(&tap);
    world.telegram.becomes(&card, "allowed", |m| m.text().contains("llowed") && m.buttons().is_empty());
    assert!(began.elapsed() < Duration::from_secs(40), "until it gives up: {:?}", began.elapsed());
    let id = world.gateway.audit().into_iter().find(|r| r["tool_name"] == "say").unwrap();
    assert_eq!(id["resolution"], "approved", "{id}");
    world.gateway.upstream.release();
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    world.check();
}

fn the_pace_of_messages_is_kept() {
    let world = World::with("rate_limit: {max_pending_approvals: 30, max_requests_per_minute: 1000}");
    world.telegram.flood_speed(Some(1.0));
    let mut agent = world.agent();
    for n in 0..8 {
        agent.send("tool_request", say(&format!("number {n}")));
    }
    eventually("eight cards", || (world.telegram.bot_messages(GROUP).len() == 8).then_some(()));
    let times: Vec<Instant> = world.telegram.requests("sendMessage").iter().map(|r| r.at).collect();
    // One a second. On a busy machine one comes late, and the next one seems to be early.
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| *gap > Duration::from_millis(400)), "{gaps:?}");
    assert!(gaps.iter().sum::<Duration>() > Duration::from_millis(6500), "{gaps:?}");
    assert_eq!(world.telegram.flooded(), 0);
    world.check();
}

// --- configuration ---

fn a_wrong_token_is_a_configuration_error() {
    let telegram = Telegram::start();
    let healthy = Gateway::with(&setup(&telegram, ""));
    for wrong in ["700001:not-the-token-at-all-0123456789", "nonsense"] {
        let mut wrong_setup = setup(&telegram, "");
        wrong_setup.config =
            wrong_setup.config.replace(BOT_TOKEN, wrong).replace("control.sock", "other.sock");
        wrong_setup.config = wrong_setup.config.replace("data/agentpass.db", "other/agentpass.db");
        healthy.configure(&wrong_setup);
        let output = healthy.cli(&["serve", "--insecure"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains("token") && said.contains("help: ") && !said.contains(wrong), "{said}");
    }
}

fn a_webhook_is_taken_away_and_no_tap_is_dropped() {
    let telegram = Telegram::start();
    telegram.set_webhook(Some("https://elsewhere.example"));
    let gateway = Gateway::with(&setup(&telegram, ""));
    let world = World { telegram, gateway };
    let (mut agent, wire, card) = world.asked("hello");
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    assert_eq!(world.telegram.requests("deleteWebhook").len(), 1);
    world.check();
}

fn the_token_is_never_written_anywhere() {
    let telegram = Telegram::start();
    for fault in [
        Fault::Garbage,
        Fault::Redirect(telegram.url()),
        Fault::Close,
        Fault::Error(400, "Bad Request: /bot700001:AAF-a_secret-b0t_token_0123456789xyz/x", Value::Null),
    ] {
        telegram.fault("getUpdates", fault.clone(), 1);
        telegram.fault("sendMessage", fault, 1);
    }
    let gateway = Gateway::with_environment(&setup(&telegram, ""), &[("LOG_LEVEL", "trace")]);
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", say("hello"));
    eventually("all faults", || {
        let count = |method: &str| telegram.requests(method).len();
        (count("getUpdates") >= 4 && count("sendMessage") >= 3).then_some(())
    });
    telegram.down();
    thread::sleep(Duration::from_millis(500));
    let world = World { telegram, gateway };
    let status = world.gateway.json(&["status", "--json"]).to_string();
    eventually("something below info", || {
        let log = world.gateway.log();
        (log.contains("TRACE") || log.contains("DEBUG")).then_some(())
    });
    for secret in [BOT_TOKEN, BOT_TOKEN.split_once(':').unwrap().1] {
        assert!(!world.gateway.log().contains(secret) && !status.contains(secret));
    }
    world.check();
}

// --- fatigue ---

fn identical_questions_become_one_card_with_a_count() {
    let world = World::new();
    let (mut first, wire, card) = world.asked("hello");
    let mut second = world.agent();
    let again = second.send("tool_request", say("hello"));
    let counted = world.telegram.becomes(&card, "a count", |m| m.text().contains('2') && m.edits() > 0);
    assert_eq!(world.telegram.bot_messages(GROUP).len(), 1);
    world.telegram.tap(&counted, "Allow", ANNA);
    assert_eq!(first.reply(wire)["result"]["status"], "executed");
    assert_eq!(second.reply(again)["result"]["status"], "executed");
    assert_eq!(seen(&world.gateway, "hello"), 1);
    world.check();
}

fn after_three_denies_nobody_is_asked_again() {
    let world = World::with("approvals: {note_seconds: 0}");
    for _ in 0..3 {
        let mut agent = world.agent();
        let wire = agent.send("tool_request", say("hello"));
        let card = world.telegram.find(GROUP, "a new card", |m| m.buttons() == ["Deny", "Allow"]);
        world.telegram.tap(&card, "Deny", ANNA);
        assert_eq!(reason(&agent.reply(wire)), "denied_by_user");
        world.telegram.ends(&card, "denied");
    }
    let mut agent = world.agent();
    let reply = agent.request("say", json!({"text": "hello"}));
    assert_eq!(reply["error"]["code"], -32001, "{reply}");
    assert!(world.gateway.questions().is_empty());
    let (_other, _, _) = world.asked("something else");
    assert_eq!(world.telegram.bot_messages(GROUP).len(), 4);
    world.check();
}

fn a_cap_on_open_questions() {
    let world = World::with("rate_limit: {max_pending_approvals: 2, max_requests_per_minute: 1000}");
    let mut agent = world.agent();
    agent.send("tool_request", say("one"));
    agent.send("tool_request", say("two"));
    world.card("one");
    world.card("two");
    let reply = agent.request("say", json!({"text": "three"}));
    assert_eq!(reason(&reply), "too_many_pending");
    world.check();
}

// --- health ---

fn status_says_since_when_telegram_is_away_and_how_much_waits() {
    let world = World::new();
    eventually("the poll", || (world.telegram.polling() == 1).then_some(()));
    world.telegram.down();
    let mut agent = world.agent();
    agent.send("tool_request", say("one"));
    agent.send("tool_request", say("two"));
    let text = eventually("status to say so", || {
        let output = world.gateway.cli(&["status"]);
        let text = String::from_utf8(output.stdout).unwrap();
        (text.contains("telegram") && text.contains("since") && text.contains('2')).then_some(text)
    });
    assert!(!text.contains(BOT_TOKEN));
    world.check();
}

/// Runs SQL in the gateway's record, as a broken disk or a second program might.
fn sql(gateway: &Gateway, text: &str) {
    let db = rusqlite::Connection::open(gateway.path("data/agentpass.db")).unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    db.execute_batch(text).unwrap();
}

fn an_answer_that_cannot_be_recorded_does_not_count() {
    let world = World::new();
    let (mut agent, wire, card) = world.asked("hello");
    let id = world.gateway.question();
    let trigger = "CREATE TRIGGER forbidden BEFORE INSERT ON events WHEN NEW.kind = 'answered'
                   BEGIN SELECT RAISE(ABORT, 'forbidden'); END";
    sql(&world.gateway, trigger);
    let tap = world.telegram.tap(&card, "Allow", ANNA);
    let toast = world.telegram.toast(&tap);
    assert!(toast.is_alert && toast.text.contains("does not count"), "{toast:?}");
    nothing_happened(&world, &id);
    assert_eq!(world.telegram.message(GROUP, card.id).buttons(), ["Deny", "Allow", "Deny with a reason"]);
    sql(&world.gateway, "DROP TRIGGER forbidden");
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    assert_eq!(seen(&world.gateway, "hello"), 1);
    world.check();
}

fn strangers_are_answered_but_do_not_fill_the_log() {
    let world = World::new();
    let (mut agent, wire, card) = world.asked("hello");
    let taps = [0; 30].map(|_| world.telegram.tap(&card, "Allow", STRANGER));
    let good = world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    assert_eq!(world.telegram.toast(&good).text, "Allowed.");
    for tap in &taps {
        assert!(world.telegram.toast(tap).text.contains("may not"));
    }
    let lines = || world.gateway.log().lines().filter(|line| line.contains("(666)")).count();
    eventually("a line in the log", || (lines() > 0).then_some(()));
    assert!(lines() <= 5, "{} lines", lines());
    world.check();
}

fn a_stranger_who_blocks_the_bot_holds_nothing_up() {
    let world = World::new();
    // The fake knows no private chat with this person, as Telegram does when the bot is blocked: it refuses.
    let from = json!({"id": 667, "is_bot": false, "first_name": "Blocker"});
    let written = json!({"message_id": 3, "date": 1, "text": "hi", "from": from,
        "chat": {"id": 667, "type": "private", "first_name": "Blocker"}});
    world.telegram.push("message", written);
    let refused = || world.telegram.requests("sendMessage").iter().any(|r| r.arguments["chat_id"] == 667);
    eventually("the refusal", || refused().then_some(()));
    let began = Instant::now();
    let (mut agent, wire, card) = world.asked("hello");
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    let health = world.gateway.control(&json!({"command": "status"})).unwrap().to_string();
    assert!(!health.contains("refused") && !health.contains("not reachable"), "{health}");
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
}

fn strangers_who_tap_hold_no_question_up() {
    let world = World::new();
    let (_first, _, card) = world.asked("first");
    world.telegram.break_down("answerCallbackQuery", Fault::Hang);
    let _taps = [0; 12].map(|_| world.telegram.tap(&card, "Allow", STRANGER));
    eventually("an answer that hangs", || (seen_answers(&world) >= 1).then_some(()));
    let began = Instant::now();
    let (mut agent, wire, card) = world.asked("second");
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    assert_eq!((seen(&world.gateway, "first"), seen(&world.gateway, "second")), (0, 1));
}

fn seen_answers(world: &World) -> usize {
    world.telegram.requests("answerCallbackQuery").len()
}

fn a_question_that_ends_before_its_turn_is_never_sent() {
    let world = World::new();
    let mut agent = world.agent();
    agent.send("tool_request", say("first"));
    let id = {
        agent.asked();
        agent.send("tool_request", say("second"));
        agent.asked()
    };
    let cancel = agent.send("cancel", json!({"request_id": id}));
    let ended = [agent.receive(), agent.receive()];
    assert!(
        ended.iter().any(|reply| reply["id"] == cancel && reply["result"]["status"] == "withdrawn"),
        "{ended:?}"
    );
    agent.send("tool_request", say("third"));
    world.card("first");
    world.card("third");
    assert_eq!(world.telegram.bot_messages(GROUP).len(), 2);
    world.check();
}

fn after_a_long_absence_open_questions_say_so() {
    let mut world = World::with("approval_timeout: 900");
    let (_agent, _, card) = world.asked("hello");
    world.knows(&card);
    assert_eq!(world.gateway.terminate(), Some(0));
    // As if the gateway had been away for three minutes.
    let path = world.gateway.path("data/agentpass.db");
    let db = rusqlite::Connection::open(path).unwrap();
    let find = "SELECT name, value FROM meta WHERE value LIKE '%\"seen\":%'";
    let (name, kept): (String, String) =
        db.query_row(find, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let mut kept: Value = serde_json::from_str(&kept).unwrap();
    kept["seen"] = json!(kept["seen"].as_i64().unwrap() - 180_000);
    db.execute("UPDATE meta SET value = ?1 WHERE name = ?2", [kept.to_string(), name]).unwrap();
    drop(db);
    world.gateway.restart();
    let told = world.telegram.becomes(&card, "one that says it was away", |m| m.text().contains("away"));
    assert_eq!(told.buttons(), ["Deny", "Allow", "Deny with a reason"]);
    world.telegram.tap(&told, "Allow", ANNA);
    let card = world.telegram.ends(&card, "done");
    assert!(!card.text().contains("away"), "{}", card.text());
    assert_eq!(seen(&world.gateway, "hello"), 1);
    world.check();
}

fn a_short_absence_is_not_worth_an_edit() {
    let mut world = World::new();
    let (_agent, _, card) = world.asked("hello");
    world.knows(&card);
    world.gateway.kill();
    world.gateway.restart();
    world.telegram.down();
    world.telegram.up();
    let (_other, _, _) = world.asked("next");
    assert_eq!(world.telegram.message(GROUP, card.id).edits(), 0);
    world.check();
}

fn the_conflict_after_a_crash_is_no_alarm() {
    let telegram = Telegram::start();
    let text =
        "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
    telegram.fault("getUpdates", Fault::Error(409, text, Value::Null), 1);
    let gateway = Gateway::with(&setup(&telegram, ""));
    let world = World { telegram, gateway };
    let (_agent, _, card) = world.asked("hello");
    world.telegram.tap(&card, "Allow", ANNA);
    eventually("the call", || (seen(&world.gateway, "hello") == 1).then_some(()));
    let alarms: Vec<_> = world
        .gateway
        .log()
        .lines()
        .filter(|l| l.contains("WARN") && l.contains("telegram"))
        .map(str::to_owned)
        .collect();
    assert!(alarms.is_empty(), "{alarms:?}");
    world.check();
}

fn a_token_that_is_taken_back_is_said_in_status() {
    let world = World::new();
    eventually("the poll", || (world.telegram.polling() == 1).then_some(()));
    world.telegram.break_down("getUpdates", Fault::Error(401, "Unauthorized", Value::Null));
    world.telegram.say(GROUP, ANNA, "this ends the poll");
    let detail = eventually("status to say so", || {
        let status = world.gateway.json(&["status", "--json"]);
        let channel = status["channels"]["telegram"].clone();
        (channel["up"] == false).then(|| channel["detail"].as_str().unwrap().to_owned())
    });
    assert!(detail.contains("token") && detail.contains("BotFather"), "{detail}");
    // Other channels go on.
    let mut agent = world.agent();
    let wire = agent.send("tool_request", say("hello"));
    assert_eq!(world.gateway.approve(&agent.asked()), "resolved");
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    world.check();
}

fn a_stop_does_not_wait_for_a_service_that_hangs() {
    let mut world = World::new();
    for method in ["getUpdates", "sendMessage"] {
        world.telegram.break_down(method, Fault::Hang);
    }
    let mut agent = world.agent();
    agent.send("tool_request", say("hello"));
    agent.asked();
    world.telegram.say(GROUP, ANNA, "this ends the poll");
    eventually("hanging calls", || (world.telegram.requests("sendMessage").len() == 1).then_some(()));
    let began = Instant::now();
    assert_eq!(world.gateway.terminate(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    world.check();
}

fn a_reload_leaves_cards_alone() {
    let world = World::new();
    let (mut agent, wire, card) = world.asked("hello");
    assert!(world.gateway.cli(&["reload"]).status.success());
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    // Allowed and done may be shown one after the other; what still has its buttons would be the reload's.
    let ended = world.telegram.ends(&card, "done");
    assert!(ended.versions[1..].iter().all(|version| version.buttons.is_empty()), "{:?}", ended.versions);
    world.check();
}

fn two_agents_with_the_same_call_are_two_questions() {
    let world = World::new();
    let (mut agent, wire, card) = world.asked("hello");
    let mut laptop = Agent::login(world.gateway.address, LAPTOP);
    laptop.send("tool_request", say("hello"));
    let other = world
        .telegram
        .find(GROUP, "the other agent's card", |m| m.id != card.id && m.text().contains("laptop"));
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    assert_eq!(world.gateway.questions().len(), 1);
    assert_eq!(world.telegram.message(GROUP, other.id).buttons(), ["Deny", "Allow", "Deny with a reason"]);
    assert_eq!(seen(&world.gateway, "hello"), 1);
    world.check();
}

fn the_cool_down_can_be_switched_off() {
    let world = World::with("approvals: {note_seconds: 0, cool_down: off}");
    for _ in 0..4 {
        let mut agent = world.agent();
        let wire = agent.send("tool_request", say("hello"));
        let id = agent.asked();
        world.gateway.control(&json!({"command": "deny", "id": id})).unwrap();
        assert_eq!(reason(&agent.reply(wire)), "denied_by_user");
    }
    world.check();
}

fn a_call_that_was_under_way_at_a_kill_is_shown_as_unknown() {
    let mut world = World::new();
    world.gateway.upstream.answer(|_| Answer::Hold);
    let (_agent, _, before) = world.asked("hello");
    world.knows(&before);
    world.telegram.tap(&before, "Allow", ANNA);
    world.gateway.upstream.wait_for(1);
    world.gateway.kill();
    world.gateway.restart();
    let card = world.telegram.ends(&before, "may have been done or not");
    assert!(card.text().contains("7001"), "{}", card.text());
    let again = world.telegram.tap_stale(&before, "Allow", ANNA);
    world.telegram.toast(&again);
    assert_eq!(world.gateway.upstream.seen().len(), 1);
    world.check();
}

fn the_window_for_a_note_never_outlasts_the_question() {
    let world = World::with("approval_timeout: 12\napprovals: {note_seconds: 60}");
    let began = Instant::now();
    let (mut agent, wire, card) = world.asked("hello");
    world.telegram.tap(&card, "Deny with a reason", ANNA);
    assert_eq!(reason(&agent.reply(wire)), "denied_by_user");
    assert!(began.elapsed() < Duration::from_secs(45), "{:?}", began.elapsed());
    assert!(world.telegram.ends(&card, "denied").buttons().is_empty());
    world.check();
}
