//! resolv.conf: whom to ask, and under which names. The only file that touches `resolv_conf`.

use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::path::Path;
use std::time::Duration;

use resolv_conf::{Config, ScopedIp};

use super::interface;
use super::literal::is_name;

/// No more of the file is read, in bytes.
const MAX_FILE: u64 = 64 << 10;
const MAX_SERVERS: usize = 3;
const MAX_DOMAINS: usize = 6;
const MAX_DOTS: u32 = 15;
const MAX_ATTEMPTS: u32 = 5;
const MAX_TIMEOUT: u32 = 30;
const DNS_PORT: u16 = 53;

/// What resolv.conf(5) says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The name servers in order; never empty.
    pub(crate) servers: Vec<SocketAddr>,
    /// Domains in which a short name is looked for.
    pub search: Vec<String>,
    /// A name with fewer dots is short.
    pub(crate) dots: usize,
    /// How long to wait for a server.
    pub timeout: Duration,
    /// How often to ask every server.
    pub attempts: u32,
    pub(crate) is_tcp: bool,
    /// Whether to ask for IPv6 addresses at all.
    pub(crate) wants_v6: bool,
}

impl Settings {
    /// Reads the file. One that is missing says nothing, lines that are none of it likewise.
    pub(crate) fn read(path: &Path) -> Settings {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
        Settings::parse(if read.is_ok() { &bytes } else { b"" })
    }

    fn parse(bytes: &[u8]) -> Settings {
        let (parsed, _) = Config::parse_with_errors(bytes);
        let mut servers: Vec<_> = parsed.nameservers.iter().filter_map(server).take(MAX_SERVERS).collect();
        if servers.is_empty() {
            servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DNS_PORT));
        }
        let domain = |text: &String| text.trim_matches('.').to_ascii_lowercase();
        let search = parsed.get_last_search_or_domain().map(domain).filter(|text| is_name(text));
        Settings {
            servers,
            search: search.take(MAX_DOMAINS).collect(),
            dots: usize::try_from(parsed.ndots.min(MAX_DOTS)).unwrap_or(1),
            timeout: Duration::from_secs(parsed.timeout.clamp(1, MAX_TIMEOUT).into()),
            attempts: parsed.attempts.clamp(1, MAX_ATTEMPTS),
            is_tcp: parsed.use_vc,
            wants_v6: !parsed.no_aaaa,
        }
    }

    /// The names to ask for, in order. A short one is looked for in every domain before it stands for itself; a
    /// complete one is never looked for elsewhere.
    pub(crate) fn candidates(&self, name: &str, is_complete: bool) -> Vec<String> {
        let is_short = !is_complete && name.matches('.').count() < self.dots;
        let domains = self.search.iter().filter(|_| is_short);
        let joined = domains.map(|domain| format!("{name}.{domain}"));
        joined.chain([name.to_owned()]).collect()
    }
}

fn server(ip: &ScopedIp) -> Option<SocketAddr> {
    Some(match ip {
        ScopedIp::V4(ip) => SocketAddr::new(IpAddr::V4(*ip), DNS_PORT),
        ScopedIp::V6(ip, None) => SocketAddr::new(IpAddr::V6(*ip), DNS_PORT),
        ScopedIp::V6(ip, Some(scope)) => SocketAddrV6::new(*ip, DNS_PORT, 0, interface::index(scope)?).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_says_counts_and_the_rest_is_bounded() {
        let parsed = Settings::parse(
            b"# \xff\nnameserver 127.0.0.53 # the router\nnameserver nonsense\nnameserver fe80::1%7\nnameserver ::1\n\
              nameserver 10.0.0.9\ndomain old\nsearch LAN. home.arpa 5 .\nbogus line\n\
              options ndots:99 timeout:0 attempts:99 use-vc no-aaaa edns0 unheard-of\n",
        );
        let link_local = SocketAddrV6::new("fe80::1".parse().unwrap(), 53, 0, 7).into();
        assert_eq!(
            parsed.servers,
            ["127.0.0.53:53".parse().unwrap(), link_local, "[::1]:53".parse().unwrap()]
        );
        assert_eq!(parsed.search, ["lan", "home.arpa"]);
        assert_eq!((parsed.dots, parsed.timeout.as_secs(), parsed.attempts), (15, 1, 5));
        assert!(parsed.is_tcp && !parsed.wants_v6);
    }

    #[test]
    fn a_file_that_is_missing_means_a_server_on_this_machine() {
        let parsed = Settings::read(Path::new("/nowhere/resolv.conf"));
        assert_eq!(parsed.servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!((parsed.dots, parsed.timeout.as_secs(), parsed.attempts), (1, 5, 2));
        assert!(!parsed.is_tcp && parsed.wants_v6 && parsed.search.is_empty());
    }

    #[test]
    fn short_names_are_looked_for_in_the_domains_and_complete_ones_never() {
        let parsed = Settings::parse(b"search lan local\noptions ndots:2\n");
        assert_eq!(parsed.candidates("box", false), ["box.lan", "box.local", "box"]);
        assert_eq!(parsed.candidates("a.b", false), ["a.b.lan", "a.b.local", "a.b"]);
        assert_eq!(parsed.candidates("a.b.c", false), ["a.b.c"]);
        assert_eq!(parsed.candidates("box", true), ["box"]);
    }
}
