//! How a Bot API call can fail. No error holds the token, whatever a server wrote.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::base::safe_text::visible;
use crate::base::secret::Secret;
use crate::net::client::{HttpError, MaybeSent, NotSent};

/// How long to wait when a server wants us to, in seconds: at least, at most, and when it does not say.
const RETRY_AFTER: (f64, f64, f64) = (1.0, 300.0, 5.0);
/// How much is kept of a server's explanation, in characters.
const MAX_TEXT: usize = 200;

/// Why a call did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BotError {
    /// 401: the token was right once, or never.
    Unauthorized,
    /// 404 in the words of the Bot API: there is no such bot.
    NotFound,
    /// 4xx, but not from the Bot API: a proxy, a captive portal, a wrong `api_url`.
    NotTheApi(u16),
    /// 409: somebody else polls for this bot, or a webhook is set.
    Conflict,
    /// 429.
    TooMany {
        /// 1 to 300 s.
        retry_after: Duration,
    },
    /// The group became a supergroup and has another number now.
    Migrated { to_chat: i64 },
    /// An edit would change nothing.
    NotModified,
    /// The message to edit is gone, or can no longer be edited.
    CannotEdit,
    /// Any other refusal.
    Refused {
        /// 4xx, in general.
        code: i64,
        /// The server's words, safe to show, at most 200 characters before escapes.
        text: String,
    },
    /// 5xx.
    Server(i64),
    /// No answer.
    Network(HttpError),
    /// The answer is larger than 1 MiB.
    TooLarge,
    /// The answer makes no sense.
    Garbage,
}

impl BotError {
    /// Whether the call was certainly not carried out. Otherwise nobody knows.
    pub(crate) fn is_certain(&self) -> bool {
        match self {
            Self::Network(HttpError::NotSent(_)) => true,
            Self::Network(_) | Self::Server(_) | Self::NotTheApi(_) | Self::TooLarge | Self::Garbage => false,
            _ => true,
        }
    }

    /// Whether it is about this one message and others may be welcome.
    pub(crate) fn is_of_message(&self) -> bool {
        match self {
            Self::CannotEdit => true,
            Self::Refused { code, text } => {
                let low = text.to_ascii_lowercase();
                *code != 403 && !OF_CHAT.iter().any(|words| low.contains(words))
            }
            _ => false,
        }
    }
}

/// What refusals of the whole chat say; others are about one message.
const OF_CHAT: [&str; 9] = [
    "message thread not found",
    "chat not found",
    "no rights",
    "enough rights",
    "chat_write_forbidden",
    "chat_restricted",
    "peer_id_invalid",
    "deactivated",
    "topic_closed",
];

/// The error in an answer with `ok: false`. Its own code counts, the status only where it has none.
pub(super) fn refusal(body: &Value, status: u16, token: &Secret) -> BotError {
    let code = body.get("error_code").and_then(Value::as_i64).unwrap_or_else(|| status.into());
    let text = body.get("description").and_then(Value::as_str).unwrap_or_default();
    let parameter = |name| body.get("parameters").and_then(|p| p.get(name));
    if let Some(to_chat) = parameter("migrate_to_chat_id").and_then(Value::as_i64).filter(|id| *id != 0) {
        return BotError::Migrated { to_chat };
    }
    match code {
        400 => bad_request(text, token),
        401 => BotError::Unauthorized,
        404 => BotError::NotFound,
        409 => BotError::Conflict,
        429 => BotError::TooMany { retry_after: bounded(parameter("retry_after").and_then(Value::as_f64)) },
        500..=599 => BotError::Server(code),
        _ => BotError::Refused { code, text: shown(text, token) },
    }
}

/// The error in an answer that is not from the Bot API, but from a proxy in front of it, for example.
pub(super) fn without_words(status: u16) -> BotError {
    match status {
        429 => BotError::TooMany { retry_after: bounded(None) },
        400..=499 => BotError::NotTheApi(status),
        500..=599 => BotError::Server(status.into()),
        _ => BotError::Garbage,
    }
}

fn bad_request(text: &str, token: &Secret) -> BotError {
    let low = text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|w| low.contains(w));
    if says(&["message is not modified"]) {
        BotError::NotModified
    } else if says(&["message to edit not found", "message can't be edited", "message_id_invalid"]) {
        BotError::CannotEdit
    } else {
        BotError::Refused { code: 400, text: shown(text, token) }
    }
}

fn bounded(seconds: Option<f64>) -> Duration {
    let (least, most, default) = RETRY_AFTER;
    Duration::from_secs_f64(seconds.unwrap_or(default).clamp(least, most))
}

/// Without the token, whole or its secret half, in any spelling. Cut after that, so that no part of it is left over.
fn shown(text: &str, token: &Secret) -> String {
    let token = token.expose();
    let half = token.split_once(':').map_or(token, |(_, half)| half);
    let encoded = token.replace(':', "%3A");
    let spellings = [token, &encoded, &encoded.to_ascii_lowercase(), half];
    let mut text = text.to_owned();
    for spelling in spellings.into_iter().filter(|s| !s.is_empty()) {
        text = text.replace(spelling, "•••");
    }
    let cut: String = text.chars().take(MAX_TEXT).collect();
    visible(&cut)
}

impl From<HttpError> for BotError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::TooLarge { .. } => Self::TooLarge,
            HttpError::MaybeSent(MaybeSent::Garbage | MaybeSent::HeaderTooLarge)
            | HttpError::Cut { status: _, why: MaybeSent::Garbage | MaybeSent::HeaderTooLarge } => {
                Self::Garbage
            }
            other => Self::Network(other),
        }
    }
}

impl From<NotSent> for BotError {
    fn from(why: NotSent) -> Self {
        Self::Network(HttpError::NotSent(why))
    }
}

impl std::error::Error for BotError {}

impl fmt::Display for BotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unauthorized => f.write_str("the token is not valid; copy it from @BotFather"),
            Self::NotFound => f.write_str("there is no such bot; check the token and api_url"),
            Self::NotTheApi(status) => write!(
                f,
                "something that is not Telegram has answered ({status}): a proxy, a login page of the network, or a wrong api_url"
            ),
            Self::Conflict => {
                f.write_str("somebody else fetches this bot's messages; use a bot for one gateway only")
            }
            Self::TooMany { retry_after } => write!(f, "too many messages, wait {} s", retry_after.as_secs()),
            Self::Migrated { to_chat } => {
                write!(f, "the group is a supergroup now; its chat_id is {to_chat}")
            }
            Self::NotModified => f.write_str("nothing to change"),
            Self::CannotEdit => f.write_str("the message is gone or can no longer be changed"),
            Self::Refused { code, text } => write!(f, "refused with {code}: {text}"),
            Self::Server(code) => write!(f, "the server is in trouble ({code})"),
            Self::Network(e) => write!(f, "{e}"),
            Self::TooLarge => f.write_str("the answer is larger than 1 MiB"),
            Self::Garbage => f.write_str("the answer makes no sense"),
        }
    }
}
