//! From outcomes to the wire: the one place where an outcome gets its code.

use serde_json::{Map, Value, json};

use crate::base::json_text::JsonText;
use crate::gate::CallReply;
use crate::model::{AgentId, Outcome, Sort};
use crate::protocol::code;
use crate::protocol::frame::{self, WireError};
use crate::store::WaitingResult;
use crate::surface::agent::{MAX_IN_FLIGHT, NotServed};

/// The frame that answers the `tool_request` with this `id`. Every outcome but success is a wire error.
pub(crate) fn reply(id: &Value, reply: &CallReply, permit_left: Option<u64>) -> String {
    let CallReply { outcome, request_id, replayed, grant } = reply;
    let request = request_id.map(|id| id.to_string());
    match outcome {
        Outcome::Executed(output) => {
            let mut details = outcome.details();
            details.extend(grant.map(|grant| ("grant".to_owned(), grant.to_json())));
            succeeded(id, outcome, &output.data, details, request, *replayed)
        }
        // Clocks differ: the agent counts the time that is left on its own.
        Outcome::Permitted(_) => {
            let mut details = Map::from_iter([("expires_in".to_owned(), permit_left.into())]);
            details.extend(grant.map(|grant| ("grant".to_owned(), grant.to_json())));
            let data = Value::Object(outcome.details()).into();
            succeeded(id, outcome, &data, details, request, *replayed)
        }
        other => frame::error(id, &error(other, request, *replayed)).to_string(),
    }
}

