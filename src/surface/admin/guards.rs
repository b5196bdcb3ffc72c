//! Whose page a request comes from, as far as browsers say: checked before anything is looked at.
//!
//! A foreign `Host` means that a name of somebody else's leads here (DNS rebinding); a foreign `Origin` that somebody
//! else's page sends forms. Neither may see or change anything, signed in or not.

use std::net::{IpAddr, SocketAddr};

use super::page;
use crate::base::safe_text::visible;
use crate::net::front::{WebAnswer, WebRequest};

/// The names under which browsers may reach the listener.
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
    fn knows(&self, host: &str) -> bool {
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

/// The refusal of a request that comes by a foreign name or from a foreign page; None when it may go on.
pub(crate) fn refusal(hosts: &Hosts, request: &WebRequest, tls: bool) -> Option<WebAnswer> {
    let host = request.header("host");
    if !hosts.knows(host) {
        log::debug!("refused an admin request for the host {:?}", visible(host));
        let text = "this is not one of the gateway's names; use its address, or list the name in gateway.admin_hosts";
        return Some(page::text(421, text));
    }
    if is_safe(request) {
        return is_foreign_load(request).then(|| page::text(403, FOREIGN));
    }
    match (is_from(request.header("origin"), host, tls), request.header("sec-fetch-site")) {
        (true, "" | "same-origin" | "none") => None,
        // The browser saw its own page: the name was changed on the way.
        (false, "" | "same-origin" | "none") => {
            Some(page::text(403, &renamed(request.header("origin"), host)))
        }
        (_, _) => Some(page::text(403, FOREIGN)),
    }
}

const FOREIGN: &str = "this request comes from another site";

/// For a person whose proxy asks by another name than their browser did.
fn renamed(origin: &str, host: &str) -> String {
    let [origin, host] = [origin, host].map(visible);
    format!(
        "this form comes from {origin}, but was sent to the host {host}\n\
         help: open the pages by that name; behind a reverse proxy, let it pass on the Host header (nginx: \
         proxy_set_header Host $http_host) and list the public name in gateway.admin_hosts"
    )
}

/// Whether the method changes nothing.
pub(crate) fn is_safe(request: &WebRequest) -> bool {
    matches!(request.method(), "GET" | "HEAD")
}

/// Whether a page elsewhere loads us as a picture, a script or data. People may follow a link to us from anywhere.
fn is_foreign_load(request: &WebRequest) -> bool {
    let site = request.header("sec-fetch-site");
    matches!(site, "cross-site" | "same-site") && request.header("sec-fetch-mode") != "navigate"
}

/// Whether a form's origin is the page of this host.
fn is_from(origin: &str, host: &str, tls: bool) -> bool {
    let own = |scheme: &str| origin.strip_prefix(scheme).is_some_and(|rest| rest.eq_ignore_ascii_case(host));
    // Without TLS of our own, a proxy on this machine may have it.
    origin.is_empty() || own("https://") || (!tls && own("http://"))
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
