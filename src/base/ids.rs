//! Request ids and random bytes.

use std::fmt;

/// The gateway's own id of one call: a random UUID, never chosen by a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(uuid::Uuid);

impl RequestId {
    pub fn random() -> RequestId {
        RequestId(uuid::Uuid::new_v4())
    }

    /// Reads the hyphenated form that [`fmt::Display`] writes (and the other usual ones).
    pub fn parse(text: &str) -> Option<RequestId> {
        uuid::Uuid::try_parse(text).ok().map(RequestId)
    }

    /// The id from its 128 bits.
    pub fn from_bytes(bytes: [u8; 16]) -> RequestId {
        RequestId(uuid::Uuid::from_bytes(bytes))
    }

    /// The 128 bits.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// `N` random bytes from the kernel.
///
/// # Errors
/// When the kernel has no randomness to give; nothing that needs secrecy may go on without it.
pub(crate) fn random_bytes<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(std::io::Error::from)?;
    Ok(bytes)
}
