//! What an update means, and from whom it counts. Pure.
//!
//! Identity is the numeric `from.id` of a person in the configured chat and nothing else: no name, no message text, no
//! forwarded or channel message, and nobody who writes in the name of a chat.

use super::api::{ChatMessage, Tap, Update, UpdateKind, User};
use super::buttons::{self, Pressed};
use super::card::shortened;
use super::stop_button::StopButton;
use crate::base::clock::Timestamp;

/// The account behind which Telegram hides anonymous admins of groups.
const ANONYMOUS_ADMIN: i64 = 1_087_968_824;
/// The longest name shown, in UTF-16 units.
const MAX_NAME: usize = 40;

/// Whose words count, and where.
#[derive(Clone, Debug, Default)]
pub(super) struct Approvers {
    pub chat: i64,
    /// None when all topics count.
    pub topic: Option<i64>,
    pub allowed_users: Vec<i64>,
    /// The bot's own name, for `/status@name`; empty until it is known.
    pub bot_name: String,
}

/// Somebody who may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub id: i64,
    /// `Ann (7)`, safe to show.
    pub shown: String,
}

/// `by` is always somebody who may answer; `callback` is what a tap is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UpdateMeaning {
    /// A tap on a button of ours, below `message`.
    Tap {
        callback: String,
        by: Person,
        pressed: Pressed,
        message: i64,
    },
    /// A tap on the button that stops calls.
    Stop {
        callback: String,
        by: Person,
        button: StopButton,
        message: i64,
    },
    /// `message` answers the message `to`.
    Reply {
        by: Person,
        to: i64,
        message: i64,
        text: String,
    },
    Command {
        command: BotCommand,
        by: Person,
        message: i64,
        /// When it was written, as far as that is known.
        sent: Option<Timestamp>,
    },
    /// A tap that means nothing, by somebody who may answer.
    Nonsense {
        callback: String,
    },
    /// A tap or command of somebody who may not; `who` and where, for the log.
    Stranger {
        person: i64,
        from: Approach,
        who: String,
    },
    /// Somebody says that the group has a new number.
    Moved,
    Ignored,
}

/// How somebody who may not answer has turned to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Approach {
    /// By a tap with this id.
    Tap(String),
    Words {
        chat: i64,
        message: i64,
    },
}

/// What people can ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BotCommand {
    Pending,
    Limits,
    Grants,
    /// Everything, or this agent.
    Kill(Option<String>),
    Resume(Option<String>),
    Status,
    Help,
}

pub(super) fn read(update: &Update, approvers: &Approvers) -> UpdateMeaning {
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
    let (Some(data), Some(message)) = (&tap.data, tap.message_id) else {
        return UpdateMeaning::Nonsense { callback };
    };
    match (buttons::read(data), StopButton::read(data)) {
        (Some(pressed), _) => UpdateMeaning::Tap { callback, by, pressed, message },
        (None, Some(button)) => UpdateMeaning::Stop { callback, by, button, message },
        (None, None) => UpdateMeaning::Nonsense { callback },
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
    // A tap needs no such rule: it comes from a card of ours or does not count.
    if message.chat.id == approvers.chat && approvers.topic.is_some() && message.topic != approvers.topic {
        return UpdateMeaning::Ignored;
    }
    let by = person(from, Some(message.chat.id), approvers);
    let word = command_word(text, &approvers.bot_name);
    match (word.and_then(|word| command(word, text)), by, message.reply_to) {
        (Some(command), Some(by), _) => {
            UpdateMeaning::Command { command, by, message: message.id, sent: message.sent }
        }
        (None, Some(by), Some(to)) => {
            UpdateMeaning::Reply { by, to, message: message.id, text: text.clone() }
        }
        (_, Some(_), None) => UpdateMeaning::Ignored,
        (_, None, _) => stranger(message, from, word.is_some()),
    }
}

/// What strangers say to the bot is noted; otherwise they may talk in the group as they like.
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

/// `status` of `/status`, or of `/status@our_bot` in a group. None for commands to other bots.
fn command_word<'t>(text: &'t str, bot_name: &str) -> Option<&'t str> {
    let word = text.split_whitespace().next()?.strip_prefix('/')?;
    let (name, bot) = word.split_once('@').map_or((word, None), |(name, bot)| (name, Some(bot)));
    let ours = bot.is_none_or(|bot| bot.eq_ignore_ascii_case(bot_name));
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (ours && is_name).then_some(name)
}

fn command(word: &str, text: &str) -> Option<BotCommand> {
    let rest = text.trim_start().split_once(char::is_whitespace).map(|(_, rest)| rest.trim());
    let agent = rest.filter(|name| !name.is_empty()).map(str::to_owned);
    match word {
        "kill" => Some(BotCommand::Kill(agent)),
        "resume" => Some(BotCommand::Resume(agent)),
        "pending" => Some(BotCommand::Pending),
        "status" => Some(BotCommand::Status),
        "grants" => Some(BotCommand::Grants),
        "limits" => Some(BotCommand::Limits),
        // Telegram sends `/start` when a person first opens the chat.
        "help" | "start" => Some(BotCommand::Help),
        _ => None,
    }
}

#[cfg(test)]
#[path = "updates_tests.rs"]
mod tests;
