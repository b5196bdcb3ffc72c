//! From what the gateway's client says to what MCP clients hear.

use serde_json::{Map, Value};

use crate::client::{ClientError, ConnectionError, ToolResult as Executed, Watched};
use crate::protocol::coding_agent::why_denied;
use crate::protocol::mcp::message::{Failure, INTERNAL_ERROR, INVALID_PARAMS};
use crate::protocol::mcp::permission::{NOBODY, Permission};
use crate::protocol::mcp::result::{Ending, ToolResult};

/// What became of a call.
pub(super) enum Told {
    Result(ToolResult),
    /// There is no such tool: an error to new clients, a result to old ones.
    UnknownTool(String),
    /// A server behind the gateway needs what no client has declared: likewise.
    CapabilityMissing(Failure, ToolResult),
}

impl Told {
    /// # Errors
    /// The error to answer.
    pub(super) fn for_client(&self, is_modern: bool) -> Result<String, Failure> {
        match self {
            Told::UnknownTool(message) if is_modern => {
                Err(Failure::new(200, INVALID_PARAMS, message.as_str()))
            }
            Told::UnknownTool(message) => {
                let ending = Ending { reason: "unknown_tool", message, ..Ending::default() };
                Ok(ending.result().for_client(false))
            }
            Told::CapabilityMissing(failure, _) if is_modern => Err(failure.clone()),
            Told::CapabilityMissing(_, result) | Told::Result(result) => Ok(result.for_client(is_modern)),
        }
    }
}

/// The end of a call.
pub(super) fn call(reply: Result<Executed, ClientError>) -> Told {
    match reply {
        Ok(done) if done.expires_in.is_some() => Told::Result(ToolResult::permitted(&done.request_id)),
        Ok(done) => Told::Result(executed(done)),
        Err(e) => failed(e),
    }
}

/// The end of a call that another request has asked for.
pub(super) fn watched(reply: Result<Watched, ClientError>) -> Told {
    match reply {
        Ok(Watched::Ended(done)) => call(Ok(done)),
        Ok(Watched::Kept(kept)) => {
            let stored = kept.json.get("result").and_then(Value::as_str).unwrap_or_default();
            Told::Result(ToolResult::waiting(&kept.request_id, stored))
        }
        Err(ClientError::Invalid { reason, .. }) if &*reason == "unknown_request" => {
            Told::Result(ToolResult::no_such_request())
        }
        Err(e) => failed(e),
    }
}

/// What a coding agent hears that asks for permission.
pub(super) fn permission(asked: &Permission, reply: Result<Executed, ClientError>) -> Told {
    let decision = match reply {
        Ok(Executed { expires_in: Some(1..), .. }) => Ok(()),
        Ok(_) => Err("the permit is over".to_owned()),
        Err(ClientError::Denied { reason, note, rule, message, .. }) => {
            Err(why_denied(&reason, note.as_deref(), rule.as_deref(), &message))
        }
        Err(ClientError::TimedOut { by_gateway: true, .. }) => Err(NOBODY.to_owned()),
        Err(e) => Err(format!("agentpass could not decide: {e}")),
    };
    Told::Result(asked.decided(decision))
}

/// Why something that is no call cannot be answered.
pub(super) fn unanswered(e: &ClientError) -> Failure {
    Failure::new(503, INTERNAL_ERROR, format!("the gateway cannot be asked: {e}"))
}

fn executed(done: Executed) -> ToolResult {
    let Executed { data, data_lost, data_note, request_id, replayed, grant, edited, .. } = done;
    let remarks = [
        ("data_lost", data_lost.map(Value::from)),
        ("data_note", data_note.map(Value::from)),
        ("request_id", Some(request_id.into())),
        ("replayed", replayed.then_some(true.into())),
        ("grant", grant),
        ("edited", edited),
    ];
    let remarks: Map<_, _> =
        remarks.into_iter().filter_map(|(name, what)| Some((name.to_owned(), what?))).collect();
    ToolResult::data(&data.to_string(), remarks)
}

fn failed(e: ClientError) -> Told {
    let id = e.request_id().map(str::to_owned);
    let (reason, message, note, retry_after): (&str, _, _, _) = match &e {
        ClientError::Failed { reason, message, .. } if &**reason == "unknown_tool" => {
            return Told::UnknownTool(message.clone());
        }
        ClientError::Denied { reason, note, rule, message, .. } => {
            let rule = rule.as_ref().map(|rule| format!("{message}: a rule denies it: {rule}"));
            (reason, rule.unwrap_or_else(|| message.clone()), note.as_deref(), None)
        }
        ClientError::RateLimited { reason, message, retry_after } => {
            (reason, message.clone(), None, retry_after.map(|time| time.as_secs()))
        }
        ClientError::Failed { reason, message, .. } | ClientError::Invalid { reason, message, .. } => {
            (reason, message.clone(), None, None)
        }
        ClientError::TimedOut { message, .. } => ("approval_timed_out", message.clone(), None, None),
        // It may have been done: nobody could say.
        ClientError::Connection(ConnectionError::Lost(why)) => {
            ("unknown_result", format!("The connection to the gateway was lost: {why}"), None, None)
        }
        ClientError::Connection(why) => {
            ("no_connection", format!("The gateway cannot be asked: {why}"), None, None)
        }
    };
    let ending = Ending { reason, message: &message, note, retry_after, request_id: id.as_deref() };
    let result = ending.result();
    match &e {
        ClientError::Failed { message, mcp_data: Some(data), .. } => {
            Told::CapabilityMissing(Failure::missing_capability(message, data), result)
        }
        _another => Told::Result(result),
    }
}
