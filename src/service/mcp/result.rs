//! A result of `tools/call` as an outcome. Pure.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::base::json_text::JsonText;
use crate::base::readable::size;
use crate::model::{Kind, Lost, Outcome, Output};
use crate::protocol::mcp::message::CAPABILITY_MISSING;
use crate::protocol::mcp::upstream::ServerError;
use crate::service::scrub::{Scrubber, json};

/// Blocks of a content that are looked at for what they hold.
const MAX_BLOCKS: usize = 100;
/// The most characters of a server's words in an error.
const MAX_WORDS: usize = 500;

type Members<'r> = BTreeMap<String, &'r RawValue>;

/// The outcome of a call of this kind that the server has answered.
pub(super) fn outcome(
    result: Result<String, ServerError>,
    kind: Kind,
    max_bytes: u64,
    scrubber: &Scrubber,
) -> Outcome {
    let said = |words: &str| {
        let words: String = scrubber.text(words.to_owned()).chars().take(MAX_WORDS).collect();
        format!("The MCP server says: {words}")
    };
    let failed =
        |words: &str| Outcome::ServiceError { status: None, message: said(words), retry_after: None };
    let text = match result {
        Ok(text) => text,
        Err(ServerError { code: CAPABILITY_MISSING, message, data }) if data.is_object() => {
            let clean = json::scrubbed(scrubber, &data.to_string());
            let mcp_data = clean.and_then(|clean| serde_json::from_str(&clean.json).ok()).unwrap_or_default();
            return Outcome::CapabilityMissing { message: said(&message), mcp_data };
        }
        Err(ServerError { code, message, .. }) => return failed(&format!("{message} ({code})")),
    };
    let Ok(members) = serde_json::from_str::<Members<'_>>(&text) else {
        return lost(kind, Lost::BadJson, "no result");
    };
    let raw = |name: &str| members.get(name).map(|raw| raw.get()).filter(|raw| *raw != "null");
    if raw("isError") == Some("true") {
        return failed(&words(raw("content").unwrap_or_default()));
    }
    if raw("resultType").is_some_and(|kind| kind != "\"complete\"") {
        return failed("it asks for more, which is not passed on");
    }
    let longest = raw("structuredContent").or(raw("content")).unwrap_or_default();
    if u64::try_from(longest.len()).unwrap_or(u64::MAX) > max_bytes {
        return lost(kind, Lost::TooLarge, "it is larger than max_response_bytes");
    }
    let note = raw("content").and_then(described);
    let data = match (raw("structuredContent"), raw("content")) {
        (Some(data), _) => data.to_owned(),
        (None, content) => format!("{{\"content\":{}}}", content.unwrap_or("[]")),
    };
    if u64::try_from(data.len()).unwrap_or(u64::MAX) > max_bytes {
        return lost(kind, Lost::TooLarge, note.as_deref().unwrap_or("it is larger than max_response_bytes"));
    }
    match json::scrubbed(scrubber, &data) {
        Some(clean) => Outcome::Executed(Output {
            note,
            is_content: raw("structuredContent").is_none(),
            ..JsonText::made(clean.json).into()
        }),
        None => lost(kind, Lost::BadJson, "no JSON"),
    }
}

/// A server that has answered has done it, and an agent repeats what failed: so only a read can fail for want of a result.
fn lost(kind: Kind, why: Lost, note: &str) -> Outcome {
    match why {
        _ if kind.has_side_effects() => Outcome::Executed(Output::lost(why, Some(note.to_owned()))),
        Lost::TooLarge => Outcome::ResponseTooLarge,
        _ => Outcome::ServiceError {
            status: None,
            message: format!("The MCP server's answer cannot be used: {note}"),
            retry_after: None,
        },
    }
}

/// The first blocks of a content.
fn blocks(content: &str) -> Vec<Members<'_>> {
    let all: Vec<&RawValue> = serde_json::from_str(content).unwrap_or_default();
    all.into_iter().take(MAX_BLOCKS).filter_map(|block| serde_json::from_str(block.get()).ok()).collect()
}

fn string(block: &Members<'_>, name: &str) -> Option<String> {
    serde_json::from_str(block.get(name)?.get()).ok()
}

