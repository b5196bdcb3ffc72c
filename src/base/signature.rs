//! Messages that two programs sign with a key they share, by the scheme of <https://www.standardwebhooks.com>. Pure.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::clock::Timestamp;
use super::digest::Digest;

/// Marks a key that is written in base64.
const MARK: &str = "whsec_";
/// The version of the scheme, before each signature.
const VERSION: &str = "v1,";
/// How far the times of two machines may be apart.
const TOLERANCE_S: u64 = 300;

/// The key that both sides know.
#[derive(Clone)]
pub(crate) struct SigningKey(Zeroizing<Vec<u8>>);

/// What travels beside a message: `webhook-id`, `webhook-timestamp` and `webhook-signature`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) id: &'a str,
    /// Seconds since 1970.
    pub(crate) timestamp: &'a str,
    /// One or several, with spaces between.
    pub(crate) signatures: &'a str,
}

impl SigningKey {
    /// Reads `whsec_` and base64, or takes the text itself. None when the base64 is none or empty.
    pub(crate) fn parse(text: &str) -> Option<SigningKey> {
        let bytes = match text.strip_prefix(MARK) {
            Some(encoded) => STANDARD.decode(encoded).ok()?,
            None => text.as_bytes().to_vec(),
        };
        (!bytes.is_empty()).then(|| SigningKey(Zeroizing::new(bytes)))
    }

    /// How many bytes it has.
    pub(crate) fn length(&self) -> usize {
        self.0.len()
    }

    /// The signature of a message that is sent at this many seconds since 1970.
    pub(crate) fn sign(&self, id: &str, at_s: i64, body: &[u8]) -> String {
        let mac = self.mac(id, &at_s.to_string(), body);
        format!("{VERSION}{}", STANDARD.encode(mac.0))
    }

    /// Whether `signed` says that somebody with this key sent `body` not long before or after `now`.
    pub(crate) fn proves(&self, signed: Signed<'_>, body: &[u8], now: Timestamp) -> bool {
        let is_plain = !signed.timestamp.is_empty() && signed.timestamp.bytes().all(|b| b.is_ascii_digit());
        let Some(at) = signed.timestamp.parse::<i64>().ok().filter(|_| is_plain) else { return false };
        let mac = self.mac(signed.id, signed.timestamp, body);
        let is_ours = |given: &str| {
            let given = given.strip_prefix(VERSION).and_then(|text| STANDARD.decode(text).ok());
            given.is_some_and(|given| given.ct_eq(&mac.0).into())
        };
        at.abs_diff(now.0.div_euclid(1000)) <= TOLERANCE_S && signed.signatures.split(' ').any(is_ours)
    }

    fn mac(&self, id: &str, timestamp: &str, body: &[u8]) -> Digest {
        Digest::keyed(&self.0, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body])
    }
}

/// Takes as long for any two keys of one length.
impl PartialEq for SigningKey {
    fn eq(&self, other: &SigningKey) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the scheme's specification.
    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT: i64 = 1_614_265_330;

    fn proves(key: &str, change: impl Fn(&mut Signed<'_>), late_s: i64) -> bool {
        let mut signed = Signed { id: ID, timestamp: "1614265330", signatures: SIGNATURE };
        change(&mut signed);
        SigningKey::parse(key).unwrap().proves(signed, BODY, Timestamp((AT + late_s) * 1000))
    }

    #[test]
    fn the_specification_s_example() {
        assert_eq!(SigningKey::parse(KEY).unwrap().sign(ID, AT, BODY), SIGNATURE);
        assert!(proves(KEY, |_| {}, 0));
        assert!(proves(
            KEY,
            |s| s.signatures = "v1a,x v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            0
        ));
    }

    #[test]
    fn what_is_not_signed_now_by_this_key_for_this_message_proves_nothing() {
        assert!(proves(KEY, |_| {}, 300) && proves(KEY, |_| {}, -300));
        assert!(!proves(KEY, |_| {}, 301) && !proves(KEY, |_| {}, -301));
        assert!(!proves("another key", |_| {}, 0));
        assert!(!proves(KEY, |s| s.id = "msg_other", 0));
        assert!(!proves(KEY, |s| s.timestamp = "1614265331", 0));
        assert!(!proves(KEY, |s| s.timestamp = "+1614265330", 0));
        for signatures in ["", "v1,", "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "v1,%%%"] {
            assert!(!proves(KEY, |s| s.signatures = signatures, 0), "{signatures}");
        }
    }

    #[test]
    fn keys_are_base64_or_text() {
        assert_eq!(SigningKey::parse("plain text").unwrap().length(), 10);
        assert_eq!(SigningKey::parse(KEY).unwrap().length(), 24);
        assert!(["", "whsec_", "whsec_***"].iter().all(|bad| SigningKey::parse(bad).is_none()));
        assert_eq!(format!("{:?}", SigningKey::parse(KEY).unwrap()), "SigningKey(…)");
    }
}
