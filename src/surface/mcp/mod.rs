//! The Model Context Protocol on the agents' port (`/mcp`, Streamable HTTP). Old clients (2024-11-05 to 2025-11-25, with a
//! handshake and a session) and new ones (2026-07-28, without) are told apart request by request.
//!
//! | file | what it is |
//! |---|---|
//! | `connection` | one HTTP connection, request by request |
//! | `client` | who asks, and what is on its way to them |
//! | `modern`, `legacy` | the rules and methods of each era |
//! | `sessions` | the sessions of old clients |
//! | `call`, `waiting` | a tool call, and a client's way of waiting for it |
//! | `own` | the tools that the gateway adds: waiting, what is open, why |
//! | `result`, `http` | from outcomes to results; messages as HTTP carries them |
//! | `stream`, `listen` | server-sent events; what the gateway says on its own |

mod call;
mod client;
mod connection;
mod http;
mod legacy;
mod listen;
mod modern;
mod own;
mod result;
mod sessions;
mod stream;
mod waiting;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::base::ids::RequestId;
pub(crate) use connection::McpConnection;

use crate::surface::agent::Agents;
use sessions::Sessions;

/// What all MCP clients share.
pub(crate) struct Mcp {
    agents: Rc<Agents>,
    sessions: Sessions,
    /// Calls whose client was told to come back, each with the number of that leg.
    awaited: RefCell<HashMap<RequestId, u64>>,
    /// Legs so far.
    legs: Cell<u64>,
}

impl Mcp {
    pub(crate) fn new(agents: Rc<Agents>) -> Rc<Mcp> {
        let (sessions, awaited, legs) = Default::default();
        Rc::new(Mcp { agents, sessions, awaited, legs })
    }

    /// A client was told to come back for this call; the number tells this time from others.
    fn number_leg(&self, id: RequestId) -> u64 {
        let number = self.legs.get() + 1;
        self.legs.set(number);
        self.awaited.borrow_mut().insert(id, number);
        number
    }

    /// Whether the client has not come back since.
    fn forget_leg(&self, id: RequestId, number: u64) -> bool {
        let mut awaited = self.awaited.borrow_mut();
        awaited.get(&id) == Some(&number) && awaited.remove(&id).is_some()
    }
}
