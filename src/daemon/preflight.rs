//! What must be right before a gateway can start. `check`, a start and a reload all ask here, so that none of them
//! accepts what another refuses. Binds and opens nothing.

use std::os::unix::ffi::OsStrExt as _;

use super::admin::is_open;
use super::opening::{StartError, control_path, setup};
use crate::config::{self, Config, Finding, Loaded, Paths, misfit};
use crate::net::listener::addresses;
use crate::net::tls::{Acceptor, TlsError};

/// The longest path of a unix socket, in bytes: 108 in Linux, one of them for the end.
const MAX_SOCKET_PATH: usize = 107;

/// A configuration that a gateway can start with.
pub(super) struct Ready {
    /// The owner's files.
    pub loaded: Loaded,
    /// The certificate; None without TLS.
    pub acceptor: Option<Acceptor>,
}

impl Ready {
    /// Plain text only where the owner said so on the command line.
    pub(super) fn or_without_tls(self, insecure: bool) -> Result<Ready, StartError> {
        match insecure || self.acceptor.is_some() {
            true => Ok(self),
            false => Err(StartError::Setting(
                "gateway.tls is missing and --insecure was not given".into(),
                "`agentpass init` makes a certificate; --insecure is for one machine or a protected network"
                    .into(),
            )),
        }
    }
}

/// Reads all files and looks at what they name. `insecure`: without TLS, whatever the files say.
///
/// # Errors
/// All findings, when at least one is an error.
pub(super) fn load(paths: &Paths, insecure: bool) -> Result<Ready, Vec<Finding>> {
    let loaded = config::load(paths)?;
    let mut look = Look { paths, config: &loaded.config, found: Vec::new() };
    let acceptor = look.tls(insecure);
    look.ports();
    look.admin(insecure);
    look.control_socket();
    look.record();
    let mut found = look.found;
    if found.is_empty() {
        return Ok(Ready { loaded, acceptor });
    }
    found.extend(loaded.warnings);
    Err(found)
}

/// The findings of everything that `serve` looks at, for `agentpass check`. Without a certificate in the files it
/// speaks for `serve --insecure`, which is the only way to start then.
pub fn check(paths: &Paths, insecure: bool) -> Vec<Finding> {
    let checked = load(paths, insecure).and_then(|ready| {
        let warnings = ready.loaded.warnings.clone();
        setup(ready.loaded, None).map_err(|e| vec![unusable(paths, &e)]).map(|_| warnings)
    });
    checked.unwrap_or_else(|findings| findings)
}

/// What only shows when the files are put to use, as a finding.
pub(super) fn unusable(paths: &Paths, e: &StartError) -> Finding {
    misfit(paths, &["services"], &e.cause(), "")
}

struct Look<'a> {
    paths: &'a Paths,
    config: &'a Config,
    found: Vec<Finding>,
}

impl Look<'_> {
    fn error(&mut self, keys: &[&str], text: &str, help: &str) {
        self.found.push(misfit(self.paths, keys, text, help));
    }

    fn tls(&mut self, insecure: bool) -> Option<Acceptor> {
        if insecure {
            return None;
        }
        let files = self.config.gateway.tls.as_ref()?;
        let made = match files.only_tls13 {
            true => Acceptor::of_tls13(&files.cert, &files.key),
            false => Acceptor::from_files(&files.cert, &files.key),
        };
        if let Err(e) = &made {
            let of_key = match e {
                TlsError::Read { path, .. } => *path == files.key,
                TlsError::NoKey(_) | TlsError::Mismatch { .. } => true,
                _ => false,
            };
            let help =
                "`agentpass init` makes a certificate and its key; who runs this must be able to read both";
            self.error(&["gateway", "tls", if of_key { "key" } else { "cert" }], &e.to_string(), help);
        }
        made.ok()
    }

    /// Two listeners cannot have one port of one address.
    fn ports(&mut self) {
        let gateway = &self.config.gateway;
        // Names are looked up only where it matters: a reload does not wait for a name server.
        let Some(port) = gateway.health_port.filter(|port| *port != 0 && *port == gateway.port) else {
            return;
        };
        let all = |host: &str| addresses(host, port).unwrap_or_default();
        let (agents, admin) = (all(&gateway.host), all(&gateway.health_host));
        let met = agents.iter().any(|a| {
            admin.iter().any(|b| a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
        });
        if met {
            let text = format!("health_port is {port}, which is the agents' port");
            self.error(
                &["gateway", "health_port"],
                &text,
                "give the admin pages a port of their own, or off",
            );
        }
    }

    fn admin(&mut self, insecure: bool) {
        let gateway = &self.config.gateway;
        let has_tls = !insecure && gateway.tls.is_some();
        let Some(port) = gateway.health_port else { return };
        // A name that is not known at the moment is a fault of the machine, which only a start can meet.
        if !has_tls && is_open(&addresses(&gateway.health_host, port).unwrap_or_default()) {
            let text = format!(
                "the admin pages would be open to the network without TLS on {}",
                gateway.health_host
            );
            let help = "set gateway.health_host to 127.0.0.1 and use an SSH tunnel, or give the gateway its certificate";
            self.error(&["gateway", "health_host"], &text, help);
        }
    }

    fn control_socket(&mut self) {
        let path = control_path(self.config.gateway.control_socket.as_deref(), &self.config.storage);
        let length = path.as_os_str().as_bytes().len();
        if length > MAX_SOCKET_PATH {
            let text = format!(
                "the path of the control socket has {length} bytes, and {MAX_SOCKET_PATH} is the most: {}",
                path.display()
            );
            self.error(&["gateway", "control_socket"], &text, "set gateway.control_socket to a shorter path");
        }
    }

    fn record(&mut self) {
        let path = &self.config.storage.path;
        if path.is_dir() {
            let wrong = format!("{} is a directory", path.display());
            self.error(&["storage", "path"], &wrong, "name the file of the record: data/agentpass.db");
        }
    }
}
