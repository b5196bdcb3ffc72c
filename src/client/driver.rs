//! The task that owns the socket: sends calls, reads without pause, matches replies, reconnects.
//!
//! It must never await anything long but the socket and the orders: while it does not read, no ping is answered.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;
use smol::channel::Receiver;
use smol::{Timer, future};

use super::answer::Pending;
use super::backoff::{Loss, Retries};
use super::call::{Keyed, OpenCall};
use super::error::{ClientError, ConnectionError};
use super::options::ClientOptions;
use super::pulse::{Broken, Pulse};
use super::session::{self, ClientSession};
use crate::base::url::Url;
use crate::net::connect::ClientSocket;
use crate::net::deadline::within;
use crate::net::ws::{WRITE_DEADLINE, WsIncoming};
use crate::protocol::reply::{self, ReplyError, ServerMessage};

/// How long a goodbye waits for the ping that follows a result.
const FAREWELL: Duration = Duration::from_millis(300);

const NOT_PICKED_UP: &str = "the connection broke while the call was under way, and this gateway cannot pick it up; \
                             look for its outcome among the pending results";

pub(super) enum ClientOrder {
    Call(OpenCall),
    Close,
}

#[derive(Default)]
pub(super) struct WhyEnded(RefCell<Option<ConnectionError>>);

impl WhyEnded {
    /// Why calls can no longer be answered.
    pub(super) fn why_ended(&self) -> ClientError {
        ClientError::Connection(self.0.borrow().clone().unwrap_or(ConnectionError::Closed))
    }
}

pub(super) struct Driver {
    url: Url,
    options: ClientOptions,
    orders: Receiver<ClientOrder>,
    state: Rc<WhyEnded>,
    calls: BTreeMap<u64, OpenCall>,
    backoff: Retries,
}

enum SessionEnd {
    Closed,
    Lost { why: String, how: Loss },
}

enum SessionEvent {
    Order(Option<ClientOrder>),
    In(WsIncoming),
    Quiet,
}

impl Driver {
    pub(super) fn new(
        url: Url,
        options: ClientOptions,
        orders: Receiver<ClientOrder>,
        state: Rc<WhyEnded>,
    ) -> Driver {
        Driver { url, options, orders, state, calls: BTreeMap::new(), backoff: Retries::default() }
    }

    pub(super) async fn first_session(&mut self) -> Result<ClientSession, ConnectionError> {
        match session::open(&self.url, &self.options).await {
            Err(e) if self.options.fail_fast || e.is_final() => Err(e),
            Err(e) => self.reopen(e, Loss::Unproved).await,
            Ok(session) => Ok(session),
        }
    }

    /// Runs until the client is closed or there is no hope of a connection.
    pub(super) async fn run(mut self, first: ClientSession) {
        let why = self.keep_going(first).await;
        self.state.0.replace(Some(why));
        // Dropping a call drops its reply channel: whoever still waits then asks the state why. Those in the
        // queue would outlive the queue's reader.
        self.orders.close();
        while self.orders.try_recv().is_ok() {}
    }

    async fn keep_going(&mut self, first: ClientSession) -> ConnectionError {
        let mut session = first;
        loop {
            let SessionEnd::Lost { why, how } = self.serve(session).await else {
                return ConnectionError::Closed;
            };
            log::info!("connection to {} lost: {why}", self.url.host_and_port());
            session = match self.reopen(ConnectionError::Lost(why), how).await {
                Ok(session) => session,
                Err(e) => return e,
            };
        }
    }

    /// Tries until there is a connection or no hope of one. Calls go on being taken meanwhile.
    async fn reopen(&mut self, why: ConnectionError, how: Loss) -> Result<ClientSession, ConnectionError> {
        let mut last = why;
        self.backoff.lost(how);
        while let Some(wait) = self.backoff.next(self.options.max_retries) {
            let attempt = async {
                Timer::after(wait).await;
                session::open(&self.url, &self.options).await
            };
            match future::or(attempt, queue_up(&self.orders, &mut self.calls)).await {
                Ok(session) => return Ok(session),
                Err(e) if e.is_final() => return Err(e),
                Err(e) => {
                    log::info!("no connection to {}: {e}", self.url.host_and_port());
                    last = e;
                }
            }
        }
        Err(last)
    }

