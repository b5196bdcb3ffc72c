//! The body of a request, as a tool file lays it out.

use serde_json::{Map, Value};

use crate::base::template::{Template, TemplatePiece};
use crate::base::words::words;

words! {
    /// How a body is written.
    pub enum Encoding {
        /// `application/json`.
        Json = "json",
        /// `application/x-www-form-urlencoded`: nested `a[b]`, lists `a[]`.
        Form = "form",
        /// `multipart/form-data` with the same names; bytes become files.
        Multipart = "multipart",
        /// One argument as it is, or no body.
        None = "none",
    }
}

/// A part of a body.
#[derive(Clone, Debug, PartialEq)]
pub enum Layout {
    /// The same in every call.
    Constant(Value),
    /// The value of this argument with its JSON type; left out when it is absent.
    Arg(String),
    /// A text with arguments in it; left out when one of them is absent.
    Text(Template),
    /// Left out when all of its elements are.
    List(Vec<Layout>),
    /// Left out when all of its members are.
    Object(Vec<(String, Layout)>),
}

impl Layout {
    pub fn args(&self) -> Vec<&str> {
        match self {
            Layout::Constant(_) => Vec::new(),
            Layout::Arg(name) => vec![name],
            Layout::Text(template) => template.args().collect(),
            Layout::List(nodes) => nodes.iter().flat_map(Layout::args).collect(),
            Layout::Object(members) => members.iter().flat_map(|(_, node)| node.args()).collect(),
        }
    }

    /// The layout as the tool file has it.
    pub fn source(&self) -> Value {
        match self {
            Layout::Constant(value) => value.clone(),
            Layout::Arg(name) => format!("{{{name}}}").into(),
            Layout::Text(template) => template.to_string().into(),
            Layout::List(nodes) => nodes.iter().map(Layout::source).collect(),
            Layout::Object(members) => {
                let members = members.iter().map(|(name, node)| (name.clone(), node.source()));
                Value::Object(members.collect::<Map<_, _>>())
            }
        }
    }
}

impl From<Template> for Layout {
    /// A text that is one argument keeps the argument's type.
    fn from(template: Template) -> Layout {
        match template.pieces() {
            [] => Layout::Constant("".into()),
            [TemplatePiece::Text(text)] => Layout::Constant(text.as_str().into()),
            [TemplatePiece::Arg(name)] => Layout::Arg(name.clone()),
            _ => Layout::Text(template),
        }
    }
}
