//! A fake Bot API with one person in it, who allows every question the moment it is there.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::{Message, serve};

/// The person, and the private chat with the bot.
const PERSON: i64 = 7001;
const TOKEN: &str = "700001:AAF-the_token_of_the_bench_bot_0123456789";

/// What has happened in the chat.
#[derive(Default)]
struct Chat {
    messages: i64,
    /// Updates that the bot has not confirmed.
    updates: Vec<Value>,
}

type Shared = Arc<(Mutex<Chat>, Condvar)>;

/// Starts one and gives the part of a configuration that leads there.
pub fn messenger() -> String {
    let shared = Shared::default();
    let address = serve(move |request| answer(&shared, request));
    setting(address)
}

fn setting(address: SocketAddr) -> String {
    format!(
        "{{type: telegram, telegram: {{token: \"{TOKEN}\", chat_id: {PERSON}, allowed_users: [{PERSON}], \
         api_url: \"http://{address}\"}}}}"
    )
}

fn answer(shared: &Shared, request: &Message<'_>) -> Vec<u8> {
    let head = String::from_utf8_lossy(request.head);
    let path = head.split(' ').nth(1).unwrap_or_default();
    let method = path.rsplit('/').next().unwrap_or_default();
    let arguments: Value = serde_json::from_slice(request.body).unwrap_or_default();
    let result = match method {
        "getMe" => json!({"id": 700_001, "is_bot": true, "first_name": "bench", "username": "bench_bot"}),
        "getUpdates" => updates(shared, &arguments),
        "sendMessage" => message(shared, &arguments),
        "editMessageText" => shown(arguments["message_id"].as_i64().unwrap(), &arguments),
        _ => json!(true),
    };
    json!({"ok": true, "result": result}).to_string().into_bytes()
}

fn shown(id: i64, arguments: &Value) -> Value {
    json!({
        "message_id": id, "date": 1, "chat": {"id": PERSON, "type": "private"},
        "from": {"id": 700_001, "is_bot": true, "first_name": "bench"}, "text": arguments["text"],
    })
}

/// A new message. Below a question the person taps "Allow".
fn message(shared: &Shared, arguments: &Value) -> Value {
    let (chat, changed) = &**shared;
    let mut chat = chat.lock().unwrap();
    chat.messages += 1;
    let id = chat.messages;
    let message = shown(id, arguments);
    let buttons = arguments["reply_markup"]["inline_keyboard"][0].as_array();
    if let Some(allow) = buttons.and_then(|row| row.iter().find(|button| button["text"] == "Allow")) {
        let from = json!({"id": PERSON, "is_bot": false, "first_name": "Anna"});
        let tap = json!({
            "id": id.to_string(), "from": from, "message": message, "chat_instance": "1",
            "data": allow["callback_data"],
        });
        chat.updates.push(json!({"update_id": id, "callback_query": tap}));
        changed.notify_all();
    }
    message
}

/// A long poll.
fn updates(shared: &Shared, arguments: &Value) -> Value {
    let (chat, changed) = &**shared;
    let (offset, wait) = (arguments["offset"].as_i64().unwrap(), arguments["timeout"].as_u64().unwrap());
    let end = Instant::now() + Duration::from_secs(wait);
    let mut chat = chat.lock().unwrap();
    chat.updates.retain(|update| update["update_id"].as_i64().unwrap() >= offset);
    while chat.updates.is_empty() && Instant::now() < end {
        chat = changed.wait_timeout(chat, end.saturating_duration_since(Instant::now())).unwrap().0;
    }
    json!(chat.updates)
}
