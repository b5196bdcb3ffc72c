//! What agents can do at the gateway, whatever they speak. A front such as [`rpc`](super::rpc) translates between its
//! protocol and this, and adds what belongs to its kind of connection.
//!
//! A front counts a new connection with [`Agents::enter`], learns from a request's head or a token who it is, and then
//! works with an [`AgentHandle`]: its slots for requests in flight, its list of tools, its calls, its inbox.

mod connected;
mod mcp;
mod tools;

use std::cell::Cell;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use serde_json::Value;
use smol::channel::bounded;

pub(crate) use connected::{MAX_UNREAD, UnreadRoom};
use tools::{ToolList, ToolLists};

use crate::base::ids::RequestId;
use crate::base::json;
use crate::base::network::any_contains;
use crate::base::safe_text::visible;
use crate::base::secret::TokenHash;
use crate::base::slots::{KeyedSlot, Slot, Slots};
use crate::gate::{Executor, Gate, Submission, Ticket};
use crate::model::{AgentId, AnswerOutcome};
use crate::net::front::{WebAnswer, WebRequest};
use crate::store::{StoreError, WaitingResult};
use crate::surface::admission::{Admission, Caller};
use connected::{AgentConnection, ConnectedAgents};

/// Connections per agent.
pub(crate) const MAX_CONNECTIONS: usize = 64;
/// Calls in flight per connection, and as many other requests that take time.
pub(crate) const MAX_IN_FLIGHT: usize = 32;

/// What requests cost that are no calls, in listed tools.
mod cost {
    /// The policy is asked, as for a call …
    pub(super) const EXPLAIN: u64 = 50;
    /// … and looks at every value: one more for so many bytes of arguments.
    pub(super) const EXPLAINED_BYTES: usize = 1024;
    /// The record is written.
    pub(super) const CANCEL: u64 = 20;
    pub(super) const INBOX: u64 = 20;
    /// One more for so many bytes of results.
    pub(super) const RESULT_BYTES: usize = 2048;
}

/// What all fronts for agents share.
pub(crate) struct Agents {
    pub gate: Rc<Gate>,
    pub executor: Executor,
    admission: Rc<Admission>,
    connected: ConnectedAgents,
    tools: ToolLists,
    mcp_tools: ToolLists,
}

/// The agent that a connection speaks for.
#[derive(Clone)]
pub(crate) struct AgentIdentity {
    pub agent: AgentId,
    /// The token's hash, to be looked up again after a reload.
    pub token: TokenHash,
}

/// Where a connection comes from.
#[derive(Clone, Copy)]
pub(crate) struct PeerAddress {
    socket: SocketAddr,
    /// The same address, or the client's by a trusted proxy's word.
    client: IpAddr,
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.client == self.socket.ip() {
            true => self.socket.fmt(f),
            false => write!(f, "{} through {}", self.client, self.socket.ip()),
        }
    }
}

/// A connection that has not authenticated yet.
pub(crate) struct Stranger {
    pub caller: Caller,
    address: Cell<PeerAddress>,
    counted: Cell<Option<Slot>>,
}

/// Why a request of an agent is not served.
pub(crate) enum NotServed {
    /// [`MAX_IN_FLIGHT`] are in flight.
    TooManyInFlight,
    /// The agent has spent what it has for such requests.
    TooSoon {
        retry_after: u64,
    },
    Store(StoreError),
}

impl Agents {
    pub(crate) fn new(gate: Rc<Gate>, executor: Executor) -> Agents {
        let (admission, connected) = (Rc::default(), ConnectedAgents::default());
        let (tools, mcp_tools) = (ToolLists::new(tools::plain), ToolLists::new(tools::for_mcp));
        Agents { gate, executor, admission, connected, tools, mcp_tools }
    }

