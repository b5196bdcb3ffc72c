//! What a rule asks of the arguments.

use std::collections::BTreeSet;

use serde_json::{Number, Value};

use super::arg_path::ArgPath;
use crate::base::domain::Domain;
use crate::base::glob::Pattern;
use crate::base::whole_regex::WholeRegex;

/// One test of the values that a path leads to.
#[derive(Clone, Debug)]
pub struct Condition {
    pub path: ArgPath,
    pub test: Test,
}

/// The operators of permissions.yaml, each with its operand.
#[derive(Clone, Debug)]
pub enum Test {
    /// Equal as JSON, numbers by value.
    Eq(Value),
    Ne(Value),
    /// Equal to one of them.
    In(Vec<Value>),
    NotIn(Vec<Value>),
    Gt(Number),
    Ge(Number),
    Lt(Number),
    Le(Number),
    /// The text of a string, a number or a boolean matches.
    Matches(Pattern),
    NotMatches(Pattern),
    /// The whole text matches.
    Regex(WholeRegex),
    /// The receiver that the text names is one of these domains or below one.
    DomainIn(Vec<Domain>),
    DomainNotIn(Vec<Domain>),
    /// More elements or members than this.
    CountGt(u64),
    CountLe(u64),
    /// A text of more characters than this.
    LengthGt(u64),
    LengthLe(u64),
    /// Some member at any depth has one of these names, in the spelling of [`key_name`]; in an allow, all of them have.
    KeysIn(BTreeSet<String>),
    /// Some member has a name that is none of them; in an allow, all of them have.
    KeysNotIn(BTreeSet<String>),
    /// Whether the path leads to anything but null.
    Exists(bool),
}

impl Test {
    /// The word of permissions.yaml.
    pub fn operator(&self) -> &'static str {
        match self {
            Test::Eq(_) => "eq",
            Test::Ne(_) => "ne",
            Test::In(_) => "in",
            Test::NotIn(_) => "not_in",
            Test::Gt(_) => "gt",
            Test::Ge(_) => "ge",
            Test::Lt(_) => "lt",
            Test::Le(_) => "le",
            Test::Matches(_) => "matches",
            Test::NotMatches(_) => "not_matches",
            Test::Regex(_) => "regex",
            Test::DomainIn(_) => "domain_in",
            Test::DomainNotIn(_) => "domain_not_in",
            Test::CountGt(_) => "count_gt",
            Test::CountLe(_) => "count_le",
            Test::LengthGt(_) => "length_gt",
            Test::LengthLe(_) => "length_le",
            Test::KeysIn(_) => "keys_in",
            Test::KeysNotIn(_) => "keys_not_in",
            Test::Exists(_) => "exists",
        }
    }
}

/// What a test says of a value. What is unknown always leads to the stricter decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    True,
    False,
    /// The value is missing, of another type, or cannot be read.
    Unknown,
}

impl From<bool> for Truth {
    fn from(is_true: bool) -> Truth {
        if is_true { Truth::True } else { Truth::False }
    }
}

impl std::ops::Not for Truth {
    type Output = Truth;

    fn not(self) -> Truth {
        match self {
            Truth::True => Truth::False,
            Truth::False => Truth::True,
            Truth::Unknown => Truth::Unknown,
        }
    }
}

/// The one spelling in which names of members are compared.
pub(crate) fn key_name(name: &str) -> String {
    name.trim().to_lowercase()
}
