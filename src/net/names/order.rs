//! Which address of a host to try first.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Each address once: first those with a route, link-local ones last among them; IPv6 and IPv4 in turns, so that a
/// family that is broken further on costs one attempt (RFC 8305, 4).
pub(crate) fn promising_first(found: Vec<SocketAddr>, port: u16) -> Vec<SocketAddr> {
    let mut seen = HashSet::new();
    let with_port = found.into_iter().map(|mut address| {
        address.set_port(port);
        address
    });
    let (v6, v4): (Vec<_>, Vec<_>) =
        with_port.filter(|address| seen.insert(*address)).partition(SocketAddr::is_ipv6);
    let mut ranked: Vec<_> = [v6, v4].into_iter().flat_map(ranked).collect();
    // Stable: IPv6 goes first among equals.
    ranked.sort_by_key(|(rank, turn, _)| (*rank, *turn));
    ranked.into_iter().map(|(_, _, address)| address).take(MAX_ADDRESSES).collect()
}

/// The addresses of one family with their rank, and their turn within it.
fn ranked(family: Vec<SocketAddr>) -> Vec<(u8, usize, SocketAddr)> {
    let mut turns = [0; 3];
    let place = |address: SocketAddr| {
        let rank = rank(address);
        let turn = turns.get_mut(usize::from(rank)).map_or(0, |turn| {
            *turn += 1;
            *turn
        });
        (rank, turn, address)
    };
    family.into_iter().map(place).collect()
}

fn rank(address: SocketAddr) -> u8 {
    let is_link_local = match address.ip() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    match (has_route(address), is_link_local) {
        (true, false) => 0,
        (true, true) => 1,
        (false, _) => 2,
    }
}

/// Connecting a datagram socket sends nothing, but fails without a route.
fn has_route(address: SocketAddr) -> bool {
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(address)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reachable_addresses_go_first_each_once_and_with_the_port() {
        // A scope that no interface has: there is no way to it, whatever network the test runs in.
        let nowhere = "[fe80::1%4000000]:0".parse().unwrap();
        let found: Vec<SocketAddr> =
            ["127.0.0.1:0", "127.0.0.2:0", "127.0.0.1:0"].map(|a| a.parse().unwrap()).into();
        let ordered = promising_first([vec![nowhere], found].concat(), 8123);
        let shown: Vec<_> = ordered.iter().map(SocketAddr::to_string).collect();
        assert_eq!(shown, ["127.0.0.1:8123", "127.0.0.2:8123", "[fe80::1%4000000]:8123"]);
        let many = (1..=20).map(|n| SocketAddr::from(([127, 0, 0, n], 0))).collect();
        assert_eq!(promising_first(many, 1).len(), MAX_ADDRESSES);
    }
}
