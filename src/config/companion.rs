//! The type `homeassistant` of `channels:`: the companion app, through a service of config.yaml.

use std::time::Duration;

use super::at::{At, Section};
use super::channel_settings::{CompanionConfig, PushPeer};
use super::pushed::{ChannelPlace, identity, links, peer_parts};
use super::settings::{Auth, HttpService, ServiceConfig};
use crate::base::secret::Secret;

pub(crate) const KEYS: &str = "type service notify";

/// For one notification.
const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_PHONES: usize = 16;

pub(crate) fn companion(section: Section<'_>, place: ChannelPlace<'_>) -> Option<CompanionConfig> {
    let service = section.require("service", |at| service(at, place.services));
    let notify = section.require("notify", phones);
    let ((service, token), notify) = (service?, notify?);
    let peer = PushPeer {
        url: service.url.clone(),
        timeout: TIMEOUT,
        ca_cert: service.ca_cert.clone(),
        allow_link_local: service.allow_link_local,
    };
    let links = links(section, place, &peer, true);
    let pin = service.peer.pin;
    let identity = identity(&(peer_parts(&peer), token.expose(), pin, &notify));
    let name = place.name.to_owned();
    Some(CompanionConfig { name, peer, pin, token, notify, links, identity })
}

type Found<'s> = (&'s HttpService, Secret);

fn service<'s>(at: At<'_>, services: &'s [ServiceConfig]) -> Option<Found<'s>> {
    let name = at.filled()?;
    let found = services.iter().filter_map(ServiceConfig::http).find(|service| service.name == name);
    let Some(service) = found else {
        return at.fail(format!("there is no service {}", at.shown()), "name one of services");
    };
    let Auth::Bearer(token) = &service.auth else {
        return at
            .fail("Home Assistant needs a service with auth: {type: bearer}", "give it a long-lived token");
    };
    let plain = service.peer.socket.is_none() && service.peer.server_name.is_none();
    at.ensure(plain, "this channel supports neither sockets nor server_name", "give the service its url")?;
    at.warn(
        format!("whoever administers {name} can answer questions, also those about its own tools"),
        "let only people whom you trust with them administer it",
    );
    Some((service, token.clone()))
}

/// Names in the domain `notify`.
fn phones(at: At<'_>) -> Option<Vec<String>> {
    let name = |item: At<'_>| {
        let text = item.filled()?;
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let help = "write it as in Home Assistant's actions: mobile_app_anna";
        item.ensure(text.chars().all(fits), "this is not the name of a notify service", help)?;
        Some(text)
    };
    let mut names: Vec<String> = at.one_or_more().into_iter().filter_map(name).collect();
    at.ensure(!names.is_empty(), "notify names no phone", "notify: [mobile_app_anna]")?;
    at.ensure(names.len() <= MAX_PHONES, format!("notify names more than {MAX_PHONES} phones"), "")?;
    names.sort();
    names.dedup();
    Some(names)
}
