//! The parameters of `tools/call`.

use serde_json::{Map, Value, json};

use super::message::{Failure, INVALID_PARAMS, Message};
use crate::base::digest::Digest;
use crate::base::json::canonical;
use crate::protocol::params::{MAX_KEY, MAX_REASON, MAX_TOOL};

pub(crate) struct CallParams {
    pub tool: String,
    pub args: Map<String, Value>,
    /// Shown to the person who is asked.
    pub reason: Option<String>,
    /// The agent's own name for what it is doing.
    pub session: Option<String>,
    /// The same key never leads to a second execution.
    pub key: Option<String>,
    /// The client wants to hear how far it has come, under this token.
    pub progress: Option<Value>,
    /// What it was given to come back with.
    pub state: Option<String>,
}

impl CallParams {
    /// # Errors
    /// The error to answer.
    pub(crate) fn read(message: Message) -> Result<CallParams, Failure> {
        let bad = |why: &str| Failure::new(200, INVALID_PARAMS, why);
        let text = |name: &str, max: usize| match message.meta(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.len() <= max => Ok(Some(text.clone())),
            Some(_) => Err(bad(&format!("{name} must be a string of at most {max} bytes"))),
        };
        let reason = text("agentpass/reason", MAX_REASON * 4)?;
        if reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON) {
            return Err(bad("agentpass/reason is too long"));
        }
        let (session, key) =
            (text("agentpass/session", MAX_KEY)?, text("agentpass/idempotency_key", MAX_KEY)?);
        let progress =
            message.meta("progressToken").filter(|token| token.is_string() || token.is_number()).cloned();
        let mut params = message.params;
        let Some(Value::String(tool)) = params.remove("name") else {
            return Err(bad("name must be a string"));
        };
        if tool.is_empty() || tool.len() > MAX_TOOL {
            return Err(bad("name is empty or too long"));
        }
        let args = match params.remove("arguments") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(args)) => args,
            Some(_) => return Err(bad("arguments must be an object")),
        };
        let state = match params.remove("requestState") {
            None | Some(Value::Null) => None,
            Some(Value::String(state)) => Some(state),
            Some(_) => return Err(state_void()),
        };
        Ok(CallParams { tool, args, reason, session, key, progress, state })
    }

    /// What a state is bound to besides its agent: everything that the client says of its call.
    ///
    /// # Errors
    /// When the call cannot be told apart from others.
    pub(crate) fn digest(&self) -> Result<Digest, Failure> {
        let call = json!({
            "tool": self.tool, "args": self.args, "session": self.session, "reason": self.reason,
            "key": self.key,
        });
        canonical(&call).map(|bytes| Digest::sha256(&bytes)).map_err(|_| state_void())
    }
}

/// The state is not of this call.
pub(crate) fn state_void() -> Failure {
    let text = "state_void: the state is not of this call, or its time is over; the call it was made for goes on as it was";
    Failure::new(200, INVALID_PARAMS, text).with(json!({"reason": "state_void"}))
}
