//! JSON that is only passed on.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

/// A JSON value as compact text. Clones share the text: a result may be large, and as a tree it would be many times as
/// large (eighty times, when it is an array of small objects).
#[derive(Clone, PartialEq, Eq)]
pub struct JsonText(Arc<str>);

impl JsonText {
    /// Takes `text` if it is one JSON value.
    ///
    /// # Errors
    /// When it is not.
    pub fn checked(text: &str) -> serde_json::Result<JsonText> {
        serde_json::from_str::<Value>(text)?;
        Ok(JsonText(text.into()))
    }

    /// Takes `text`, which must be compact JSON.
    pub fn made(text: String) -> JsonText {
        JsonText(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for JsonText {
    fn default() -> JsonText {
        JsonText("null".into())
    }
}

impl From<Value> for JsonText {
    fn from(value: Value) -> JsonText {
        JsonText(value.to_string().into())
    }
}

impl fmt::Display for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_one_whole_value_passes() {
        assert_eq!(JsonText::checked(r#"{"a":[1,"é"]}"#).unwrap(), JsonText::from(json!({"a": [1, "é"]})));
        for broken in ["", "{", "1 2", "{\"a\":}", "nul", "\"\\ud800\"", &"[".repeat(200)] {
            assert!(JsonText::checked(broken).is_err(), "{broken}");
        }
    }
}
