//! Whose page a request comes from, as far as browsers say: checked before anything is looked at.
//!
//! A foreign `Host` means that a name of somebody else's leads here (DNS rebinding); a foreign `Origin` that somebody
//! else's page sends forms. Neither may see or change anything, signed in or not.

use super::page;
use crate::base::safe_text::visible;
use crate::net::front::{WebAnswer, WebRequest};
use crate::surface::hosts::Hosts;

/// The refusal of a request that comes by a foreign name; None when it may go on.
pub(crate) fn foreign_name(hosts: &Hosts, request: &WebRequest) -> Option<WebAnswer> {
    let host = request.header("host");
    if hosts.knows(host) {
        return None;
    }
    log::debug!("refused an admin request for the host {:?}", visible(host));
    let text =
        "this is not one of the gateway's names; use its address, or list the name in gateway.admin_hosts";
    Some(page::text(421, text))
}

/// The refusal of a request that comes from a foreign page; None when it may go on.
pub(crate) fn foreign_page(request: &WebRequest, tls: bool) -> Option<WebAnswer> {
    let host = request.header("host");
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
