//! `agentpass telegram-setup`: checks a bot's token, and finds the ids that config.yaml wants.
//!
//! It looks at messages without acknowledging them, so the gateway still gets them. It must never print the token.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use argh::FromArgs;
use serde_json::{Value, json};

use super::gateway::{given_token, seconds};
use super::{Exit, Trouble, output, terminal};
use crate::approval::telegram::api::{Bot, BotError, ChatMessage, Me, UpdateKind, User};
use crate::approval::telegram::chat::why_not;
use crate::base::safe_text::visible;
use crate::base::secret::Secret;
use crate::config::{self, Paths};

const OFFICIAL: &str = "https://api.telegram.org";
/// The longest single wait at the server, in seconds: short, so that a gateway on the same bot is noticed soon.
const POLL: u64 = 10;
/// Messages that are not acknowledged come at once each time, so looking again waits.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest `--timeout` that counts.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
const WHAT: &str = "find the chat";

/// Check a Telegram bot's token and find the ids for config.yaml: write to the bot, and see who you are.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "telegram-setup",
    note = "Make a bot with @BotFather first. The token is taken from --token, --token-file, config.yaml or TELEGRAM_TOKEN.",
    note = "Stop a gateway that uses the bot before; only one program can fetch a bot's messages.",
    error_code(2, "nobody wrote in time"),
    error_code(3, "no connection, or the token is wrong"),
    error_code(4, "bad arguments"),
    error_code(5, "another program fetches the bot's messages")
)]
pub(crate) struct TelegramSetupArgs {
    /// the bot's token; other users of this machine can see it on the command line
    #[argh(option)]
    pub token: Option<String>,
    /// read the token from this file
    #[argh(option, arg_name = "file")]
    pub(crate) token_file: Option<String>,
    /// a Bot API server of your own (default: the one in config.yaml, else https://api.telegram.org)
    #[argh(option, arg_name = "url")]
    pub api_url: Option<String>,
    /// config.yaml (default: as for serve); it need not be complete
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
    /// seconds to wait for a message (default: 300)
    #[argh(option, default = "Duration::from_secs(300)", from_str_fn(seconds))]
    pub timeout: Duration,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

pub(crate) fn run(args: &TelegramSetupArgs) -> Result<Exit, Trouble> {
    let until = Instant::now() + args.timeout.min(LONGEST);
    let configured = config::bot(&Paths::find(args.config.as_deref().map(Path::new), None));
    let given = given_token(WHAT, args.token.as_deref(), args.token_file.as_deref())?.map(Secret::new);
    let Some(token) = given.or(configured.token) else {
        let help = "get one from @BotFather and set TELEGRAM_TOKEN, or use --token-file FILE";
        return Err(Trouble::new(Exit::BAD_ARGUMENTS, WHAT, "no token is given").help(help));
    };
    let api_url = args.api_url.clone().or(configured.api_url).unwrap_or_else(|| OFFICIAL.to_owned());
    let bot =
        Bot::through(configured.proxy.as_ref(), token, &api_url).map_err(|e| trouble("use the bot", &e))?;
    let me = bot.get_me().map_err(|e| trouble("use the bot", &e))?;
    terminal::note(&format!("the token is right: this is @{}", visible(&me.username)));
    if let Some(chat) = configured.chat_id {
        terminal::note(&about_chat(&bot, chat));
    }
    terminal::note("write something to the bot, or add it to your group and write /start there");
    let Some(messages) = listen(&bot, until)? else {
        let silent = Trouble::new(Exit::TIMED_OUT, WHAT, "nobody wrote to the bot");
        return Err(silent.help("in a group, bots get commands only: write /start"));
    };
    let text = if args.json {
        output::json(&whole(&me, &messages, &api_url))
    } else {
        for_people(&messages, &api_url)
    };
    output::finish(&text)
}

fn about_chat(bot: &Bot, chat: i64) -> String {
    match bot.get_chat(chat) {
        Ok(found) => {
            let title = found.title.map(|title| format!(" \"{}\"", visible(&title))).unwrap_or_default();
            format!("the chat_id in config.yaml is right: {} {}{title}", found.id, visible(&found.kind))
        }
        Err(error) => format!("the chat_id in config.yaml: {}", why_not(&error, chat)),
    }
}

/// The messages that are there, or the first that come. None when time is over.
fn listen(bot: &Bot, until: Instant) -> Result<Option<Vec<ChatMessage>>, Trouble> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match bot.get_updates(0, left.as_secs().min(POLL)) {
            Ok(updates) => {
                let kinds = updates.into_iter().map(|update| update.kind);
                let messages =
                    kinds.filter_map(|kind| if let UpdateKind::Message(m) = kind { Some(m) } else { None });
                let messages: Vec<_> =
                    messages.filter(|m| !m.from.as_ref().is_some_and(is_other_bot)).collect();
                if !messages.is_empty() {
                    return Ok(Some(messages));
                }
            }
            Err(BotError::TooMany { retry_after }) => sleep(retry_after.min(left)),
            Err(BotError::Network(_) | BotError::Server(_)) if !left.is_zero() => {}
            Err(e) => return Err(trouble(WHAT, &e)),
        }
        if left.is_zero() {
            return Ok(None);
        }
        sleep(PAUSE.min(left));
    }
}