    /// Counts a new connection from `socket`. Another one may have to leave for it.
    pub(crate) fn enter(&self, socket: SocketAddr) -> Stranger {
        let is_proxy = any_contains(&self.gate.setup().config.gateway.trusted_proxies, socket.ip());
        Stranger {
            caller: self.admission.enter((!is_proxy).then_some(socket.ip())),
            address: Cell::new(PeerAddress { socket, client: socket.ip() }),
            counted: Cell::new(Some(self.gate.ledger.metrics.strangers.count())),
        }
    }

    /// Who sends a request, by its head; None when that carries no token. Pages of origins for which `is_listed` holds may
    /// ask besides those of `gateway.allowed_origins`.
    ///
    /// # Errors
    /// The answer to a page of a foreign origin or a wrong token.
    pub(crate) fn identify(
        &self,
        stranger: &Stranger,
        head: &WebRequest,
        is_listed: impl Fn(&str) -> bool,
    ) -> Result<Option<AgentIdentity>, WebAnswer> {
        let setup = self.gate.setup();
        let PeerAddress { socket, client } = stranger.address();
        let gateway = &setup.config.gateway;
        let client = head.forwarded().client(socket.ip(), &gateway.trusted_proxies).unwrap_or(client);
        stranger.address.set(PeerAddress { socket, client });
        stranger.caller.comes_from(client);
        stranger.caller.spoke();
        if let Some(origin) =
            head.origin().filter(|origin| !(gateway.allowed_origins.contains(origin) || is_listed(origin)))
        {
            let text = "this origin is not allowed; list it in gateway.allowed_origins";
            log::warn!("connection from {}: {:?}: {text}", stranger.address(), visible(&origin));
            return Err(WebAnswer::text(403, text));
        }
        let Some(token) = head.bearer() else { return Ok(None) };
        // The right token gets in whatever others at the same address have done: they may share a router or a proxy.
        let is_refused = self.admission.refuses(client);
        let identity = self.identify_token(&token, stranger.address());
        identity.map(Some).ok_or_else(|| if is_refused { too_often() } else { wrong_token() })
    }

    /// Whose token this is. A wrong one is counted against the address it comes from.
    pub(crate) fn identify_token(&self, token: &str, from: PeerAddress) -> Option<AgentIdentity> {
        let token = TokenHash::new(token);
        if let Some(agent) = self.gate.setup().authenticate(&token) {
            return Some(AgentIdentity { agent, token });
        }
        self.gate.ledger.metrics.total(|totals| totals.failed_authentications += 1);
        // Whoever tries again and again must not fill the log.
        let level =
            if self.admission.failed(from.client, &token) { log::Level::Warn } else { log::Level::Debug };
        log::log!(level, "connection from {from}: authentication failed");
        None
    }

    /// A connection of `identity`'s; None when its agent has [`MAX_CONNECTIONS`].
    pub(crate) fn connect(self: &Rc<Self>, identity: AgentIdentity) -> Option<AgentHandle> {
        let counted = self.gate.ledger.connections.take(&identity.agent, MAX_CONNECTIONS)?;
        let connection = self.connected.get(&identity.agent).connect();
        let (calls, others) = (Slots::default(), Slots::default());
        Some(AgentHandle { agents: self.clone(), identity, calls, others, connection, _counted: counted })
    }
}

fn too_often() -> WebAnswer {
    let text = "too many wrong tokens from this address, and this is one more; wait a minute";
    WebAnswer::text(429, text).with("retry-after", "60")
}

fn wrong_token() -> WebAnswer {
    WebAnswer::text(401, "invalid token").with("www-authenticate", "Bearer")
}

impl Stranger {
    pub(crate) fn address(&self) -> PeerAddress {
        self.address.get()
    }

    /// One of its requests has authenticated, and each further one has to.
    pub(crate) fn admit_requests(&self) {
        if self.counted.take().is_some() {
            self.caller.admit(self.address().client);
        }
    }

