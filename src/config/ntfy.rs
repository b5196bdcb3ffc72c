//! The type `ntfy` of `channels:`.

use super::at::{At, Section};
use super::channel_settings::NtfyConfig;
use super::main_file::warn_of_local;
use super::pushed::{ChannelPlace, identity, links, peer, peer_parts};
use crate::base::secret::Secret;

pub(crate) const KEYS: &str = "type url topic token actions priority timeout ca_cert allow_link_local";

/// What ntfy servers take for a topic.
const MAX_TOPIC: usize = 64;
/// A longer address of the admin pages does not fit into a message several times.
const MAX_BASE: usize = 500;
/// Anybody may publish here, and only so much.
const PUBLIC: &str = "ntfy.sh";

pub(crate) fn ntfy(section: Section<'_>, place: ChannelPlace<'_>) -> Option<NtfyConfig> {
    let topic = section.require("topic", topic);
    let token = section.get("token").filter(|at| !at.is_null()).map(At::secret);
    let words = [("open", false), ("answer", true)];
    let answers = section.read("actions", |at| at.choice(&words)).unwrap_or_default();
    let priority = section.whole("priority", 1..=5).unwrap_or(4);
    let peer = peer(section, place.dir)?;
    let token = match token {
        Some(token) => Some(token?),
        None => None,
    };
    let links = links(section, place, &peer, answers);
    let url = section.get("url").unwrap_or(section.at());
    let fits = links.base.as_ref().is_none_or(|base| base.len() <= MAX_BASE);
    url.ensure(fits, format!("gateway.public_url is longer than {MAX_BASE} bytes"), "")?;
    if peer.url.host().eq_ignore_ascii_case(PUBLIC) {
        url.warn(
            "ntfy.sh takes 250 messages a day from one address; further questions wait there",
            "this is enough for a home; use a server of your own for more",
        );
    }
    if token.is_some() {
        warn_of_local(url, &peer.url);
    }
    warn_of_readers(section, token.is_some(), answers && links.carry_tokens);
    let topic = topic?;
    let parts = (topic.expose(), token.as_ref().map(Secret::expose), priority, answers);
    let identity = identity(&(peer_parts(&peer), parts));
    Some(NtfyConfig { name: place.name.to_owned(), peer, topic, token, priority, answers, links, identity })
}

fn topic(at: At<'_>) -> Option<Secret> {
    let topic = at.secret()?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let is_topic = topic.expose().chars().all(fits) && topic.expose().len() <= MAX_TOPIC;
    let help = "use 1 to 64 letters, digits, \"_\" and \"-\"";
    at.ensure(is_topic, "this is not a topic that ntfy accepts", help).map(|()| topic)
}

/// The buttons carry the answer: whoever can read a message can give it.
fn warn_of_readers(section: Section<'_>, has_token: bool, answers: bool) {
    let at = section.get("actions").or_else(|| section.get("topic")).unwrap_or(section.at());
    match (has_token, answers) {
        (false, true) => at.warn(
            "everybody who knows the topic can answer, and the server can",
            "protect the topic and give its token, or use actions: open",
        ),
        (false, false) => {
            let help = "choose a topic that nobody guesses, or protect it and give its token";
            at.warn("everybody who knows the topic reads the questions", help);
        }
        (true, _) => {}
    }
}
