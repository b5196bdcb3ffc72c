//! Approvals on Telegram when a card is lost, refused or moved, and when the wrong people or a broken server speak.

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

use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

use agentpass::testing::base::clock::Timestamp;
use agentpass::testing::base::zone::Zone;
use harness::site::Site;
use harness::{Gateway, Setup, eventually};
use serde_json::{Value, json};
use telegram_api::{ANNA, BEN, Fault, GROUP, Person, STRANGER, Shown, Telegram};
use telegram_world::{World, at_once, nothing_happened, reason, say, seen, setup};

at_once!(notes_and_names: [
    a_note_names_who_wrote_it,
    a_card_tells_a_text_from_a_number_and_keeps_everyday_text,
    a_restart_forgets_nobodys_name,
]);

at_once!(cards_that_were_sent_twice: [
    both_copies_of_a_card_can_be_tapped_and_lose_their_buttons,
    a_copy_that_is_tapped_after_the_end_says_how_it_ended,
    a_copy_of_long_ago_says_how_it_ended,
]);

at_once!(refused_cards_and_turns: [
    a_card_that_is_refused_holds_nothing_up_and_is_given_up,
    an_edit_that_is_refused_holds_nothing_up,
    a_card_that_upsets_the_server_lets_others_go_first,
    a_chat_that_takes_nothing_gets_its_cards_later,
    an_answer_to_a_command_waits_for_two_messages_at_most,
]);

at_once!(groups_that_move: [
    a_moved_group_is_remembered_and_what_had_ended_stops_nothing,
    a_group_that_moves_tells_us_so_without_being_asked,
    a_move_to_anywhere_is_not_believed,
]);

at_once!(why_people_are_asked: [a_question_by_a_limit_or_a_flow_says_why_everywhere]);

at_once!(strangers_and_a_broken_server: [
    strangers_commands_are_answered_once_a_minute,
    a_server_that_repeats_itself_is_asked_slowly,
]);

/// The bot's messages in a chat that show this text, the oldest first.
fn showing(world: &World, chat: i64, text: &str) -> Vec<Shown> {
    world.telegram.bot_messages(chat).into_iter().filter(|m| m.text().contains(text)).collect()
}

// --- notes and names ---

fn a_card_tells_a_text_from_a_number_and_keeps_everyday_text() {
    let telegram = Telegram::start();
    let zone = "CET-1CEST,M3.5.0,M10.5.0/3";
    let gateway = Gateway::with_environment(&setup(&telegram, ""), &[("TZ", zone)]);
    let world = World { telegram, gateway };
    let args = json!({"domain": "light", "service": "turn_on", "entity_id": "light.door", "a": "false", "b": false,
        "c": "1", "d": 1, "e": "\"1\"", "f": "👩\u{200d}👧 20\u{a0}°C می\u{200c}خواهم", "g": "x\u{200c}y "});
    world.agent().send("tool_request", json!({"tool": "call_service", "args": args}));
    let card = world.card("light.door");
    let shown = card.text();
    for line in [
        "a ⟨not declared⟩: \"false\"",
        "b ⟨not declared⟩: false",
        "c ⟨not declared⟩: \"1\"",
        "d ⟨not declared⟩: 1",
        "e ⟨not declared⟩: \"\\\"1\\\"\"",
        "f ⟨not declared⟩: 👩\u{200d}👧 20\u{a0}°C می\u{200c}خواهم",
        "g ⟨not declared⟩: \"x⟨U+200C⟩y \"",
    ] {
        assert!(shown.contains(&format!("\n  {line}")), "{line:?} is missing in\n{shown}");
    }
    assert!(shown.contains("Rule: no rule allows it, so you are asked"), "{shown}");
    // The clocks of the house, on the card only.
    let question = world.gateway.questions().remove(0);
    let until = Timestamp::parse(question["expires_at"].as_str().unwrap()).unwrap();
    let local = Zone::named(zone).unwrap().hour_and_minute(until);
    assert!(shown.contains(&format!("Answer by {local} (")), "{local} is missing in\n{shown}");
    assert_eq!(question["rule"]["list"], "defaults", "{question}");
    world.check();
}

