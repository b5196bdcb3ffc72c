//! One connection until it is authenticated: TLS, upgrade, token. Ten seconds for all of it.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use smol::{Async, future};

use super::Rpc;
use super::session::{self, Peer};
use crate::base::secret::TokenHash;
use crate::gate::Setup;
use crate::model::AgentId;
use crate::net::deadline::within;
use crate::net::stream::Stream;
use crate::net::upgrade::{Refusal, UpgradeRequest, WsLimits, serve_upgrade};
use crate::net::ws::{Incoming, WRITE_DEADLINE, WebSocket};
use crate::protocol::frame::{self, Frame, Request, WireError};
use crate::protocol::{code, params};
use crate::surface::door::{Guest, MAX_FAILURES, Member};

/// Time from the accepted socket to a good token.
pub const AUTH_TIME: Duration = Duration::from_secs(10);
/// Policy violation (RFC 6455, 7.4.1).
pub const CLOSE_POLICY: u16 = 1008;
/// Try again later (IANA registry).
const CLOSE_TRY_AGAIN: u16 = 1013;

/// Who a connection speaks for.
#[derive(Clone)]
pub struct Identity {
    /// The agent.
    pub agent: AgentId,
    /// The hash of the token it showed, to be looked up again after a reload.
    pub token: TokenHash,
}

/// What an upgrade request led to.
enum Entry {
    /// It carried a good token.
    Known(Identity),
    /// The first message must.
    Unknown,
}

/// Serves one accepted socket to its end.
pub async fn run(rpc: Rc<Rpc>, tcp: Async<TcpStream>, peer: SocketAddr) {
    // In a box, which is gone before the session begins: handshakes need several times the room of an idle connection.
    if let Some((socket, peer)) = Box::pin(let_in(&rpc, tcp, peer)).await {
        session::run(rpc, socket, peer).await;
    }
}

async fn let_in(rpc: &Rc<Rpc>, tcp: Async<TcpStream>, address: SocketAddr) -> Option<(Box<WebSocket>, Peer)> {
    let deadline = Instant::now() + AUTH_TIME;
    let guest = rpc.door.enter(address.ip());
    let _counted = rpc.gate.metrics().stranger();
    let upgraded = future::or(upgrade(rpc, tcp, address.ip(), &guest, deadline), async {
        guest.must_leave().await;
        None
    });
    let (socket, entry) = upgraded.await?;
    guest.spoke();
    let (socket, identity, _member) = admit(rpc, socket, entry, guest, address.ip(), deadline).await?;
    Some((Box::new(socket), Peer { identity, address, _member }))
}

async fn upgrade(
    rpc: &Rc<Rpc>,
    tcp: Async<TcpStream>,
    address: IpAddr,
    guest: &Guest,
    deadline: Instant,
) -> Option<(WebSocket, Entry)> {
    let left = || deadline.saturating_duration_since(Instant::now());
    let acceptor = rpc.acceptor.borrow().clone();
    let stream = match acceptor {
        None => Stream::plain(tcp),
        Some(acceptor) => match acceptor.accept(tcp, left()).await {
            Ok(stream) => stream,
            Err(e) => {
                log::info!("connection from {address}: {e}");
                return None;
            }
        },
    };
    let limits = WsLimits { max_message_bytes: rpc.max_message_bytes, header_timeout: left() };
    let decide = |request: &UpgradeRequest| {
        guest.spoke();
        decide(rpc, address, request)
    };
    match serve_upgrade(stream, &limits, decide).await {
        Ok(granted) => granted,
        Err(e) => {
            log::debug!("connection from {address}: {e}");
            None
        }
    }
}

