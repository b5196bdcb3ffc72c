//! One value in a YAML file, and the readers that turn it into what it stands for.
//!
//! A reader that fails returns None and leaves a finding at the exact place. `null` counts as absent for sections
//! and lists only: a single value without content is a mistake (an empty `action:` must not mean anything).

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::doc::Doc;
use super::finding::Severity;
use super::tree::{YamlKey, YamlKind, YamlNode};
use crate::base::decimal::Decimal;
use crate::base::readable::read_span;
use crate::base::secret::Secret;

/// The most characters of a value or a key that a finding shows.
const MAX_SHOWN: usize = 60;

/// A value and where it stands.
#[derive(Clone, Copy)]
pub(crate) struct At<'d> {
    pub(super) doc: &'d Doc<'d>,
    pub(super) node: &'d YamlNode,
    pub(super) name: &'d str,
}

#[derive(Clone, Copy)]
pub(crate) struct Section<'d> {
    at: At<'d>,
    entries: &'d [(YamlKey, YamlNode)],
}

#[derive(Clone, Copy)]
pub(crate) struct Name<'d> {
    doc: &'d Doc<'d>,
    key: &'d YamlKey,
}

impl<'d> At<'d> {
    /// The value that is the whole document.
    pub(crate) fn root(doc: &'d Doc<'d>) -> At<'d> {
        At { doc, node: &doc.root, name: "the file" }
    }

    /// Leaves an error here; an empty `help` is none.
    pub(crate) fn error(self, text: impl Into<String>, help: &str) {
        self.doc.note(self.node.id, Severity::Error, text.into(), help);
    }

    /// Leaves an error here and returns None.
    pub(crate) fn fail<T>(self, text: impl Into<String>, help: &str) -> Option<T> {
        self.error(text, help);
        None
    }

    /// Leaves an error here and returns None unless `fits`.
    pub(crate) fn ensure(self, fits: bool, text: impl Into<String>, help: &str) -> Option<()> {
        if fits { Some(()) } else { self.fail(text, help) }
    }

    /// Leaves a warning here.
    pub(crate) fn warn(self, text: impl Into<String>, help: &str) {
        self.doc.note(self.node.id, Severity::Warning, text.into(), help);
    }

    pub(crate) fn name(self) -> &'d str {
        self.name
    }

    /// The value as written (variables by their names), for a finding; cut when it is long.
    pub(crate) fn shown(self) -> String {
        match self.written() {
            Some(text) => shown(&text),
            None => self.node.kind.name().to_owned(),
        }
    }

    /// A single value as written.
    fn written(self) -> Option<String> {
        match &self.node.kind {
            YamlKind::Text(text) => Some(text.clone()),
            YamlKind::Bool(_) | YamlKind::Int(_) | YamlKind::Float => self.doc.raw(self.node.id),
            YamlKind::Null | YamlKind::List(_) | YamlKind::Map(_) => None,
        }
    }

    fn unfit<T>(self, wanted: &str) -> Option<T> {
        match &self.node.kind {
            YamlKind::Null => self.fail(format!("{} has no value", self.name), ""),
            _ => self.fail(format!("{} must be {wanted}, not {}", self.name, self.shown()), ""),
        }
    }

    /// Its keys, which must be among the words of `known`; nothing counts as no keys.
    pub(crate) fn section(self, known: &str) -> Section<'d> {
        self.open().known(known)
    }

    /// Its keys, unchecked; whoever calls this calls [`Section::known`] later.
    pub(crate) fn open(self) -> Section<'d> {
        let entries = match &self.node.kind {
            YamlKind::Map(entries) => entries.as_slice(),
            YamlKind::Null => &[],
            _ => self.unfit("a section of keys").unwrap_or_default(),
        };
        Section { at: self, entries }
    }

    /// Its entries under keys of the owner's choice; nothing counts as none.
    pub(crate) fn entries(self) -> Vec<(Name<'d>, At<'d>)> {
        self.open().entries.iter().map(|(key, node)| self.entry(key, node)).collect()
    }

    fn entry(self, key: &'d YamlKey, node: &'d YamlNode) -> (Name<'d>, At<'d>) {
        (Name { doc: self.doc, key }, At { node, name: &key.text, ..self })
    }

    /// The values of a list; nothing counts as none.
    pub(crate) fn items(self) -> Vec<At<'d>> {
        match &self.node.kind {
            YamlKind::List(items) => items.iter().map(|node| At { node, ..self }).collect(),
            YamlKind::Null => Vec::new(),
            _ => self.unfit("a list").unwrap_or_default(),
        }
    }

    /// Like [`At::items`]; a single value is a list of one.
    pub(crate) fn one_or_more(self) -> Vec<At<'d>> {
        match &self.node.kind {
            YamlKind::List(_) | YamlKind::Null => self.items(),
            _ => vec![self],
        }
    }

    pub(crate) fn is_null(self) -> bool {
        matches!(self.node.kind, YamlKind::Null)
    }

    /// Whether it is neither a section nor a list nor nothing.
    pub(crate) fn is_single(self) -> bool {
        !matches!(self.node.kind, YamlKind::Null | YamlKind::List(_) | YamlKind::Map(_))
    }

    /// Whether a variable stands in it.
    pub(crate) fn has_variable(self) -> bool {
        matches!(&self.node.kind, YamlKind::Text(text) if text.contains("${"))
    }

    /// A single value as text; numbers and truth values as they are written.
    pub(crate) fn text(self) -> Option<String> {
        self.single("text")
    }

    fn single(self, wanted: &str) -> Option<String> {
        self.resolved(wanted).map(|(text, _)| text)
    }

    /// The text, and the values of the variables in it.
    fn resolved(self, wanted: &str) -> Option<(String, Vec<String>)> {
        let raw = self.written().or_else(|| self.unfit(wanted))?;
        let Some(vars) = self.doc.vars else { return Some((raw, Vec::new())) };
        vars.resolve(&raw).map_or_else(|why| self.fail(why.text, &why.help), Some)
    }

    /// Text that is not empty.
    pub(crate) fn filled(self) -> Option<String> {
        let text = self.text()?;
        self.ensure(!text.trim().is_empty(), format!("{} is empty", self.name), "")?;
        Some(text)
    }

    /// A credential: not empty, in one line. It and the variables in it are remembered for scrubbing.
    pub(crate) fn secret(self) -> Option<Secret> {
        let (text, parts) = self.resolved("text")?;
        self.ensure(!text.is_empty(), format!("{} is empty", self.name), "")?;
        self.ensure(
            !text.contains(char::is_control) && text.trim() == text,
            format!("{} holds line breaks, control characters or spaces around it", self.name),
            "check the variable or file it comes from",
        )?;
        if parts.is_empty() {
            self.doc.literal_secret.set(true);
        }
        self.remember(&text, parts);
        Some(Secret::new(text))
    }

    /// A service that echoes `Token abc` may do so without the first word, or with the variable's value alone.
    fn remember(self, text: &str, mut parts: Vec<String>) {
        let last = text.rsplit_once(' ').map(|(_, word)| word.to_owned()).filter(|word| word.len() >= 8);
        parts.extend(last);
        parts.retain(|part| !part.is_empty() && part != text);
        parts.push(text.to_owned());
        parts.dedup();
        self.doc.secrets.borrow_mut().extend(parts.into_iter().map(Secret::new));
    }

    /// One of the words in `options`.
    pub(crate) fn choice<T: Clone>(self, options: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = options.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| value.clone()).or_else(|| {
            let words: Vec<&str> = options.iter().map(|(word, _)| *word).collect();
            self.fail(format!("unknown {} {}", self.name, self.shown()), &format!("use {}", either(&words)))
        })
    }

    /// `true` or `false`.
    pub(crate) fn flag(self) -> Option<bool> {
        if let YamlKind::Bool(flag) = self.node.kind {
            return Some(flag);
        }
        let wanted = "true or false";
        self.single(wanted)?.parse().ok().or_else(|| self.unfit(wanted))
    }

    /// A whole number within `range`.
    pub(crate) fn whole<T: TryFrom<i128> + PartialOrd + Display>(
        self,
        range: RangeInclusive<T>,
    ) -> Option<T> {
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let number = match self.node.kind {
            YamlKind::Int(number) => Some(number),
            _ => self.single(&wanted)?.trim().parse().ok(),
        };
        let fits = number.and_then(|n| T::try_from(n).ok()).filter(|n| range.contains(n));
        fits.or_else(|| self.unfit(&wanted))
    }

    /// A time such as `8h`, within a range of such texts.
    pub(crate) fn span(self, range: RangeInclusive<&str>) -> Option<Duration> {
        let wanted = format!("a time from {} to {}", range.start(), range.end());
        let fits = |time: &Duration| {
            read_span(range.start()).is_some_and(|least| *time >= least)
                && read_span(range.end()).is_some_and(|most| *time <= most)
        };
        read_span(&self.single(&wanted)?).filter(fits).or_else(|| self.unfit(&wanted))
    }

    /// A decimal number that is not negative.
    pub(crate) fn amount(self) -> Option<Decimal> {
        let wanted = "a number of at least 0";
        let number =
            self.single(wanted)?.trim().parse().ok().filter(|number: &Decimal| !number.is_negative());
        number.or_else(|| self.unfit(wanted))
    }

    /// Whole numbers: a list, one number, or a text such as `1, 2` or `[1, 2]` that came from a variable.
    pub(crate) fn whole_list(self, range: RangeInclusive<i64>) -> Option<Vec<i64>> {
        if !matches!(self.node.kind, YamlKind::Text(_)) {
            return self.one_or_more().into_iter().map(|item| item.whole(range.clone())).collect();
        }
        let text = self.text()?;
        let inner = text.trim().strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(&text);
        let words = inner.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty());
        let numbers = words.map(|w| w.parse().ok().filter(|n| range.contains(n))).collect::<Option<_>>();
        numbers.or_else(|| self.unfit(&format!("whole numbers from {} to {}", range.start(), range.end())))
    }

    pub(crate) fn pattern(self) -> Option<String> {
        let is_list = matches!(self.node.kind, YamlKind::List(_));
        let text = format!("{} must be text, not a list", self.name);
        self.ensure(!is_list, text, "put quotes around patterns")?;
        self.filled()
    }

    /// A time in seconds, with or without a fraction, within `range`.
    pub(crate) fn seconds(self, range: RangeInclusive<f64>) -> Option<Duration> {
        let wanted = format!("a number of seconds from {} to {}", range.start(), range.end());
        let number = self.single(&wanted)?.trim().parse::<f64>().ok().filter(|n| range.contains(n));
        let number = number.or_else(|| self.unfit(&wanted))?;
        Duration::try_from_secs_f64(number).ok()
    }
}

