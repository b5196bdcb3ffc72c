//! Addresses of services and gateways, and what may stand in a path. Nothing here is ever put together with agent data.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use hyper::Uri;

/// The address of a service or of a gateway. It holds no user name and no fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    text: String,
    is_encrypted: bool,
    host: String,
    port: u16,
}

/// What is wrong with an address before its path.
enum UrlFault {
    Scheme,
    Login,
    Ipv6,
    Host,
    Port,
}

/// An address up to its path.
struct Server<'t> {
    is_encrypted: bool,
    authority: &'t str,
    /// Without brackets.
    host: &'t str,
    port: u16,
    rest: &'t str,
}

impl Url {
    /// Reads the address of a service, `http(s)://host[:port][/prefix]`, without query. Slashes at the end go.
    ///
    /// # Errors
    /// What is wrong with it; never its text, which may hold a password.
    pub fn service(text: &str) -> Result<Url, &'static str> {
        let server = server(text, "http", "https").map_err(|wrong| match wrong {
            UrlFault::Scheme => "must begin with http:// or https://",
            UrlFault::Login => "must not hold a user name or password; use auth",
            UrlFault::Ipv6 => "holds a broken IPv6 address",
            UrlFault::Host => "must name a host made of letters, digits, \"-\", \"_\" and \".\"",
            UrlFault::Port => "holds a port that is not a number from 1 to 65535",
        })?;
        let path = server.rest.trim_end_matches('/');
        if path.contains(['?', '#']) {
            return Err("must not hold a query or a fragment");
        }
        if !path.is_empty() {
            check_path(path)?;
        }
        let scheme = if server.is_encrypted { "https" } else { "http" };
        Ok(server.url(format!("{scheme}://{}{path}", server.authority)))
    }

    /// Reads the address of a gateway, `ws(s)://host[:port][/path]`.
    ///
    /// # Errors
    /// What to write instead.
    pub fn gateway(text: &str) -> Result<Url, &'static str> {
        const NONE: &str = "not an address; write it like wss://gateway.local:8443";
        let server = server(text, "ws", "wss").map_err(|wrong| match wrong {
            UrlFault::Scheme => "the address must begin with wss:// (or ws:// without encryption)",
            UrlFault::Login => "no user name or password in the address; the token goes into its own setting",
            UrlFault::Ipv6 | UrlFault::Host => NONE,
            UrlFault::Port => "the port must be a number from 1 to 65535",
        })?;
        let uri: Uri = text.parse().map_err(|_| NONE)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let scheme = if server.is_encrypted { "wss" } else { "ws" };
        let text = format!("{scheme}://{}{path}", host_and_port(server.host, server.port));
        Ok(server.url(text))
    }

    /// The address as it goes into requests.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether what goes there is encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// The host name or IP address; an IPv6 address without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// 80 or 443 unless the address says otherwise.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, for messages to people.
    pub(crate) fn host_and_port(&self) -> String {
        host_and_port(&self.host, self.port)
    }

    /// Whether nobody on the network can read what goes there: it is encrypted, or stays on this machine.
    pub(crate) fn stays_private(&self) -> bool {
        let is_loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
        self.is_encrypted
            || self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<IpAddr>().is_ok_and(is_loopback)
    }

    /// Whether it is without TLS and names a host in `.local`, which anybody on the network can pose as (RFC 6762).
    pub(crate) fn anybody_can_answer(&self) -> bool {
        !self.is_encrypted && self.host.trim_end_matches('.').to_ascii_lowercase().ends_with(".local")
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Server<'_> {
    fn url(&self, text: String) -> Url {
        Url { text, is_encrypted: self.is_encrypted, host: self.host.to_owned(), port: self.port }
    }
}

/// Reads an address up to its path. `plain` and `encrypted` are its schemes.
fn server<'t>(text: &'t str, plain: &str, encrypted: &str) -> Result<Server<'t>, UrlFault> {
    let (scheme, rest) = text.split_once("://").ok_or(UrlFault::Scheme)?;
    let is_encrypted = scheme.eq_ignore_ascii_case(encrypted);
    if !is_encrypted && !scheme.eq_ignore_ascii_case(plain) {
        return Err(UrlFault::Scheme);
    }
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(UrlFault::Login);
    }
    let (host, port) = match authority.strip_prefix('[').and_then(|a| a.split_once(']')) {
        Some((host, port)) => {
            host.parse::<Ipv6Addr>().map_err(|_| UrlFault::Ipv6)?;
            (host, port)
        }
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            if !is_host(host) {
                return Err(UrlFault::Host);
            }
            (host, port)
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => Some(if is_encrypted { 443 } else { 80 }),
        // The parser takes a sign.
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port > 0)
        }
        _ => None,
    };
    Ok(Server { is_encrypted, authority, host, port: port.ok_or(UrlFault::Port)?, rest })
}

fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A host name or an IPv4 address. Names in other scripts must be given in their `xn--` form.
pub(crate) fn is_host(host: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let label = |l: &str| !l.is_empty() && l.len() <= 63 && l.chars().all(fits);
    host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(label)
}

/// Whether this is what a browser sends as `Origin`: scheme and host, no path.
pub(crate) fn is_origin(text: &str) -> bool {
    let base = Url::service(text);
    base.is_ok_and(|base| base.as_str() == text && text.matches('/').count() == 2)
}

/// A literal path: begins with one slash, no empty, `.` or `..` segments, nothing that needs encoding.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_path(path: &str) -> Result<(), &'static str> {
    let segments = path.strip_prefix('/').ok_or("must begin with \"/\"")?;
    if segments.starts_with('/') || segments.contains("//") {
        return Err("must not hold empty segments (\"//\")");
    }
    if segments.split('/').any(|s| s == "." || s == "..") {
        return Err("must not hold \".\" or \"..\" segments");
    }
    check_chars(path)
}

/// Characters that stand for themselves in a path or query, and `%` with two hex digits.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_chars(text: &str) -> Result<(), &'static str> {
    if text.contains('#') {
        return Err("must not hold a fragment (\"#\")");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/%".contains(c);
    if !text.chars().all(plain) {
        return Err("holds a character that must be percent-encoded");
    }
    let hex = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if text.split('%').skip(1).all(hex) { Ok(()) } else { Err("holds a \"%\" without two hex digits") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_addresses_and_nothing_else() {
        for (text, base) in [
            ("http://homeassistant.local:8123", "http://homeassistant.local:8123"),
            ("HTTPS://api.example.com/", "https://api.example.com"),
            ("http://[::1]:80/a/b//", "http://[::1]:80/a/b"),
            ("http://10.0.0.1/x%20y", "http://10.0.0.1/x%20y"),
            ("http://home_assistant", "http://home_assistant"),
        ] {
            assert_eq!(Url::service(text).map(|b| b.text), Ok(base.to_owned()), "{text}");
        }
        for bad in [
            "",
            "ha.local",
            "ftp://a",
            "http://",
            "http:///x",
            "http://u:p@a",
            "http://a?b",
            "http://a#b",
            "http://a/?b",
            "http://a:0",
            "http://a:65536",
            "http://a:",
            "http://a:+1",
            "http://a b",
            "http://[x]",
            "http://[::1]x",
            "http://é",
            "http://a/../b",
            "http://a//b",
            "http://a\\b",
            "http://a\nb",
            "http://a..b",
            "mqtt://broker.local",
            "http://a/%zz",
            "https://...",
        ] {
            assert!(Url::service(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_gateway_has_a_port_and_a_path() {
        for (text, url) in [
            ("ws://gw", "ws://gw:80/"),
            ("wss://gw.local/a?b=c", "wss://gw.local:443/a?b=c"),
            ("WSS://gw:8443/#x", "wss://gw:8443/"),
            ("ws://[::1]:8080", "ws://[::1]:8080/"),
            ("ws://[::1]", "ws://[::1]:80/"),
        ] {
            let read = Url::gateway(text).unwrap();
            assert_eq!(read.as_str(), url);
            assert_eq!(Url::gateway(url), Ok(read));
        }
        for (text, word) in [
            ("", "begin with"),
            ("gw:8443", "begin with"),
            ("/path", "begin with"),
            ("https://gw", "begin with"),
            ("ws://", "not an address"),
            ("ws://a b", "not an address"),
            ("ws://a/b c", "not an address"),
            ("ws://gw:70000", "port"),
            ("ws://gw:", "port"),
            ("ws://gw:0", "port"),
            ("ws://user:secret@gw", "no user name"),
        ] {
            assert!(Url::gateway(text).unwrap_err().contains(word), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_encrypted_is_private_on_this_machine_only() {
        for private in ["https://a.example", "http://localhost:1", "http://127.0.0.9", "http://[::1]:80"] {
            assert!(Url::service(private).unwrap().stays_private(), "{private}");
        }
        for public in
            ["http://a.example", "http://localhost.example", "http://10.0.0.1", "http://127.0.0.1.example"]
        {
            assert!(!Url::service(public).unwrap().stays_private(), "{public}");
        }
    }

    #[test]
    fn origins_have_no_path() {
        assert!(is_origin("https://example.org") && is_origin("http://localhost:3000"));
        assert!(!is_origin("https://example.org/") && !is_origin("example.org") && !is_origin("*"));
    }
}
