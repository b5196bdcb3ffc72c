//! The socket file: who may open it, and what to do with one that a crash left behind.

use std::fmt;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Gid, Mode};
use serde_json::Value;
use smol::io::AsyncWriteExt as _;
use smol::net::unix::{UnixListener, UnixStream};

use super::people;
use crate::net::deadline::within;

/// The group whose members may answer, where it exists.
const GROUP: &str = "agentpass";
/// Reading and writing for owner and group, nothing for others.
const UMASK: u32 = 0o117;
/// A pause after a failed accept, so that running out of descriptors does not turn into a busy loop.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a client may take to read a line of ours.
const WRITE_TIME: Duration = Duration::from_secs(10);

/// The bound socket. Dropping it removes the file.
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

/// Why there is no socket.
#[derive(Debug)]
pub(crate) enum SocketError {
    InUse(PathBuf),
    /// A file that is no socket lies there; it is left alone.
    NotASocket(PathBuf),
    Io(PathBuf, io::Error),
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketError::InUse(path) => write!(f, "another gateway answers on {}", path.display()),
            SocketError::NotASocket(path) => {
                write!(f, "{} exists and is not a socket; move it away", path.display())
            }
            SocketError::Io(path, e) => write!(f, "cannot make the control socket {}: {e}", path.display()),
        }
    }
}

impl std::error::Error for SocketError {}

impl ControlSocket {
    /// Binds `path` with mode 0660, for the group `agentpass` where that exists.
    ///
    /// # Errors
    /// [`SocketError`]. Files of others are never removed.
    pub(crate) fn bind(path: &Path) -> Result<ControlSocket, SocketError> {
        clear_stale(path)?;
        let io = |e| SocketError::Io(path.to_owned(), e);
        // The mask is narrow before the file exists, so that there is no moment in which others may open it.
        let before = rustix::process::umask(Mode::from_raw_mode(UMASK));
        let bound = UnixListener::bind(path);
        rustix::process::umask(before);
        let listener = bound.map_err(io)?;
        give_to_group(path);
        Ok(ControlSocket { listener, path: path.to_owned() })
    }

    /// Waits for a connection. Cancel-safe.
    pub(crate) async fn accept(&self) -> UnixStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(e) => {
                    log::warn!("cannot accept on the control socket: {e}");
                    smol::Timer::after(PAUSE).await;
                }
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Writes one line; None when the client is gone or does not read.
pub(super) async fn write_line(writer: &mut UnixStream, value: &Value) -> Option<()> {
    let mut line = serde_json::to_string(value).ok()?;
    line.push('\n');
    within(WRITE_TIME, writer.write_all(line.as_bytes())).await?.ok()
}

/// Removes a socket on which nobody answers any more.
fn clear_stale(path: &Path) -> Result<(), SocketError> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(SocketError::NotASocket(path.to_owned()));
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|e| SocketError::Io(path.to_owned(), e))
        }
        Err(e) => Err(SocketError::Io(path.to_owned(), e)),
    }
}

/// Where that is not allowed, the gateway's own group may answer.
fn give_to_group(path: &Path) {
    let Some(gid) = people::group_id(GROUP) else { return };
    if let Err(e) = rustix::fs::chown(path, None, Some(Gid::from_raw(gid))) {
        log::debug!("the control socket stays with the gateway's own group: {e}");
    }
}
