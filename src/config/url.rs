//! Base addresses of services, and what may stand in a path. Nothing here is ever put together with agent data.

use std::fmt;

/// `http(s)://host[:port][/prefix]`: no user name, no query, no fragment, no slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// Checks an address.
    ///
    /// # Errors
    /// What is wrong with it; never its text, which may hold a password.
    pub fn parse(text: &str) -> Result<BaseUrl, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or("must begin with http:// or https://")?;
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "http" && scheme != "https" {
            return Err("must begin with http:// or https://");
        }
        let cut = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(cut);
        check_authority(authority)?;
        let path = path.trim_end_matches('/');
        if path.contains(['?', '#']) {
            return Err("must not hold a query or a fragment");
        }
        if !path.is_empty() {
            check_path(path)?;
        }
        Ok(BaseUrl(format!("{scheme}://{authority}{path}")))
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether what goes there is encrypted.
    pub(crate) fn is_https(&self) -> bool {
        self.0.starts_with("https:")
    }

    /// Whether it is without TLS and names a host in `.local`, which anybody on the network can pose as (RFC 6762).
    pub(crate) fn anybody_can_answer(&self) -> bool {
        let Some(rest) = self.0.strip_prefix("http://") else { return false };
        let host =
            rest.split(['/', ':']).next().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
        host.ends_with(".local")
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_authority(authority: &str) -> Result<(), &'static str> {
    if authority.contains('@') {
        return Err("must not hold a user name or password; use auth");
    }
    let (host, port) = match authority.strip_prefix('[').and_then(|a| a.split_once(']')) {
        Some((host, port)) => {
            host.parse::<std::net::Ipv6Addr>().map_err(|_| "holds a broken IPv6 address")?;
            ("ipv6", port)
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    if !is_host(host) {
        return Err("must name a host made of letters, digits, \"-\", \"_\" and \".\"");
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(()),
        Some(digits) if is_port(digits) => Ok(()),
        _ => Err("holds a port that is not a number from 1 to 65535"),
    }
}

fn is_port(digits: &str) -> bool {
    digits.chars().all(|c| c.is_ascii_digit()) && digits.parse::<u16>().is_ok_and(|port| port > 0)
}

/// A host name or an IPv4 address. Names in other scripts must be given in their `xn--` form.
pub(crate) fn is_host(host: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let label = |l: &str| !l.is_empty() && l.len() <= 63 && l.chars().all(fits);
    host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(label)
}

/// Whether this is what a browser sends as `Origin`: scheme and host, no path.
pub(crate) fn is_origin(text: &str) -> bool {
    let base = BaseUrl::parse(text);
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
            assert_eq!(BaseUrl::parse(text).map(|b| b.0), Ok(base.to_owned()), "{text}");
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
            assert!(BaseUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn origins_have_no_path() {
        assert!(is_origin("https://example.org") && is_origin("http://localhost:3000"));
        assert!(!is_origin("https://example.org/") && !is_origin("example.org") && !is_origin("*"));
    }
}