/// The data's own text is passed through: as a tree it would be many times as large.
fn succeeded(
    id: &Value,
    outcome: &Outcome,
    data: &JsonText,
    details: Map<String, Value>,
    request: Option<String>,
    replayed: bool,
) -> String {
    let request = Value::from(request);
    let replayed = if replayed { r#""replayed":true,"# } else { "" };
    let status = outcome.as_str();
    let remarks: String = details.into_iter().map(|(name, what)| format!("\"{name}\":{what},")).collect();
    format!(
        r#"{{"id":{id},"jsonrpc":"2.0","result":{{"data":{data},{remarks}"request_id":{request},{replayed}"status":"{status}"}}}}"#
    )
}

fn error(outcome: &Outcome, id: Option<String>, replayed: bool) -> WireError {
    let reason = outcome.reason().unwrap_or_default();
    let mut error = WireError::new(code_of(outcome), reason, outcome.message());
    error.data.extend(outcome.details());
    if let Outcome::Invalid(why) = outcome
        && let Some((character, valid)) = why.forbidden()
    {
        error = error.with("character", character).with("valid", valid);
    }
    if let Some(id) = id {
        error = error.with("request_id", id);
    }
    if replayed { error.with("replayed", true) } else { error }
}

fn code_of(outcome: &Outcome) -> i64 {
    match outcome.sort() {
        Sort::DeniedByUser | Sort::Withdrawn => code::DENIED_BY_USER,
        Sort::TimedOut => code::TIMED_OUT,
        Sort::DeniedByPolicy => code::DENIED_BY_POLICY,
        Sort::Executed | Sort::Permitted | Sort::Failed | Sort::Unknown | Sort::NoSuchTool => {
            code::EXECUTION_FAILED
        }
        Sort::Invalid => code::INVALID_REQUEST,
        Sort::Limited => code::RATE_LIMITED,
    }
}

/// A frame with a `result` that is JSON text already.
pub(crate) fn result_text(id: &Value, result: &str) -> String {
    format!(r#"{{"id":{id},"jsonrpc":"2.0","result":{result}}}"#)
}

/// The result of `auth`.
pub(crate) fn welcome(agent: &AgentId) -> Value {
    json!({"status": "authenticated", "agent_id": agent.as_str(), "version": env!("CARGO_PKG_VERSION")})
}

pub(crate) fn not_authenticated(message: &str) -> WireError {
    WireError::new(code::NOT_AUTHENTICATED, "not_authenticated", message)
}

pub(crate) fn not_served(why: NotServed) -> WireError {
    match why {
        NotServed::TooManyInFlight => {
            let message = format!("More than {MAX_IN_FLIGHT} requests in flight on this connection");
            WireError::new(code::RATE_LIMITED, "too_many_pending", message).with("limit", MAX_IN_FLIGHT)
        }
        NotServed::TooSoon { retry_after } => {
            WireError::new(code::RATE_LIMITED, "rate_limited", "Rate limit exceeded")
                .with("retry_after", retry_after)
        }
        NotServed::Store(e) => {
            log::error!("pending results could not be read: {e}");
            store_unavailable()
        }
    }
}

pub(crate) fn store_unavailable() -> WireError {
    WireError::new(code::EXECUTION_FAILED, "store_unavailable", "The gateway cannot use its record")
}

/// One entry of `get_pending_results`, named as the seed's table was.
pub(crate) fn pending(result: WaitingResult) -> Value {
    let members: [(&str, Value); 7] = [
        ("request_id", result.request_id.to_string().into()),
        ("tool_name", result.tool_name.into()),
        ("args", result.args.into()),
        ("signature", result.signature.into()),
        // Moved: `json!` would copy it.
        ("result", result.result.into()),
        ("created_at", result.created_at.to_string().into()),
        ("expires_at", result.expires_at.to_string().into()),
    ];
    members.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::RequestId;
    use crate::model::{Denial, InvalidCall, Lost, Output};

    fn wire(outcome: Outcome) -> WireError {
        error(&outcome, Some(RequestId::random().to_string()), false)
    }

    #[test]
    fn an_executed_call_in_words() {
        let request = RequestId::random();
        for (replayed, data) in [(false, json!({"a": ["\"}", 1]})), (true, json!(null))] {
            let outcome = Outcome::Executed(data.clone().into());
            let text = reply(
                &json!("an\"id"),
                &CallReply { outcome, request_id: Some(request), replayed, grant: None },
                None,
            );
            let mut result = json!({"status": "executed", "data": data, "request_id": request.to_string()});
            if replayed {
                result["replayed"] = true.into();
            }
            let read: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(read, json!({"jsonrpc": "2.0", "id": "an\"id", "result": result}));
        }
        let outcome = Outcome::Executed(Output::lost(Lost::Binary, Some("a \"b\"".into())));
        let text =
            reply(&json!(1), &CallReply { outcome, request_id: None, replayed: false, grant: None }, None);
        let result = json!({"status": "executed", "data": null, "data_lost": "binary", "data_note": "a \"b\"", "request_id": null});
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["result"], result);
    }

    #[test]
    fn the_seeds_texts_and_codes() {
        for (outcome, code, message) in [
            (Outcome::DeniedByUser { note: None }, -32001, "Denied by user"),
            (Outcome::TimedOut, -32002, "Approval timed out"),
            (Outcome::DeniedByPolicy(Denial::default()), -32003, "Denied by policy"),
            (Outcome::RateLimited { retry_after: 3 }, -32006, "Rate limit exceeded"),
            (Outcome::TooManyPending, -32006, "Too many pending approvals"),
            (Outcome::UnknownTool { tool: "x".into() }, -32004, "Unknown tool: x"),
            (
                Outcome::Invalid(InvalidCall::Missing { argument: "a".into() }),
                -32600,
                "Missing required argument: a",
            ),
        ] {
            let error = wire(outcome);
            assert_eq!((error.code, error.message.as_str()), (code, message));
            assert!(error.data.contains_key("request_id"));
        }
    }

    #[test]
    fn details_go_to_data() {
        assert_eq!(wire(Outcome::RateLimited { retry_after: 3 }).data["retry_after"], 3);
        assert_eq!(wire(Outcome::DeniedByUser { note: Some("no".into()) }).data["note"], "no");
        assert_eq!(
            wire(Outcome::Invalid(InvalidCall::Missing { argument: "a".into() })).data["argument"],
            "a"
        );
        let failed = Outcome::ServiceError { status: Some(404), message: "gone".into(), retry_after: None };
        assert_eq!((wire(failed.clone()).data["status"].clone(), wire(failed).data.len()), (json!(404), 2));
        let busy = Outcome::ServiceError { status: Some(429), message: "busy".into(), retry_after: Some(9) };
        assert_eq!(wire(busy).data["retry_after"], 9);
    }
}
