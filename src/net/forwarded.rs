//! What a request's headers say of its way through proxies: `X-Forwarded-For` and the like, `Forwarded` (RFC 7239).
//!
//! Anybody can write these headers. They are believed as far as trusted proxies have written them: from the right, up
//! to the first address that is not one of theirs.

use std::net::{IpAddr, SocketAddr};

use hyper::header::HeaderMap;

use crate::base::network::{Network, any_contains};
use crate::base::path_prefix::PathPrefix;

/// Headers that only a proxy has a reason to send.
const TRACES: [&str; 10] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-server",
    "x-forwarded-by",
    "x-real-ip",
    "via",
];

/// The forwarding headers of one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forwarded {
    is_forwarded: bool,
    x_forwarded_for: Option<String>,
    forwarded: Option<String>,
    prefix: Option<PathPrefix>,
    is_https: bool,
}

impl Forwarded {
    /// Reads them.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Forwarded {
        let joined = |name: &str| {
            let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            let values: Vec<_> = values.collect();
            (!values.is_empty()).then(|| values.join(","))
        };
        Forwarded {
            is_forwarded: TRACES.iter().any(|name| headers.contains_key(*name)),
            x_forwarded_for: joined("x-forwarded-for"),
            forwarded: joined("forwarded"),
            prefix: joined("x-forwarded-prefix").and_then(|text| PathPrefix::parse(text.trim())),
            is_https: joined("x-forwarded-proto").is_some_and(|text| {
                text.split(',').all(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
            }),
        }
    }

    /// Whose request this is, when it came from `peer`: the right-most address that is none of `proxies`. None when
    /// that is unknown: the peer is no trusted proxy, its headers cannot be read, or the two kinds of headers disagree.
    pub(crate) fn client(&self, peer: IpAddr, proxies: &[Network]) -> Option<IpAddr> {
        let peer = peer.to_canonical();
        if !any_contains(proxies, peer) {
            return (!self.is_forwarded).then_some(peer);
        }
        let listed = self.x_forwarded_for.as_ref().map(|text| outermost(text.rsplit(',').map(Some), proxies));
        let standard = self.forwarded.as_ref().map(|text| outermost(fors(text).into_iter().rev(), proxies));
        match (listed, standard) {
            (Some(one), None) | (None, Some(one)) => one,
            (Some(one), Some(other)) => one.filter(|_| one == other),
            (None, None) => (!self.is_forwarded).then_some(peer),
        }
    }

    /// Whether a proxy has had it in hand, trusted or not.
    pub(crate) fn is_forwarded(&self) -> bool {
        self.is_forwarded
    }

    /// `X-Forwarded-Prefix`: what a proxy has taken off the path.
    pub(crate) fn prefix(&self) -> Option<&PathPrefix> {
        self.prefix.as_ref()
    }

    /// Whether every proxy says that it was asked over TLS (`X-Forwarded-Proto`).
    pub(crate) fn is_https(&self) -> bool {
        self.is_https
    }
}

