//! A question on a terminal, from what the gateway says of it.

use serde_json::Value;

use crate::approval::text::time_left;
use crate::base::clock::{Clock, Timestamp};

/// The width of the labels.
const LABEL: usize = 12;

/// The whole question as lines. The gateway has made every text safe to show.
pub fn question(question: &Value) -> String {
    let mut lines = vec![format!("{}  ({} left)", short_id(question), left(question))];
    for field in question.get("shown").and_then(Value::as_array).into_iter().flatten() {
        let label = field.get("label").and_then(Value::as_str).unwrap_or_default();
        let texts =
            field.get("lines").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        for (number, text) in texts.enumerate() {
            let label = if number == 0 { label } else { "" };
            lines.push(format!("  {label:<LABEL$} {text}"));
        }
    }
    lines.join("\n")
}

/// The id, shortened to what people type. Ids are random, so eight digits are unique in practice; if not, the
/// gateway says so.
pub fn short_id(question: &Value) -> String {
    let id = question.get("request_id").and_then(Value::as_str).unwrap_or_default();
    id.chars().take(8).collect()
}

/// Time left, as `14:32`.
pub fn left(question: &Value) -> String {
    let expires = question.get("expires_at").and_then(Value::as_str).and_then(Timestamp::parse);
    time_left(expires.map(|at| at.since(Clock::system().now())).unwrap_or_default())
}
