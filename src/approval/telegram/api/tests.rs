//! Answers and updates as servers and people may send them.

use super::*;
use crate::net::client::HttpError;

const TOKEN: &str = "123456:AAsecret_half-of-it";

fn answered(status: u16, body: &[u8]) -> Result<Value, BotError> {
    let response =
        HttpResponse { status, content_type: None, headers: Default::default(), body: body.to_vec() };
    answer(&response, &Secret::new(TOKEN.into()))
}

fn refused(body: &Value) -> BotError {
    answered(400, body.to_string().as_bytes()).unwrap_err()
}

fn updates(result: &Value) -> Option<Vec<Update>> {
    parse::updates(result)
}

fn kind(update: Value) -> UpdateKind {
    let mut update = update;
    update["update_id"] = 7.into();
    updates(&json!([update])).unwrap().remove(0).kind
}

fn written(message: Value) -> ChatMessage {
    match kind(json!({"message": message})) {
        UpdateKind::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_result_is_taken_out_of_a_good_answer() {
    assert_eq!(answered(200, br#"{"ok":true,"result":[1]}"#), Ok(json!([1])));
    assert_eq!(answered(200, br#"{"ok":true,"result":null}"#), Ok(Value::Null));
    assert_eq!(answered(200, br#"{"ok":true}"#), Err(BotError::Garbage));
}

#[test]
fn what_is_no_answer_is_garbage() {
    let deep = "[".repeat(100_000);
    let wide = format!(r#"{{"ok":1,"result":[{}0]}}"#, "0,".repeat(100_000));
    for body in ["", "null", "[]", "\"ok\"", "{", "{}", r#"{"ok":"true","result":1}"#, "\u{0}", &deep, &wide]
    {
        assert_eq!(answered(200, body.as_bytes()), Err(BotError::Garbage), "{:.40}", body);
    }
    assert_eq!(answered(200, b"\xff\xfe"), Err(BotError::Garbage));
    assert_eq!(answered(302, b"<html>"), Err(BotError::Garbage));
    assert_eq!(
        answered(401, b"<html>"),
        Err(BotError::NotTheApi(401)),
        "a proxy's login page is not our token's fault"
    );
    assert_eq!(answered(404, b"<html>"), Err(BotError::NotTheApi(404)));
    assert_eq!(answered(502, b"<html>"), Err(BotError::Server(502)));
    assert!(matches!(answered(429, b""), Err(BotError::TooMany { .. })));
}

#[test]
fn refusals_by_code_and_words() {
    let of = |code: i64, text: &str| refused(&json!({"ok": false, "error_code": code, "description": text}));
    assert_eq!(of(401, "Unauthorized"), BotError::Unauthorized);
    assert_eq!(of(404, "Not Found"), BotError::NotFound);
    assert_eq!(of(409, "Conflict: terminated by other getUpdates request"), BotError::Conflict);
    assert_eq!(of(502, "Bad Gateway"), BotError::Server(502));
    assert_eq!(of(400, "Bad Request: message is not modified: specified new …"), BotError::NotModified);
    assert_eq!(of(400, "Bad Request: message to edit not found"), BotError::CannotEdit);
    assert_eq!(of(400, "Bad Request: message can't be edited"), BotError::CannotEdit);
    assert_eq!(of(400, "Bad Request: MESSAGE_ID_INVALID"), BotError::CannotEdit);
    let refused = BotError::Refused { code: 403, text: "Forbidden: bot was blocked by the user".into() };
    assert_eq!(of(403, "Forbidden: bot was blocked by the user"), refused);
    assert_eq!(of(-1, ""), BotError::Refused { code: -1, text: String::new() });
}

#[test]
fn a_group_that_moved_says_where_to() {
    let moved = |to: Value| {
        refused(
            &json!({"ok": false, "error_code": 400, "description": "Bad Request: group chat was upgraded", "parameters": {"migrate_to_chat_id": to}}),
        )
    };
    assert_eq!(moved(json!(-1_001_234_567_890_i64)), BotError::Migrated { to_chat: -1_001_234_567_890 });
    for to in [json!("-100"), json!(0), json!(1.5), json!([]), Value::Null] {
        assert!(matches!(moved(to), BotError::Refused { code: 400, .. }));
    }
}

#[test]
fn nobody_makes_us_wait_for_ever() {
    let table = [
        (json!(7), 7),
        (json!(0), 1),
        (json!(-5), 1),
        (json!(i64::MIN), 1),
        (json!(86_400), 300),
        (json!(u64::MAX), 300),
        (json!(1e300), 300),
        (json!("9"), 5),
        (Value::Null, 5),
        (json!({}), 5),
    ];
    for (given, seconds) in table {
        let body = json!({"ok": false, "error_code": 429, "parameters": {"retry_after": given}});
        let wait = BotError::TooMany { retry_after: Duration::from_secs(seconds) };
        assert_eq!(refused(&body), wait, "{given}");
    }
    assert_eq!(
        refused(&json!({"ok": false, "error_code": 429, "parameters": 3})).to_string(),
        "too many messages, wait 5 s"
    );
}

#[test]
fn the_token_is_in_no_text() {
    let long = format!("{}{TOKEN}", "x".repeat(190));
    for text in [
        TOKEN.to_owned(),
        format!("/bot{TOKEN}/getMe"),
        TOKEN.replace(':', "%3A"),
        "of AAsecret_half-of-it".into(),
        long,
    ] {
        let error = refused(&json!({"ok": false, "error_code": 400, "description": text}));
        assert!(!format!("{error} {error:?}").contains("AAsecret"), "{error:?}");
    }
    let bot = Bot::through(None, Secret::new(TOKEN.into()), "http://127.0.0.1:1").unwrap();
    let error = bot.get_me().unwrap_err();
    assert!(!format!("{bot:?} {error} {error:?}").contains("AAsecret"));
    assert_eq!(error, BotError::Network(HttpError::NotSent(NotSent::Refused)));
}

#[test]
fn a_server_cannot_write_on_our_terminal() {
    let error = refused(
        &json!({"ok": false, "error_code": 400, "description": format!("\u{1b}[2J\n{}", "y".repeat(5000))}),
    );
    let BotError::Refused { text, .. } = error else { panic!("{error:?}") };
    assert!(text.starts_with("⟨U+001B⟩[2J⟨U+000A⟩y"));
    assert!(text.chars().count() < 220);
}

#[test]
fn tokens_and_addresses_that_fit_no_url_are_refused() {
    for (token, url) in [
        ("", "https://api.telegram.org"),
        ("1:a/../b", "https://api.telegram.org"),
        ("1:a?b", "https://api.telegram.org"),
        ("1:a", "ftp://x"),
        ("1:a", "api.telegram.org"),
    ] {
        let refused = Bot::through(None, Secret::new(token.into()), url).unwrap_err();
        assert!(matches!(refused, BotError::Network(HttpError::NotSent(NotSent::BadUrl(_)))), "{refused:?}");
    }
}

#[test]
fn a_tap() {
    let tapped = json!({"id": "99", "from": {"id": 5, "is_bot": false, "first_name": "A", "last_name": "B", "username": "ab"},
        "message": {"message_id": 3, "date": 0, "chat": {"id": -100, "type": "group", "title": "T"}}, "data": "1aX"});
    let from = User { id: 5, is_bot: false, name: "A B".into(), username: Some("ab".into()) };
    let chat = Chat { id: -100, kind: "group".into(), title: Some("T".into()) };
    let tap = Tap { id: "99".into(), from, chat: Some(chat), message_id: Some(3), data: Some("1aX".into()) };
    assert_eq!(kind(json!({"callback_query": tapped})), UpdateKind::Tap(tap));
    let UpdateKind::Tap(bare) =
        kind(json!({"callback_query": {"id": "1", "from": {"id": 5}, "inline_message_id": "x"}}))
    else {
        panic!()
    };
    assert_eq!((bare.chat, bare.message_id, bare.data), (None, None, None));
}

#[test]
fn a_message_and_what_takes_its_power() {
    let base = json!({"message_id": 4, "chat": {"id": 5, "type": "private"}, "from": {"id": 5, "first_name": "A"}, "text": "no"});
    let plain = written(base.clone());
    assert!(!plain.on_behalf && !plain.forwarded && plain.reply_to.is_none());
    assert_eq!(plain.text.as_deref(), Some("no"));
    let with = |name: &str, value: Value| {
        let mut message = base.clone();
        message[name] = value;
        written(message)
    };
    assert!(with("sender_chat", json!({"id": -100})).on_behalf);
    assert!(with("forward_origin", json!({"type": "user"})).forwarded);
    assert_eq!(with("reply_to_message", json!({"message_id": 3})).reply_to, Some(3));
    assert_eq!(with("migrate_to_chat_id", json!(-1007)).migrated_to, Some(-1007));
    assert_eq!(with("text", json!(["no"])).text, None);
    assert_eq!(with("from", json!({"id": "5"})).from, None);
}

#[test]
fn unknown_and_broken_updates_can_be_passed() {
    for update in [
        json!({}),
        json!({"edited_message": {"message_id": 1}}),
        json!({"callback_query": null}),
        json!({"callback_query": []}),
        json!({"callback_query": {"id": 1, "from": {"id": 5}}}),
        json!({"callback_query": {"id": "1", "from": {"id": 5.5}}}),
        json!({"callback_query": {"id": "1", "from": {"id": u64::MAX}}}),
        json!({"message": {"message_id": 0, "chat": {"id": 5}}}),
        json!({"message": {"message_id": 1, "chat": 5}}),
        json!({"message": {"message_id": 1, "chat": {"id": i64::MIN}}}),
    ] {
        assert_eq!(kind(update.clone()), UpdateKind::Unknown, "{update}");
    }
}

#[test]
fn updates_without_a_proper_number_are_garbage() {
    for id in [
        json!(-1),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1.5),
        json!("1"),
        Value::Null,
        json!([]),
    ] {
        assert_eq!(updates(&json!([{"update_id": id}])), None, "{id}");
    }
    for result in [json!([{}]), json!([1]), json!({}), Value::Null, json!("x")] {
        assert_eq!(updates(&result), None, "{result}");
    }
    assert_eq!(updates(&json!([])), Some(vec![]));
    assert_eq!(updates(&json!([{"update_id": 0}, {"update_id": MAX}])).unwrap().len(), 2);
}

const MAX: i64 = (1 << 52) - 1;

#[test]
fn messages_are_plain_text_with_entities() {
    let entity = Entity { style: Style::Bold, offset: 0, length: 2 };
    let keyboard = vec![
        vec![
            Button { text: "Deny".into(), data: "1d".into() },
            Button { text: "Allow".into(), data: "1a".into() },
        ],
        vec![Button { text: "Why".into(), data: "1r".into() }],
    ];
    let message = OutgoingMessage { text: "<b>".into(), entities: vec![entity], keyboard, reply_to: None };
    let params = look(&message);
    assert_eq!(
        Value::from(params),
        json!({"text": "<b>", "entities": [{"type": "bold", "offset": 0, "length": 2}], "link_preview_options": {"is_disabled": true},
            "reply_markup": {"inline_keyboard": [[{"text": "Deny", "callback_data": "1d"}, {"text": "Allow", "callback_data": "1a"}],
                [{"text": "Why", "callback_data": "1r"}]]}})
    );
    assert_eq!(look(&OutgoingMessage::default()).get("reply_markup"), None);
}
