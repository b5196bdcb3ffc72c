//! What the owner says of a tool besides how it is called: how grave it is, what it costs, which data passes through
//! it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::flow::Source;
use super::risk::Risk;
use crate::base::decimal::Decimal;

/// The label of data that outsiders may have written.
pub(crate) const UNTRUSTED: &str = "untrusted";

/// Facts for the policy. None of them changes the request that is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolFacts {
    /// The owner's word, else what the tool's name suggests.
    pub risk: Risk,
    /// Money of one call.
    pub cost: Amount,
    /// The same in tokens of a language model.
    pub tokens: Amount,
    pub data: Option<DataFacts>,
    /// A call without an idempotency key is refused.
    pub key_required: bool,
}

/// How much one call counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Never negative.
    Fixed(Decimal),
    /// What this argument holds.
    Arg(String),
}

/// The data that a tool reads and where it sends its arguments to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataFacts {
    /// The source that a call reads.
    pub from: Option<String>,
    /// What the answer holds; [`UNTRUSTED`] when outsiders may have written it.
    pub labels: BTreeSet<String>,
    /// The destination that the arguments go to.
    pub to: Option<String>,
    /// The argument that names the receiver.
    pub domain: Option<String>,
    /// The argument that lists the fields that go out. None: the names of all members in the body.
    pub fields: Option<String>,
    /// The argument that holds the number of records, or one element for each.
    pub records: Option<String>,
}

impl ToolFacts {
    /// Those of a tool whose file says nothing of them.
    pub fn of(tool: &str) -> ToolFacts {
        let nothing = || Amount::Fixed(Decimal::ZERO);
        ToolFacts {
            risk: Risk::suggested_by(tool),
            cost: nothing(),
            tokens: nothing(),
            data: None,
            key_required: false,
        }
    }

    /// All of them in one spelling, for digests.
    pub(crate) fn source(&self) -> Value {
        json!({
            "risk": self.risk.as_str(),
            "cost": self.cost.source(),
            "tokens": self.tokens.source(),
            "data": self.data.as_ref().map(DataFacts::to_json),
            "key_required": self.key_required,
        })
    }
}

impl Amount {
    fn source(&self) -> Value {
        match self {
            Amount::Fixed(amount) => amount.to_string().into(),
            Amount::Arg(name) => json!({ "arg": name }),
        }
    }
}

impl DataFacts {
    /// What a call of the tool with this name reads; None: nothing that counts.
    pub fn source(&self, tool: &str) -> Option<Source> {
        let reads = self.from.is_some() || !self.labels.is_empty();
        let from = self.from.clone().unwrap_or_else(|| tool.to_owned());
        reads.then(|| Source { from, labels: self.labels.clone() })
    }

    fn to_json(&self) -> Value {
        json!({
            "from": self.from,
            "labels": self.labels,
            "to": self.to,
            "domain": self.domain,
            "fields": self.fields,
            "records": self.records,
        })
    }
}
