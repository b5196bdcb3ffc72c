//! How people are asked: `channels:` of config.yaml, and `messenger:`, which is the channel named `telegram`.

use std::collections::BTreeMap;
use std::path::Path;

use super::at::{At, Name, Section};
use super::channel_settings::{ApiConfig, ChannelConfig};
use super::companion;
use super::main_file::{origins, token};
use super::messenger;
use super::ntfy;
use super::pushed::{self, ChannelPlace};
use super::settings::{AgentConfig, GatewayConfig, ServiceConfig};

/// Names that stand for something else in the record.
const RESERVED: [&str; 4] = ["telegram", "local", "web", "cool_down"];
const MAX_NAME: usize = 32;

/// The channels by name, the local one aside.
pub(crate) fn channels(
    file: Section<'_>,
    dir: &Path,
    gateway: &GatewayConfig,
    agents: &[AgentConfig],
    services: &[ServiceConfig],
) -> BTreeMap<String, ChannelConfig> {
    let telegram = file.get("messenger").filter(|at| !at.is_null()).and_then(messenger::read);
    let telegram = telegram.map(|telegram| ("telegram".to_owned(), ChannelConfig::Telegram(telegram)));
    let mut found: BTreeMap<_, _> = telegram.into_iter().collect();
    for (name, at) in file.entries("channels") {
        let (is_name, config) =
            (is_name(name), channel(at, ChannelPlace { name: name.text(), dir, gateway, services }));
        if let (true, Some(config)) = (is_name, config) {
            ensure_own_token(at, &config, agents, &found);
            found.insert(name.text().to_owned(), config);
        }
    }
    found
}

fn is_name(name: Name<'_>) -> bool {
    let text = name.text();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    let is_plain = text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(fits);
    if !is_plain || text.len() > MAX_NAME {
        let help = "use 1 to 32 lower-case letters, digits, \"_\" and \"-\", a letter first";
        name.error("this is not a name for a channel", help);
    } else if RESERVED.contains(&text) {
        name.error(format!("the name {text} is taken: answers in the record begin with it"), "use another");
    } else {
        return true;
    }
    false
}

fn channel(at: At<'_>, place: ChannelPlace<'_>) -> Option<ChannelConfig> {
    type Reader = fn(Section<'_>, ChannelPlace<'_>) -> Option<ChannelConfig>;
    let types: [(&str, (&str, Reader)); 4] = [
        ("api", ("type token token_sha256 allowed_origins", api)),
        (
            "webhook",
            (pushed::WEBHOOK_KEYS, |at, place| pushed::webhook(at, place).map(ChannelConfig::Webhook)),
        ),
        (
            "homeassistant",
            (companion::KEYS, |at, place| companion::companion(at, place).map(ChannelConfig::Companion)),
        ),
        ("ntfy", (ntfy::KEYS, |at, place| ntfy::ntfy(at, place).map(ChannelConfig::Ntfy))),
    ];
    let section = at.open();
    let (keys, read) = section.require("type", |at| at.choice(&types))?;
    read(section.known(keys), place)
}

fn api(section: Section<'_>, _: ChannelPlace<'_>) -> Option<ChannelConfig> {
    let allowed_origins = section.get("allowed_origins").map(origins).unwrap_or_default();
    token(section).map(|token| ChannelConfig::Api(ApiConfig { token, allowed_origins }))
}

/// Whoever holds the token of an API channel answers. An agent must not, and of two channels it must be clear which.
fn ensure_own_token(
    at: At<'_>,
    config: &ChannelConfig,
    agents: &[AgentConfig],
    others: &BTreeMap<String, ChannelConfig>,
) {
    let ChannelConfig::Api(own) = config else { return };
    let agent = agents.iter().find(|agent| agent.token.matches(&own.token));
    let agent = agent.map(|agent| format!("the agent {}, which could approve its own calls", agent.id));
    let is_same =
        |other: &ChannelConfig| matches!(other, ChannelConfig::Api(other) if other.token.matches(&own.token));
    let channel =
        others.iter().find(|(_, other)| is_same(other)).map(|(name, _)| format!("the channel {name}"));
    if let Some(holder) = agent.or(channel) {
        let section = at.open();
        let at = section.get("token").or_else(|| section.get("token_sha256")).unwrap_or(at);
        at.error(format!("this is also the token of {holder}"), "make one with: openssl rand -hex 32");
    }
}
