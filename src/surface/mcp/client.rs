//! Who asks, in which way, and what is on its way to them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::Mcp;
use crate::base::ids::RequestId;
use crate::gate::{Delivery, Inbox};
use crate::protocol::mcp::message::{Failure, INTERNAL_ERROR};
use crate::surface::agent::{AgentHandle, NotServed, UnreadRoom};

/// Who asks, in which way.
#[derive(Clone)]
pub(super) struct Client {
    pub mcp: Rc<Mcp>,
    pub agent: Rc<AgentHandle>,
    pub transit: Rc<Transit>,
    pub is_modern: bool,
    /// Whether it reads server-sent events.
    pub streams: bool,
    /// Where its answer waits until it has been written.
    pub room: Rc<AnswerRoom>,
}

/// The room that one answer takes in our memory.
#[derive(Default)]
pub(super) struct AnswerRoom(Cell<Option<UnreadRoom>>);

/// Results on their way on one connection.
#[derive(Default)]
pub(super) struct Transit {
    inbox: RefCell<Option<Rc<Inbox>>>,
    replies: RefCell<Vec<Delivery>>,
    offered: RefCell<Vec<RequestId>>,
}

impl Transit {
    /// The result of this request is about to be sent.
    pub(super) fn carry(&self, inbox: &Rc<Inbox>, id: RequestId) {
        self.inbox.replace(Some(inbox.clone()));
        self.replies.borrow_mut().push(inbox.hold(id));
    }

    /// A result from the inbox is about to be sent: it is offered again until it has arrived.
    pub(super) fn offer(&self, inbox: &Rc<Inbox>, id: RequestId) {
        self.inbox.replace(Some(inbox.clone()));
        self.offered.borrow_mut().push(id);
    }

    /// What was sent has arrived.
    pub(super) fn arrived(&self) {
        let replies = self.replies.take();
        let ids = replies.iter().map(|delivery| *delivery.key()).chain(self.offered.take()).collect();
        if let Some(inbox) = self.inbox.take() {
            inbox.received(ids);
        }
    }
}

impl Client {
    /// Keeps room for an answer of so many bytes. False: its agent has too much that is unread.
    pub(super) fn holds(&self, bytes: usize) -> bool {
        let room = self.agent.connection.hold(bytes);
        let has_room = room.is_some();
        self.room.0.set(room);
        has_room
    }
}

/// Why a request is not served, as an error.
pub(super) fn not_served(why: NotServed) -> Failure {
    match why {
        NotServed::TooManyInFlight => Failure::new(429, INTERNAL_ERROR, "too many requests in flight"),
        NotServed::TooSoon { retry_after } => {
            let text = format!("rate limit exceeded; wait {retry_after} s");
            Failure::new(429, INTERNAL_ERROR, text).with(serde_json::json!({"retry_after": retry_after}))
        }
        NotServed::Store(e) => {
            log::error!("pending results could not be read: {e}");
            Failure::new(503, INTERNAL_ERROR, "the gateway cannot use its record")
        }
    }
}
