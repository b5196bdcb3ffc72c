//! Model words to JSON and back. Every match on our own types names every variant, so that a new one cannot be
//! forgotten here. What is written must stay readable: names are never changed once released.

use serde_json::{Map, Value, json};

use super::entry::{NewCall, Refusal, Stage};
use super::error::StoreError;
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::base::json_text::JsonText;
use crate::model::arguments;
use crate::model::{Action, Call, InvalidCall, Lost, Outcome, Output, RuleList, RuleRef};

/// The longest result kept in an event, in bytes; a longer one is cut with a visible mark.
const RESULT_KEPT: usize = 4096;

/// What is kept of a longer one: escaped into a JSON string it cannot grow beyond [`RESULT_KEPT`].
const RESULT_CUT: usize = RESULT_KEPT / 2 - 64;

/// The longest name of a tool that does not exist, in characters.
const NAME_KEPT: usize = 128;

/// An executed call's outcome, without remarks on its data.
const EXECUTED: &str = r#"{"is":"executed"}"#;

/// An outcome in two columns: what it is, and the JSON text of an executed call's data, which is never parsed when it
/// is only handed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StoredOutcome {
    pub(super) outcome: String,
    pub(super) data: Option<JsonText>,
}

pub(super) fn encode(outcome: &Outcome) -> StoredOutcome {
    let data = match outcome {
        Outcome::Executed(answer) => Some(answer.data.clone()),
        _other => None,
    };
    StoredOutcome { outcome: tagged(outcome).to_string(), data }
}

fn tagged(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Executed(Output { lost, note, .. }) => {
            without_nulls(json!({"is": "executed", "lost": lost.map(Lost::as_str), "note": note}))
        }
        Outcome::DeniedByUser { note } => json!({"is": "denied_by_user", "note": note}),
        Outcome::Withdrawn => json!({"is": "withdrawn"}),
        Outcome::TimedOut => json!({"is": "timed_out"}),
        Outcome::DeniedByPolicy { rule } => json!({"is": "denied_by_policy", "rule": rule}),
        Outcome::ApprovalVoid => json!({"is": "approval_void"}),
        Outcome::AgentRemoved => json!({"is": "agent_removed"}),
        Outcome::KillSwitch => json!({"is": "kill_switch"}),
        Outcome::Busy => json!({"is": "busy"}),
        Outcome::ServiceUnreachable => json!({"is": "service_unreachable"}),
        Outcome::ServiceTimeout => json!({"is": "service_timeout"}),
        Outcome::ServiceError { status, message, retry_after: None } => {
            json!({"is": "service_error", "status": status, "message": message})
        }
        Outcome::ServiceError { status, message, retry_after } => {
            json!({"is": "service_error", "status": status, "message": message, "retry_after": retry_after})
        }
        Outcome::ResponseTooLarge => json!({"is": "response_too_large"}),
        Outcome::UnknownTool { tool } => json!({"is": "unknown_tool", "tool": tool}),
        Outcome::UnknownResult => json!({"is": "unknown_result"}),
        Outcome::StoreUnavailable => json!({"is": "store_unavailable"}),
        Outcome::ApprovalUnavailable => json!({"is": "approval_unavailable"}),
        Outcome::Invalid(why) => tagged_invalid(why),
        Outcome::IdempotencyConflict => json!({"is": "idempotency_conflict"}),
        Outcome::TooLargeToShow => json!({"is": "too_large_to_show"}),
        Outcome::RateLimited { retry_after } => json!({"is": "rate_limited", "retry_after": retry_after}),
        Outcome::TooManyPending => json!({"is": "too_many_pending"}),
    }
}

fn tagged_invalid(why: &InvalidCall) -> Value {
    let (what, must_be) = match why {
        InvalidCall::Missing(_) => ("missing", None),
        InvalidCall::Undeclared(_) => ("undeclared", None),
        InvalidCall::WrongType(_, kind) => ("wrong_type", Some(*kind)),
        InvalidCall::Forbidden(..) => ("forbidden", None),
        InvalidCall::NoMatch(_) => ("no_match", None),
        InvalidCall::TooLong(_) => ("too_long", None),
        InvalidCall::TooMany => ("too_many", None),
        InvalidCall::Ambiguous(_) => ("ambiguous", None),
        InvalidCall::SignatureTooLong => ("signature_too_long", None),
        InvalidCall::Unsendable(_) => ("unsendable", None),
        InvalidCall::BadRequest => ("bad_request", None),
    };
    json!({"is": "invalid", "what": what, "argument": why.argument(), "must_be": must_be, "char": why.character()})
}

