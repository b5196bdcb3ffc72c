//! What a person may grant when answering.

use std::time::Duration;

use serde_json::{Value, json};

use crate::base::digest::Digest;
use crate::base::readable::round_span;

/// How much a grant covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantScope {
    /// The same tool with identical arguments.
    Call,
    /// The same signature; declared single values outside it may differ.
    Signature,
    /// Whatever the rule asks about.
    Rule,
    /// What fits a pattern: only of a grant that is given beforehand.
    Pattern,
}

impl GrantScope {
    /// The word in files, in the record and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            GrantScope::Call => "call",
            GrantScope::Signature => "signature",
            GrantScope::Rule => "rule",
            GrantScope::Pattern => "pattern",
        }
    }
}

/// What a person may grant when answering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantOffer {
    /// The shortest first; never empty.
    pub durations: Vec<Duration>,
    /// The most uses; None: any number.
    pub uses: Option<u32>,
    pub scope: GrantScope,
    /// Only for the session of the call.
    pub session: bool,
}

/// What a person wants to grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantWish {
    pub duration: Duration,
    /// None: as many as are offered.
    pub uses: Option<u32>,
}

impl GrantOffer {
    pub fn longest(&self) -> Duration {
        self.durations.iter().max().copied().unwrap_or_default()
    }

    /// `15 min or 1 h`
    pub fn spans(&self) -> String {
        let spans: Vec<String> = self.durations.iter().map(|time| round_span(*time)).collect();
        match spans.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => spans.concat(),
        }
    }

    /// The identity of a rule that offers it besides.
    pub(crate) fn changes(&self, identity: Digest) -> Digest {
        Digest::sha256(format!("{} {}", identity.hex(), self.to_json()).as_bytes())
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "for": self.durations.iter().map(Duration::as_secs).collect::<Vec<_>>(),
            "uses": self.uses,
            "scope": self.scope.as_str(),
            "session": self.session,
        })
    }

    /// Reads what [`GrantOffer::to_json`] made.
    pub(crate) fn of_json(json: &Value) -> Option<GrantOffer> {
        let seconds = json.get("for")?.as_array()?.iter().map(Value::as_u64).collect::<Option<Vec<_>>>()?;
        let word = json.get("scope")?.as_str()?;
        let scopes = [GrantScope::Call, GrantScope::Signature, GrantScope::Rule];
        Some(GrantOffer {
            durations: seconds.into_iter().map(Duration::from_secs).collect(),
            uses: number(json, "uses")?,
            scope: scopes.into_iter().find(|scope| word == scope.as_str())?,
            session: json.get("session")?.as_bool()?,
        })
    }
}

/// `once`, `at most 20 times`
pub(super) fn at_most(uses: u32) -> String {
    if uses == 1 { "once".to_owned() } else { format!("at most {uses} times") }
}

/// None: it is there and no number.
pub(super) fn number(json: &Value, name: &str) -> Option<Option<u32>> {
    match json.get(name) {
        None | Some(Value::Null) => Some(None),
        Some(value) => value.as_u64().and_then(|n| u32::try_from(n).ok()).map(Some),
    }
}
