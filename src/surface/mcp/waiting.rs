//! A client's way of waiting for its call.
//!
//! | client | while a call goes on |
//! |---|---|
//! | reads a stream and sent a progress token | events, until it has ended (new clients: in legs of `gateway.mcp.hold`) |
//! | new | held for `hold`, then told to come back with a state; ten times |
//! | old | held for `hold`, then the pending result |
//!
//! A new client that closes its connection, or does not come back, takes its question back; an old one finds the result in
//! its inbox. A coding agent that asks for permission can be told yes or no and nothing else, so it is kept waiting until
//! there is an answer; what it does not wait for is taken back.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use smol::{Timer, future};

use super::client::Client;
use super::sessions::CallName;
use super::stream::{self, Events};
use super::{http, result};
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::base::slots::Slot;
use crate::gate::{CallReply, Ticket};
use crate::model::Outcome;
use crate::net::front::WebAnswer;
use crate::protocol::mcp::message::{self, Failure, INVALID_PARAMS};
use crate::protocol::mcp::permission::{NOBODY, Permission};
use crate::protocol::mcp::result::ToolResult;
use crate::protocol::mcp::state::{Bond, LegState};

/// What ends within this time is answered as one piece, even if the client would read a stream.
const AT_ONCE: Duration = Duration::from_millis(500);
/// How long a client that was told to come back may take.
const COME_BACK: Duration = Duration::from_secs(60);
/// How long a state lives at most.
const STATE_LIFE: Duration = Duration::from_secs(86_400);

/// A call that a client waits for.
pub(super) struct Waiting {
    pub ticket: Ticket,
    /// Kept until the answer is on its way.
    pub _slot: Slot,
    /// How a new client comes back; None: it is told to wait with a tool.
    pub legs: Option<Legs>,
    /// What a coding agent wants to do, if that is what is asked about.
    pub permission: Option<Permission>,
}

pub(super) struct Legs {
    pub call: Digest,
    /// What the client has brought back.
    pub came: Option<LegState>,
}

/// Takes a question back, unless others wait for the same.
pub(super) fn withdraw(client: &Client, id: RequestId) {
    let agent = client.agent.clone();
    let is_alone = agent.gate().ticket(agent.id(), id).is_none_or(|ticket| ticket.is_alone());
    let Some(_slot) = agent.withdrawal_slot().ok().filter(|_| is_alone) else { return };
    let task = async move {
        let _slot = _slot;
        if let Err(e) = agent.withdraw(id).await {
            log::error!("request {id}: a withdrawal could not be recorded: {e}");
        }
    };
    client.mcp.agents.executor.spawn(task).detach();
}

/// Takes the question back when it is dropped: the client closed its connection.
struct Leaving<'c> {
    client: &'c Client,
    call: Option<RequestId>,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            withdraw(self.client, call);
        }
    }
}

/// A request that is being answered.
pub(super) struct Held {
    client: Client,
    id: Value,
    waiting: Waiting,
    _name: Option<CallName>,
    began: Instant,
}

impl Held {
    pub(super) fn new(client: Client, id: Value, waiting: Waiting, name: Option<CallName>) -> Held {
        Held { client, id, waiting, _name: name, began: Instant::now() }
    }

    pub(super) async fn answer(self, progress: Option<Value>) -> WebAnswer {
        let call = self.waiting.ticket.id().filter(|_| self.client.is_modern);
        let mut leaving = Leaving { client: &self.client, call };
        let hold = self.hold();
        // An old client that asks for permission must not run into a time-out of its own.
        let is_kept = self.waiting.permission.is_some() && !self.client.is_modern;
        let streamed = Some(progress).filter(|token| self.client.streams && (token.is_some() || is_kept));
        let patience = if streamed.is_some() { AT_ONCE.min(hold) } else { hold };
        let reply = self.reply_within(patience).await;
        leaving.call = None;
        drop(leaving);
        match (reply, streamed) {
            (Some(reply), _) => {
                let status = self.failure(&reply).map_or(200, |failure| failure.status);
                WebAnswer::new(status, "application/json", self.frame(&reply))
            }
            (None, None) => http::result(&self.id, &self.come_back().await),
            (None, Some(token)) => {
                let (answer, events) = stream::open();
                let executor = self.client.mcp.agents.executor.clone();
                executor.spawn(async move { self.stream(&events, token.as_ref()).await }).detach();
                answer
            }
        }
    }

    fn hold(&self) -> Duration {
        self.client.agent.gate().setup().config.gateway.mcp.hold
    }

    async fn reply_within(&self, patience: Duration) -> Option<CallReply> {
        let late = async {
            Timer::after(patience).await;
            None
        };
        future::or(async { Some(self.waiting.ticket.reply().await) }, late).await
    }

