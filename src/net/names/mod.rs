//! Names to addresses, in the same way whatever C library the program is linked with: that of the static programs gives
//! up on a name when one of its two lookups fails, and knows nothing of `.local`.
//!
//! A name is looked for in the hosts file; then `localhost` is this machine, `NAME.local` is asked of avahi or of the
//! network itself, and all others are asked of the name servers in resolv.conf. Both files are read for every lookup, so
//! that a change counts at once. Addresses of the two families are looked up apart, and neither waits long for the other.
//!
//! | file | what |
//! |---|---|
//! | `literal` | hosts that are addresses already |
//! | `hosts` | the hosts file |
//! | `settings` | resolv.conf |
//! | `message` | questions and answers as bytes |
//! | `dns` | name servers |
//! | `avahi` | the daemon that knows `.local` |
//! | `multicast` | `.local` without that daemon |
//! | `interface` | the network interfaces of this machine |
//! | `order` | which address is tried first |

mod avahi;
mod dns;
mod hosts;
mod interface;
mod literal;
mod message;
mod multicast;
mod order;
mod settings;

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use smol::future;

use super::deadline::within;
use message::Family;
use multicast::Remembered;
use settings::Settings;

/// How much longer the other family may take once one has answered. IPv6 is waited for a little, since IPv4 serves
/// nearly everywhere; IPv4 longer, since an IPv6 address is of no use in many a network.
const AFTER_V4: Duration = Duration::from_millis(300);
const AFTER_V6: Duration = Duration::from_secs(2);

/// Domains that no name server may hear of, since it has nothing to say (RFC 6761, 6.4; RFC 7686, 2).
const NOWHERE: [&str; 2] = ["invalid", "onion"];

/// Looks names up.
#[derive(Debug)]
pub(crate) struct Names {
    hosts: PathBuf,
    resolv_conf: PathBuf,
    avahi: PathBuf,
    remembered: Remembered,
}

/// Why a name leads nowhere.
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

/// What came of asking for one family, or for both. Addresses have the port 0, and a scope where they need one.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Addresses, and how long they may be kept.
    Found(Vec<SocketAddr>, Duration),
    /// The name has none of them.
    Nothing,
    /// There is no such name.
    NoSuchName,
    /// Nobody gave a usable answer.
    Failed,
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

impl Names {
    /// All addresses of a host, at most eight, the most promising first. An address stands for itself. Takes as long as
    /// name servers do: whoever calls this sets a limit.
    ///
    /// # Errors
    /// [`NoAddress`].
    pub(crate) async fn lookup(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, NoAddress> {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if let Some(address) = literal::address(bare) {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let found = match self.find(bare).await {
            Outcome::Found(found, _) => found,
            Outcome::Nothing | Outcome::NoSuchName => return Err(NoAddress::Unknown),
            Outcome::Failed => return Err(NoAddress::Silent),
        };
        Ok(order::promising_first(found, port))
    }

    async fn find(&self, host: &str) -> Outcome {
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if !is_name(&name) || NOWHERE.iter().any(|domain| is_below(&name, domain)) {
            return Outcome::NoSuchName;
        }
        let known = hosts::find(&self.hosts, &name);
        if !known.is_empty() {
            return Outcome::Found(
                known.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect(),
                Duration::ZERO,
            );
        }
        if is_below(&name, "localhost") {
            let this = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            return Outcome::Found(this.map(|ip| SocketAddr::new(ip, 0)).to_vec(), Duration::ZERO);
        }
        let settings = Settings::read(&self.resolv_conf);
        let mut outcome = Outcome::NoSuchName;
        for candidate in settings.candidates(&name, host.ends_with('.')) {
            outcome = self.find_one(&candidate, &settings).await;
            // After a failure, the same name under another domain would be another host's.
            if !matches!(outcome, Outcome::Nothing | Outcome::NoSuchName) {
                break;
            }
        }
        outcome
    }

    async fn find_one(&self, name: &str, settings: &Settings) -> Outcome {
        if !is_below(name, "local") {
            return both(|family| dns::ask(name, family, settings)).await;
        }
        match avahi::ask(&self.avahi, name).await {
            found @ Outcome::Found(..) => found,
            _ => multicast::ask(name, &self.remembered).await,
        }
    }
}

/// Asks for both families at once.
async fn both<F: Future<Output = Outcome>>(ask: impl Fn(Family) -> F) -> Outcome {
    let (mut v4, mut v6) = (pin!(ask(Family::V4)), pin!(ask(Family::V6)));
    let (is_v4, first) =
        future::or(async { (true, v4.as_mut().await) }, async { (false, v6.as_mut().await) }).await;
    let (rest, longer) = if is_v4 { (v6, AFTER_V4) } else { (v4, AFTER_V6) };
    let second = match first {
        Outcome::Found(..) => within(longer, rest).await.unwrap_or(Outcome::Failed),
        _ => rest.await,
    };
    let (v4, v6) = if is_v4 { (first, second) } else { (second, first) };
    v4.and(v6)
}

impl Outcome {
    /// What IPv4 said, and what IPv6 said. "No such name" counts from either when both have spoken. Beside a failure it
    /// counts for IPv4 only: many servers at home deny a name for the IPv6 address that it lacks, and going on with the
    /// name under another domain would lead to another host.
    fn and(self, v6: Outcome) -> Outcome {
        match (self, v6) {
            (Outcome::Found(mut all, one), Outcome::Found(more, two)) => {
                all.extend(more);
                Outcome::Found(all, one.min(two))
            }
            (found @ Outcome::Found(..), _) | (_, found @ Outcome::Found(..)) => found,
            (Outcome::NoSuchName, _) => Outcome::NoSuchName,
            (Outcome::Failed, _) | (_, Outcome::Failed) => Outcome::Failed,
            (_, Outcome::NoSuchName) => Outcome::NoSuchName,
            (Outcome::Nothing, Outcome::Nothing) => Outcome::Nothing,
        }
    }
}

/// Whether a name can be asked for.
fn is_name(name: &str) -> bool {
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    name.len() <= 253 && name.split('.').all(fits) && !literal::is_like_one(name)
}

/// Whether a name is this domain or within it.
fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests;
