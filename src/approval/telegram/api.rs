//! The Bot API of Telegram, as far as approvals need it, over [`HttpClient`].
//!
//! It only carries: what a tap means and whose counts is decided elsewhere. It must never let the token out (it is
//! part of every URL), follow a redirect, or take an answer of more than 1 MiB. Every call BLOCKS up to its limit
//! and is meant for the blocking pool. Source of the rules: <https://core.telegram.org/bots/api>.

mod error;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value, json};

pub(crate) use error::BotError;
pub(crate) use parse::{Chat, ChatMessage, Me, Tap, Update, UpdateKind, User};

use crate::base::secret::Secret;
use crate::net::client::{HttpClient, HttpOptions, HttpRequest, HttpResponse, NotSent};

const MAX_ANSWER: u64 = 1024 * 1024;
/// The limit of a call, except for a long poll.
const TIME_LIMIT: Duration = Duration::from_secs(15);
/// What a long poll may take above its own timeout.
const POLL_SLACK: Duration = Duration::from_secs(10);
/// The longest long poll that servers grant, in seconds.
const MAX_POLL: u64 = 50;
/// How many updates are asked for. A hundred long messages can be larger than an answer may be; one never is.
const PORTIONS: [u8; 3] = [100, 10, 1];
/// The longest text of [`Bot::answer_callback`], in characters.
const MAX_TOAST: usize = 200;

/// A message as it is sent. Text and entities are shown as they are: nothing in the text is markup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OutgoingMessage {
    /// 1 to 4096 UTF-16 units.
    pub text: String,
    pub entities: Vec<Entity>,
    /// Buttons, row by row; empty for none.
    pub keyboard: Vec<Vec<Button>>,
    /// The message in the same chat that this one answers. If that is gone, this one is sent all the same.
    pub reply_to: Option<i64>,
}

/// How a part of a text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entity {
    pub style: Style,
    /// In UTF-16 units.
    pub offset: usize,
    /// In UTF-16 units; not 0.
    pub length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Bold,
    Pre,
    /// Names the user with this id, who is told of it.
    Mention(i64),
}

/// A button below a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Button {
    pub text: String,
    /// What a tap on it brings back: 1 to 64 bytes.
    pub data: String,
}

/// A bot at a Bot API server. Clones are the same bot.
#[derive(Clone)]
pub(crate) struct Bot {
    client: HttpClient,
    token: Secret,
    /// Everything of the URL but the method. Holds the token.
    base: Secret,
}

