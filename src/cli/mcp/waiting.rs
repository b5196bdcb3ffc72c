//! A client's way of waiting for its call, as over `/mcp`.

use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use smol::Timer;

use super::calls::{OpenCall, Waiter};
use super::session::McpSession;
use crate::base::digest::Digest;
use crate::net::deadline::within;
use crate::protocol::mcp::message::{self, Failure};
use crate::protocol::mcp::permission::NOBODY;
use crate::protocol::mcp::result::ToolResult;
use crate::protocol::mcp::state::LegState;

/// What ends within this time needs no progress.
const AT_ONCE: Duration = Duration::from_millis(500);
/// How long a client that was told to come back may take.
const COME_BACK: Duration = Duration::from_secs(60);

/// A request that waits for a call.
pub(super) struct Waiting {
    pub waiter: Waiter,
    pub is_modern: bool,
    /// The client wants to hear how far it has come, under this token.
    pub progress: Option<Value>,
    /// How a new client comes back; None: it is told to wait with a tool.
    pub legs: Option<Legs>,
}

pub(super) struct Legs {
    pub call: Digest,
    pub state: LegState,
    /// Whether the client has brought it back.
    pub came: bool,
}

impl Waiting {
    /// What the client is answered, in the end.
    ///
    /// # Errors
    /// The error to answer.
    pub(super) async fn answer(self, session: &Rc<McpSession>) -> Result<String, Failure> {
        let call = &self.waiter.0;
        self.ended(session, call).await;
        if let Some(told) = call.told() {
            session.calls.forget(call);
            return told.for_client(self.is_modern);
        }
        Ok(self.come_back(session, call))
    }

    /// Waits until the call has ended, or this client has waited enough.
    async fn ended(&self, session: &Rc<McpSession>, call: &Rc<OpenCall>) {
        let manners = session.link().manners();
        let (began, hold) = (Instant::now(), manners.hold);
        // An old client that hears of progress, or asks for permission, waits as long as it takes.
        let patience = match self.is_modern || (self.progress.is_none() && call.permission.is_none()) {
            true => hold,
            false => Duration::MAX,
        };
        let mut pause = match &self.progress {
            Some(_) => AT_ONCE.min(hold),
            None => patience,
        };
        loop {
            let left = patience.saturating_sub(began.elapsed());
            if within(pause.min(left), call.over.wait()).await.is_some() || left <= pause {
                return;
            }
            if let Some(token) = &self.progress {
                let expires = call.asked.borrow().as_ref().and_then(|asked| asked.expires_at);
                let what_for = message::waits_for(expires.map(|at| at.to_string()).as_deref());
                session.say(message::progress(token, began.elapsed(), &what_for)).await;
            }
            pause = manners.keep_alive;
        }
    }

    /// What a client hears whose call goes on.
    fn come_back(&self, session: &Rc<McpSession>, call: &Rc<OpenCall>) -> String {
        if let Some(legs) = &self.legs {
            let state = if legs.came { legs.state.next() } else { Some(legs.state) };
            if let Some(state) = state {
                expect_back(session, call);
                let state = session.seal(&state, &legs.call);
                return json!({"resultType": "input_required", "requestState": state}).to_string();
            }
        }
        if let Some(permission) = &call.permission {
            session.calls.give_up(call);
            return permission.decided(Err(NOBODY.to_owned())).for_client(self.is_modern);
        }
        let expires = call.asked.borrow().as_ref().and_then(|asked| asked.expires_at);
        let expires = expires.map(|at| at.to_string());
        ToolResult::pending(&call.name(), expires.as_deref()).for_client(self.is_modern)
    }
}

/// Gives the call up if the client does not come for it.
fn expect_back(session: &Rc<McpSession>, call: &Rc<OpenCall>) {
    let (session, call, turn) = (session.clone(), call.clone(), call.turns.get());
    let executor = session.executor.clone();
    let task = async move {
        Timer::after(COME_BACK).await;
        if call.turns.get() == turn {
            session.calls.give_up(&call);
        }
    };
    executor.spawn(task).detach();
}
