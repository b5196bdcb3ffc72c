//! Model words to JSON and back. Every match on our own types names every variant, so that a new one cannot be
//! forgotten here. What is written must stay readable: names are never changed once released.

use serde_json::{Map, Value, json};

use super::entry::{EditedCall, NewCall, RefusedRequest, Stage, Yes};
use super::error::StoreError;
use super::grants;
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::base::json_text::JsonText;
use crate::model::{Call, Charge, Lost, Outcome, Reason, RuleRef, Source};

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

pub(super) fn encode(outcome: &Outcome) -> Result<StoredOutcome, StoreError> {
    let data = if let Outcome::Executed(output) = outcome { Some(output.data.clone()) } else { None };
    Ok(StoredOutcome { outcome: serde_json::to_string(outcome)?, data })
}

pub(super) fn decode(outcome: &str, data: Option<&str>) -> Result<Outcome, StoreError> {
    let unknown = || StoreError::Encoding(format!("no such outcome: {outcome}"));
    let mut decoded = serde_json::from_str(outcome).map_err(|_| unknown())?;
    if let Outcome::Executed(output) = &mut decoded {
        output.data = JsonText::checked(data.ok_or_else(unknown)?)?;
    }
    Ok(decoded)
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
    let reasons: Vec<Value> = new.decision.reasons.iter().map(Reason::to_json).collect();
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
        "rule": new.decision.rule.as_deref().map(RuleRef::to_json),
        "reasons": Some(&reasons).filter(|reasons| !reasons.is_empty()),
        "terms": terms(new, stage),
        "policy_digest": new.decision.policy.map(|digest| digest.hex()),
        "ask": stage.is_some().then(|| new.decision.ask.to_json()).flatten(),
        "grant": stage.is_none().then(|| new.decision.grant.map(grants::used)).flatten(),
        "then": then,
        "expires": expires,
        "reads": reads(new, stage),
        "charges": stage.is_none().then(|| charged(&new.decision.charges)).flatten(),
    }))
}

/// How many people a question needs, and which.
fn terms(new: &NewCall, stage: Option<&Stage>) -> Option<Value> {
    let terms = &new.decision.terms;
    let asked = matches!(stage, Some(Stage::Asked { .. })) && !terms.is_empty();
    asked.then(|| terms.to_json())
}

/// Body of `counted`. A yes to a call that looked otherwise is none to this one.
pub(super) fn counted(yes: &Yes) -> Value {
    json!({"by": yes.by.as_str(), "have": yes.have, "need": yes.need, "digest": yes.shown})
}

/// What a call reads that may run, with its session.
pub(super) fn reads(new: &NewCall, stage: Option<&Stage>) -> Option<Value> {
    if let Some(Stage::Settled(_) | Stage::Denied { .. }) = stage {
        return None;
    }
    Some(read(&new.call.tool().source()?, new.session.as_deref()))
}

/// The member `read` of an event that hands data out.
pub(super) fn read(source: &Source, session: Option<&str>) -> Value {
    let mut read = source.to_json();
    if let Some(members) = read.as_object_mut() {
        members.extend(session.map(|session| ("session".to_owned(), session.into())));
    }
    read
}

/// Body of `edited`: both what was changed and what came of it. No secret is among the changes.
pub(super) fn edited(edited: &EditedCall) -> Value {
    let EditedCall { question, changes, by } = edited;
    let (call, terms) = (&question.call, &question.terms);
    let names = question.edit.as_deref().map(|edit| edit.names.as_slice()).unwrap_or_default();
    let changes: Map<_, _> =
        changes.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    without_nulls(json!({
        "by": by.as_str(),
        "edited": names,
        "set": changes,
        "args": call.shown_args(),
        "signature": call.signature(),
        "signatures": Some(call.parts()).filter(|parts| !parts.is_empty()),
        "digest": call.digest().hex(),
        "binding": call.binding().hex(),
        "reasons": Some(&question.reasons).filter(|reasons| !reasons.is_empty()),
        "terms": (!terms.is_empty()).then(|| terms.to_json()),
    }))
}

