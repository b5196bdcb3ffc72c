//! Who one request is from and how it came here: from their browser, or through a proxy that is trusted or not.

use std::net::IpAddr;

use super::guards::Hosts;
use crate::base::network::{Network, any_contains};
use crate::base::path_prefix::PathPrefix;
use crate::net::forwarded::Forwarded;
use crate::net::front::WebRequest;

/// Settings about proxies and programs, from config.yaml.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outside {
    /// Proxies whose word on who asks is believed.
    pub trusted_proxies: Vec<Network>,
    /// Where below its own name a proxy shows the pages.
    pub public_path: PathPrefix,
    /// Who may read `/metrics` without signing in, besides programs on this machine.
    pub metrics_from: Vec<Network>,
}

/// One request's origin.
pub(super) struct Visitor {
    /// Whose it is: by a trusted proxy's word, otherwise the other end of the connection.
    pub from: IpAddr,
    /// What stands before our paths in the address that the browser knows.
    pub root: PathPrefix,
    /// A proxy has taken it off the path already.
    was_stripped: bool,
    /// Whether the browser speaks TLS, with us or with a trusted proxy.
    pub(crate) is_secure: bool,
    /// Whether the measurements may be read without a session.
    pub(crate) may_measure: bool,
}

impl Visitor {
    /// Who `asked` is from, when the connection's other end is `peer` and speaks TLS with us or not.
    pub(super) fn new(
        outside: &Outside,
        hosts: &Hosts,
        tls: bool,
        peer: IpAddr,
        request: &WebRequest,
    ) -> Visitor {
        let forwarded = request.forwarded();
        let client = forwarded.client(peer, &outside.trusted_proxies);
        let is_trusted = any_contains(&outside.trusted_proxies, peer);
        let prefix = forwarded.prefix().filter(|_| is_trusted);
        Visitor {
            from: client.unwrap_or(peer),
            root: prefix.unwrap_or(&outside.public_path).clone(),
            was_stripped: prefix.is_some(),
            is_secure: tls || (is_trusted && forwarded.is_https()),
            may_measure: client.is_some_and(|ip| any_contains(&outside.metrics_from, ip))
                || is_local(peer, &forwarded, hosts, request),
        }
    }

    /// The path of ours that `path` means: proxies take the public one off, or leave it on.
    pub(super) fn path<'p>(&self, path: &'p str) -> &'p str {
        if self.was_stripped { path } else { self.root.strip(path) }
    }

    /// Somebody at this machine's own browser or behind a proxy of its, for tests.
    #[cfg(test)]
    pub(super) fn here(is_secure: bool, root: &str) -> Visitor {
        let root = PathPrefix::parse(root).unwrap_or_default();
        let from = std::net::Ipv4Addr::LOCALHOST.into();
        Visitor { from, root, was_stripped: false, is_secure, may_measure: false }
    }
}

/// Whether a program on this machine asks us, and not a proxy here for somebody elsewhere: that would say so, or pass on
/// the name that it is known by.
fn is_local(peer: IpAddr, forwarded: &Forwarded, hosts: &Hosts, request: &WebRequest) -> bool {
    peer.to_canonical().is_loopback()
        && !forwarded.is_forwarded()
        && hosts.are_this_machine(request.header("host"))
}
