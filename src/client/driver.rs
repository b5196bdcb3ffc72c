//! The task that owns the socket: sends calls, reads without pause, matches replies, reconnects.
//!
//! It must never await anything long but the socket and the orders: while it does not read, no ping is answered.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;
use smol::channel::{Receiver, Sender};
use smol::{Timer, future};

use super::answer::Pending;
use super::backoff::Backoff;
use super::error::{ClientError, ConnectionError};
use super::session::{self, Session};
use super::{ClientOptions, OnPending};
use crate::net::connect::{ClientSocket, ServerUrl};
use crate::net::deadline::within;
use crate::net::ws::{Incoming, WRITE_DEADLINE};
use crate::protocol::reply::{self, Message, ReplyError};

/// Silence after which we ask whether the gateway is still there; shorter than most address translations forget.
const PING_AFTER: Duration = Duration::from_secs(30);
/// Silence after which the connection counts as lost; the gateway's own limit.
const LOST_AFTER: Duration = Duration::from_secs(90);
/// A connection that lasted this long works, even if no reply came yet.
const PROVED_AFTER: Duration = Duration::from_secs(10);
/// How long a goodbye waits for the ping that follows a result.
const FAREWELL: Duration = Duration::from_millis(300);

const NOT_PICKED_UP: &str = "the connection broke while the call was under way, and this gateway cannot pick it up; \
                             look for its outcome among the pending results";

/// What the client asks of its driver.
pub(super) enum Order {
    /// Send this and deliver the reply.
    Call(Call),
    /// Say goodbye and end.
    Close,
}

/// One call under way.
pub(super) struct Call {
    id: u64,
    has_effects: bool,
    text: String,
    reply: Sender<Result<Value, ClientError>>,
    on_pending: Option<OnPending>,
    /// Whether it went out, and then whether to a gateway that knows its idempotency key.
    sent: Option<Keyed>,
}

#[derive(Clone, Copy, PartialEq)]
struct Keyed(bool);

impl Call {
    /// A call that was not sent yet. One that `has_effects` must not be run twice.
    pub(super) fn new(
        id: u64,
        has_effects: bool,
        text: String,
        reply: Sender<Result<Value, ClientError>>,
        on_pending: Option<OnPending>,
    ) -> Call {
        Call { id, has_effects, text, reply, on_pending, sent: None }
    }

    /// Whether sending it to such a gateway can lead to one execution at most.
    fn may_go_to(&self, keyed: bool) -> bool {
        match self.sent {
            None => true,
            Some(Keyed(was_keyed)) => !self.has_effects || (was_keyed && keyed),
        }
    }

    fn settle(self, body: Result<Value, ClientError>) {
        // The caller may have stopped waiting; then nobody wants to know.
        self.reply.try_send(body).ok();
    }
}

/// What driver and client both see.
#[derive(Default)]
pub(super) struct State {
    connected: Cell<bool>,
    ended: RefCell<Option<ConnectionError>>,
}

impl State {
    /// Whether there is a connection right now.
    pub(super) fn is_connected(&self) -> bool {
        self.connected.get()
    }

    /// Why calls can no longer be answered.
    pub(super) fn why_ended(&self) -> ClientError {
        ClientError::Connection(self.ended.borrow().clone().unwrap_or(ConnectionError::Closed))
    }
}

/// See the module's head.
pub(super) struct Driver {
    url: ServerUrl,
    options: ClientOptions,
    orders: Receiver<Order>,
    state: Rc<State>,
    calls: BTreeMap<u64, Call>,
    backoff: Backoff,
}

/// How one session ended.
enum End {
    /// As asked.
    Closed,
    /// Not as asked.
    Lost { why: String, proved: bool },
}

/// What a session waits for.
enum Event {
    Order(Option<Order>),
    In(Incoming),
    Quiet,
}

/// What is known about the running session beside its socket.
struct Pulse {
    began: Instant,
    heard: Instant,
    next_ping: Instant,
    replied: bool,
    /// A result arrived whose ping did not come yet.
    receipt_owed: bool,
}

