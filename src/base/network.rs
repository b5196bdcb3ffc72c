//! Networks in CIDR notation, and which addresses are in them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One address, or all that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    length: u8,
}

impl Network {
    /// Reads `192.0.2.1`, `::1`, `10.0.0.0/8`. None for anything else, and when bits are set behind the length.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, length) = match text.split_once('/') {
            None => (text, None),
            Some((address, length)) => (address, Some(length)),
        };
        let first: IpAddr = address.parse().ok()?;
        let whole = if first.is_ipv4() { 32 } else { 128 };
        let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let length = length.map_or(Some(whole), |text| Some(text).filter(is_number)?.parse().ok())?;
        let network = Network { first, length };
        (length <= whole && masked(first, length) == first).then_some(network)
    }

    /// Whether `address` lies in it. `::ffff:192.0.2.1` is `192.0.2.1`.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && masked(address, self.length) == self.first
    }

    /// Whether every address of its family lies in it.
    pub(crate) fn is_everything(&self) -> bool {
        self.length == 0
    }
}

pub(crate) fn any_contains(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32u32.saturating_sub(length.into())).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128u32.saturating_sub(length.into())).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_a_network_when_its_first_bits_are_the_same() {
        for (network, inside, outside) in [
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.128/25", "192.0.2.128", "192.0.2.127"),
            ("0.0.0.0/0", "203.0.113.7", "::1"),
            ("::/0", "2001:db8::1", "203.0.113.7"),
            ("::1", "::1", "::2"),
            ("fd00::/8", "fdff::1", "fe80::1"),
            ("192.0.2.1", "::ffff:192.0.2.1", "::192.0.2.1"),
        ] {
            let read = Network::parse(network).unwrap();
            assert!(read.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!read.contains(outside.parse().unwrap()), "{network} {outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "10.0.0.1/8",
            "::1/129",
            "fd00::1/8",
            "localhost",
            "10.0.0.0/255.0.0.0",
            " 10.0.0.1",
        ] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }
}
