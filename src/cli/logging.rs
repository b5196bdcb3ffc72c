//! Logs: to stderr, one line per record, our own targets only.
//!
//! The libraries below us log URLs, headers and bytes at debug and trace, tokens included. So no level below warn
//! may ever apply to them, whatever is asked for.

use std::env;

use log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;

use super::{Exit, Trouble, terminal};
use crate::base::clock::Clock;
use crate::base::safe_text::visible;

pub(crate) const LOG_LEVEL: &str = "LOG_LEVEL";

/// Starts logging at the level of the option `--log-level`, else of `LOG_LEVEL`, else at `default`.
///
/// # Errors
/// A level that is none: exit 4 for the option, 78 for the variable.
pub(crate) fn start(option: Option<&str>, default: LevelFilter) -> Result<(), Trouble> {
    let variable = env::var(LOG_LEVEL).ok().filter(|text| !text.is_empty());
    let level = match (option, variable) {
        (Some(text), _) => level(text).ok_or_else(|| unknown(Exit::BAD_ARGUMENTS, "--log-level", text))?,
        (None, Some(text)) => {
            level(&text).ok_or_else(|| unknown(Exit::BAD_CONFIGURATION, LOG_LEVEL, &text))?
        }
        (None, None) => default,
    };
    // Fails only when a logger runs already, and then that one is as good.
    if log::set_boxed_logger(Box::new(StderrLog::new(level, is_journal()))).is_ok() {
        log::set_max_level(level);
    }
    Ok(())
}

/// A level by name, in any case; `warning` and `critical` are Python's names of two of them.
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
    let cause = format!("{source} is {text:?}, which is not a level");
    Trouble::new(exit, "start logging", cause).help("use error, warn, info, debug or trace")
}

/// Whether stderr is the journal, which has timestamps of its own and takes the priority before each line
/// (sd-daemon(3)). `JOURNAL_STREAM` alone only shows that some process before us wrote there, so its device and inode
/// are compared with those of stderr.
fn is_journal() -> bool {
    let named = env::var("JOURNAL_STREAM").ok();
    let stderr = rustix::fs::fstat(rustix::stdio::stderr()).ok();
    matches!((named, stderr), (Some(named), Some(stat)) if named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// The priority of sd-daemon(3); the journal colours and filters by it.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Filters with `simple_logger`, which knows levels by module, and writes by itself: `simple_logger` would panic
/// when stderr is closed, and takes newlines as they come.
struct StderrLog {
    filter: SimpleLogger,
    is_journal: bool,
}

impl StderrLog {
    fn new(level: LevelFilter, is_journal: bool) -> StderrLog {
        let filter = SimpleLogger::new()
            .with_level(level.min(LevelFilter::Warn))
            .with_module_level("agentpass", level);
        StderrLog { filter, is_journal }
    }

    fn line(&self, record: &Record<'_>) -> String {
        let text = visible(&record.args().to_string());
        let target = visible(record.target());
        if self.is_journal {
            return format!("<{}>[{target}] {text}", priority(record.level()));
        }
        format!("{} {:<5} [{target}] {text}", Clock::system().now(), record.level())
    }
}

impl Log for StderrLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            terminal::note(&self.line(record));
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_on(lines: &StderrLog, target: &str, level: Level) -> bool {
        lines.enabled(&Metadata::builder().target(target).level(level).build())
    }

    #[test]
    fn libraries_never_log_below_warn() {
        let lines = StderrLog::new(LevelFilter::Trace, true);
        assert!(is_on(&lines, "agentpass::gate", Level::Trace));
        for library in ["ureq", "ureq_proto", "tungstenite", "hyper", "mio"] {
            assert!(is_on(&lines, library, Level::Warn));
            assert!(!is_on(&lines, library, Level::Info), "{library}");
        }
        let quiet = StderrLog::new(LevelFilter::Error, true);
        assert!(!is_on(&quiet, "ureq", Level::Warn) && !is_on(&quiet, "agentpass", Level::Warn));
    }

    #[test]
    fn a_record_is_one_line() {
        let journal = StderrLog::new(LevelFilter::Info, true);
        let dated = StderrLog::new(LevelFilter::Info, false);
        let line = |lines: &StderrLog, text| {
            lines.line(&Record::builder().args(text).level(Level::Warn).target("agentpass::x").build())
        };
        let forged = line(&journal, format_args!("a\n<3>forged"));
        assert_eq!(forged, "<4>[agentpass::x] a⟨U+000A⟩<3>forged");
        let forged = line(&dated, format_args!("a\nERROR forged"));
        assert!(forged.ends_with("Z WARN  [agentpass::x] a⟨U+000A⟩ERROR forged"), "{forged}");
    }

    #[test]
    fn levels_have_names() {
        assert_eq!(level("DEBUG"), Some(LevelFilter::Debug));
        assert_eq!(level("Warning"), Some(LevelFilter::Warn));
        assert_eq!(level("loud"), None);
        assert_eq!(start(Some("loud"), LevelFilter::Warn).unwrap_err().report(), Exit::BAD_ARGUMENTS);
    }
}
