//! YAML text to a tree that remembers where everything stood. The only file that touches `serde_yaml`.
//!
//! serde_yaml tells a place only when a visitor fails there. So every value and every key gets a number in the
//! order of reading, and [`place`] reads the text once more with a visitor that fails at that number. That makes
//! the place of *any* finding exact, also of those made long after reading (a rule that can never match).
//!
//! Refused here, at every level: duplicate keys, tags (`!x`), a second document, more than [`MAX_VALUES`] values.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Visitor};

/// Values and keys in one file, aliases counted each time they are used: a bound on YAML bombs.
const MAX_VALUES: u32 = 1_000_000;

/// A value and its number.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its number, for [`place`] and [`raw`].
    pub id: u32,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Debug)]
pub(crate) enum Kind {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float,
    /// Text, quoted or not.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys with their values, in the order of the file.
    Map(Vec<(Key, Node)>),
}

impl Kind {
    /// For people.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Kind::Null => "nothing",
            Kind::Bool(_) => "true or false",
            Kind::Int(_) | Kind::Float => "a number",
            Kind::Text(_) => "text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a section of keys",
        }
    }
}

/// The key of a map.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its number.
    pub id: u32,
    /// The key as written.
    pub text: String,
}

/// Why a text is no usable YAML.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotYaml {
    /// What is wrong.
    pub text: String,
    /// Line and column from 1.
    pub place: Option<(u64, u64)>,
    /// Whether the parser itself gave up there.
    pub(crate) is_syntax: bool,
}

/// Reads one document; an empty text is [`Kind::Null`].
///
/// # Errors
/// With the exact place, when it is no YAML or one of the things refused in this file's head.
pub(crate) fn parse(text: &str) -> Result<Node, NotYaml> {
    let reading = Reading::for_aim(Aim::Tree);
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let root = match documents.next() {
        Some(document) => Value(&reading).deserialize(document).map_err(|e| reading.explain(&e))?,
        None => Node { id: 0, kind: Kind::Null },
    };
    match documents.next() {
        None => Ok(root),
        Some(second) => Err(second_document(second)),
    }
}

/// Line and column, from 1, of the value or key with this number.
pub(crate) fn place(text: &str, id: u32) -> Option<(u64, u64)> {
    reread(text, &Reading::for_aim(Aim::Place(id)))
}

/// The single value with this number exactly as written, where reading made a number or a truth value of it.
pub(crate) fn raw(text: &str, id: u32) -> Option<String> {
    let reading = Reading::for_aim(Aim::Raw(id));
    reread(text, &reading);
    reading.raw.into_inner()
}

fn reread(text: &str, reading: &Reading) -> Option<(u64, u64)> {
    let document = serde_yaml::Deserializer::from_str(text).next()?;
    Value(reading).deserialize(document).err().as_ref().and_then(position)
}

fn second_document(document: serde_yaml::Deserializer<'_>) -> NotYaml {
    let error = Value(&Reading::for_aim(Aim::Place(0))).deserialize(document).err();
    let place = error.as_ref().and_then(position);
    NotYaml { text: "more than one document in a file".into(), place, is_syntax: false }
}

fn position(e: &serde_yaml::Error) -> Option<(u64, u64)> {
    let at = e.location()?;
    Some((u64::try_from(at.line()).ok()?, u64::try_from(at.column()).ok()?))
}

/// What one reading of a text is for.
#[derive(Clone, Copy, PartialEq)]
enum Aim {
    Tree,
    Place(u32),
    Raw(u32),
}

struct Reading {
    aim: Aim,
    next: Cell<u32>,
    /// Our own words of refusal; serde_yaml wraps them in its own.
    said: RefCell<Option<String>>,
    raw: RefCell<Option<String>>,
}

impl Reading {
    fn for_aim(aim: Aim) -> Reading {
        Reading { aim, next: Cell::new(0), said: RefCell::new(None), raw: RefCell::new(None) }
    }

    fn number(&self) -> u32 {
        let id = self.next.get();
        self.next.set(id.saturating_add(1));
        id
    }

    /// Called inside a visitor, so that an error gets the place of what is visited.
    fn reached<E: Error>(&self, id: u32) -> Result<(), E> {
        match self.aim {
            Aim::Place(aim) if aim == id => Err(E::custom("here")),
            Aim::Tree if id >= MAX_VALUES => Err(self.refuse(format!("more than {MAX_VALUES} values"))),
            Aim::Tree | Aim::Place(_) | Aim::Raw(_) => Ok(()),
        }
    }

    fn refuse<E: Error>(&self, text: String) -> E {
        *self.said.borrow_mut() = Some(text);
        E::custom("refused")
    }

    fn explain(&self, e: &serde_yaml::Error) -> NotYaml {
        let place = position(e);
        if let Some(text) = self.said.take() {
            return NotYaml { text, place, is_syntax: false };
        }
        // serde_yaml's own words without its places, which the finding shows by itself.
        let words = e.to_string();
        let first = words.split(" at line ").next().unwrap_or_default();
        NotYaml { text: format!("not valid YAML: {first}"), place, is_syntax: true }
    }
}

/// Reads any value.
struct Value<'r>(&'r Reading);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Node;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Node, D::Error> {
        let id = self.0.number();
        if self.0.aim == Aim::Raw(id) {
            *self.0.raw.borrow_mut() = Some(String::deserialize(d)?);
            return Err(D::Error::custom("read"));
        }
        d.deserialize_any(Visit(self.0, id)).map(|kind| Node { id, kind })
    }
}

