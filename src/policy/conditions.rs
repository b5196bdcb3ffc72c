//! Whether the arguments of a call are as a rule wants them.
//!
//! The agent controls every value here. It may leave one out, send another type, wrap or hide it: then what a test says is
//! unknown, and what is unknown counts against the call. Several values behind one path are looked at each by itself.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::stance::Stance;
use crate::base::domain::Domain;
use crate::base::json::{canonical, scalar_text};
use crate::base::number::compare;
use crate::model::condition::key_name;
use crate::model::{ArgPath, Condition, PathStep, Test, Truth};

/// The arguments of a call, or of one element of the list in it that is judged element by element.
#[derive(Clone, Copy)]
pub(super) struct Args<'c> {
    pub(super) all: &'c Map<String, Value>,
    /// The name of that list and the element. A path that names the list leads to the element, as if it had been sent
    /// alone; with `[]` behind it, to all of them.
    pub(super) element: Option<(&'c str, &'c Value)>,
}

/// What a condition says of the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Yes,
    /// Some value is unknown, which counts as yes.
    InDoubt,
    No,
}

/// One thing that a path leads to.
#[derive(Clone, Copy)]
enum Found<'v> {
    Object(&'v Map<String, Value>),
    /// Anything but an object and null.
    Other(&'v Value),
    Nothing,
}

impl<'v> From<&'v Value> for Found<'v> {
    fn from(value: &'v Value) -> Found<'v> {
        match value {
            Value::Null => Found::Nothing,
            Value::Object(members) => Found::Object(members),
            other => Found::Other(other),
        }
    }
}

/// Who denies or asks wants it of any value, who allows of all of them.
pub(super) fn holds(condition: &Condition, args: Args<'_>, stance: Stance) -> Holds {
    let Condition { path, test } = condition;
    let mut result = if stance == Stance::Permits { Holds::Yes } else { Holds::No };
    // False once nothing that follows can change the result.
    let mut look = |found: Found<'_>| match (stance, truth(test, found, stance)) {
        (Stance::Permits, Truth::True) | (Stance::Forbids | Stance::Asks, Truth::False) => true,
        (Stance::Permits, Truth::False | Truth::Unknown) => {
            result = Holds::No;
            false
        }
        (Stance::Forbids | Stance::Asks, Truth::True) => {
            result = Holds::Yes;
            false
        }
        (Stance::Forbids | Stance::Asks, Truth::Unknown) => {
            result = Holds::InDoubt;
            true
        }
    };
    visit_arguments(path, test, args, &mut look);
    result
}

/// Shows `look` everything that the path leads to, and `Nothing` once for each end where there is nothing. It says whether
/// to go on.
fn visit_arguments(path: &ArgPath, test: &Test, args: Args<'_>, look: &mut impl FnMut(Found<'_>) -> bool) {
    let Some((first, rest)) = path.steps().split_first() else {
        look(Found::Object(args.all));
        return;
    };
    let is_of_list =
        matches!(test, Test::CountGt(_) | Test::CountLe(_)) || rest.first() == Some(&PathStep::Elements);
    let argument = |name: &str, value| match args.element {
        Some((list, element)) if list == name && !is_of_list => Found::from(element),
        Some(_) | None => Found::from(value),
    };
    match first {
        PathStep::Member(name) => {
            let found = args.all.get(name).map_or(Found::Nothing, |value| argument(name, value));
            visit(found, rest, look);
        }
        PathStep::AnyMember if !args.all.is_empty() => {
            let _ = args.all.iter().all(|(name, value)| visit(argument(name, value), rest, look));
        }
        PathStep::AnyMember | PathStep::Elements => {
            look(Found::Nothing);
        }
    }
}

fn visit(from: Found<'_>, steps: &[PathStep], look: &mut impl FnMut(Found<'_>) -> bool) -> bool {
    let Some((step, rest)) = steps.split_first() else { return look(from) };
    match (step, from) {
        (PathStep::Member(name), Found::Object(members)) => {
            visit(members.get(name).map_or(Found::Nothing, Found::from), rest, look)
        }
        (PathStep::AnyMember, Found::Object(members)) if !members.is_empty() => {
            members.values().all(|value| visit(value.into(), rest, look))
        }
        (PathStep::Elements, Found::Other(Value::Array(items))) if !items.is_empty() => {
            items.iter().all(|item| visit(item.into(), rest, look))
        }
        _ => look(Found::Nothing),
    }
}

fn truth(test: &Test, found: Found<'_>, stance: Stance) -> Truth {
    match (test, found) {
        (Test::Exists(wanted), Found::Nothing) => (!wanted).into(),
        (Test::Exists(wanted), _) => (*wanted).into(),
        (_, Found::Nothing) => Truth::Unknown,
        (Test::Eq(operand), _) => equals(operand, found),
        (Test::Ne(operand), _) => !equals(operand, found),
        (Test::In(operands), _) => any(operands.iter().map(|operand| equals(operand, found))),
        (Test::NotIn(operands), _) => !any(operands.iter().map(|operand| equals(operand, found))),
        (Test::Gt(_) | Test::Ge(_) | Test::Lt(_) | Test::Le(_), _) => ordered(test, found),
        (Test::Matches(pattern), _) => of_text(found, |text| pattern.matches(text)),
        (Test::NotMatches(pattern), _) => of_text(found, |text| !pattern.matches(text)),
        (Test::Regex(regex), _) => of_text(found, |text| regex.matches(text)),
        (Test::DomainIn(domains), _) => is_within(found, domains),
        (Test::DomainNotIn(domains), _) => !is_within(found, domains),
        (Test::CountGt(most), _) => count(found).map_or(Truth::Unknown, |count| (count > *most).into()),
        (Test::CountLe(most), _) => count(found).map_or(Truth::Unknown, |count| (count <= *most).into()),
        (Test::LengthGt(most), _) => length(found).map_or(Truth::Unknown, |length| (length > *most).into()),
        (Test::LengthLe(most), _) => length(found).map_or(Truth::Unknown, |length| (length <= *most).into()),
        (Test::KeysIn(names), _) => keys(found, stance, |key| names.contains(key)),
        (Test::KeysNotIn(names), _) => keys(found, stance, |key| !names.contains(key)),
    }
}