pub(super) fn decode(outcome: &str, data: Option<&str>) -> Result<Outcome, StoreError> {
    let tag: Value = serde_json::from_str(outcome)?;
    let unknown = || StoreError::Encoding(format!("no such outcome: {outcome}"));
    if tag.get("is").and_then(Value::as_str) == Some("executed") {
        let data = JsonText::checked(data.ok_or_else(unknown)?)?;
        let lost = tag.get("lost").and_then(Value::as_str).and_then(Lost::parse);
        return Ok(Outcome::Executed(Output { data, lost, note: text(&tag, "note") }));
    }
    untagged(&tag).ok_or_else(unknown)
}

fn untagged(tag: &Value) -> Option<Outcome> {
    Some(match tag.get("is")?.as_str()? {
        "denied_by_user" => Outcome::DeniedByUser { note: text(tag, "note") },
        "withdrawn" => Outcome::Withdrawn,
        "timed_out" => Outcome::TimedOut,
        "denied_by_policy" => Outcome::DeniedByPolicy { rule: text(tag, "rule") },
        "approval_void" => Outcome::ApprovalVoid,
        "agent_removed" => Outcome::AgentRemoved,
        "kill_switch" => Outcome::KillSwitch,
        "busy" => Outcome::Busy,
        "service_unreachable" => Outcome::ServiceUnreachable,
        "service_timeout" => Outcome::ServiceTimeout,
        "service_error" => Outcome::ServiceError {
            status: tag.get("status").and_then(Value::as_u64).and_then(|s| u16::try_from(s).ok()),
            message: text(tag, "message")?,
            retry_after: tag.get("retry_after").and_then(Value::as_u64),
        },
        "response_too_large" => Outcome::ResponseTooLarge,
        "unknown_tool" => Outcome::UnknownTool { tool: text(tag, "tool")? },
        "unknown_result" => Outcome::UnknownResult,
        "store_unavailable" => Outcome::StoreUnavailable,
        "approval_unavailable" => Outcome::ApprovalUnavailable,
        "invalid" => Outcome::Invalid(untagged_invalid(tag)?),
        "idempotency_conflict" => Outcome::IdempotencyConflict,
        "too_large_to_show" => Outcome::TooLargeToShow,
        "rate_limited" => Outcome::RateLimited { retry_after: tag.get("retry_after")?.as_u64()? },
        "too_many_pending" => Outcome::TooManyPending,
        _unknown => return None,
    })
}

fn untagged_invalid(tag: &Value) -> Option<InvalidCall> {
    let (argument, refused) = (|| text(tag, "argument"), text(tag, "char"));
    Some(match tag.get("what")?.as_str()? {
        "missing" => InvalidCall::Missing(argument()?),
        "undeclared" => InvalidCall::Undeclared(argument()?),
        "wrong_type" => InvalidCall::WrongType(argument()?, type_words(&text(tag, "must_be")?)),
        "forbidden" => InvalidCall::Forbidden(argument()?, refused.and_then(|c| c.parse().ok())),
        "no_match" => InvalidCall::NoMatch(argument()?),
        "too_long" => InvalidCall::TooLong(argument()?),
        "too_many" => InvalidCall::TooMany,
        "ambiguous" => InvalidCall::Ambiguous(argument()?),
        "signature_too_long" => InvalidCall::SignatureTooLong,
        "unsendable" => InvalidCall::Unsendable(argument()?),
        "bad_request" => InvalidCall::BadRequest,
        _unknown => return None,
    })
}

/// The words of `model` for the types, which it keeps as static text.
fn type_words(text: &str) -> &'static str {
    let known = arguments::type_words().into_iter().find(|words| *words == text);
    known.unwrap_or("of the declared type")
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// Body of `requested`: the request and the verdict on it, since one never stands without the other.
/// Without a `stage` the call is claimed at once.
pub(super) fn requested(new: &NewCall, stage: Option<&Stage>) -> Value {
    let call = &new.call;
    let (then, expires) = match stage {
        None => ("executing", None),
        Some(Stage::Asked { expires }) => ("asked", Some(expires.to_string())),
        Some(Stage::Settled(_) | Stage::Denied { .. }) => ("settled", None),
    };
    without_nulls(json!({
        "agent": call.agent().as_str(),
        "session": new.session,
        "reason": new.reason,
        "key": new.key,
        "tool": call.tool().name,
        "args": kept_args(call, stage),
        "signature": call.signature(),
        "signatures": Some(call.parts()).filter(|parts| !parts.is_empty()),
        "digest": call.digest().hex(),
        "binding": call.binding().hex(),
        "decision": new.decision.decision.as_str(),
        "rule": new.decision.rule.as_deref().map(rule),
        "then": then,
        "expires": expires,
    }))
}

