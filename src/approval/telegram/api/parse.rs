//! What the server says, read with care: everything in it but the numbers was chosen by somebody on Telegram.
//!
//! One odd update must never make all of them fail: it becomes [`UpdateKind::Unknown`] and can be passed.

use serde_json::Value;

use crate::base::clock::Timestamp;

/// Ids on Telegram have at most 52 significant bits.
const MAX_ID: i64 = 1 << 52;

/// The bot itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Me {
    pub id: i64,
    /// Without the `@`.
    pub username: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Update {
    /// At least 0 and below 2^52.
    pub id: i64,
    pub kind: UpdateKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UpdateKind {
    Tap(Tap),
    Message(ChatMessage),
    /// Something that nobody asked for, or that makes no sense.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tap {
    /// For [`answer_callback`](super::Bot::answer_callback).
    pub id: String,
    pub from: User,
    /// Where the button is. None where inline mode has put its message somewhere.
    pub chat: Option<Chat>,
    pub message_id: Option<i64>,
    /// What the button carries. A changed client may send anything.
    pub data: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChatMessage {
    pub id: i64,
    pub chat: Chat,
    /// By the server's clock; None where it says something that cannot be.
    pub sent: Option<Timestamp>,
    /// None in a channel. Means nothing when `on_behalf`.
    pub from: Option<User>,
    /// Written in the name of a chat: by an anonymous admin, or as a channel.
    pub on_behalf: bool,
    /// Written by somebody else in the first place.
    pub forwarded: bool,
    pub text: Option<String>,
    /// None in the general topic, and in groups without topics.
    pub topic: Option<i64>,
    /// The message in the same chat that this one answers.
    pub reply_to: Option<i64>,
    /// The number of the supergroup that the group has become.
    pub migrated_to: Option<i64>,
}

/// A person or bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// What identity rests on; not 0.
    pub id: i64,
    pub is_bot: bool,
    /// First and last name, chosen freely by the user: for showing (escaped) only.
    pub name: String,
    /// Without the `@`; may change hands, so for showing only.
    pub username: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chat {
    /// Negative for groups; not 0.
    pub id: i64,
    /// `private`, `group`, `supergroup` or `channel`.
    pub kind: String,
    /// Of groups and channels; chosen by people.
    pub title: Option<String>,
}

pub(super) fn me(result: &Value) -> Option<Me> {
    Some(Me { id: id(result.get("id"))?, username: text(result.get("username"))? })
}

pub(super) fn message_id(result: &Value) -> Option<i64> {
    id(result.get("message_id"))
}

/// None when an update has no proper number: it could not be passed.
pub(super) fn updates(result: &Value) -> Option<Vec<Update>> {
    result.as_array()?.iter().map(update).collect()
}

fn update(value: &Value) -> Option<Update> {
    let id = value.get("update_id")?.as_i64().filter(|id| (0..MAX_ID).contains(id))?;
    let kind = match (value.get("callback_query"), value.get("message")) {
        (Some(tapped), _) => tap(tapped).map(UpdateKind::Tap),
        (None, Some(written)) => message(written).map(UpdateKind::Message),
        (None, None) => None,
    };
    Some(Update { id, kind: kind.unwrap_or(UpdateKind::Unknown) })
}

fn tap(value: &Value) -> Option<Tap> {
    let below = value.get("message");
    Some(Tap {
        id: text(value.get("id"))?,
        from: user(value.get("from")?)?,
        chat: below.and_then(|m| chat(m.get("chat")?)),
        message_id: below.and_then(message_id),
        data: text(value.get("data")),
    })
}

fn message(value: &Value) -> Option<ChatMessage> {
    let has = |name: &str| value.get(name).is_some_and(|v| !v.is_null());
    // In groups without topics the number is that of a chain of replies.
    let in_topic = value.get("is_topic_message") == Some(&Value::Bool(true));
    Some(ChatMessage {
        id: message_id(value)?,
        chat: chat(value.get("chat")?)?,
        sent: value.get("date").and_then(Value::as_i64).and_then(Timestamp::of_this_age),
        from: value.get("from").and_then(user),
        on_behalf: has("sender_chat"),
        forwarded: has("forward_origin") || has("forward_date"),
        text: text(value.get("text")),
        topic: id(value.get("message_thread_id")).filter(|_| in_topic),
        reply_to: value.get("reply_to_message").and_then(message_id),
        migrated_to: id(value.get("migrate_to_chat_id")),
    })
}

fn user(value: &Value) -> Option<User> {
    let names = ["first_name", "last_name"].map(|name| text(value.get(name)).unwrap_or_default());
    Some(User {
        id: id(value.get("id"))?,
        is_bot: value.get("is_bot").and_then(Value::as_bool).unwrap_or_default(),
        name: names.join(" ").trim().to_owned(),
        username: text(value.get("username")),
    })
}

pub(super) fn chat(value: &Value) -> Option<Chat> {
    let kind = text(value.get("type")).unwrap_or_default();
    Some(Chat { id: id(value.get("id"))?, kind, title: text(value.get("title")) })
}

fn id(value: Option<&Value>) -> Option<i64> {
    value?.as_i64().filter(|id| *id != 0 && (-MAX_ID..MAX_ID).contains(id))
}

fn text(value: Option<&Value>) -> Option<String> {
    value?.as_str().map(str::to_owned)
}
