//! Results of `tools/call`, in words that a language model can act on. A result without data never has
//! `structuredContent`: clients would check it against a schema.

use serde_json::{Map, Value, json};

use super::own::WAIT;

/// What new clients want to hear of each result.
const COMPLETE: &str = r#""resultType":"complete","#;

/// A result as JSON text, without what each era adds.
pub(crate) struct ToolResult(String);

impl ToolResult {
    /// The `result` of a frame.
    pub(crate) fn for_client(&self, is_modern: bool) -> String {
        let era = if is_modern { COMPLETE } else { "" };
        format!("{{{era}{}}}", self.0)
    }

    /// One text for the model.
    pub(crate) fn text(text: &str, is_error: bool) -> ToolResult {
        let content = json!([{"type": "text", "text": text}]);
        ToolResult(format!(r#""content":{content},"isError":{is_error}"#))
    }

    /// JSON for the model.
    pub(crate) fn json(value: &Value) -> ToolResult {
        ToolResult::data(&value.to_string(), Map::new())
    }

    /// What a service answered, as JSON text, and what there is to say of it. The data's own text is passed through: as a
    /// tree it would be many times as large.
    pub(crate) fn data(data: &str, remarks: Map<String, Value>) -> ToolResult {
        let structured = match data.starts_with('{') {
            true => format!(r#""structuredContent":{data},"#),
            false => String::new(),
        };
        let meta = meta(remarks);
        let text = Value::from(data);
        ToolResult(format!(
            r#""content":[{{"type":"text","text":{text}}}],{structured}"isError":false{meta}"#
        ))
    }

    /// The content of an MCP server's result, `{"content":[…]}`, as it is: images stay images. None: it is no such text.
    pub(crate) fn content(data: &str, remarks: &Map<String, Value>) -> Option<ToolResult> {
        let content = data.strip_prefix("{\"content\":")?.strip_suffix('}')?;
        let meta = meta(remarks.clone());
        Some(ToolResult(format!(r#""content":{content},"isError":false{meta}"#)))
    }

    /// What a client hears whose call goes on: a person is being asked until `expires`, or it is being carried out.
    pub(crate) fn pending(id: &str, expires: Option<&str>) -> ToolResult {
        let what = match expires {
            Some(expires) => format!("A person is being asked, until {expires} at the latest"),
            None => "It is being carried out".to_owned(),
        };
        let text = format!(
            "Not done yet. {what}. Do not call the tool again: call {WAIT} with request_id \"{id}\" (pending, request {id})"
        );
        ToolResult::text(&text, true)
    }

    /// What a client hears whose agent has left too many answers unread to be given one more.
    pub(crate) fn unread(id: &str) -> ToolResult {
        let text = format!(
            "The call has ended, but too many answers to this agent are unread for one more. Do not call the tool again: call \
             {WAIT} with request_id \"{id}\" (unread, request {id})"
        );
        ToolResult::text(&text, true)
    }

    /// There is nothing to wait for.
    pub(crate) fn no_such_request() -> ToolResult {
        let text = "There is no such request under way, and no result of it waits: it was received already, or never was.";
        ToolResult::text(text, true)
    }

    /// A permit is for the one who asked for it, not for a model that waits for its request.
    pub(crate) fn permitted(id: &str) -> ToolResult {
        ToolResult::text(&format!("It was permitted, to the one who asked (permitted, request {id})"), true)
    }

    /// A result that has waited in the inbox, as `get_pending_results` has it.
    pub(crate) fn waiting(id: &str, stored: &str) -> ToolResult {
        let read: Value = serde_json::from_str(stored).unwrap_or_default();
        if read.get("status") == Some(&"executed".into()) {
            let data = read.get("data").cloned().unwrap_or_default().to_string();
            return ToolResult::data(&data, Map::from_iter([("request_id".to_owned(), id.into())]));
        }
        if read.get("status") == Some(&"permitted".into()) {
            return ToolResult::permitted(id);
        }
        ToolResult::text(&format!("It was not done, or failed: {stored} (request {id})"), true)
    }
}

/// What there is to say of a result besides.
fn meta(remarks: Map<String, Value>) -> String {
    let remarks: Map<_, _> =
        remarks.into_iter().map(|(name, what)| (format!("agentpass/{name}"), what)).collect();
    if remarks.is_empty() { String::new() } else { format!(r#","_meta":{}"#, Value::from(remarks)) }
}

/// How a call ended that has no data.
#[derive(Default)]
pub(crate) struct Ending<'e> {
    /// For programs.
    pub reason: &'e str,
    /// For people, without a full stop.
    pub message: &'e str,
    /// A person's words.
    pub note: Option<&'e str>,
    /// Seconds.
    pub retry_after: Option<u64>,
    pub request_id: Option<&'e str>,
}

impl Ending<'_> {
    /// What became of it, and what to do now.
    pub(crate) fn result(&self) -> ToolResult {
        let Ending { reason, message, note, retry_after, request_id } = self;
        let what = match (*reason, note, retry_after) {
            ("denied_by_user", Some(note), _) => format!("Denied by a person: {note}. Do not retry."),
            ("denied_by_user", None, _) => "Denied by a person. Do not retry.".to_owned(),
            ("approval_timed_out", ..) => "Nobody has answered in time, so it was not done.".to_owned(),
            ("unknown_result", ..) => format!("{message}. Do not retry before you have looked."),
            (_, _, Some(seconds)) => format!("{message}. It may be asked for again in {seconds} s."),
            ("denied_by_policy" | "flow_denied" | "limit_reached" | "kill_switch", ..) => {
                format!("{message}. Do not retry.")
            }
            _ => format!("{message}."),
        };
        let id = request_id.map(|id| format!(", request {id}")).unwrap_or_default();
        ToolResult::text(&format!("{what} ({reason}{id})"), true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(result: &ToolResult) -> Value {
        serde_json::from_str(&result.for_client(true)).unwrap()
    }

    #[test]
    fn data_comes_as_text_and_where_it_is_an_object_as_such() {
        let remarks = Map::from_iter([("request_id".to_owned(), "r".into())]);
        let got = read(&ToolResult::data(r#"{"a":"\"}"}"#, remarks));
        assert_eq!(got["structuredContent"], json!({"a": "\"}"}));
        assert_eq!(got["content"][0]["text"], r#"{"a":"\"}"}"#);
        assert_eq!((&got["isError"], &got["resultType"]), (&json!(false), &json!("complete")));
        assert_eq!(got["_meta"], json!({"agentpass/request_id": "r"}));
        let image = r#"{"content":[{"type":"image","data":"AAAA"}]}"#;
        let got = read(&ToolResult::content(image, &Map::new()).unwrap());
        assert_eq!(got["content"], json!([{"type": "image", "data": "AAAA"}]));
        assert!(got.get("structuredContent").is_none() && ToolResult::content("[]", &Map::new()).is_none());
        let list = read(&ToolResult::json(&json!([1])));
        assert!(list.get("structuredContent").is_none() && list.get("_meta").is_none());
        let waited = read(&ToolResult::waiting("r", r#"{"status":"executed","data":{"b":1}}"#));
        assert_eq!(waited["structuredContent"], json!({"b": 1}));
        assert_eq!(read(&ToolResult::waiting("r", r#"{"status":"denied"}"#))["isError"], true);
    }

    #[test]
    fn what_was_not_done_is_an_error_that_says_what_to_do() {
        let ending = |reason, note, retry_after| {
            let ending = Ending { reason, message: "Because", note, retry_after, request_id: Some("r") };
            let got = read(&ending.result());
            assert!(got["isError"] == true && got.get("structuredContent").is_none(), "{got}");
            got["content"][0]["text"].as_str().unwrap().to_owned()
        };
        let note = Some("not now");
        assert_eq!(
            ending("denied_by_user", note, None),
            "Denied by a person: not now. Do not retry. (denied_by_user, request r)"
        );
        assert_eq!(
            ending("denied_by_policy", None, None),
            "Because. Do not retry. (denied_by_policy, request r)"
        );
        let later = "Because. It may be asked for again in 9 s. (limit_reached, request r)";
        assert_eq!(ending("limit_reached", None, Some(9)), later);
        assert_eq!(ending("busy", None, None), "Because. (busy, request r)");
    }
}
