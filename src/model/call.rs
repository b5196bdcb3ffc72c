//! A call that has passed every check, with its signature and its digests.
//!
//! [`Call::new`] is the only way to make one, so whoever holds a `Call` holds the proof. The policy judges it, a person
//! is shown it and a service runs it: the same immutable value.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::agent::AgentId;
use super::arguments;
use super::invalid_call::{InvalidCall, MAX_ARGS};
use super::signature::{self, Signature};
use super::tool::{ArgType, Tool};
use crate::base::bytes;
use crate::base::digest::{Digest, to_hex};
use crate::base::json::{canonical, scalar_text};
use crate::base::secret::Secret;
use crate::base::template::{Template, TemplatePiece};

/// Stands in the place of a secret argument.
pub(crate) const REDACTED: &str = "•••";

/// Bytes of SHA-256: few enough for a button, too many for two calls that somebody makes alike.
const SHOWN_AS: usize = 8;

/// A validated, normalised call of one tool by one agent.
#[derive(Clone, Debug)]
pub struct Call {
    agent: AgentId,
    tool: Arc<Tool>,
    args: Map<String, Value>,
    /// What people are shown instead of bytes: hashed once, shown many times.
    described: Map<String, Value>,
    signature: Signature,
    digest: Digest,
    binding: Digest,
}

impl Call {
    /// Checks the arguments against the tool and computes signature and digests. Null arguments count as absent and are
    /// dropped, and defaults are filled in, so that what is shown is what is sent.
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

    pub fn agent(&self) -> &AgentId {
        &self.agent
    }

    pub fn tool(&self) -> &Arc<Tool> {
        &self.tool
    }

    /// No value is null.
    pub fn args(&self) -> &Map<String, Value> {
        &self.args
    }

    /// The text that rules are matched against: `tool(…)`, or the bare name of a tool without a template. A call with a
    /// list that is judged element by element has all its [`parts`](Call::parts) here, joined by `; `.
    pub fn signature(&self) -> &str {
        &self.signature.text
    }

    /// One signature per element of the list that is judged element by element; empty where there is no such list.
    pub fn parts(&self) -> &[String] {
        &self.signature.parts
    }

    /// The text of an argument where the request wants one: of a scalar or of a joined list. The text of an absent
    /// argument is empty.
    ///
    /// # Errors
    /// [`InvalidCall::Unsendable`] for other lists and objects.
    pub fn text(&self, name: &str) -> Result<String, InvalidCall> {
        let Some(value) = self.args.get(name) else { return Ok(String::new()) };
        let text = self.joined(name).or_else(|| scalar_text(value));
        text.ok_or_else(|| InvalidCall::Unsendable { argument: name.to_owned() })
    }

    /// The template filled with the arguments' texts.
    ///
    /// # Errors
    /// As [`Call::text`].
    pub fn fill(&self, template: &Template) -> Result<String, InvalidCall> {
        let piece = |piece: &TemplatePiece| match piece {
            TemplatePiece::Text(text) => Ok(text.clone()),
            TemplatePiece::Arg(name) | TemplatePiece::Segments(name) => self.text(name),
        };
        template.pieces().iter().map(piece).collect()
    }

    /// The text of a list with `join`.
    pub fn joined(&self, name: &str) -> Option<String> {
        let join = self.tool.args.get(name)?.join.as_ref()?;
        let texts: Option<Vec<String>> = self.args.get(name)?.as_array()?.iter().map(scalar_text).collect();
        Some(texts?.join(join))
    }

    /// SHA-256 of agent, tool name and arguments in canonical form: equal for equal requests.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Digest of the call and of its tool's definition. An approval is bound to it.
    pub fn binding(&self) -> Digest {
        self.binding
    }

    /// The part of [`Call::binding`] by which an answer says which call it was shown, in hex.
    pub fn shown_as(&self) -> String {
        to_hex(&self.shown_as_bytes())
    }

    /// [`Call::shown_as`] before it is hex.
    pub(crate) fn shown_as_bytes(&self) -> [u8; SHOWN_AS] {
        self.binding.0.first_chunk().copied().unwrap_or_default()
    }

    /// [`Call::shown_as`] of the call with this [`Call::binding`].
    pub(crate) fn shown_as_of(binding: &Digest) -> String {
        binding.0.first_chunk::<SHOWN_AS>().map(|bytes| to_hex(bytes)).unwrap_or_default()
    }

    /// The text of what [`Call::shown_as_bytes`] gave; None when it cannot have given it.
    pub(crate) fn read_shown_as(bytes: &[u8]) -> Option<String> {
        (bytes.len() == SHOWN_AS).then(|| to_hex(bytes))
    }

    /// The arguments as the record and people see them: secret ones redacted, bytes as their number and SHA-256.
    pub(crate) fn shown_args(&self) -> Map<String, Value> {
        let shown = |name: &str, value: &Value| match self.tool.args.get(name) {
            Some(spec) if spec.secret => REDACTED.into(),
            Some(_) | None => self.described.get(name).unwrap_or(value).clone(),
        };
        self.args.iter().map(|(name, value)| (name.clone(), shown(name, value))).collect()
    }

    /// The texts in secret arguments, at any depth: a service may echo them.
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

/// The arguments that are bytes, described by number and SHA-256.
fn described(tool: &Tool, args: &Map<String, Value>) -> Map<String, Value> {
    let is_bytes = |name: &str| tool.args.get(name).is_some_and(|spec| spec.kind == Some(ArgType::Bytes));
    let described = |(name, value): (&String, &Value)| {
        let bytes = bytes::decode(value.as_str()?)?;
        Some((name.clone(), json!({"bytes": bytes.len(), "sha256": Digest::sha256(&bytes).hex()})))
    };
    args.iter().filter(|(name, _)| is_bytes(name)).filter_map(described).collect()
}