/// Body of `executing`.
pub(super) fn executing(charges: &[Charge]) -> Value {
    without_nulls(json!({"charges": charged(charges)}))
}

fn charged(charges: &[Charge]) -> Option<Value> {
    (!charges.is_empty()).then(|| charges.iter().map(Charge::to_json).collect())
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
pub(super) fn refused(refusal: &RefusedRequest) -> Value {
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

/// Whether the body of `finished` says all that is kept of this result.
pub(super) fn is_told_whole(stored: &StoredOutcome) -> bool {
    stored.outcome == EXECUTED && stored.data.as_ref().is_some_and(|data| data.as_str().len() <= RESULT_KEPT)
}

/// A result as the body of `finished` tells it. It may be cut there, and somebody else may have changed it.
pub(super) struct ToldResult {
    data: String,
    digest: String,
}

impl ToldResult {
    /// Out of a body; None when there is more to it, or less.
    pub(super) fn read<'a>(body: impl Fn(&str) -> Option<&'a Value>) -> Option<ToldResult> {
        let text = |name: &str| body(name).and_then(Value::as_str);
        let remarks = ["data_lost", "data_note", "edited"];
        let plain = text("outcome") == Some("executed") && remarks.iter().all(|name| body(name).is_none());
        let (data, digest) = text("result").filter(|_| plain).zip(text("result_digest"))?;
        Some(ToldResult { data: data.to_owned(), digest: digest.to_owned() })
    }

    /// The whole result, if this is it: what was cut has another digest.
    pub(super) fn proven(&self) -> Option<StoredOutcome> {
        let whole = Digest::parse(&self.digest) == Some(Digest::sha256(self.data.as_bytes()));
        let data = JsonText::checked(&self.data).ok().filter(|_| whole)?;
        Some(StoredOutcome { outcome: EXECUTED.to_owned(), data: Some(data) })
    }
}

/// How it ended, for the record: the word, the reason and what belongs to it.
pub(super) fn ending(outcome: &Outcome) -> Map<String, Value> {
    let mut body = outcome.details();
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

/// The JSON text of `result` in `get_pending_results`. The data's own text is passed through untouched.
pub(super) fn result_text(outcome: &str, data: Option<&str>) -> Result<String, StoreError> {
    if let Some(data) = data {
        let remarks = remarks(outcome)?;
        return Ok(format!(r#"{{"data":{data},{remarks}"status":"executed"}}"#));
    }
    let outcome = decode(outcome, None)?;
    let mut body = json!({"status": inbox_status(&outcome), "data": outcome.details()});
    if let (Some(reason), Some(body)) = (outcome.reason(), body.as_object_mut()) {
        body.insert("reason".into(), reason.into());
        body.insert("message".into(), outcome.message().into());
    }
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
    let members = [("data_lost", "lost"), ("data_note", "note"), ("edited", "edited")];
    let member = |(name, kept)| Some(format!("\"{name}\":{},", tag.get(kept)?));
    Ok(members.into_iter().filter_map(member).collect())
}

fn inbox_status(outcome: &Outcome) -> &'static str {
    match outcome.as_str() {
        "executed" => "executed",
        "permitted" => "permitted",
        "denied" | "withdrawn" | "timed_out" => "denied",
        _failed_unknown_or_refused => "error",
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

fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(members) = &mut value {
        members.retain(|_, member| !member.is_null());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Output;

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
        assert_eq!(encode(&Outcome::Executed(Value::from(1).into())).unwrap().outcome, EXECUTED);
        let lost = encode(&Outcome::Executed(Output::lost(Lost::Binary, Some("a \"b\"".into())))).unwrap();
        let text = result_text(&lost.outcome, Some("null")).unwrap();
        let told = r#"{"data":null,"data_lost":"binary","data_note":"a \"b\"","status":"executed"}"#;
        assert_eq!(text, told);
    }
}
