//! Hosts that are addresses, in whatever spelling: no name server may be asked for one.

use std::net::{IpAddr, Ipv4Addr};

use crate::base::url::is_host;

/// The address that a host is: as usual, or IPv4 in the spellings of inet_aton(3), `127.1`, `0x7f.1` and `2130706433`.
pub(crate) fn address(host: &str) -> Option<IpAddr> {
    host.parse().ok().or_else(|| old_spelling(host).map(IpAddr::V4))
}

/// Whether the last part is a number: an address, or a broken one.
fn is_like_one(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    last.bytes().all(|b| b.is_ascii_digit()) || number(last).is_some()
}

/// One to four numbers; the last fills the bytes that are left.
fn old_spelling(host: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u32> = host.split('.').map(number).collect::<Option<_>>()?;
    let (last, bytes) = parts.split_last()?;
    let left = 4u32.checked_sub(u32::try_from(bytes.len()).ok()?).filter(|left| *left > 0)?;
    let room = u64::MAX >> (64 - 8 * left);
    if u64::from(*last) > room {
        return None;
    }
    let mut address = *last;
    for (place, byte) in (0..4).zip(bytes) {
        address |= u32::from(u8::try_from(*byte).ok()?) << (24 - 8 * place);
    }
    Some(Ipv4Addr::from(address))
}

/// Decimal, octal after `0` or hexadecimal after `0x`.
fn number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (text.get(2..)?, 16),
        [b'0', _, ..] => (text.get(1..)?, 8),
        _ => (text, 10),
    };
    // The parser takes a sign.
    if digits.starts_with('+') { None } else { u32::from_str_radix(digits, radix).ok() }
}

/// Whether a name can be asked for.
pub(crate) fn is_name(name: &str) -> bool {
    is_host(name) && !name.ends_with('.') && !is_like_one(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_every_spelling() {
        for (host, ip) in [
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "::1"),
            ("127.1", "127.0.0.1"),
            ("0x7f.0.0.01", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("169.254.43518", "169.254.169.254"),
            ("0xA9FEA9FE", "169.254.169.254"),
            ("010.8.0377.255", "8.8.255.255"),
            ("0", "0.0.0.0"),
            ("255.255.255.255", "255.255.255.255"),
        ] {
            assert_eq!(address(host).map(|ip| ip.to_string()).as_deref(), Some(ip), "{host}");
        }
    }

    #[test]
    fn a_broken_address_is_no_name() {
        for host in [
            "1.2.3.256",
            "1.2.3.4.5",
            "256.1",
            "1.16777216",
            "4294967296",
            "08.1",
            "1.2.3.",
            "+1",
            "0x",
            "a.1",
        ] {
            assert_eq!(address(host), None, "{host}");
        }
        for (host, is) in
            [("a.1", true), ("1.2.3.256", true), ("1.0x7", true), ("1.a", false), ("0xg", false)]
        {
            assert_eq!(is_like_one(host), is, "{host}");
        }
    }
}
