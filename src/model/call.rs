//! A call that has passed every check, with its one signature and its digests.
//!
//! [`Call::new`] is the only way to make one, so whoever holds a `Call` holds the proof. The policy judges it, the
//! human is shown it and the executor runs it: the same immutable value.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::agent::AgentId;
use super::tool::{ArgSpec, ArgType, Tool};
use crate::base::digest::Digest;
use crate::base::json::canonical;
use crate::base::secret::Secret;
use crate::base::template::{Piece, Template};

/// The most arguments a call may have.
pub const MAX_ARGS: usize = 64;
/// The longest string anywhere in the arguments, in bytes.
pub const MAX_STRING: usize = 64 * 1024;
/// The longest signature, in bytes: rules are matched against it and a person reads it.
pub const MAX_SIGNATURE: usize = 4096;
/// Refused in every string that is not `free_text`: glob characters and the signature's own punctuation.
pub const FORBIDDEN: [char; 7] = ['*', '?', '[', ']', '(', ')', ','];

/// A validated, normalised call of one tool by one agent.
#[derive(Clone, Debug)]
pub struct Call {
    agent: AgentId,
    tool: Arc<Tool>,
    args: Map<String, Value>,
    signature: String,
    digest: Digest,
    binding: Digest,
}

/// Why a call is refused before the policy sees it. All of them are -32600 on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidCall {
    /// A required argument is absent or null.
    Missing(String),
    /// The tool does not take this argument.
    Undeclared(String),
    /// The value is not of the declared type.
    WrongType(String, &'static str),
    /// A string in this argument holds a refused character.
    Forbidden(String),
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
    /// The argument at fault, when it is one.
    pub fn argument(&self) -> Option<&str> {
        match self {
            InvalidCall::Missing(a)
            | InvalidCall::Undeclared(a)
            | InvalidCall::WrongType(a, _)
            | InvalidCall::Forbidden(a)
            | InvalidCall::NoMatch(a)
            | InvalidCall::TooLong(a)
            | InvalidCall::Ambiguous(a)
            | InvalidCall::Unsendable(a) => Some(a),
            InvalidCall::TooMany | InvalidCall::SignatureTooLong | InvalidCall::BadRequest => None,
        }
    }

    /// The snake_case reason on the wire.
    pub fn reason(&self) -> &'static str {
        match self {
            InvalidCall::TooLong(_) | InvalidCall::TooMany | InvalidCall::SignatureTooLong => "too_large",
            InvalidCall::Missing(_)
            | InvalidCall::Undeclared(_)
            | InvalidCall::WrongType(..)
            | InvalidCall::Forbidden(_)
            | InvalidCall::NoMatch(_)
            | InvalidCall::Ambiguous(_)
            | InvalidCall::Unsendable(_)
            | InvalidCall::BadRequest => "invalid_argument",
        }
    }
}

impl fmt::Display for InvalidCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidCall::Missing(a) => write!(f, "Missing required argument: {a}"),
            InvalidCall::Undeclared(a) => write!(f, "Unknown argument: {a}"),
            InvalidCall::WrongType(a, kind) => write!(f, "Argument '{a}' must be {kind}"),
            InvalidCall::Forbidden(a) => write!(f, "Argument '{a}' contains forbidden characters"),
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

impl Call {
    /// Checks the arguments against the tool and computes signature and digests. Arguments that are null count
    /// as absent and are dropped, so that what is shown is what is sent.
    ///
    /// # Errors
    /// The first [`InvalidCall`] found: counts and lengths, then each argument by name, then the signature.
    pub fn new(agent: AgentId, tool: Arc<Tool>, mut args: Map<String, Value>) -> Result<Call, InvalidCall> {
        if args.len() > MAX_ARGS {
            return Err(InvalidCall::TooMany);
        }
        args.retain(|_, v| !v.is_null());
        check_required(&tool, &args)?;
        args.iter().try_for_each(|(name, value)| check_arg(&tool, name, value))?;
        let signature = sign(&tool, &args)?;
        let content = json!({"agent": agent.as_str(), "tool": tool.name, "args": args});
        let digest = Digest::of(&canonical(&content).unwrap_or_default());
        let binding = Digest::of(&[digest.0, tool.digest.0].concat());
        Ok(Call { agent, tool, args, signature, digest, binding })
    }

    /// Who asks.
    pub fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// What for.
    pub fn tool(&self) -> &Arc<Tool> {
        &self.tool
    }

    /// With what. No value is null.
    pub fn args(&self) -> &Map<String, Value> {
        &self.args
    }

    /// What rules are matched against: `tool(…)`, or the bare name when the tool has no template.
    pub fn signature(&self) -> &str {
        &self.signature
    }

    /// SHA-256 of the canonical agent, tool name and arguments: equal for equal requests.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The digest together with the tool's definition: what an approval is bound to.
    pub fn binding(&self) -> Digest {
        self.binding
    }

    /// The arguments with the secret ones replaced by dots, as the record and the approver get them.
    pub fn shown_args(&self) -> Map<String, Value> {
        let secret = |name: &str| self.tool.args.get(name).is_some_and(|spec| spec.secret);
        self.args
            .iter()
            .map(|(name, value)| (name.clone(), if secret(name) { REDACTED.into() } else { value.clone() }))
            .collect()
    }

    /// The texts in the secret arguments, at any depth: a service may say them back.
    pub fn secrets(&self) -> Vec<Secret> {
        let secret = |name: &str| self.tool.args.get(name).is_some_and(|spec| spec.secret);
        let mut open: Vec<&Value> =
            self.args.iter().filter(|(name, _)| secret(name)).map(|(_, v)| v).collect();
        let mut found = Vec::new();
        while let Some(value) = open.pop() {
            match value {
                Value::Array(items) => open.extend(items),
                Value::Object(members) => open.extend(members.values()),
                Value::String(_) | Value::Number(_) => found.extend(scalar_text(value).map(Secret::new)),
                Value::Null | Value::Bool(_) => {}
            }
        }
        found
    }
}