    async fn serve(&mut self, mut session: ClientSession) -> SessionEnd {
        let mut pulse = Pulse::new();
        let broken = match self.resume(&mut session).await {
            Ok(()) => self.exchange(&mut session, &mut pulse).await,
            Err(broken) => Some(broken),
        };
        match broken {
            None => {
                self.farewell(session, pulse).await;
                SessionEnd::Closed
            }
            Some(Broken { why, blame }) => {
                let how = pulse.loss(session.socket.farewell().map(|(code, _)| code));
                if let Some(code) = blame {
                    session.socket.close_with(code, "").await;
                }
                SessionEnd::Lost { why, how }
            }
        }
    }

    /// Sends on the new connection what was open on the old one.
    async fn resume(&mut self, session: &mut ClientSession) -> Result<(), Broken> {
        let keyed = session.keyed;
        let calls = std::mem::take(&mut self.calls).into_iter();
        let (go_on, ended): (Vec<_>, Vec<_>) =
            calls.partition(|(_, call)| !call.is_forgotten() && call.may_go_to(keyed));
        self.calls = go_on.into_iter().collect();
        for (_, call) in ended {
            call.settle(Err(ClientError::Connection(ConnectionError::Lost(NOT_PICKED_UP.into()))));
        }
        let ids: Vec<u64> = self.calls.keys().copied().collect();
        for id in ids {
            self.send(id, session).await?;
        }
        Ok(())
    }

    /// Returns `None` when asked to close.
    async fn exchange(&mut self, session: &mut ClientSession, pulse: &mut Pulse) -> Option<Broken> {
        loop {
            let step = match self.event(&mut session.socket, pulse.next_ping).await {
                SessionEvent::Order(Some(ClientOrder::Call(call))) => self.start(call, session).await,
                SessionEvent::Order(Some(ClientOrder::Close) | None) => return None,
                SessionEvent::In(incoming) => self.heard(incoming, pulse),
                SessionEvent::Quiet => pulse.ask(&mut session.socket).await,
            };
            if let Err(broken) = step {
                return Some(broken);
            }
        }
    }

    async fn event(&self, socket: &mut ClientSocket, next_ping: Instant) -> SessionEvent {
        let order = async { SessionEvent::Order(self.orders.recv().await.ok()) };
        let incoming = async { SessionEvent::In(socket.next().await) };
        let quiet = async {
            Timer::at(next_ping).await;
            SessionEvent::Quiet
        };
        future::or(order, future::or(incoming, quiet)).await
    }

    async fn start(&mut self, call: OpenCall, session: &mut ClientSession) -> Result<(), Broken> {
        let id = call.id;
        put(&mut self.calls, call);
        self.send(id, session).await
    }

    async fn send(&mut self, id: u64, session: &mut ClientSession) -> Result<(), Broken> {
        let Some(call) = self.calls.get_mut(&id) else { return Ok(()) };
        // Noted first: a send that fails may still have reached the gateway.
        call.sent = Some(Keyed(session.keyed));
        let text = call.text.clone();
        let sent = session.socket.send_text_batch([text], None, WRITE_DEADLINE).await;
        sent.map_err(Broken::silently)
    }

