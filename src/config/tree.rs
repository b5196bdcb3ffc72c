//! YAML text to a tree that remembers where everything stood. The only file that touches `serde_yaml`.
//!
//! serde_yaml reports a place only when a visitor fails there. So every value and every key gets a number in the
//! order of reading, and [`place`] reads the text once more with a visitor that fails at that number. The place of
//! *any* finding is exact then, even when it is made long after reading (a rule that can never match).
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
pub(crate) struct YamlNode {
    /// For [`place`] and [`raw`].
    pub id: u32,
    pub kind: YamlKind,
}

#[derive(Debug)]
pub(crate) enum YamlKind {
    /// `null`, `~` or nothing.
    Null,
    Bool(bool),
    Int(i128),
    /// A number that is not whole.
    Float,
    Text(String),
    List(Vec<YamlNode>),
    /// In the order of the file.
    Map(Vec<(YamlKey, YamlNode)>),
}

impl YamlKind {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            YamlKind::Null => "nothing",
            YamlKind::Bool(_) => "true or false",
            YamlKind::Int(_) | YamlKind::Float => "a number",
            YamlKind::Text(_) => "text",
            YamlKind::List(_) => "a list",
            YamlKind::Map(_) => "a section of keys",
        }
    }
}

#[derive(Debug)]
pub(crate) struct YamlKey {
    pub id: u32,
    pub text: String,
}

/// Why a text is no usable YAML.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotYaml {
    pub text: String,
    /// Line and column from 1.
    pub place: Option<(u64, u64)>,
    /// Whether the parser itself gave up there.
    pub(crate) is_syntax: bool,
}

/// Reads one document; an empty text is [`YamlKind::Null`].
///
/// # Errors
/// With the exact place, when it is no YAML or one of the things refused in this file's head.
pub(crate) fn parse(text: &str) -> Result<YamlNode, NotYaml> {
    let pass = Pass::for_aim(Aim::Tree);
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let root = match documents.next() {
        Some(document) => Value(&pass).deserialize(document).map_err(|e| pass.explain(&e))?,
        None => YamlNode { id: 0, kind: YamlKind::Null },
    };
    match documents.next() {
        None => Ok(root),
        Some(second) => Err(second_document(second)),
    }
}

/// Line and column, from 1, of the value or key with this number.
pub(crate) fn place(text: &str, id: u32) -> Option<(u64, u64)> {
    reread(text, &Pass::for_aim(Aim::Place(id)))
}

/// The single value with this number exactly as written, where reading made a number or a truth value of it.
pub(crate) fn raw(text: &str, id: u32) -> Option<String> {
    let pass = Pass::for_aim(Aim::Raw(id));
    reread(text, &pass);
    pass.raw.into_inner()
}

fn reread(text: &str, pass: &Pass) -> Option<(u64, u64)> {
    let document = serde_yaml::Deserializer::from_str(text).next()?;
    Value(pass).deserialize(document).err().as_ref().and_then(position)
}

fn second_document(document: serde_yaml::Deserializer<'_>) -> NotYaml {
    let error = Value(&Pass::for_aim(Aim::Place(0))).deserialize(document).err();
    let place = error.as_ref().and_then(position);
    NotYaml { text: "more than one document in a file".into(), place, is_syntax: false }
}

fn position(e: &serde_yaml::Error) -> Option<(u64, u64)> {
    let at = e.location()?;
    Some((u64::try_from(at.line()).ok()?, u64::try_from(at.column()).ok()?))
}

/// What one pass over a text is for.
#[derive(Clone, Copy, PartialEq)]
enum Aim {
    Tree,
    Place(u32),
    Raw(u32),
}

struct Pass {
    aim: Aim,
    next: Cell<u32>,
    /// Why we refused the text; serde_yaml wraps the words in its own.
    refusal: RefCell<Option<String>>,
    raw: RefCell<Option<String>>,
}

impl Pass {
    fn for_aim(aim: Aim) -> Pass {
        Pass { aim, next: Cell::new(0), refusal: RefCell::default(), raw: RefCell::default() }
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
        *self.refusal.borrow_mut() = Some(text);
        E::custom("refused")
    }

