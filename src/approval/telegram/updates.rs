//! What an update means, and whether it has any power. Pure.
//!
//! Identity is the numeric `from.id` of a person in the configured chat and nothing else: no name, no message text, no
//! forwarded or channel message, and nobody who writes in the name of a chat.

use super::api::{ChatMessage, Tap, Update, UpdateKind, User};
use super::buttons::{self, Press};
use super::card::shortened;
use crate::base::ids::RequestId;

/// The account behind which Telegram hides anonymous admins of groups.
const ANONYMOUS_ADMIN: i64 = 1_087_968_824;
/// The longest name shown, in UTF-16 units.
const MAX_NAME: usize = 40;

/// Whose words count, and where.
#[derive(Clone, Debug)]
pub(crate) struct Approvers {
    /// The chat.
    pub chat: i64,
    /// The topic in it; None when all count.
    pub topic: Option<i64>,
    /// The people.
    pub allowed_users: Vec<i64>,
    /// The bot's own name, for `/status@name`.
    pub(crate) bot_name: String,
}

/// Somebody who may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    /// The user id.
    pub id: i64,
    /// `Ann (7)`, safe to show.
    pub shown: String,
}

/// What an update means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UpdateMeaning {
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
        command: BotCommand,
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
        /// The user id.
        person: i64,
        /// Where an answer goes.
        from: Approach,
        /// Who and where, for the log.
        who: String,
    },
    /// The group has a new number, it is said.
    Moved,
    /// Nothing for us.
    Ignored,
}

/// What somebody who may not has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Approach {
    /// A tap: its id.
    Tap(String),
    /// A message to the bot.
    Words {
        /// Where.
        chat: i64,
        /// Its number.
        message: i64,
    },
}

/// What people can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BotCommand {
    /// The open questions.
    Pending,
    /// How the gateway is.
    Status,
    /// What there is.
    Help,
}

/// What an update means under these approvers.
pub(crate) fn read(update: &Update, approvers: &Approvers) -> UpdateMeaning {
    match &update.kind {
        UpdateKind::Tap(tap) => read_tap(tap, approvers),
        UpdateKind::Message(message) => read_message(message, approvers),
        UpdateKind::Unknown => UpdateMeaning::Ignored,
    }
}

fn read_tap(tap: &Tap, approvers: &Approvers) -> UpdateMeaning {
    let chat = tap.chat.as_ref().map(|chat| chat.id);
    let callback = tap.id.clone();
    let Some(by) = person(&tap.from, chat, approvers) else {
        let (person, who) = (tap.from.id, who(&tap.from, chat));
        return UpdateMeaning::Stranger { person, from: Approach::Tap(callback), who };
    };
    match (tap.data.as_deref().and_then(buttons::read), tap.message_id) {
        (Some((press, id)), Some(message)) => UpdateMeaning::Tap { callback, by, press, id, message },
        _ => UpdateMeaning::Nonsense { callback },
    }
}

fn read_message(message: &ChatMessage, approvers: &Approvers) -> UpdateMeaning {
    if message.migrated_to.is_some() && message.chat.id == approvers.chat {
        return UpdateMeaning::Moved;
    }
    let (Some(from), Some(text)) = (&message.from, &message.text) else { return UpdateMeaning::Ignored };
    if message.on_behalf || message.forwarded || from.is_bot {
        return UpdateMeaning::Ignored;
    }
    // Other topics are for other things. A tap needs no such rule: it comes from a card of ours or does not count.
    if message.chat.id == approvers.chat && approvers.topic.is_some() && message.topic != approvers.topic {
        return UpdateMeaning::Ignored;
    }
    let by = person(from, Some(message.chat.id), approvers);
    let word = command_word(text, &approvers.bot_name);
    match (word.and_then(command), by, message.reply_to) {
        (Some(command), Some(_), _) => UpdateMeaning::Command { command, message: message.id },
        (None, Some(by), Some(to)) => {
            UpdateMeaning::Reply { by, to, message: message.id, text: text.clone() }
        }
        (_, Some(_), None) => UpdateMeaning::Ignored,
        (_, None, _) => stranger(message, from, word.is_some()),
    }
}

/// Others may talk in the group as they like; what they say to the bot is noted.
fn stranger(message: &ChatMessage, from: &User, is_command: bool) -> UpdateMeaning {
    let chat = message.chat.id;
    if !is_command && chat != from.id {
        return UpdateMeaning::Ignored;
    }
    let words = Approach::Words { chat, message: message.id };
    UpdateMeaning::Stranger { person: from.id, from: words, who: who(from, Some(chat)) }
}

/// The one place that says who may answer.
fn person(from: &User, chat: Option<i64>, approvers: &Approvers) -> Option<Person> {
    let may = chat == Some(approvers.chat)
        && approvers.allowed_users.contains(&from.id)
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

/// `status` of `/status`, or of `/status@our_bot` in a group. None for other bots' commands, and for what is none.
fn command_word<'t>(text: &'t str, bot_name: &str) -> Option<&'t str> {
    let word = text.split_whitespace().next()?.strip_prefix('/')?;
    let (name, bot) = word.split_once('@').map_or((word, None), |(name, bot)| (name, Some(bot)));
    let ours = bot.is_none_or(|bot| bot.eq_ignore_ascii_case(bot_name));
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (ours && is_name).then_some(name)
}

/// `start` is what Telegram sends when a person first opens the chat.
fn command(word: &str) -> Option<BotCommand> {
    match word {
        "pending" => Some(BotCommand::Pending),
        "status" => Some(BotCommand::Status),
        "help" | "start" => Some(BotCommand::Help),
        _ => None,
    }
}

#[cfg(test)]
#[path = "updates_tests.rs"]
mod tests;