/// The first address from the right that is none of `proxies`, or the last one looked at. None when one of those that
/// are looked at cannot be read.
fn outermost<'t>(
    from_the_right: impl Iterator<Item = Option<&'t str>>,
    proxies: &[Network],
) -> Option<IpAddr> {
    let mut found = None;
    for entry in from_the_right {
        let address = address(entry?)?;
        found = Some(address);
        if !any_contains(proxies, address) {
            break;
        }
    }
    found
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`; not `unknown` nor `_hidden`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let found: Option<IpAddr> = text.parse().ok().or_else(bracketed).or_else(with_port);
    found.map(|address| address.to_canonical())
}

/// The `for` of each element of a `Forwarded` header; None where there is none that can be read.
fn fors(header: &str) -> Vec<Option<&str>> {
    outside_quotes(header, ',').into_iter().map(|element| element.and_then(its_for)).collect()
}

fn its_for(element: &str) -> Option<&str> {
    let mut found = None;
    for pair in outside_quotes(element, ';') {
        let (name, value) = pair?.split_once('=')?;
        if name.trim().eq_ignore_ascii_case("for") && found.replace(unquoted(value.trim())?).is_some() {
            return None;
        }
    }
    found
}

/// The text between the quotes, if there are any. An address needs no escape.
fn unquoted(value: &str) -> Option<&str> {
    let inner = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => value,
    };
    (!inner.contains(['"', '\\'])).then_some(inner)
}

/// The parts between separators that do not stand in quotes; the last one is None when a quote does not end.
fn outside_quotes(text: &str, separator: char) -> Vec<Option<&str>> {
    let (mut parts, mut begin, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (place, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if c == separator && !quoted => {
                parts.push(text.get(begin..place));
                begin = place + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text.get(begin..).filter(|_| !quoted));
    parts
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn read(headers: &[(&str, &str)]) -> Forwarded {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        Forwarded::from_headers(&map)
    }

    fn client(headers: &[(&str, &str)]) -> Option<String> {
        let proxies = ["127.0.0.1", "10.0.0.0/8", "fd00::/8"].map(|text| Network::parse(text).unwrap());
        read(headers).client("127.0.0.1".parse().unwrap(), &proxies).map(|ip| ip.to_string())
    }

    #[test]
    fn the_right_most_address_that_is_no_proxy_counts() {
        for (header, found) in [
            ("192.0.2.7", Some("192.0.2.7")),
            ("203.0.113.9, 192.0.2.7", Some("192.0.2.7")),
            ("203.0.113.9, 192.0.2.7, 10.1.2.3,10.0.0.1", Some("192.0.2.7")),
            ("\"><script>, 192.0.2.7", Some("192.0.2.7")),
            ("10.0.0.9, 10.0.0.1", Some("10.0.0.9")),
            ("2001:db8::7", Some("2001:db8::7")),
            ("[2001:db8::7]:4711, fd00::1", Some("2001:db8::7")),
            ("192.0.2.7:4711", Some("192.0.2.7")),
            ("::ffff:192.0.2.7", Some("192.0.2.7")),
            ("192.0.2.7, unknown", None),
            ("192.0.2.7, ", None),
            ("192.0.2.7, 10.0.0.1, x", None),
            ("", None),
            ("192.0.2.7 192.0.2.8", None),
        ] {
            assert_eq!(client(&[("x-forwarded-for", header)]).as_deref(), found, "{header}");
        }
        let lines = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "192.0.2.7")];
        assert_eq!(client(&lines).as_deref(), Some("192.0.2.7"));
    }

    #[test]
    fn the_standard_header_is_read_as_well() {
        for (header, found) in [
            ("for=192.0.2.7", Some("192.0.2.7")),
            ("For=\"[2001:db8:cafe::17]:4711\";proto=https;by=10.0.0.1", Some("2001:db8:cafe::17")),
            ("for=203.0.113.9, proto=http;for=192.0.2.7, for=10.0.0.1", Some("192.0.2.7")),
            ("by=\"a,b;for=1.1.1.1\";for=192.0.2.7", Some("192.0.2.7")),
            ("for=203.0.113.9, proto=http", None),
            ("for=192.0.2.7;for=192.0.2.8", None),
            ("for=_hidden", None),
            ("for=\"192.0.2.7", None),
            ("for=\"un, for=192.0.2.7", None),
            ("for=\"192.0.2\\.7\"", None),
            ("for", None),
        ] {
            assert_eq!(client(&[("forwarded", header)]).as_deref(), found, "{header}");
        }
    }

    #[test]
    fn what_does_not_agree_and_what_strangers_say_is_not_believed() {
        let both = |one, other| client(&[("x-forwarded-for", one), ("forwarded", other)]);
        assert_eq!(both("192.0.2.7", "for=192.0.2.7").as_deref(), Some("192.0.2.7"));
        assert_eq!(both("192.0.2.7", "for=203.0.113.9"), None);
        assert_eq!(client(&[]).as_deref(), Some("127.0.0.1"));
        assert_eq!(client(&[("x-real-ip", "192.0.2.7")]), None);
        let (forged, stranger) = (read(&[("x-forwarded-for", "192.0.2.7")]), "192.0.2.66".parse().unwrap());
        assert_eq!(forged.client(stranger, &[]), None);
        assert_eq!(read(&[]).client(stranger, &[]), Some(stranger));
    }

    #[test]
    fn prefix_and_scheme() {
        let prefix = |text| read(&[("x-forwarded-prefix", text)]).prefix().map(|p| p.as_str().to_owned());
        assert_eq!(prefix("/agentpass/").as_deref(), Some("/agentpass"));
        assert_eq!((prefix("//evil.example"), prefix("/a, /b")), (None, None));
        let https = |text| read(&[("x-forwarded-proto", text)]).is_https();
        assert!(
            https("https") && https("HTTPS, https") && !https("http") && !https("https,http") && !https("")
        );
        assert!(read(&[("via", "1.1 proxy")]).is_forwarded() && !read(&[("accept", "*/*")]).is_forwarded());
    }
}
