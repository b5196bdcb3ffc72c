//! Passwords that people choose, kept as scrypt hashes (RFC 7914). Making and checking one takes a tenth of a second
//! and 32 MiB on purpose: never on the thread that serves, never two at once.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use openssl::pkcs5::scrypt;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::ids::random_bytes;
use super::secret::Secret;

/// The shortest password that a hash is made of, in characters.
pub(crate) const MIN_CHARS: usize = 10;
/// The longest password that is looked at, in bytes.
pub(crate) const MAX_BYTES: usize = 1024;
/// The cost of a new hash: 2^15 blocks of 1 KiB three times over, as OWASP's password storage cheat sheet has it.
const COST: Cost = Cost { log_n: 15, r: 8, p: 3 };
/// More memory than this is never used for a hash that somebody else made, in bytes.
const MAX_MEMORY: u64 = 160 << 20;
const HASH_BYTES: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Cost {
    log_n: u32,
    r: u64,
    p: u64,
}

/// A password's hash: `$scrypt$ln=15,r=8,p=3$<salt>$<hash>`, the form that passlib and others write too.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    cost: Cost,
    salt: Vec<u8>,
    hash: [u8; HASH_BYTES],
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cost { log_n, r, p } = self.cost;
        let [salt, hash] = [&self.salt[..], &self.hash].map(|bytes| BASE64_STANDARD_NO_PAD.encode(bytes));
        write!(f, "$scrypt$ln={log_n},r={r},p={p}${salt}${hash}")
    }
}

impl PasswordHash {
    /// A new hash with a salt of its own. BLOCKS for about a tenth of a second.
    ///
    /// # Errors
    /// When the machine has no randomness or memory to give.
    pub fn make(password: &Secret) -> Result<PasswordHash, std::io::Error> {
        let salt = random_bytes::<16>()?.to_vec();
        let hash =
            derive(password, &salt, COST).ok_or_else(|| std::io::Error::other("no memory for scrypt"))?;
        Ok(PasswordHash { cost: COST, salt, hash: *hash })
    }

    /// Reads what [`fmt::Display`] writes. None for anything else, and for costs that this machine should not pay.
    pub fn parse(text: &str) -> Option<PasswordHash> {
        let mut parts = text.strip_prefix("$scrypt$")?.split('$');
        let (cost, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let [salt, hash] = [salt, hash].map(|text| BASE64_STANDARD_NO_PAD.decode(text).ok());
        let salt = salt.filter(|salt| (8..=64).contains(&salt.len()))?;
        Some(PasswordHash { cost: Cost::parse(cost)?, salt, hash: hash?.try_into().ok()? })
    }

    /// Whether this is the password. BLOCKS as long as [`PasswordHash::make`].
    pub fn matches(&self, password: &Secret) -> bool {
        if password.expose().len() > MAX_BYTES {
            return false;
        }
        derive(password, &self.salt, self.cost).is_some_and(|hash| hash.ct_eq(&self.hash).into())
    }
}

impl Cost {
    fn parse(text: &str) -> Option<Cost> {
        let mut parts = text.split(',');
        let mut number = |name: &str| -> Option<u32> { parts.next()?.strip_prefix(name)?.parse().ok() };
        let (log_n, r, p) = (number("ln=")?, u64::from(number("r=")?), u64::from(number("p=")?));
        let fits = (10..=20).contains(&log_n) && (1..=32).contains(&r) && (1..=16).contains(&p);
        let cost = Cost { log_n, r, p };
        (fits && parts.next().is_none() && cost.memory() <= MAX_MEMORY).then_some(cost)
    }

    /// RFC 7914: 128 r N bytes, and a little beside.
    fn memory(self) -> u64 {
        (self.r * 128) << self.log_n
    }
}

fn derive(password: &Secret, salt: &[u8], cost: Cost) -> Option<Zeroizing<[u8; HASH_BYTES]>> {
    let mut hash = Zeroizing::new([0; HASH_BYTES]);
    let most = cost.memory() + (1 << 20);
    let password = password.expose().as_bytes();
    scrypt(password, salt, 1 << cost.log_n, cost.r, cost.p, most, &mut *hash).ok()?;
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.into())
    }

    #[test]
    fn a_hash_knows_its_password_and_is_read_back() {
        let hash = PasswordHash::make(&secret("correct horse")).unwrap();
        let again = PasswordHash::parse(&hash.to_string()).unwrap();
        assert!(again.matches(&secret("correct horse")) && !again.matches(&secret("correct horsf")));
        assert!(!again.matches(&secret(&"x".repeat(MAX_BYTES + 1))));
        assert_ne!(PasswordHash::make(&secret("correct horse")).unwrap(), hash, "the salt differs");
        assert_eq!(format!("{hash:?}"), "PasswordHash(…)");
    }

    /// Made with Python's hashlib.scrypt.
    #[test]
    fn other_programs_make_the_same() {
        let made = "$scrypt$ln=10,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$@";
        let made = made.replace('@', PYTHON);
        assert!(PasswordHash::parse(&made).unwrap().matches(&secret("correct horse")));
    }

    const PYTHON: &str = "6g3umF+uVrJsObaTZhIbbTlgrvOEFcCItdwSjtPF67M";

    #[test]
    fn what_is_no_hash_is_refused() {
        let good = PasswordHash::make(&secret("x")).unwrap().to_string();
        for bad in [
            String::new(),
            "$2b$12$abcdefghijklmnopqrstuv".into(),
            good.replace("ln=15", "ln=31"),
            good.replace("r=8", "r=0"),
            good.replace("ln=15,r=8", "ln=20,r=32"),
            good.replace("p=3", "p=3,x=1"),
            format!("{good}$"),
            good[..good.len() - 2].to_owned(),
        ] {
            assert!(PasswordHash::parse(&bad).is_none(), "{bad}");
        }
    }
}
