//! A call that a person changes before it is answered.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::call::Call;
use super::invalid_call::InvalidCall;
use super::responder::Responder;
use super::tool::ArgType;
use crate::base::json::canonical;

/// Arguments with their new values; None removes one.
pub(crate) type ArgChanges = Vec<(String, Option<Value>)>;

/// The changes that an object of arguments says; null removes one.
pub(crate) fn changes_of(set: Map<String, Value>) -> ArgChanges {
    set.into_iter().map(|(name, value)| (name, Some(value).filter(|value| !value.is_null()))).collect()
}

/// What was changed in the call of a question.
#[derive(Clone, Debug)]
pub struct Edit {
    /// The call as the agent asked for it: what it is joined, cooled down and remembered by.
    pub asked: Arc<Call>,
    /// Who changed it last.
    pub by: Responder,
    /// The arguments whose values differ, in their order.
    pub names: Vec<String>,
}

/// Why a call cannot be changed like this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CannotEdit {
    /// Nobody is shown this argument's value.
    Secret(String),
    /// Of bytes people see a number and a SHA-256 only.
    Bytes(String),
    /// The agent has not sent it, and the tool does not declare it.
    Undeclared(String),
    /// The call would not be one that an agent may ask for.
    Invalid(InvalidCall),
}

impl fmt::Display for CannotEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CannotEdit::Secret(name) => write!(f, "{name} is secret and cannot be changed"),
            CannotEdit::Bytes(name) => write!(f, "{name} holds bytes, which can be removed but not changed"),
            CannotEdit::Undeclared(name) => write!(f, "the tool does not declare {name}"),
            CannotEdit::Invalid(why) => why.fmt(f),
        }
    }
}

impl Edit {
    /// None when `edited` is just what was asked for.
    pub fn of(asked: &Arc<Call>, edited: &Call, by: Responder) -> Option<Edit> {
        let names = changed_args(asked, edited);
        (!names.is_empty()).then(|| Edit { asked: asked.clone(), by, names })
    }
}

/// The arguments in which two calls of one tool differ, by name.
pub(crate) fn changed_args(asked: &Call, edited: &Call) -> Vec<String> {
    let names: BTreeSet<&String> = asked.args().keys().chain(edited.args().keys()).collect();
    // As the digests have it: `1` and `1.0` are one value.
    let text = |call: &Call, name: &str| call.args().get(name).and_then(|value| canonical(value).ok());
    names.into_iter().filter(|name| text(asked, name) != text(edited, name)).cloned().collect()
}

/// `call` with other arguments, checked as if the agent had sent them.
///
/// # Errors
/// The first change that may not be made, or why it is no call any more.
pub(crate) fn edited(call: &Call, changes: &[(String, Option<Value>)]) -> Result<Call, CannotEdit> {
    changes.iter().try_for_each(|(name, value)| may_change(call, name, value.as_ref()))?;
    let args = with_changes(call.args().clone(), changes);
    Call::new(call.agent().clone(), call.tool().clone(), args).map_err(CannotEdit::Invalid)
}

/// The arguments after the changes.
pub(crate) fn with_changes(
    mut args: Map<String, Value>,
    changes: &[(String, Option<Value>)],
) -> Map<String, Value> {
    for (name, value) in changes {
        match value {
            Some(value) => drop(args.insert(name.clone(), value.clone())),
            None => drop(args.remove(name)),
        }
    }
    args
}

fn may_change(call: &Call, name: &str, value: Option<&Value>) -> Result<(), CannotEdit> {
    let owned = || name.to_owned();
    match call.tool().args.get(name) {
        Some(spec) if spec.secret => Err(CannotEdit::Secret(owned())),
        Some(spec) if spec.kind == Some(ArgType::Bytes) && value.is_some() => Err(CannotEdit::Bytes(owned())),
        Some(_) => Ok(()),
        None if value.is_none() || call.args().contains_key(name) => Ok(()),
        None => Err(CannotEdit::Undeclared(owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::base::template::Template;
    use crate::model::{AgentId, ArgSpec, Method, RequestSpec, Tool};

    fn call(args: Value) -> Arc<Call> {
        let tool = Tool {
            args: BTreeMap::from([
                (
                    "level".into(),
                    ArgSpec { required: true, kind: Some(ArgType::Integer), ..ArgSpec::default() },
                ),
                ("room".into(), ArgSpec { default: Some("hall".into()), ..ArgSpec::default() }),
                ("pin".into(), ArgSpec { secret: true, ..ArgSpec::default() }),
                ("file".into(), ArgSpec { kind: Some(ArgType::Bytes), ..ArgSpec::default() }),
            ]),
            extra_args: true,
            ..Tool::new("dim", RequestSpec::new(Method::Post, Template::parse("/").unwrap()))
        };
        let args = args.as_object().unwrap().clone();
        Arc::new(Call::new(AgentId::configured("pi"), Arc::new(tool), args).unwrap())
    }

    fn change(name: &str, value: Value) -> (String, Option<Value>) {
        (name.to_owned(), Some(value).filter(|value| !value.is_null()))
    }

    #[test]
    fn what_differs_is_named_and_what_does_not_is_not() {
        let asked = call(json!({"level": 100, "pin": "1", "x": "y"}));
        let changes = [change("level", json!(60)), change("room", json!(null)), change("x", json!(null))];
        let changed = edited(&asked, &changes).unwrap();
        assert_eq!(Value::Object(changed.args().clone()), json!({"level": 60, "room": "hall", "pin": "1"}));
        assert_eq!(changed_args(&asked, &changed), ["level", "x"]);
        let by = || Responder::new("local", "root");
        assert_eq!(Edit::of(&asked, &changed, by()).unwrap().names, ["level", "x"]);
        let same = edited(&changed, &[change("level", json!(100)), change("room", json!("hall"))]).unwrap();
        assert_eq!(changed_args(&asked, &same), ["x"]);
        assert!(
            Edit::of(&asked, &call(json!({"level": 100, "room": "hall", "pin": "1", "x": "y"})), by())
                .is_none()
        );
    }

    #[test]
    fn what_may_not_be_changed() {
        let asked = call(json!({"level": 100, "pin": "1", "x": "y"}));
        let refused = |name: &str, value| edited(&asked, &[change(name, value)]).unwrap_err();
        assert_eq!(refused("pin", json!("2")), CannotEdit::Secret("pin".into()));
        assert_eq!(refused("pin", json!(null)), CannotEdit::Secret("pin".into()));
        assert_eq!(refused("file", json!("AAAA")), CannotEdit::Bytes("file".into()));
        assert_eq!(refused("other", json!(1)), CannotEdit::Undeclared("other".into()));
        let invalid = [("level", json!("high")), ("level", json!(null)), ("room", json!("a*"))];
        for (name, value) in invalid {
            assert!(matches!(refused(name, value), CannotEdit::Invalid(_)), "{name}");
        }
        assert!(edited(&asked, &[change("file", json!(null)), change("x", json!("z"))]).is_ok());
    }
}
