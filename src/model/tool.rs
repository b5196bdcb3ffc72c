//! What an agent may ask for: the definition of one tool, as `config` made it from a tool file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::http::{Encoding, Node, ResponseSpec};
use super::kind::Kind;
use crate::base::digest::Digest;
use crate::base::template::Template;
use crate::base::whole_regex::WholeRegex;

/// One tool. Immutable; a reload makes new ones.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Unique over all services; letters, digits and `_ - .`.
    pub name: String,
    /// For people and language models.
    pub description: String,
    /// The service that runs it, by its key in config.yaml.
    pub service: String,
    /// Whether and how it changes something.
    pub kind: Kind,
    /// What stands between the brackets of the signature; none means that the signature is the bare name.
    pub signature: Option<Template>,
    /// The declared arguments by name.
    pub args: BTreeMap<String, ArgSpec>,
    /// The HTTP request it becomes.
    pub request: RequestSpec,
    /// `response.wrap`: the result becomes `{wrap: result}`.
    pub wrap: Option<String>,
    /// What else is said about its answers.
    pub response: ResponseSpec,
    /// Whether arguments that are not declared are taken (they go into the body).
    pub extra_args: bool,
    /// Time for the whole call when it differs from the service's.
    pub timeout: Option<Duration>,
    /// SHA-256 of the canonical definition, the service's URL included. An approval is bound to it.
    pub digest: Digest,
}

impl Tool {
    /// A tool of which nothing is said but its name and its request.
    pub fn new(name: &str, request: RequestSpec) -> Tool {
        Tool {
            name: name.to_owned(),
            description: String::new(),
            service: String::new(),
            kind: Kind::of(&request.method),
            signature: None,
            args: BTreeMap::new(),
            request,
            wrap: None,
            response: ResponseSpec::default(),
            extra_args: false,
            timeout: None,
            digest: Digest::sha256(b""),
        }
    }

    /// The argument of the signature whose elements are judged one by one.
    pub fn each(&self) -> Option<&str> {
        let mut args = self.signature.iter().flat_map(Template::args);
        args.find(|name| self.args.get(*name).is_some_and(|spec| spec.each))
    }
}

/// What is declared of one argument.
#[derive(Clone, Debug, Default)]
pub struct ArgSpec {
    /// Refused when absent or null.
    pub required: bool,
    /// Must match the whole value (numbers and booleans count as their JSON text).
    pub validate: Option<WholeRegex>,
    /// None: any string, number or boolean.
    pub kind: Option<ArgType>,
    /// For people and language models.
    pub description: Option<String>,
    /// Redacted in the record and in approval texts.
    pub secret: bool,
    /// May hold the characters that are refused elsewhere, newlines and tabs; never part of the signature.
    pub free_text: bool,
    /// What the elements of an array must be.
    pub items: Option<ItemSpec>,
    /// Outside the signature an array is one text, its elements with this between them.
    pub join: Option<String>,
    /// An array in the signature: the call is judged once for each element, and a single value is an array of one.
    pub each: bool,
    /// The value when it is absent.
    pub default: Option<Value>,
    /// Its name in a body of all arguments, when that is another.
    pub sent_as: Option<String>,
}

/// What is declared of the elements of an array.
#[derive(Clone, Debug, Default)]
pub struct ItemSpec {
    /// None: any string, number or boolean.
    pub kind: Option<ArgType>,
    /// Must match the whole of each element.
    pub validate: Option<WholeRegex>,
}

/// The declared JSON type of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgType {
    /// A JSON string.
    String,
    /// A number without a fraction.
    Integer,
    /// Any number.
    Number,
    /// true or false.
    Boolean,
    /// A JSON array.
    Array,
    /// A JSON object.
    Object,
    /// Bytes, as base64 text.
    Bytes,
}

impl ArgType {
    /// All of them, in the order of the documentation.
    pub const ALL: [ArgType; 7] = [
        ArgType::String,
        ArgType::Integer,
        ArgType::Number,
        ArgType::Boolean,
        ArgType::Array,
        ArgType::Object,
        ArgType::Bytes,
    ];

    /// The word used in tool files and in `list_tools`.
    pub fn as_str(self) -> &'static str {
        match self {
            ArgType::String => "string",
            ArgType::Integer => "integer",
            ArgType::Number => "number",
            ArgType::Boolean => "boolean",
            ArgType::Array => "array",
            ArgType::Object => "object",
            ArgType::Bytes => "bytes",
        }
    }

    /// Whether a value of this type may stand in a signature, a path, a query or a header.
    pub(crate) fn is_scalar(self) -> bool {
        !matches!(self, ArgType::Array | ArgType::Object | ArgType::Bytes)
    }

    /// What a value of a type that is no scalar is called.
    pub(crate) fn with_article(self) -> &'static str {
        match self {
            ArgType::Array => "an array",
            ArgType::Object => "an object",
            ArgType::Bytes => "bytes",
            ArgType::String | ArgType::Integer | ArgType::Number | ArgType::Boolean => "a single value",
        }
    }
}

/// The HTTP request of a tool.
#[derive(Clone, Debug)]
pub struct RequestSpec {
    /// The method.
    pub method: Method,
    /// The path part, beginning with `/`; every argument becomes one encoded segment text.
    pub path: Template,
    /// What follows `?` in the tool's path; every argument becomes one encoded query value.
    pub path_query: Option<Template>,
    /// `request.query`: names with their templates; an item whose arguments are all absent is left out. A template that
    /// is one array and nothing else repeats the name for each element; an empty one makes a name without a value.
    pub query: Vec<(String, Template)>,
    /// `request.headers`: names with their templates; likewise.
    pub headers: Vec<(String, Template)>,
    /// Arguments that stay out of a body of all arguments.
    pub body_exclude: BTreeSet<String>,
    /// How the body is written, when the tool file says it.
    pub encoding: Option<Encoding>,
    /// The body, when it is not all arguments.
    pub body: Option<Node>,
}

impl RequestSpec {
    /// A request of which nothing is said but method and path.
    pub fn new(method: Method, path: Template) -> RequestSpec {
        RequestSpec {
            method,
            path,
            path_query: None,
            query: Vec::new(),
            headers: Vec::new(),
            body_exclude: BTreeSet::new(),
            encoding: None,
            body: None,
        }
    }

    /// How a body is written.
    pub fn encoding(&self) -> Encoding {
        self.encoding.unwrap_or(Encoding::Json)
    }

    /// Whether there is a body: one that is laid out, or all arguments, as POST, PUT and PATCH have it.
    pub(crate) fn has_body(&self) -> bool {
        match (&self.body, self.encoding) {
            (Some(_), _) => true,
            (None, Some(encoding)) => encoding != Encoding::None,
            (None, None) => matches!(self.method, Method::Post | Method::Put | Method::Patch),
        }
    }
}

/// The methods a tool may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Reads, headers only.
    Head,
    /// Has a body.
    Post,
    /// Has a body.
    Put,
    /// Has a body.
    Patch,
    /// Has no body.
    Delete,
    /// Any other token, as `PROPFIND`; never `CONNECT` or `TRACE`.
    Other(Arc<str>),
}

impl Method {
    /// Those with a name here.
    pub const ALL: [Method; 6] =
        [Method::Get, Method::Head, Method::Post, Method::Put, Method::Patch, Method::Delete];

    /// The word on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
            Method::Other(token) => token,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
