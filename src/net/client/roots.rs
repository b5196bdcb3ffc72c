//! Trusting one more certificate: ureq takes either the system's roots or a list, so the list holds both.

use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

use super::error::NotSent;

/// The system's certificates and those in `pem`. Without a readable bundle on this system, those in `pem` alone.
pub(super) fn system_and(pem: &[u8]) -> Result<RootCerts, NotSent> {
    let own = certificates(pem);
    if own.is_empty() {
        return Err(NotSent::Tls("the CA file holds no PEM certificate".into()));
    }
    let all: Vec<_> = own.into_iter().chain(system()).collect();
    Ok(RootCerts::new_with_certs(&all))
}

fn system() -> Vec<Certificate<'static>> {
    let bundle = openssl_probe::probe().cert_file.and_then(|path| std::fs::read(path).ok());
    bundle.map(|pem| certificates(&pem)).unwrap_or_default()
}

fn certificates(pem: &[u8]) -> Vec<Certificate<'static>> {
    let items = parse_pem(pem).filter_map(Result::ok);
    items.filter_map(|item| if let PemItem::Certificate(c) = item { Some(c) } else { None }).collect()
}
