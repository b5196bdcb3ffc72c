//! One value in a YAML file, and the readers that turn it into what it stands for.
//!
//! A reader that cannot gives None and leaves a finding at the exact place. `null` counts as absent for sections
//! and lists only: a single value without content is a mistake (an empty `action:` must not mean anything).

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::doc::Doc;
use super::finding::Severity;
use super::tree::{Key, Kind, Node};
use crate::base::secret::Secret;

/// A value and where it stands.
#[derive(Clone, Copy)]
pub(crate) struct At<'d> {
    pub(super) doc: &'d Doc<'d>,
    pub(super) node: &'d Node,
    pub(super) name: &'d str,
}

/// A section whose keys are known.
#[derive(Clone, Copy)]
pub(crate) struct Section<'d> {
    at: At<'d>,
    entries: &'d [(Key, Node)],
}

/// A key of a section in which the owner chooses the keys.
#[derive(Clone, Copy)]
pub(crate) struct Name<'d> {
    doc: &'d Doc<'d>,
    key: &'d Key,
}

impl<'d> At<'d> {
    /// The value that is the whole document.
    pub(crate) fn root(doc: &'d Doc<'d>) -> At<'d> {
        At { doc, node: &doc.root, name: "the file" }
    }

    /// Leaves an error here; an empty `help` is none.
    pub(crate) fn error(self, text: impl Into<String>, help: &str) {
        let help = (!help.is_empty()).then(|| help.to_owned());
        self.doc.note(self.node.id, Severity::Error, text.into(), help);
    }

    /// Leaves an error here and gives nothing.
    pub(crate) fn fail<T>(self, text: impl Into<String>, help: &str) -> Option<T> {
        self.error(text, help);
        None
    }

    /// Leaves a piece of advice here.
    pub(crate) fn warn(self, text: impl Into<String>, help: &str) {
        let help = (!help.is_empty()).then(|| help.to_owned());
        self.doc.note(self.node.id, Severity::Warning, text.into(), help);
    }

    /// Its key, or what it is.
    pub(crate) fn name(self) -> &'d str {
        self.name
    }

    /// The value as written (variables by their names), for a finding; cut when it is long.
    pub(crate) fn shown(self) -> String {
        let raw = match &self.node.kind {
            Kind::Text(text) => text.clone(),
            Kind::Bool(_) | Kind::Int(_) | Kind::Float => self.doc.raw(self.node.id).unwrap_or_default(),
            Kind::Null | Kind::List(_) | Kind::Map(_) => return self.node.kind.name().to_owned(),
        };
        let cut: String = raw.chars().take(60).collect();
        if cut.len() < raw.len() {
            format!("\"{}…\"", cut.escape_debug())
        } else {
            format!("\"{}\"", cut.escape_debug())
        }
    }

    fn unfit<T>(self, wanted: &str) -> Option<T> {
        match &self.node.kind {
            Kind::Null => self.fail(format!("{} has no value", self.name), ""),
            _ => self.fail(format!("{} must be {wanted}, not {}", self.name, self.shown()), ""),
        }
    }

    /// Its keys, which must be among `known`; nothing counts as no keys.
    pub(crate) fn section(self, known: &[&str]) -> Section<'d> {
        self.open().known(known)
    }

    /// Its keys, unchecked; whoever calls this calls [`Section::known`] later.
    pub(crate) fn open(self) -> Section<'d> {
        let entries = match &self.node.kind {
            Kind::Map(entries) => entries.as_slice(),
            Kind::Null => &[],
            _ => self.unfit("a section of keys").unwrap_or_default(),
        };
        Section { at: self, entries }
    }

    /// Its entries under keys of the owner's choice; nothing counts as none.
    pub(crate) fn entries(self) -> Vec<(Name<'d>, At<'d>)> {
        match &self.node.kind {
            Kind::Map(entries) => entries.iter().map(|(key, node)| self.entry(key, node)).collect(),
            Kind::Null => Vec::new(),
            _ => self.unfit("a section of keys").unwrap_or_default(),
        }
    }

    fn entry(self, key: &'d Key, node: &'d Node) -> (Name<'d>, At<'d>) {
        (Name { doc: self.doc, key }, At { node, name: &key.text, ..self })
    }

    /// The values of a list; nothing counts as none.
    pub(crate) fn items(self) -> Vec<At<'d>> {
        match &self.node.kind {
            Kind::List(items) => items.iter().map(|node| At { node, ..self }).collect(),
            Kind::Null => Vec::new(),
            _ => self.unfit("a list").unwrap_or_default(),
        }
    }

    /// Like [`At::items`]; a single value is a list of one.
    pub(crate) fn one_or_more(self) -> Vec<At<'d>> {
        match &self.node.kind {
            Kind::List(_) | Kind::Null => self.items(),
            _ => vec![self],
        }
    }

    /// Whether it is `null`, `~` or nothing.
    pub(crate) fn is_null(self) -> bool {
        matches!(self.node.kind, Kind::Null)
    }

    /// Whether it is a single value, neither a section nor a list nor nothing.
    pub(crate) fn is_single(self) -> bool {
        !matches!(self.node.kind, Kind::Null | Kind::List(_) | Kind::Map(_))
    }

    /// Whether a variable stands in it.
    pub(crate) fn has_variable(self) -> bool {
        matches!(&self.node.kind, Kind::Text(text) if text.contains("${"))
    }

    /// A single value as text; numbers and truth values as they are written.
    pub(crate) fn text(self) -> Option<String> {
        self.single("text")
    }

    fn single(self, wanted: &str) -> Option<String> {
        self.resolved(wanted).map(|(text, _)| text)
    }

    fn resolved(self, wanted: &str) -> Option<(String, Vec<String>)> {
        let raw = match &self.node.kind {
            Kind::Text(text) => text.clone(),
            Kind::Bool(_) | Kind::Int(_) | Kind::Float => self.doc.raw(self.node.id)?,
            Kind::Null | Kind::List(_) | Kind::Map(_) => return self.unfit(wanted),
        };
        let Some(vars) = self.doc.vars else { return Some((raw, Vec::new())) };
        match vars.resolve(&raw) {
            Ok(resolved) => Some((resolved.text, resolved.parts)),
            Err(why) => self.fail(why.text, &why.help),
        }
    }

    /// Text that is not empty.
    pub(crate) fn filled(self) -> Option<String> {
        let text = self.text()?;
        if text.trim().is_empty() { self.fail(format!("{} is empty", self.name), "") } else { Some(text) }
    }

    /// A credential: not empty, in one line. It and the variables in it are remembered for scrubbing.
    pub(crate) fn secret(self) -> Option<Secret> {
        let (text, parts) = self.resolved("text")?;
        if text.is_empty() {
            return self.fail(format!("{} is empty", self.name), "");
        }
        if text.contains(char::is_control) || text.trim() != text {
            let help = "check the variable or file it comes from";
            return self.fail(
                format!("{} holds line breaks, control characters or spaces around it", self.name),
                help,
            );
        }
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
        if let Kind::Bool(flag) = self.node.kind {
            return Some(flag);
        }
        match self.single("true or false")?.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => self.unfit("true or false"),
        }
    }

    /// A whole number within `range`.
    pub(crate) fn whole<T: TryFrom<i128> + PartialOrd + Display>(
        self,
        range: RangeInclusive<T>,
    ) -> Option<T> {
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let number = match self.node.kind {
            Kind::Int(number) => Some(number),
            _ => self.single(&wanted)?.trim().parse().ok(),
        };
        let fits = number.and_then(|n| T::try_from(n).ok()).filter(|n| range.contains(n));
        fits.or_else(|| self.unfit(&wanted))
    }

    /// Whole numbers: a list, one number, or a text such as `1, 2` or `[1, 2]` that came from a variable.
    pub(crate) fn whole_list(self, range: RangeInclusive<i64>) -> Option<Vec<i64>> {
        if !matches!(self.node.kind, Kind::Text(_)) {
            return self.one_or_more().into_iter().map(|item| item.whole(range.clone())).collect();
        }
        let text = self.text()?;
        let inner = text.trim().strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(&text);
        let words = inner.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty());
        let numbers =
            words.map(|w| w.parse().ok().filter(|n| range.contains(n))).collect::<Option<Vec<i64>>>();
        numbers.or_else(|| self.unfit(&format!("whole numbers from {} to {}", range.start(), range.end())))
    }

    /// Text that is a pattern.
    pub(crate) fn pattern(self) -> Option<String> {
        if let Kind::List(_) = self.node.kind {
            return self
                .fail(format!("{} must be text, not a list", self.name), "put quotes around patterns");
        }
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
    /// Refuses all keys but these.
    pub(crate) fn known(self, known: &[&str]) -> Section<'d> {
        for (key, _) in self.entries.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
            let unknown = Name { doc: self.at.doc, key };
            let help = format!("known here: {}", known.join(", "));
            unknown.error(format!("unknown key {}", unknown.shown()), &help);
        }
        self
    }

    /// The value of a key, when it is there.
    pub(crate) fn get(self, key: &str) -> Option<At<'d>> {
        let (key, node) = self.entries.iter().find(|(k, _)| k.text == key)?;
        Some(self.at.entry(key, node).1)
    }

    /// The value of a key that must be there.
    pub(crate) fn need(self, key: &str) -> Option<At<'d>> {
        // What is no section was refused as such already.
        let is_section = matches!(self.at.node.kind, Kind::Map(_) | Kind::Null);
        self.get(key)
            .or_else(|| if is_section { self.at.fail(format!("{key} is missing"), "") } else { None })
    }

    /// The key itself, when it is there.
    pub(crate) fn key(self, key: &str) -> Option<Name<'d>> {
        let (key, _) = self.entries.iter().find(|(k, _)| k.text == key)?;
        Some(Name { doc: self.at.doc, key })
    }

    /// The section as a value.
    pub(crate) fn at(self) -> At<'d> {
        self.at
    }
}

