//! Opening what the gateway needs (record, control socket), and why it does not start.

use std::fmt;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::approval::Misconfigured;
use crate::base::clock::Clock;
use crate::config::{Config, Finding, Loaded, Storage, SyncMode};
use crate::gate::Setup;
use crate::store::{Recovered, Store, StoreOptions};
use crate::surface::control::ControlSocket;

/// The service's state and runtime directories, as the unit names them.
const STATE: &str = "/var/lib/agentpass";
const RUNTIME: &str = "/run/agentpass";

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Why the gateway does not start.
#[derive(Debug)]
pub enum StartError {
    /// The owner has to change the configuration (exit 78).
    Config(Vec<Finding>),
    /// The same, found while using it: what, and what to do.
    Setting(String, String),
    /// The machine does not let us; it may be different next time.
    Machine {
        what: String,
        at: Option<PathBuf>,
        /// What to do; empty when there is nothing to say.
        help: String,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Config(findings) => findings.iter().try_for_each(|finding| writeln!(f, "{finding}")),
            StartError::Setting(what, help) => write_error(f, what, None, help),
            StartError::Machine { what, at, help } => write_error(f, what, at.as_deref(), help),
        }
    }
}

impl std::error::Error for StartError {}

impl StartError {
    /// What is wrong, without what to do about it.
    pub(super) fn cause(&self) -> String {
        match self {
            StartError::Config(findings) => {
                findings.iter().map(|f| f.text.as_str()).collect::<Vec<_>>().join("; ")
            }
            StartError::Setting(what, _) | StartError::Machine { what, .. } => what.clone(),
        }
    }

    pub(super) fn machine(what: impl fmt::Display, help: &str) -> StartError {
        StartError::Machine { what: what.to_string(), at: None, help: help.to_owned() }
    }
}

impl From<Misconfigured> for StartError {
    fn from(channel: Misconfigured) -> StartError {
        StartError::Setting(channel.what, channel.help.to_owned())
    }
}

fn write_error(f: &mut fmt::Formatter<'_>, what: &str, at: Option<&Path>, help: &str) -> fmt::Result {
    write!(f, "agentpass: could not start: {what}")?;
    if let Some(path) = at {
        write!(f, "\n  at {}", path.display())?;
    }
    if help.is_empty() { Ok(()) } else { write!(f, "\n  help: {help}") }
}

/// What a reload cannot change.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Fixed {
    listen: (String, u16),
    admin: (String, Option<u16>),
    control_socket: PathBuf,
    record: PathBuf,
    pub(super) max_message_bytes: usize,
}

impl Fixed {
    pub(super) fn from_config(config: &Config) -> Fixed {
        Fixed {
            listen: (config.gateway.host.clone(), config.gateway.port),
            admin: (config.gateway.health_host.clone(), config.gateway.health_port),
            control_socket: control_path(config.gateway.control_socket.as_deref(), &config.storage),
            record: config.storage.path.clone(),
            max_message_bytes: config.gateway.max_message_bytes,
        }
    }

    /// What the owner should know after a reload.
    pub(super) fn needs_restart(&self, now: &Fixed) -> Option<String> {
        let text = "warning: gateway.host, port, health_host, health_port, control_socket, max_message_bytes and \
                    storage.path count after a restart";
        (self != now).then(|| format!("agentpass: {text}"))
    }
}

/// `earlier`: the setup that is replaced by a reload.
pub(super) fn setup(loaded: Loaded, earlier: Option<&Setup>) -> Result<Setup, StartError> {
    Setup::new(loaded, earlier).map_err(|e| StartError::Setting(e.to_string(), String::new()))
}

pub(super) fn open_store(config: &Config, clock: &Clock) -> Result<(Store, Recovered), StartError> {
    let storage = &config.storage;
    let options = StoreOptions {
        path: storage.path.clone(),
        sync_all: storage.sync == SyncMode::All,
        retain_days: storage.retain_days,
        max_mb: storage.max_mb,
        keep_results: DAY * config.results_days,
        keep_keys: HOUR * config.idempotency_hours,
    };
    Store::open(options, clock).map_err(|e| StartError::Machine {
        what: e.to_string(),
        at: Some(storage.path.clone()),
        help: e.help().unwrap_or_default(),
    })
}

pub(super) fn control_socket(config: &Config) -> Result<ControlSocket, StartError> {
    let path = control_path(config.gateway.control_socket.as_deref(), &config.storage);
    if let Some(dir) = path.parent() {
        // The record's own folder is private from the start.
        let mode = if config.storage.path.parent() == Some(dir) { 0o700 } else { 0o755 };
        let _ = DirBuilder::new().recursive(true).mode(mode).create(dir);
    }
    let help = "set gateway.control_socket to a place this user may write to";
    ControlSocket::bind(&path).map_err(|e| StartError::machine(e, help))
}

/// Where the control socket is: as configured, else in /run/agentpass for the service's own record, else beside the
/// record. It follows from the configuration alone: the gateway and the owner's commands must agree.
pub(crate) fn control_path(configured: Option<&Path>, storage: &Storage) -> PathBuf {
    let folder = storage.path.parent().unwrap_or(Path::new("."));
    let dir = if storage.path.starts_with(STATE) { Path::new(RUNTIME) } else { folder };
    configured.map_or_else(|| dir.join("control.sock"), Path::to_owned)
}
