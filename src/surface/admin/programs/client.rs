//! A program that has shown the token of a channel.

use serde_json::Value;

use crate::approval::shape;
use crate::base::secret::TokenHash;
use crate::config::ApiConfig;
use crate::gate::Setup;
use crate::surface::admin::site::Admin;

/// A program that has shown the token of a channel.
#[derive(Clone)]
pub(super) struct Client {
    /// The channel.
    pub(super) channel: String,
    token: TokenHash,
}

impl Client {
    pub(super) fn new(channel: &str, api: &ApiConfig) -> Client {
        Client { channel: channel.to_owned(), token: api.token }
    }

    /// Whether the channel still takes its token.
    pub(super) fn is_known(&self, setup: &Setup) -> bool {
        channel_of(setup, &self.token).is_some_and(|(name, _)| name == self.channel)
    }
}

/// The channels that programs come to.
pub(super) fn apis(setup: &Setup) -> impl Iterator<Item = (&String, &ApiConfig)> {
    setup.config.channels.iter().filter_map(|(name, config)| Some((name, config.as_api()?)))
}

/// The channel with this token. All are compared, so that the time taken says nothing.
pub(super) fn channel_of<'s>(setup: &'s Setup, token: &TokenHash) -> Option<(&'s str, &'s ApiConfig)> {
    apis(setup).fold(None, |found, (name, api)| match api.token.matches(token) {
        true => Some((name.as_str(), api)),
        false => found,
    })
}

/// The open questions, the oldest first.
pub(super) fn open(admin: &Admin) -> Vec<Value> {
    admin.gate.approvals.questions().iter().map(|question| shape::question(question)).collect()
}
