//! The text that rules are matched against: one per call, or one per element of a list that is judged element by
//! element.

use serde_json::{Map, Value};

use super::invalid_call::{InvalidCall, MAX_SIGNATURE};
use super::tool::Tool;
use crate::base::json::scalar_text;
use crate::base::template::{Template, TemplatePiece};

/// Separates the signatures of one call. A value holds no bracket, so the text can be cut in one way only.
const BETWEEN: &str = "; ";

#[derive(Clone, Debug)]
pub(super) struct Signature {
    /// All parts, joined by `; `.
    pub(super) text: String,
    /// One per element of the list that is judged element by element; empty where there is no such list.
    pub(super) parts: Vec<String>,
}

/// Signs a call whose arguments have been checked.
pub(super) fn sign(tool: &Tool, args: &Map<String, Value>) -> Result<Signature, InvalidCall> {
    let Some(template) = &tool.signature else {
        return Ok(Signature { text: tool.name.clone(), parts: Vec::new() });
    };
    let list = tool.each().and_then(|name| Some((name, args.get(name)?.as_array()?)));
    let signature = match list {
        None => Signature { text: sign_one(tool, template, |name| args.get(name))?, parts: Vec::new() },
        Some((list, elements)) => {
            let part = |element| {
                sign_one(tool, template, |name| if name == list { Some(element) } else { args.get(name) })
            };
            let parts = elements.iter().map(part).collect::<Result<Vec<_>, _>>()?;
            Signature { text: parts.join(BETWEEN), parts }
        }
    };
    if signature.text.len() > MAX_SIGNATURE { Err(InvalidCall::SignatureTooLong) } else { Ok(signature) }
}

fn sign_one<'v>(
    tool: &Tool,
    template: &Template,
    value: impl Fn(&str) -> Option<&'v Value>,
) -> Result<String, InvalidCall> {
    check_scalars(template, &value)?;
    check_unambiguous(template, &value)?;
    let text_of = |name: &str| value(name).and_then(scalar_text).unwrap_or_default();
    Ok(format!("{}({})", tool.name, template.render(text_of)))
}

/// A signed argument is absent or a scalar: a list would read as an empty text and slip past a rule.
fn check_scalars<'v>(
    template: &Template,
    value: &impl Fn(&str) -> Option<&'v Value>,
) -> Result<(), InvalidCall> {
    let mut given = template.args().filter_map(|name| value(name).map(|value| (name, value)));
    match given.find(|(_, value)| scalar_text(value).is_none()) {
        Some((name, _)) => Err(InvalidCall::WrongType {
            argument: name.to_owned(),
            must_be: "a string, a number or a boolean".into(),
        }),
        None => Ok(()),
    }
}

/// Two calls that differ in a signed value never share a signature: each value ends where the text behind it
/// first appears, and an absent value (empty text) cannot be confused with an empty one.
fn check_unambiguous<'v>(
    template: &Template,
    value: &impl Fn(&str) -> Option<&'v Value>,
) -> Result<(), InvalidCall> {
    let mut pieces = template.pieces().iter().peekable();
    while let Some(piece) = pieces.next() {
        let TemplatePiece::Arg(name) = piece else { continue };
        let Some(text) = value(name).and_then(scalar_text) else { continue };
        let separator = match pieces.peek() {
            Some(TemplatePiece::Text(text)) => text.as_str(),
            Some(TemplatePiece::Arg(_) | TemplatePiece::Segments(_)) | None => "",
        };
        let early = !separator.is_empty() && format!("{text}{separator}").find(separator) != Some(text.len());
        if text.is_empty() || early {
            return Err(InvalidCall::Ambiguous { argument: name.clone() });
        }
    }
    Ok(())
}
