//! The fake Bot API keeps the rules of the real one: tests of the tests' own tool.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod telegram_api;
mod timing;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use telegram_api::{ANNA, BEN, BOT_TOKEN, Fault, GROUP, Telegram, eventually, text};

/// One POST on a connection of its own: status and body.
fn post(telegram: &Telegram, path: &str, kind: &str, body: &str) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(telegram.address).ok()?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

fn call(telegram: &Telegram, method: &str, arguments: &Value) -> (u16, Value) {
    let path = format!("/bot{BOT_TOKEN}/{method}");
    post(telegram, &path, "application/json", &arguments.to_string()).unwrap()
}

/// The result of a call that must succeed.
fn done(telegram: &Telegram, method: &str, arguments: &Value) -> Value {
    let (status, reply) = call(telegram, method, arguments);
    assert_eq!((status, &reply["ok"]), (200, &json!(true)), "{reply}");
    reply["result"].clone()
}

/// The description of a call that must fail with this status.
fn refused(telegram: &Telegram, method: &str, arguments: &Value, code: u16) -> String {
    let (status, reply) = call(telegram, method, arguments);
    assert_eq!((status, &reply["error_code"]), (code, &json!(code)), "{reply}");
    reply["description"].as_str().unwrap().to_owned()
}

fn message(text: &str) -> Value {
    json!({"chat_id": GROUP, "text": text, "link_preview_options": {"is_disabled": true}})
}

fn with(mut base: Value, more: Value) -> Value {
    base.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    base
}

fn buttons(data: &str) -> Value {
    json!({"reply_markup": {"inline_keyboard": [[{"text": "Deny", "callback_data": data}]]}})
}

fn ids(updates: &Value) -> Vec<i64> {
    updates.as_array().unwrap().iter().map(|u| u["update_id"].as_i64().unwrap()).collect()
}

#[test]
fn tokens_are_checked() {
    let telegram = Telegram::start();
    assert_eq!(done(&telegram, "getMe", &json!({}))["is_bot"], true);
    let ask = |token: &str| post(&telegram, &format!("/bot{token}/getMe"), "application/json", "{}").unwrap();
    let (status, body) = ask("700001:wrong");
    assert_eq!((status, body), (401, json!({"ok": false, "error_code": 401, "description": "Unauthorized"})));
    assert_eq!(ask("nonsense").0, 404);
    telegram.assert_clean();
    assert_eq!(call(&telegram, "getMoney", &json!({})).0, 404);
}

#[test]
fn a_form_is_as_good_as_json() {
    let telegram = Telegram::start();
    let body = format!("chat_id={GROUP}&text=a%20b+c&link_preview_options=%7B%22is_disabled%22%3Atrue%7D");
    let path = format!("/bot{BOT_TOKEN}/sendMessage");
    let (status, _) = post(&telegram, &path, "application/x-www-form-urlencoded", &body).unwrap();
    assert_eq!((status, telegram.bot_messages(GROUP)[0].text()), (200, "a b c"));
    telegram.assert_clean();
}

#[test]
fn texts_have_limits_in_utf16() {
    let telegram = Telegram::start();
    telegram.flood_speed(None);
    let just = "😀".repeat(2048);
    done(&telegram, "sendMessage", &message(&just));
    telegram.assert_clean();
    assert!(refused(&telegram, "sendMessage", &message(&format!("{just}x")), 400).contains("too long"));
    assert!(refused(&telegram, "sendMessage", &message(" \n "), 400).contains("empty"));
    assert_eq!(telegram.violations().len(), 2);
    done(&telegram, "sendMessage", &message("a\u{202e}b"));
    assert!(telegram.violations()[2].contains("202E"));
}

#[test]
fn entities_have_to_fit() {
    let telegram = Telegram::start();
    telegram.flood_speed(None);
    let entity = |offset: i64, length: i64| {
        with(message("a😀b"), json!({"entities": [{"type": "bold", "offset": offset, "length": length}]}))
    };
    done(&telegram, "sendMessage", &entity(1, 2));
    done(&telegram, "sendMessage", &entity(0, 4));
    telegram.assert_clean();
    for (offset, length) in [(0, 2), (2, 1), (0, 5), (4, 1), (-1, 2), (0, 0)] {
        refused(&telegram, "sendMessage", &entity(offset, length), 400);
    }
    let many = vec![json!({"type": "bold", "offset": 0, "length": 1}); 101];
    refused(&telegram, "sendMessage", &with(message("a"), json!({"entities": many})), 400);
    let both = json!({"entities": [], "parse_mode": "HTML"});
    refused(&telegram, "sendMessage", &with(message("a"), both), 400);
    done(&telegram, "sendMessage", &with(message("a"), json!({"parse_mode": "HTML"})));
    assert!(telegram.violations().iter().any(|v| v == "parse_mode"));
    // Blanks at the ends go, and the entities move along.
    let blanks = json!({"entities": [{"type": "code", "offset": 3, "length": 9}]});
    done(&telegram, "sendMessage", &with(message("   one line \n "), blanks));
    let shown = telegram.bot_messages(GROUP).pop().unwrap();
    assert_eq!(
        (shown.text(), text::covered(shown.text(), &shown.entities()[0])),
        ("one line", "one line".into())
    );
}

