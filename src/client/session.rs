//! One connection that has been authenticated. It must never send anything before that but `auth`.

use serde_json::{Value, json};

use super::error::ConnectionError;
use super::options::ClientOptions;
use crate::base::url::Url;
use crate::net::connect::{ClientSocket, connect};
use crate::net::deadline::within;
use crate::net::ws::{SendError, WRITE_DEADLINE, WsIncoming};
use crate::protocol::code;
use crate::protocol::reply::{self, ReplyError, ServerMessage};

/// The largest message taken from a gateway. A gateway caps the answers of services at 1 MiB unless told otherwise;
/// several of them may wait in one list of pending results.
const MAX_MESSAGE: usize = 16 << 20;
const AUTH_ID: &str = "auth-1";

pub(super) struct ClientSession {
    pub(super) socket: ClientSocket,
    /// The gateway knows idempotency keys: ours says its version, the older ones do not.
    pub(super) keyed: bool,
}

/// Connects and authenticates, all within the connect timeout.
pub(super) async fn open(url: &Url, options: &ClientOptions) -> Result<ClientSession, ConnectionError> {
    // On the heap: a handshake's state is some 50 KiB, and callers' futures hold it several times over.
    let work = Box::pin(async {
        let limit = options.connect_timeout;
        let socket = connect(url, &options.trust, None, limit, MAX_MESSAGE).await?;
        authenticate(socket, options).await
    });
    let late = || ConnectionError::Unreachable(format!("{} did not answer in time", url.host_and_port()));
    within(options.connect_timeout, work).await.ok_or_else(late)?
}

async fn authenticate(
    mut socket: ClientSocket,
    options: &ClientOptions,
) -> Result<ClientSession, ConnectionError> {
    let auth = json!({"jsonrpc": "2.0", "method": "auth", "params": {"token": options.token.expose()}, "id": AUTH_ID});
    let lost = |e: SendError| ConnectionError::Unreachable(e.to_string());
    socket.send_text_batch([auth.to_string()], None, WRITE_DEADLINE).await.map_err(lost)?;
    loop {
        match socket.next().await {
            WsIncoming::Text(text) => {
                if let Some(answer) = answer(&text) {
                    let answer = answer.map_err(refused)?;
                    let keyed = answer.get("version").is_some_and(Value::is_string);
                    return Ok(ClientSession { socket, keyed });
                }
            }
            WsIncoming::Ping | WsIncoming::Pong(_) => {}
            WsIncoming::Closed => {
                let why = "the gateway closed the connection before it let us in";
                return Err(ConnectionError::Unreachable(why.into()));
            }
            WsIncoming::TooLarge
            | WsIncoming::Binary
            | WsIncoming::BadUtf8
            | WsIncoming::ProtocolError(_) => {
                return Err(ConnectionError::Unreachable(
                    "the other side is not an agentpass gateway".into(),
                ));
            }
        }
    }
}

/// Only "too many" may be over when we come again.
fn refused(e: ReplyError) -> ConnectionError {
    if e.code == code::RATE_LIMITED {
        ConnectionError::Unreachable(e.message)
    } else {
        ConnectionError::NotAuthenticated(e.message)
    }
}

/// The answer to `auth`, if this is it. An error without an id can only mean us: nothing else was sent.
fn answer(text: &str) -> Option<Result<Value, ReplyError>> {
    match reply::parse(text) {
        Ok(ServerMessage::Reply { id, body: Ok(result) }) if id == AUTH_ID => Some(Ok(result)),
        Ok(ServerMessage::Reply { id, body: Err(e) }) if id == AUTH_ID || id.is_null() => Some(Err(e)),
        Ok(ServerMessage::Reply { .. } | ServerMessage::Notification { .. }) | Err(_) => None,
    }
}
