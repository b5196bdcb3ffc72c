//! Making and identifying certificates. It must never write a file or log a key.

use std::net::IpAddr;

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Extension, X509Name, X509Ref};
use zeroize::Zeroizing;

use super::tls::TlsError;
use crate::base::digest::to_hex;

/// How long a certificate of ours is valid; people who pin it should not have to come back soon.
const VALID_DAYS: u32 = 3650;
/// Valid from long ago: the agent's clock, or a Raspberry Pi's own, may be behind.
const VALID_FROM: &str = "20250101000000Z";
/// Certificates carry the version number minus one: this is version 3, the one with extensions.
const X509_V3: i32 = 2;

/// A certificate with its key, made here and signed by itself.
pub struct SelfSigned {
    pub cert_pem: Vec<u8>,
    /// The private key, PKCS #8 PEM without a password. Write it with mode 0600.
    pub key_pem: Zeroizing<Vec<u8>>,
    /// What clients may pin: `sha256:` and 64 hex digits, the digest of the public key.
    pub pin: String,
}

/// Makes a P-256 certificate for `names` (DNS names and IP addresses), valid for ten years.
///
/// It passes as its own root in strict verifiers too (RFC 5280: key identifiers, basic constraints, usages).
///
/// # Errors
/// [`TlsError::BadName`] for an empty list or a name that cannot be used in a certificate.
pub fn self_signed(names: &[String]) -> Result<SelfSigned, TlsError> {
    check_names(names)?;
    let key = new_key()?;
    let cert = certificate(names, &key)?;
    Ok(SelfSigned {
        cert_pem: cert.to_pem()?,
        key_pem: Zeroizing::new(key.private_key_to_pem_pkcs8()?),
        pin: format_pin(&spki_digest(&cert)?),
    })
}

/// The pin of the first certificate in a PEM text: `sha256:` and the hex digest of its public key
/// (the DER SubjectPublicKeyInfo), which a renewal with the same key keeps.
///
/// # Errors
/// [`TlsError::OpenSsl`] when there is no readable certificate.
pub fn spki_pin_of_pem(pem: &[u8]) -> Result<String, TlsError> {
    Ok(format_pin(&spki_digest(X509::from_pem(pem)?.as_ref())?))
}

pub(super) fn spki_digest(cert: &X509Ref) -> Result<[u8; 32], ErrorStack> {
    Ok(openssl::sha::sha256(&cert.public_key()?.public_key_to_der()?))
}

/// A pin as people write it.
pub(super) fn format_pin(digest: &[u8; 32]) -> String {
    format!("sha256:{}", to_hex(digest))
}

/// OpenSSL reads names as little configuration texts, so only plain names may reach it.
fn check_names(names: &[String]) -> Result<(), TlsError> {
    if names.is_empty() {
        return Err(TlsError::BadName(String::new()));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*');
    let good =
        |n: &str| n.parse::<IpAddr>().is_ok() || (!n.is_empty() && n.len() <= 253 && n.chars().all(plain));
    match names.iter().find(|n| !good(n)) {
        Some(bad) => Err(TlsError::BadName(bad.clone())),
        None => Ok(()),
    }
}

fn new_key() -> Result<PKey<Private>, ErrorStack> {
    let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&curve)?)
}

fn certificate(names: &[String], key: &PKey<Private>) -> Result<X509, ErrorStack> {
    let mut b = X509Builder::new()?;
    b.set_version(X509_V3)?;
    b.set_serial_number(&*serial()?)?;
    let name = subject()?;
    b.set_subject_name(&name)?;
    b.set_issuer_name(&name)?;
    b.set_not_before(&*Asn1Time::from_str(VALID_FROM)?)?;
    b.set_not_after(&*Asn1Time::days_from_now(VALID_DAYS)?)?;
    b.set_pubkey(key)?;
    add_extensions(&mut b, names)?;
    b.sign(key, MessageDigest::sha256())?;
    Ok(b.build())
}

/// 127 random bits: unguessable, positive, and within the 20 bytes that RFC 5280 allows.
fn serial() -> Result<Asn1Integer, ErrorStack> {
    let mut n = BigNum::new()?;
    n.rand(127, MsbOption::MAYBE_ZERO, false)?;
    n.to_asn1_integer()
}

fn subject() -> Result<X509Name, ErrorStack> {
    let mut name = X509Name::builder()?;
    name.append_entry_by_nid(Nid::COMMONNAME, "agentpass")?;
    Ok(name.build())
}

/// The authority's key identifier copies the subject's, so that one comes first.
fn add_extensions(b: &mut X509Builder, names: &[String]) -> Result<(), ErrorStack> {
    b.append_extension(BasicConstraints::new().critical().build()?)?;
    b.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
    b.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
    let subject_key = SubjectKeyIdentifier::new().build(&b.x509v3_context(None, None))?;
    b.append_extension(subject_key)?;
    let authority_key = AuthorityKeyIdentifier::new().keyid(true).build(&b.x509v3_context(None, None))?;
    b.append_extension(authority_key)?;
    let alternatives = alternative_names(b, names)?;
    b.append_extension(alternatives)
}

fn alternative_names(b: &X509Builder, names: &[String]) -> Result<X509Extension, ErrorStack> {
    let mut san = SubjectAlternativeName::new();
    for name in names {
        match name.parse::<IpAddr>() {
            Ok(_) => san.ip(name),
            Err(_) => san.dns(name),
        };
    }
    san.build(&b.x509v3_context(None, None))
}
