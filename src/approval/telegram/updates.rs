//! What an update means, and whether it has any power. Pure.
//!
//! Identity is the numeric `from.id` of a person in the configured chat and nothing else: no name, no message text, no
//! forwarded or channel message, and nobody who writes in the name of a chat.

use super::api::{Message, Tap, Update, UpdateKind, User};
use super::buttons::{self, Press};
use super::card::shortened;
use crate::base::ids::RequestId;

/// The account behind which Telegram hides anonymous admins of groups.
const ANONYMOUS_ADMIN: i64 = 1_087_968_824;
/// The longest name shown, in UTF-16 units.
const MAX_NAME: usize = 40;

/// Whose words count, and where.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The chat.
    pub chat: i64,
    /// The people.
    pub allowed_users: Vec<i64>,
    /// The bot's own name, for `/status@name`.
    pub bot_name: String,
}

/// Somebody who may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The user id.
    pub id: i64,
    /// `Ann (7)`, safe to show.
    pub shown: String,
}

/// What an update means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Somebody who may tapped a button of ours.
    Tap {
        /// For the answer.
        callback: String,
        /// Who.
        by: Person,
        /// The button.
        press: Press,
        /// The question.
        id: RequestId,
        /// The message with the button.
        message: i64,
    },
    /// Somebody who may answered a message.
    Reply {
        /// Who.
        by: Person,
        /// The message that is answered.
        to: i64,
        /// The answer itself.
        message: i64,
        /// Its text as it came.
        text: String,
    },
    /// Somebody who may asked for something.
    Command {
        /// What.
        command: Command,
        /// The message.
        message: i64,
    },
    /// A tap that means nothing, by somebody who may.
    Nonsense {
        /// For the answer.
        callback: String,
    },
    /// A tap or command of somebody who may not.
    Stranger {
        /// For the answer, when it was a tap.
        callback: Option<String>,
        /// The private chat to answer in, when it was a message there.
        private: Option<i64>,
        /// Who and where, for the log.
        who: String,
    },
    /// The group has a new number.
    Migrated(i64),
    /// Nothing for us.
    Ignored,
}

/// What people can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The open questions.
    Pending,
    /// How the gateway is.
    Status,
    /// What there is.
    Help,
}

/// What an update means under these rules.
pub fn read(update: &Update, rules: &Rules) -> Incoming {
    match &update.kind {
        UpdateKind::Tap(tap) => read_tap(tap, rules),
        UpdateKind::Message(message) => read_message(message, rules),
        UpdateKind::Unknown => Incoming::Ignored,
    }
}

fn read_tap(tap: &Tap, rules: &Rules) -> Incoming {
    let chat = tap.chat.as_ref().map(|chat| chat.id);
    let callback = tap.id.clone();
    let Some(by) = person(&tap.from, chat, rules) else {
        return Incoming::Stranger { callback: Some(callback), private: None, who: who(&tap.from, chat) };
    };
    match (tap.data.as_deref().and_then(buttons::read), tap.message_id) {
        (Some((press, id)), Some(message)) => Incoming::Tap { callback, by, press, id, message },
        _ => Incoming::Nonsense { callback },
    }
}

fn read_message(message: &Message, rules: &Rules) -> Incoming {
    if let Some(to) = message.migrated_to.filter(|_| message.chat.id == rules.chat) {
        return Incoming::Migrated(to);
    }
    let (Some(from), Some(text)) = (&message.from, &message.text) else { return Incoming::Ignored };
    if message.on_behalf || message.forwarded || from.is_bot {
        return Incoming::Ignored;
    }
    let by = person(from, Some(message.chat.id), rules);
    match (command(text, &rules.bot_name), by, message.reply_to) {
        (Some(command), Some(_), _) => Incoming::Command { command, message: message.id },
        (None, Some(by), Some(to)) => Incoming::Reply { by, to, message: message.id, text: text.clone() },
        (_, Some(_), None) => Incoming::Ignored,
        (command, None, _) => stranger(message, from, command.is_some()),
    }
}

/// Others may talk in the group as they like; what they say to the bot is noted.
fn stranger(message: &Message, from: &User, is_command: bool) -> Incoming {
    let private = (message.chat.id == from.id).then_some(from.id);
    if !is_command && private.is_none() {
        return Incoming::Ignored;
    }
    Incoming::Stranger { callback: None, private, who: who(from, Some(message.chat.id)) }
}

/// The one place that says who may answer.
fn person(from: &User, chat: Option<i64>, rules: &Rules) -> Option<Person> {
    let may = chat == Some(rules.chat)
        && rules.allowed_users.contains(&from.id)
        && from.id > 0
        && from.id != ANONYMOUS_ADMIN
        && !from.is_bot;
    may.then(|| Person { id: from.id, shown: shown(from) })
}

fn shown(user: &User) -> String {
    match user.name.as_str() {
        "" => format!("user {}", user.id),
        name => format!("{} ({})", shortened(name, MAX_NAME), user.id),
    }
}

fn who(user: &User, chat: Option<i64>) -> String {
    let chat = chat.map_or("an unknown chat".to_owned(), |chat| format!("chat {chat}"));
    format!("{} in {chat}", shown(user))
}

/// `/status`, or `/status@our_bot` in a group. `/start` is what Telegram sends when a person first opens the chat.
fn command(text: &str, bot_name: &str) -> Option<Command> {
    let word = text.split_whitespace().next()?.strip_prefix('/')?;
    let (name, bot) = word.split_once('@').map_or((word, None), |(name, bot)| (name, Some(bot)));
    if bot.is_some_and(|bot| !bot.eq_ignore_ascii_case(bot_name)) {
        return None;
    }
    match name {
        "pending" => Some(Command::Pending),
        "status" => Some(Command::Status),
        "help" | "start" => Some(Command::Help),
        _ => None,
    }
}

#[cfg(test)]
#[path = "updates_tests.rs"]
mod tests;
