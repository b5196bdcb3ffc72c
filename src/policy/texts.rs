//! The texts of a call that `any_value` is matched against.
//!
//! Wherever a value hides, and whatever its type, it must be found: strings, numbers and booleans (as their JSON
//! text) at any depth, the keys of objects, and the names of arguments that the tool does not declare. The names
//! it does declare are the owner's words, not the agent's, and do not count.

use std::borrow::Cow;
use std::cell::OnceCell;

use serde_json::Value;

use crate::base::glob::Pattern;
use crate::model::call::scalar_text;
use crate::model::{Action, Call};

/// The texts of one call, collected when the first rule asks and then kept for the others.
pub struct Texts<'c> {
    call: &'c Call,
    found: OnceCell<Found<'c>>,
}

#[derive(Default)]
struct Found<'c> {
    plain: Vec<Cow<'c, str>>,
    /// Trimmed and in lower case, where that makes a difference.
    folded: Vec<String>,
}

impl<'c> Texts<'c> {
    /// The texts of `call`; nothing is collected yet.
    pub fn new(call: &'c Call) -> Self {
        Self { call, found: OnceCell::new() }
    }

    /// Whether one of the texts matches. Services tend to trim and to fold case before they act, so a deny is
    /// asked about `" LOCK.front"` as about `"lock.front"` too; what permits must match as it stands.
    pub fn any(&self, pattern: &Pattern, action: Action) -> bool {
        let found = self.found.get_or_init(|| Found::of(self.call));
        let folded = match action {
            Action::Deny => found.folded.as_slice(),
            Action::Allow | Action::Ask => &[],
        };
        found.plain.iter().any(|text| pattern.matches(text))
            || folded.iter().any(|text| pattern.matches(text))
    }
}

impl<'c> Found<'c> {
    fn of(call: &'c Call) -> Self {
        let mut found = Self::default();
        let undeclared = call.args().keys().filter(|name| !call.tool().args.contains_key(*name));
        undeclared.for_each(|name| found.add(Cow::Borrowed(name)));
        // No recursion: how deep the arguments go is the agent's choice.
        let mut open: Vec<&Value> = call.args().values().collect();
        while let Some(value) = open.pop() {
            match value {
                Value::String(text) => found.add(Cow::Borrowed(text)),
                Value::Array(items) => open.extend(items),
                Value::Object(members) => {
                    members.keys().for_each(|key| found.add(Cow::Borrowed(key)));
                    open.extend(members.values());
                }
                Value::Null | Value::Bool(_) | Value::Number(_) => {
                    scalar_text(value).into_iter().for_each(|text| found.add(Cow::Owned(text)));
                }
            }
        }
        found
    }

    fn add(&mut self, text: Cow<'c, str>) {
        let folded = text.trim().to_lowercase();
        if folded != *text {
            self.folded.push(folded);
        }
        self.plain.push(text);
    }
}
