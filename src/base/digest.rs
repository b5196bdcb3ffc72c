//! SHA-256, the keyed hash of the audit chain, and hex. Only this module touches `sha2` and `hmac`.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// A SHA-256 value; shown as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The SHA-256 of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// HMAC-SHA-256 of `parts` laid end to end. Callers frame the parts themselves.
    pub fn keyed(key: &[u8], parts: &[&[u8]]) -> Digest {
        let mut mac = match Hmac::<Sha256>::new_from_slice(key) {
            Ok(mac) => mac,
            // proof: HMAC takes keys of any length, so this arm cannot run; it still yields no usable digest.
            Err(_) => return Digest([0; 32]),
        };
        parts.iter().for_each(|p| mac.update(p));
        Digest(mac.finalize().into_bytes().into())
    }

    /// Reads 64 hex digits of either case.
    pub fn parse(hex: &str) -> Option<Digest> {
        let bytes: [u8; 32] = from_hex(hex)?.try_into().ok()?;
        Some(Digest(bytes))
    }

    /// Reads a pin: `sha256:` and 64 hex digits, in any case.
    pub(crate) fn parse_pin(text: &str) -> Option<Digest> {
        text.trim().to_ascii_lowercase().strip_prefix("sha256:").and_then(Digest::parse)
    }

    /// Whether they are equal, in a time that does not tell how much of them is.
    pub(crate) fn is(&self, other: &Digest) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// 64 lower-case hex digits.
    pub fn hex(&self) -> String {
        to_hex(&self.0)
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.hex())
    }
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble });
    let mut hex = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        hex.push(digit(byte >> 4));
        hex.push(digit(byte & 15));
    }
    hex
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2) {
        return None;
    }
    hex.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [hi, lo] => Some(u8::try_from(digit(*hi)? * 16 + digit(*lo)?).ok()?),
            _ => None,
        })
        .collect()
}

fn digit(byte: u8) -> Option<u32> {
    char::from(byte).to_digit(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::sha256(b"").hex(), empty);
        assert_eq!(Digest::parse(&empty.to_uppercase()), Some(Digest::sha256(b"")));
        assert_eq!(Digest::parse("zz"), None);
        assert_eq!(Digest::parse("é"), None);
        // RFC 4231, test case 2
        let mac = Digest::keyed(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(mac.hex(), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