fn a_note_names_who_wrote_it() {
    let world = World::with("approvals: {note_seconds: 50}");
    let (mut agent, wire, card) = world.asked("hello");
    world.telegram.tap(&card, "Deny with a reason", ANNA);
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

// --- copies ---

/// Asks, and loses the answer to the first card: both copies of it.
fn asked_twice(world: &World) -> (harness::Agent, u64, [Shown; 2]) {
    world.telegram.fault("sendMessage", Fault::Lost, 1);
    let mut agent = world.agent();
    let wire = agent.send("tool_request", say("hello"));
    let both = eventually("both copies", || showing(world, GROUP, "hello").try_into().ok());
    (agent, wire, both)
}

fn both_copies_of_a_card_can_be_tapped_and_lose_their_buttons() {
    let world = World::new();
    let (mut agent, wire, [first, second]) = asked_twice(&world);
    world.knows(&second);
    let tap = world.telegram.tap(&first, "Allow", ANNA);
    assert_eq!(world.telegram.toast(&tap).text, "Allowed.");
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    world.telegram.ends(&first, "done");
    world.telegram.ends(&second, "done");
    assert_eq!(seen(&world.gateway, "hello"), 1);
    world.check();
}

fn a_copy_that_is_tapped_after_the_end_says_how_it_ended() {
    let world = World::new();
    let (mut agent, wire, [first, second]) = asked_twice(&world);
    world.knows(&second);
    world.telegram.tap(&second, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    world.telegram.ends(&second, "done");
    assert_eq!(world.telegram.message(GROUP, first.id).buttons(), ["Deny", "Allow", "Deny with a reason"]);
    let late = world.telegram.tap(&first, "Deny", BEN);
    assert!(world.telegram.toast(&late).text.contains("Already allowed by Anna"));
    world.telegram.ends(&first, "done");
    assert_eq!(seen(&world.gateway, "hello"), 1);
    world.check();
}

fn a_copy_of_long_ago_says_how_it_ended() {
    let mut world = World::new();
    let (mut agent, wire, [first, second]) = asked_twice(&world);
    world.knows(&second);
    world.telegram.tap(&second, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    world.telegram.ends(&second, "done");
    world.is_done_with(&second);
    world.gateway.kill();
    world.gateway.restart();
    let late = world.telegram.tap(&first, "Allow", BEN);
    assert!(world.telegram.toast(&late).text.contains("has ended"));
    let ended = world.telegram.ends(&first, "done");
    assert!(ended.text().contains("say") && ended.text().contains("Anna"), "{}", ended.text());
    // What the record does not know changes nothing.
    let (_agent, _, card) = world.asked("next");
    world.telegram.tap_data(GROUP, card.id + 900, "1aAAAAAAAAAAAAAAAAAAAAAA", ANNA);
    let forged = world.telegram.tap_data(GROUP, card.id, &first.button("Allow").unwrap(), ANNA);
    world.telegram.toast(&forged);
    assert_eq!(world.telegram.message(GROUP, card.id).buttons(), ["Deny", "Allow", "Deny with a reason"]);
    assert_eq!(seen(&world.gateway, "hello"), 1);
    world.check();
}

// --- refusals and turns ---

fn a_card_that_is_refused_holds_nothing_up_and_is_given_up() {
    let world = World::new();
    world.telegram.refuse("unwelcome", 400);
    let mut agent = world.agent();
    let wire = agent.send("tool_request", say("unwelcome"));
    let id = agent.asked();
    let began = Instant::now();
    let (mut other, other_wire, card) = world.asked("welcome to all");
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(other.reply(other_wire)["result"]["status"], "executed");
    let told = eventually("the chat to hear of it", || showing(&world, GROUP, "does not take").pop());
    assert!(told.text().contains("agentpass approvals"), "{}", told.text());
    let refused = |r: &&telegram_api::Request| r.arguments["text"].as_str().unwrap().contains("unwelcome");
    let tries = || world.telegram.requests("sendMessage").iter().filter(refused).count();
    assert_eq!(tries(), 4);
    eventually("one line in the log", || {
        world.gateway.log().contains(&format!("agentpass approve {id}")).then_some(())
    });
    let errors =
        world.gateway.log().lines().filter(|l| l.contains(&id) && l.contains("does not take")).count();
    assert_eq!(errors, 1, "one line");
    let status = world.gateway.json(&["status", "--json"])["channels"]["telegram"].clone();
    assert!(status["up"] == true && status["detail"].as_str().unwrap().contains("1 not taken"), "{status}");
    assert_eq!(world.gateway.approve(&id), "resolved");
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    let status = world.gateway.json(&["status", "--json"])["channels"]["telegram"].clone();
    assert!(!status["detail"].as_str().unwrap().contains("not taken"), "{status}");
    world.check();
}

fn an_edit_that_is_refused_holds_nothing_up() {
    let world = World::new();
    let (mut agent, wire, card) = world.asked("hello");
    world.telegram.refuse("Allowed: say", 400);
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    let began = Instant::now();
    world.asked("next");
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    world.check();
}

fn a_card_that_upsets_the_server_lets_others_go_first() {
    let world = World::new();
    world.telegram.refuse("poison", 500);
    let mut agent = world.agent();
    let wire = agent.send("tool_request", say("poison"));
    eventually("the error", || (!world.telegram.requests("sendMessage").is_empty()).then_some(()));
    let (mut other, other_wire, card) = world.asked("good");
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(other.reply(other_wire)["result"]["status"], "executed");
    world.telegram.heal();
    let card = eventually("the first one", || showing(&world, GROUP, "poison").pop());
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    world.check();
}

fn a_chat_that_takes_nothing_gets_its_cards_later() {
    let world = World::new();
    let kicked = Fault::Error(403, "Forbidden: bot was kicked from the supergroup chat", Value::Null);
    world.telegram.fault("sendMessage", kicked, 1);
    let mut agent = world.agent();
    let wire = agent.send("tool_request", say("hello"));
    eventually("status to say so", || {
        let status = world.gateway.json(&["status", "--json"])["channels"]["telegram"].clone();
        (status["up"] == false && status["detail"].as_str().unwrap().contains("kicked")).then_some(())
    });
    let card = eventually("the card", || showing(&world, GROUP, "hello").pop());
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    world.check();
}

fn an_answer_to_a_command_waits_for_two_messages_at_most() {
    let world = World::with("rate_limit: {max_pending_approvals: 30, max_requests_per_minute: 1000}");
    let mut agent = world.agent();
    for n in 0..8 {
        agent.send("tool_request", say(&format!("number {n}")));
    }
    eventually("the first card", || showing(&world, GROUP, "number").pop());
    eventually("eight questions", || (world.gateway.questions().len() == 8).then_some(()));
    let before = showing(&world, GROUP, "number").len();
    world.telegram.say(GROUP, ANNA, "/help");
    eventually("the answer", || showing(&world, GROUP, "/pending").pop());
    let between = showing(&world, GROUP, "number").len() - before;
    assert!(between <= 2, "{between} cards went first");
    world.check();
}

// --- groups that move ---

const MOVED: i64 = -1_009_876_543_210;

fn a_moved_group_is_remembered_and_what_had_ended_stops_nothing() {
    let mut world = World::new();
    let (mut agent, wire, _ended) = world.asked("ended");
    let (mut open, open_wire, _) = world.asked("still open");
    world.telegram.migrate(GROUP, MOVED);
    let id = agent_question(&world, "ended");
    assert_eq!(world.gateway.approve(&id), "resolved");
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    let card = world.telegram.card(MOVED, "still open");
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(open.reply(open_wire)["result"]["status"], "executed");
    world.telegram.ends(&card, "done");
    assert!(showing(&world, MOVED, "ended").is_empty(), "what has ended is not asked again");
    eventually("the remedy", || world.gateway.log().contains(&format!("chat_id to {MOVED}")).then_some(()));
    eventually("an empty queue", || {
        let status = world.gateway.json(&["status", "--json"])["channels"]["telegram"].clone();
        (!status["detail"].as_str().unwrap().contains("wait")).then_some(())
    });
    world.gateway.kill();
    world.gateway.restart();
    let asked_before = |world: &World| {
        let to_old = |r: &&telegram_api::Request| r.arguments["chat_id"] == GROUP;
        world.telegram.requests("sendMessage").iter().filter(to_old).count()
    };
    let before = asked_before(&world);
    let mut agent = world.agent();
    let wire = agent.send("tool_request", say("after the restart"));
    let card = world.telegram.card(MOVED, "after the restart");
    world.telegram.tap(&card, "Allow", BEN);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    assert_eq!(asked_before(&world), before, "the old chat is not tried again");
    world.check();
}

fn agent_question(world: &World, text: &str) -> String {
    let questions = world.gateway.questions();
    let found =
        questions.iter().find(|q| q.to_string().contains(text)).unwrap_or_else(|| panic!("{questions:?}"));
    found["request_id"].as_str().unwrap().to_owned()
}

fn a_group_that_moves_tells_us_so_without_being_asked() {
    let world = World::new();
    let (mut agent, wire, _card) = world.asked("hello");
    world.telegram.migrate(GROUP, MOVED);
    let from = json!({"id": ANNA.id, "is_bot": false, "first_name": "Anna"});
    let chat = json!({"id": GROUP, "type": "group", "title": "Home"});
    let news = json!({"message_id": 9, "date": 1, "from": from, "chat": chat, "migrate_to_chat_id": MOVED});
    world.telegram.push("message", news);
    let card = world.telegram.card(MOVED, "hello");
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    world.check();
}

fn a_move_to_anywhere_is_not_believed() {
    let world = World::new();
    for place in [GROUP, -5, STRANGER.id] {
        let moved = Fault::Error(400, "Bad Request: upgraded", json!({"migrate_to_chat_id": place}));
        world.telegram.fault("sendMessage", moved, 1);
    }
    let mut agent = world.agent();
    let wire = agent.send("tool_request", say("hello"));
    let card = eventually("the card", || showing(&world, GROUP, "hello").pop());
    assert!(world.telegram.bot_messages(STRANGER.id).is_empty());
    // Nor is an update: Telegram says so to what we send, or it is not so.
    let from = json!({"id": STRANGER.id, "is_bot": false, "first_name": "M"});
    let chat = json!({"id": GROUP, "type": "supergroup", "title": "Home"});
    world.telegram.add_chat(MOVED, telegram_api::Kind::Supergroup);
    let news = json!({"message_id": 9, "date": 1, "from": from, "chat": chat, "migrate_to_chat_id": MOVED});
    world.telegram.push("message", news);
    let tap = world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(world.telegram.toast(&tap).text, "Allowed.");
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    world.telegram.ends(&card, "done");
    assert!(world.telegram.bot_messages(MOVED).is_empty());
    world.check();
}

// --- strangers, and a broken server ---

fn strangers_commands_are_answered_once_a_minute() {
    let world = World::new();
    let (_agent, _, _card) = world.asked("hello");
    let id = world.gateway.question();
    let answers = || showing(&world, GROUP, "You may not use this bot.");
    for text in ["/pending", "/status", "/help", "/open", "/status@agentpass_test_bot"] {
        world.telegram.say(GROUP, STRANGER, text);
    }
    world.telegram.say(GROUP, STRANGER, "good morning");
    eventually("an answer", || answers().pop());
    // Many strangers are not answered one by one.
    for id in 900..920 {
        world.telegram.say(GROUP, Person { id, name: "" }, "/status");
    }
    world.telegram.say(GROUP, ANNA, "/pending");
    let shown = eventually("the answer to one who may", || showing(&world, GROUP, "1 open:").pop());
    assert!(shown.text().contains("say"), "{}", shown.text());
    assert!(answers().len() <= 5, "{} answers", answers().len());
    let lines =
        || world.gateway.log().lines().filter(|line| line.contains("not among allowed_users")).count();
    eventually("lines in the log", || (lines() >= 5).then_some(()));
    assert_eq!(lines(), 5);
    assert_eq!(world.gateway.log().lines().filter(|line| line.contains("(666)")).count(), 1);
    nothing_happened(&world, &id);
    world.check();
}

fn a_server_that_repeats_itself_is_asked_slowly() {
    let world = World::new();
    let (mut agent, wire, card) = world.asked("hello");
    world.telegram.tap(&card, "Allow", ANNA);
    world.telegram.say(GROUP, ANNA, "/help");
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    world.telegram.ends(&card, "done");
    eventually("the answer", || showing(&world, GROUP, "/pending").pop());
    let polls = || world.telegram.requests("getUpdates").len();
    world.telegram.repeat_itself(true);
    let before = polls();
    let began = Instant::now();
    eventually("four polls", || (polls() >= before + 4).then_some(()));
    assert!(began.elapsed() > Duration::from_secs(2), "it spins: {:?}", began.elapsed());
    // A tap among the noise counts as soon as the next poll is made.
    let (mut agent, wire, card) = world.asked("again");
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    assert_eq!((seen(&world.gateway, "hello"), seen(&world.gateway, "again")), (1, 1));
    assert_eq!(showing(&world, GROUP, "/pending").len(), 1, "a command is answered once");
    world.telegram.repeat_itself(false);
    world.check();
}

/// What the agent "default" may do: `say` is counted, and mail carries what was read of customers.
const COUNTED_AND_CARRIED: &str = "rules: [{pattern: \"*\", action: allow}]
limits: [{name: few-words, pattern: \"say*\", window: day, ask_above: 0}]
flows: [{from: crm, to: external_email, labels: [pii], action: ask, description: Mail to customers}]
";
const CRM_AND_MAIL: &str = "
  customer: {data: {from: crm, labels: [pii]}, args: {id: {}}, request: {method: GET, path: /customer}}
  mail:
    kind: send
    data: {to: external_email}
    args: {to: {type: string, required: true}}
    request: {method: POST, path: /mail}
";

fn a_question_by_a_limit_or_a_flow_says_why_everywhere() {
    let telegram = Telegram::start();
    let usual = setup(&telegram, "");
    let gateway = Gateway::with(&Setup {
        config: usual.config.replace("health_port: off", "health_port: 0"),
        tools: usual.tools.trim_end().to_owned() + CRM_AND_MAIL,
        permissions: COUNTED_AND_CARRIED.to_owned(),
    });
    let world = World { telegram, gateway };
    let gateway = &world.gateway;
    let site = Site::signed_in(gateway);
    let watcher = gateway.say_and_leave(&[json!({"command": "watch"})]);
    watcher.set_read_timeout(Some(timing::PATIENCE)).unwrap();
    let mut watched = BufReader::new(watcher).lines();
    let mut agent = world.agent();
    assert_eq!(agent.request("customer", json!({"id": "7"}))["result"]["status"], "executed");
    let by_limit = "few-words: the 1st call within a day, asked above 0";
    let by_flow = "its data would go somewhere: Mail to customers";
    let explained = ["few-words", "Mail to customers"];
    for ((request, code, why), explained) in [
        (say("hello"), "asked_by_limit", by_limit),
        (json!({"tool": "mail", "args": {"to": "anna@customer.example"}}), "asked_by_flow", by_flow),
    ]
    .into_iter()
    .zip(explained)
    {
        let (tool, args) = (request["tool"].as_str().unwrap().to_owned(), request["args"].clone());
        let (name, value) = args.as_object().unwrap().iter().next().unwrap();
        let argument = format!("{name}={}", value.as_str().unwrap());
        let live = gateway.cli(&["explain", &tool, &argument, "--agent", "default", "--live"]);
        assert!(String::from_utf8_lossy(&live.stdout).contains(explained), "{live:?}");
        let wire = agent.send("tool_request", request);
        let id = agent.asked();
        assert!(world.card(why).text().contains(value.as_str().unwrap()));
        let mut lines = watched.by_ref().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        let line = lines.find(|line| line["tool"].is_string()).unwrap();
        assert_eq!(
            (&line["request_id"], &line["reasons"][0]["reason"]),
            (&json!(id), &json!(code)),
            "{line}"
        );
        assert_eq!(gateway.json(&["approvals", "--json"])[0]["reasons"][0]["reason"], code);
        let page = site.get("/approvals/").body;
        assert!(page.contains(why), "{page}");
        assert_eq!(gateway.approve(&id), "resolved");
        assert_eq!(agent.reply(wire)["result"]["status"], "executed");
        let call = site.get(&format!("/audit/call/{id}")).body;
        assert!(call.contains(why), "{call}");
        let table = site.get("/audit/export.csv").body;
        assert!(table.lines().any(|row| row.contains(&id) && row.contains(why)), "{table}");
    }
    world.check();
}