/// All that a server says in words.
fn words(content: &str) -> String {
    let texts: Vec<String> = blocks(content).iter().filter_map(|block| string(block, "text")).collect();
    if texts.is_empty() { "it failed".to_owned() } else { texts.join(" ") }
}

/// What a content holds beside text: `image, 34 kB`. None: nothing.
fn described(content: &str) -> Option<String> {
    let what = |block: &Members<'_>| {
        let kind = string(block, "type")?;
        match kind.as_str() {
            // Base64 takes four characters for three bytes.
            "image" | "audio" => {
                Some(format!("{kind}, {}", size(u64::try_from(string(block, "data")?.len() * 3 / 4).ok()?)))
            }
            "resource" | "resource_link" => Some(kind.replace('_', " ")),
            _ => None,
        }
    };
    let all: Vec<String> = blocks(content).iter().filter_map(what).take(10).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(result: &serde_json::Value, kind: Kind, most: u64) -> Outcome {
        outcome(Ok(result.to_string()), kind, most, &Scrubber::new(&[]))
    }

    #[test]
    fn what_is_structured_comes_alone_and_the_rest_as_its_content() {
        let text = json!([{"type": "text", "text": "a"}]);
        let Outcome::Executed(output) = of(&json!({"content": text}), Kind::Read, 100) else { panic!() };
        assert_eq!(
            (output.data.as_str(), output.note),
            (r#"{"content":[{"text":"a","type":"text"}]}"#, None)
        );
        let both = json!({"content": text, "structuredContent": {"n": 9_007_199_254_740_993_u64}});
        let Outcome::Executed(output) = of(&both, Kind::Read, 100) else { panic!() };
        assert_eq!(output.data.as_str(), r#"{"n":9007199254740993}"#);
        let image =
            json!({"content": [{"type": "image", "data": "A".repeat(45_000), "mimeType": "image/png"}]});
        let Outcome::Executed(output) = of(&image, Kind::Read, 100_000) else { panic!() };
        assert_eq!(output.note.as_deref(), Some("image, 34 kB"));
        assert!(output.data.as_str().starts_with(r#"{"content":[{"data":"AAAA"#));
    }

    #[test]
    fn what_was_done_never_fails_for_want_of_a_result() {
        let large = json!({"content": [{"type": "text", "text": "x".repeat(200)}]});
        assert_eq!(of(&large, Kind::Read, 100), Outcome::ResponseTooLarge);
        assert!(matches!(
            of(&large, Kind::Write, 100),
            Outcome::Executed(Output { lost: Some(Lost::TooLarge), .. })
        ));
        assert!(matches!(
            of(&json!([1]), Kind::Write, 100),
            Outcome::Executed(Output { lost: Some(Lost::BadJson), .. })
        ));
        assert!(matches!(of(&json!([1]), Kind::Read, 100), Outcome::ServiceError { .. }));
    }

    #[test]
    fn errors_are_told_in_the_server_s_words_without_secrets() {
        let scrubber = Scrubber::new(&[crate::base::secret::Secret::new("hunter2-secret".to_owned())]);
        let said = json!({"isError": true, "content": [{"type": "text", "text": "no hunter2-secret here"}]});
        let told = outcome(Ok(said.to_string()), Kind::Write, 100, &scrubber);
        assert_eq!(told.message(), "The MCP server says: no [redacted] here");
        let refused = ServerError { code: -32602, message: "Unknown tool".to_owned(), data: json!({"a": 1}) };
        let told = outcome(Err(refused), Kind::Write, 100, &scrubber);
        assert_eq!(told.message(), "The MCP server says: Unknown tool (-32602)");
        assert_eq!(told.reason(), Some("service_error"));
        let data = json!({"requiredCapabilities": {"sampling": {}}, "for": "hunter2-secret"});
        let missing = ServerError { code: CAPABILITY_MISSING, message: "Sampling".to_owned(), data };
        let told = outcome(Err(missing), Kind::Write, 100, &scrubber);
        let data = json!({"requiredCapabilities": {"sampling": {}}, "for": "[redacted]"});
        let details = told.details();
        assert_eq!((told.reason(), details.get("mcp_data")), (Some("service_error"), Some(&data)));
        assert!(matches!(of(&json!({"resultType": "task"}), Kind::Read, 100), Outcome::ServiceError { .. }));
    }
}
