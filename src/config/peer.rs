//! How a service is reached and known when its `url` does not say it all: a socket, a key, another name.

use std::path::{Path, PathBuf};

use super::at::{At, Section};
use super::main_file::base_url;
use super::settings::ServicePeer;
use crate::base::digest::Digest;
use crate::base::url::{Url, is_host};

/// The longest path of a unix socket, in bytes (`sockaddr_un` holds 108 with its end).
const MAX_SOCKET_PATH: usize = 107;

/// `url:`; behind a socket everything is `http://localhost`.
pub(crate) fn address(at: At<'_>) -> Option<(Url, Option<PathBuf>)> {
    let text = at.text()?;
    let Some(path) = text.strip_prefix("unix:") else { return base_url(at).map(|url| (url, None)) };
    let help = "url: \"unix:/run/docker.sock\"";
    at.ensure(is_plain_path(path), "url must name a socket by its plain absolute path", help)?;
    let too_long = format!("the path of the socket is longer than {MAX_SOCKET_PATH} bytes");
    at.ensure(path.len() <= MAX_SOCKET_PATH, too_long, "")?;
    let url = Url::service("http://localhost").ok()?;
    Some((url, Some(Path::new(path).to_owned())))
}

/// Absolute, with nothing in it that could be read as something else than a name.
fn is_plain_path(path: &str) -> bool {
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    let odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '?' | '#' | '%' | '\\');
    path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(plain)) && !path.contains(odd)
}

/// `pin:` and `server_name:`, which only make sense where there is a certificate.
pub(crate) fn peer(section: Section<'_>, url: Option<&Url>, socket: Option<PathBuf>) -> ServicePeer {
    let (pin, name) = (section.get("pin"), section.get("server_name"));
    for at in [pin, name].into_iter().flatten() {
        if socket.is_some() || url.is_some_and(|url| !url.is_encrypted()) {
            at.error(format!("{} only applies to https", at.name()), "remove it, or use https://");
        }
    }
    if let Some(at) = pin
        && section.get("ca_cert").is_some()
    {
        let help = "leave one of them out: with a pin, authorities are not asked";
        at.error("pin and ca_cert cannot be used together", help);
    }
    ServicePeer { socket, pin: pin.and_then(key), server_name: name.and_then(server_name) }
}

fn key(at: At<'_>) -> Option<[u8; 32]> {
    let pin = Digest::parse_pin(&at.text()?);
    let help = "the SHA-256 of the certificate's public key (SubjectPublicKeyInfo)";
    pin.map(|pin| pin.0).or_else(|| at.fail("pin must be sha256: and 64 hex digits", help))
}

fn server_name(at: At<'_>) -> Option<String> {
    let name = at.filled()?;
    at.ensure(is_host(&name), "server_name is no host name", "server_name: \"nas.lan\"")?;
    Some(name)
}
