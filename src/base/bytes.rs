//! Bytes as text: RFC 4648 base64 with padding, one spelling for each content.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The bytes that a text stands for. None when it is not base64, or not in its one spelling.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling() {
        assert_eq!(decode("aGk="), Some(b"hi".to_vec()));
        assert_eq!(decode(""), Some(Vec::new()));
        for bad in ["aGk", "aGl=", "aGk=\n", "a-k=", "hi there"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
