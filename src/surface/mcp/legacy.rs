//! Clients of 2024-11-05 to 2025-11-25: a handshake begins a session, and a session is what their ids belong to.

use std::rc::Rc;

use serde_json::json;

use super::client::Client;
use super::listen::tell_of_changes;
use super::sessions::LegacySession;
use super::stream;
use super::{call, http, waiting};
use crate::net::front::{WebAnswer, WebRequest};
use crate::protocol::mcp::era::{self, VERSION_HEADER};
use crate::protocol::mcp::message::{Failure, INTERNAL_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, Message};

const SESSION_HEADER: &str = "mcp-session-id";

/// Answers a request.
pub(super) async fn answer(client: Client, request: &WebRequest, message: Message) -> WebAnswer {
    let header = request.header(VERSION_HEADER);
    if message.method == "initialize" {
        return initialize(&client, &message);
    }
    let session = match session(&client, request) {
        Ok(session) => session,
        Err(failure) => return http::failure(&failure, message.id.as_ref()),
    };
    if !(header.is_empty() || era::is_legacy(header)) {
        return http::failure(
            &Failure::new(400, INVALID_REQUEST, "Unsupported protocol version"),
            message.id.as_ref(),
        );
    }
    let Some(id) = message.id.clone() else {
        if message.method == "notifications/cancelled" {
            cancel(&client, &session, &message);
        }
        return http::accepted();
    };
    let answered = match message.method.as_str() {
        "ping" => Ok(http::result(&id, "{}")),
        "tools/list" => http::list(&client, &id),
        "tools/call" => call::answer(client, Some(session), message).await,
        _ => Err(Failure::new(200, METHOD_NOT_FOUND, "Method not found")),
    };
    answered.unwrap_or_else(|failure| http::failure(&failure, Some(&id)))
}

fn initialize(client: &Client, message: &Message) -> WebAnswer {
    let Some(id) = &message.id else { return http::accepted() };
    let result = era::initialized(&message.params, true);
    match client.mcp.sessions.begin(client.agent.id()) {
        Ok(session) => http::result(id, &result.to_string()).with(SESSION_HEADER, session),
        Err(e) => {
            log::error!("an MCP session cannot begin: {e}");
            http::failure(&Failure::new(503, INTERNAL_ERROR, "no session can begin"), Some(id))
        }
    }
}

fn session(client: &Client, request: &WebRequest) -> Result<Rc<LegacySession>, Failure> {
    let name = request.header(SESSION_HEADER);
    if name.is_empty() {
        return Err(Failure::new(400, INVALID_REQUEST, "Mcp-Session-Id is missing; send initialize first"));
    }
    let known = client.mcp.sessions.get(client.agent.id(), name);
    known.ok_or_else(|| Failure::new(404, INVALID_REQUEST, "There is no such session; send initialize"))
}

/// `DELETE`: the client ends its session.
pub(super) fn end_session(client: &Client, request: &WebRequest) -> WebAnswer {
    match client.mcp.sessions.end(client.agent.id(), request.header(SESSION_HEADER)) {
        true => WebAnswer::new(204, "text/plain", Vec::new()),
        false => WebAnswer::text(404, "there is no such session"),
    }
}

/// `GET`: what the gateway says on its own in this session.
pub(super) fn listen(client: &Client, request: &WebRequest) -> WebAnswer {
    let session = session(client, request).ok().filter(|_| client.streams);
    let Some(session) = session else {
        return WebAnswer::text(405, "use POST").with("allow", "POST, DELETE");
    };
    let (answer, events) = stream::open();
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}).to_string();
    tell_of_changes(client, Some(session), events, None, Some(changed));
    answer
}

/// Takes a question of this session's back.
fn cancel(client: &Client, session: &LegacySession, message: &Message) {
    let Some(call) = message.params.get("requestId").and_then(|id| session.call(id)) else { return };
    waiting::withdraw(client, call);
}
