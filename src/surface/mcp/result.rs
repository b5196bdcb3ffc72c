//! From outcomes to results of `tools/call`, in words that a language model can act on. A result without data never has
//! `structuredContent`: clients would check it against a schema.

use serde_json::{Map, Value, json};

use crate::base::clock::Timestamp;
use crate::base::ids::RequestId;
use crate::base::json_text::JsonText;
use crate::gate::CallReply;
use crate::model::{Outcome, Sort};
use crate::store::WaitingResult;
/// The tool that waits for a call that is pending.
pub(super) const WAIT: &str = "agentpass_wait";

/// A result as JSON text, without what each era adds.
pub(super) struct ToolResult(String);

/// What new clients want to hear of each result.
const COMPLETE: &str = r#""resultType":"complete","#;

impl ToolResult {
    /// The members of `result` in a frame.
    pub(super) fn for_client(&self, is_modern: bool) -> String {
        let era = if is_modern { COMPLETE } else { "" };
        format!("{{{era}{}}}", self.0)
    }

    /// One text for the model.
    pub(super) fn text(text: &str, is_error: bool) -> ToolResult {
        let content = json!([{"type": "text", "text": text}]);
        ToolResult(format!(r#""content":{content},"isError":{is_error}"#))
    }

    /// JSON for the model.
    pub(super) fn json(value: &Value) -> ToolResult {
        ToolResult::data(&JsonText::from(value.clone()), Map::new())
    }

    /// The data's own text is passed through: as a tree it would be many times as large.
    fn data(data: &JsonText, remarks: Map<String, Value>) -> ToolResult {
        let text = Value::from(data.as_str());
        let structured = match data.as_str().starts_with('{') {
            true => format!(r#""structuredContent":{data},"#),
            false => String::new(),
        };
        let meta = match remarks.is_empty() {
            true => String::new(),
            false => format!(r#","_meta":{}"#, Value::from(remarks)),
        };
        ToolResult(format!(
            r#""content":[{{"type":"text","text":{text}}}],{structured}"isError":false{meta}"#
        ))
    }

    pub(super) fn of(reply: &CallReply) -> ToolResult {
        let CallReply { outcome, request_id, replayed, grant } = reply;
        if let Outcome::Executed(output) = outcome {
            let id = request_id.map(|id| ("request_id".to_owned(), id.to_string().into()));
            let replayed = replayed.then(|| ("replayed".to_owned(), true.into()));
            let grant = grant.map(|grant| ("grant".to_owned(), grant.to_json()));
            let remarks = outcome.details().into_iter().chain(grant).chain(id).chain(replayed);
            return ToolResult::data(
                &output.data,
                remarks.map(|(k, v)| (format!("agentpass/{k}"), v)).collect(),
            );
        }
        let id = request_id.map(|id| format!(", request {id}")).unwrap_or_default();
        let reason = outcome.reason().unwrap_or_default();
        ToolResult::text(&format!("{} ({reason}{id})", sentence(outcome)), true)
    }

    /// What a client hears that cannot wait any longer.
    pub(super) fn pending(id: RequestId, expires: Option<Timestamp>) -> ToolResult {
        let what = match expires {
            Some(expires) => format!("A person is being asked, until {expires} at the latest"),
            None => "It is being carried out".to_owned(),
        };
        let text = format!(
            "Not done yet. {what}. Do not call the tool again: call {WAIT} with request_id \"{id}\" (pending, request {id})"
        );
        ToolResult::text(&text, true)
    }

    /// A result that has waited in the inbox.
    pub(super) fn waiting(result: &WaitingResult) -> ToolResult {
        let id = result.request_id;
        let stored: Value = serde_json::from_str(&result.result).unwrap_or_default();
        if stored.get("status") == Some(&"executed".into()) {
            let data = stored.get("data").cloned().unwrap_or_default();
            let id = Map::from_iter([("agentpass/request_id".to_owned(), id.to_string().into())]);
            return ToolResult::data(&data.into(), id);
        }
        ToolResult::text(&format!("It was not done, or failed: {} (request {id})", result.result), true)
    }
}

/// What became of a call, and what to do now.
fn sentence(outcome: &Outcome) -> String {
    let message = outcome.message();
    match outcome {
        Outcome::DeniedByUser { note: Some(note) } => format!("Denied by a person: {note}. Do not retry."),
        Outcome::DeniedByUser { note: None } => "Denied by a person. Do not retry.".to_owned(),
        Outcome::TimedOut => "Nobody has answered in time, so it was not done.".to_owned(),
        Outcome::DeniedByPolicy(denial) => match denial.retry_after {
            Some(seconds) => format!("{}. It may be asked for again in {seconds} s.", outcome.explained()),
            None => format!("{}. Do not retry.", outcome.explained()),
        },
        Outcome::RateLimited { retry_after } => format!("{message}. Wait {retry_after} s."),
        other => match other.sort() {
            Sort::Unknown => format!("{message}. Do not retry before you have looked."),
            _ => format!("{message}."),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Denial, Lost, Output};

    fn result(outcome: Outcome) -> Value {
        let reply = CallReply {
            outcome,
            request_id: Some(RequestId::from_bytes([7; 16])),
            replayed: false,
            grant: None,
        };
        serde_json::from_str(&ToolResult::of(&reply).for_client(true)).unwrap()
    }

    #[test]
    fn data_comes_as_text_and_where_it_is_an_object_as_such() {
        let got = result(Outcome::Executed(json!({"a": "\"}"}).into()));
        assert_eq!(got["structuredContent"], json!({"a": "\"}"}));
        assert_eq!(got["content"][0]["text"], r#"{"a":"\"}"}"#);
        assert_eq!((&got["isError"], &got["resultType"]), (&json!(false), &json!("complete")));
        assert_eq!(got["_meta"]["agentpass/request_id"], RequestId::from_bytes([7; 16]).to_string());
        let list = result(Outcome::Executed(json!([1]).into()));
        assert!(list.get("structuredContent").is_none());
        let lost = result(Outcome::Executed(Output::lost(Lost::Binary, None)));
        assert_eq!(
            (&lost["_meta"]["agentpass/data_lost"], &lost["content"][0]["text"]),
            (&json!("binary"), &json!("null"))
        );
    }

    #[test]
    fn what_was_not_done_is_an_error_with_its_reason_and_nothing_structured() {
        let denial = Denial { retry_after: Some(9), ..Denial::by_rule(Some("not at night".into())) };
        for (outcome, words) in [
            (
                Outcome::DeniedByUser { note: Some("not now".into()) },
                "Denied by a person: not now. Do not retry. (denied_by_user, request",
            ),
            (
                Outcome::DeniedByPolicy(denial),
                "Denied by policy: a rule denies it: not at night. It may be asked for again in 9 s.",
            ),
            (Outcome::UnknownResult, "(unknown_result, request"),
        ] {
            let got = result(outcome);
            assert_eq!(got["isError"], true);
            assert!(got.get("structuredContent").is_none());
            assert!(got["content"][0]["text"].as_str().unwrap().contains(words), "{got}");
        }
    }
}
