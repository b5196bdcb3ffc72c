//! What is wrong, where, and what to do about it. Never holds the value of a secret or of a variable.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Whether the gateway can start with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but the owner should know.
    Warning,
}

/// One mistake or one piece of advice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Error or warning.
    pub severity: Severity,
    /// What could not be done: "cannot load permissions".
    pub doing: &'static str,
    /// What is wrong, in lower case.
    pub text: String,
    pub file: PathBuf,
    /// Line and column, both from 1, the column in characters; None: the file as a whole.
    pub place: Option<(u64, u64)>,
    pub help: Option<String>,
}

impl Finding {
    /// An error about a whole file.
    pub(super) fn whole(doing: &'static str, file: &Path, text: impl Into<String>) -> Finding {
        let (text, file) = (text.into(), file.to_owned());
        Finding { severity: Severity::Error, doing, text, file, place: None, help: None }
    }

    /// The same, with a remedy.
    pub(super) fn help(self, help: impl Into<String>) -> Finding {
        Finding { help: Some(help.into()), ..self }
    }

    /// Whether it keeps the gateway from starting.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// For `check --json`: `severity`, `text`, `file`, and `doing`, `line`, `column`, `help` where they apply.
    pub fn to_json(&self) -> Value {
        let (line, column) = self.place.unzip();
        json!({
            "severity": if self.is_error() { "error" } else { "warning" },
            "doing": if self.is_error() { Some(self.doing) } else { None },
            "text": self.text,
            "file": self.file.to_string_lossy(),
            "line": line,
            "column": column,
            "help": self.help,
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doing = if self.is_error() { self.doing } else { "warning" };
        write!(f, "agentpass: {doing}: {}\n  at {}", self.text, self.file.display())?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        self.help.as_ref().map_or(Ok(()), |help| write!(f, "\n  help: {help}"))
    }
}

impl std::error::Error for Finding {}