impl Driver {
    /// A driver without a connection.
    pub(super) fn new(
        url: ServerUrl,
        options: ClientOptions,
        orders: Receiver<Order>,
        state: Rc<State>,
    ) -> Driver {
        Driver { url, options, orders, state, calls: BTreeMap::new(), backoff: Backoff::default() }
    }

    /// The first connection.
    pub(super) async fn first_session(&mut self) -> Result<Session, ConnectionError> {
        match session::open(&self.url, &self.options).await {
            Err(e) if self.options.fail_fast || e.is_final() => Err(e),
            Err(e) => self.reopen(e, false).await,
            Ok(session) => Ok(session),
        }
    }

    /// Runs until the client is closed or there is no hope of a connection.
    pub(super) async fn run(mut self, first: Session) {
        let why = self.keep_going(first).await;
        self.state.ended.replace(Some(why));
        // Dropping `self` drops the reply channels: every call that still waits then asks the state why.
    }

    async fn keep_going(&mut self, first: Session) -> ConnectionError {
        let mut session = first;
        loop {
            self.state.connected.set(true);
            let end = self.serve(session).await;
            self.state.connected.set(false);
            let End::Lost { why, proved } = end else { return ConnectionError::Closed };
            log::info!("connection to {} lost: {why}", self.url.authority());
            session = match self.reopen(ConnectionError::Lost(why), proved).await {
                Ok(session) => session,
                Err(e) => return e,
            };
        }
    }

    async fn reopen(&mut self, why: ConnectionError, proved: bool) -> Result<Session, ConnectionError> {
        let mut last = why;
        self.backoff.lost(proved);
        while let Some(wait) = self.backoff.next(self.options.max_retries) {
            Timer::after(wait).await;
            match session::open(&self.url, &self.options).await {
                Ok(session) => return Ok(session),
                Err(e) if e.is_final() => return Err(e),
                Err(e) => {
                    log::info!("no connection to {}: {e}", self.url.authority());
                    last = e;
                }
            }
        }
        Err(last)
    }

    async fn serve(&mut self, mut session: Session) -> End {
        let mut pulse = Pulse::new();
        let broken = match self.resume(&mut session).await {
            Ok(()) => self.exchange(&mut session, &mut pulse).await,
            Err(broken) => Some(broken),
        };
        match broken {
            None => {
                self.farewell(session, pulse).await;
                End::Closed
            }
            Some((None, why)) => End::Lost { why, proved: pulse.proved() },
            Some((Some(code), why)) => {
                session.socket.close_with(code, "").await;
                End::Lost { why, proved: pulse.proved() }
            }
        }
    }

