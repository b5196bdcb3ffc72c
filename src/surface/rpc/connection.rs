//! One connection until it is authenticated: TLS, upgrade, token. Ten seconds for all of it.

use std::cell::Cell;
use std::fmt;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use smol::{Async, future};

use super::Rpc;
use super::session::{self, Peer};
use crate::base::network::any_contains;
use crate::base::secret::TokenHash;
use crate::gate::Setup;
use crate::model::AgentId;
use crate::net::deadline::within;
use crate::net::stream::Stream;
use crate::net::upgrade::{Refusal, UpgradeRequest, WsLimits, serve_upgrade};
use crate::net::ws::{Incoming, WRITE_DEADLINE, WebSocket};
use crate::protocol::frame::{self, Frame, Request, WireError};
use crate::protocol::{code, params};
use crate::surface::admission::Caller;

/// Time from the accepted socket to a good token.
pub(crate) const AUTH_TIME: Duration = Duration::from_secs(10);
/// Policy violation (RFC 6455, 7.4.1).
pub(crate) const CLOSE_POLICY: u16 = 1008;
/// Try again later (IANA registry).
const CLOSE_TRY_AGAIN: u16 = 1013;

/// Who a connection speaks for.
#[derive(Clone)]
pub(crate) struct Identity {
    /// The agent.
    pub agent: AgentId,
    /// The hash of the token it showed, to be looked up again after a reload.
    pub token: TokenHash,
}

/// Where a connection comes from.
#[derive(Clone, Copy)]
pub(crate) struct Whence {
    /// The other end of the socket.
    socket: SocketAddr,
    /// The same, or whose connection it is by a trusted proxy's word.
    client: IpAddr,
}

impl fmt::Display for Whence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.client == self.socket.ip() {
            true => self.socket.fmt(f),
            false => write!(f, "{} through {}", self.client, self.socket.ip()),
        }
    }
}

/// What an upgrade request led to.
enum Entry {
    /// It carried a good token.
    Known(Identity),
    /// The first message must.
    Unknown,
}

/// Serves one accepted socket to its end.
pub(crate) async fn run(rpc: Rc<Rpc>, tcp: Async<TcpStream>, peer: SocketAddr) {
    // In a box, which is gone before the session begins: handshakes need several times the room of an idle connection.
    if let Some((socket, peer)) = Box::pin(let_in(&rpc, tcp, peer)).await {
        session::run(rpc, socket, peer).await;
    }
}

async fn let_in(rpc: &Rc<Rpc>, tcp: Async<TcpStream>, socket: SocketAddr) -> Option<(Box<WebSocket>, Peer)> {
    let deadline = Instant::now() + AUTH_TIME;
    let is_proxy = any_contains(&rpc.gate.setup().trusted_proxies, socket.ip());
    let caller = rpc.admission.enter((!is_proxy).then_some(socket.ip()));
    let _counted = rpc.gate.metrics().stranger();
    let whence = Cell::new(Whence { socket, client: socket.ip() });
    let upgraded = future::or(upgrade(rpc, tcp, &whence, &caller, deadline), async {
        caller.must_leave().await;
        None
    });
    let (socket, entry) = upgraded.await?;
    caller.spoke();
    let whence = whence.get();
    let (socket, identity) = admit(rpc, socket, entry, &caller, whence, deadline).await?;
    Some((Box::new(socket), Peer { identity, whence, _caller: caller }))
}

async fn upgrade(
    rpc: &Rc<Rpc>,
    tcp: Async<TcpStream>,
    whence: &Cell<Whence>,
    caller: &Caller,
    deadline: Instant,
) -> Option<(WebSocket, Entry)> {
    let left = || deadline.saturating_duration_since(Instant::now());
    let acceptor = rpc.acceptor.borrow().clone();
    let stream = match acceptor {
        None => Stream::plain(tcp),
        Some(acceptor) => match acceptor.accept(tcp, left()).await {
            Ok(stream) => stream,
            Err(e) => {
                log::info!("connection from {}: {e}", whence.get());
                return None;
            }
        },
    };
    let limits = WsLimits { max_message_bytes: rpc.max_message_bytes, header_timeout: left() };
    let decide = |request: &UpgradeRequest| {
        let setup = rpc.gate.setup();
        let Whence { socket, client } = whence.get();
        let client = request.forwarded.client(socket.ip(), &setup.trusted_proxies).unwrap_or(client);
        whence.set(Whence { socket, client });
        caller.comes_from(client);
        caller.spoke();
        decide(rpc, &setup, whence.get(), request)
    };
    match serve_upgrade(stream, &limits, decide).await {
        Ok(granted) => granted,
        Err(e) => {
            log::debug!("connection from {}: {e}", whence.get());
            None
        }
    }
}

/// What the head of an upgrade request says is enough to refuse.
fn decide(rpc: &Rpc, setup: &Setup, whence: Whence, request: &UpgradeRequest) -> Result<Entry, Refusal> {
    if let Some(origin) = &request.origin
        && !setup.allowed_origins.contains(origin)
    {
        log::warn!(
            "connection from {whence}: refused the origin {:?}",
            crate::base::safe_text::visible(origin)
        );
        return Err(Refusal::new(403, "this origin is not allowed; list it in gateway.allowed_origins"));
    }
    match &request.bearer {
        None => Ok(Entry::Unknown),
        // The right token gets in whatever others at the same address have done: they may share a router or a proxy.
        Some(token) => identify(setup, token).map(Entry::Known).map_err(|wrong| {
            let is_refused = rpc.admission.refuses(whence.client);
            failed(rpc, whence, &wrong);
            if is_refused { too_often() } else { wrong_token() }
        }),
    }
}