fn any(mut truths: impl Iterator<Item = Truth>) -> Truth {
    let mut unknown = false;
    let found = truths.any(|truth| {
        unknown |= truth == Truth::Unknown;
        truth == Truth::True
    });
    if unknown && !found { Truth::Unknown } else { found.into() }
}

fn all(truths: impl Iterator<Item = Truth>) -> Truth {
    !any(truths.map(|truth| !truth))
}

fn equals(operand: &Value, found: Found<'_>) -> Truth {
    match (operand, found) {
        (Value::Object(wanted), Found::Object(members)) => same_members(wanted, members),
        (_, Found::Other(value)) => same(operand, value),
        (_, Found::Object(_) | Found::Nothing) => Truth::Unknown,
    }
}

/// Values of two types cannot be compared, at any depth.
fn same(a: &Value, b: &Value) -> Truth {
    match (a, b) {
        (Value::Null, Value::Null) => Truth::True,
        (Value::Bool(a), Value::Bool(b)) => (a == b).into(),
        (Value::Number(a), Value::Number(b)) => (compare(a, b) == Ordering::Equal).into(),
        (Value::String(a), Value::String(b)) => (a == b).into(),
        (Value::Array(a), Value::Array(b)) if a.len() != b.len() => Truth::False,
        (Value::Array(a), Value::Array(b)) => all(a.iter().zip(b).map(|(a, b)| same(a, b))),
        (Value::Object(a), Value::Object(b)) => same_members(a, b),
        _ => Truth::Unknown,
    }
}

fn same_members(a: &Map<String, Value>, b: &Map<String, Value>) -> Truth {
    match a.len() == b.len() && a.keys().all(|name| b.contains_key(name)) {
        true => all(a.iter().filter_map(|(name, value)| Some(same(value, b.get(name)?)))),
        false => Truth::False,
    }
}

fn ordered(test: &Test, found: Found<'_>) -> Truth {
    let Found::Other(Value::Number(number)) = found else { return Truth::Unknown };
    match test {
        Test::Gt(bound) => compare(number, bound).is_gt().into(),
        Test::Ge(bound) => compare(number, bound).is_ge().into(),
        Test::Lt(bound) => compare(number, bound).is_lt().into(),
        Test::Le(bound) => compare(number, bound).is_le().into(),
        _ => Truth::Unknown,
    }
}

/// Numbers have the text of RFC 8785.
fn of_text(found: Found<'_>, fits: impl Fn(&str) -> bool) -> Truth {
    let text = match found {
        Found::Other(Value::String(text)) => Some(Cow::Borrowed(text.as_str())),
        Found::Other(number @ Value::Number(_)) => {
            canonical(number).ok().and_then(|bytes| String::from_utf8(bytes).ok()).map(Cow::Owned)
        }
        Found::Other(other) => scalar_text(other).map(Cow::Owned),
        Found::Object(_) | Found::Nothing => None,
    };
    text.map_or(Truth::Unknown, |text| fits(&text).into())
}

fn is_within(found: Found<'_>, domains: &[Domain]) -> Truth {
    let Found::Other(Value::String(text)) = found else { return Truth::Unknown };
    let domain = Domain::of_receiver(text);
    domain.map_or(Truth::Unknown, |domain| domains.iter().any(|known| domain.is_within(known)).into())
}

fn count(found: Found<'_>) -> Option<u64> {
    let count = match found {
        Found::Object(members) => members.len(),
        Found::Other(Value::Array(items)) => items.len(),
        Found::Other(_) | Found::Nothing => return None,
    };
    u64::try_from(count).ok()
}

fn length(found: Found<'_>) -> Option<u64> {
    let Found::Other(Value::String(text)) = found else { return None };
    u64::try_from(text.chars().count()).ok()
}

/// Whether members at any depth have names that fit: one of them where it forbids or asks, all of them (and there are
/// some) where it permits. No recursion: how deep the arguments go is the agent's choice.
fn keys(found: Found<'_>, stance: Stance, fits: impl Fn(&str) -> bool) -> Truth {
    if !matches!(found, Found::Object(_) | Found::Other(Value::Array(_))) {
        return Truth::Unknown;
    }
    let permits = stance == Stance::Permits;
    let mut seen = BTreeSet::new();
    let mut open = vec![found];
    while let Some(next) = open.pop() {
        match next {
            Found::Object(members) => {
                let mut new = members.keys().filter(|name| !seen.contains(name.as_str()));
                if new.any(|name| fits(&key_name(name)) != permits) {
                    return (!permits).into();
                }
                seen.extend(members.keys().map(String::as_str));
                open.extend(members.values().map(Found::from));
            }
            Found::Other(Value::Array(items)) => open.extend(items.iter().map(Found::from)),
            Found::Other(_) | Found::Nothing => {}
        }
    }
    (permits && !seen.is_empty()).into()
}
