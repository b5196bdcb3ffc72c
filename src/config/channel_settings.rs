//! What config.yaml says of each way to ask people.

use std::time::Duration;

use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::base::secret::{Secret, TokenHash};
use crate::base::signature::SigningKey;
use crate::base::url::Url;

/// A way to ask people, by its type.
#[derive(Clone, Debug, PartialEq)]
pub enum ChannelConfig {
    Telegram(TelegramConfig),
    Api(ApiConfig),
    Webhook(WebhookConfig),
    Ntfy(NtfyConfig),
    Companion(CompanionConfig),
}

impl ChannelConfig {
    /// Whether answers under the name `user` count: a messenger tells us who is who, programs vouch for their own users.
    pub(crate) fn takes_answers_of(&self, user: &str) -> bool {
        match self {
            ChannelConfig::Telegram(telegram) => {
                telegram.allowed_users.iter().any(|id| id.to_string() == user)
            }
            ChannelConfig::Api(_)
            | ChannelConfig::Webhook(_)
            | ChannelConfig::Ntfy(_)
            | ChannelConfig::Companion(_) => true,
        }
    }

    /// What answer tokens in its messages are bound to, and who has answered where nobody is named. None: its messages
    /// carry none.
    pub(crate) fn answer_token(&self) -> Option<(Digest, &'static str)> {
        match self {
            ChannelConfig::Webhook(webhook) => Some((webhook.identity, "webhook")),
            ChannelConfig::Ntfy(ntfy) => ntfy.carries_tokens().then_some((ntfy.identity, "ntfy")),
            // Home Assistant tells of taps by itself.
            ChannelConfig::Telegram(_) | ChannelConfig::Api(_) | ChannelConfig::Companion(_) => None,
        }
    }

    /// Where programs come by themselves.
    pub(crate) fn as_api(&self) -> Option<&ApiConfig> {
        if let ChannelConfig::Api(api) = self { Some(api) } else { None }
    }
}

/// A receiver that is called over HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct PushPeer {
    pub url: Url,
    /// For the whole call (10 s).
    pub timeout: Duration,
    /// PEM certificates that are trusted as well.
    pub ca_cert: Option<Vec<u8>>,
    /// Whether link-local and metadata addresses may be dialled.
    pub allow_link_local: bool,
}

/// Where messages lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Links {
    /// The address of the admin pages, without a slash at the end. None: there are no links.
    pub(crate) base: Option<String>,
    /// Whether messages may carry tokens that answer.
    pub(crate) carry_tokens: bool,
}

impl Links {
    /// Where the questions are answered by people who sign in.
    pub(crate) fn pages(&self) -> Option<String> {
        self.base.as_ref().map(|base| format!("{base}/approvals/"))
    }

    /// Where the answer to a question goes that was shown so on this channel.
    pub(crate) fn answer_url(&self, channel: &str, id: &RequestId, shown_as: &str) -> Option<String> {
        self.base.as_ref().map(|base| format!("{base}/approvals/answer/{channel}/{id}/{shown_as}"))
    }
}

/// A topic that people's phones listen to.
#[derive(Clone, Debug, PartialEq)]
pub struct NtfyConfig {
    pub name: String,
    pub peer: PushPeer,
    /// Where there is no token, whoever knows it reads along.
    pub topic: Secret,
    pub token: Option<Secret>,
    /// From 1 to 5, the most urgent.
    pub priority: u8,
    /// Whether buttons answer; otherwise one opens the admin pages.
    pub answers: bool,
    pub links: Links,
    /// Stands for all that the owner has set of it.
    pub identity: Digest,
}

impl NtfyConfig {
    /// Whether its messages hold tokens that answer.
    pub(crate) fn carries_tokens(&self) -> bool {
        self.answers && self.links.carry_tokens
    }
}

/// Phones that a Home Assistant reaches.
#[derive(Clone, Debug, PartialEq)]
pub struct CompanionConfig {
    pub name: String,
    /// The service that it is.
    pub peer: PushPeer,
    /// SHA-256 of its public key, checked instead of names and authorities.
    pub pin: Option<[u8; 32]>,
    pub token: Secret,
    /// Names in its domain `notify`, at least one.
    pub notify: Vec<String>,
    pub links: Links,
    /// Stands for all that the owner has set of it.
    pub identity: Digest,
}

/// A program that is told of questions.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookConfig {
    pub name: String,
    pub peer: PushPeer,
    pub(crate) key: SigningKey,
    /// Sent with each message.
    pub headers: Vec<(String, Secret)>,
    pub links: Links,
    /// Stands for all that the owner has set of it.
    pub identity: Digest,
}

/// Programs that list and answer questions by themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiConfig {
    pub token: TokenHash,
    /// Origins of web pages that may do so.
    pub allowed_origins: Vec<String>,
}

/// A bot and the chat it asks in.
#[derive(Clone, Debug, PartialEq)]
pub struct TelegramConfig {
    pub token: Secret,
    /// The chat that is asked; negative for groups.
    pub chat_id: i64,
    /// The users whose answers count; at least one.
    pub allowed_users: Vec<i64>,
    /// The topic of the group that all messages go to, at least 2.
    pub topic: Option<i64>,
    /// The Bot API server, without a slash at the end.
    pub api_url: String,
    /// The HTTP proxy that leads there: `http://[user:password@]host[:port]`.
    pub proxy: Option<Secret>,
}
