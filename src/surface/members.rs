//! Reading the members of a command from people or their programs. What is left over afterwards is unknown.

use serde_json::{Map, Value};

use crate::base::readable::read_span;
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

pub(crate) fn count(members: &mut Map<String, Value>, name: &str) -> Result<Option<u32>, String> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
            number.map(Some).ok_or_else(|| format!("{name} must be a whole number"))
        }
    }
}

/// What a yes grants besides, as `for` and `uses` say.
pub(crate) fn wish(members: &mut Map<String, Value>) -> Result<Option<GrantWish>, String> {
    let (time, uses) = (text(members, "for")?, count(members, "uses")?);
    match time {
        Some(time) => {
            let duration = read_span(&time).ok_or("for must be a time such as 15m, 1h or 2d")?;
            Ok(Some(GrantWish { duration, uses }))
        }
        None if uses.is_some() => Err("uses is given without for".into()),
        None => Ok(None),
    }
}