    /// It has authenticated. The caller keeps its address from being refused while it lives.
    pub(crate) fn admit(self) -> Caller {
        self.caller.admit(self.address().client);
        self.caller
    }
}

pub(crate) struct AgentHandle {
    pub agents: Rc<Agents>,
    pub identity: AgentIdentity,
    /// Calls that this connection waits for.
    calls: Slots,
    /// Other requests of this connection that take time.
    others: Slots,
    /// Its share of the room for unread answers.
    pub connection: Rc<AgentConnection>,
    _counted: KeyedSlot<AgentId>,
}

impl AgentHandle {
    pub(crate) fn gate(&self) -> &Rc<Gate> {
        &self.agents.gate
    }

    pub(crate) fn id(&self) -> &AgentId {
        &self.identity.agent
    }

    /// Whether `token` is the agent's, by the setup in force.
    pub(crate) fn has_token(&self, token: &TokenHash) -> bool {
        self.gate().setup().authenticate(token).as_ref() == Some(self.id())
    }

    fn spend(&self, cost: u64) -> Result<(), NotServed> {
        self.gate().ledger.spend(self.id(), cost).map_err(|retry_after| NotServed::TooSoon { retry_after })
    }

    /// The tools that the agent may see.
    ///
    /// # Errors
    /// When the agent asks too often.
    pub(crate) fn list_tools(&self) -> Result<ToolList, NotServed> {
        self.list_from(&self.agents.tools)
    }

    /// The same in the words of another front.
    ///
    /// # Errors
    /// When the agent asks too often.
    fn list_from(&self, lists: &ToolLists) -> Result<ToolList, NotServed> {
        let list = lists.get(self.gate(), self.id());
        self.spend(list.count.max(1))?;
        Ok(list)
    }

    pub(crate) fn may_explain(&self) -> bool {
        self.gate().setup().may_explain(self.id())
    }

    /// What would become of a call. Where the owner keeps the rules is none of an agent's business.
    ///
    /// # Errors
    /// When the agent asks too often.
    pub(crate) fn explain(&self, request: Submission) -> Result<Value, NotServed> {
        let size = json::length(&request.args);
        self.spend(cost::EXPLAIN + units(size, cost::EXPLAINED_BYTES))?;
        Ok(without_files(self.gate().explain(self.id(), request).to_json()))
    }

    /// Asks for a call, which goes on whatever becomes of the ticket. The slot is to be kept until the answer is on its
    /// way, so that a peer that does not read gets no further.
    ///
    /// # Errors
    /// When too many calls are in flight.
    pub(crate) fn submit(&self, request: Submission) -> Result<(Ticket, Slot), NotServed> {
        let Some(slot) = self.calls.take(MAX_IN_FLIGHT) else {
            self.count_refused("too_many_pending");
            return Err(NotServed::TooManyInFlight);
        };
        Ok((self.gate().submit(self.id(), request), slot))
    }

    /// A place at the call under way that `key` leads to, with a slot as for a new call. It is not asked for anew: nothing
    /// is judged, nothing counts.
    ///
    /// # Errors
    /// When too many calls are in flight.
    pub(crate) fn rejoin(&self, key: &str) -> Result<Option<(Ticket, Slot)>, NotServed> {
        let Some(ticket) = self.gate().named(self.id(), key) else { return Ok(None) };
        let slot = self.calls.take(MAX_IN_FLIGHT).ok_or(NotServed::TooManyInFlight)?;
        Ok(Some((ticket, slot)))
    }

    /// Which of its requests `key` stands for, while its calls are stopped and nothing can be asked for.
    ///
    /// # Errors
    /// When the record cannot be read, or the agent has had its share of it.
    pub(crate) async fn stopped_call(&self, key: &str) -> Result<Option<RequestId>, NotServed> {
        let gate = self.gate();
        if gate.stops.of(self.id()).is_none() {
            return Ok(None);
        }
        self.spend(cost::INBOX)?;
        let known =
            gate.store().replay(self.id(), key, gate.clock().now()).await.map_err(NotServed::Store)?;
        Ok(known.map(|known| known.id))
    }

