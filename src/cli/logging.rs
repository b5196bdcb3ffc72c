//! Logs: to stderr, one line per record, our own targets only.
//!
//! The libraries below us log URLs, headers and bytes at debug and trace, tokens included. So no level below warn
//! may ever apply to them, whatever is asked for.

use std::env;

use log::{LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;

use super::{Exit, Trouble, output};
use crate::base::clock::Clock;
use crate::base::safe_text::visible;

/// The variable that sets the level.
pub const LOG_LEVEL: &str = "LOG_LEVEL";

/// Starts logging at the level of the option `--log-level`, else of `LOG_LEVEL`, else at `default`.
///
/// # Errors
/// A level that is none: exit 4 for the option, 78 for the variable.
pub fn start(option: Option<&str>, default: LevelFilter) -> Result<(), Trouble> {
    let variable = env::var(LOG_LEVEL).ok().filter(|text| !text.is_empty());
    let level = match (option, variable) {
        (Some(text), _) => level(text).ok_or_else(|| unknown(Exit::BAD_ARGUMENTS, "--log-level", text))?,
        (None, Some(text)) => {
            level(&text).ok_or_else(|| unknown(Exit::BAD_CONFIGURATION, LOG_LEVEL, &text))?
        }
        (None, None) => default,
    };
    // Fails only when a logger runs already, and then that one is as good.
    if log::set_boxed_logger(Box::new(Lines::new(level, under_systemd()))).is_ok() {
        log::set_max_level(level);
    }
    Ok(())
}

/// A level by name, in any case; `warning` and `critical` are how the predecessor spelt two of them.
fn level(text: &str) -> Option<LevelFilter> {
    match text.to_ascii_lowercase().as_str() {
        "error" | "critical" => Some(LevelFilter::Error),
        "warn" | "warning" => Some(LevelFilter::Warn),
        "info" => Some(LevelFilter::Info),
        "debug" => Some(LevelFilter::Debug),
        "trace" => Some(LevelFilter::Trace),
        _ => None,
    }
}

fn unknown(exit: Exit, source: &str, text: &str) -> Trouble {
    let cause = format!("{source} is {text:?}, which is no level");
    Trouble::new(exit, "start logging", cause).help("use error, warn, info, debug or trace")
}

/// The journal writes its own timestamps.
fn under_systemd() -> bool {
    env::var_os("JOURNAL_STREAM").is_some()
}

/// Filters with `simple_logger`, which knows levels by module, and writes by itself: `simple_logger` would panic
/// when stderr is closed, and takes newlines as they come.
struct Lines {
    filter: SimpleLogger,
    is_dated: bool,
}

impl Lines {
    fn new(level: LevelFilter, under_systemd: bool) -> Lines {
        let filter = SimpleLogger::new()
            .with_level(level.min(LevelFilter::Warn))
            .with_module_level("agentpass", level);
        Lines { filter, is_dated: !under_systemd }
    }

    fn line(&self, record: &Record<'_>) -> String {
        let text = visible(&record.args().to_string());
        let target = visible(record.target());
        let line = format!("{:<5} [{target}] {text}", record.level());
        if self.is_dated { format!("{} {line}", Clock::system().now()) } else { line }
    }
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            output::note(&self.line(record));
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Level;

    fn is_on(lines: &Lines, target: &str, level: Level) -> bool {
        lines.enabled(&Metadata::builder().target(target).level(level).build())
    }

    #[test]
    fn libraries_never_log_below_warn() {
        let lines = Lines::new(LevelFilter::Trace, true);
        assert!(is_on(&lines, "agentpass::gate", Level::Trace));
        for library in ["ureq", "ureq_proto", "tungstenite", "hyper", "mio"] {
            assert!(is_on(&lines, library, Level::Warn));
            assert!(!is_on(&lines, library, Level::Info), "{library}");
        }
        let quiet = Lines::new(LevelFilter::Error, true);
        assert!(!is_on(&quiet, "ureq", Level::Warn) && !is_on(&quiet, "agentpass", Level::Warn));
    }

    #[test]
    fn a_record_is_one_line() {
        let lines = Lines::new(LevelFilter::Info, true);
        let record = |text| {
            lines.line(&Record::builder().args(text).level(Level::Warn).target("agentpass::x").build())
        };
        assert_eq!(record(format_args!("a\nERROR forged")), "WARN  [agentpass::x] a⟨U+000A⟩ERROR forged");
        let dated = Lines::new(LevelFilter::Info, false);
        let line = dated.line(&Record::builder().args(format_args!("a")).build());
        assert!(line.contains("Z INFO  ["), "{line}");
    }

    #[test]
    fn levels_have_names() {
        assert_eq!(level("DEBUG"), Some(LevelFilter::Debug));
        assert_eq!(level("Warning"), Some(LevelFilter::Warn));
        assert_eq!(level("loud"), None);
        assert_eq!(start(Some("loud"), LevelFilter::Warn).unwrap_err().report(), Exit::BAD_ARGUMENTS);
    }
}