/// What stands in the place of a secret argument.
pub const REDACTED: &str = "•••";

/// The text of a scalar in signatures, paths, queries, headers and for `validate`; None for containers and null.
pub fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn check_required(tool: &Tool, args: &Map<String, Value>) -> Result<(), InvalidCall> {
    let missing = tool.args.iter().find(|(name, spec)| spec.required && !args.contains_key(*name));
    missing.map_or(Ok(()), |(name, _)| Err(InvalidCall::Missing(name.clone())))
}

fn check_arg(tool: &Tool, name: &str, value: &Value) -> Result<(), InvalidCall> {
    let undeclared = ArgSpec::default();
    let spec = match tool.args.get(name) {
        Some(spec) => spec,
        None if tool.extra_args => &undeclared,
        None => return Err(InvalidCall::Undeclared(shortened(name))),
    };
    check_text(name, name, false)?;
    check_strings(name, value, spec.free_text)?;
    if tool.args.contains_key(name) {
        check_type(name, spec, value)?;
        check_pattern(name, spec, value)?;
    }
    Ok(())
}

/// An argument name that is echoed in an error is the agent's text: it is cut.
fn shortened(name: &str) -> String {
    name.chars().take(64).collect()
}

fn check_type(name: &str, spec: &ArgSpec, value: &Value) -> Result<(), InvalidCall> {
    let (fits, word) = match spec.kind {
        None => (scalar_text(value).is_some(), "a string, a number or a boolean"),
        Some(ArgType::String) => (value.is_string(), "a string"),
        Some(ArgType::Integer) => (value.is_i64() || value.is_u64(), "an integer"),
        Some(ArgType::Number) => (value.is_number(), "a number"),
        Some(ArgType::Boolean) => (value.is_boolean(), "a boolean"),
        Some(ArgType::Array) => (value.is_array(), "an array"),
        Some(ArgType::Object) => (value.is_object(), "an object"),
    };
    if fits { Ok(()) } else { Err(InvalidCall::WrongType(name.to_owned(), word)) }
}

fn check_pattern(name: &str, spec: &ArgSpec, value: &Value) -> Result<(), InvalidCall> {
    let Some(pattern) = &spec.validate else { return Ok(()) };
    let fits = scalar_text(value).is_some_and(|text| pattern.matches(&text));
    if fits { Ok(()) } else { Err(InvalidCall::NoMatch(name.to_owned())) }
}

/// Every string in `value`, object keys included. Depth is bounded by the parser.
fn check_strings(name: &str, value: &Value, free: bool) -> Result<(), InvalidCall> {
    match value {
        Value::String(text) => check_text(name, text, free),
        Value::Array(items) => items.iter().try_for_each(|v| check_strings(name, v, free)),
        Value::Object(members) => members.iter().try_for_each(|(key, v)| {
            check_text(name, key, free)?;
            check_strings(name, v, free)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn check_text(name: &str, text: &str, free: bool) -> Result<(), InvalidCall> {
    if text.len() > MAX_STRING {
        return Err(InvalidCall::TooLong(shortened(name)));
    }
    let refused = |c: char| match free {
        true => c.is_control() && !matches!(c, '\n' | '\r' | '\t'),
        false => c.is_control() || FORBIDDEN.contains(&c),
    };
    if text.contains(refused) { Err(InvalidCall::Forbidden(shortened(name))) } else { Ok(()) }
}

fn sign(tool: &Tool, args: &Map<String, Value>) -> Result<String, InvalidCall> {
    let Some(template) = &tool.signature else { return Ok(tool.name.clone()) };
    let text_of = |name: &str| args.get(name).and_then(scalar_text).unwrap_or_default();
    check_signed_scalars(template, args)?;
    check_unambiguous(template, args)?;
    let signature = format!("{}({})", tool.name, template.render(text_of));
    if signature.len() > MAX_SIGNATURE { Err(InvalidCall::SignatureTooLong) } else { Ok(signature) }
}

/// A signed argument is absent or a scalar: a list would read as an empty text and slip past a rule.
fn check_signed_scalars(template: &Template, args: &Map<String, Value>) -> Result<(), InvalidCall> {
    let mut given = template.args().filter_map(|name| args.get(name).map(|value| (name, value)));
    match given.find(|(_, value)| scalar_text(value).is_none()) {
        Some((name, _)) => Err(InvalidCall::WrongType(name.to_owned(), "a string, a number or a boolean")),
        None => Ok(()),
    }
}

/// Two calls that differ in a signed value never share a signature: each value ends where the text behind it
/// first appears, and an absent value (empty text) cannot be confused with an empty one.
fn check_unambiguous(template: &Template, args: &Map<String, Value>) -> Result<(), InvalidCall> {
    let mut pieces = template.pieces().iter().peekable();
    while let Some(piece) = pieces.next() {
        let Piece::Arg(name) = piece else { continue };
        let Some(text) = args.get(name).and_then(scalar_text) else { continue };
        let separator = match pieces.peek() {
            Some(Piece::Text(text)) => text.as_str(),
            Some(Piece::Arg(_) | Piece::Segments(_)) | None => "",
        };
        let early = !separator.is_empty() && format!("{text}{separator}").find(separator) != Some(text.len());
        if text.is_empty() || early {
            return Err(InvalidCall::Ambiguous(name.clone()));
        }
    }
    Ok(())
}
