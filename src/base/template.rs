//! `{name}` templates of tool files: a text cut into literal pieces and argument names.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePiece {
    Text(String),
    /// The value of this argument.
    Arg(String),
    /// `{name...}`: the value of this argument, a path of several segments.
    Segments(String),
}

/// A parsed template. `{name}` and `{name...}` hold letters, digits and `_`; there is no escape for a brace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<TemplatePiece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// A `{` without its `}`, or a `}` without its `{`.
    Unbalanced,
    /// What stands between the braces is not an argument name.
    BadName(String),
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TemplateError::Unbalanced => f.write_str("unbalanced braces"),
            TemplateError::BadName(name) => write!(f, "\"{{{name}}}\" is not an argument name"),
        }
    }
}

impl std::error::Error for TemplateError {}

impl Template {
    /// Cuts `text` into pieces. Two texts never stand side by side, and no text is empty.
    ///
    /// # Errors
    /// On unbalanced braces and on names with other characters than letters, digits and `_`.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(open);
            push_text(&mut pieces, before);
            let inner = from.strip_prefix('{').ok_or(TemplateError::Unbalanced)?;
            let (name, after) = inner.split_once('}').ok_or(TemplateError::Unbalanced)?;
            pieces.push(match name.strip_suffix("...") {
                Some(name) => TemplatePiece::Segments(arg_name(name)?),
                None => TemplatePiece::Arg(arg_name(name)?),
            });
            rest = after;
        }
        push_text(&mut pieces, rest);
        Ok(Template { pieces })
    }

    /// The pieces in order.
    pub fn pieces(&self) -> &[TemplatePiece] {
        &self.pieces
    }

    /// The names used, in order, repeated when used twice.
    pub fn args(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|p| match p {
            TemplatePiece::Arg(name) | TemplatePiece::Segments(name) => Some(name.as_str()),
            TemplatePiece::Text(_) => None,
        })
    }

    /// Whether two arguments stand side by side with nothing between them.
    pub fn has_touching_args(&self) -> bool {
        self.pieces.windows(2).any(|w| matches!(w, [TemplatePiece::Arg(_), TemplatePiece::Arg(_)]))
    }

    /// The text with every argument replaced by what `value` gives for it.
    pub fn render(&self, mut value: impl FnMut(&str) -> String) -> String {
        self.pieces
            .iter()
            .map(|p| match p {
                TemplatePiece::Text(text) => text.clone(),
                TemplatePiece::Arg(name) | TemplatePiece::Segments(name) => value(name),
            })
            .collect()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces.iter().try_for_each(|p| match p {
            TemplatePiece::Text(text) => f.write_str(text),
            TemplatePiece::Arg(name) => write!(f, "{{{name}}}"),
            TemplatePiece::Segments(name) => write!(f, "{{{name}...}}"),
        })
    }
}

fn push_text(pieces: &mut Vec<TemplatePiece>, text: &str) {
    if !text.is_empty() {
        pieces.push(TemplatePiece::Text(text.to_owned()));
    }
}

fn arg_name(name: &str) -> Result<String, TemplateError> {
    let fits = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if fits { Ok(name.to_owned()) } else { Err(TemplateError::BadName(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_and_shows_itself() {
        let t = Template::parse("/api/{domain}/{service}?x={y}").unwrap();
        assert_eq!(t.render(|n| n.to_uppercase()), "/api/DOMAIN/SERVICE?x=Y");
        assert_eq!(t.to_string(), "/api/{domain}/{service}?x={y}");
        assert_eq!(t.args().collect::<Vec<_>>(), ["domain", "service", "y"]);
        let t = Template::parse("/files/{path...}").unwrap();
        assert_eq!(t.pieces().last(), Some(&TemplatePiece::Segments("path".into())));
        assert_eq!(t.to_string(), "/files/{path...}");
    }

    #[test]
    fn refuses_what_it_cannot_mean() {
        for bad in ["{", "}", "a}b", "{a", "{}", "{...}", "{a..}", "{a b}", "{{a}}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        assert!(Template::parse("{a}{b}").unwrap().has_touching_args());
        assert!(!Template::parse("{a}.{b}").unwrap().has_touching_args());
    }
}
