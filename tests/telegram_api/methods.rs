//! The methods, and what the service refuses.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::chat::{Button, Version, user_json};
use super::people::Toast;
use super::{BOT_ID, CALLBACK_LIFE, Shared, State, text};

pub enum Answer {
    Done(Value),
    Failed(Failure),
}

pub struct Failure {
    pub code: u16,
    pub text: String,
    pub parameters: Value,
}

type Step<T> = Result<T, Failure>;
type Arguments = Map<String, Value>;

fn fail<T>(code: u16, text: impl Into<String>) -> Step<T> {
    Err(Failure { code, text: text.into(), parameters: Value::Null })
}

/// A client that keeps the rules never hears this.
fn wrong<T>(state: &mut State, text: &str) -> Step<T> {
    state.violation(text);
    fail(400, format!("Bad Request: {text}"))
}

/// The longest poll that the service grants.
const MAX_POLL: u64 = 50;

const MODIFIED: &str = "message is not modified: specified new message content and reply markup are exactly the same \
                        as a current content and reply markup of the message";
const CONFLICT: &str =
    "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
const WEBHOOK: &str = "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first";
const TOO_OLD: &str = "Bad Request: query is too old and response timeout expired or query ID is invalid";

pub fn perform(method: &str, arguments: &Arguments, shared: &Shared) -> Answer {
    let done = match method {
        "getMe" => known(shared, method, arguments, &[]).map(|()| me()),
        "getChat" => {
            known(shared, method, arguments, &["chat_id"]).and_then(|()| get_chat(arguments, &shared.lock()))
        }
        "deleteWebhook" => known(shared, method, arguments, &["drop_pending_updates"])
            .and_then(|()| delete_webhook(arguments, &mut shared.lock())),
        "getUpdates" => known(shared, method, arguments, &["offset", "limit", "timeout", "allowed_updates"])
            .and_then(|()| get_updates(arguments, shared)),
        "sendMessage" => {
            known(shared, method, arguments, &SEND).and_then(|()| send(arguments, &mut shared.lock()))
        }
        "editMessageText" => {
            known(shared, method, arguments, &EDIT).and_then(|()| edit(arguments, &mut shared.lock(), true))
        }
        "editMessageReplyMarkup" => {
            known(shared, method, arguments, &["chat_id", "message_id", "reply_markup"])
                .and_then(|()| edit(arguments, &mut shared.lock(), false))
        }
        "answerCallbackQuery" => known(shared, method, arguments, &ANSWER)
            .and_then(|()| answer_query(arguments, &mut shared.lock())),
        _ => {
            shared.lock().violation(format!("no such method: {method}"));
            fail(404, "Not Found: method not found")
        }
    };
    shared.changed.notify_all();
    match done {
        Ok(result) => Answer::Done(result),
        Err(failure) => Answer::Failed(failure),
    }
}

const SEND: [&str; 9] = [
    "chat_id",
    "text",
    "entities",
    "reply_markup",
    "reply_parameters",
    "link_preview_options",
    "disable_notification",
    "protect_content",
    "message_thread_id",
];
const EDIT: [&str; 6] = ["chat_id", "message_id", "text", "entities", "reply_markup", "link_preview_options"];
const ANSWER: [&str; 4] = ["callback_query_id", "text", "show_alert", "cache_time"];

/// The service ignores what it does not know; a client that sends such a thing believes in something.
fn known(shared: &Shared, method: &str, arguments: &Arguments, names: &[&str]) -> Step<()> {
    let mut state = shared.lock();
    for name in arguments.keys().filter(|name| !names.contains(&name.as_str())) {
        state.violation(format!("{method}: unexpected argument {name}"));
    }
    if arguments.contains_key("parse_mode") && arguments.contains_key("entities") {
        return fail(400, "Bad Request: parse_mode and entities exclude each other");
    }
    Ok(())
}

fn me() -> Value {
    let mut me = user_json(BOT_ID);
    me["can_join_groups"] = json!(true);
    me["can_read_all_group_messages"] = json!(false);
    me["supports_inline_queries"] = json!(false);
    me
}

fn delete_webhook(arguments: &Arguments, state: &mut State) -> Step<Value> {
    if arguments.get("drop_pending_updates").is_some_and(|v| *v != json!(false)) {
        state.violation("deleteWebhook: it would drop taps");
        state.queue.clear();
    }
    state.webhook = None;
    Ok(json!(true))
}

// --- getUpdates ---