/// What the head of an upgrade request says is enough to refuse.
fn decide(rpc: &Rpc, address: IpAddr, request: &UpgradeRequest) -> Result<Entry, Refusal> {
    let setup = rpc.gate.setup();
    if rpc.door.refuses(address) {
        let mut refusal =
            Refusal::new(429, "too many failed authentications from this address; wait a minute");
        refusal.headers.push(("retry-after", "60".into()));
        return Err(refusal);
    }
    if let Some(origin) = &request.origin
        && !setup.allowed_origins.contains(origin)
    {
        log::warn!(
            "connection from {address}: refused the origin {:?}",
            crate::base::safe_text::visible(origin)
        );
        return Err(Refusal::new(403, "this origin is not allowed; list it in gateway.allowed_origins"));
    }
    match &request.bearer {
        None => Ok(Entry::Unknown),
        Some(token) => match identify(&setup, token) {
            Some(identity) => Ok(Entry::Known(identity)),
            None => {
                failed(rpc, address);
                let mut refusal = Refusal::new(401, "invalid token");
                refusal.headers.push(("www-authenticate", "Bearer".into()));
                Err(refusal)
            }
        },
    }
}

fn identify(setup: &Setup, token: &str) -> Option<Identity> {
    let token = TokenHash::of(token);
    setup.authenticate(&token).map(|agent| Identity { agent, token })
}

fn failed(rpc: &Rpc, address: IpAddr) {
    rpc.gate.metrics().failed_authentication();
    // An address that is not refused, because an agent lives there, must not fill the log either.
    let level = if rpc.door.failed(address) > MAX_FAILURES { log::Level::Debug } else { log::Level::Warn };
    log::log!(level, "connection from {address}: authentication failed");
}

/// The first message, when the upgrade request carried no token.
async fn admit(
    rpc: &Rpc,
    mut socket: WebSocket,
    entry: Entry,
    guest: Guest,
    address: IpAddr,
    deadline: Instant,
) -> Option<(WebSocket, Identity, Member)> {
    if let Entry::Known(identity) = entry {
        return Some((socket, identity, guest.admitted(address)));
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let sent_away = async {
        guest.must_leave().await;
        Err(crowded())
    };
    let heard = async { Ok(socket.next().await) };
    let first = within(left, future::or(heard, sent_away)).await.transpose();
    match first.and_then(|first| examine(rpc, first)) {
        Ok((identity, id)) => {
            let welcome = frame::result(&id, welcome(&identity.agent));
            let sent = socket.send_text_batch([welcome.to_string()], None, WRITE_DEADLINE).await;
            sent.ok().map(|()| (socket, identity, guest.admitted(address)))
        }
        Err(refused) => {
            if refused.counts {
                failed(rpc, address);
            }
            // Taking leave takes time and a descriptor: it is cut short when others come in.
            guest.sent_away();
            future::or(turn_away(socket, refused), guest.must_leave()).await;
            None
        }
    }
}

/// The result of `auth`.
pub fn welcome(agent: &AgentId) -> Value {
    json!({"status": "authenticated", "agent_id": agent.as_str(), "version": env!("CARGO_PKG_VERSION")})
}

struct TurnedAway {
    error: Option<Box<(Value, WireError)>>,
    close: (u16, &'static str),
    counts: bool,
}

/// It is no failure of the peer's, and it may come back at once.
fn crowded() -> TurnedAway {
    let close = (CLOSE_TRY_AGAIN, "too many connections that have not authenticated");
    TurnedAway { error: None, close, counts: false }
}

fn examine(rpc: &Rpc, first: Option<Incoming>) -> Result<(Identity, Value), TurnedAway> {
    let refuse = |id: Value, message: &str, counts: bool| TurnedAway {
        error: Some(Box::new((id, not_authenticated(message)))),
        close: (CLOSE_POLICY, "not authenticated"),
        counts,
    };
    let text = match first {
        None => return Err(refuse(Value::Null, "Authentication timeout", false)),
        Some(Incoming::Text(text)) => text,
        Some(Incoming::Ping | Incoming::Pong(_)) => {
            return Err(refuse(Value::Null, "Not authenticated", false));
        }
        Some(ended) => {
            let close = (ended.close_code().unwrap_or(CLOSE_POLICY), "not authenticated");
            return Err(TurnedAway { error: None, close, counts: false });
        }
    };
    let (id, token) = read_auth(&text).map_err(|id| refuse(id, "Not authenticated", false))?;
    match identify(&rpc.gate.setup(), &token) {
        Some(identity) => Ok((identity, id)),
        None => Err(refuse(id, "Invalid token", true)),
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
pub fn not_authenticated(message: &str) -> WireError {
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
