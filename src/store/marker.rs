//! A stop that was asked for while no gateway ran: a file beside the record, which the next start takes into it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::files;
use crate::base::clock::Timestamp;
use crate::base::json::parse_strict;
use crate::model::{AgentId, Responder, Stop};

/// More than this is no marker of ours.
const MOST_BYTES: u64 = 256 * 1024;
const MAX_DEPTH: u8 = 2;

/// Where it is for the record at `path`: `<record>.stop`.
fn place(path: &Path) -> PathBuf {
    // The gateway goes by the record's real name.
    files::sibling(&fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()), "stop")
}

/// Leaves a stop for the next start, which counts beside those that were left before. On disk when this returns.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn leave(path: &Path, stop: &Stop) -> io::Result<PathBuf> {
    let marker = place(path);
    let mut file = OpenOptions::new().append(true).create(true).open(&marker)?;
    // The gateway may be another user than the one who leaves it. The folder is private.
    file.set_permissions(Permissions::from_mode(0o644))?;
    let agent = stop.agent.as_ref().map(AgentId::as_str);
    let line = json!({"agent": agent, "by": stop.by.as_str(), "reason": stop.reason});
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_all()?;
    files::sync_dir(&marker)?;
    Ok(marker)
}

/// Takes back what was left: a gateway has been told after all.
pub(crate) fn withdraw(path: &Path) -> io::Result<()> {
    gone(fs::remove_file(place(path)))
}

/// What was left since the last start. What cannot be read stops everything.
pub(super) fn left(path: &Path, now: Timestamp) -> Vec<Stop> {
    let marker = place(path);
    let text = match read(&marker) {
        Ok(None) => return Vec::new(),
        Ok(Some(text)) => text,
        Err(e) => {
            log::error!("{} cannot be read, so everything is stopped: {e}", marker.display());
            return vec![unreadable(now)];
        }
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let stops: Vec<_> = lines.map(|line| stop(line, now).unwrap_or_else(|| unreadable(now))).collect();
    if stops.is_empty() { vec![unreadable(now)] } else { stops }
}

/// What was left is in the record.
pub(super) fn taken_up(path: &Path) {
    if let Err(e) = withdraw(path) {
        let marker = place(path);
        log::error!("{} cannot be removed: every start is stopped by it: {e}", marker.display());
    }
}

fn read(marker: &Path) -> io::Result<Option<String>> {
    let mut text = String::new();
    match File::open(marker) {
        Ok(file) => file.take(MOST_BYTES).read_to_string(&mut text).map(|_| Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn stop(line: &str, at: Timestamp) -> Option<Stop> {
    let read = parse_strict(line.as_bytes(), MAX_DEPTH).ok()?;
    let text = |name: &str| read.get(name).and_then(Value::as_str);
    let agent = match read.get("agent")? {
        Value::Null => None,
        agent => Some(AgentId::configured(agent.as_str()?)),
    };
    let by = Responder::recorded(text("by")?);
    Some(Stop { agent, by, at, reason: text("reason").map(str::to_owned) })
}

fn unreadable(at: Timestamp) -> Stop {
    let reason = Some("what was left to stop it cannot be read".to_owned());
    Stop { agent: None, by: Responder::new("local", "unknown"), at, reason }
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
