//! From outcomes to the wire: the one place where a way to end gets its code.

use serde_json::{Value, json};

use crate::gate::Reply;
use crate::model::{AgentId, InvalidCall, Outcome, Output};
use crate::protocol::code;
use crate::protocol::frame::{self, WireError};
use crate::store::PendingResult;
use crate::surface::agent::{MAX_IN_FLIGHT, NotServed};

/// The frame that answers the `tool_request` with this `id`. Every outcome but "executed" is a wire error.
pub(crate) fn reply(id: &Value, reply: &Reply) -> String {
    let Reply { outcome, request_id, replayed } = reply;
    let request = request_id.map(|id| id.to_string());
    match outcome {
        Outcome::Executed(answer) => executed(id, answer, request, *replayed),
        other => frame::error(id, &error(other, request, *replayed)).to_string(),
    }
}

/// The data's own text is passed through: as a tree it would be many times as large.
fn executed(id: &Value, answer: &Output, request: Option<String>, replayed: bool) -> String {
    let request = Value::from(request);
    let replayed = if replayed { r#""replayed":true,"# } else { "" };
    let data = &answer.data;
    let remarks: String =
        answer.remarks().map(|(name, what)| format!("\"{name}\":{},", Value::from(what))).collect();
    format!(
        r#"{{"id":{id},"jsonrpc":"2.0","result":{{"data":{data},{remarks}"request_id":{request},{replayed}"status":"executed"}}}}"#
    )
}

fn error(outcome: &Outcome, id: Option<String>, replayed: bool) -> WireError {
    let reason = outcome.reason().unwrap_or_default();
    let mut error = details(outcome, WireError::new(code_of(outcome), reason, outcome.message()));
    if let Some(id) = id {
        error = error.with("request_id", id);
    }
    if replayed { error.with("replayed", true) } else { error }
}

fn code_of(outcome: &Outcome) -> i64 {
    match outcome {
        Outcome::DeniedByUser { .. } | Outcome::Withdrawn => code::DENIED_BY_USER,
        Outcome::TimedOut => code::TIMED_OUT,
        Outcome::DeniedByPolicy { .. }
        | Outcome::ApprovalVoid
        | Outcome::AgentRemoved
        | Outcome::KillSwitch => code::DENIED_BY_POLICY,
        Outcome::Executed(_)
        | Outcome::Busy
        | Outcome::ServiceUnreachable
        | Outcome::ServiceTimeout
        | Outcome::ServiceError { .. }
        | Outcome::ResponseTooLarge
        | Outcome::UnknownTool { .. }
        | Outcome::UnknownResult
        | Outcome::StoreUnavailable
        | Outcome::ApprovalUnavailable => code::EXECUTION_FAILED,
        Outcome::Invalid(_) | Outcome::IdempotencyConflict | Outcome::TooLargeToShow => code::INVALID_REQUEST,
        Outcome::RateLimited { .. } | Outcome::TooManyPending => code::RATE_LIMITED,
    }
}

fn invalid(why: &InvalidCall, error: WireError) -> WireError {
    let error = match why.argument() {
        Some(argument) => error.with("argument", argument),
        None => error,
    };
    match why.forbidden() {
        Some((character, valid)) => error.with("character", character).with("valid", valid),
        None => error,
    }
}

fn details(outcome: &Outcome, error: WireError) -> WireError {
    match outcome {
        Outcome::DeniedByUser { note: Some(note) } => error.with("note", note.as_str()),
        Outcome::DeniedByPolicy { rule: Some(rule) } => error.with("rule", rule.as_str()),
        Outcome::ServiceError { status: Some(status), retry_after, .. } => {
            let error = error.with("status", *status);
            match retry_after {
                Some(seconds) => error.with("retry_after", *seconds),
                None => error,
            }
        }
        Outcome::Invalid(why) => invalid(why, error),
        Outcome::RateLimited { retry_after } => error.with("retry_after", *retry_after),
        Outcome::DeniedByUser { note: None }
        | Outcome::DeniedByPolicy { rule: None }
        | Outcome::ServiceError { status: None, .. }
        | Outcome::Executed(_)
        | Outcome::Withdrawn
        | Outcome::TimedOut
        | Outcome::ApprovalVoid
        | Outcome::AgentRemoved
        | Outcome::KillSwitch
        | Outcome::Busy
        | Outcome::ServiceUnreachable
        | Outcome::ServiceTimeout
        | Outcome::ResponseTooLarge
        | Outcome::UnknownTool { .. }
        | Outcome::UnknownResult
        | Outcome::StoreUnavailable
        | Outcome::ApprovalUnavailable
        | Outcome::IdempotencyConflict
        | Outcome::TooLargeToShow
        | Outcome::TooManyPending => error,
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
pub(crate) fn pending(result: PendingResult) -> Value {
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

    fn wire(outcome: Outcome) -> WireError {
        error(&outcome, Some(RequestId::random().to_string()), false)
    }

    #[test]
    fn an_executed_call_in_words() {
        let request = RequestId::random();
        for (replayed, data) in [(false, json!({"a": ["\"}", 1]})), (true, json!(null))] {
            let outcome = Outcome::Executed(data.clone().into());
            let text = reply(&json!("an\"id"), &Reply { outcome, request_id: Some(request), replayed });
            let mut result = json!({"status": "executed", "data": data, "request_id": request.to_string()});
            if replayed {
                result["replayed"] = true.into();
            }
            let read: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(read, json!({"jsonrpc": "2.0", "id": "an\"id", "result": result}));
        }
        let outcome = Outcome::Executed(Output::lost(crate::model::Lost::Binary, Some("a \"b\"".into())));
        let text = reply(&json!(1), &Reply { outcome, request_id: None, replayed: false });
        let result = json!({"status": "executed", "data": null, "data_lost": "binary", "data_note": "a \"b\"", "request_id": null});
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["result"], result);
    }

    #[test]
    fn the_seeds_texts_and_codes() {
        for (outcome, code, message) in [
            (Outcome::DeniedByUser { note: None }, -32001, "Denied by user"),
            (Outcome::TimedOut, -32002, "Approval timed out"),
            (Outcome::DeniedByPolicy { rule: None }, -32003, "Denied by policy"),
            (Outcome::RateLimited { retry_after: 3 }, -32006, "Rate limit exceeded"),
            (Outcome::TooManyPending, -32006, "Too many pending approvals"),
            (Outcome::UnknownTool { tool: "x".into() }, -32004, "Unknown tool: x"),
            (Outcome::Invalid(InvalidCall::Missing("a".into())), -32600, "Missing required argument: a"),
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
        assert_eq!(wire(Outcome::Invalid(InvalidCall::Missing("a".into()))).data["argument"], "a");
        let failed = Outcome::ServiceError { status: Some(404), message: "gone".into(), retry_after: None };
        assert_eq!((wire(failed.clone()).data["status"].clone(), wire(failed).data.len()), (json!(404), 2));
        let busy = Outcome::ServiceError { status: Some(429), message: "busy".into(), retry_after: Some(9) };
        assert_eq!(wire(busy).data["retry_after"], 9);
    }
}