/// All arguments of a call that may run. Of one that never will, only the beginning of very long ones: otherwise an
/// agent could push everything it did before out of the record with a few hundred calls that are denied.
fn kept_args(call: &Call, stage: Option<&Stage>) -> Value {
    let shown = Value::Object(call.shown_args());
    match stage {
        None | Some(Stage::Asked { .. }) => shown,
        Some(Stage::Settled(_) | Stage::Denied { .. }) => match shown.to_string() {
            short if short.len() <= RESULT_KEPT => shown,
            long => begin_of_args(&long),
        },
    }
}

fn begin_of_args(json: &str) -> Value {
    json!({"…": cut_text(json)})
}

/// The JSON text of arguments, or of their beginning.
pub(super) fn short_args(json: &str) -> String {
    if json.len() <= RESULT_KEPT { json.to_owned() } else { begin_of_args(json).to_string() }
}

/// Body of `refused`.
pub(super) fn refused(refusal: &Refusal) -> Value {
    let mut body = Map::from_iter([
        ("agent".to_owned(), refusal.agent.as_str().into()),
        ("tool".to_owned(), short_name(&refusal.tool).into()),
    ]);
    body.extend(refusal.session.as_ref().map(|s| ("session".to_owned(), s.as_str().into())));
    body.extend(ending(&refusal.outcome));
    Value::Object(body)
}

/// A tool's name that only the agent vouches for, cut.
pub(super) fn short_name(tool: &str) -> String {
    tool.chars().take(NAME_KEPT).collect()
}

/// Body of `finished`.
pub(super) fn finished(outcome: &Outcome, data: Option<&str>) -> Value {
    let mut body = ending(outcome);
    if let Some(data) = data {
        body.insert("result".into(), cut(data).into());
        body.insert("result_digest".into(), Digest::sha256(data.as_bytes()).hex().into());
    }
    Value::Object(body)
}

/// How it ended, for the record: the word, the reason and what belongs to it.
pub(super) fn ending(outcome: &Outcome) -> Map<String, Value> {
    let mut body = details(outcome);
    body.insert("outcome".into(), outcome.as_str().into());
    if let Some(reason) = outcome.reason() {
        body.insert("reason".into(), reason.into());
        body.insert("message".into(), outcome.message().into());
    }
    body
}

/// Whether a result's column says that nothing is known, which is never more than the record says.
pub(super) fn is_unknown(outcome: &str) -> bool {
    decode(outcome, None) == Ok(Outcome::UnknownResult)
}

/// What an outcome says beyond its reason; names as in the `data` of wire errors.
fn details(outcome: &Outcome) -> Map<String, Value> {
    let details = match outcome {
        Outcome::Executed(answer) => {
            return answer.remarks().map(|(name, what)| (name.to_owned(), what.into())).collect();
        }
        Outcome::DeniedByUser { note } => json!({"note": note}),
        Outcome::DeniedByPolicy { rule } => json!({"rule": rule}),
        Outcome::ServiceError { status, message: _, retry_after } => {
            json!({"status": status, "retry_after": retry_after})
        }
        Outcome::Invalid(why) => json!({"argument": why.argument()}),
        Outcome::RateLimited { retry_after } => json!({"retry_after": retry_after}),
        Outcome::Withdrawn
        | Outcome::TimedOut
        | Outcome::ApprovalVoid
        | Outcome::AgentRemoved
        | Outcome::KillSwitch
        | Outcome::Busy
        | Outcome::ServiceUnreachable
        | Outcome::ServiceTimeout
        | Outcome::ResponseTooLarge
        | Outcome::UnknownTool { tool: _ }
        | Outcome::UnknownResult
        | Outcome::StoreUnavailable
        | Outcome::ApprovalUnavailable
        | Outcome::IdempotencyConflict
        | Outcome::TooLargeToShow
        | Outcome::TooManyPending => return Map::new(),
    };
    match without_nulls(details) {
        Value::Object(members) => members,
        _scalar => Map::new(),
    }
}

