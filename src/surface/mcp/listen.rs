//! What the gateway says on its own: that the list of tools may have changed.

use std::rc::Rc;

use smol::{Timer, future};

use super::client::Client;
use super::sessions::LegacySession;
use super::stream::Events;

/// Sends `first`, and then `changed` after every reload, until the client or the session ends, or the agent is removed.
pub(super) fn tell_of_changes(
    client: &Client,
    session: Option<Rc<LegacySession>>,
    events: Events,
    first: Option<String>,
    changed: Option<String>,
) {
    let agent = client.agent.clone();
    let task = async move {
        if let Some(first) = first
            && events.message(&first).await.is_err()
        {
            return;
        }
        while agent.has_token(&agent.identity.token) {
            let (reloaded, pause) =
                (agent.gate().reloaded(), agent.gate().setup().config.gateway.mcp.keep_alive);
            let ended = async {
                match &session {
                    Some(session) => session.ended.wait().await,
                    None => future::pending().await,
                }
                None
            };
            let gone = async {
                events.gone().await;
                None
            };
            let reload = async {
                reloaded.wait().await;
                Some(true)
            };
            let silence = async {
                Timer::after(pause).await;
                Some(false)
            };
            let sent = match future::or(future::or(ended, gone), future::or(reload, silence)).await {
                None => return,
                Some(true) => match &changed {
                    Some(changed) => events.message(changed).await,
                    None => Ok(()),
                },
                Some(false) => events.keep_alive().await,
            };
            if sent.is_err() {
                return;
            }
        }
    };
    client.mcp.agents.executor.spawn(task).detach();
}
