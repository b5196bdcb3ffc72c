//! `when:` of a rule: what it asks of the arguments.

use std::collections::BTreeSet;

use serde_json::{Number, Value};

use super::at::{At, Name};
use super::constant;
use super::flows::domains;
use crate::base::glob::Pattern;
use crate::base::whole_regex::WholeRegex;
use crate::model::condition::key_name;
use crate::model::{ArgPath, Condition, Test};

/// The operators of a condition.
const OPERATORS: &str = "eq ne in not_in gt ge lt le matches not_matches regex domain_in domain_not_in count_gt \
                         count_le length_gt length_le keys_in keys_not_in exists";

/// More elements, members or characters than any call can have.
const MOST: u64 = 1_000_000_000;

/// Reads paths, each with its operators. All of them must hold.
pub(crate) fn read(at: At<'_>) -> Vec<Condition> {
    let paths = at.entries();
    at.ensure(
        !paths.is_empty(),
        "when is empty",
        "remove when, or write an argument: when: {amount: {gt: 100}}",
    );
    paths.into_iter().flat_map(|(name, at)| conditions(name, at)).collect()
}

fn conditions(name: Name<'_>, at: At<'_>) -> Vec<Condition> {
    let path = match ArgPath::parse(name.text()) {
        Ok(path) => Some(path),
        Err(why) => {
            name.error(why, "write a path such as amount, target.id or items[].id");
            None
        }
    };
    if at.is_single() {
        let text = format!("{} needs an operator", name.text());
        at.error(text, &format!("write {}: {{eq: {}}}", name.text(), at.shown()));
        return Vec::new();
    }
    let section = at.section(OPERATORS);
    let tests: Vec<Test> = OPERATORS
        .split_whitespace()
        .filter_map(|operator| section.read(operator, |at| test(operator, at)))
        .collect();
    if at.entries().is_empty() {
        at.error(format!("{} asks for nothing", name.text()), "add an operator, such as {eq: open}");
    }
    let Some(path) = path else { return Vec::new() };
    tests.into_iter().map(|test| Condition { path: path.clone(), test }).collect()
}

fn test(operator: &str, at: At<'_>) -> Option<Test> {
    Some(match operator {
        "eq" => Test::Eq(value(at)?),
        "ne" => Test::Ne(value(at)?),
        "in" => Test::In(values(at)?),
        "not_in" => Test::NotIn(values(at)?),
        "gt" => Test::Gt(number(at)?),
        "ge" => Test::Ge(number(at)?),
        "lt" => Test::Lt(number(at)?),
        "le" => Test::Le(number(at)?),
        "matches" => Test::Matches(Pattern::new(&at.pattern()?)),
        "not_matches" => Test::NotMatches(Pattern::new(&at.pattern()?)),
        "regex" => Test::Regex(regex(at)?),
        "domain_in" => Test::DomainIn(domains(at)),
        "domain_not_in" => Test::DomainNotIn(domains(at)),
        "count_gt" => Test::CountGt(at.whole(0..=MOST)?),
        "count_le" => Test::CountLe(at.whole(0..=MOST)?),
        "length_gt" => Test::LengthGt(at.whole(0..=MOST)?),
        "length_le" => Test::LengthLe(at.whole(0..=MOST)?),
        "keys_in" => Test::KeysIn(names(at)?),
        "keys_not_in" => Test::KeysNotIn(names(at)?),
        _ => Test::Exists(at.flag()?),
    })
}

fn value(at: At<'_>) -> Option<Value> {
    let value = constant::json(at)?;
    at.ensure(!value.is_null(), format!("{} has no value", at.name()), "use exists: false")?;
    Some(value)
}

fn values(at: At<'_>) -> Option<Vec<Value>> {
    let items = at.one_or_more();
    at.ensure(!items.is_empty(), format!("{} is empty", at.name()), &format!("remove {}", at.name()))?;
    items.into_iter().map(value).collect()
}

fn number(at: At<'_>) -> Option<Number> {
    let wanted = || format!("{} must be a number, not {}", at.name(), at.shown());
    at.ensure(at.is_single(), wanted(), "")?;
    match constant::json(at)? {
        Value::Number(number) => Some(number),
        _ => at.fail(wanted(), "texts that look like numbers are not compared as numbers"),
    }
}

fn regex(at: At<'_>) -> Option<WholeRegex> {
    let pattern = WholeRegex::new(&at.filled()?);
    pattern.map_or_else(|why| at.fail(format!("regex is not a usable pattern: {why}"), ""), Some)
}

fn names(at: At<'_>) -> Option<BTreeSet<String>> {
    let items = at.one_or_more();
    at.ensure(!items.is_empty(), format!("{} is empty", at.name()), &format!("remove {}", at.name()))?;
    items.into_iter().map(|item| item.filled().map(|name| key_name(&name))).collect()
}
