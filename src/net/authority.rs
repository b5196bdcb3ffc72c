//! Whom our TLS clients accept: servers that an authority vouches for, or the owner of one public key.

use openssl::error::ErrorStack;
use openssl::ssl::{self, SslConnector, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::{X509, X509VerifyResult};

use super::certificate::{format_pin, spki_digest};
use super::reason::tls_reason;

/// Trusts the system's authorities and those in `ca_pem`; with `pinned`, any certificate, which
/// [`check_pin`] then has to look at.
///
/// # Errors
/// In words; mostly that `ca_pem` holds no certificate.
pub(super) fn connector(ca_pem: Option<&[u8]>, pinned: bool) -> Result<SslConnector, String> {
    let failed = |error: ErrorStack| tls_reason(error);
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(failed)?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2)).map_err(failed)?;
    if pinned {
        // The pin replaces the check of chain and name; TLS still proves that the server owns the key.
        builder.set_verify(SslVerifyMode::NONE);
    }
    let system = openssl_probe::probe();
    // Unreadable system authorities are not trusted; those in `ca_pem` may be all there are.
    let _ = builder.load_verify_locations(system.cert_file.as_deref(), None);
    for folder in &system.cert_dir {
        let _ = builder.load_verify_locations(None, Some(folder));
    }
    for certificate in ca_pem.map(authorities).transpose()?.unwrap_or_default() {
        builder.cert_store_mut().add_cert(certificate).map_err(failed)?;
    }
    Ok(builder.build())
}

/// The certificates of a PEM file.
///
/// # Errors
/// In words, when there is none.
pub(super) fn authorities(pem: &[u8]) -> Result<Vec<X509>, String> {
    let found = X509::stack_from_pem(pem).ok().filter(|list| !list.is_empty());
    found.ok_or_else(|| "the CA file holds no PEM certificate".into())
}

/// Accepts only a server with the public key `pin`.
///
/// # Errors
/// In words, with the pin of the key that the server has.
pub(super) fn check_pin(certificate: Option<X509>, pin: &[u8; 32]) -> Result<(), String> {
    match certificate.and_then(|certificate| spki_digest(certificate.as_ref()).ok()) {
        Some(seen) if seen == *pin => Ok(()),
        Some(seen) => {
            Err(format!("the server's key is {}, the pin says {}", format_pin(&seen), format_pin(pin)))
        }
        None => Err("the server shows no readable certificate".into()),
    }
}

/// Why a handshake failed, in words; `found` is what the check of the server's certificate found.
pub(super) fn handshake_reason(error: &ssl::Error, found: X509VerifyResult) -> String {
    match found {
        X509VerifyResult::OK => tls_reason(error),
        found => tls_reason(format!("{error} ({})", found.error_string())),
    }
}
