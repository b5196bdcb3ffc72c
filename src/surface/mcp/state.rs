//! What a new client brings back to go on with a call that is still waiting: an idempotency key of ours, sealed together with
//! the agent and the call. Nothing is kept for it, so it outlives a restart; whoever changes a word of the call or has it
//! from another agent gets nowhere.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::random_bytes;
use crate::base::json::canonical;
use crate::gate::Submission;
use crate::model::AgentId;
use crate::store::Store;

/// How often a client is told to come back: those in use do so ten times.
pub(super) const MAX_LEGS: u8 = 10;

const NAME: usize = 16;
const WORDS: usize = NAME + 1 + 8;
const SEAL: usize = 32;

/// A call on its way through several requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LegState {
    name: [u8; 16],
    /// How often its client was told to come back.
    pub legs: u8,
    pub expires: Timestamp,
}

impl LegState {
    /// # Errors
    /// When the kernel has no randomness to give.
    pub(super) fn new(expires: Timestamp) -> std::io::Result<LegState> {
        Ok(LegState { name: random_bytes()?, legs: 1, expires })
    }

    /// The key under which the call can be found again.
    pub(super) fn key(&self) -> String {
        format!("mcp:{}", BASE64_URL_SAFE_NO_PAD.encode(self.name))
    }

    /// The state of the next leg; None when there were enough.
    pub(super) fn next(self) -> Option<LegState> {
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
    pub(super) fn seal(&self, store: &Store, agent: &AgentId, call: &Digest) -> String {
        let words = self.words();
        let seal = seal(store, agent, call, &words);
        BASE64_URL_SAFE_NO_PAD.encode([words.as_slice(), &seal.0].concat())
    }

    /// Reads what a client brings back; None when it was not made for this call of this agent, or its time is over.
    pub(super) fn unseal(
        store: &Store,
        agent: &AgentId,
        call: &Digest,
        text: &str,
        now: Timestamp,
    ) -> Option<LegState> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok().filter(|b| b.len() == WORDS + SEAL)?;
        let (words, sealed) = bytes.split_at_checked(WORDS)?;
        let sealed = Digest(sealed.try_into().ok()?);
        let state = LegState::read(words)?;
        (sealed.is(&seal(store, agent, call, words)) && now < state.expires).then_some(state)
    }
}

fn seal(store: &Store, agent: &AgentId, call: &Digest, words: &[u8]) -> Digest {
    store.token("mcp", &[agent.as_str().as_bytes(), &call.0, words])
}

/// What a state is bound to besides its agent: everything that the client says of its call.
pub(super) fn call_digest(request: &Submission) -> Option<Digest> {
    let call: Value = json!({
        "tool": request.tool, "args": request.args, "session": request.session, "reason": request.reason,
        "key": request.key,
    });
    Some(Digest::sha256(&canonical(&call).ok()?))
}