impl<'d> Section<'d> {
    /// Refuses all keys but the words of `known`.
    pub(crate) fn known(self, known: &str) -> Section<'d> {
        let is_known = |key: &YamlKey| known.split_whitespace().any(|word| word == key.text);
        for (key, _) in self.entries.iter().filter(|(key, _)| !is_known(key)) {
            let help = format!("known here: {}", known.split_whitespace().collect::<Vec<_>>().join(", "));
            Name { doc: self.at.doc, key }.error(format!("unknown key {}", shown(&key.text)), &help);
        }
        self
    }

    fn find(self, key: &str) -> Option<(Name<'d>, At<'d>)> {
        self.entries.iter().find(|(k, _)| k.text == key).map(|(key, node)| self.at.entry(key, node))
    }

    /// The value of a key, when it is there.
    pub(crate) fn get(self, key: &str) -> Option<At<'d>> {
        self.find(key).map(|(_, at)| at)
    }

    /// The key itself, when it is there.
    pub(crate) fn key(self, key: &str) -> Option<Name<'d>> {
        self.find(key).map(|(name, _)| name)
    }

    /// The value of a key that must be there.
    pub(crate) fn need(self, key: &str) -> Option<At<'d>> {
        // What is no section was refused as such already.
        let is_section = matches!(self.at.node.kind, YamlKind::Map(_) | YamlKind::Null);
        self.get(key)
            .or_else(|| if is_section { self.at.fail(format!("{key} is missing"), "") } else { None })
    }

    /// What `reader` makes of a key's value; None also when the key is not there.
    pub(crate) fn read<T>(self, key: &str, reader: impl FnOnce(At<'d>) -> Option<T>) -> Option<T> {
        self.get(key).and_then(reader)
    }

    /// What `reader` makes of the value of a key that must be there.
    pub(crate) fn require<T>(self, key: &str, reader: impl FnOnce(At<'d>) -> Option<T>) -> Option<T> {
        self.need(key).and_then(reader)
    }

    /// A whole number within `range`.
    pub(crate) fn whole<T: TryFrom<i128> + PartialOrd + Display>(
        self,
        key: &str,
        range: RangeInclusive<T>,
    ) -> Option<T> {
        self.read(key, |at| at.whole(range))
    }

    /// `true` or `false`; false when it is not there.
    pub(crate) fn flag(self, key: &str) -> bool {
        self.read(key, At::flag).unwrap_or(false)
    }

    /// The section below a key, with the words of `known` as its keys; empty when it is not there.
    pub(crate) fn below(self, key: &str, known: &str) -> Section<'d> {
        self.get(key).map_or(Section { entries: &[], ..self }, |at| at.section(known))
    }

    /// The entries below a key, under keys of the owner's choice.
    pub(crate) fn entries(self, key: &str) -> Vec<(Name<'d>, At<'d>)> {
        self.get(key).map(At::entries).unwrap_or_default()
    }

    pub(crate) fn at(self) -> At<'d> {
        self.at
    }
}

