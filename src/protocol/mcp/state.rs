//! What a new client brings back to go on with a call that is still waiting: an idempotency key of ours, sealed together with
//! the agent and the call. Nothing is kept for it, so it outlives a restart; whoever changes a word of the call or has it
//! from another agent gets nowhere.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::random_bytes;

/// How often a client is told to come back: those in use do so ten times.
const MAX_LEGS: u8 = 10;

const NAME: usize = 16;
const WORDS: usize = NAME + 1 + 8;
const SEAL: usize = 32;

/// What states are bound to.
pub(crate) struct Bond<'b> {
    /// A keyed hash of parts, whose key nobody else has.
    pub mac: &'b dyn Fn(&[&[u8]]) -> Digest,
    pub agent: &'b str,
    pub call: &'b Digest,
}

/// A call on its way through several requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LegState {
    name: [u8; 16],
    /// How often its client was told to come back.
    legs: u8,
    pub expires: Timestamp,
}

impl LegState {
    /// # Errors
    /// When the kernel has no randomness to give.
    pub(crate) fn new(expires: Timestamp) -> std::io::Result<LegState> {
        Ok(LegState { name: random_bytes()?, legs: 1, expires })
    }

    /// The key under which the call can be found again.
    pub(crate) fn key(&self) -> String {
        format!("mcp:{}", BASE64_URL_SAFE_NO_PAD.encode(self.name))
    }

    /// The state of the next leg; None when there were enough.
    pub(crate) fn next(self) -> Option<LegState> {
        (self.legs < MAX_LEGS).then(|| LegState { legs: self.legs + 1, ..self })
    }

    fn words(&self) -> [u8; WORDS] {
        let mut words = [0; WORDS];
        let all = self.name.iter().copied().chain([self.legs]).chain(self.expires.0.to_be_bytes());
        words.iter_mut().zip(all).for_each(|(word, byte)| *word = byte);
        words
    }

    fn read(words: &[u8]) -> Option<LegState> {
        let (name, rest) = words.split_at_checked(NAME)?;
        let (legs, expires) = rest.split_first()?;
        let expires = Timestamp(i64::from_be_bytes(expires.try_into().ok()?));
        Some(LegState { name: name.try_into().ok()?, legs: *legs, expires })
    }

    /// As text for the client.
    pub(crate) fn seal(&self, bond: &Bond<'_>) -> String {
        let words = self.words();
        BASE64_URL_SAFE_NO_PAD.encode([words.as_slice(), &bond.seal(&words).0].concat())
    }

    /// Reads what a client brings back; None when it was not made for this call of this agent, or its time is over.
    pub(crate) fn unseal(bond: &Bond<'_>, text: &str, now: Timestamp) -> Option<LegState> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok().filter(|b| b.len() == WORDS + SEAL)?;
        let (words, sealed) = bytes.split_at_checked(WORDS)?;
        let sealed = Digest(sealed.try_into().ok()?);
        let state = LegState::read(words)?;
        (sealed.is(&bond.seal(words)) && now < state.expires).then_some(state)
    }
}

impl Bond<'_> {
    fn seal(&self, words: &[u8]) -> Digest {
        (self.mac)(&[self.agent.as_bytes(), &self.call.0, words])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_of_one_agent_and_call_and_time() {
        let mac = |parts: &[&[u8]]| Digest::keyed(b"k", parts);
        let other = |parts: &[&[u8]]| Digest::keyed(b"l", parts);
        let (call, another) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        let bond = Bond { mac: &mac, agent: "pi", call: &call };
        let state = LegState::new(Timestamp(10)).unwrap();
        let text = state.seal(&bond);
        assert_eq!(LegState::unseal(&bond, &text, Timestamp(9)), Some(state));
        assert_eq!(LegState::unseal(&bond, &text, Timestamp(10)), None);
        for wrong in
            [Bond { agent: "laptop", ..bond }, Bond { call: &another, ..bond }, Bond { mac: &other, ..bond }]
        {
            assert_eq!(LegState::unseal(&wrong, &text, Timestamp(9)), None);
        }
        for bad in ["", "x", &text[1..], &format!("{text}AAAA")] {
            assert_eq!(LegState::unseal(&bond, bad, Timestamp(9)), None, "{bad}");
        }
        let legs = std::iter::successors(Some(state), |state| state.next());
        assert_eq!(legs.count(), 10);
    }
}
