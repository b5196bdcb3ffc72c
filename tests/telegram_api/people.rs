//! What people do in the chats, and what they see.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::chat::{Chat, Kind, Shown, Version, user_json};
use super::{BOT_ID, CALLBACK_LIFE, GROUP, MESSAGE_LIFE, PATIENCE, Query, State, Telegram, eventually};

/// A user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person {
    pub id: i64,
    pub name: &'static str,
}

/// What the one who tapped a button sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toast {
    pub text: String,
    pub is_alert: bool,
}

impl State {
    fn written(&self, text: &str) -> Version {
        Version { at: self.now(), text: text.to_owned(), entities: Vec::new(), buttons: Vec::new() }
    }

    fn date(&self) -> u64 {
        1_700_000_000 + self.now().as_secs()
    }

    fn queue(&mut self, kind: &str, payload: Value, life: Duration) -> i64 {
        let dies = self.now() + life;
        // An update of a kind that the bot did not ask for is never seen by it.
        self.queue.add(kind, payload, dies).unwrap_or_default()
    }
}

impl Telegram {
    // --- what is seen ---

    /// The bot's messages in a chat that are not deleted, the oldest first.
    pub fn bot_messages(&self, chat: i64) -> Vec<Shown> {
        let state = self.lock();
        state.chats[&chat].messages().filter(|m| m.is_from_bot() && !m.is_deleted).cloned().collect()
    }

    /// A message as it is seen now.
    pub fn message(&self, chat: i64, id: i64) -> Shown {
        self.lock().chats[&chat].get(id).cloned().unwrap_or_else(|| panic!("message {id} is not there"))
    }

    /// Waits for a message of the bot that has buttons and holds `text` in it or in the messages of the same
    /// question before it.
    pub fn card(&self, chat: i64, text: &str) -> Shown {
        self.find(chat, &format!("a card with {text:?}"), |m| {
            m.text().contains(text) && !m.buttons().is_empty()
        })
    }

    /// Waits for a message of the bot in a chat.
    pub fn find(&self, chat: i64, what: &str, wanted: impl Fn(&Shown) -> bool) -> Shown {
        eventually(what, || self.bot_messages(chat).into_iter().rev().find(&wanted))
    }

    /// Waits until a message has become so.
    pub fn becomes(&self, card: &Shown, what: &str, wanted: impl Fn(&Shown) -> bool) -> Shown {
        let mut last = String::new();
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let now = self.message(card.chat, card.id);
            if wanted(&now) {
                return now;
            }
            last = format!("{}\n{:?}", now.text(), now.buttons());
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the message did not become {what}:\n{last}");
    }

    /// Waits until a message says this and has no buttons.
    pub fn ends(&self, card: &Shown, text: &str) -> Shown {
        let says = |m: &Shown| m.text().to_lowercase().contains(&text.to_lowercase());
        self.becomes(card, &format!("one that says {text:?}, without buttons"), |m| {
            says(m) && m.buttons().is_empty()
        })
    }

    /// The answer to a tap, when there is one.
    pub fn toast_now(&self, query: &str) -> Option<Toast> {
        self.lock().queries.get(query).and_then(|q| q.answer.clone())
    }

    /// Waits for the answer to a tap.
    pub fn toast(&self, query: &str) -> Toast {
        eventually("the answer to a tap", || self.toast_now(query))
    }

    /// Taps whose button still shows a turning wheel.
    pub fn unanswered(&self) -> usize {
        self.lock().queries.values().filter(|q| !q.is_answered).count()
    }

    // --- what is done ---

    /// Taps a button that the message shows now; gives the id of the tap.
    pub fn tap(&self, card: &Shown, label: &str, by: Person) -> String {
        let now = self.message(card.chat, card.id);
        let data =
            now.button(label).unwrap_or_else(|| panic!("no button {label:?} among {:?}", now.buttons()));
        self.tap_data(card.chat, card.id, &data, by)
    }

    /// Taps a button as `card` showed it, on a phone that has not heard of an edit since.
    pub fn tap_stale(&self, card: &Shown, label: &str, by: Person) -> String {
        let data =
            card.button(label).unwrap_or_else(|| panic!("no button {label:?} in {:?}", card.buttons()));
        self.tap_data(card.chat, card.id, &data, by)
    }

    /// A tap with any data on any message, as a hand-made client could send.
    pub fn tap_data(&self, chat: i64, message: i64, data: &str, by: Person) -> String {
        let mut state = self.lock();
        let (now, date) = (state.now(), state.date());
        let message = state.chats[&chat].message_json(message, date);
        self.query(&mut state, by, now, json!({"message": message, "data": data}))
    }

    /// A tap whose update is exactly this, with id and sender added.
    pub fn tap_raw(&self, by: Person, payload: Value) -> String {
        let mut state = self.lock();
        let now = state.now();
        self.query(&mut state, by, now, payload)
    }

    fn query(&self, state: &mut State, by: Person, at: Duration, mut payload: Value) -> String {
        state.next_query += 7;
        let id = state.next_query.to_string();
        payload["id"] = json!(id);
        payload["from"] = user_json(by.id);
        payload["chat_instance"] = json!("-3704");
        state.queries.insert(id.clone(), Query { at, by: by.id, answer: None, is_answered: false });
        state.queue("callback_query", payload, CALLBACK_LIFE);
        self.shared.changed.notify_all();
        id
    }

    /// Writes into a chat; gives the message's id.
    pub fn say(&self, chat: i64, by: Person, text: &str) -> i64 {
        self.write(chat, by.id, text, None, &json!({}))
    }

