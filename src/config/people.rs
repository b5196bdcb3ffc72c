//! `people:` of config.yaml: which identities belong to one human.

use std::collections::BTreeMap;

use super::at::{At, Name, Section};
use super::channel_settings::ChannelConfig;
use crate::model::People;

/// Reads everybody. `channels`: those of the configuration, by name.
pub(crate) fn people(file: Section<'_>, channels: &BTreeMap<String, ChannelConfig>) -> People {
    let mut people = People::default();
    for (name, at) in file.entries("people") {
        if let Some(name) = person(name) {
            identities(&mut people, name, at, channels);
        }
    }
    people
}

/// A name that cannot be taken for an identity or for a pattern.
fn person(name: Name<'_>) -> Option<&str> {
    let text = name.text();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if text.is_empty() || text.len() > 64 || !text.chars().all(fits) {
        name.error("this is not a name for a person", "use 1 to 64 letters, digits, \"_\", \"-\" and \".\"");
        return None;
    }
    Some(text)
}

fn identities(people: &mut People, name: &str, at: At<'_>, channels: &BTreeMap<String, ChannelConfig>) {
    let entries = at.entries();
    if entries.is_empty() {
        at.error(format!("{name} has no identity"), "add one: {telegram: 7001}");
    }
    for (channel, at) in entries {
        if !check_channel(channel, channels) {
            continue;
        }
        for item in at.one_or_more() {
            let Some(user) = item.filled() else { continue };
            warn_of_stranger(item, &user, channels.get(channel.text()));
            if let Err(other) = people.add(name, &format!("{}:{user}", channel.text())) {
                item.error(format!("this is an identity of {other} already"), "one human has it");
            }
        }
    }
}

fn check_channel(channel: Name<'_>, channels: &BTreeMap<String, ChannelConfig>) -> bool {
    match channel.text() {
        "local" | "web" => true,
        "unix" => {
            channel.error("there is no channel unix", "write local: NAME for a user of this machine");
            false
        }
        other if channels.contains_key(other) => true,
        other => {
            let known: Vec<_> = channels.keys().map(String::as_str).collect();
            let known = ["local", "web"].into_iter().chain(known).collect::<Vec<_>>().join(", ");
            channel.error(format!("there is no channel {other}"), &format!("use one of {known}"));
            false
        }
    }
}

fn warn_of_stranger(at: At<'_>, user: &str, channel: Option<&ChannelConfig>) {
    let Some(channel) = channel else { return };
    if matches!(channel, ChannelConfig::Telegram(_)) && user.parse::<i64>().is_err() {
        at.error("this is not the number of a Telegram user", "agentpass telegram-setup shows it");
    } else if !channel.takes_answers_of(user) {
        at.warn("this user is not among allowed_users, so nothing they say counts", "");
    }
}
