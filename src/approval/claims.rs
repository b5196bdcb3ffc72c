//! What programs say for somebody: an answer, and a name. The name is a claim: the token says which channel it was, and
//! nothing says who was there.

use serde_json::Value;

use crate::base::readable::read_span;
use crate::base::safe_text::visible;
use crate::model::{Approval, Choice, GrantWish, MAX_NOTE};

const MAX_NAME: usize = 64;

/// # Errors
/// What is wrong with such a name.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.chars().count() > MAX_NAME {
        return Err("must have 1 to 64 characters");
    }
    // What is shown otherwise than it is written could pose as another name.
    if visible(name) == name && name.trim() == name { Ok(()) } else { Err("must be printable") }
}

/// Reads `{"decision": "approve" | "deny", "note"?, "by"?, "for"?, "uses"?}`: what was chosen, and who chose it by their
/// own account.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn decision(value: Value) -> Result<(Choice, Option<String>), String> {
    let Value::Object(mut members) = value else { return Err("it must be a JSON object".into()) };
    let mut text = |name: &str| match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{name} must be a string")),
    };
    let (decision, note, by, time) = (text("decision")?, text("note")?, text("by")?, text("for")?);
    let grant = wish(time, members.remove("uses"))?;
    if let Some(name) = members.keys().next() {
        return Err(format!("unknown member {name}"));
    }
    let note = note.map(|note| note.trim().to_owned()).filter(|note| !note.is_empty());
    if note.as_ref().is_some_and(|note| note.chars().count() > MAX_NOTE) {
        return Err(format!("a note has at most {MAX_NOTE} characters"));
    }
    by.iter().try_for_each(|by| check_name(by)).map_err(|why| format!("by {why}"))?;
    match decision.as_deref() {
        Some("approve") => Ok((Choice::Approve(Approval { grant, ..Approval::once() }), by)),
        Some("deny") if grant.is_some() => Err("a denial grants nothing".into()),
        Some("deny") => Ok((Choice::Deny { note }, by)),
        _ => Err("decision must be approve or deny".into()),
    }
}

/// What a yes grants besides, as `for` and `uses` say.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn wish(time: Option<String>, uses: Option<Value>) -> Result<Option<GrantWish>, String> {
    let count = |uses: Value| uses.as_u64().and_then(|uses| u32::try_from(uses).ok());
    let uses = uses.filter(|uses| !uses.is_null());
    let uses = uses.map(|uses| count(uses).ok_or("uses must be a whole number")).transpose()?;
    match time {
        Some(time) => {
            let duration = read_span(&time).ok_or("for must be a time such as 15m, 1h or 2d")?;
            Ok(Some(GrantWish { duration, uses }))
        }
        None if uses.is_some() => Err("uses is given without for".into()),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_printable_and_short() {
        assert!(
            ["anna", "Carol Ö.", "a@example.org", &"x".repeat(64)]
                .iter()
                .all(|name| check_name(name).is_ok())
        );
        for bad in ["", " anna", "a\nb", "a\u{202e}b", "a\u{0}", &"x".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