    /// Sends on the new connection what was open on the old one.
    async fn resume(&mut self, session: &mut Session) -> Result<(), Broken> {
        let keyed = session.keyed;
        let calls = std::mem::take(&mut self.calls).into_iter();
        let (go_on, ended): (Vec<_>, Vec<_>) =
            calls.partition(|(_, call)| !call.reply.is_closed() && call.may_go_to(keyed));
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
    async fn exchange(&mut self, session: &mut Session, pulse: &mut Pulse) -> Option<Broken> {
        loop {
            let step = match self.event(&mut session.socket, pulse.next_ping).await {
                Event::Order(Some(Order::Call(call))) => self.start(call, session).await,
                Event::Order(Some(Order::Close) | None) => return None,
                Event::In(incoming) => self.heard(incoming, pulse),
                Event::Quiet => pulse.ask(&mut session.socket).await,
            };
            if let Err(broken) = step {
                return Some(broken);
            }
        }
    }

    async fn event(&self, socket: &mut ClientSocket, next_ping: Instant) -> Event {
        let order = async { Event::Order(self.orders.recv().await.ok()) };
        let incoming = async { Event::In(socket.next().await) };
        let quiet = async {
            Timer::at(next_ping).await;
            Event::Quiet
        };
        future::or(order, future::or(incoming, quiet)).await
    }

    async fn start(&mut self, call: Call, session: &mut Session) -> Result<(), Broken> {
        // Calls that nobody waits for any more must not pile up.
        self.calls.retain(|_, call| !call.reply.is_closed());
        let id = call.id;
        self.calls.insert(id, call);
        self.send(id, session).await
    }

    async fn send(&mut self, id: u64, session: &mut Session) -> Result<(), Broken> {
        let Some(call) = self.calls.get_mut(&id) else { return Ok(()) };
        // Noted first: a send that fails may still have reached the gateway.
        call.sent = Some(Keyed(session.keyed));
        let text = call.text.clone();
        let sent = session.socket.send_text_batch([text], None, WRITE_DEADLINE).await;
        sent.map_err(|e| (None, e.to_string()))
    }

    fn heard(&mut self, incoming: Incoming, pulse: &mut Pulse) -> Result<(), Broken> {
        pulse.heard();
        let code = incoming.close_code();
        match incoming {
            Incoming::Text(text) => self.take(&text, pulse),
            Incoming::Ping => pulse.receipt_owed = false,
            Incoming::Pong(_) => {}
            Incoming::Closed => return Err((None, "closed by the gateway".into())),
            Incoming::TooLarge => {
                // Asked again, it would be just as large. Whose answer it was cannot be known.
                self.fail_all("the gateway's answer is too large");
                return Err((code, "message too large".into()));
            }
            Incoming::Binary | Incoming::BadUtf8 => return Err((code, "not a text message".into())),
            Incoming::ProtocolError(why) => return Err((code, why)),
        }
        Ok(())
    }

    fn take(&mut self, text: &str, pulse: &mut Pulse) {
        match reply::parse(text) {
            Ok(Message::Reply { id, body }) => self.deliver(&id, body, pulse),
            Ok(Message::Notification { method, params }) if method == "approval_pending" => self.pending(&params),
            Ok(Message::Notification { .. }) => log::debug!("skipped a notification"),
            Err(e) => log::debug!("skipped a message: {e}"),
        }
    }

    fn deliver(&mut self, id: &Value, body: Result<Value, ReplyError>, pulse: &mut Pulse) {
        let Some(call) = self.call_of(id, body.is_err()).and_then(|id| self.calls.remove(&id)) else {
            return log::debug!("skipped a reply to nothing we asked");
        };
        pulse.replied = true;
        pulse.receipt_owed |= leaves_receipt(&body);
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
    async fn farewell(&mut self, mut session: Session, mut pulse: Pulse) {
        within(FAREWELL, async {
            while pulse.receipt_owed {
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

/// Why a session cannot go on, and the close code that says so to a gateway which broke the rules.
type Broken = (Option<u16>, String);

impl Pulse {
    fn new() -> Pulse {
        let now = Instant::now();
        Pulse { began: now, heard: now, next_ping: now + PING_AFTER, replied: false, receipt_owed: false }
    }

    fn heard(&mut self) {
        self.heard = Instant::now();
        self.next_ping = self.heard + PING_AFTER;
    }

    fn proved(&self) -> bool {
        self.replied || self.began.elapsed() >= PROVED_AFTER
    }

    async fn ask(&mut self, socket: &mut ClientSocket) -> Result<(), Broken> {
        if self.heard.elapsed() >= LOST_AFTER {
            return Err((None, "the gateway fell silent".into()));
        }
        self.next_ping = Instant::now() + PING_AFTER;
        socket.ping(Vec::new()).await.map_err(|e| (None, e.to_string()))
    }
}

/// Whether the gateway keeps this until it knows that it arrived: outcomes of calls (they have an id) and lists of them.
fn leaves_receipt(body: &Result<Value, ReplyError>) -> bool {
    match body {
        Ok(result) => {
            let some = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
            result.get("request_id").is_some() || result.get("results").is_some_and(some)
        }
        Err(e) => e.data.contains_key("request_id"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_keyed_call_goes_out_twice() {
        let (reply, _answer) = smol::channel::bounded(1);
        let call = |has_effects, sent: Option<bool>| Call {
            sent: sent.map(Keyed),
            ..Call::new(1, has_effects, String::new(), reply.clone(), None)
        };
        for (has_effects, sent, keyed, may) in [
            (true, None, false, true),
            (true, None, true, true),
            (true, Some(true), true, true),
            (true, Some(true), false, false),
            (true, Some(false), true, false),
            (true, Some(false), false, false),
            (false, Some(false), false, true),
        ] {
            assert_eq!(call(has_effects, sent).may_go_to(keyed), may, "{has_effects} {sent:?} {keyed}");
        }
    }
}
