//! What an agent may ask for: the definition of one tool, as `config` made it from a tool file.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::flow::Source;
use super::http::{HttpTarget, RequestSpec};
use super::kind::Kind;
use super::mcp_target::McpTarget;
use super::tool_facts::ToolFacts;
use crate::base::digest::Digest;
use crate::base::template::Template;
use crate::base::whole_regex::WholeRegex;
use crate::base::words::words;

/// One tool. Immutable; a reload makes new ones.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Unique over all services; letters, digits and `_ - .`.
    pub name: String,
    /// For people and language models.
    pub description: String,
    /// The key in config.yaml of the service that runs it.
    pub service: String,
    /// Decides whether its calls have side effects and what must be on disk before they are sent.
    pub kind: Kind,
    /// What counts for the policy besides.
    pub facts: ToolFacts,
    /// What stands between the brackets of the signature; without it the signature is the bare name.
    pub signature: Option<Template>,
    /// The declared arguments by name.
    pub args: BTreeMap<String, ArgSpec>,
    /// What a call becomes.
    pub target: Target,
    /// Whether undeclared arguments are accepted (they go into the body).
    pub extra_args: bool,
    /// Time for the whole call where it differs from the service's.
    pub timeout: Option<Duration>,
    /// SHA-256 of the canonical definition, the service's URL included. An approval is bound to it.
    pub digest: Digest,
}

/// What a call becomes. Each variant has one handler in `service`.
#[derive(Clone, Debug)]
pub enum Target {
    /// An HTTP request.
    Http(Box<HttpTarget>),
    /// Nothing is sent: the agent may act, for a while.
    Permit,
    /// A call of an MCP server's tool.
    Mcp(Box<McpTarget>),
}

impl From<HttpTarget> for Target {
    fn from(http: HttpTarget) -> Target {
        Target::Http(Box::new(http))
    }
}

impl From<RequestSpec> for Target {
    fn from(request: RequestSpec) -> Target {
        HttpTarget { request, response: Default::default() }.into()
    }
}

impl Target {
    /// The kind of a tool whose file does not say it.
    pub fn default_kind(&self) -> Kind {
        match self {
            Target::Http(http) => http.request.method.default_kind(),
            Target::Permit => Kind::Execute,
            Target::Mcp(_) => Kind::Write,
        }
    }

    /// The HTTP request, where it is one.
    pub fn http(&self) -> Option<&HttpTarget> {
        match self {
            Target::Http(http) => Some(http),
            Target::Permit | Target::Mcp(_) => None,
        }
    }

    /// The tool at an MCP server, where it is one.
    pub(crate) fn mcp(&self) -> Option<&McpTarget> {
        match self {
            Target::Mcp(mcp) => Some(mcp),
            Target::Http(_) | Target::Permit => None,
        }
    }
}

impl Tool {
    /// Whether the agent performs it itself.
    pub(crate) fn is_permit(&self) -> bool {
        matches!(self.target, Target::Permit)
    }

    /// A tool with a name and a target and nothing else.
    pub fn new(name: &str, target: impl Into<Target>) -> Tool {
        let target = target.into();
        Tool {
            name: name.to_owned(),
            description: String::new(),
            service: String::new(),
            kind: target.default_kind(),
            facts: ToolFacts::of(name),
            signature: None,
            args: BTreeMap::new(),
            target,
            extra_args: false,
            timeout: None,
            digest: Digest::sha256(b""),
        }
    }

    /// The data that a call reads; None: none that counts.
    pub fn source(&self) -> Option<Source> {
        self.facts.data.as_ref()?.source(&self.name)
    }

    /// The argument of the signature whose elements are judged one by one.
    pub fn each(&self) -> Option<&str> {
        let mut args = self.signature.iter().flat_map(Template::args);
        args.find(|name| self.args.get(*name).is_some_and(|spec| spec.each))
    }
}

/// The declaration of one argument.
#[derive(Clone, Debug, Default)]
pub struct ArgSpec {
    /// Refused when absent or null.
    pub required: bool,
    /// Must match the whole value; numbers and booleans count as their JSON text.
    pub validate: Option<WholeRegex>,
    /// None: any string, number or boolean.
    pub kind: Option<ArgType>,
    /// For people and language models.
    pub description: Option<String>,
    /// Redacted in the record and in approval texts.
    pub secret: bool,
    /// May hold newlines, tabs and the characters that are refused elsewhere; never part of the signature.
    pub free_text: bool,
    /// What the elements of an array must be.
    pub items: Option<ItemSpec>,
    /// Outside the signature the array is sent as one text, with this between its elements.
    pub join: Option<String>,
    /// An array in the signature: the call is judged once per element, and a single value is an array of one.
    pub each: bool,
    /// The value when it is absent.
    pub default: Option<Value>,
    /// Its name in a body of all arguments, where that differs.
    pub sent_as: Option<String>,
}

/// The declaration of an array's elements.
#[derive(Clone, Debug, Default)]
pub struct ItemSpec {
    /// None: any string, number or boolean.
    pub kind: Option<ArgType>,
    /// Must match the whole of each element.
    pub validate: Option<WholeRegex>,
}

words! {
    /// The declared JSON type of an argument.
    pub enum ArgType {
        /// A JSON string.
        String = "string",
        /// A number without a fraction.
        Integer = "integer",
        /// Any number.
        Number = "number",
        /// true or false.
        Boolean = "boolean",
        /// A JSON array.
        Array = "array",
        /// A JSON object.
        Object = "object",
        /// Base64 text in JSON.
        Bytes = "bytes",
    }
}

impl ArgType {
    /// Whether a value of this type may stand in a signature, a path, a query or a header.
    pub(crate) fn is_scalar(self) -> bool {
        !matches!(self, ArgType::Array | ArgType::Object | ArgType::Bytes)
    }

    pub(crate) fn with_article(self) -> &'static str {
        match self {
            ArgType::Array => "an array",
            ArgType::Object => "an object",
            ArgType::Bytes => "bytes",
            ArgType::String | ArgType::Integer | ArgType::Number | ArgType::Boolean => "a single value",
        }
    }
}
