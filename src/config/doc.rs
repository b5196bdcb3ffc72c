//! One YAML file while it is being read: its tree, its findings, the secrets that were met in it.
//!
//! Readers go on after a mistake and put a default in its place, so that one run finds all of them; whoever holds
//! the [`Doc`] refuses the result when [`Doc::finish`] gives back an error.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

use super::finding::{Finding, Severity};
use super::source::{self, Unreadable};
use super::tree::{self, NotYaml};
use super::variables::Variables;
use crate::base::secret::Secret;

/// More findings than this in one file help nobody (and each costs one more reading of the file).
const MAX_FINDINGS: usize = 20;

/// A file that is valid YAML.
pub(crate) struct Doc<'a> {
    path: PathBuf,
    text: String,
    pub(super) root: tree::YamlNode,
    doing: &'static str,
    /// None: `${` has no meaning in this file.
    pub vars: Option<&'a Variables<'a>>,
    notes: RefCell<Vec<RawFinding>>,
    /// Every secret value that was read.
    pub secrets: RefCell<Vec<Secret>>,
    /// Whether a secret stands in the file itself.
    pub(crate) literal_secret: Cell<bool>,
}

/// A finding by number; it becomes a place at the end.
struct RawFinding {
    id: u32,
    severity: Severity,
    text: String,
    help: Option<String>,
}

/// A file that a gateway needs and that cannot be read.
fn unreadable(path: &Path, doing: &'static str, e: &Unreadable) -> Finding {
    let finding = Finding::whole(doing, path, e.to_string());
    if e.is_missing() {
        finding.help("`agentpass init` writes a configuration to start from")
    } else {
        finding
    }
}

impl<'a> Doc<'a> {
    /// Reads and parses a file.
    ///
    /// # Errors
    /// With the one finding that keeps it from being looked at any closer.
    pub(crate) fn open(
        path: &Path,
        doing: &'static str,
        vars: Option<&'a Variables<'a>>,
    ) -> Result<Doc<'a>, Finding> {
        let mut text = source::read_text(path).map_err(|e| unreadable(path, doing, &e))?;
        if text.starts_with('\u{feff}') {
            // The parser would count a byte order mark as a column.
            text.remove(0);
        }
        if let Some(found) = hidden_line_end(&text) {
            return Err(hidden(path, doing, found));
        }
        let root = tree::parse(&text).map_err(|e| broken(path, doing, &text, e))?;
        let path = path.to_owned();
        let (notes, secrets) = (RefCell::default(), RefCell::default());
        Ok(Doc { path, text, root, doing, vars, notes, secrets, literal_secret: Cell::new(false) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that relative paths in the file start from.
    pub(crate) fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// A single value as written, which the tree holds as a number or a truth value.
    pub(crate) fn raw(&self, id: u32) -> Option<String> {
        tree::raw(&self.text, id)
    }

    /// Notes a finding at a value or key; an empty `help` is none.
    pub(crate) fn note(&self, id: u32, severity: Severity, text: String, help: &str) {
        let help = (!help.is_empty()).then(|| help.to_owned());
        self.notes.borrow_mut().push(RawFinding { id, severity, text, help });
    }

    /// Whether a mistake was found so far.
    pub(crate) fn has_errors(&self) -> bool {
        self.notes.borrow().iter().any(|note| note.severity == Severity::Error)
    }

    /// Errors before warnings, each in the order of the file.
    pub(crate) fn finish(&self) -> Vec<Finding> {
        let mut notes = self.notes.take();
        notes.sort_by_key(|n| (n.severity != Severity::Error, n.id));
        // A value may be read more than once: for its meaning, and for the digest of what the owner wrote.
        notes.dedup_by(|one, other| one.id == other.id && one.text == other.text);
        let more = notes.len().saturating_sub(MAX_FINDINGS);
        let mut findings: Vec<Finding> =
            notes.into_iter().take(MAX_FINDINGS).map(|n| self.found(n)).collect();
        if more > 0 {
            let rest =
                Finding::whole(self.doing, &self.path, format!("and {more} more findings in this file"));
            findings.push(Finding { severity: Severity::Warning, ..rest });
        }
        if self.literal_secret.get() && source::is_world_readable(&self.path) {
            findings.push(source::world_readable(&self.path));
        }
        findings
    }

    fn found(&self, note: RawFinding) -> Finding {
        Finding {
            severity: note.severity,
            doing: self.doing,
            text: note.text,
            file: self.path.clone(),
            place: tree::place(&self.text, note.id),
            help: note.help,
        }
    }
}

/// The first of U+0085, U+2028, U+2029 and a carriage return that no line feed follows. A line of YAML ends there (and
/// a comment with it) while an editor shows the same line going on: what looks like the rest of a comment is read as
/// rules, or rules as the rest of a comment.
fn hidden_line_end(text: &str) -> Option<(char, u64, u64)> {
    let (mut line, mut column) = (1, 1);
    let mut chars = text.chars().peekable();
    while let Some(found) = chars.next() {
        match found {
            '\u{85}' | '\u{2028}' | '\u{2029}' => return Some((found, line, column)),
            '\r' if chars.peek() != Some(&'\n') => return Some((found, line, column)),
            '\n' => (line, column) = (line + 1, 1),
            _ => column += 1,
        }
    }
    None
}

fn hidden(path: &Path, doing: &'static str, (found, line, column): (char, u64, u64)) -> Finding {
    let code = u32::from(found);
    let text = format!("U+{code:04X} ends a line of YAML here, which most editors do not show");
    let help = match found {
        '\r' => "end lines with a line feed; inside double quotes write \"\\r\"".to_owned(),
        _ => format!("remove it; inside double quotes write \"\\u{code:04X}\""),
    };
    Finding { place: Some((line, column)), ..Finding::whole(doing, path, text).help(help) }
}

fn broken(path: &Path, doing: &'static str, text: &str, e: NotYaml) -> Finding {
    let line = e.place.and_then(|(line, _)| text.lines().nth(usize::try_from(line).ok()?.checked_sub(1)?));
    let help = line.filter(|_| e.is_syntax).and_then(yaml_trap).map(str::to_owned);
    Finding { place: e.place, help, ..Finding::whole(doing, path, e.text) }
}

/// The usual traps of YAML, recognised by the line at which the parser gave up.
fn yaml_trap(line: &str) -> Option<&'static str> {
    let value = line.split_once(": ").map_or(line, |(_, value)| value).trim_start_matches(['-', ' ']);
    if line.trim_start_matches(' ').starts_with('\t') {
        Some("indent with spaces, not tabs")
    } else if line.contains("${") {
        Some("put quotes around variables: \"${NAME}\"")
    } else if value.starts_with('*') || (value.starts_with('[') && line.contains("pattern:")) {
        Some("put quotes around patterns: pattern: \"*\"")
    } else if value.starts_with(['&', '%', '@', '`', '!']) {
        Some("put quotes around text that begins with a special character")
    } else {
        None
    }
}
