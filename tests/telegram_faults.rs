//! What can go wrong between the gateway and Telegram: the real binary against a strict fake of the Bot API.

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

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel as channel_of_texts};
use std::thread;
use std::time::{Duration, Instant};

use harness::gateway::TOKEN;
use harness::{Agent, Answer, Gateway, PATIENCE, Setup, TestClock, eventually, takes_less};
use serde_json::{Value, json};
use telegram_api::{ANNA, BEN, Fault, GROUP, Kind, Shown, Telegram};
use telegram_world::{World, at_once, say, seen, setup};

at_once!(no_answer: [
    a_name_that_does_not_resolve_stops_nothing_else,
    a_message_that_hangs_stops_nothing_else,
    an_edit_that_hangs_stops_nothing_else,
    a_poll_that_hangs_stops_nothing_else,
]);

at_once!(broken_answers: [
    broken_answers_to_polls_do_no_harm,
    broken_answers_to_messages_do_no_harm,
]);

at_once!(refusals: [
    a_token_that_is_refused_for_a_while_is_taken_again,
    a_bot_that_is_unknown_for_a_while_is_taken_again,
    a_bot_that_was_thrown_out_of_the_group_says_so_and_recovers,
    status_in_the_chat_names_the_last_error_of_a_service,
    a_group_gets_twenty_messages_a_minute_and_no_more,
    a_chat_that_is_not_there_is_told_before_the_first_question,
    a_page_that_is_not_telegrams_says_nothing_about_the_token,
    a_topic_that_is_not_there_is_told,
    what_is_blocked_is_reached_by_a_proxy,
]);

at_once!(moves_absences_and_kills: [
    a_group_that_moved_is_followed_through_a_restart,
    a_live_outage_of_more_than_two_minutes_is_told_on_open_cards,
    a_tap_that_comes_again_after_a_kill_is_told_that_it_is_answered,
    a_denial_that_comes_again_after_a_kill_stays_one,
]);

/// What `status` says of the channel.
fn channel(gateway: &Gateway) -> Value {
    gateway.json(&["status", "--json"])["channels"]["telegram"].clone()
}

/// Waits until `status` says that the channel is down, with these words.
fn is_down(gateway: &Gateway, words: &[&str]) -> Value {
    eventually("status to say that the channel is down", || {
        let channel = channel(gateway);
        let detail = channel["detail"].as_str().unwrap();
        (channel["up"] == false && words.iter().all(|word| detail.contains(word))).then_some(channel)
    })
}

fn is_up(gateway: &Gateway) {
    eventually("status to be well", || (channel(gateway)["up"] == true).then_some(()));
}

/// A question that is answered on the gateway, without Telegram.
fn answered_here(gateway: &Gateway, text: &str) {
    let mut agent = Agent::login(gateway.address, TOKEN);
    takes_less(Duration::from_secs(3), || {
        let began = Instant::now();
        let wire = agent.send("tool_request", say(text));
        assert_eq!(gateway.approve(&agent.asked()), "resolved");
        assert_eq!(agent.reply(wire)["result"]["status"], "executed");
        began.elapsed()
    });
}

/// A card in the group, waited for as long as a time limit and a back-off may take.
fn patient_card(telegram: &Telegram, text: &str) -> Shown {
    eventually("the card", || {
        let all = telegram.bot_messages(GROUP);
        all.into_iter().find(|m| m.text().contains(text) && !m.buttons().is_empty())
    })
}

fn patient_end(telegram: &Telegram, card: &Shown, text: &str) -> Shown {
    eventually("the end of the card", || {
        let now = telegram.message(card.chat, card.id);
        (now.buttons().is_empty() && now.text().to_lowercase().contains(text)).then_some(now)
    })
}

// --- no answer ---

