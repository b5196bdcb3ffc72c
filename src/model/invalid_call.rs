//! Why a call is refused before the policy sees it.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The most arguments a call may have.
pub const MAX_ARGS: usize = 64;
/// The longest string anywhere in the arguments, in bytes.
pub const MAX_STRING: usize = 64 * 1024;
/// The longest signature, in bytes: rules are matched against it and a person reads it.
pub const MAX_SIGNATURE: usize = 4096;
/// Refused in every string that is not `free_text`: glob characters and the punctuation of signatures.
pub(crate) const FORBIDDEN: [char; 7] = ['*', '?', '[', ']', '(', ')', ','];

/// All of them are -32600 on the wire. `argument` is the name of the argument at fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum InvalidCall {
    /// A required argument is absent or null.
    Missing { argument: String },
    /// The tool does not take this argument.
    Undeclared { argument: String },
    /// The value is not of the declared type.
    WrongType { argument: String, must_be: Cow<'static, str> },
    /// A string in this argument holds a refused character, which is given where it may be told.
    Forbidden { argument: String, char: Option<char> },
    /// The whole value does not match `validate`.
    NoMatch { argument: String },
    /// A string in this argument is longer than [`MAX_STRING`].
    TooLong { argument: String },
    /// More than [`MAX_ARGS`] arguments.
    TooMany,
    /// The value would make the signature readable in two ways.
    Ambiguous { argument: String },
    /// The signature is longer than [`MAX_SIGNATURE`].
    SignatureTooLong,
    /// The value cannot stand where the tool's request wants it: a path segment, a query value or a header.
    Unsendable { argument: String },
    /// The arguments together do not make a request that can be sent, as when its URL gets too long.
    BadRequest,
}

impl InvalidCall {
    /// The argument at fault, where a single one is.
    pub fn argument(&self) -> Option<&str> {
        match self {
            InvalidCall::Missing { argument }
            | InvalidCall::Undeclared { argument }
            | InvalidCall::WrongType { argument, .. }
            | InvalidCall::Forbidden { argument, .. }
            | InvalidCall::NoMatch { argument }
            | InvalidCall::TooLong { argument }
            | InvalidCall::Ambiguous { argument }
            | InvalidCall::Unsendable { argument } => Some(argument),
            InvalidCall::TooMany | InvalidCall::SignatureTooLong | InvalidCall::BadRequest => None,
        }
    }

    /// The refused character, where it may be told.
    pub fn character(&self) -> Option<char> {
        if let InvalidCall::Forbidden { char, .. } = self { *char } else { None }
    }

    /// The refused character, safe to show, and what is valid instead.
    pub fn forbidden(&self) -> Option<(String, String)> {
        let c = self.character()?;
        let valid = match c {
            c if c.is_control() => "text without control characters".to_owned(),
            c if FORBIDDEN.contains(&c) => {
                let all = FORBIDDEN.map(String::from).join(" ");
                format!("text that holds none of {all} and no control characters")
            }
            c => format!("elements without {c}"),
        };
        let shown = if c.is_control() { format!("U+{:04X}", u32::from(c)) } else { c.to_string() };
        Some((shown, valid))
    }

    /// The snake_case reason on the wire.
    pub fn reason(&self) -> &'static str {
        match self {
            InvalidCall::TooLong { .. } | InvalidCall::TooMany | InvalidCall::SignatureTooLong => "too_large",
            _otherwise => "invalid_argument",
        }
    }
}

impl fmt::Display for InvalidCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let a = self.argument().unwrap_or_default();
        match self {
            InvalidCall::Missing { .. } => write!(f, "Missing required argument: {a}"),
            InvalidCall::Undeclared { .. } => write!(f, "Unknown argument: {a}"),
            InvalidCall::WrongType { must_be, .. } => write!(f, "Argument '{a}' must be {must_be}"),
            InvalidCall::Forbidden { .. } => write!(f, "Argument '{a}' contains forbidden characters"),
            InvalidCall::NoMatch { .. } => write!(f, "Invalid value for {a}"),
            InvalidCall::TooLong { .. } => write!(f, "Argument '{a}' is longer than {MAX_STRING} bytes"),
            InvalidCall::TooMany => write!(f, "More than {MAX_ARGS} arguments"),
            InvalidCall::Ambiguous { .. } => write!(f, "Argument '{a}' would make the signature ambiguous"),
            InvalidCall::SignatureTooLong => write!(f, "The signature is longer than {MAX_SIGNATURE} bytes"),
            InvalidCall::Unsendable { .. } => write!(f, "Argument '{a}' cannot be sent in the request"),
            InvalidCall::BadRequest => f.write_str("The arguments do not make a request that can be sent"),
        }
    }
}

impl std::error::Error for InvalidCall {}
