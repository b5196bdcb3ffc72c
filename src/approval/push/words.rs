//! What came of a question, in one line.

use crate::base::safe_text::visible;
use crate::model::{Outcome, QuestionEnd};

pub(super) fn settled(end: &QuestionEnd) -> String {
    let by = end.by().map(|by| format!(" by {}", visible(by.as_str()))).unwrap_or_default();
    match end {
        QuestionEnd::Approved { .. } => format!("Allowed{by}"),
        QuestionEnd::Denied { note, .. } => {
            let note = note.as_ref().map(|note| format!(": {}", visible(note))).unwrap_or_default();
            format!("Denied{by}{note}")
        }
        QuestionEnd::TimedOut => "Nobody answered in time, so it was not done".to_owned(),
        QuestionEnd::Withdrawn => "The agent took it back".to_owned(),
        QuestionEnd::Void(why) => format!("It was not done: {}", visible(&why.to_string())),
    }
}

pub(super) fn finished(outcome: &Outcome) -> String {
    let ended = format!("The call ended: {}", outcome.as_str());
    match outcome.reason().or(outcome.data_note()) {
        None => ended,
        Some(more) => format!("{ended} ({})", visible(more)),
    }
}
