//! Whether a value fits a schema that has been read.

use std::cell::Cell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::schema::JsonSchema;
use crate::base::json::length;

/// What one check may cost: a step for each schema that is applied, since references and alternatives can multiply, and for
/// each value and each 64 bytes of text that one looks at.
const MAX_STEPS: u32 = 200_000;
const MAX_DEPTH: u8 = 64;
const TOO_LONG: &str = "simpler: checking it takes too long";
/// Bytes of a schema's values that an answer repeats.
const SHOWN: usize = 120;

/// The first thing in a value that does not fit. The place is a path such as `edits[0].text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    Missing(String),
    Undeclared(String),
    /// A place, and what must stand there.
    Wrong(String, String),
}

impl Misfit {
    fn wrong<T>(must_be: impl Into<String>) -> Result<T, Misfit> {
        Err(Misfit::Wrong(String::new(), must_be.into()))
    }

    /// Seen from one step above.
    fn below(self, step: &str) -> Misfit {
        let below = |path: String| match path.as_str() {
            "" => step.to_owned(),
            other if other.starts_with('[') => format!("{step}{path}"),
            _ => format!("{step}.{path}"),
        };
        match self {
            Misfit::Missing(path) => Misfit::Missing(below(path)),
            Misfit::Undeclared(path) => Misfit::Undeclared(below(path)),
            Misfit::Wrong(path, must_be) => Misfit::Wrong(below(path), must_be),
        }
    }
}

impl JsonSchema {
    /// # Errors
    /// The first thing that does not fit.
    pub(crate) fn check(&self, value: &Value) -> Result<(), Misfit> {
        self.check_by(&self.root, value)
    }

    /// Whether a value of this member of the root may be null.
    pub(crate) fn takes_null(&self, member: &str) -> bool {
        let of = self.root.get("properties").and_then(|all| all.get(member));
        of.is_some_and(|part| self.check_by(part, &Value::Null).is_ok())
    }

    fn check_by(&self, part: &Value, value: &Value) -> Result<(), Misfit> {
        let check = Check { schema: self, left: Cell::new(MAX_STEPS) };
        let fits = check.schema(part, value, MAX_DEPTH);
        // Where a "not" was given up within, it would count as fulfilled.
        if check.left.get() == 0 { Misfit::wrong(TOO_LONG) } else { fits }
    }
}

struct Check<'s> {
    schema: &'s JsonSchema,
    left: Cell<u32>,
}

impl Check<'_> {
    fn schema(&self, schema: &Value, value: &Value, depth: u8) -> Result<(), Misfit> {
        let (left, depth) = (self.left.get().checked_sub(1), depth.checked_sub(1));
        let (Some(left), Some(depth)) = (left, depth) else {
            self.left.set(0);
            return Misfit::wrong(TOO_LONG);
        };
        self.left.set(left);
        let words = match schema {
            Value::Object(words) => words,
            Value::Bool(false) => return Misfit::wrong("absent"),
            _ => return Ok(()),
        };
        if let Some(name) = words.get("$ref").and_then(Value::as_str) {
            match self.schema.target(name) {
                Some(target) => self.schema(target, value, depth)?,
                None => return Misfit::wrong("what its schema does not say"),
            }
            if self.schema.is_draft7 {
                return Ok(());
            }
        }
        self.spend(words.get("enum").and_then(Value::as_array).map_or(0, Vec::len))?;
        general(words, value)?;
        match value {
            Value::Number(_) => number(words, value)?,
            Value::String(text) => self.text(words, text)?,
            Value::Array(items) => self.list(words, items, depth)?,
            Value::Object(members) => self.object(words, members, depth)?,
            Value::Null | Value::Bool(_) => {}
        }
        self.combined(words, value, depth)
    }

    /// Takes what looking at so many values, or at so much text, costs.
    fn spend(&self, cost: usize) -> Result<(), Misfit> {
        let left = u32::try_from(cost).ok().and_then(|cost| self.left.get().checked_sub(cost));
        self.left.set(left.unwrap_or(0));
        if left.is_some() { Ok(()) } else { Misfit::wrong(TOO_LONG) }
    }

    fn is(&self, schema: &Value, value: &Value, depth: u8) -> bool {
        self.schema(schema, value, depth).is_ok()
    }

    fn text(&self, words: &Map<String, Value>, text: &str) -> Result<(), Misfit> {
        self.spend(text.len() / 64)?;
        within(words, ("minLength", "maxLength"), text.chars().count(), "characters")?;
        let Some(source) = words.get("pattern").and_then(Value::as_str) else { return Ok(()) };
        match self.schema.patterns.get(source).is_some_and(|pattern| pattern.finds(text)) {
            true => Ok(()),
            false => Misfit::wrong(format!("text that matches {}", shown(&source.into()))),
        }
    }

    fn list(&self, words: &Map<String, Value>, items: &[Value], depth: u8) -> Result<(), Misfit> {
        within(words, ("minItems", "maxItems"), items.len(), "elements")?;
        if words.get("uniqueItems") == Some(&true.into()) {
            self.spend(items.iter().map(|item| 1 + length(item) / 64).sum())?;
            let mut seen = BTreeSet::new();
            if !items.iter().all(|item| seen.insert(item.to_string())) {
                return Misfit::wrong("a list without repetitions");
            }
        }
        let Some(each) = words.get("items") else { return Ok(()) };
        let mut all = items.iter().enumerate();
        all.try_for_each(|(n, item)| self.schema(each, item, depth).map_err(|it| it.below(&format!("[{n}]"))))
    }

    fn object(
        &self,
        words: &Map<String, Value>,
        members: &Map<String, Value>,
        depth: u8,
    ) -> Result<(), Misfit> {
        within(words, ("minProperties", "maxProperties"), members.len(), "members")?;
        self.spend(members.len())?;
        let required = words.get("required").and_then(Value::as_array).into_iter().flatten();
        if let Some(name) = required.filter_map(Value::as_str).find(|name| !members.contains_key(*name)) {
            return Err(Misfit::Missing(name.to_owned()));
        }
        let declared = words.get("properties").and_then(Value::as_object);
        let (others, names) = (words.get("additionalProperties"), words.get("propertyNames"));
        for (name, value) in members {
            let schema = declared.and_then(|all| all.get(name)).or(others);
            if schema == Some(&Value::Bool(false)) {
                return Err(Misfit::Undeclared(name.clone()));
            }
            if let Some(schema) = schema {
                self.schema(schema, value, depth).map_err(|it| it.below(name))?;
            }
            if let Some(names) = names {
                self.schema(names, &Value::from(name.as_str()), depth).map_err(|it| it.below(name))?;
            }
        }
        Ok(())
    }

    fn combined(&self, words: &Map<String, Value>, value: &Value, depth: u8) -> Result<(), Misfit> {
        let list = |word: &str| words.get(word).and_then(Value::as_array);
        list("allOf").into_iter().flatten().try_for_each(|schema| self.schema(schema, value, depth))?;
        if let Some([first, rest @ ..]) = list("anyOf").map(Vec::as_slice)
            && let Err(why) = self.schema(first, value, depth)
            && !rest.iter().any(|schema| self.is(schema, value, depth))
        {
            return if rest.is_empty() { Err(why) } else { Misfit::wrong(one_of(first, rest)) };
        }
        if let Some(all) = list("oneOf")
            && all.iter().filter(|schema| self.is(schema, value, depth)).take(2).count() != 1
        {
            return Misfit::wrong("what exactly one of its schemas describes");
        }
        if words.get("not").is_some_and(|schema| self.is(schema, value, depth)) {
            return Misfit::wrong("something else");
        }
        let Some(condition) = words.get("if") else { return Ok(()) };
        let then = words.get(if self.is(condition, value, depth) { "then" } else { "else" });
        then.map_or(Ok(()), |schema| self.schema(schema, value, depth))
    }
}