fn a_name_that_does_not_resolve_stops_nothing_else() {
    let telegram = Telegram::start();
    let mut setup = setup(&telegram, "");
    setup.config = setup.config.replace(&telegram.url(), "http://no-such-host.invalid:1");
    let mut gateway = Gateway::with(&setup);
    answered_here(&gateway, "hello");
    let down = is_down(&gateway, &["not reachable since"]);
    assert!(down["since"].is_string(), "{down}");
    assert!(seen(&gateway, "hello") > 0);
    let began = Instant::now();
    assert_eq!(gateway.terminate(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

fn a_message_that_hangs_stops_nothing_else() {
    let world = World::new();
    world.telegram.fault("sendMessage", Fault::Hang, 1);
    let mut agent = world.agent();
    let wire = agent.send("tool_request", say("hello"));
    eventually("the message", || (world.telegram.requests("sendMessage").len() == 1).then_some(()));
    answered_here(&world.gateway, "meanwhile");
    // Nobody ends it but the gateway's own time limit.
    is_down(&world.gateway, &["sending", "since"]);
    let card = patient_card(&world.telegram, "hello");
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    patient_end(&world.telegram, &card, "done");
    is_up(&world.gateway);
    world.check();
}

fn an_edit_that_hangs_stops_nothing_else() {
    let world = World::new();
    let (mut agent, wire, card) = world.asked("hello");
    world.telegram.fault("editMessageText", Fault::Hang, 1);
    let began = Instant::now();
    let tap = world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    assert_eq!(world.telegram.toast(&tap).text, "Allowed.");
    assert!(began.elapsed() < Duration::from_secs(12), "until it gives up: {:?}", began.elapsed());
    eventually("the edit", || (world.telegram.requests("editMessageText").len() == 1).then_some(()));
    answered_here(&world.gateway, "meanwhile");
    patient_end(&world.telegram, &card, "done");
    is_up(&world.gateway);
    world.check();
}

fn a_poll_that_hangs_stops_nothing_else() {
    let telegram = Telegram::start();
    // The first poll asks for what is there already, so its time limit is short.
    telegram.fault("getUpdates", Fault::Hang, 1);
    let world = World { gateway: Gateway::with(&setup(&telegram, "")), telegram };
    let (mut agent, wire, card) = world.asked("hello");
    world.telegram.tap(&card, "Allow", ANNA);
    answered_here(&world.gateway, "meanwhile");
    is_down(&world.gateway, &["since"]);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    world.telegram.ends(&card, "done");
    is_up(&world.gateway);
    assert_eq!(seen(&world.gateway, "hello"), 1);
    world.check();
}

// --- broken answers ---

/// A question is asked, answered and shown as done although one method fails like this at first.
fn survives(method: &str, fault: Fault, times: usize) {
    let world = World::new();
    world.telegram.fault(method, fault.clone(), times);
    let mut agent = world.agent();
    let wire = agent.send("tool_request", say("hello"));
    let card = eventually(&format!("a card after {fault:?} of {method}"), || {
        world.telegram.bot_messages(GROUP).into_iter().rev().find(|m| !m.buttons().is_empty())
    });
    world.telegram.tap(&card, "Allow", ANNA);
    eventually(&format!("the call after {fault:?} of {method}"), || {
        (seen(&world.gateway, "hello") == 1).then_some(())
    });
    world.telegram.heal();
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    eventually(&format!("the last edit after {fault:?} of {method}"), || {
        let card = world.telegram.message(GROUP, card.id);
        (card.buttons().is_empty() && card.text().to_lowercase().contains("done")).then_some(())
    });
    world.check();
}

fn broken_answers_to_polls_do_no_harm() {
    thread::scope(|scope| {
        let refused = |code, text| Fault::Error(code, text, Value::Null);
        for fault in [
            Fault::Page(502),
            Fault::Close,
            Fault::Garbage,
            Fault::Endless,
            Fault::EndlessHeader,
            Fault::Huge(3),
            Fault::Odd(r#"{"ok":true,"result":{"no":"list"}}"#),
            Fault::Odd(r#"[]"#),
            Fault::Redirect("http://127.0.0.1:1".into()),
            refused(
                409,
                "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
            ),
        ] {
            scope.spawn(move || survives("getUpdates", fault, 1));
        }
    });
}

fn broken_answers_to_messages_do_no_harm() {
    thread::scope(|scope| {
        for fault in [
            Fault::Page(500),
            Fault::Close,
            Fault::Garbage,
            Fault::Endless,
            Fault::EndlessHeader,
            Fault::Huge(3),
            Fault::Odd(r#"{"ok":true,"result":{"message_id":"none"}}"#),
            Fault::Error(429, "Too Many Requests: retry after 1", json!({"retry_after": 1})),
            Fault::Error(500, "Internal Server Error", Value::Null),
        ] {
            let again = fault.clone();
            scope.spawn(move || survives("sendMessage", fault, 1));
            scope.spawn(move || survives("editMessageText", again, 1));
        }
        scope.spawn(|| survives("answerCallbackQuery", Fault::Page(500), 1));
        scope.spawn(|| survives("answerCallbackQuery", Fault::Hang, 1));
        scope.spawn(|| survives("editMessageText", Fault::Lost, 1));
        scope.spawn(|| survives("deleteWebhook", Fault::Page(500), 1));
        scope.spawn(|| survives("getMe", Fault::Page(503), 1));
    });
}

// --- refusals ---

/// Everything is refused like this after a good start, and then no more.
fn refused_for_a_while(code: u16, words: &'static str, shown: &str) {
    let world = World::new();
    let (_other, _, before) = world.asked("before");
    world.telegram.break_down("*", Fault::Error(code, words, Value::Null));
    world.telegram.say(GROUP, ANNA, "this ends the poll");
    let mut agent = world.agent();
    let wire = agent.send("tool_request", say("hello"));
    agent.asked();
    is_down(&world.gateway, &[shown, "since"]);
    answered_here(&world.gateway, "meanwhile");
    assert_eq!(world.gateway.questions().len(), 2);
    world.telegram.heal();
    let card = patient_card(&world.telegram, "hello");
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    is_up(&world.gateway);
    world.telegram.tap(&before, "Allow", ANNA);
    patient_end(&world.telegram, &before, "done");
    world.check();
}

fn a_token_that_is_refused_for_a_while_is_taken_again() {
    refused_for_a_while(401, "Unauthorized", "BotFather");
}

fn a_bot_that_is_unknown_for_a_while_is_taken_again() {
    refused_for_a_while(404, "Not Found", "no such bot");
}

fn a_chat_that_is_not_there_is_told_before_the_first_question() {
    let telegram = Telegram::start();
    let usual = setup(&telegram, "");
    let wrong = -1_234_567_890;
    let config = usual.config.replace(&format!("chat_id: {GROUP}"), &format!("chat_id: {wrong}"));
    let world = World { gateway: Gateway::with(&Setup { config, ..usual }), telegram };
    is_down(&world.gateway, &["sees no chat -1234567890", "write -1001234567890;", "telegram-setup"]);
    let words = "nobody can be asked: the bot sees no chat -1234567890";
    eventually("the log", || world.gateway.log().contains(words).then_some(()));
    answered_here(&world.gateway, "meanwhile");
    // Somebody makes the group, and adds the bot.
    world.telegram.add_chat(wrong, Kind::Group);
    world.telegram.say(wrong, ANNA, "this ends the poll");
    is_up(&world.gateway);
}

fn a_page_that_is_not_telegrams_says_nothing_about_the_token() {
    for code in [404, 401, 403] {
        let telegram = Telegram::start();
        telegram.break_down("*", Fault::Page(code));
        let world = World { gateway: Gateway::with(&setup(&telegram, "")), telegram };
        is_down(&world.gateway, &["not Telegram", &code.to_string()]);
        world.telegram.heal();
        let (mut agent, wire, card) = {
            let mut agent = world.agent();
            let wire = agent.send("tool_request", say("hello"));
            (agent, wire, patient_card(&world.telegram, "hello"))
        };
        world.telegram.tap(&card, "Allow", ANNA);
        assert_eq!(agent.reply(wire)["result"]["status"], "executed");
        world.check();
    }
}

/// An HTTP proxy that connects whoever asks to `server`, wherever they wanted to go; what they asked it.
fn proxy(server: SocketAddr) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, heard) = channel_of_texts();
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && client.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            let _ = asked.send(String::from_utf8(head).unwrap());
            let mut server = TcpStream::connect(server).unwrap();
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
            let (mut to_client, mut from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || {
                let _ = io::copy(&mut from_server, &mut to_client);
                let _ = to_client.shutdown(Shutdown::Both);
            });
            thread::spawn(move || {
                let _ = io::copy(&mut client, &mut server);
                let _ = server.shutdown(Shutdown::Both);
            });
        }
    });
    (address, heard)
}

fn what_is_blocked_is_reached_by_a_proxy() {
    let telegram = Telegram::start();
    let server: SocketAddr = telegram.url().trim_start_matches("http://").parse().unwrap();
    let (address, heard) = proxy(server);
    let usual = setup(&telegram, "");
    let blocked =
        format!("api_url: \"http://api.telegram.invalid\", proxy: \"http://me:proxy-passw0rd@{address}\"");
    let config = usual.config.replace(&format!("api_url: \"{}\"", telegram.url()), &blocked);
    assert_ne!(config, usual.config);
    let world = World { gateway: Gateway::with(&Setup { config, ..usual }), telegram };
    let (mut agent, wire, card) = world.asked("hello");
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    let first = heard.recv().unwrap();
    assert!(first.starts_with("CONNECT api.telegram.invalid:80 HTTP/1.1\r\n"), "{first}");
    assert!(first.contains("Proxy-Authorization: Basic bWU6cHJveHktcGFzc3cwcmQ=\r\n"), "{first}");
    assert!(!world.gateway.log().contains("passw0rd"));
    world.check();
}

fn a_topic_that_is_not_there_is_told() {
    let telegram = Telegram::start();
    let usual = setup(&telegram, "");
    let chat = format!("chat_id: {GROUP}");
    let config = usual.config.replace(&chat, &format!("{chat}, message_thread_id: 77"));
    let world = World { gateway: Gateway::with(&Setup { config, ..usual }), telegram };
    let mut agent = world.agent();
    let wire = agent.send("tool_request", say("hello"));
    is_down(&world.gateway, &["no such topic", "message_thread_id"]);
    world.telegram.add_topic(GROUP, 77);
    let card = patient_card(&world.telegram, "hello");
    assert_eq!(card.topic, Some(77));
    // In other topics people talk of other things.
    world.telegram.say_in(GROUP, 5, ANNA, "/status");
    world.telegram.say(GROUP, ANNA, "/status");
    world.telegram.say_in(GROUP, 77, BEN, "/pending");
    let told = world.telegram.find(GROUP, "an answer", |m| m.text().contains("1 open"));
    assert_eq!(told.topic, Some(77));
    assert_eq!(world.telegram.bot_messages(GROUP).len(), 2);
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    world.check();
}

fn a_bot_that_was_thrown_out_of_the_group_says_so_and_recovers() {
    let world = World::new();
    let words = "Forbidden: bot was kicked from the supergroup chat";
    world.telegram.break_down("sendMessage", Fault::Error(403, words, Value::Null));
    let mut agent = world.agent();
    let wire = agent.send("tool_request", say("hello"));
    is_down(&world.gateway, &["kicked", "since"]);
    answered_here(&world.gateway, "meanwhile");
    world.telegram.heal();
    let card = patient_card(&world.telegram, "hello");
    world.telegram.tap(&card, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    is_up(&world.gateway);
    world.check();
}

fn status_in_the_chat_names_the_last_error_of_a_service() {
    let world = World::new();
    world.gateway.upstream.answer(|_| Answer::Reply(503, "text/plain", "on fire".into()));
    let mut agent = world.agent();
    let wire = agent.send("tool_request", say("hello"));
    let id = agent.asked();
    assert_eq!(world.gateway.approve(&id), "resolved");
    assert!(agent.reply(wire)["error"].is_object());
    world.telegram.say(GROUP, ANNA, "/status");
    let answer = eventually("the answer", || {
        let all = world.telegram.bot_messages(GROUP);
        all.into_iter().find(|m| m.text().contains(env!("CARGO_PKG_VERSION")))
    });
    let line = answer.text().lines().find(|line| line.contains("home")).unwrap().to_owned();
    assert!(line.contains("503"), "{line}");
    world.check();
}

fn a_group_gets_twenty_messages_a_minute_and_no_more() {
    let world = World::with("rate_limit: {max_pending_approvals: 30, max_requests_per_minute: 1000}");
    world.telegram.flood_speed(Some(1.0));
    let mut agent = world.agent();
    for n in 0..24 {
        agent.send("tool_request", say(&format!("number {n}")));
    }
    let count = || world.telegram.bot_messages(GROUP).len();
    eventually("twenty cards", || (count() >= 20).then_some(()));
    // The next one would follow after a second.
    thread::sleep(Duration::from_secs(3));
    assert_eq!((count(), world.telegram.flooded()), (20, 0));
    let status = channel(&world.gateway);
    assert!(status["detail"].as_str().unwrap().contains("4 messages wait"), "{status}");
    world.check();
}

// --- moves, absences, kills ---

fn a_group_that_moved_is_followed_through_a_restart() {
    let mut world = World::new();
    let moved = -1_009_876_543_210;
    let (_agent, _, old) = world.asked("hello");
    world.knows(&old);
    world.telegram.migrate(GROUP, moved);
    let said = json!({"message_id": 900, "date": 1, "from": {"id": ANNA.id, "is_bot": false, "first_name": "Anna"},
        "chat": {"id": GROUP, "type": "group", "title": "Home"}, "migrate_to_chat_id": moved});
    world.telegram.push("message", said);
    let card = world.telegram.card(moved, "hello");
    world.knows(&card);
    world.gateway.kill();
    world.gateway.restart();
    // Nobody speaks in the old group any more.
    let stale = world.telegram.tap_stale(&old, "Allow", ANNA);
    assert!(world.telegram.toast(&stale).text.contains("may not"));
    assert_eq!(seen(&world.gateway, "hello"), 0);
    world.telegram.tap(&card, "Allow", ANNA);
    eventually("the call", || (seen(&world.gateway, "hello") == 1).then_some(()));
    world.telegram.ends(&card, "done");
    let messages = world.telegram.bot_messages(moved);
    let is_notice = |text: &str| text.contains("This group is a supergroup now");
    let (notices, cards): (Vec<_>, Vec<_>) = messages.iter().partition(|message| is_notice(message.text()));
    assert_eq!(cards.len(), 1, "the same card, not a second one");
    assert!(notices.len() <= 1, "the notice is told once");
    eventually("the owner to learn the new number", || {
        world.gateway.log().contains(&moved.to_string()).then_some(())
    });
    world.check();
}

fn a_live_outage_of_more_than_two_minutes_is_told_on_open_cards() {
    let (telegram, clock) = (Telegram::start(), TestClock::new());
    let gateway = Gateway::with_clock(&setup(&telegram, "approval_timeout: 900"), &clock);
    let world = World { telegram, gateway };
    let (mut agent, wire, card) = world.asked("hello");
    eventually("the poll", || (world.telegram.polling() == 1).then_some(()));
    world.telegram.down();
    is_down(&world.gateway, &["since"]);
    clock.shift(180);
    world.telegram.up();
    let told = eventually("the card to say so", || {
        let now = world.telegram.message(GROUP, card.id);
        now.text().contains("away").then_some(now)
    });
    assert_eq!(told.buttons(), ["Deny", "Allow", "Deny with a reason"]);
    world.telegram.tap(&told, "Allow", ANNA);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    let ended = world.telegram.ends(&card, "done");
    assert!(!ended.text().contains("away"), "{}", ended.text());
    world.check();
}

/// The decision is on disk, the move of the offset is not, Telegram has heard nothing of it, and then the power fails:
/// the tap comes again.
fn killed_before_the_offset_moved(label: &str, resolution: &str) -> (World, String, Shown) {
    let mut world = World::with("approvals: {note_seconds: 0}");
    let (_agent, _, card) = world.asked("hello");
    world.knows(&card);
    eventually("the poll", || (world.telegram.polling() == 1).then_some(()));
    let offset = "CREATE TRIGGER stuck BEFORE INSERT ON meta WHEN NEW.name = 'own.telegram.offset'
                  BEGIN SELECT RAISE(ABORT, 'stuck'); END";
    record(&world, offset);
    for method in ["getUpdates", "answerCallbackQuery", "editMessageText"] {
        world.telegram.break_down(method, Fault::Hang);
    }
    let tap = world.telegram.tap(&card, label, ANNA);
    eventually("the decision", || (world.gateway.audit()[0]["resolution"] == resolution).then_some(()));
    eventually("the end", || (world.gateway.audit()[0]["outcome"] != "pending").then_some(()));
    eventually("the next poll", || world.gateway.log().contains("stuck").then_some(()));
    world.gateway.kill();
    assert_eq!(world.telegram.waiting_updates().len(), 1, "the tap is still there");
    record(&world, "DROP TRIGGER stuck");
    world.telegram.heal();
    world.gateway.restart();
    (world, tap, card)
}

fn record(world: &World, sql: &str) {
    let db = rusqlite::Connection::open(world.gateway.path("data/agentpass.db")).unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    db.execute_batch(sql).unwrap();
}

fn a_tap_that_comes_again_after_a_kill_is_told_that_it_is_answered() {
    let (world, tap, card) = killed_before_the_offset_moved("Allow", "approved");
    let toast = world.telegram.toast(&tap);
    assert!(toast.text.to_lowercase().contains("already"), "{toast:?}");
    world.telegram.ends(&card, "done");
    assert_eq!(seen(&world.gateway, "hello"), 1);
    eventually("the acknowledgement", || world.telegram.waiting_updates().is_empty().then_some(()));
    world.check();
}

fn a_denial_that_comes_again_after_a_kill_stays_one() {
    let (world, tap, card) = killed_before_the_offset_moved("Deny", "denied");
    let toast = world.telegram.toast(&tap);
    assert!(toast.text.to_lowercase().contains("already"), "{toast:?}");
    world.telegram.ends(&card, "denied");
    assert_eq!((seen(&world.gateway, "hello"), world.gateway.audit().len()), (0, 1));
    let mut agent = world.agent();
    let told = agent.call("get_pending_results", json!({}))["result"]["results"][0]["result"].to_string();
    assert!(told.contains("denied"), "{told}");
    world.check();
}