struct Visit<'r>(&'r Reading, u32);

impl Visit<'_> {
    fn is<E: Error>(&self, kind: Kind) -> Result<Kind, E> {
        self.0.reached(self.1).map(|()| kind)
    }
}

impl<'de> Visitor<'de> for Visit<'_> {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Kind, E> {
        self.is(Kind::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Kind, E> {
        self.is(Kind::Null)
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<Kind, E> {
        self.is(Kind::Bool(v))
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Kind, E> {
        self.is(Kind::Int(v.into()))
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<Kind, E> {
        self.is(Kind::Int(v.into()))
    }

    fn visit_i128<E: Error>(self, v: i128) -> Result<Kind, E> {
        self.is(Kind::Int(v))
    }

    fn visit_u128<E: Error>(self, v: u128) -> Result<Kind, E> {
        self.is(i128::try_from(v).map_or(Kind::Float, Kind::Int))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Kind, E> {
        self.is(Kind::Float)
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<Kind, E> {
        self.is(Kind::Text(v.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Kind, A::Error> {
        self.0.reached(self.1)?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Value(self.0))? {
            items.push(item);
        }
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        self.0.reached(self.1)?;
        let (mut entries, mut seen) = (Vec::new(), HashSet::new());
        while let Some(key) = map.next_key_seed(KeyVisit(self.0, &mut seen))? {
            entries.push((key, map.next_value_seed(Value(self.0))?));
        }
        Ok(Kind::Map(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Kind, A::Error> {
        Err(self.0.refuse("tags (!…) are not used in these files".into()))
    }
}

/// Reads a key as text and refuses one that was there before.
struct KeyVisit<'r>(&'r Reading, &'r mut HashSet<String>);

impl<'de> DeserializeSeed<'de> for KeyVisit<'_> {
    type Value = Key;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Key, D::Error> {
        // deserialize_str, and not _any: `404:` and `yes:` are keys as they are written.
        d.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeyVisit<'_> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Key, E> {
        let id = self.0.number();
        self.0.reached(id)?;
        if self.1.insert(text.to_owned()) {
            return Ok(Key { id, text: text.to_owned() });
        }
        Err(self.0.refuse(format!("duplicate key {text:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value and key with its number and place, in the order of reading.
    fn walk(text: &str, node: &Node, found: &mut Vec<(String, (u64, u64))>) {
        let mut seen = |id, what: &str| found.push((what.to_owned(), place(text, id).unwrap()));
        match &node.kind {
            Kind::Text(t) => seen(node.id, t),
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float => {
                seen(node.id, &raw(text, node.id).unwrap_or_default());
            }
            Kind::List(items) => {
                seen(node.id, "[");
                items.iter().for_each(|item| walk(text, item, found));
            }
            Kind::Map(entries) => {
                seen(node.id, "{");
                for (key, value) in entries {
                    found.push((format!("{}:", key.text), place(text, key.id).unwrap()));
                    walk(text, value, found);
                }
            }
        }
    }

    fn walked(text: &str) -> Vec<(String, (u64, u64))> {
        let mut found = Vec::new();
        walk(text, &parse(text).unwrap(), &mut found);
        found
    }

    #[test]
    fn everything_has_its_place() {
        let text = "a: &x\n  - 0x10\n  - 'é'\n  - t\n404: {b: 1e3, yes: true}\n# c\nlast: *x\n";
        let expected = [
            ("{", (1, 1)),
            ("a:", (1, 1)),
            ("[", (1, 4)),
            ("0x10", (2, 5)),
            ("é", (3, 5)),
            ("t", (4, 5)),
            ("404:", (5, 1)),
            ("{", (5, 6)),
            ("b:", (5, 7)),
            ("1e3", (5, 10)),
            ("yes:", (5, 15)),
            ("true", (5, 20)),
            ("last:", (7, 1)),
        ];
        let found = walked(text);
        let (before, aliased) = found.split_at(expected.len());
        assert_eq!(before, expected.map(|(what, at)| (what.to_owned(), at)));
        assert_eq!(
            aliased.iter().map(|(what, _)| what.as_str()).collect::<Vec<_>>(),
            ["[", "0x10", "é", "t"]
        );
    }

    #[test]
    fn carriage_returns_and_empty_texts_do_no_harm() {
        assert_eq!(walked("a: 1\r\nb: 2\r\n")[3], ("b:".to_owned(), (2, 1)));
        assert!(matches!(parse("").unwrap().kind, Kind::Null));
        assert!(matches!(parse("# nothing\n").unwrap().kind, Kind::Null));
    }

    #[test]
    fn refusals_have_words_and_places() {
        for (text, words, at) in [
            ("a: 1\n'a': 2\n", "duplicate key \"a\"", (2, 1)),
            ("a:\n  b: {c: 1, \"\\x63\": 2}\n", "duplicate key \"c\"", (2, 13)),
            ("a: !x 1\n", "tags (!…) are not used in these files", (1, 4)),
            ("a: 1\n---\nb: 1\n", "more than one document in a file", (3, 1)),
        ] {
            let refused = parse(text).unwrap_err();
            assert_eq!((refused.text.as_str(), refused.place), (words, Some(at)), "{text}");
        }
        assert!(parse("? [a]\n: 1\n").unwrap_err().text.contains("a key"));
    }
}
