//! Trusting one more certificate: ureq takes either the system's roots or a list, so the list holds both.

use ureq::tls::{Certificate, RootCerts};

use super::super::authority::authorities;
use super::error::NotSent;

/// The system's certificates and those in `pem`. Without a readable bundle on this system, those in `pem` alone.
pub(super) fn system_and(pem: &[u8]) -> Result<RootCerts, NotSent> {
    let own = authorities(pem).map_err(NotSent::Tls)?;
    let bundle = openssl_probe::probe().cert_file.and_then(|path| std::fs::read(path).ok());
    let system = bundle.and_then(|pem| authorities(&pem).ok()).unwrap_or_default();
    let der = own.iter().chain(&system).filter_map(|certificate| certificate.to_der().ok());
    let all: Vec<_> = der.map(|der| Certificate::from_der(&der).to_owned()).collect();
    Ok(RootCerts::new_with_certs(&all))
}
