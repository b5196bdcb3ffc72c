//! The demo's configuration: a folder that goes away with the demo.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::home;
use crate::base::digest::to_hex;
use crate::base::ids::random_bytes;

const TOOLS: &str = include_str!("../../../tools/homeassistant.yaml");
/// The policy, short enough to be shown.
pub(crate) const PERMISSIONS: &str = r#"rules:
  - pattern: "ha_call_service(lock.*)"
    action: deny
    description: "doors stay shut"
  - {pattern: "ha_call_*", any_value: "lock.*", action: deny}  # nowhere
defaults:
  - {pattern: "ha_get_*", action: allow}
  - {pattern: "*", action: ask}
"#;

/// The demo's files and its agent's token.
pub(crate) struct DemoFiles {
    folder: PathBuf,
    /// The agent's token, made for this run.
    pub token: String,
}

impl DemoFiles {
    /// Writes everything for a home at `address`.
    pub(crate) fn write(address: SocketAddr) -> io::Result<DemoFiles> {
        let name = format!("agentpass-demo-{}", to_hex(&random_bytes::<8>()?));
        let files =
            DemoFiles { folder: std::env::temp_dir().join(name), token: to_hex(&random_bytes::<16>()?) };
        fs::DirBuilder::new().mode(0o700).create(&files.folder)?;
        fs::write(files.config(), files.settings(address))?;
        fs::write(files.permissions(), PERMISSIONS)?;
        fs::write(files.folder.join("homeassistant.yaml"), TOOLS)?;
        Ok(files)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.join("config.yaml")
    }

    pub(crate) fn permissions(&self) -> PathBuf {
        self.folder.join("permissions.yaml")
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.folder.join("record.db")
    }

    fn settings(&self, address: SocketAddr) -> String {
        let (token, home) = (&self.token, home::TOKEN);
        format!(
            r#"gateway: {{host: "127.0.0.1", port: 0, health_port: 0, control_socket: "control.sock"}}
agent: {{token: "{token}"}}
messenger: {{type: local}}
services:
  homeassistant:
    url: "http://{address}"
    auth: {{type: bearer, token: "{home}"}}
    health: {{path: "/api/"}}
    tools: "homeassistant.yaml"
storage: {{path: "record.db"}}
approval_timeout: 300
"#
        )
    }
}

impl Drop for DemoFiles {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all::<&Path>(&self.folder);
    }
}