#[test]
fn what_the_service_makes_tappable() {
    let code = json!({"type": "pre", "offset": 0, "length": 40});
    let text = "see http://evil.example or @mallory /kill, #tag or a/b x@y";
    assert_eq!(text::live(text, &[]), ["http://evil.example", "@mallory", "/kill", "#tag"]);
    assert_eq!(text::live(text, &[code]), ["#tag"]);
}

#[test]
fn callback_data_has_one_to_sixty_four_bytes() {
    let telegram = Telegram::start();
    done(&telegram, "sendMessage", &with(message("a"), buttons(&"d".repeat(64))));
    telegram.assert_clean();
    for data in ["", &"d".repeat(65), &"é".repeat(33)] {
        assert!(
            refused(&telegram, "sendMessage", &with(message("a"), buttons(data)), 400)
                .contains("BUTTON_DATA")
        );
    }
    refused(&telegram, "sendMessage", &with(message("a"), json!({"reply_markup": {"keyboard": 1}})), 400);
}

#[test]
fn edits() {
    let telegram = Telegram::start();
    let sent = done(&telegram, "sendMessage", &with(message("a"), buttons("x")));
    let target = json!({"message_id": sent["message_id"]});
    let edit = |text: &str, more: Value| with(with(message(text), target.clone()), more);
    assert!(
        refused(&telegram, "editMessageText", &edit("a", buttons("x")), 400)
            .contains("message is not modified")
    );
    done(&telegram, "editMessageText", &edit("a", json!({})));
    let card = telegram.bot_messages(GROUP)[0].clone();
    assert_eq!((card.buttons().len(), card.edits()), (0, 1), "buttons go when an edit does not name them");
    let other = with(message("b"), json!({"message_id": 1}));
    assert!(refused(&telegram, "editMessageText", &other, 400).contains("message to edit not found"));
    telegram.lock_message(&card);
    assert!(refused(&telegram, "editMessageText", &edit("c", json!({})), 400).contains("can't be edited"));
    telegram.delete(&card);
    assert!(refused(&telegram, "editMessageText", &edit("c", json!({})), 400).contains("not found"));
    telegram.assert_clean();
}

#[test]
fn updates_are_acknowledged_by_a_higher_offset() {
    let telegram = Telegram::start();
    let all = |offset: i64| {
        thread::sleep(Duration::from_millis(510));
        ids(&done(&telegram, "getUpdates", &json!({"offset": offset})))
    };
    for n in 0..3 {
        telegram.say(GROUP, ANNA, &n.to_string());
    }
    let first = all(0);
    assert_eq!(first.len(), 3);
    assert_eq!(all(0), first, "nothing was acknowledged");
    assert_eq!(all(first[1]), first[1..]);
    assert_eq!(all(0), first[1..], "what is below is forgotten");
    assert_eq!(all(first[2] + 10_000), first[1..], "an offset from the far future is no acknowledgement");
    assert_eq!(all(first[2] + 1), [0; 0]);
    telegram.replay(first[0]);
    assert_eq!(all(first[2] + 1), first[..1]);
    telegram.go_on_from(77);
    telegram.say(GROUP, ANNA, "after a week");
    assert_eq!(all(first[2] + 1), [77]);
}

#[test]
fn the_same_offset_again_at_once_gets_one_update() {
    let telegram = Telegram::start();
    telegram.say(GROUP, ANNA, "a");
    telegram.say(GROUP, ANNA, "b");
    let take = || ids(&done(&telegram, "getUpdates", &json!({"offset": 0}))).len();
    assert_eq!(take(), 2);
    // Half a second later, as on a busy machine, it is not "at once".
    eventually("the same at once", || (take() == 1).then_some(()));
}

#[test]
fn only_asked_for_kinds_are_queued() {
    let telegram = Telegram::start();
    let kinds = json!({"allowed_updates": ["callback_query"]});
    done(&telegram, "getUpdates", &kinds);
    telegram.say(GROUP, ANNA, "unheard");
    assert_eq!(telegram.waiting_updates().len(), 0);
    telegram.push("business_message", json!({}));
    assert_eq!(telegram.waiting_updates().len(), 1);
}

#[test]
fn taps_live_for_150_seconds_and_messages_for_a_day() {
    let telegram = Telegram::start();
    done(&telegram, "sendMessage", &with(message("a"), buttons("x")));
    let card = telegram.card(GROUP, "a");
    let tap = telegram.tap(&card, "Deny", ANNA);
    telegram.say(GROUP, ANNA, "hello");
    telegram.advance(Duration::from_secs(149));
    assert_eq!(telegram.waiting_updates().len(), 2);
    telegram.advance(Duration::from_secs(2));
    assert_eq!(telegram.waiting_updates().len(), 1);
    let late = json!({"callback_query_id": tap});
    assert!(refused(&telegram, "answerCallbackQuery", &late, 400).contains("query is too old"));
    telegram.advance(Duration::from_secs(24 * 3600));
    assert_eq!(telegram.waiting_updates().len(), 0);
}

