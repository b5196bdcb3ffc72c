//! Reading the members of a command from people or their programs. What is left over afterwards is unknown.

use serde_json::{Map, Value};

use crate::approval::claims;
use crate::model::GrantWish;

pub(crate) fn text(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{name} must be a string")),
    }
}

/// The same where it must be given.
pub(crate) fn required(members: &mut Map<String, Value>, name: &str) -> Result<String, String> {
    text(members, name)?.ok_or_else(|| format!("{name} is missing"))
}

pub(crate) fn flag(members: &mut Map<String, Value>, name: &str) -> Result<bool, String> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(flag),
        Some(_) => Err(format!("{name} must be true or false")),
    }
}

/// What a yes grants besides, as `for` and `uses` say.
pub(crate) fn wish(members: &mut Map<String, Value>) -> Result<Option<GrantWish>, String> {
    let time = text(members, "for")?;
    claims::wish(time, members.remove("uses"))
}