impl<'d> Name<'d> {
    /// The key.
    pub(crate) fn text(self) -> &'d str {
        &self.key.text
    }

    /// Leaves an error at the key; an empty `help` is none.
    pub(crate) fn error(self, text: impl Into<String>, help: &str) {
        let help = (!help.is_empty()).then(|| help.to_owned());
        self.doc.note(self.key.id, Severity::Error, text.into(), help);
    }

    /// Leaves a piece of advice at the key.
    pub(crate) fn warn(self, text: impl Into<String>, help: &str) {
        let help = (!help.is_empty()).then(|| help.to_owned());
        self.doc.note(self.key.id, Severity::Warning, text.into(), help);
    }

    fn shown(self) -> String {
        let cut: String = self.key.text.chars().take(60).collect();
        format!("\"{}\"", cut.escape_debug())
    }

    /// The key as a name of a tool, service or agent: 1 to 64 letters, digits and `_ - .`.
    pub(crate) fn plain(self, what: &str) -> Option<&'d str> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if (1..=64).contains(&self.key.text.len()) && self.key.text.chars().all(fits) {
            return Some(&self.key.text);
        }
        let help = "use 1 to 64 letters, digits, \"_\", \"-\" and \".\"";
        self.error(format!("{} is not a name for {what}", self.shown()), help);
        None
    }
}

/// `a, b or c`.
fn either(words: &[&str]) -> String {
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
