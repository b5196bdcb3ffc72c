//! How people are asked: `messenger:` of config.yaml.

use std::collections::BTreeMap;

use super::at::{At, Section};
use super::main_file::{base_url, warn_of_local};
use super::settings::{ChannelConfig, TelegramConfig};
use crate::base::secret::Secret;

/// The channels by name, the local one aside. `messenger:` is the one named `telegram`.
pub(crate) fn channels(file: Section<'_>) -> BTreeMap<String, ChannelConfig> {
    let telegram = file.get("messenger").filter(|at| !at.is_null()).and_then(messenger);
    telegram.map(|telegram| ("telegram".to_owned(), ChannelConfig::Telegram(telegram))).into_iter().collect()
}

fn messenger(at: At<'_>) -> Option<TelegramConfig> {
    let section = at.section(&["type", "telegram"]);
    let is_telegram = section.need("type")?.choice(&[("telegram", true), ("local", false)])?;
    match (is_telegram, section.get("telegram"), section.key("telegram")) {
        (true, Some(at), _) => telegram(at),
        (true, None, _) => at.fail("telegram is missing", "add token, chat_id and allowed_users"),
        (false, _, Some(key)) => {
            key.warn("this section is not used while type is local", "");
            None
        }
        (false, _, None) => None,
    }
}

fn telegram(at: At<'_>) -> Option<TelegramConfig> {
    let section = at.section(&["token", "chat_id", "message_thread_id", "allowed_users", "api_url", "proxy"]);
    let token = section.need("token").and_then(|at| {
        let token = at.secret()?;
        let fits = token.expose().chars().all(|c| c.is_ascii_alphanumeric() || ":_-".contains(c));
        if fits {
            Some(token)
        } else {
            at.fail("token is not a bot token", "copy it from @BotFather: 123456:ABC…")
        }
    });
    let chat = section.need("chat_id").and_then(|at| at.whole(i64::MIN..=i64::MAX).map(|id| (at, id)));
    let users = section.need("allowed_users").and_then(allowed_users);
    let api_url = section.get("api_url").map(|at| base_url(at).inspect(|url| warn_of_local(at, url)));
    let topic = section.get("message_thread_id").map(topic);
    let chat_id = chat.and_then(|(at, id)| if id == 0 { at.fail("chat_id is 0", "") } else { Some(id) });
    let api_url = match api_url {
        None => "https://api.telegram.org".to_owned(),
        Some(url) => url?.as_str().to_owned(),
    };
    let topic = match topic {
        None => None,
        Some(topic) => Some(topic?),
    };
    let proxy = match section.get("proxy").filter(|at| !at.is_null()) {
        None => None,
        Some(at) => Some(proxy(at)?),
    };
    Some(TelegramConfig { token: token?, chat_id: chat_id?, topic, allowed_users: users?, api_url, proxy })
}

/// The address of an HTTP proxy. It may hold a password: only what has none may be repeated in results.
pub(crate) fn proxy(at: At<'_>) -> Option<Secret> {
    let text = at.text()?;
    let rest = text.strip_prefix("http://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    let (login, host) = match rest.and_then(|rest| rest.rsplit_once('@')) {
        Some((login, host)) => (Some(login), Some(host)),
        None => (None, rest),
    };
    let fits = |text: &str, more: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    let right = host.is_some_and(|host| !host.is_empty() && fits(host, "-._:[]"));
    let login_right = login.is_none_or(|login| !login.is_empty() && fits(login, "-._~%!$&'()*+,;=:"));
    match (right && login_right, login) {
        (true, Some(_)) => at.secret(),
        (true, None) => Some(Secret::new(text)),
        (false, _) => at.fail(
            "proxy is not the address of an HTTP proxy",
            "write http://host:port, or http://user:password@host:port with % for what cannot stand there",
        ),
    }
}

/// A topic of a group. Telegram numbers the general one 1, and takes no message for that number.
fn topic(at: At<'_>) -> Option<i64> {
    at.whole(2..=i64::from(i32::MAX))
}

fn allowed_users(at: At<'_>) -> Option<Vec<i64>> {
    let users = at.whole_list(1..=i64::MAX)?;
    if users.is_empty() {
        return at.fail("allowed_users is empty", "list the Telegram user ids that may approve");
    }
    Some(users)
}
