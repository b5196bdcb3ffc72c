//! A call that has passed every check, with its signature and its digests.
//!
//! [`Call::new`] is the only way to make one, so whoever holds a `Call` holds the proof. The policy judges it, the
//! human is shown it and the executor runs it: the same immutable value.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::agent::AgentId;
use super::arguments::{self, FORBIDDEN};
use super::signature::{self, Signature};
use super::tool::{ArgType, Tool};
use crate::base::bytes;
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

/// A validated, normalised call of one tool by one agent.
#[derive(Clone, Debug)]
pub struct Call {
    agent: AgentId,
    tool: Arc<Tool>,
    args: Map<String, Value>,
    /// What people are told of bytes: hashed once, shown many times.
    described: Map<String, Value>,
    signature: Signature,
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
    /// A string in this argument holds a refused character: this one, where it may be told.
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
    /// The argument at fault, when it is one.
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
            InvalidCall::Missing(_)
            | InvalidCall::Undeclared(_)
            | InvalidCall::WrongType(..)
            | InvalidCall::Forbidden(..)
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

impl Call {
    /// Checks the arguments against the tool and computes signature and digests. Arguments that are null count as
    /// absent and are dropped, and defaults are filled in, so that what is shown is what is sent.
    ///
    /// # Errors
    /// The first [`InvalidCall`] found: counts and lengths, then each argument by name, then the signature.
    pub fn new(agent: AgentId, tool: Arc<Tool>, mut args: Map<String, Value>) -> Result<Call, InvalidCall> {
        if args.len() > MAX_ARGS {
            return Err(InvalidCall::TooMany);
        }
        arguments::normalise(&tool, &mut args);
        arguments::check(&tool, &args)?;
        let signature = signature::sign(&tool, &args)?;
        let digest = Call::digest_of(&agent, &tool.name, &args);
        let binding = Digest::sha256(&[digest.0, tool.digest.0].concat());
        let described = described(&tool, &args);
        Ok(Call { agent, tool, args, described, signature, digest, binding })
    }

    /// [`Call::digest`] of a call with these arguments, none of them null.
    pub(crate) fn digest_of(agent: &AgentId, tool: &str, args: &Map<String, Value>) -> Digest {
        let content = json!({"agent": agent.as_str(), "tool": tool, "args": args});
        Digest::sha256(&canonical(&content).unwrap_or_default())
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

    /// What rules are matched against: `tool(…)`, or the bare name when the tool has no template. Of a call with a list
    /// that is judged element by element, all [`parts`](Call::parts) with `; ` between them.
    pub fn signature(&self) -> &str {
        &self.signature.text
    }

    /// The signatures of a call with a list that is judged element by element, in the order of the list; otherwise none.
    pub fn parts(&self) -> &[String] {
        &self.signature.parts
    }

    /// The text of an argument where the request wants one: of a scalar, or of a list that is joined; an absent argument
    /// is an empty text.
    ///
    /// # Errors
    /// [`InvalidCall::Unsendable`] for other lists and objects.
    pub fn text(&self, name: &str) -> Result<String, InvalidCall> {
        let Some(value) = self.args.get(name) else { return Ok(String::new()) };
        let text = self.joined(name).or_else(|| scalar_text(value));
        text.ok_or_else(|| InvalidCall::Unsendable(name.to_owned()))
    }

    /// The text of a template with the arguments as they are.
    ///
    /// # Errors
    /// As [`Call::text`].
    pub fn fill(&self, template: &Template) -> Result<String, InvalidCall> {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => Ok(text.clone()),
            Piece::Arg(name) | Piece::Segments(name) => self.text(name),
        };
        template.pieces().iter().map(piece).collect()
    }

    /// The text of a list that the tool joins to one.
    pub fn joined(&self, name: &str) -> Option<String> {
        let join = self.tool.args.get(name)?.join.as_ref()?;
        let texts: Option<Vec<String>> = self.args.get(name)?.as_array()?.iter().map(scalar_text).collect();
        Some(texts?.join(join))
    }

    /// SHA-256 of the canonical agent, tool name and arguments: equal for equal requests.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The digest together with the tool's definition: what an approval is bound to.
    pub fn binding(&self) -> Digest {
        self.binding
    }

    /// The arguments as the record and the approver get them: secret ones are dots, bytes are their number and SHA-256.
    pub(crate) fn shown_args(&self) -> Map<String, Value> {
        let shown = |name: &str, value: &Value| match self.tool.args.get(name) {
            Some(spec) if spec.secret => REDACTED.into(),
            Some(_) | None => self.described.get(name).unwrap_or(value).clone(),
        };
        self.args.iter().map(|(name, value)| (name.clone(), shown(name, value))).collect()
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

/// The bytes among the arguments, by their number and SHA-256.
fn described(tool: &Tool, args: &Map<String, Value>) -> Map<String, Value> {
    let is_bytes = |name: &str| tool.args.get(name).is_some_and(|spec| spec.kind == Some(ArgType::Bytes));
    let described = |(name, value): (&String, &Value)| {
        let bytes = bytes::decode(value.as_str()?)?;
        Some((name.clone(), json!({"bytes": bytes.len(), "sha256": Digest::sha256(&bytes).hex()})))
    };
    args.iter().filter(|(name, _)| is_bytes(name)).filter_map(described).collect()
}

/// What stands in the place of a secret argument.
pub(crate) const REDACTED: &str = "•••";

/// The text of a scalar in signatures, paths, queries, headers and for `validate`; None for containers and null.
pub(crate) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