fn too_often() -> Refusal {
    let mut refusal =
        Refusal::new(429, "too many wrong tokens from this address, and this is one more; wait a minute");
    refusal.headers.push(("retry-after", "60".into()));
    refusal
}

fn wrong_token() -> Refusal {
    let mut refusal = Refusal::new(401, "invalid token");
    refusal.headers.push(("www-authenticate", "Bearer".into()));
    refusal
}

/// Whose token this is, or the hash of one that is nobody's.
fn identify(setup: &Setup, token: &str) -> Result<Identity, TokenHash> {
    let token = TokenHash::new(token);
    setup.authenticate(&token).map(|agent| Identity { agent, token }).ok_or(token)
}

fn failed(rpc: &Rpc, whence: Whence, token: &TokenHash) {
    rpc.gate.metrics().failed_authentication();
    // Whoever tries again and again must not fill the log.
    let level = if rpc.admission.failed(whence.client, token) { log::Level::Warn } else { log::Level::Debug };
    log::log!(level, "connection from {whence}: authentication failed");
}

/// The first message, when the upgrade request carried no token.
async fn admit(
    rpc: &Rpc,
    mut socket: WebSocket,
    entry: Entry,
    caller: &Caller,
    whence: Whence,
    deadline: Instant,
) -> Option<(WebSocket, Identity)> {
    if let Entry::Known(identity) = entry {
        caller.admit(whence.client);
        return Some((socket, identity));
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let sent_away = async {
        caller.must_leave().await;
        Err(crowded())
    };
    let heard = async { Ok(socket.next().await) };
    let first = within(left, future::or(heard, sent_away)).await.transpose();
    match first.and_then(|first| examine(rpc, first)) {
        Ok((identity, id)) => {
            let welcome = frame::result(&id, welcome(&identity.agent));
            let sent = socket.send_text_batch([welcome.to_string()], None, WRITE_DEADLINE).await;
            sent.ok()?;
            caller.admit(whence.client);
            Some((socket, identity))
        }
        Err(refused) => {
            if let Some(token) = &refused.wrong {
                failed(rpc, whence, token);
            }
            // Taking leave takes time and a descriptor: it is cut short when others come in.
            caller.sent_away();
            future::or(turn_away(socket, refused), caller.must_leave()).await;
            None
        }
    }
}

/// The result of `auth`.
pub(crate) fn welcome(agent: &AgentId) -> Value {
    json!({"status": "authenticated", "agent_id": agent.as_str(), "version": env!("CARGO_PKG_VERSION")})
}

struct TurnedAway {
    error: Option<Box<(Value, WireError)>>,
    close: (u16, &'static str),
    wrong: Option<TokenHash>,
}

/// It is no failure of the peer's, and it may come back at once.
fn crowded() -> TurnedAway {
    let close = (CLOSE_TRY_AGAIN, "too many connections that have not authenticated");
    TurnedAway { error: None, close, wrong: None }
}

fn examine(rpc: &Rpc, first: Option<Incoming>) -> Result<(Identity, Value), TurnedAway> {
    let refuse = |id: Value, message: &str, wrong: Option<TokenHash>| TurnedAway {
        error: Some(Box::new((id, not_authenticated(message)))),
        close: (CLOSE_POLICY, "not authenticated"),
        wrong,
    };
    let text = match first {
        None => return Err(refuse(Value::Null, "Authentication timeout", None)),
        Some(Incoming::Text(text)) => text,
        Some(Incoming::Ping | Incoming::Pong(_)) => {
            return Err(refuse(Value::Null, "Not authenticated", None));
        }
        Some(ended) => {
            let close = (ended.close_code().unwrap_or(CLOSE_POLICY), "not authenticated");
            return Err(TurnedAway { error: None, close, wrong: None });
        }
    };
    let (id, token) = read_auth(&text).map_err(|id| refuse(id, "Not authenticated", None))?;
    match identify(&rpc.gate.setup(), &token) {
        Ok(identity) => Ok((identity, id)),
        Err(wrong) => Err(refuse(id, "Invalid token", Some(wrong))),
    }
}

/// The id and token of an `auth` request, or the id to refuse.
fn read_auth(text: &str) -> Result<(Value, String), Value> {
    match frame::parse(text) {
        Ok(Frame::Single(Ok(Request { id, method, params }))) if method == "auth" => {
            params::auth(params).map(|token| (id.clone(), token)).map_err(|_| id)
        }
        Ok(Frame::Single(Ok(other))) => Err(other.id),
        Ok(Frame::Single(Err(refused))) | Err(refused) => Err(refused.id),
        Ok(Frame::Batch(_)) => Err(Value::Null),
    }
}

/// Error -32005.
pub(crate) fn not_authenticated(message: &str) -> WireError {
    WireError::new(code::NOT_AUTHENTICATED, "not_authenticated", message)
}

async fn turn_away(mut socket: WebSocket, refused: TurnedAway) {
    if let Some(said) = refused.error {
        let text = frame::error(&said.0, &said.1).to_string();
        let _ = socket.send_text_batch([text], None, Duration::from_secs(1)).await;
    }
    let (code, reason) = refused.close;
    socket.close_with(code, reason).await;
}
