//! `kill` and `resume` at the gateway's own terminal.

use serde_json::{Map, Value, json};

use crate::gate::Gate;
use crate::gate::stops::CannotResume;
use crate::model::{AgentId, MAX_STOP_REASON, Responder};
use crate::surface::members::text;
use crate::surface::shapes;

/// Why it is to stop, which the record keeps for good.
pub(super) fn reason(members: &mut Map<String, Value>) -> Result<Option<String>, String> {
    match text(members, "reason")? {
        Some(reason) if reason.chars().count() > MAX_STOP_REASON => {
            Err(format!("a reason has at most {MAX_STOP_REASON} characters"))
        }
        reason => Ok(reason),
    }
}

/// Stops all calls, or those of this agent.
pub(super) async fn stop(
    gate: &Gate,
    agent: Option<AgentId>,
    reason: Option<String>,
    by: &Responder,
) -> Value {
    shapes::stopped(&gate.stop(agent, reason, by.clone()).await)
}

/// Lets them go on.
pub(super) async fn resume(gate: &Gate, agent: Option<AgentId>, by: &Responder) -> Value {
    match gate.resume(agent.clone(), by.clone()).await {
        Ok(lifted) => json!({
            "resumed": shapes::stop(&lifted),
            "still_stopped": shapes::stops(&gate.stops.all()),
        }),
        Err(CannotResume::NotStopped) => {
            let others = gate.stops.all();
            let what = match (&agent, others.is_empty()) {
                (_, true) => "nothing is stopped",
                (None, false) => "only single agents are stopped",
                (Some(_), false) => "this agent is not stopped by itself",
            };
            shapes::failure(what, Some("`agentpass status` shows what is stopped; --agent names an agent"))
        }
        Err(CannotResume::NotHere) => {
            shapes::failure("it was stopped on the gateway itself", Some("resume it there"))
        }
        Err(CannotResume::Store(e)) => {
            shapes::failure(&format!("it could not be recorded: {e}"), Some("calls are stopped as before"))
        }
    }
}