    /// The frame of the answer. Its result counts as received only when it has arrived.
    fn frame(&self, reply: &CallReply) -> String {
        let result = match (&self.waiting.permission, &reply.outcome) {
            (Some(permission), _) => permission.decided(result::decision(self.client.agent.gate(), reply)),
            (None, Outcome::UnknownTool { .. }) if self.client.is_modern => {
                return Failure::new(200, INVALID_PARAMS, reply.outcome.message()).text(Some(&self.id));
            }
            (None, _) => result::of(reply),
        };
        let result = result.for_client(self.client.is_modern);
        let text = match self.failure(reply) {
            Some(failure) => failure.text(Some(&self.id)),
            None => message::result(&self.id, &result),
        };
        if !self.client.holds(text.len()) {
            // It may have been done, so this is no failure; its result waits in the inbox.
            let unread = ToolResult::unread(&reply.request_id.map(|id| id.to_string()).unwrap_or_default());
            return message::result(&self.id, &unread.for_client(self.client.is_modern));
        }
        if let Some(id) = reply.request_id {
            self.client.transit.carry(&self.client.agent.gate().inbox, id);
        }
        text
    }

    /// The error of a server behind us that new clients get as it is.
    fn failure(&self, reply: &CallReply) -> Option<Failure> {
        match &reply.outcome {
            Outcome::CapabilityMissing { message, mcp_data } if self.client.is_modern => {
                Some(Failure::missing_capability(message, mcp_data))
            }
            _another => None,
        }
    }

    /// What a client hears whose call goes on.
    async fn come_back(&self) -> String {
        let id = self.waiting.ticket.id();
        let state = match (&self.waiting.legs, id) {
            (Some(legs), Some(id)) => self.next_state(legs, id).await,
            _ => None,
        };
        if let (None, Some(permission)) = (&state, &self.waiting.permission) {
            id.into_iter().for_each(|id| withdraw(&self.client, id));
            return permission.decided(Err(NOBODY.to_owned())).for_client(self.client.is_modern);
        }
        match (state, id) {
            (Some(state), _) => json!({"resultType": "input_required", "requestState": state}).to_string(),
            (None, Some(id)) => {
                let expires = self.waiting.ticket.asked_until().map(|at| at.to_string());
                let pending = ToolResult::pending(&id.to_string(), expires.as_deref());
                pending.for_client(self.client.is_modern)
            }
            (None, None) => ToolResult::text("Not done yet.", true).for_client(self.client.is_modern),
        }
    }

    /// The state for the next leg; None when there were enough, or the call cannot be found again.
    async fn next_state(&self, legs: &Legs, id: RequestId) -> Option<String> {
        let (gate, agent) = (self.client.agent.gate(), self.client.agent.id());
        let state = match legs.came {
            Some(came) => came.next()?,
            None => {
                let new = LegState::new(gate.clock().now().plus(STATE_LIFE)).ok()?;
                if !gate.name(agent, id, new.key()).await {
                    return None;
                }
                new
            }
        };
        self.expect_back(id);
        let mac = |parts: &[&[u8]]| gate.store().token("mcp", parts);
        Some(state.seal(&Bond { mac: &mac, agent: agent.as_str(), call: &legs.call }))
    }

    /// Takes the question back if the client does not come for it.
    fn expect_back(&self, id: RequestId) {
        // Not the client itself: its connection must not count as one for so long.
        let (mcp, agent) = (self.client.mcp.clone(), self.client.agent.id().clone());
        let number = mcp.number_leg(id);
        let task = async move {
            Timer::after(COME_BACK).await;
            let gate = &mcp.agents.gate;
            let is_alone = || gate.ticket(&agent, id).is_none_or(|ticket| ticket.is_alone());
            if mcp.forget_leg(id, number)
                && is_alone()
                && let Err(e) = gate.approvals.withdraw(&agent, id).await
            {
                log::error!("request {id}: a withdrawal could not be recorded: {e}");
            }
        };
        self.client.mcp.agents.executor.spawn(task).detach();
    }

    /// Says how long it has been waiting, until the call has ended or the leg is over.
    async fn stream(self, events: &Events, token: Option<&Value>) {
        let pause = self.client.agent.gate().setup().config.gateway.mcp.keep_alive;
        loop {
            let until = self.waiting.ticket.asked_until().map(|at| at.to_string());
            let what_for = message::waits_for(until.as_deref());
            let sent = match token {
                Some(token) => {
                    events.message(&message::progress(token, self.began.elapsed(), &what_for)).await
                }
                None => events.keep_alive().await,
            };
            if sent.is_err() {
                return self.left();
            }
            let left = match self.waiting.legs {
                Some(_) => self.hold().saturating_sub(self.began.elapsed()),
                None => Duration::MAX,
            };
            let reply = async { Some(self.reply_within(pause.min(left)).await) };
            let gone = async {
                events.gone().await;
                None
            };
            let text = match future::or(reply, gone).await {
                None => return self.left(),
                Some(Some(reply)) => self.frame(&reply),
                Some(None) if left <= pause => message::result(&self.id, &self.come_back().await),
                Some(None) => continue,
            };
            let _ = events.message(&text).await;
            return;
        }
    }

    /// The client has closed its stream: the end of a call for new clients, and of a question for permission.
    fn left(&self) {
        let takes_back = self.client.is_modern || self.waiting.permission.is_some();
        if let (Some(id), true) = (self.waiting.ticket.id(), takes_back) {
            withdraw(&self.client, id);
        }
    }
}
