//! A question on a terminal, from what the gateway says of it.

use serde_json::Value;

use super::layout;
use crate::base::clock::{Clock, Timestamp};
use crate::base::readable::{countdown, short_id};

/// The narrowest and the widest column of labels; the longest label decides between them.
const LABEL: (usize, usize) = (10, 24);

/// The whole question in lines of at most `width` columns. The gateway has made every text safe to show.
pub(crate) fn question(question: &Value, width: Option<usize>) -> String {
    let fields = question.get("shown").and_then(Value::as_array).into_iter().flatten().map(field);
    let head = format!("question {}, {} left\n", id(question), left(question));
    format!("{head}{}", labelled("  ", fields.collect(), width))
}

/// Labels with their lines, aligned; each line begins with `indent`.
pub(crate) fn labelled(indent: &str, fields: Vec<(String, Vec<String>)>, width: Option<usize>) -> String {
    let longest = fields.iter().map(|(label, _)| layout::width(label)).max().unwrap_or_default();
    let column = longest.clamp(LABEL.0, LABEL.1);
    let lines = fields.iter().flat_map(|(label, texts)| {
        texts.iter().enumerate().map(move |(number, text)| {
            let label = if number == 0 { label } else { "" };
            layout::hanging(&format!("{indent}{}  ", layout::padded(label, column)), text, width)
        })
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn field(field: &Value) -> (String, Vec<String>) {
    let label = field.get("label").and_then(Value::as_str).unwrap_or_default();
    let lines = field.get("lines").and_then(Value::as_array).into_iter().flatten();
    (label.to_owned(), lines.filter_map(Value::as_str).map(str::to_owned).collect())
}

/// The short id of a question or of what became of it.
pub(crate) fn id(question: &Value) -> String {
    short_id(question.get("request_id").and_then(Value::as_str).unwrap_or_default())
}

/// Time left, as `14:32`.
pub(crate) fn left(question: &Value) -> String {
    let expires = question.get("expires_at").and_then(Value::as_str).and_then(Timestamp::parse);
    countdown(expires.map(|at| at.since(Clock::system().now())).unwrap_or_default())
}
