//! `tools/call`: the same submission as on every front, and a client's way of waiting for it.
//!
//! | client | while a call goes on |
//! |---|---|
//! | reads a stream and sent a progress token | events, until it has ended (new clients: in legs of `gateway.mcp.hold`) |
//! | new | held for `hold`, then told to come back with a state; ten times |
//! | old | held for `hold`, then the pending result |
//!
//! A new client that closes its connection, or does not come back, takes its question back; an old one finds the result in
//! its inbox.

use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use smol::{Timer, future};

use super::client::{Client, not_served};
use super::own::{self, Own};
use super::sessions::{CallName, LegacySession};
use super::state::{LegState, call_digest};
use super::stream::{self, Events};
use super::{http, result};
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::base::slots::Slot;
use crate::gate::{CallReply, Submission, Ticket};
use crate::model::Outcome;
use crate::net::front::WebAnswer;
use crate::protocol::mcp::message::{self, Failure, INVALID_PARAMS, Message};
use crate::protocol::mcp::result::ToolResult;
use crate::protocol::params::{MAX_KEY, MAX_REASON, MAX_TOOL};

/// What ends within this time is answered as one piece, even if the client would read a stream.
const AT_ONCE: Duration = Duration::from_millis(500);
/// How long a client that was told to come back may take.
const COME_BACK: Duration = Duration::from_secs(60);
/// How long a state lives at most.
const STATE_LIFE: Duration = Duration::from_secs(86_400);

/// A call that a client waits for.
struct Waiting {
    ticket: Ticket,
    /// Kept until the answer is on its way.
    _slot: Slot,
    /// How a new client comes back; None: it is told to wait with a tool.
    legs: Option<Legs>,
}

struct Legs {
    call: Digest,
    /// What the client has brought back.
    came: Option<LegState>,
}

struct CallParams {
    request: Submission,
    progress: Option<Value>,
    state: Option<String>,
}

/// Answers a `tools/call`.
///
/// # Errors
/// The error to answer.
pub(super) async fn answer(
    client: Client,
    session: Option<Rc<LegacySession>>,
    mut message: Message,
) -> Result<WebAnswer, Failure> {
    let id = message.id.take().unwrap_or_default();
    let CallParams { request, progress, state } = read(message)?;
    let own = match own::run(&client, &request.tool, &request.args).await {
        Some(own) => Begun::Own(own.map_err(not_served)?),
        None => begin(&client, request, state.as_deref()).await?,
    };
    let waiting = match own {
        Begun::Own(Own::Result(result)) => {
            return Ok(http::result(&id, &result.for_client(client.is_modern)));
        }
        Begun::Own(Own::Wait(ticket, _slot)) => Waiting { ticket, _slot, legs: None },
        Begun::Call(waiting) => waiting,
    };
    let name = session.zip(waiting.ticket.id()).map(|(session, call)| session.calls(&id, call));
    let held = Held { client, id, waiting, _name: name, began: Instant::now() };
    Ok(held.answer(progress).await)
}

fn read(message: Message) -> Result<CallParams, Failure> {
    let bad = |why: &str| Failure::new(200, INVALID_PARAMS, why);
    let text = |name: &str, max: usize| match message.meta(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= max => Ok(Some(text.clone())),
        Some(_) => Err(bad(&format!("{name} must be a string of at most {max} bytes"))),
    };
    let reason = text("agentpass/reason", MAX_REASON * 4)?;
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON) {
        return Err(bad("agentpass/reason is too long"));
    }
    let (session, key) = (text("agentpass/session", MAX_KEY)?, text("agentpass/idempotency_key", MAX_KEY)?);
    let progress =
        message.meta("progressToken").filter(|token| token.is_string() || token.is_number()).cloned();
    let mut params = message.params;
    let Some(Value::String(tool)) = params.remove("name") else { return Err(bad("name must be a string")) };
    if tool.is_empty() || tool.len() > MAX_TOOL {
        return Err(bad("name is empty or too long"));
    }
    let args = match params.remove("arguments") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(args)) => args,
        Some(_) => return Err(bad("arguments must be an object")),
    };
    let state = match params.remove("requestState") {
        None | Some(Value::Null) => None,
        Some(Value::String(state)) => Some(state),
        Some(_) => return Err(state_void()),
    };
    Ok(CallParams { request: Submission { tool, args, reason, session, key }, progress, state })
}

