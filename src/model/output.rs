//! What a service gave back for a call that it carried out.

use std::fmt;

use serde_json::Value;

use crate::base::json_text::JsonText;

/// The data of an executed call, scrubbed of secrets, and what is missing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// What the service answered; null when that was lost.
    pub data: JsonText,
    /// Why there is no data, though the service did it.
    pub lost: Option<Lost>,
    /// What was changed in the data, or what was lost, for people.
    pub note: Option<String>,
}

/// Why an answer cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Larger than `max_response_bytes`.
    TooLarge,
    /// The connection, or the time for it, ended before the answer did.
    CutOff,
    /// It says that it is JSON, and is not.
    BadJson,
    /// No text, and the tool does not ask for bytes.
    Binary,
    /// Compressed, which was not asked for.
    Compressed,
    /// Bytes that hold a credential of the owner: nothing can be replaced in them.
    Credential,
}

impl Lost {
    /// All of them.
    pub const ALL: [Lost; 6] =
        [Lost::TooLarge, Lost::CutOff, Lost::BadJson, Lost::Binary, Lost::Compressed, Lost::Credential];

    /// The word on the wire and in the record (`data_lost`).
    pub fn as_str(self) -> &'static str {
        match self {
            Lost::TooLarge => "too_large",
            Lost::CutOff => "cut_off",
            Lost::BadJson => "bad_json",
            Lost::Binary => "binary",
            Lost::Compressed => "compressed",
            Lost::Credential => "credential",
        }
    }

    /// The reason of this word.
    pub fn parse(word: &str) -> Option<Lost> {
        Lost::ALL.into_iter().find(|lost| lost.as_str() == word)
    }
}

impl Output {
    /// It was done, and this is all that is known.
    pub fn lost(why: Lost, note: Option<String>) -> Output {
        Output { data: JsonText::from(Value::Null), lost: Some(why), note }
    }

    /// The data's text.
    pub fn as_str(&self) -> &str {
        self.data.as_str()
    }

    /// What stands beside the data, by name.
    pub fn remarks(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let lost = self.lost.map(|lost| ("data_lost", lost.as_str()));
        lost.into_iter().chain(self.note.as_deref().map(|note| ("data_note", note)))
    }
}

impl From<JsonText> for Output {
    fn from(data: JsonText) -> Output {
        Output { data, lost: None, note: None }
    }
}

impl From<Value> for Output {
    fn from(data: Value) -> Output {
        JsonText::from(data).into()
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.data.fmt(f)
    }
}