/// The JSON text of `result` in `get_pending_results`. The data's own text is passed through untouched.
pub(super) fn result_text(outcome: &str, data: Option<&str>) -> Result<String, StoreError> {
    if let Some(data) = data {
        let remarks = remarks(outcome)?;
        return Ok(format!(r#"{{"data":{data},{remarks}"status":"executed"}}"#));
    }
    let outcome = decode(outcome, None)?;
    let body = json!({
        "status": inbox_status(&outcome),
        "reason": outcome.reason(),
        "message": outcome.message(),
        "data": details(&outcome),
    });
    Ok(body.to_string())
}

/// The same for an executed call whose `bytes` of data fit into no page.
pub(super) fn not_handed_over(id: RequestId, bytes: usize) -> String {
    let note = format!(
        "{bytes} bytes are too large to be handed over from the inbox; \
         the gateway's owner can read them with: agentpass audit show {id}"
    );
    json!({"status": "executed", "data": null, "data_lost": Lost::TooLarge.as_str(), "data_note": note})
        .to_string()
}

/// What stands beside the data, as members of a JSON text.
fn remarks(outcome: &str) -> Result<String, StoreError> {
    if outcome == EXECUTED {
        return Ok(String::new());
    }
    let tag: Value = serde_json::from_str(outcome)?;
    let members = [("data_lost", "lost"), ("data_note", "note")];
    let member = |(name, kept)| Some(format!("\"{name}\":{},", tag.get(kept)?));
    Ok(members.into_iter().filter_map(member).collect())
}

fn inbox_status(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Executed(_) => "executed",
        Outcome::DeniedByUser { .. }
        | Outcome::DeniedByPolicy { .. }
        | Outcome::Withdrawn
        | Outcome::TimedOut
        | Outcome::ApprovalVoid
        | Outcome::AgentRemoved
        | Outcome::KillSwitch => "denied",
        Outcome::Busy
        | Outcome::ServiceUnreachable
        | Outcome::ServiceTimeout
        | Outcome::ServiceError { .. }
        | Outcome::ResponseTooLarge
        | Outcome::UnknownTool { .. }
        | Outcome::UnknownResult
        | Outcome::StoreUnavailable
        | Outcome::ApprovalUnavailable
        | Outcome::Invalid(_)
        | Outcome::IdempotencyConflict
        | Outcome::TooLargeToShow
        | Outcome::RateLimited { .. }
        | Outcome::TooManyPending => "error",
    }
}

/// `json`, or a JSON string that begins like it and says how much is missing.
fn cut(json: &str) -> String {
    if json.len() <= RESULT_KEPT { json.to_owned() } else { Value::String(cut_text(json)).to_string() }
}

fn cut_text(json: &str) -> String {
    let end = (0..=RESULT_CUT).rev().find(|end| json.is_char_boundary(*end)).unwrap_or(0);
    let kept = json.get(..end).unwrap_or_default();
    format!("{kept} …[cut, {} bytes in all]", json.len())
}

/// A rule as the record shows it.
pub(super) fn rule(rule: &RuleRef) -> Value {
    let RuleRef { list, index, pattern, action, description, file } = rule;
    without_nulls(json!({
        "list": list.as_str(),
        "index": index,
        "pattern": pattern,
        "action": action.as_str(),
        "description": description,
        "file": file,
    }))
}

pub(super) fn read_rule(value: &Value) -> Option<RuleRef> {
    let list = [RuleList::Rules, RuleList::Defaults];
    let action = [Action::Deny, Action::Allow, Action::Ask];
    let word = |name| value.get(name).and_then(Value::as_str);
    Some(RuleRef {
        list: list.into_iter().find(|l| word("list") == Some(l.as_str()))?,
        index: usize::try_from(value.get("index")?.as_u64()?).ok()?,
        pattern: text(value, "pattern")?,
        action: action.into_iter().find(|a| word("action") == Some(a.as_str()))?,
        description: text(value, "description"),
        file: text(value, "file")?,
    })
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(members.into_iter().filter(|(_, v)| !v.is_null()).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_result_is_cut_visibly_and_stays_json() {
        let long = Value::String("\"é".repeat(5000)).to_string();
        let kept = cut(&long);
        let read: String = serde_json::from_str(&kept).unwrap();
        assert!(kept.len() <= RESULT_KEPT, "{}", kept.len());
        assert!(read.ends_with(&format!("[cut, {} bytes in all]", long.len())));
        assert_eq!(cut("{\"a\":1}"), "{\"a\":1}");
    }

    #[test]
    fn an_executed_result_is_handed_on_byte_for_byte() {
        let text = result_text(r#"{"is":"executed"}"#, Some("[1e400,0.30000000000000004]")).unwrap();
        assert_eq!(text, r#"{"data":[1e400,0.30000000000000004],"status":"executed"}"#);
        assert_eq!(encode(&Outcome::Executed(Value::from(1).into())).outcome, EXECUTED);
        let lost = encode(&Outcome::Executed(Output::lost(Lost::Binary, Some("a \"b\"".into()))));
        let text = result_text(&lost.outcome, Some("null")).unwrap();
        let told = r#"{"data":null,"data_lost":"binary","data_note":"a \"b\"","status":"executed"}"#;
        assert_eq!(text, told);
    }
}