    /// Replies to a message.
    pub fn reply(&self, to: &Shown, by: Person, text: &str) -> i64 {
        self.write(to.chat, by.id, text, Some(to.id), &json!({}))
    }

    /// Writes with further fields in the update, such as `sender_chat` or `forward_origin`.
    pub fn write(&self, chat: i64, from: i64, text: &str, reply_to: Option<i64>, more: &Value) -> i64 {
        let mut state = self.lock();
        let (version, date) = (state.written(text), state.date());
        let chat = state.chats.get_mut(&chat).unwrap();
        let id = chat.put(from, reply_to, version);
        let mut message = chat.message_json(id, date);
        for (name, value) in more.as_object().into_iter().flatten() {
            message[name] = value.clone();
        }
        let kind = if chat.kind == Kind::Channel { "channel_post" } else { "message" };
        if text.starts_with('/') {
            let length = text.split_whitespace().next().unwrap_or_default().encode_utf16().count();
            message["entities"] = json!([{"type": "bot_command", "offset": 0, "length": length}]);
        }
        state.queue(kind, message, MESSAGE_LIFE);
        self.shared.changed.notify_all();
        id
    }

    /// An administrator who writes in the name of the group. The sender is Telegram's stand-in.
    pub fn say_anonymously(&self, chat: i64, text: &str, reply_to: Option<i64>) -> i64 {
        let sender = json!({"sender_chat": {"id": chat, "type": "supergroup", "title": "Home"}});
        self.write(chat, 1_087_968_824, text, reply_to, &sender)
    }

    /// A message of a linked channel, posted into the group.
    pub fn say_as_channel(&self, chat: i64, text: &str, reply_to: Option<i64>) -> i64 {
        let sender = json!({"sender_chat": {"id": -1_009_999, "type": "channel", "title": "News"}});
        self.write(chat, 136_817_688, text, reply_to, &sender)
    }

    /// A copy of a card in another chat, with its buttons: what a forward by a hand-made client could look like.
    pub fn forward(&self, card: &Shown, to: i64, by: Person) -> Shown {
        let mut state = self.lock();
        let version = card.versions.last().unwrap().clone();
        let date = state.date();
        let origin = json!({"type": "user", "sender_user": user_json(BOT_ID), "date": date});
        let chat = state.chats.get_mut(&to).unwrap();
        let id = chat.put(by.id, None, version);
        let mut message = chat.message_json(id, date);
        message["forward_origin"] = origin;
        state.queue("message", message, MESSAGE_LIFE);
        self.shared.changed.notify_all();
        state.chats[&to].get(id).cloned().unwrap()
    }

    /// Changes what somebody wrote.
    pub fn rewrite(&self, chat: i64, id: i64, text: &str) {
        let mut state = self.lock();
        let (version, date) = (state.written(text), state.date());
        let chat = state.chats.get_mut(&chat).unwrap();
        chat.get_mut(id).unwrap().versions.push(version);
        let message = chat.message_json(id, date);
        state.queue("edited_message", message, MESSAGE_LIFE);
        self.shared.changed.notify_all();
    }

    /// Removes a message for everybody.
    pub fn delete(&self, card: &Shown) {
        let mut state = self.lock();
        state.chats.get_mut(&card.chat).unwrap().get_mut(card.id).unwrap().is_deleted = true;
    }

    /// From now on the service lets nobody edit this message.
    pub fn lock_message(&self, card: &Shown) {
        let mut state = self.lock();
        state.chats.get_mut(&card.chat).unwrap().get_mut(card.id).unwrap().is_locked = true;
    }

    /// The group becomes a supergroup with a new id.
    pub fn migrate(&self, from: i64, to: i64) {
        let mut state = self.lock();
        state.chats.insert(to, Chat::new(to, Kind::Supergroup));
        state.chats.get_mut(&from).unwrap().migrated_to = Some(to);
    }

    /// The group has a topic of this number.
    pub fn add_topic(&self, chat: i64, topic: i64) {
        self.lock().chats.get_mut(&chat).unwrap().topics.insert(topic);
    }

    /// Writes in a topic. Whoever replies to nobody there replies to the topic's first message, as far as bots see.
    pub fn say_in(&self, chat: i64, topic: i64, by: Person, text: &str) -> i64 {
        let root = json!({"message_id": topic, "chat": {"id": chat, "type": "supergroup"}, "date": 0});
        let more = json!({"message_thread_id": topic, "is_topic_message": true, "reply_to_message": root});
        self.write(chat, by.id, text, None, &more)
    }

    /// Adds a chat.
    pub fn add_chat(&self, id: i64, kind: Kind) {
        self.lock().chats.insert(id, Chat::new(id, kind));
    }

    // --- updates by hand ---

    /// An update of any kind, whether or not the bot asked for it.
    pub fn push(&self, kind: &str, payload: Value) -> i64 {
        let mut state = self.lock();
        let dies = state.now() + MESSAGE_LIFE;
        let id = state.queue.force_kind(kind, payload, dies);
        self.shared.changed.notify_all();
        id
    }

    /// The next poll gets this update again, though it was acknowledged.
    pub fn replay(&self, id: i64) {
        self.lock().queue.replay(id);
        self.shared.changed.notify_all();
    }

    /// The next poll gets this as an element of its list.
    pub fn force(&self, update: Value) {
        self.lock().queue.force(update);
        self.shared.changed.notify_all();
    }

    /// Everything that was ever queued.
    pub fn past_updates(&self) -> Vec<Value> {
        self.lock().queue.past()
    }

    /// The ids of updates go on from here, lower or higher, as after a week of silence.
    pub fn go_on_from(&self, id: i64) {
        let mut state = self.lock();
        state.queue.go_on_from(id);
    }
}
