//! What a coding agent is told: the decision of its event, as its documentation has it.

use serde_json::{Value, json};

use super::event::EventKind;
use crate::client::ClientError;
use crate::protocol::coding_agent::why_denied;

/// The gateway's word on what the agent is about to do.
#[derive(Debug, PartialEq)]
pub(super) enum HookDecision {
    Allow,
    /// Why, for the agent.
    Deny(String),
    /// The person at the terminal decides.
    Ask(String),
}

impl HookDecision {
    /// What is printed. None: at this event, silence leaves it to the person at the terminal.
    pub(super) fn to_json(&self, kind: EventKind) -> Option<Value> {
        let decision = match (kind, self) {
            (EventKind::PreToolUse, HookDecision::Allow) => {
                json!({"permissionDecision": "allow", "permissionDecisionReason": "permitted by agentpass"})
            }
            (EventKind::PreToolUse, HookDecision::Deny(why)) => {
                json!({"permissionDecision": "deny", "permissionDecisionReason": why})
            }
            (EventKind::PreToolUse, HookDecision::Ask(why)) => {
                json!({"permissionDecision": "ask", "permissionDecisionReason": why})
            }
            (EventKind::PermissionRequest, HookDecision::Allow) => json!({"decision": {"behavior": "allow"}}),
            (EventKind::PermissionRequest, HookDecision::Deny(why)) => {
                json!({"decision": {"behavior": "deny", "message": why}})
            }
            (EventKind::PermissionRequest, HookDecision::Ask(_)) => return None,
        };
        let mut output = json!({"hookEventName": kind.as_str()});
        if let (Some(output), Value::Object(decision)) = (output.as_object_mut(), decision) {
            output.extend(decision);
        }
        Some(json!({"hookSpecificOutput": output}))
    }
}

/// The decision that an error of the gateway is. What is no decision comes back as its words.
pub(super) fn of_error(error: &ClientError) -> Result<HookDecision, String> {
    match error {
        ClientError::Denied { reason, note, rule, message, .. } => {
            Ok(HookDecision::Deny(why_denied(reason, note.as_deref(), rule.as_deref(), message)))
        }
        // Whoever is at the terminal may still be there.
        ClientError::TimedOut { by_gateway: true, .. } => {
            Ok(HookDecision::Ask("nobody has answered agentpass in time".to_owned()))
        }
        other => Err(other.to_string()),
    }
}