fn one_of(first: &Value, rest: &[Value]) -> String {
    let types = [first].into_iter().chain(rest).map(|schema| schema.get("type")?.as_str());
    match types.collect::<Option<Vec<_>>>() {
        Some(types) => format!("of type {}", types.join(" or ")),
        None => "what one of its schemas describes".to_owned(),
    }
}

fn general(words: &Map<String, Value>, value: &Value) -> Result<(), Misfit> {
    if let Some(wanted) = words.get("type") {
        let names: Vec<&str> = match wanted {
            Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        if !names.iter().any(|name| is_of(name, value)) {
            return Misfit::wrong(format!("of type {}", names.join(" or ")));
        }
    }
    if words.get("const").is_some_and(|wanted| wanted != value) {
        return Misfit::wrong(words.get("const").map(shown).unwrap_or_default());
    }
    match words.get("enum").and_then(Value::as_array) {
        Some(all) if !all.contains(value) => {
            let listed = shown(&Value::from(all.clone()));
            Misfit::wrong(format!("one of {}", listed.trim_matches(['[', ']'])))
        }
        _ => Ok(()),
    }
}

fn is_of(name: &str, value: &Value) -> bool {
    match (name, value) {
        ("null", Value::Null)
        | ("boolean", Value::Bool(_))
        | ("string", Value::String(_))
        | ("array", Value::Array(_))
        | ("object", Value::Object(_))
        | ("number", Value::Number(_)) => true,
        ("integer", Value::Number(number)) => {
            !number.is_f64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        _ => false,
    }
}

fn number(words: &Map<String, Value>, value: &Value) -> Result<(), Misfit> {
    type Fits = fn(f64, f64) -> bool;
    let rules: [(&str, &str, Fits); 5] = [
        ("minimum", "at least", |value, bound| value >= bound),
        ("maximum", "at most", |value, bound| value <= bound),
        ("exclusiveMinimum", "above", |value, bound| value > bound),
        ("exclusiveMaximum", "below", |value, bound| value < bound),
        ("multipleOf", "a multiple of", |value, step| (value / step).fract() == 0.0),
    ];
    let Some(given) = value.as_f64() else { return Ok(()) };
    for (word, text, fits) in rules {
        let bound = words.get(word).and_then(|bound| Some((bound, bound.as_f64()?)));
        if let Some((shown, _)) = bound.filter(|(_, bound)| !fits(given, *bound)) {
            return Misfit::wrong(format!("{text} {shown}"));
        }
    }
    Ok(())
}

fn within(
    words: &Map<String, Value>,
    (least, most): (&str, &str),
    count: usize,
    what: &str,
) -> Result<(), Misfit> {
    let bound =
        |word: &str| words.get(word).and_then(Value::as_u64).and_then(|bound| usize::try_from(bound).ok());
    match (bound(least), bound(most)) {
        (Some(least), _) if count < least => Misfit::wrong(format!("of at least {least} {what}")),
        (_, Some(most)) if count > most => Misfit::wrong(format!("of at most {most} {what}")),
        _ => Ok(()),
    }
}

/// A value of the schema's, cut when it is long.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
