//! `messenger:` of config.yaml: the bot that asks, and where.

use super::at::At;
use super::channel_settings::TelegramConfig;
use super::main_file::{base_url, warn_of_local};
use crate::base::secret::Secret;

/// None: nobody is asked this way.
pub(crate) fn read(at: At<'_>) -> Option<TelegramConfig> {
    let section = at.section("type telegram");
    let is_telegram = section.require("type", |at| at.choice(&[("telegram", true), ("local", false)]))?;
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
    let section = at.section("token chat_id message_thread_id allowed_users api_url proxy");
    let token = section.require("token", |at| {
        let token = at.secret()?;
        let fits = token.expose().chars().all(|c| c.is_ascii_alphanumeric() || ":_-".contains(c));
        at.ensure(fits, "token is not a bot token", "copy it from @BotFather: 123456:ABC…").map(|()| token)
    });
    let chat_id = section.require("chat_id", |at| {
        let id = at.whole(i64::MIN..=i64::MAX)?;
        at.ensure(id != 0, "chat_id is 0", "").map(|()| id)
    });
    let users = section.require("allowed_users", allowed_users);
    let api_url = match section.get("api_url") {
        None => Some("https://api.telegram.org".to_owned()),
        Some(at) => base_url(at).inspect(|url| warn_of_local(at, url)).map(|url| url.as_str().to_owned()),
    };
    // Telegram numbers the general topic of a group 1, and takes no message for that number.
    let topic = section.whole("message_thread_id", 2..=i64::from(i32::MAX));
    let proxy = section.get("proxy").filter(|at| !at.is_null()).and_then(proxy);
    let (token, chat_id, allowed_users, api_url) = (token?, chat_id?, users?, api_url?);
    Some(TelegramConfig { token, chat_id, topic, allowed_users, api_url, proxy })
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

fn allowed_users(at: At<'_>) -> Option<Vec<i64>> {
    let users = at.whole_list(1..=i64::MAX)?;
    at.ensure(!users.is_empty(), "allowed_users is empty", "list the Telegram user ids that may approve")?;
    Some(users)
}
