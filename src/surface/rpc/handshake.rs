//! One connection until it is authenticated: TLS, upgrade, token. Ten seconds for all of it.

use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;
use smol::{Async, future};

use super::port::AgentPort;
use super::wire;
use crate::net::deadline::within;
use crate::net::front::{UpgradeError, WebRequest, WsLimits, serve_port};
use crate::net::stream::Stream;
use crate::net::ws::{WRITE_DEADLINE, WebSocket, WsIncoming};
use crate::protocol::frame::{self, Frame, RpcRequest, WireError};
use crate::protocol::params;
use crate::surface::admission::Caller;
use crate::surface::agent::{AgentIdentity, Agents, MAX_UNREAD, PeerAddress, Stranger};
use crate::surface::mcp::McpConnection;

/// Time from the accepted socket to a good token.
const AUTH_TIME: Duration = Duration::from_secs(10);
/// Policy violation (RFC 6455, 7.4.1).
pub(crate) const CLOSE_POLICY: u16 = 1008;
/// Try again later (IANA registry).
pub(crate) const CLOSE_TRY_AGAIN: u16 = 1013;

pub(crate) struct AuthenticatedPeer {
    pub identity: AgentIdentity,
    pub address: PeerAddress,
    /// Keeps its address from being refused.
    pub _caller: Caller,
}

/// None when the connection has ended without a good token.
pub(super) async fn let_in(
    port: &Rc<AgentPort>,
    tcp: Async<TcpStream>,
    socket: SocketAddr,
) -> Option<(Box<WebSocket>, AuthenticatedPeer)> {
    let deadline = Instant::now() + AUTH_TIME;
    let stranger = port.agents.enter(socket);
    let upgraded = future::or(upgrade(port, tcp, &stranger, deadline), async {
        stranger.caller.must_leave().await;
        None
    });
    let (mut socket, identity) = upgraded.await?;
    stranger.caller.spoke();
    let identity = match identity {
        Some(identity) => identity,
        None => match first_message(&port.agents, &mut socket, &stranger, deadline).await {
            Ok((identity, id)) => {
                let welcome = frame::result(&id, wire::welcome(&identity.agent)).to_string();
                socket.send_text_batch([welcome], None, WRITE_DEADLINE).await.ok()?;
                identity
            }
            Err(refused) => {
                turn_away(socket, refused, &stranger).await;
                return None;
            }
        },
    };
    let address = stranger.address();
    Some((Box::new(socket), AuthenticatedPeer { identity, address, _caller: stranger.admit() }))
}

/// The WebSocket, and who it is if the upgrade request carried a token.
async fn upgrade(
    port: &AgentPort,
    tcp: Async<TcpStream>,
    stranger: &Stranger,
    deadline: Instant,
) -> Option<(WebSocket, Option<AgentIdentity>)> {
    let left = || deadline.saturating_duration_since(Instant::now());
    let acceptor = port.acceptor.borrow().clone();
    let stream = match acceptor {
        None => Stream::plain(tcp),
        Some(acceptor) => {
            let accepted = acceptor.accept(tcp, left()).await;
            accepted.inspect_err(|e| log::info!("connection from {}: {e}", stranger.address())).ok()?
        }
    };
    let limits = WsLimits { max_message_bytes: port.max_message_bytes, header_timeout: left() };
    let pages = McpConnection::new(&port.mcp, stranger);
    let page = async |request| pages.answer(request).await;
    let decide = |head: &WebRequest| port.agents.identify(stranger, head, |_| false);
    let served = async { Some(serve_port(stream, &limits, page, &pages.admitted, decide).await) };
    let evicted = async {
        pages.must_leave().await;
        let too_much = MAX_UNREAD >> 20;
        log::info!(
            "connection from {} ended: more than {too_much} MiB of answers unread",
            stranger.address()
        );
        None
    };
    let upgraded = future::or(served, evicted).await?;
    pages.ended(!matches!(upgraded, Err(UpgradeError::Http(_))));
    upgraded.inspect_err(|e| log::debug!("connection from {}: {e}", stranger.address())).ok()?
}

/// Why a connection is closed before it is authenticated.
struct TurnedAway {
    /// The id of the request that is refused, and the error.
    error: Option<Box<(Value, WireError)>>,
    close: (u16, &'static str),
}

impl TurnedAway {
    fn new(id: Value, message: &str) -> TurnedAway {
        let error = Some(Box::new((id, wire::not_authenticated(message))));
        TurnedAway { error, close: (CLOSE_POLICY, "not authenticated") }
    }
}

/// Whom the first message authenticates, with its id, when the upgrade request carried no token.
async fn first_message(
    agents: &Agents,
    socket: &mut WebSocket,
    stranger: &Stranger,
    deadline: Instant,
) -> Result<(AgentIdentity, Value), TurnedAway> {
    let left = deadline.saturating_duration_since(Instant::now());
    let crowded = async {
        stranger.caller.must_leave().await;
        // No failure of the peer's, which may come back at once.
        let close = (CLOSE_TRY_AGAIN, "too many connections that have not authenticated");
        Err(TurnedAway { error: None, close })
    };
    let heard = async { Ok(socket.next().await) };
    let first = within(left, future::or(heard, crowded)).await.transpose()?;
    examine(agents, first, stranger.address())
}

fn examine(
    agents: &Agents,
    first: Option<WsIncoming>,
    address: PeerAddress,
) -> Result<(AgentIdentity, Value), TurnedAway> {
    let text = match first {
        None => return Err(TurnedAway::new(Value::Null, "Authentication timeout")),
        Some(WsIncoming::Text(text)) => text,
        Some(WsIncoming::Ping | WsIncoming::Pong(_)) => {
            return Err(TurnedAway::new(Value::Null, "Not authenticated"));
        }
        Some(ended) => {
            let close = (ended.close_code().unwrap_or(CLOSE_POLICY), "not authenticated");
            return Err(TurnedAway { error: None, close });
        }
    };
    let (id, token) = read_auth(&text).map_err(|id| TurnedAway::new(id, "Not authenticated"))?;
    match agents.identify_token(&token, address) {
        Some(identity) => Ok((identity, id)),
        None => Err(TurnedAway::new(id, "Invalid token")),
    }
}

/// The id and token of an `auth` request, or the id to refuse.
fn read_auth(text: &str) -> Result<(Value, String), Value> {
    match frame::parse(text) {
        Ok(Frame::Single(Ok(RpcRequest { id, method, params }))) if method == "auth" => {
            params::auth(params).map(|token| (id.clone(), token)).map_err(|_| id)
        }
        Ok(Frame::Single(Ok(other))) => Err(other.id),
        Ok(Frame::Single(Err(refused))) | Err(refused) => Err(refused.id),
        Ok(Frame::Batch(_)) => Err(Value::Null),
    }
}

/// Taking leave takes time and a descriptor: it is cut short when others come in.
async fn turn_away(mut socket: WebSocket, refused: TurnedAway, stranger: &Stranger) {
    stranger.caller.sent_away();
    let leave = async {
        if let Some(error) = refused.error {
            let text = frame::error(&error.0, &error.1).to_string();
            let _ = socket.send_text_batch([text], None, Duration::from_secs(1)).await;
        }
        let (code, reason) = refused.close;
        socket.close_with(code, reason).await;
    };
    future::or(leave, stranger.caller.must_leave()).await;
}
