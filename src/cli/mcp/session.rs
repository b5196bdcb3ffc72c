//! What all requests of one client share.

use std::rc::Rc;

use smol::LocalExecutor;
use smol::channel::Sender;

use super::calls::Calls;
use super::link::Link;
use crate::base::clock::{Clock, Timestamp};
use crate::base::digest::Digest;
use crate::base::secret::Secret;
use crate::client::ClientOptions;
use crate::protocol::mcp::state::{Bond, LegState};

pub(super) struct McpSession {
    pub executor: Rc<LocalExecutor<'static>>,
    pub calls: Rc<Calls>,
    token: Secret,
    clock: Clock,
    out: Sender<String>,
}

impl McpSession {
    pub(super) fn new(
        executor: Rc<LocalExecutor<'static>>,
        options: ClientOptions,
        out: Sender<String>,
    ) -> Rc<McpSession> {
        let token = options.token.clone();
        let link = Rc::new(Link::new(executor.clone(), options));
        let calls = Calls::new(executor.clone(), link);
        Rc::new(McpSession { executor, calls, token, clock: Clock::system(), out })
    }

    pub(super) fn link(&self) -> &Link {
        &self.calls.link
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Writes one message. Waits where the client does not read.
    pub(super) async fn say(&self, text: String) {
        // Nobody reads any more: the input ends as well, or the next signal ends it all.
        let _ = self.out.send(text).await;
    }

    /// Nothing more is said.
    pub(super) fn hush(&self) {
        self.out.close();
    }

    /// A state as text for the client. What binds it is the agent's token, so it outlives this process.
    pub(super) fn seal(&self, state: &LegState, call: &Digest) -> String {
        self.bound(call, |bond| state.seal(bond))
    }

    /// The state that a client brings back for this call, if it is one.
    pub(super) fn unseal(&self, text: &str, call: &Digest) -> Option<LegState> {
        self.bound(call, |bond| LegState::unseal(bond, text, self.now()))
    }

    fn bound<T>(&self, call: &Digest, work: impl FnOnce(&Bond<'_>) -> T) -> T {
        let mac = |parts: &[&[u8]]| Digest::keyed(self.token.expose().as_bytes(), parts);
        work(&Bond { mac: &mac, agent: "agentpass mcp", call })
    }
}