fn get_updates(arguments: &Arguments, shared: &Shared) -> Step<Value> {
    let mut state = shared.lock();
    if state.webhook.is_some() {
        return fail(409, WEBHOOK);
    }
    let number = |name: &str| arguments.get(name).map(|v| v.as_i64());
    let offset = number("offset").unwrap_or(Some(0));
    let (limit, timeout) = (number("limit").unwrap_or(Some(100)), number("timeout").unwrap_or(Some(0)));
    let (Some(offset), Some(limit), Some(timeout)) = (offset, limit, timeout) else {
        return wrong(&mut state, "getUpdates: a number that is none");
    };
    if !(1..=100).contains(&limit) || !(0..=MAX_POLL as i64).contains(&timeout) || offset < 0 {
        state.violation(format!("getUpdates: offset {offset}, limit {limit}, timeout {timeout}"));
    }
    if let Some(kinds) = arguments.get("allowed_updates") {
        let kinds: Option<Vec<String>> = serde_json::from_value(kinds.clone()).ok();
        let Some(kinds) = kinds else { return wrong(&mut state, "getUpdates: allowed_updates") };
        state.queue.allowed = Some(kinds);
    }
    let began = state.now();
    let again = state
        .queue
        .last_offset
        .is_some_and(|(last, at)| last == offset && began.saturating_sub(at) < Duration::from_millis(500));
    let limit = if again { 1 } else { limit.clamp(1, 100) as usize };
    state.queue.last_offset = Some((offset, began));
    let timeout = Duration::from_secs((timeout.max(0) as u64).min(MAX_POLL));
    let mine = state.poll + 1;
    loop {
        let now = state.now();
        let updates = state.queue.take(offset, limit, now);
        let waited = now.saturating_sub(began);
        if !updates.is_empty() || waited >= timeout {
            return Ok(Value::Array(updates));
        }
        if state.poll < mine {
            // Only a poll that has to wait ends the one before it.
            state.poll = mine;
            shared.changed.notify_all();
        }
        state.polling += 1;
        state = shared.changed.wait_timeout(state, timeout - waited).unwrap().0;
        state.polling -= 1;
        if state.poll != mine {
            return fail(409, CONFLICT);
        }
        if state.webhook.is_some() {
            return fail(409, "Conflict: terminated by setWebhook request");
        }
        if state.faults.is_down {
            return fail(502, "Bad Gateway");
        }
    }
}

// --- messages ---

/// A chat that the bot has never been in is as unknown as one that does not exist; asking is no mistake.
fn get_chat(arguments: &Arguments, state: &State) -> Step<Value> {
    let chat = arguments.get("chat_id").and_then(Value::as_i64).and_then(|id| state.chats.get(&id));
    match chat {
        None => fail(400, "Bad Request: chat not found"),
        Some(chat) if chat.migrated_to.is_some() => Err(Failure {
            code: 400,
            text: "Bad Request: group chat was upgraded to a supergroup chat".into(),
            parameters: json!({"migrate_to_chat_id": chat.migrated_to}),
        }),
        Some(chat) => Ok(chat.json()),
    }
}

fn chat_of(arguments: &Arguments, state: &mut State) -> Step<i64> {
    let id = match arguments.get("chat_id") {
        Some(Value::Number(n)) => n.as_i64(),
        Some(Value::String(s)) => s.parse().ok(),
        _ => None,
    };
    let Some(id) = id.filter(|id| state.chats.contains_key(id)) else {
        return wrong(state, "chat not found");
    };
    if let Some(to) = state.chats[&id].migrated_to {
        return Err(Failure {
            code: 400,
            text: "Bad Request: group chat was upgraded to a supergroup chat".into(),
            parameters: json!({"migrate_to_chat_id": to}),
        });
    }
    Ok(id)
}

/// Flood limits. A bot that goes on during the wait it was told breaks a rule.
fn admit(chat: i64, state: &mut State) -> Step<()> {
    let Some(speed) = state.flood_speed else { return Ok(()) };
    let now = state.now();
    let chat = state.chats.get_mut(&chat).unwrap();
    let early = chat.refused_until.saturating_sub(now);
    let admitted = chat.admit(now, speed);
    if early > Duration::from_millis(50) {
        state.violation(format!("a request {early:?} before retry_after was over"));
    }
    admitted.map_err(|seconds| {
        state.flooded += 1;
        Failure {
            code: 429,
            text: format!("Too Many Requests: retry after {seconds}"),
            parameters: json!({"retry_after": seconds}),
        }
    })
}

fn send(arguments: &Arguments, state: &mut State) -> Step<Value> {
    let chat = chat_of(arguments, state)?;
    admit(chat, state)?;
    let version = version(arguments, state)?;
    let reply_to = match arguments.get("reply_parameters") {
        None => None,
        Some(parameters) => {
            let id = parameters["message_id"].as_i64();
            let found = id.filter(|id| state.chats[&chat].get(*id).is_some());
            if found.is_none() && parameters["allow_sending_without_reply"] != json!(true) {
                return wrong(state, "message to be replied not found");
            }
            found
        }
    };
    let topic = arguments.get("message_thread_id").map(|v| v.as_i64().unwrap_or_default());
    if topic.is_some_and(|topic| !state.chats[&chat].topics.contains(&topic)) {
        return fail(400, "Bad Request: message thread not found");
    }
    let date = state.now().as_secs();
    let chat = state.chats.get_mut(&chat).unwrap();
    let id = chat.put(BOT_ID, reply_to, version);
    chat.get_mut(id).unwrap().topic = topic;
    Ok(chat.message_json(id, 1_700_000_000 + date))
}