    fn explain(&self, e: &serde_yaml::Error) -> NotYaml {
        let place = position(e);
        if let Some(text) = self.refusal.take() {
            return NotYaml { text, place, is_syntax: false };
        }
        // serde_yaml's own words without its places, which the finding shows by itself.
        let words = e.to_string();
        let first = words.split(" at line ").next().unwrap_or_default();
        NotYaml { text: format!("not valid YAML: {first}"), place, is_syntax: true }
    }
}

struct Value<'r>(&'r Pass);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = YamlNode;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<YamlNode, D::Error> {
        let id = self.0.number();
        if self.0.aim == Aim::Raw(id) {
            *self.0.raw.borrow_mut() = Some(String::deserialize(d)?);
            return Err(D::Error::custom("read"));
        }
        d.deserialize_any(ValueVisitor(self.0, id)).map(|kind| YamlNode { id, kind })
    }
}

struct ValueVisitor<'r>(&'r Pass, u32);

impl ValueVisitor<'_> {
    fn is<E: Error>(&self, kind: YamlKind) -> Result<YamlKind, E> {
        self.0.reached(self.1).map(|()| kind)
    }
}

impl<'de> Visitor<'de> for ValueVisitor<'_> {
    type Value = YamlKind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<YamlKind, E> {
        self.is(YamlKind::Null)
    }

    fn visit_none<E: Error>(self) -> Result<YamlKind, E> {
        self.is(YamlKind::Null)
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<YamlKind, E> {
        self.is(YamlKind::Bool(v))
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<YamlKind, E> {
        self.is(YamlKind::Int(v.into()))
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<YamlKind, E> {
        self.is(YamlKind::Int(v.into()))
    }

    fn visit_i128<E: Error>(self, v: i128) -> Result<YamlKind, E> {
        self.is(YamlKind::Int(v))
    }

    fn visit_u128<E: Error>(self, v: u128) -> Result<YamlKind, E> {
        self.is(i128::try_from(v).map_or(YamlKind::Float, YamlKind::Int))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<YamlKind, E> {
        self.is(YamlKind::Float)
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<YamlKind, E> {
        self.is(YamlKind::Text(v.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<YamlKind, A::Error> {
        self.0.reached(self.1)?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Value(self.0))? {
            items.push(item);
        }
        Ok(YamlKind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<YamlKind, A::Error> {
        self.0.reached(self.1)?;
        let (mut entries, mut seen) = (Vec::new(), HashSet::new());
        while let Some(key) = map.next_key_seed(KeyVisitor(self.0, &mut seen))? {
            entries.push((key, map.next_value_seed(Value(self.0))?));
        }
        Ok(YamlKind::Map(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<YamlKind, A::Error> {
        Err(self.0.refuse("tags (!…) are not used in these files".into()))
    }
}

/// Reads a key as text and refuses one that was there before.
struct KeyVisitor<'r>(&'r Pass, &'r mut HashSet<String>);

impl<'de> DeserializeSeed<'de> for KeyVisitor<'_> {
    type Value = YamlKey;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<YamlKey, D::Error> {
        // deserialize_str, and not _any: `404:` and `yes:` are keys as they are written.
        d.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeyVisitor<'_> {
    type Value = YamlKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<YamlKey, E> {
        let id = self.0.number();
        self.0.reached(id)?;
        if self.1.insert(text.to_owned()) {
            return Ok(YamlKey { id, text: text.to_owned() });
        }
        Err(self.0.refuse(format!("duplicate key {text:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value and key with its number and place, in the order of reading.
    fn walk(text: &str, node: &YamlNode, found: &mut Vec<(String, (u64, u64))>) {
        let mut seen = |id, what: &str| found.push((what.to_owned(), place(text, id).unwrap()));
        match &node.kind {
            YamlKind::Text(t) => seen(node.id, t),
            YamlKind::Null | YamlKind::Bool(_) | YamlKind::Int(_) | YamlKind::Float => {
                seen(node.id, &raw(text, node.id).unwrap_or_default());
            }
            YamlKind::List(items) => {
                seen(node.id, "[");
                items.iter().for_each(|item| walk(text, item, found));
            }
            YamlKind::Map(entries) => {
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
        assert!(matches!(parse("").unwrap().kind, YamlKind::Null));
        assert!(matches!(parse("# nothing\n").unwrap().kind, YamlKind::Null));
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
