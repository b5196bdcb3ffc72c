//! The body of a request, as a tool file lays it out.

use serde_json::{Map, Value};

use crate::base::template::{Piece, Template};

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`.
    Json,
    /// `application/x-www-form-urlencoded`: nested `a[b]`, lists `a[]`.
    Form,
    /// `multipart/form-data`, the same names; bytes become files.
    Multipart,
    /// One argument as it is, or no body.
    None,
}

impl Encoding {
    /// All of them, in the order of the documentation.
    pub const ALL: [Encoding; 4] = [Encoding::Json, Encoding::Form, Encoding::Multipart, Encoding::None];

    /// The word used in tool files.
    pub fn as_str(self) -> &'static str {
        match self {
            Encoding::Json => "json",
            Encoding::Form => "form",
            Encoding::Multipart => "multipart",
            Encoding::None => "none",
        }
    }
}

/// A part of a body.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// The same in every call.
    Constant(Value),
    /// The value of this argument with its JSON type; left out when it is absent.
    Arg(String),
    /// A text with arguments in it; left out when one of them is absent.
    Text(Template),
    /// Left out when all of its elements are.
    List(Vec<Node>),
    /// Left out when all of its members are.
    Object(Vec<(String, Node)>),
}

impl Node {
    /// The arguments in it.
    pub fn args(&self) -> Vec<&str> {
        match self {
            Node::Constant(_) => Vec::new(),
            Node::Arg(name) => vec![name],
            Node::Text(template) => template.args().collect(),
            Node::List(nodes) => nodes.iter().flat_map(Node::args).collect(),
            Node::Object(members) => members.iter().flat_map(|(_, node)| node.args()).collect(),
        }
    }

    /// The layout as the tool file has it.
    pub fn source(&self) -> Value {
        match self {
            Node::Constant(value) => value.clone(),
            Node::Arg(name) => format!("{{{name}}}").into(),
            Node::Text(template) => template.to_string().into(),
            Node::List(nodes) => nodes.iter().map(Node::source).collect(),
            Node::Object(members) => {
                let members = members.iter().map(|(name, node)| (name.clone(), node.source()));
                Value::Object(members.collect::<Map<_, _>>())
            }
        }
    }
}

impl From<Template> for Node {
    /// A text that is one argument keeps the argument's type.
    fn from(template: Template) -> Node {
        match template.pieces() {
            [] => Node::Constant("".into()),
            [Piece::Text(text)] => Node::Constant(text.as_str().into()),
            [Piece::Arg(name)] => Node::Arg(name.clone()),
            _ => Node::Text(template),
        }
    }
}