impl<'d> Name<'d> {
    pub(crate) fn text(self) -> &'d str {
        &self.key.text
    }

    /// Leaves an error at the key; an empty `help` is none.
    pub(crate) fn error(self, text: impl Into<String>, help: &str) {
        self.doc.note(self.key.id, Severity::Error, text.into(), help);
    }

    /// Leaves a warning at the key.
    pub(crate) fn warn(self, text: impl Into<String>, help: &str) {
        self.doc.note(self.key.id, Severity::Warning, text.into(), help);
    }

    /// The key as a name of a tool, service or agent: 1 to 64 letters, digits and `_ - .`.
    pub(crate) fn plain(self, what: &str) -> Option<&'d str> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if (1..=64).contains(&self.text().len()) && self.text().chars().all(fits) {
            return Some(self.text());
        }
        let help = "use 1 to 64 letters, digits, \"_\", \"-\" and \".\"";
        self.error(format!("{} is not a name for {what}", shown(self.text())), help);
        None
    }
}

/// A text in quotes, cut when it is long.
fn shown(text: &str) -> String {
    let cut: String = text.chars().take(MAX_SHOWN).collect();
    let mark = if cut.len() < text.len() { "…" } else { "" };
    format!("\"{}{mark}\"", cut.escape_debug())
}

/// `a, b or c`.
fn either(words: &[&str]) -> String {
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
