//! The address of a gateway, and why one is refused. Pure.

use std::fmt;

use hyper::Uri;

/// A gateway's address: `ws://host[:port][/path]` or `wss://…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    /// `wss`.
    pub tls: bool,
    /// Host name or IP address; an IPv6 address without brackets.
    pub host: String,
    /// 80 or 443 unless the address says otherwise.
    pub port: u16,
    /// Path with query, at least "/".
    pub path: String,
}

impl ServerUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// [`UrlError`], which says what to write instead.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|_| UrlError::Malformed)?;
        let tls = match uri.scheme_str().map(str::to_ascii_lowercase).as_deref() {
            Some("ws") => false,
            Some("wss") => true,
            Some(_) | None => return Err(UrlError::Scheme),
        };
        let authority = uri.authority().ok_or(UrlError::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::UserInfo);
        }
        Ok(Self { tls, host: host(authority.host())?, port: port(&uri, tls)?, path: path(&uri) })
    }

    /// The address as a URL, with its port.
    pub(crate) fn to_uri(&self) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.authority(), self.path)
    }

    /// `host:port`, for messages to people.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

fn host(text: &str) -> Result<String, UrlError> {
    let host = text.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(text);
    if host.is_empty() { Err(UrlError::Malformed) } else { Ok(host.to_owned()) }
}

fn port(uri: &Uri, tls: bool) -> Result<u16, UrlError> {
    let given = uri.authority().is_some_and(|a| a.as_str().len() > a.host().len());
    match uri.port_u16() {
        Some(0) => Err(UrlError::Port),
        Some(port) => Ok(port),
        None if given => Err(UrlError::Port),
        None => Ok(if tls { 443 } else { 80 }),
    }
}

fn path(uri: &Uri) -> String {
    uri.path_and_query().map_or("/", |p| p.as_str()).to_owned()
}

/// Why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlError {
    /// Not a URL with a host.
    Malformed,
    /// Neither `ws` nor `wss`.
    Scheme,
    /// A user name or password in the address.
    UserInfo,
    /// A port that is none.
    Port,
}

impl std::error::Error for UrlError {}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not an address; write it like wss://gateway.local:8443",
            Self::Scheme => "the address must begin with wss:// (or ws:// without encryption)",
            Self::UserInfo => "no user name or password in the address; the token goes into its own setting",
            Self::Port => "the port must be a number from 1 to 65535",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{ServerUrl, UrlError};

    fn parts(text: &str) -> Result<(bool, String, u16, String), UrlError> {
        ServerUrl::parse(text).map(|u| (u.tls, u.host, u.port, u.path))
    }

    #[test]
    fn addresses() {
        let ok = |tls, host: &str, port, path: &str| Ok((tls, host.to_string(), port, path.to_string()));
        assert_eq!(parts("ws://gw"), ok(false, "gw", 80, "/"));
        assert_eq!(parts("wss://gw.local/a?b=c"), ok(true, "gw.local", 443, "/a?b=c"));
        assert_eq!(parts("WSS://gw:8443/"), ok(true, "gw", 8443, "/"));
        assert_eq!(parts("ws://[::1]:8080"), ok(false, "::1", 8080, "/"));
        assert_eq!(parts("ws://[::1]"), ok(false, "::1", 80, "/"));
    }

    #[test]
    fn refused_addresses() {
        for (text, error) in [
            ("", UrlError::Malformed),
            ("gw:8443", UrlError::Scheme),
            ("/path", UrlError::Scheme),
            ("https://gw", UrlError::Scheme),
            ("ws://", UrlError::Malformed),
            ("ws://a b", UrlError::Malformed),
            ("ws://gw:70000", UrlError::Port),
            ("ws://gw:", UrlError::Port),
            ("ws://gw:0", UrlError::Port),
            ("ws://user:secret@gw", UrlError::UserInfo),
        ] {
            assert_eq!(parts(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn an_address_survives_its_own_text() {
        let url = ServerUrl::parse("wss://[fd00::1]/x").unwrap();
        assert_eq!(url.to_uri(), "wss://[fd00::1]:443/x");
        assert_eq!(ServerUrl::parse(&url.to_uri()), Ok(url));
    }
}
