//! The keys of `gateway:` that are about proxies in front of it, and about who may read figures without signing in.

use super::at::At;
use crate::base::network::Network;
use crate::base::path_prefix::PathPrefix;

/// The first parts of the pages' own paths: a prefix that begins with one of them would be ambiguous.
const OWN_PATHS: &str = "approvals audit sign-in sign-out static livez healthz metrics";

pub(crate) fn networks(at: At<'_>) -> Vec<Network> {
    at.one_or_more().into_iter().filter_map(network).collect()
}

fn network(at: At<'_>) -> Option<Network> {
    let text = at.filled()?;
    let help = "write 192.0.2.1, ::1 or 10.0.0.0/8";
    Network::parse(&text).or_else(|| at.fail(format!("{text:?} is neither an address nor a network"), help))
}

/// [`networks`] of proxies that are trusted to say who asks.
pub(crate) fn trusted(at: At<'_>) -> Vec<Network> {
    let networks = networks(at);
    if networks.iter().any(Network::is_everything) {
        let help = "list the addresses of the proxies only";
        at.warn("everybody is trusted to say whose request it is", help);
    }
    networks
}

/// The path below which a proxy shows the admin pages.
pub(crate) fn public_path(at: At<'_>) -> Option<PathPrefix> {
    let text = at.filled()?;
    let help = "write it as it appears in the address: /agentpass";
    let path = PathPrefix::parse(&text).or_else(|| at.fail("public_path is not a plain path", help))?;
    let first = path.first();
    let taken = format!("the admin pages have a path /{first} of their own");
    at.ensure(!OWN_PATHS.split(' ').any(|own| own == first), taken, "choose another one")?;
    Some(path)
}