fn edit(arguments: &Arguments, state: &mut State, with_text: bool) -> Step<Value> {
    let chat = chat_of(arguments, state)?;
    admit(chat, state)?;
    let id = arguments.get("message_id").and_then(Value::as_i64);
    let found = id.and_then(|id| state.chats[&chat].get(id)).cloned();
    let Some(shown) = found else { return fail(400, "Bad Request: message to edit not found") };
    if !shown.is_from_bot() || shown.is_locked {
        return fail(400, "Bad Request: message can't be edited");
    }
    let mut new = match with_text {
        true => version(arguments, state)?,
        false => {
            let buttons = keyboard(arguments, state)?;
            Version { buttons, ..shown.versions.last().unwrap().clone() }
        }
    };
    new.at = state.now();
    let old = shown.versions.last().unwrap();
    if (&old.text, &old.entities, &old.buttons) == (&new.text, &new.entities, &new.buttons) {
        return fail(400, format!("Bad Request: {MODIFIED}"));
    }
    let date = state.now().as_secs();
    let chat = state.chats.get_mut(&chat).unwrap();
    chat.get_mut(shown.id).unwrap().versions.push(new);
    Ok(chat.message_json(shown.id, 1_700_000_000 + date))
}

fn version(arguments: &Arguments, state: &mut State) -> Step<Version> {
    if arguments.contains_key("parse_mode") {
        state.violation("parse_mode");
    }
    let Some(text) = arguments.get("text").and_then(Value::as_str) else {
        return wrong(state, "message text is empty");
    };
    let entities = match arguments.get("entities") {
        None => Vec::new(),
        Some(Value::Array(entities)) => entities.clone(),
        Some(_) => return wrong(state, "entities are no list"),
    };
    if let Err(why) = text::check_entities(text, &entities) {
        return wrong(state, &why);
    }
    if let Some(c) = text::hidden(text) {
        state.violation(format!("U+{:04X} in a text: nobody sees it", u32::from(c)));
    }
    if arguments.get("link_preview_options").is_none_or(|o| o["is_disabled"] != json!(true)) {
        state.violation("link previews are on");
    }
    let (text, entities) = text::trimmed(text, &entities);
    if text.is_empty() {
        return wrong(state, "message text is empty");
    }
    if let Some((_, code)) = state.faults.unwelcome.iter().find(|(unwelcome, _)| text.contains(unwelcome)) {
        return fail(*code, "MESSAGE_UNWELCOME");
    }
    if text::units(&text) > text::MAX_TEXT {
        return wrong(state, "message is too long");
    }
    let buttons = keyboard(arguments, state)?;
    Ok(Version { at: state.now(), text, entities, buttons })
}

fn keyboard(arguments: &Arguments, state: &mut State) -> Step<Vec<Vec<Button>>> {
    let Some(markup) = arguments.get("reply_markup") else { return Ok(Vec::new()) };
    // As in forms, the markup may come as a text.
    let parsed = markup.as_str().and_then(|text| serde_json::from_str(text).ok());
    let markup = parsed.as_ref().unwrap_or(markup);
    let Some(rows) = markup["inline_keyboard"].as_array() else {
        return wrong(state, "object expected as reply markup");
    };
    let mut keyboard = Vec::new();
    for row in rows {
        let Some(row) = row.as_array() else { return wrong(state, "a row of buttons is no list") };
        let mut buttons = Vec::new();
        for button in row {
            buttons.push(one_button(button, state)?);
        }
        if !buttons.is_empty() {
            keyboard.push(buttons);
        }
    }
    if keyboard.iter().any(|row| row.len() > 8) || keyboard.iter().flatten().count() > 100 {
        return wrong(state, "too many buttons");
    }
    Ok(keyboard)
}

fn one_button(button: &Value, state: &mut State) -> Step<Button> {
    let text = button["text"].as_str().unwrap_or_default().trim().to_owned();
    let data = button["callback_data"].as_str().unwrap_or_default().to_owned();
    if text.is_empty() {
        return wrong(
            state,
            "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard",
        );
    }
    if !(1..=64).contains(&data.len()) {
        return wrong(state, "BUTTON_DATA_INVALID");
    }
    Ok(Button { text, data })
}

fn answer_query(arguments: &Arguments, state: &mut State) -> Step<Value> {
    let text = arguments.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
    if text.chars().count() > 200 {
        return wrong(state, "MESSAGE_TOO_LONG");
    }
    let now = state.now();
    let id = arguments.get("callback_query_id").and_then(Value::as_str).unwrap_or_default();
    let Some(query) = state.queries.get_mut(id) else { return fail(400, TOO_OLD) };
    if query.is_answered || now.saturating_sub(query.at) > CALLBACK_LIFE {
        return fail(400, TOO_OLD);
    }
    query.is_answered = true;
    let is_alert = arguments.get("show_alert") == Some(&json!(true));
    query.answer = Some(Toast { text, is_alert });
    Ok(json!(true))
}
