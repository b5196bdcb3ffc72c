//! Channels that call somebody over HTTP: what their types have in common, and `webhook`.

use std::path::Path;
use std::time::Duration;

use super::at::{At, Section};
use super::channel_settings::{Links, PushPeer, WebhookConfig};
use super::http::headers;
use super::main_file::base_url;
use super::services::certificate;
use super::settings::{GatewayConfig, ServiceConfig};
use crate::base::digest::Digest;
use crate::base::secret::Secret;
use crate::base::signature::SigningKey;

pub(crate) const WEBHOOK_KEYS: &str = "type url secret timeout ca_cert allow_link_local headers";

/// A shorter key can be guessed or was chosen by a person; the scheme asks for 24 bytes.
const SHORT_KEY: usize = 24;
/// Headers that the messages have anyway.
const OWN_HEADERS: [&str; 4] = ["content-type", "webhook-id", "webhook-timestamp", "webhook-signature"];

/// What a channel needs from the rest of the file.
#[derive(Clone, Copy)]
pub(crate) struct ChannelPlace<'a> {
    pub(crate) name: &'a str,
    /// Where config.yaml is.
    pub(crate) dir: &'a Path,
    pub(crate) gateway: &'a GatewayConfig,
    pub(crate) services: &'a [ServiceConfig],
}

pub(crate) fn webhook(section: Section<'_>, place: ChannelPlace<'_>) -> Option<WebhookConfig> {
    let secret = section.require("secret", key);
    let headers = section.get("headers").map(own_headers).unwrap_or_default();
    let peer = peer(section, place.dir);
    let ((secret, key), peer) = (secret?, peer?);
    let links = links(section, place, &peer, true);
    let shown: Vec<_> = headers.iter().map(|(name, value)| (name, value.expose())).collect();
    let identity = identity(&(peer_parts(&peer), secret.expose(), shown));
    Some(WebhookConfig { name: place.name.to_owned(), peer, key, headers, links, identity })
}

fn key(at: At<'_>) -> Option<(Secret, SigningKey)> {
    let secret = at.secret()?;
    let help = "make one with: echo whsec_$(openssl rand -base64 32)";
    let Some(key) = SigningKey::parse(secret.expose()) else {
        return at.fail("secret is whsec_ without base64 after it", help);
    };
    if key.length() < SHORT_KEY {
        at.warn(format!("the secret is shorter than {SHORT_KEY} bytes"), help);
    }
    Some((secret, key))
}

fn own_headers(at: At<'_>) -> Vec<(String, Secret)> {
    for (name, _) in at.entries() {
        if OWN_HEADERS.iter().any(|own| name.text().eq_ignore_ascii_case(own)) {
            name.error(format!("every message has the header {} already", name.text()), "remove it");
        }
    }
    headers(at, None)
}

pub(crate) fn peer(section: Section<'_>, dir: &Path) -> Option<PushPeer> {
    let url = section.require("url", base_url);
    let timeout = section.read("timeout", |at| at.seconds(0.1..=60.0)).unwrap_or(Duration::from_secs(10));
    let ca_cert = section.read("ca_cert", |at| certificate(at, dir));
    let allow_link_local = section.flag("allow_link_local");
    Some(PushPeer { url: url?, timeout, ca_cert, allow_link_local })
}

/// Where messages lead people and programs. Says what keeps links out of them, and answers where they should hold some.
pub(crate) fn links(section: Section<'_>, place: ChannelPlace<'_>, peer: &PushPeer, answers: bool) -> Links {
    let at = section.get("url").unwrap_or(section.at());
    let carry_tokens = match &place.gateway.public_url {
        None => {
            let help = "set gateway.public_url to the address of the admin pages as it is reached from there";
            let what = if answers { ", and cannot be answered later" } else { "" };
            at.warn(format!("without gateway.public_url messages carry no links{what}"), help);
            false
        }
        Some(_) if !answers => false,
        Some(public) if !public.stays_private() || !peer.url.stays_private() => {
            let help = "use https:// for this url and for gateway.public_url";
            at.warn("no answer token is sent over plain http:// beyond this machine", help);
            false
        }
        Some(_) => true,
    };
    Links { base: place.gateway.public_base(), carry_tokens }
}

pub(crate) fn peer_parts(peer: &PushPeer) -> impl std::fmt::Debug {
    (peer.url.as_str().to_owned(), peer.timeout, peer.ca_cert.clone(), peer.allow_link_local)
}

/// Its text quotes every part, so that no two configurations share theirs.
pub(crate) fn identity(parts: &impl std::fmt::Debug) -> Digest {
    Digest::sha256(format!("{parts:?}").as_bytes())
}
