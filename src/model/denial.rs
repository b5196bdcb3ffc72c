//! Why the policy denies a call, as the agent and the record are told.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A denial by policy. Its serde form is part of a result in the record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// The description of the rule that denies, when it has one.
    pub rule: Option<String>,
    /// All reasons: rules, then flows, then limits. Empty in records that are older than these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<DenialReason>,
    /// Whole seconds, where time heals every reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

/// One reason, in the owner's words. Values of arguments never stand in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason")]
pub enum DenialReason {
    #[serde(rename = "denied_by_policy")]
    Rule {
        /// Its description, else its pattern.
        rule: String,
    },
    #[serde(rename = "flow_denied")]
    Flow {
        /// Its description, else where from and where to.
        flow: String,
    },
    #[serde(rename = "limit_reached")]
    Limit {
        /// Its name.
        limit: String,
    },
}

impl Denial {
    /// By a rule with this description, if it has one, and nothing else.
    pub fn by_rule(rule: Option<String>) -> Denial {
        Denial { rule, ..Denial::default() }
    }

    /// The rule that denies, in words if it has any; None where something else denies as well.
    pub(crate) fn by_rule_alone(&self) -> Option<Option<&str>> {
        match self.reasons.as_slice() {
            [] => Some(self.rule.as_deref()),
            [DenialReason::Rule { rule }] => Some(Some(rule)),
            _ => None,
        }
    }

    /// The reason that counts: the first.
    pub(crate) fn reason(&self) -> &'static str {
        self.reasons.first().map_or("denied_by_policy", DenialReason::as_str)
    }

    /// Named as in the `data` of wire errors.
    pub(crate) fn details(&self) -> Map<String, Value> {
        let Denial { rule, reasons, retry_after } = self;
        let limit = reasons.iter().find_map(|reason| match reason {
            DenialReason::Limit { limit } => Some(limit.as_str()),
            DenialReason::Rule { .. } | DenialReason::Flow { .. } => None,
        });
        let all = (!reasons.is_empty()).then(|| serde_json::to_value(reasons).unwrap_or_default());
        let members = [
            ("rule", rule.as_deref().map(Value::from)),
            ("limit", limit.map(Value::from)),
            ("reasons", all),
            ("retry_after", retry_after.map(Value::from)),
        ];
        members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

impl DenialReason {
    /// The word on the wire and in the record.
    pub fn as_str(&self) -> &'static str {
        match self {
            DenialReason::Rule { .. } => "denied_by_policy",
            DenialReason::Flow { .. } => "flow_denied",
            DenialReason::Limit { .. } => "limit_reached",
        }
    }
}

impl fmt::Display for Denial {
    /// For people, to go on with after a colon.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by_rule_alone() {
            Some(None) => return f.write_str("a rule denies it"),
            Some(Some(rule)) => return write!(f, "a rule denies it: {rule}"),
            None => {}
        }
        let texts: Vec<_> = self.reasons.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join("; "))
    }
}

impl fmt::Display for DenialReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DenialReason::Rule { rule } => write!(f, "a rule denies it: {rule}"),
            DenialReason::Flow { flow } => write!(f, "its data must not go there: {flow}"),
            DenialReason::Limit { limit } => write!(f, "the limit {limit} is reached"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_older_record_is_read_as_it_was_written() {
        let old = json!({"rule": "no locks"});
        let denial: Denial = serde_json::from_value(old.clone()).unwrap();
        assert_eq!(denial, Denial::by_rule(Some("no locks".into())));
        assert_eq!(serde_json::to_value(&denial).unwrap(), old);
        assert_eq!(Value::from(denial.details()), old);
        assert_eq!(
            (denial.reason(), denial.to_string().as_str()),
            ("denied_by_policy", "a rule denies it: no locks")
        );
    }

    #[test]
    fn all_reasons_are_told_and_the_first_counts() {
        let limit = |name: &str| DenialReason::Limit { limit: name.into() };
        let reasons = vec![DenialReason::Flow { flow: "crm → mail".into() }, limit("hourly"), limit("daily")];
        let denial = Denial { rule: None, reasons, retry_after: Some(7) };
        let details = json!({
            "limit": "hourly",
            "reasons": [
                {"reason": "flow_denied", "flow": "crm → mail"},
                {"reason": "limit_reached", "limit": "hourly"},
                {"reason": "limit_reached", "limit": "daily"},
            ],
            "retry_after": 7,
        });
        assert_eq!((denial.reason(), Value::from(denial.details())), ("flow_denied", details));
        let written = serde_json::to_value(&denial).unwrap();
        assert_eq!(serde_json::from_value::<Denial>(written).unwrap(), denial);
    }
}
