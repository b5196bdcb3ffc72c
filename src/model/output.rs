//! What a service gave back for a call that it carried out.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::json_text::JsonText;
use crate::base::words::words;

/// The data of an executed call, scrubbed of secrets, and what is missing of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// What the service answered; null when that was lost. The record keeps it in a column of its own.
    #[serde(skip)]
    pub data: JsonText,
    /// Whether `data` is the content of an MCP server's result and nothing else. The record does not keep it.
    #[serde(skip)]
    pub is_content: bool,
    /// Why there is no data, though the service did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Lost>,
    /// What was changed in the data, or what was lost, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The arguments that a person had changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edited: Vec<String>,
}

words! {
    /// Why an answer cannot be used.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Lost {
        /// Larger than `max_response_bytes`.
        TooLarge = "too_large",
        /// The connection, or the time for it, ended before the answer did.
        CutOff = "cut_off",
        /// It says that it is JSON, and is not.
        BadJson = "bad_json",
        /// No text, and the tool does not ask for bytes.
        Binary = "binary",
        /// Compressed, which was not asked for.
        Compressed = "compressed",
        /// Bytes that hold a credential of the owner: nothing can be replaced in them.
        Credential = "credential",
    }
}

impl Output {
    /// It was done, and this is all that is known.
    pub fn lost(why: Lost, note: Option<String>) -> Output {
        Output { lost: Some(why), note, ..JsonText::default().into() }
    }
}

impl From<JsonText> for Output {
    fn from(data: JsonText) -> Output {
        Output { data, is_content: false, lost: None, note: None, edited: Vec::new() }
    }
}

impl From<Value> for Output {
    fn from(data: Value) -> Output {
        JsonText::from(data).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_and_the_wire_use_the_same_words() {
        use Lost::{BadJson, Binary, Compressed, Credential, CutOff, TooLarge};
        for lost in [TooLarge, CutOff, BadJson, Binary, Compressed, Credential] {
            assert_eq!(serde_json::to_value(lost).unwrap(), lost.as_str());
        }
    }
}