fn state_void() -> Failure {
    let text = "state_void: the state is not of this call, or its time is over; the call it was made for goes on as it was";
    Failure::new(200, INVALID_PARAMS, text).with(json!({"reason": "state_void"}))
}

/// What a request leads to.
enum Begun {
    Call(Waiting),
    Own(Own),
}

/// Asks for a call, or takes its place again at the one that the client comes back for: that was judged and counted when it
/// was asked for.
async fn begin(client: &Client, mut request: Submission, state: Option<&str>) -> Result<Begun, Failure> {
    let (gate, agent) = (client.agent.gate(), client.agent.id());
    let call = call_digest(&request).ok_or_else(state_void)?;
    let (mut came, mut place) = (None, None);
    if let Some(state) = state.filter(|_| client.is_modern) {
        let state = LegState::unseal(gate.store(), agent, &call, state, gate.clock().now());
        let state = state.ok_or_else(state_void)?;
        let key = state.key();
        place = client.agent.rejoin(&key).map_err(not_served)?;
        if place.is_none()
            && let Some(id) = client.agent.stopped_call(&key).await.map_err(not_served)?
        {
            return own::wait_for(client, id).await.map(Begun::Own).map_err(not_served);
        }
        (came, request.key) = (Some(state), Some(key));
    }
    let (ticket, slot) = match place {
        Some(place) => place,
        None => client.agent.submit(request).map_err(not_served)?,
    };
    if let (Some(_), Some(id)) = (&came, ticket.id()) {
        client.mcp.awaited.borrow_mut().remove(&id);
    }
    let legs = client.is_modern.then_some(Legs { call, came });
    Ok(Begun::Call(Waiting { ticket, _slot: slot, legs }))
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
struct Held {
    client: Client,
    id: Value,
    waiting: Waiting,
    _name: Option<CallName>,
    began: Instant,
}

impl Held {
    async fn answer(self, progress: Option<Value>) -> WebAnswer {
        let call = self.waiting.ticket.id().filter(|_| self.client.is_modern);
        let mut leaving = Leaving { client: &self.client, call };
        let hold = self.hold();
        let streamed = progress.filter(|_| self.client.streams);
        let patience = if streamed.is_some() { AT_ONCE.min(hold) } else { hold };
        let reply = self.reply_within(patience).await;
        leaving.call = None;
        drop(leaving);
        match (reply, streamed) {
            (Some(reply), _) => WebAnswer::new(200, "application/json", self.frame(&reply)),
            (None, None) => http::result(&self.id, &self.come_back().await),
            (None, Some(token)) => {
                let (answer, events) = stream::open();
                let executor = self.client.mcp.agents.executor.clone();
                executor.spawn(async move { self.stream(&events, &token).await }).detach();
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
        if let (Outcome::UnknownTool { .. }, true) = (&reply.outcome, self.client.is_modern) {
            return Failure::new(200, INVALID_PARAMS, reply.outcome.message()).text(Some(&self.id));
        }
        let result = result::of(reply).for_client(self.client.is_modern);
        let text = message::result(&self.id, &result);
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

    /// What a client hears whose call goes on.
    async fn come_back(&self) -> String {
        let id = self.waiting.ticket.id();
        let state = match (&self.waiting.legs, id) {
            (Some(legs), Some(id)) => self.next_state(legs, id).await,
            _ => None,
        };
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
        Some(state.seal(gate.store(), agent, &legs.call))
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
    async fn stream(self, events: &Events, token: &Value) {
        let pause = self.client.agent.gate().setup().config.gateway.mcp.keep_alive;
        loop {
            if events.message(&stream::progress(token, self.began.elapsed(), &self.what_for())).await.is_err()
            {
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

    fn what_for(&self) -> String {
        match self.waiting.ticket.asked_until() {
            Some(expires) => format!("Waiting for a person, until {expires} at the latest"),
            None => "Being carried out".to_owned(),
        }
    }

    /// The client has closed its stream: the end of a call for new clients only.
    fn left(&self) {
        if let (Some(id), true) = (self.waiting.ticket.id(), self.client.is_modern) {
            withdraw(&self.client, id);
        }
    }
}
