//! Values that must never be printed, and token hashes that are compared in constant time.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::digest::Digest;

/// A credential. It has no `Display`, its `Debug` says nothing, and its memory is wiped when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }

    /// The text itself. Every caller is a place where the credential leaves this type: keep them few.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Takes as long for any two texts of one length.
impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The SHA-256 of a token. Tokens are kept and compared as hashes only.
#[derive(Clone, Copy, Debug)]
pub struct TokenHash(Digest);

impl TokenHash {
    pub fn new(token: &str) -> TokenHash {
        TokenHash(Digest::sha256(token.as_bytes()))
    }

    /// A hash given as 64 hex digits (`token_sha256` in config.yaml).
    pub fn parse(hex: &str) -> Option<TokenHash> {
        Digest::parse(hex).map(TokenHash)
    }

    /// Constant-time comparison.
    pub fn matches(&self, other: &TokenHash) -> bool {
        self.0.0.ct_eq(&other.0.0).into()
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &TokenHash) -> bool {
        self.matches(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "Secret(…)");
    }

    #[test]
    fn hashes_match_by_value() {
        let stored = TokenHash::parse(&Digest::sha256(b"t").hex()).unwrap();
        assert!(stored.matches(&TokenHash::new("t")));
        assert!(!stored.matches(&TokenHash::new("T")));
    }
}
