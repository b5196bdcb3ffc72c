//! The texts of a call that `any_value` is matched against.
//!
//! Wherever a value hides, and whatever its type, it must be found: strings, numbers and booleans (as their JSON
//! text) at any depth, the keys of objects, and the names of arguments that the tool does not declare. The names
//! it does declare are the owner's words, not the agent's, and do not count.

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;

use serde_json::Value;

use super::stance::Stance;
use crate::base::glob::Pattern;
use crate::base::json::scalar_text;
use crate::model::Call;

/// The texts of one call, collected when the first rule asks and then kept for the others.
pub(crate) struct Texts<'c> {
    call: &'c Call,
    found: OnceCell<Found<'c>>,
    /// What was found for a pattern, by its address: the same for all elements of a list, however many there are.
    known: RefCell<BTreeMap<usize, bool>>,
}

#[derive(Default)]
struct Found<'c> {
    plain: Vec<Cow<'c, str>>,
    /// Trimmed and in lower case, where that makes a difference.
    folded: Vec<String>,
    /// The elements of the list that is judged element by element, in its order; they are single values.
    elements: Vec<Cow<'c, str>>,
}

impl<'c> Texts<'c> {
    /// The texts of `call`; nothing is collected yet.
    pub(crate) fn new(call: &'c Call) -> Self {
        Self { call, found: OnceCell::new(), known: RefCell::default() }
    }

    /// Whether one of the texts matches `pattern`, an `any_value`. Services tend to trim and to fold case before they act,
    /// so what forbids is asked about `" LOCK.front"` as about `"lock.front"` too; what permits must match as it stands.
    ///
    /// `element` is the place of the element that is judged: what forbids looks at all the others too, what permits only at
    /// this one, so that no element is permitted for another's sake.
    pub(crate) fn any(&self, pattern: &Pattern, stance: Stance, element: Option<usize>) -> bool {
        let found = self.found.get_or_init(|| Found::new(self.call));
        let Some(element) = element else { return found.anywhere(pattern, stance) };
        let address = std::ptr::from_ref(pattern).addr();
        let known = self.known.borrow().get(&address).copied();
        let anywhere = known.unwrap_or_else(|| found.anywhere(pattern, stance));
        self.known.borrow_mut().insert(address, anywhere);
        anywhere || found.elements.get(element).is_some_and(|text| pattern.matches(text))
    }
}

impl<'c> Found<'c> {
    /// Whether one of the texts matches that count for every element.
    fn anywhere(&self, pattern: &Pattern, stance: Stance) -> bool {
        let fits = |text: &Cow<'_, str>| pattern.matches(text);
        let is_forbidden =
            || self.elements.iter().any(fits) || self.folded.iter().any(|text| pattern.matches(text));
        self.plain.iter().any(fits) || stance == Stance::Forbids && is_forbidden()
    }

    fn new(call: &'c Call) -> Self {
        let mut found = Self::default();
        let undeclared = call.args().keys().filter(|name| !call.tool().args.contains_key(*name));
        undeclared.for_each(|name| found.add(Cow::Borrowed(name)));
        // No recursion: how deep the arguments go is the agent's choice.
        let list = call.tool().each().filter(|_| !call.parts().is_empty());
        let listed = list.and_then(|name| call.args().get(name)).and_then(Value::as_array);
        listed.into_iter().flatten().filter_map(scalar_text).for_each(|text| found.add_element(text));
        let others = call.args().iter().filter(|(name, _)| Some(name.as_str()) != list);
        let mut open: Vec<&Value> = others.map(|(_, value)| value).collect();
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
        self.fold(&text);
        self.plain.push(text);
    }

    fn add_element(&mut self, text: String) {
        self.fold(&text);
        self.elements.push(Cow::Owned(text));
    }

    fn fold(&mut self, text: &str) {
        let folded = text.trim().to_lowercase();
        if folded != text {
            self.folded.push(folded);
        }
    }
}
