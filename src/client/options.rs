//! What callers choose: for a client, and for one tool request.

use std::rc::Rc;
use std::time::Duration;

use super::answer::Pending;
use crate::base::secret::Secret;
use crate::net::connect::Trust;

/// Where the gateway is, who we are, and how stubborn to be.
#[derive(Clone)]
pub struct ClientOptions {
    /// `wss://host:port`, or `ws://…` without encryption.
    pub url: String,
    /// The agent's token.
    pub token: Secret,
    /// What makes the gateway's certificate acceptable; for `wss` only.
    pub trust: Trust,
    /// Attempts in a row to get a lost connection back; `None` for no end.
    pub max_retries: Option<u32>,
    /// The very first connection is tried once only, whatever `max_retries` says.
    pub fail_fast: bool,
    /// For one attempt, name lookup to authentication.
    pub connect_timeout: Duration,
}

impl ClientOptions {
    /// The system's certificate authorities, endless retries, ten seconds for an attempt.
    pub fn new(url: impl Into<String>, token: Secret) -> ClientOptions {
        ClientOptions {
            url: url.into(),
            token,
            trust: Trust::System,
            max_retries: None,
            fail_fast: false,
            connect_timeout: Duration::from_secs(10),
        }
    }
}

/// Called when a human is being asked; from the driver task, so it must return at once.
pub type OnPending = Rc<dyn Fn(&Pending)>;

/// What goes with one tool request.
#[derive(Clone, Default)]
pub struct RequestOptions {
    /// Shown to the human; at most 500 characters.
    pub reason: Option<String>,
    /// The agent's own name for what it is doing; at most 128 bytes.
    pub session_id: Option<String>,
    /// For the whole wait, reconnects included. `None` waits as long as the gateway does.
    pub timeout: Option<Duration>,
    /// At most 128 bytes; a fresh random one unless given. Give one to have a call survive the process.
    pub idempotency_key: Option<String>,
    /// Whether the call is for what the agent performs itself, or for what is performed for it: tools of the other sort are
    /// unknown then. `None`: it does not matter.
    pub permits: Option<bool>,
    /// Told that a human is being asked.
    pub on_pending: Option<OnPending>,
}
