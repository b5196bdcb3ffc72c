//! The names by which a listener is reached, as a `Host` header has them. A foreign one means that a name of somebody
//! else's leads here (DNS rebinding).

use std::net::{IpAddr, SocketAddr};

/// The names under which a listener may be reached.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    /// The first `own` are this machine's.
    names: Vec<String>,
    own: usize,
    addresses: Vec<IpAddr>,
    any_address: bool,
}

impl Hosts {
    /// The names of this machine, the addresses that it listens on, and `more` names of the owner's, in lower case.
    pub(crate) fn new(bound: &[SocketAddr], machine: &str, more: &[String]) -> Hosts {
        let machine = machine.to_ascii_lowercase();
        let own = [machine.clone(), format!("{machine}.local")].into_iter().filter(|_| !machine.is_empty());
        let bracketless = |name: &String| name.trim_matches(['[', ']']).to_owned();
        let mut names: Vec<_> = own.chain(["localhost".into()]).collect();
        let own = names.len();
        names.extend(more.iter().map(bracketless));
        let addresses: Vec<_> = bound.iter().map(|address| address.ip()).collect();
        // Whatever address leads to a listener on all of them is one of this machine's; a page cannot make it so.
        let any_address = addresses.iter().any(IpAddr::is_unspecified);
        Hosts { names, own, addresses, any_address }
    }

    /// Whether a `Host` header (`name`, `name:port`, `[::1]:port`) is one of ours. The port does not matter, because it
    /// may be a tunnel's.
    pub(crate) fn knows(&self, host: &str) -> bool {
        self.are(host, self.names.len())
    }

    /// The same without the names that the owner has added, which may be a proxy's.
    pub(crate) fn are_this_machine(&self, host: &str) -> bool {
        self.are(host, self.own)
    }

    fn are(&self, host: &str, names: usize) -> bool {
        let Some(name) = without_port(host) else { return false };
        match name.parse::<IpAddr>() {
            Ok(ip) => ip.is_loopback() || self.any_address || self.addresses.contains(&ip),
            Err(_) => self.names.iter().take(names).any(|known| known.eq_ignore_ascii_case(name)),
        }
    }
}

fn without_port(host: &str) -> Option<&str> {
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    if let Some(rest) = host.strip_prefix('[') {
        let (name, port) = rest.split_once(']')?;
        return (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(name);
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    (!name.is_empty() && is_port(port)).then(|| name.strip_suffix('.').unwrap_or(name))
}

/// What this machine calls itself.
pub(crate) fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_taken() {
        let bound = ["127.0.0.1:8080".parse().unwrap()];
        let hosts = Hosts::new(&bound, "Pi", &["gate.example".into(), "[fd00::1]".into()]);
        for good in [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1:8080",
            "127.0.0.2",
            "[::1]:8080",
            "[::1]",
            "pi:8080",
            "pi.local",
            "PI.",
            "gate.example:443",
        ] {
            assert!(hosts.knows(good), "{good}");
        }
        for bad in [
            "",
            ":8080",
            "evil.example",
            "localhost.evil.example",
            "evil.example:8080",
            "192.0.2.1",
            "localhost:80:80",
            "localhost:x",
            "[::1",
            "[::1]x",
            "pi@evil.example",
            "gate.example/",
            "0.0.0.0",
        ] {
            assert!(!hosts.knows(bad), "{bad}");
        }
        let everywhere = Hosts::new(&["0.0.0.0:8080".parse().unwrap()], "", &[]);
        assert!(
            everywhere.knows("192.0.2.1:8080") && !everywhere.knows("evil.example") && !everywhere.knows("")
        );
    }
}