    fn heard(&mut self, incoming: WsIncoming, pulse: &mut Pulse) -> Result<(), Broken> {
        pulse.heard();
        let blame = incoming.close_code();
        match incoming {
            WsIncoming::Text(text) => self.take(&text, pulse),
            WsIncoming::Ping => pulse.ack_owed = false,
            WsIncoming::Pong(_) => {}
            WsIncoming::Closed => return Err(Broken::silently("closed by the gateway")),
            WsIncoming::TooLarge => {
                // Asked again, it would be just as large. Whose answer it was cannot be known.
                self.fail_all("the gateway's answer is too large");
                return Err(Broken { why: "message too large".into(), blame });
            }
            WsIncoming::Binary | WsIncoming::BadUtf8 => {
                return Err(Broken { why: "not a text message".into(), blame });
            }
            WsIncoming::ProtocolError(why) => return Err(Broken { why, blame }),
        }
        Ok(())
    }

    fn take(&mut self, text: &str, pulse: &mut Pulse) {
        match reply::parse(text) {
            Ok(ServerMessage::Reply { id, body }) => self.deliver(&id, body, pulse),
            Ok(ServerMessage::Notification { method, params }) if method == "approval_pending" => {
                self.pending(&params)
            }
            Ok(ServerMessage::Notification { .. }) => log::debug!("skipped a notification"),
            Err(e) => log::debug!("skipped a message: {e}"),
        }
    }

    fn deliver(&mut self, id: &Value, body: Result<Value, ReplyError>, pulse: &mut Pulse) {
        let Some(call) = self.call_of(id, body.is_err()).and_then(|id| self.calls.remove(&id)) else {
            return log::debug!("skipped a reply to nothing we asked");
        };
        pulse.replied = true;
        pulse.ack_owed |= leaves_ack(&body);
        call.settle(body.map_err(ClientError::from));
    }

    /// An error without an id is about the only call there is, or about none that could be named.
    fn call_of(&self, id: &Value, is_error: bool) -> Option<u64> {
        let mut ids = self.calls.keys();
        match (id, ids.next(), ids.next()) {
            (Value::Null, Some(only), None) if is_error => Some(*only),
            (Value::String(text), _, _) => text.parse().ok(),
            _ => None,
        }
    }

    fn pending(&self, params: &Value) {
        let id = params.get("id").and_then(Value::as_str).and_then(|id| id.parse().ok());
        let call = id.and_then(|id: u64| self.calls.get(&id));
        if let Some(tell) = call.and_then(|call| call.on_pending.as_ref()) {
            tell(&Pending::read(params));
        }
    }

    fn fail_all(&mut self, why: &str) {
        for call in std::mem::take(&mut self.calls).into_values() {
            call.settle(Err(ClientError::Connection(ConnectionError::Lost(why.into()))));
        }
    }

    /// Reads a moment longer, so that the ping which asks whether the result arrived finds us.
    async fn farewell(&mut self, mut session: ClientSession, mut pulse: Pulse) {
        within(FAREWELL, async {
            while pulse.ack_owed {
                let incoming = session.socket.next().await;
                if self.heard(incoming, &mut pulse).is_err() {
                    return;
                }
            }
        })
        .await;
        session.socket.close_with(1000, "").await;
    }
}

/// Whether the gateway keeps this until it knows that it arrived: outcomes of calls (they have an id) and lists of
/// them.
fn leaves_ack(body: &Result<Value, ReplyError>) -> bool {
    match body {
        Ok(result) => {
            let some = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
            result.get("request_id").is_some() || result.get("results").is_some_and(some)
        }
        Err(e) => e.data.contains_key("request_id"),
    }
}

/// Takes orders while there is no connection, and ends only when asked to close.
async fn queue_up(
    orders: &Receiver<ClientOrder>,
    calls: &mut BTreeMap<u64, OpenCall>,
) -> Result<ClientSession, ConnectionError> {
    while let Ok(ClientOrder::Call(call)) = orders.recv().await {
        put(calls, call);
    }
    Err(ConnectionError::Closed)
}

/// Keeps a call, and drops those that nobody waits for any more: they must not pile up.
fn put(calls: &mut BTreeMap<u64, OpenCall>, call: OpenCall) {
    calls.retain(|_, call| !call.is_forgotten());
    calls.insert(call.id, call);
}
