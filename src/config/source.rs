//! Reading the owner's files: bounded, UTF-8, regular files only (a FIFO would hang the start).

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::finding::{Finding, Severity};

/// No configuration file is larger, in bytes.
pub(crate) const MAX_FILE: u64 = 4 << 20;

/// Why a file is not taken.
#[derive(Debug)]
pub(crate) enum Unreadable {
    Io(io::Error),
    /// A directory, a pipe, a device.
    NotAFile,
    TooLarge,
    NotText,
}

impl Unreadable {
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Unreadable::Io(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Io(e) if e.kind() == io::ErrorKind::NotFound => f.write_str("there is no such file"),
            Unreadable::Io(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                f.write_str("the file may not be read by this user")
            }
            Unreadable::Io(e) => write!(f, "the file cannot be read: {}", e.kind()),
            Unreadable::NotAFile => f.write_str("this is not a regular file"),
            Unreadable::TooLarge => write!(f, "the file is larger than {} MiB", MAX_FILE >> 20),
            Unreadable::NotText => f.write_str("the file is not UTF-8 text"),
        }
    }
}

impl From<io::Error> for Unreadable {
    fn from(e: io::Error) -> Unreadable {
        Unreadable::Io(e)
    }
}

/// The whole text of a file. Symbolic links are followed.
pub(crate) fn read_text(path: &Path) -> Result<String, Unreadable> {
    String::from_utf8(read_bytes(path)?).map_err(|_| Unreadable::NotText)
}

/// The whole content of a file. Symbolic links are followed.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, Unreadable> {
    if !fs::metadata(path)?.is_file() {
        return Err(Unreadable::NotAFile);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if size > MAX_FILE { Err(Unreadable::TooLarge) } else { Ok(bytes) }
}

/// Whether every user of this machine may read it.
pub(crate) fn is_world_readable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o004 != 0)
}

/// Whether every user of this machine may open the files in a directory.
pub(crate) fn is_world_open(dir: &Path) -> bool {
    fs::metadata(dir).is_ok_and(|m| m.permissions().mode() & 0o001 != 0)
}

/// Warns of secrets in a file that every user may read.
pub(crate) fn world_readable(path: &Path) -> Finding {
    let finding =
        Finding::whole("", path, "the file holds secrets and every user of this machine can read it");
    Finding { severity: Severity::Warning, ..finding.help(format!("chmod o-r {}", path.display())) }
}
