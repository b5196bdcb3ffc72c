//! The terms on which a rule asks.

use serde_json::{Value, json};

use super::grant_offer::GrantOffer;

/// What belongs to a rule that asks, and to a question that was put under it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AskTerms {
    /// What a yes may grant beyond the call. None: nothing.
    pub grant: Option<GrantOffer>,
}

impl AskTerms {
    /// For the record; None where there is nothing to say.
    pub(crate) fn to_json(&self) -> Option<Value> {
        let AskTerms { grant } = self;
        grant.as_ref().map(|grant| json!({"grant": grant.to_json()}))
    }

    /// Reads what [`AskTerms::to_json`] made.
    pub(crate) fn of_json(json: &Value) -> AskTerms {
        AskTerms { grant: json.get("grant").and_then(GrantOffer::of_json) }
    }
}