    /// Counts a call that was refused unread: every one counts against the rate.
    pub(crate) fn count_refused(&self, reason: &'static str) {
        self.gate().count_refused(self.id(), reason);
    }

    /// A slot for reading the inbox, to be kept as that of a call.
    ///
    /// # Errors
    /// When too many such requests are in flight.
    pub(crate) fn inbox_slot(&self) -> Result<Slot, NotServed> {
        self.others.take(MAX_IN_FLIGHT).ok_or(NotServed::TooManyInFlight)
    }

    /// A slot for taking a question back, or for a report: each is one more event.
    ///
    /// # Errors
    /// When too many such requests are in flight, or the agent takes back too often.
    pub(crate) fn withdrawal_slot(&self) -> Result<Slot, NotServed> {
        let slot = self.inbox_slot()?;
        self.spend(cost::CANCEL)?;
        Ok(slot)
    }

    pub(crate) async fn withdraw(&self, id: RequestId) -> Result<AnswerOutcome, StoreError> {
        self.gate().approvals.withdraw(self.id(), id).await
    }

    /// The results that wait for the agent. The record is read to the end even if nobody listens any more, and the next
    /// reading begins after that: connections that come and go must not fill the record's queue.
    ///
    /// # Errors
    /// When the record cannot be read, or the agent has had its share of it.
    pub(crate) async fn pending_results(&self) -> Result<Vec<WaitingResult>, NotServed> {
        self.read_inbox(None).await
    }

    /// The result of this request, if it waits for the agent.
    ///
    /// # Errors
    /// As for all of them.
    pub(crate) async fn pending_result(&self, id: RequestId) -> Result<Option<WaitingResult>, NotServed> {
        Ok(self.read_inbox(Some(id)).await?.pop())
    }

    async fn read_inbox(&self, only: Option<RequestId>) -> Result<Vec<WaitingResult>, NotServed> {
        let (gate, agent) = (self.gate().clone(), self.id().clone());
        let (turn, (answer, read)) = (self.connection.agent.inbox.clone(), bounded(1));
        let task = async move {
            let _turn = turn.lock_arc().await;
            if !answer.is_closed() {
                let _ = answer.try_send(read_inbox(&gate, &agent, only).await);
            }
        };
        self.agents.executor.spawn(task).detach();
        read.recv().await.unwrap_or(Err(NotServed::Store(StoreError::Stopped)))
    }
}

/// Whole units of so many `bytes` in `size`.
fn units(size: usize, bytes: usize) -> u64 {
    u64::try_from(size / bytes).unwrap_or(u64::MAX / 2)
}

async fn read_inbox(
    gate: &Rc<Gate>,
    agent: &AgentId,
    only: Option<RequestId>,
) -> Result<Vec<WaitingResult>, NotServed> {
    gate.ledger.spend(agent, cost::INBOX).map_err(|retry_after| NotServed::TooSoon { retry_after })?;
    let results = match only {
        None => gate.pending_results(agent).await,
        Some(id) => gate.pending_result(agent, id).await.map(|found| found.into_iter().collect()),
    };
    let results = results.map_err(NotServed::Store)?;
    let bytes = results.iter().map(|result| result.args.len() + result.result.len()).sum();
    gate.ledger.charge(agent, units(bytes, cost::RESULT_BYTES));
    Ok(results)
}

fn without_files(mut why: Value) -> Value {
    let forget = |rule: &mut Value| {
        if let Some(members) = rule.as_object_mut() {
            members.remove("file");
        }
    };
    if let Some(rule) = why.get_mut("rule") {
        forget(rule);
    }
    if let Some(trace) = why.get_mut("trace").and_then(Value::as_array_mut) {
        trace.iter_mut().for_each(forget);
    }
    why
}