#[test]
fn a_tap_is_answered_once() {
    let telegram = Telegram::start();
    done(&telegram, "sendMessage", &with(message("a"), buttons("x")));
    let tap = telegram.tap(&telegram.card(GROUP, "a"), "Deny", BEN);
    assert_eq!(telegram.unanswered(), 1);
    let answer = json!({"callback_query_id": tap, "text": "Denied", "show_alert": true});
    done(&telegram, "answerCallbackQuery", &answer);
    assert_eq!((telegram.toast(&tap).text.as_str(), telegram.unanswered()), ("Denied", 0));
    refused(&telegram, "answerCallbackQuery", &answer, 400);
}

#[test]
fn a_poll_waits_and_a_second_one_ends_it() {
    let telegram = Telegram::start();
    let first = {
        let telegram = telegram.clone();
        thread::spawn(move || refused(&telegram, "getUpdates", &json!({"timeout": 20}), 409))
    };
    eventually("the poll", || (telegram.polling() == 1).then_some(()));
    let second = {
        let telegram = telegram.clone();
        thread::spawn(move || done(&telegram, "getUpdates", &json!({"timeout": 20})))
    };
    assert!(first.join().unwrap().contains("terminated by other getUpdates request"));
    telegram.say(GROUP, ANNA, "wake up");
    assert_eq!(second.join().unwrap().as_array().unwrap().len(), 1);
    let began = Instant::now();
    done(&telegram, "getUpdates", &json!({"timeout": 1, "offset": 900_000}));
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_webhook_blocks_polling() {
    let telegram = Telegram::start();
    telegram.set_webhook(Some("https://elsewhere.example"));
    assert!(refused(&telegram, "getUpdates", &json!({}), 409).contains("webhook is active"));
    done(&telegram, "deleteWebhook", &json!({"drop_pending_updates": false}));
    done(&telegram, "getUpdates", &json!({}));
    telegram.assert_clean();
    done(&telegram, "deleteWebhook", &json!({"drop_pending_updates": true}));
    assert_eq!(telegram.violations().len(), 1);
}

#[test]
fn flood_limits_refuse_and_recover() {
    let telegram = Telegram::start();
    telegram.flood_speed(Some(1.0));
    for n in 0..20 {
        done(&telegram, "sendMessage", &message(&n.to_string()));
    }
    let (status, reply) = call(&telegram, "sendMessage", &message("one too many"));
    let wait = reply["parameters"]["retry_after"].as_u64().unwrap();
    assert_eq!((status, (1..=3).contains(&wait)), (429, true), "{reply}");
    telegram.assert_clean();
    refused(&telegram, "sendMessage", &message("pushing"), 429);
    assert!(telegram.violations()[0].contains("retry_after"));
    telegram.advance(Duration::from_secs(4));
    done(&telegram, "sendMessage", &message("patient"));
    assert_eq!(telegram.flooded(), 2);
}

#[test]
fn a_group_that_became_a_supergroup() {
    let telegram = Telegram::start();
    telegram.migrate(GROUP, -100_777);
    let (status, reply) = call(&telegram, "sendMessage", &message("a"));
    assert_eq!((status, &reply["parameters"]["migrate_to_chat_id"]), (400, &json!(-100_777)));
    done(&telegram, "sendMessage", &with(message("a"), json!({"chat_id": -100_777})));
    telegram.assert_clean();
}

#[test]
fn faults_on_order() {
    let telegram = Telegram::start();
    telegram.fault("getMe", Fault::Page(502), 1);
    telegram.fault("getMe", Fault::Garbage, 1);
    telegram.fault("getMe", Fault::Close, 1);
    telegram.fault("getMe", Fault::Error(403, "Forbidden: bot was kicked", Value::Null), 1);
    let path = format!("/bot{BOT_TOKEN}/getMe");
    let ask = || post(&telegram, &path, "application/json", "{}");
    assert_eq!(ask(), Some((502, Value::Null)));
    assert_eq!(ask(), Some((200, Value::Null)));
    assert_eq!(ask(), None);
    assert_eq!(ask().unwrap().0, 403);
    assert_eq!(ask().unwrap().0, 200);
    telegram.fault("sendMessage", Fault::Lost, 1);
    assert_eq!(
        post(
            &telegram,
            &format!("/bot{BOT_TOKEN}/sendMessage"),
            "application/json",
            &message("a").to_string()
        ),
        None
    );
    assert_eq!(telegram.bot_messages(GROUP).len(), 1, "done, but nobody heard");
    for _ in 0..3 {
        telegram.down();
        assert!(TcpStream::connect(telegram.address).is_err());
        telegram.up();
        assert_eq!(ask().unwrap().0, 200);
    }
    telegram.assert_clean();
}