/// In the name of an anonymous admin a bot writes, too; that is worth telling.
fn is_other_bot(user: &User) -> bool {
    user.is_bot && user.username.as_deref() != Some("GroupAnonymousBot")
}

fn trouble(what: &str, error: &BotError) -> Trouble {
    match error {
        BotError::Conflict => {
            let cause = "another program fetches this bot's messages, or a webhook is set";
            Trouble::new(Exit::FAILED, what, cause)
                .help("stop the gateway that uses this bot, then try again; it can go on afterwards")
        }
        other => Trouble::new(Exit::CONNECTION, what, other),
    }
}

/// Who wrote where, each chat with each person once, and what goes into config.yaml.
fn for_people(messages: &[ChatMessage], api_url: &str) -> String {
    let mut seen = HashSet::new();
    let mut text = String::new();
    for message in messages {
        let from = message.from.as_ref().filter(|_| !message.on_behalf);
        if seen.insert((message.chat.id, from.map(|f| f.id))) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}\n{}\n", chat_line(message), person_line(from));
        }
    }
    text + &block(messages, api_url)
}

fn chat_line(message: &ChatMessage) -> String {
    let chat = &message.chat;
    let title = chat.title.as_ref().map(|t| format!(" \"{}\"", visible(t))).unwrap_or_default();
    format!("chat   {}  {}{title}", chat.id, visible(&chat.kind))
}

fn person_line(from: Option<&User>) -> String {
    match from {
        Some(user) => format!("  from {}  {}", user.id, name(user)),
        None => "  from nobody: anonymous admins and channels cannot approve".to_owned(),
    }
}

fn name(user: &User) -> String {
    let handle = user.username.as_ref().map(|u| format!(" (@{})", visible(u))).unwrap_or_default();
    format!("{}{handle}", visible(&user.name))
}

/// For the chat that was written in last, with everybody who wrote there.
fn block(messages: &[ChatMessage], api_url: &str) -> String {
    let Some((chat, people)) = choice(messages) else { return String::new() };
    if people.is_empty() {
        return "nobody with an id of their own wrote there: turn off \"Remain anonymous\" and write again"
            .into();
    }
    let ids: Vec<_> = people.iter().map(|user| user.id.to_string()).collect();
    let names: Vec<_> = people.iter().map(|user| name(user)).collect();
    let server =
        if api_url == OFFICIAL { String::new() } else { format!("\n    api_url: {}", json!(api_url)) };
    format!(
        "For config.yaml. Anybody can write to a bot: check that this is you.\n\n\
         messenger:\n  type: telegram\n  telegram:\n    token: \"${{TELEGRAM_TOKEN}}\"   # in .env: TELEGRAM_TOKEN=..., or the file secrets/TELEGRAM_TOKEN\n    \
         chat_id: {chat}\n    allowed_users: [{}]   # {}{server}",
        ids.join(", "),
        names.join(", ")
    )
}

/// The chat that was written in last, and the people who wrote there.
fn choice(messages: &[ChatMessage]) -> Option<(i64, Vec<&User>)> {
    let last = messages.last()?;
    let chat = last.migrated_to.unwrap_or(last.chat.id);
    let mut people: Vec<&User> = Vec::new();
    let there = messages.iter().filter(|m| m.chat.id == last.chat.id && !m.on_behalf && !m.forwarded);
    for user in there.filter_map(|m| m.from.as_ref()).filter(|user| !user.is_bot) {
        if !people.iter().any(|known| known.id == user.id) {
            people.push(user);
        }
    }
    Some((chat, people))
}

fn whole(me: &Me, messages: &[ChatMessage], api_url: &str) -> Value {
    let found = choice(messages).map(|(chat, people)| {
        json!({"chat_id": chat, "allowed_users": people.iter().map(|u| u.id).collect::<Vec<_>>(), "api_url": api_url})
    });
    json!({
        "bot": {"id": me.id, "username": me.username},
        "messages": messages.iter().map(one).collect::<Vec<_>>(),
        "telegram": found,
    })
}

fn one(message: &ChatMessage) -> Value {
    let chat = &message.chat;
    let from = message.from.as_ref().filter(|_| !message.on_behalf);
    json!({
        "chat": {"id": chat.id, "type": chat.kind, "title": chat.title},
        "from": from.map(|user| json!({"id": user.id, "name": user.name, "username": user.username})),
    })
}
