//! What the connections of the agents' port share.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use crate::base::once_flag::OnceFlag;
use crate::gate::{Executor, Gate};
use crate::net::tls::Acceptor;
use crate::surface::agent::Agents;
use crate::surface::mcp::Mcp;

pub(crate) struct AgentPort {
    pub(super) agents: Rc<Agents>,
    pub(super) mcp: Rc<Mcp>,
    pub(super) acceptor: RefCell<Option<Acceptor>>,
    pub(super) max_message_bytes: usize,
    pub(super) stop: Rc<OnceFlag>,
    /// Where the grid of the timers of all connections begins.
    pub(super) began: Instant,
}

impl AgentPort {
    /// A port without `acceptor` speaks plain text: only for `--insecure`.
    pub(crate) fn new(
        gate: Rc<Gate>,
        executor: Executor,
        acceptor: Option<Acceptor>,
        max_message_bytes: usize,
        stop: Rc<OnceFlag>,
    ) -> Rc<AgentPort> {
        let agents = Rc::new(Agents::new(gate, executor));
        let (acceptor, began) = (RefCell::new(acceptor), Instant::now());
        let mcp = Mcp::new(agents.clone());
        Rc::new(AgentPort { agents, mcp, acceptor, max_message_bytes, stop, began })
    }

    /// Puts a renewed certificate in use for connections from now on.
    pub(crate) fn replace_acceptor(&self, acceptor: Acceptor) {
        self.acceptor.replace(Some(acceptor));
    }
}
