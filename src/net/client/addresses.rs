//! The addresses of a service, and those that nobody means to call. It must run for every connection: an address that
//! was harmless a minute ago may be another one now.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ArrayVec, ResolvedSocketAddrs};
use ureq::unversioned::transport::NextTimeout;

use super::super::deadline::within;
use super::super::names::{Names, NoAddress, literal};
use super::error::{NotSent, before_sending};

/// Looks names up and leaves out link-local addresses. The connector uses exactly what is left.
#[derive(Debug)]
pub(super) struct Resolver {
    names: Names,
    allow_link_local: bool,
}

impl Resolver {
    pub(super) fn new(allow_link_local: bool) -> Self {
        Self { names: Names::default(), allow_link_local }
    }

    /// A name may have a link-local address beside a proper one (mDNS), so those are left out one by one.
    fn allowed(&self, found: Vec<SocketAddr>) -> Result<ResolvedSocketAddrs, NotSent> {
        let mut kept = ArrayVec::from_fn(|_| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0));
        for address in found.into_iter().filter(|a| self.allow_link_local || !is_link_local(a.ip())) {
            kept.push(address);
        }
        if kept.is_empty() { Err(NotSent::LinkLocal) } else { Ok(kept) }
    }

    /// At most eight addresses, half of what the connector has room for.
    fn lookup(&self, uri: &Uri, limit: NextTimeout) -> Result<Vec<SocketAddr>, NotSent> {
        let host = uri.host().ok_or(NotSent::BadUrl("it has no host"))?;
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default);
        // No wait and no timer, which would wake another thread for every call.
        if let Some(address) = literal(host, port) {
            return Ok(vec![address]);
        }
        let found = self.names.lookup(host, port);
        let found = match limit.not_zero() {
            Some(limit) => smol::block_on(within(*limit, found)).ok_or(NotSent::Timeout)?,
            None => smol::block_on(found),
        };
        found.map_err(|why| match why {
            NoAddress::Unknown => NotSent::Dns,
            NoAddress::Silent => NotSent::NoNameServer,
        })
    }
}

impl ureq::unversioned::resolver::Resolver for Resolver {
    fn resolve(&self, uri: &Uri, _: &Config, limit: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        self.lookup(uri, limit).and_then(|found| self.allowed(found)).map_err(before_sending)
    }
}

/// Whether an address is link-local or a cloud's metadata service, in any of the ways to write it.
///
/// 169.254.0.0/16 and fe80::/10 (RFC 3927, RFC 4291), 100.100.100.200 and fd00:ec2::254 (clouds), and the IPv4 ones
/// inside ::ffff:0:0/96, ::/96 and 64:ff9b::/96 (RFC 4291, RFC 6052).
pub(crate) fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_link_local_v4(v4),
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local() || v6 == METADATA_V6 || embedded(v6).is_some_and(is_link_local_v4)
        }
    }
}

const METADATA_V4: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

fn is_link_local_v4(ip: Ipv4Addr) -> bool {
    ip.is_link_local() || ip == METADATA_V4
}

fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::is_link_local;

    #[test]
    fn link_local_in_every_spelling() {
        for ip in [
            "169.254.0.0",
            "169.254.169.254",
            "169.254.255.255",
            "100.100.100.200",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "::ffff:169.254.1.1",
            "::169.254.1.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b::6464:64c8",
        ] {
            assert!(is_link_local(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn the_home_network_is_fine() {
        for ip in [
            "127.0.0.1",
            "192.168.1.1",
            "10.0.0.1",
            "169.253.255.255",
            "169.255.0.0",
            "100.100.100.201",
            "::1",
            "fd00::1",
            "fec0::1",
            "2001:db8::a9fe:a9fe",
            "::ffff:192.168.1.1",
            "64:ff9b::808:808",
        ] {
            assert!(!is_link_local(ip.parse().unwrap()), "{ip}");
        }
    }
}
