//! What an agent says of something that it did itself.

use serde_json::Value;

/// The agent's word, and nobody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// Whether it went well.
    pub ok: bool,
    /// At most 500 characters, as the agent wrote them.
    pub detail: Option<String>,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportOutcome {
    /// It is in the record.
    Reported,
    /// There is one already, and it stands.
    AlreadyReported,
    /// This agent has no permit of that request.
    Unknown,
}

impl ReportOutcome {
    /// The word on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ReportOutcome::Reported => "reported",
            ReportOutcome::AlreadyReported => "already_reported",
            ReportOutcome::Unknown => "unknown",
        }
    }
}

/// The agent's report as a row of the record has it, in words; None where there is none.
pub(crate) fn reported_in_words(row: &Value) -> Option<String> {
    let what = if row.get("reported_ok")?.as_bool()? { "it did it" } else { "it tried, and failed" };
    let detail = row.get("reported_detail").and_then(Value::as_str);
    Some(detail.map_or_else(|| what.to_owned(), |detail| format!("{what}: {detail}")))
}
