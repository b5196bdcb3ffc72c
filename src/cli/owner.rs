//! How owner commands reach the gateway on this machine: the control socket, one JSON line each way.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Exit, Trouble, terminal};
use crate::config::{self, LocalConfig, Paths};
use crate::daemon;

/// A connection to the gateway on this machine.
pub(crate) struct ControlClient {
    what: &'static str,
    path: PathBuf,
    lines: Lines<BufReader<UnixStream>>,
    writer: UnixStream,
}

impl ControlClient {
    /// Connects. `what` is what the command is about to do, for errors; `socket` and `config` are its options.
    ///
    /// # Errors
    /// Exit 3 when no gateway answers, 78 when config.yaml cannot be read.
    pub(crate) fn connect(
        what: &'static str,
        socket: Option<&str>,
        config: Option<&str>,
    ) -> Result<ControlClient, Trouble> {
        let path = match socket {
            Some(path) => PathBuf::from(path),
            None => {
                let local = local(what, config)?;
                daemon::control_path(local.gateway.control_socket.as_deref(), &local.storage)
            }
        };
        let open = || {
            let writer = UnixStream::connect(&path)?;
            Ok((writer.try_clone()?, writer))
        };
        let (reader, writer) = open().map_err(|e| unreachable(what, &path, &e))?;
        Ok(ControlClient { what, path, lines: BufReader::new(reader).lines(), writer })
    }

    /// Sends one command and returns the answer; an answer that says why not is an error.
    pub(crate) fn ask(&mut self, command: &Value) -> Result<Value, Trouble> {
        self.send(command)?;
        self.hear()?.ok_or_else(|| self.lost("the gateway closed the connection"))
    }

    pub(crate) fn send(&mut self, command: &Value) -> Result<(), Trouble> {
        let line = format!("{command}\n");
        self.writer.write_all(line.as_bytes()).map_err(|e| self.lost(&e.to_string()))
    }

    /// Limits how long [`ControlClient::hear`] waits from now on.
    pub(crate) fn patience(&mut self, limit: Duration) {
        // Reader and writer are one socket. Without the limit it would only wait longer.
        self.writer.set_read_timeout(Some(limit)).ok();
    }

    /// The next line; None when the gateway has gone. An error that the gateway reports is one.
    pub(crate) fn hear(&mut self) -> Result<Option<Value>, Trouble> {
        let Some(line) = self.lines.next() else { return Ok(None) };
        let line = line.map_err(|e| self.lost(&e.to_string()))?;
        let value: Value = serde_json::from_str(&line).map_err(|e| self.lost(&e.to_string()))?;
        match value.get("error") {
            None => Ok(Some(value)),
            Some(error) => Err(self.refused(error)),
        }
    }

    pub(crate) fn lost(&self, cause: &str) -> Trouble {
        Trouble::new(Exit::CONNECTION, self.what, cause).at(self.path.display().to_string())
    }

    fn refused(&self, error: &Value) -> Trouble {
        let text = |name: &str| error.get(name).and_then(Value::as_str);
        let message = text("message").unwrap_or("the gateway refused");
        let is_mistake = error.get("invalid").and_then(Value::as_bool).unwrap_or_default();
        let exit = if is_mistake { Exit::BAD_ARGUMENTS } else { Exit::FAILED };
        Trouble::new(exit, self.what, message).maybe_help(text("help"))
    }
}

/// Where the gateway's socket and record are; read without needing any secret.
///
/// # Errors
/// Exit 78 when config.yaml cannot be read; its findings have been printed then.
pub(crate) fn local(what: &'static str, config: Option<&str>) -> Result<LocalConfig, Trouble> {
    let paths = Paths::find(config.map(Path::new), None);
    config::local(&paths).map_err(|findings| {
        findings.iter().for_each(|finding| terminal::note(&finding.to_string()));
        Trouble::new(Exit::BAD_CONFIGURATION, what, "the configuration does not say where the gateway is")
            .help("name the file with --config, or the socket with --socket")
    })
}

fn unreachable(what: &'static str, path: &Path, e: &std::io::Error) -> Trouble {
    let help = match e.kind() {
        std::io::ErrorKind::PermissionDenied => "only root and members of the group agentpass may do this",
        _ => "is the gateway running? `agentpass serve` starts it",
    };
    Trouble::new(Exit::CONNECTION, what, e).at(path.display().to_string()).help(help)
}

/// `{"command": name}`.
pub(crate) fn command(name: &str) -> Value {
    json!({"command": name})
}
