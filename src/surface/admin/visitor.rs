//! Who one request is from and how it came here: from their browser, or through a proxy that is trusted or not.

use std::net::IpAddr;

use crate::base::network::any_contains;
use crate::base::path_prefix::PathPrefix;
use crate::config::Config;
use crate::net::forwarded::Forwarded;
use crate::net::front::WebRequest;
use crate::surface::admission::{Admission, Caller};
use crate::surface::hosts::Hosts;

/// One request by one of our names.
pub(super) struct Visit<'a> {
    /// The connection that it came on.
    pub caller: &'a Caller,
    /// The other end of the connection.
    pub peer: IpAddr,
    pub visitor: &'a Visitor,
    pub request: &'a WebRequest,
}

impl Visit<'_> {
    /// Lets the connection stay: it has shown who it is. False when `most` have done so and none of them is this one.
    pub(super) fn is_admitted_to(&self, port: &Admission, most: usize) -> bool {
        let has_room = self.caller.is_admitted() || port.members() < most;
        if has_room {
            self.caller.admit(self.peer);
        }
        has_room
    }
}

/// One request's origin.
pub(super) struct Visitor {
    /// The client's address: by a trusted proxy's word, otherwise the other end of the connection.
    pub from: IpAddr,
    /// What precedes our paths in the addresses that the browser knows.
    pub root: PathPrefix,
    /// Whether a proxy has taken `root` off the path already.
    was_stripped: bool,
    /// Whether the browser speaks TLS, with us or with a trusted proxy.
    pub(crate) is_secure: bool,
    /// Whether the metrics may be read without a session.
    pub(crate) may_measure: bool,
}

impl Visitor {
    /// Who `request` is from, when the connection's other end is `peer` and speaks TLS with us or not.
    pub(super) fn new(
        config: &Config,
        hosts: &Hosts,
        tls: bool,
        peer: IpAddr,
        request: &WebRequest,
    ) -> Visitor {
        let (gateway, forwarded) = (&config.gateway, request.forwarded());
        let client = forwarded.client(peer, &gateway.trusted_proxies);
        let is_trusted = any_contains(&gateway.trusted_proxies, peer);
        let prefix = forwarded.prefix().filter(|_| is_trusted);
        Visitor {
            from: client.unwrap_or(peer),
            root: prefix.unwrap_or(&gateway.public_path).clone(),
            was_stripped: prefix.is_some(),
            is_secure: tls || (is_trusted && forwarded.is_https()),
            may_measure: client.is_some_and(|ip| any_contains(&gateway.metrics_from, ip))
                || is_local(peer, &forwarded, hosts, request),
        }
    }

    /// `path` without `root`, which proxies take off or leave on.
    pub(super) fn path<'p>(&self, path: &'p str) -> &'p str {
        if self.was_stripped { path } else { self.root.strip(path) }
    }

    /// A visitor from this machine, for tests.
    #[cfg(test)]
    pub(super) fn here(is_secure: bool, root: &str) -> Visitor {
        let root = PathPrefix::parse(root).unwrap_or_default();
        let from = std::net::Ipv4Addr::LOCALHOST.into();
        Visitor { from, root, was_stripped: false, is_secure, may_measure: false }
    }
}

/// Whether a program on this machine asks, and not a proxy here for somebody elsewhere: that would say so, or pass on the
/// name that it is known by.
fn is_local(peer: IpAddr, forwarded: &Forwarded, hosts: &Hosts, request: &WebRequest) -> bool {
    peer.to_canonical().is_loopback()
        && !forwarded.is_forwarded()
        && hosts.are_this_machine(request.header("host"))
}
