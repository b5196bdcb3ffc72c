//! Host names to addresses, without the C library: that of the static programs gives up on a name when one of its two
//! lookups fails, and does not know `.local`.
//!
//! The hosts file comes first; then `localhost` is this machine, avahi or the network itself is asked for `NAME.local`,
//! and the name servers in resolv.conf for everything else. Both files are read for every lookup, so a change counts at
//! once. The two address families are looked up independently, and neither waits long for the other.
//!
//! | file | what |
//! |---|---|
//! | `literal` | hosts that are addresses already |
//! | `hosts` | the hosts file |
//! | `settings` | resolv.conf |
//! | `message` | questions and answers as bytes |
//! | `dns` | name servers |
//! | `avahi` | the mDNS daemon |
//! | `multicast` | mDNS without that daemon |
//! | `interface` | the network interfaces of this machine |
//! | `name_answer` | what came of a question, for one family or both |
//! | `order` | which address is tried first |

mod avahi;
mod dns;
mod hosts;
mod interface;
mod literal;
mod message;
mod multicast;
mod name_answer;
mod order;
mod settings;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use literal::is_name;
use multicast::Remembered;
use name_answer::{NameAnswer, both};
use settings::Settings;

/// Domains that no name server may be asked for (RFC 6761, 6.4; RFC 7686, 2).
const NOWHERE: [&str; 2] = ["invalid", "onion"];

#[derive(Debug)]
pub(crate) struct Names {
    hosts: PathBuf,
    resolv_conf: PathBuf,
    avahi: PathBuf,
    remembered: Remembered,
}

/// Why a host has no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAddress {
    /// There is no such name, or it has no address.
    Unknown,
    /// No name server gave a usable answer.
    Silent,
}

impl std::error::Error for NoAddress {}

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoAddress::Unknown => "the host name has no address",
            NoAddress::Silent => "no name server gave a usable answer",
        })
    }
}

impl Default for Names {
    /// The files and the socket where they are on every system.
    fn default() -> Names {
        Names {
            hosts: "/etc/hosts".into(),
            resolv_conf: "/etc/resolv.conf".into(),
            avahi: "/run/avahi-daemon/socket".into(),
            remembered: Remembered::default(),
        }
    }
}

/// The address that a host is, in whatever spelling: nobody need be asked.
pub(crate) fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    literal::address(bare).map(|address| SocketAddr::new(address, port))
}

impl Names {
    /// All addresses of a host, at most eight, the most promising first. An address stands for itself. Takes as long as
    /// name servers do: whoever calls this sets a limit.
    ///
    /// # Errors
    /// [`NoAddress`].
    pub(crate) async fn lookup(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, NoAddress> {
        if let Some(address) = literal(host, port) {
            return Ok(vec![address]);
        }
        let found = match self.find(host).await {
            NameAnswer::Found(found, _) => found,
            NameAnswer::Nothing | NameAnswer::NoSuchName => return Err(NoAddress::Unknown),
            NameAnswer::Failed => return Err(NoAddress::Silent),
        };
        Ok(order::promising_first(found, port))
    }

    async fn find(&self, host: &str) -> NameAnswer {
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if !is_name(&name) || NOWHERE.iter().any(|domain| is_below(&name, domain)) {
            return NameAnswer::NoSuchName;
        }
        let known = hosts::find(&self.hosts, &name);
        if !known.is_empty() {
            return NameAnswer::Found(
                known.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect(),
                Duration::ZERO,
            );
        }
        if is_below(&name, "localhost") {
            let this = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            return NameAnswer::Found(this.map(|ip| SocketAddr::new(ip, 0)).to_vec(), Duration::ZERO);
        }
        let settings = Settings::read(&self.resolv_conf);
        let mut outcome = NameAnswer::NoSuchName;
        for candidate in settings.candidates(&name, host.ends_with('.')) {
            outcome = self.find_one(&candidate, &settings).await;
            // After a failure, the same name under another domain would be another host's.
            if !matches!(outcome, NameAnswer::Nothing | NameAnswer::NoSuchName) {
                break;
            }
        }
        outcome
    }

    async fn find_one(&self, name: &str, settings: &Settings) -> NameAnswer {
        if !is_below(name, "local") {
            return both(|family| dns::ask(name, family, settings)).await;
        }
        match avahi::ask(&self.avahi, name).await {
            found @ NameAnswer::Found(..) => found,
            _ => multicast::ask(name, &self.remembered).await,
        }
    }
}

/// Whether a name is this domain or within it.
fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests;