impl Bot {
    /// A bot that reaches its server by `proxy`, if any. Connects to nobody yet.
    ///
    /// # Errors
    /// [`NotSent::BadUrl`] when `api_url` is no `http` or `https` URL, the token cannot stand in one, or `proxy` is
    /// none.
    pub(crate) fn through(proxy: Option<&Secret>, token: Secret, api_url: &str) -> Result<Bot, BotError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-');
        if token.expose().is_empty() || !token.expose().chars().all(fits) {
            return Err(NotSent::BadUrl("the token is not a bot token; copy it from @BotFather").into());
        }
        if !["http://", "https://"].iter().any(|scheme| api_url.starts_with(scheme)) {
            return Err(NotSent::BadUrl("api_url must begin with http:// or https://").into());
        }
        let base = format!("{}/bot{}/", api_url.trim_end_matches('/'), token.expose());
        let options = HttpOptions {
            timeout: TIME_LIMIT,
            connect_timeout: Duration::from_secs(10),
            max_response_bytes: MAX_ANSWER,
            ca_pem: None,
            socket: None,
            pin: None,
            server_name: None,
            allow_link_local: false,
            // A message that goes into a connection which is just being closed may be sent or not.
            reuse_connections: false,
        };
        let client = match proxy {
            Some(proxy) => HttpClient::through(proxy, options)?,
            None => HttpClient::new(options)?,
        };
        Ok(Bot { client, token, base: Secret::new(base) })
    }

    /// Who the bot is. Also shows whether the token is right.
    pub(crate) fn get_me(&self) -> Result<Me, BotError> {
        parse::me(&self.call("getMe", &json!({}), TIME_LIMIT)?).ok_or(BotError::Garbage)
    }

    /// A chat that the bot can see; [`BotError::Refused`] where it sees none.
    pub(crate) fn get_chat(&self, chat: i64) -> Result<Chat, BotError> {
        parse::chat(&self.call("getChat", &json!({"chat_id": chat}), TIME_LIMIT)?).ok_or(BotError::Garbage)
    }

    /// Removes a webhook, which would block [`get_updates`](Bot::get_updates). Updates that wait are kept.
    pub(crate) fn delete_webhook(&self) -> Result<(), BotError> {
        self.call("deleteWebhook", &json!({"drop_pending_updates": false}), TIME_LIMIT).map(drop)
    }

    /// Taps and messages from `offset` on, the oldest first; the server forgets those before it, if it is above 0.
    /// Waits up to `timeout_s` (at most 50) seconds for the first.
    pub(crate) fn get_updates(&self, offset: i64, timeout_s: u64) -> Result<Vec<Update>, BotError> {
        let mut wait = timeout_s.min(MAX_POLL);
        for limit in PORTIONS {
            match self.poll(offset, wait, limit) {
                // They are there already, so the next try need not wait for them.
                Err(BotError::TooLarge) => wait = 0,
                done => return done,
            }
        }
        Err(BotError::TooLarge)
    }

    fn poll(&self, offset: i64, wait: u64, limit: u8) -> Result<Vec<Update>, BotError> {
        // A negative offset would drop updates that wait.
        let params = json!({
            "offset": offset.max(0),
            "timeout": wait,
            "limit": limit,
            "allowed_updates": ["callback_query", "message"],
        });
        let answer = self.call("getUpdates", &params, Duration::from_secs(wait) + POLL_SLACK)?;
        let mut updates = parse::updates(&answer).ok_or(BotError::Garbage)?;
        // More than was asked for comes again.
        updates.truncate(limit.into());
        Ok(updates)
    }

    /// Sends a message, in groups with topics into `topic`, and returns its number in the chat. After an error it may
    /// have been sent all the same, see [`BotError::is_certain`].
    pub(crate) fn send_message(
        &self,
        chat: i64,
        topic: Option<i64>,
        message: &OutgoingMessage,
    ) -> Result<i64, BotError> {
        let mut params = look(message);
        params.insert("chat_id".into(), chat.into());
        params.extend(topic.map(|topic| ("message_thread_id".to_owned(), topic.into())));
        if let Some(id) = message.reply_to {
            let reply = json!({"message_id": id, "allow_sending_without_reply": true});
            params.insert("reply_parameters".into(), reply);
        }
        let sent = self.call("sendMessage", &params.into(), TIME_LIMIT)?;
        parse::message_id(&sent).ok_or(BotError::Garbage)
    }

    /// Changes a message of the bot's own, buttons included. [`BotError::NotModified`] when it looks so already.
    pub(crate) fn edit_message(
        &self,
        chat: i64,
        message_id: i64,
        message: &OutgoingMessage,
    ) -> Result<(), BotError> {
        let mut params = look(message);
        params.insert("chat_id".into(), chat.into());
        params.insert("message_id".into(), message_id.into());
        self.call("editMessageText", &params.into(), TIME_LIMIT).map(drop)
    }

    /// Answers a tap: `text` is shown for a moment, with `alert` until it is dismissed. Cut after 200 characters.
    pub(crate) fn answer_callback(&self, id: &str, text: &str, alert: bool) -> Result<(), BotError> {
        let text: String = text.chars().take(MAX_TOAST).collect();
        let params = json!({"callback_query_id": id, "text": text, "show_alert": alert});
        self.call("answerCallbackQuery", &params, TIME_LIMIT).map(drop)
    }

    /// Makes all calls of this bot and its clones fail at once, running or to come.
    pub(crate) fn shutdown(&self) {
        self.client.shutdown();
    }

    /// Calls a method and returns its `result`.
    fn call(&self, method: &str, params: &Value, limit: Duration) -> Result<Value, BotError> {
        let response = self.client.call(HttpRequest {
            method: "POST".into(),
            url: format!("{}{method}", self.base.expose()),
            headers: vec![("content-type".into(), "application/json".into())],
            body: Some(params.to_string().into_bytes()),
            timeout: Some(limit),
        });
        answer(&response?, &self.token)
    }
}

impl fmt::Debug for Bot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bot(…)")
    }
}

impl Style {
    fn as_str(self) -> &'static str {
        match self {
            Style::Bold => "bold",
            Style::Pre => "pre",
            Style::Mention(_) => "text_mention",
        }
    }
}

/// What sending and editing have in common.
fn look(message: &OutgoingMessage) -> Map<String, Value> {
    let entity = |e: &Entity| {
        let mut shown = json!({"type": e.style.as_str(), "offset": e.offset, "length": e.length});
        if let (Some(members), Style::Mention(user)) = (shown.as_object_mut(), e.style) {
            members.insert("user".into(), json!({"id": user, "is_bot": false, "first_name": ""}));
        }
        shown
    };
    let button = |b: &Button| json!({"text": b.text, "callback_data": b.data});
    let mut params = Map::from_iter([
        ("text".to_owned(), message.text.as_str().into()),
        ("entities".to_owned(), message.entities.iter().map(entity).collect()),
        ("link_preview_options".to_owned(), json!({"is_disabled": true})),
    ]);
    if !message.keyboard.is_empty() {
        let rows: Value =
            message.keyboard.iter().map(|row| row.iter().map(button).collect::<Value>()).collect();
        params.insert("reply_markup".into(), json!({"inline_keyboard": rows}));
    }
    params
}

/// Error answers are JSON too; anything else comes from something in between.
fn answer(response: &HttpResponse, token: &Secret) -> Result<Value, BotError> {
    // Nesting beyond serde_json's limit of 128 is an error like any other.
    let body: Option<Value> = serde_json::from_slice(&response.body).ok();
    match body {
        Some(Value::Object(mut body)) if body.get("ok") == Some(&Value::Bool(true)) => {
            body.remove("result").ok_or(BotError::Garbage)
        }
        Some(body) if body.get("ok") == Some(&Value::Bool(false)) => {
            Err(error::refusal(&body, response.status, token))
        }
        _ => Err(error::without_words(response.status)),
    }
}
