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

/// All of them are -32600 on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Recorded", try_from = "Recorded")]
pub enum InvalidCall {
    /// A required argument is absent or null.
    Missing(String),
    /// The tool does not take this argument.
    Undeclared(String),
    /// The value is not of the declared type.
    WrongType(String, Cow<'static, str>),
    /// A string in this argument holds a refused character, which is given where it may be told.
    Forbidden(String, Option<char>),
    /// The whole value does not match `validate`.
    NoMatch(String),
    /// A string in this argument is longer than [`MAX_STRING`].
    TooLong(String),
    /// More than [`MAX_ARGS`] arguments.
    TooMany,
    /// The value would make the signature readable in two ways.
    Ambiguous(String),
    /// The signature is longer than [`MAX_SIGNATURE`].
    SignatureTooLong,
    /// The value cannot stand where the tool's request wants it: a path segment, a query value or a header.
    Unsendable(String),
    /// The arguments together do not make a request that can be sent, as when its URL gets too long.
    BadRequest,
}

impl InvalidCall {
    /// The argument at fault, where a single one is.
    pub fn argument(&self) -> Option<&str> {
        match self {
            InvalidCall::Missing(a)
            | InvalidCall::Undeclared(a)
            | InvalidCall::WrongType(a, _)
            | InvalidCall::Forbidden(a, _)
            | InvalidCall::NoMatch(a)
            | InvalidCall::TooLong(a)
            | InvalidCall::Ambiguous(a)
            | InvalidCall::Unsendable(a) => Some(a),
            InvalidCall::TooMany | InvalidCall::SignatureTooLong | InvalidCall::BadRequest => None,
        }
    }

    /// The refused character, where it may be told.
    pub fn character(&self) -> Option<char> {
        if let InvalidCall::Forbidden(_, c) = self { *c } else { None }
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
            InvalidCall::TooLong(_) | InvalidCall::TooMany | InvalidCall::SignatureTooLong => "too_large",
            _otherwise => "invalid_argument",
        }
    }
}

impl fmt::Display for InvalidCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidCall::Missing(a) => write!(f, "Missing required argument: {a}"),
            InvalidCall::Undeclared(a) => write!(f, "Unknown argument: {a}"),
            InvalidCall::WrongType(a, kind) => write!(f, "Argument '{a}' must be {kind}"),
            InvalidCall::Forbidden(a, _) => write!(f, "Argument '{a}' contains forbidden characters"),
            InvalidCall::NoMatch(a) => write!(f, "Invalid value for {a}"),
            InvalidCall::TooLong(a) => write!(f, "Argument '{a}' is longer than {MAX_STRING} bytes"),
            InvalidCall::TooMany => write!(f, "More than {MAX_ARGS} arguments"),
            InvalidCall::Ambiguous(a) => write!(f, "Argument '{a}' would make the signature ambiguous"),
            InvalidCall::SignatureTooLong => write!(f, "The signature is longer than {MAX_SIGNATURE} bytes"),
            InvalidCall::Unsendable(a) => write!(f, "Argument '{a}' cannot be sent in the request"),
            InvalidCall::BadRequest => f.write_str("The arguments do not make a request that can be sent"),
        }
    }
}

impl std::error::Error for InvalidCall {}

#[derive(Serialize, Deserialize)]
struct Recorded {
    what: Cow<'static, str>,
    argument: Option<String>,
    must_be: Option<Cow<'static, str>>,
    char: Option<char>,
}

impl From<InvalidCall> for Recorded {
    fn from(why: InvalidCall) -> Recorded {
        let (what, must_be) = match &why {
            InvalidCall::Missing(_) => ("missing", None),
            InvalidCall::Undeclared(_) => ("undeclared", None),
            InvalidCall::WrongType(_, kind) => ("wrong_type", Some(kind.clone())),
            InvalidCall::Forbidden(..) => ("forbidden", None),
            InvalidCall::NoMatch(_) => ("no_match", None),
            InvalidCall::TooLong(_) => ("too_long", None),
            InvalidCall::TooMany => ("too_many", None),
            InvalidCall::Ambiguous(_) => ("ambiguous", None),
            InvalidCall::SignatureTooLong => ("signature_too_long", None),
            InvalidCall::Unsendable(_) => ("unsendable", None),
            InvalidCall::BadRequest => ("bad_request", None),
        };
        let (argument, char) = (why.argument().map(str::to_owned), why.character());
        Recorded { what: what.into(), argument, must_be, char }
    }
}

impl TryFrom<Recorded> for InvalidCall {
    type Error = &'static str;

    fn try_from(recorded: Recorded) -> Result<InvalidCall, &'static str> {
        let Recorded { what, argument, must_be, char } = recorded;
        let argument = argument.ok_or("no argument");
        Ok(match &*what {
            "missing" => InvalidCall::Missing(argument?),
            "undeclared" => InvalidCall::Undeclared(argument?),
            "wrong_type" => InvalidCall::WrongType(argument?, must_be.ok_or("no type")?),
            "forbidden" => InvalidCall::Forbidden(argument?, char),
            "no_match" => InvalidCall::NoMatch(argument?),
            "too_long" => InvalidCall::TooLong(argument?),
            "too_many" => InvalidCall::TooMany,
            "ambiguous" => InvalidCall::Ambiguous(argument?),
            "signature_too_long" => InvalidCall::SignatureTooLong,
            "unsendable" => InvalidCall::Unsendable(argument?),
            "bad_request" => InvalidCall::BadRequest,
            _ => return Err("no such fault"),
        })
    }
}
