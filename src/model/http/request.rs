//! The HTTP request that a call becomes.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::layout::{Encoding, Layout};
use crate::base::template::Template;
use crate::model::kind::Kind;

/// `request:` of a tool.
#[derive(Clone, Debug)]
pub struct RequestSpec {
    /// Whether it reads or writes is for the tool's kind to say.
    pub method: Method,
    /// Begins with `/`. Every argument becomes the encoded text of one segment.
    pub path: Template,
    /// What follows `?` in the tool's path. Every argument becomes one encoded value.
    pub path_query: Option<Template>,
    /// `request.query`: an item whose arguments are all absent is left out. A template that is one array and nothing
    /// else repeats the name for each element; an empty one makes a name without a value.
    pub query: Vec<(String, Template)>,
    /// `request.headers`; an item whose arguments are all absent is left out.
    pub headers: Vec<(String, Template)>,
    /// Arguments that stay out of a body of all arguments.
    pub body_exclude: BTreeSet<String>,
    /// How the body is written, where the tool file says it.
    pub encoding: Option<Encoding>,
    /// The body, where it is not all arguments.
    pub body: Option<Layout>,
}

impl RequestSpec {
    /// A request with a method and a path and nothing else.
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

    /// JSON unless the tool file says otherwise.
    pub fn encoding(&self) -> Encoding {
        self.encoding.unwrap_or(Encoding::Json)
    }

    /// Whether there is a body: one that is laid out, or all arguments as in POST, PUT and PATCH.
    pub(crate) fn has_body(&self) -> bool {
        match (&self.body, self.encoding) {
            (Some(_), _) => true,
            (None, Some(encoding)) => encoding != Encoding::None,
            (None, None) => matches!(self.method, Method::Post | Method::Put | Method::Patch),
        }
    }
}

/// The methods that a tool may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Has no body.
    Get,
    /// Has no body, nor has its response.
    Head,
    Post,
    Put,
    Patch,
    /// Has a body where the tool lays one out.
    Delete,
    /// Any other token, such as `PROPFIND`; never `CONNECT` or `TRACE`.
    Other(Arc<str>),
}

impl Method {
    /// Those with a variant of their own.
    pub const ALL: [Method; 6] =
        [Method::Get, Method::Head, Method::Post, Method::Put, Method::Patch, Method::Delete];

    /// The token on the wire.
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

    /// The kind of a tool with this method, unless its file says another.
    pub fn default_kind(&self) -> Kind {
        match self {
            Method::Get | Method::Head => Kind::Read,
            Method::Delete => Kind::Delete,
            Method::Post | Method::Put | Method::Patch | Method::Other(_) => Kind::Write,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
