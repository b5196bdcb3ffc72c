//! `tools/call`: the same submission as on every front.

use std::rc::Rc;

use super::client::{Client, not_served};
use super::http;
use super::own::{self, Own};
use super::sessions::LegacySession;
use super::waiting::{Held, Legs, Waiting};
use crate::base::slots::Slot;
use crate::gate::{Submission, Ticket};
use crate::net::front::WebAnswer;
use crate::protocol::mcp::call::{CallParams, state_void};
use crate::protocol::mcp::message::{Failure, Message};
use crate::protocol::mcp::own::PERMISSION;
use crate::protocol::mcp::permission::Permission;
use crate::protocol::mcp::state::{Bond, LegState};

/// What a request leads to.
enum Begun {
    Call(Waiting),
    Own(Own),
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
    let mut call = CallParams::read(message)?;
    let progress = call.progress.take();
    let begun = match own::run(&client, &call.tool, &call.args).await {
        Some(own) => Begun::Own(own.map_err(not_served)?),
        None => begin(&client, call).await?,
    };
    let waiting = match begun {
        Begun::Own(Own::Result(result)) => {
            return Ok(http::result(&id, &result.for_client(client.is_modern)));
        }
        Begun::Own(Own::Wait(ticket, slot)) => Waiting { ticket, _slot: slot, legs: None, permission: None },
        Begun::Call(waiting) => waiting,
    };
    let name = session.zip(waiting.ticket.id()).map(|(session, call)| session.calls(&id, call));
    Ok(Held::new(client, id, waiting, name).answer(progress).await)
}

/// Asks for a call, or takes its place again at the one that the client comes back for: that was judged and counted when it
/// was asked for.
async fn begin(client: &Client, mut call: CallParams) -> Result<Begun, Failure> {
    let (gate, agent) = (client.agent.gate(), client.agent.id());
    let digest = call.digest()?;
    let permission = match call.tool == PERMISSION && client.agent.has_permits() {
        true => match Permission::read(&mut call) {
            Ok(permission) => Some(permission),
            Err(result) => return Ok(Begun::Own(Own::Result(result))),
        },
        false => None,
    };
    let mut came = None;
    if let Some(state) = call.state.take().filter(|_| client.is_modern) {
        let bond =
            Bond { mac: &|parts| gate.store().token("mcp", parts), agent: agent.as_str(), call: &digest };
        came = LegState::unseal(&bond, &state, gate.clock().now());
        call.key = Some(came.ok_or_else(state_void)?.key());
    }
    let place = match (&came, &call.key) {
        (Some(_), Some(key)) => client.agent.rejoin(key).map_err(not_served)?,
        _ => None,
    };
    if let (Some(_), None, None, Some(key)) = (&came, &place, &permission, &call.key)
        && let Some(id) = client.agent.stopped_call(key).await.map_err(not_served)?
    {
        return own::wait_for(client, id).await.map(Begun::Own).map_err(not_served);
    }
    let (ticket, slot) = match place {
        Some(place) => place,
        None => submit(client, call, permission.is_some())?,
    };
    if let (Some(_), Some(id)) = (&came, ticket.id()) {
        client.mcp.awaited.borrow_mut().remove(&id);
    }
    let legs = client.is_modern.then_some(Legs { call: digest, came });
    Ok(Begun::Call(Waiting { ticket, _slot: slot, legs, permission }))
}

/// Tools that agents perform themselves are unknown to a client unless it asks for permission, and only they are then.
fn submit(client: &Client, call: CallParams, permits: bool) -> Result<(Ticket, Slot), Failure> {
    let CallParams { tool, args, reason, session, key, .. } = call;
    let request = Submission { tool, args, reason, session, key, permits: Some(permits) };
    client.agent.submit(request).map_err(not_served)
}
