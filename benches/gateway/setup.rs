//! The gateway that is measured: what its configuration says.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// Agents where there is load; with 64 connections each there is room for ten thousand and more.
pub const AGENTS: usize = 200;

/// What differs between rows.
#[derive(Clone)]
pub struct Setup {
    /// `storage.sync`.
    pub sync: &'static str,
    pub tls: bool,
    /// `messenger`.
    pub messenger: String,
    /// How many agents are configured.
    pub agents: usize,
}

/// As installed, but for TLS and for the agents that make the load.
pub const PLAIN: Setup = Setup { sync: "writes", tls: false, messenger: String::new(), agents: AGENTS };

impl Setup {
    pub fn with_sync(sync: &'static str) -> Setup {
        Setup { sync, ..PLAIN }
    }

    pub fn with_tls() -> Setup {
        Setup { tls: true, ..PLAIN }
    }

    /// The same with one agent: each of them takes a little time and memory.
    pub fn for_one(self) -> Setup {
        Setup { agents: 1, ..self }
    }

    /// For the table.
    pub fn mode(&self) -> String {
        let tls = if self.tls { ", TLS" } else { "" };
        format!("sync {}{tls}", self.sync)
    }

    /// Writes all files of the configuration into `folder`.
    pub fn write(&self, folder: &Path, service: SocketAddr) {
        let put = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        put("config.yaml", &self.config(service));
        put("tools.yaml", TOOLS);
        put("permissions.yaml", PERMISSIONS);
        if self.tls {
            let made = agentpass::testing::net::tls::self_signed(&["localhost".to_owned()]).unwrap();
            put("cert.pem", &String::from_utf8_lossy(made.cert_pem.as_ref()));
            put("key.pem", &String::from_utf8_lossy(made.key_pem.as_ref()));
        }
    }

    /// Limits that a load would run into are as high as they go; everything else is as usual.
    fn config(&self, service: SocketAddr) -> String {
        let agents: String =
            (0..self.agents).map(|n| format!("  agent-{n}: {{token: \"{}\"}}\n", token(n))).collect();
        let tls = if self.tls { "\n  tls: {cert: cert.pem, key: key.pem}" } else { "" };
        let messenger = if self.messenger.is_empty() { "{type: local}" } else { &self.messenger };
        format!(
            "gateway:\n  host: \"127.0.0.1\"\n  port: 0\n  health_port: 0\n  control_socket: control.sock{tls}\n\
             agents:\n{agents}\
             messenger: {messenger}\n\
             services:\n  home:\n    url: \"http://{service}\"\n    tools: tools.yaml\n    \
             auth: {{type: bearer, token: \"s3rvice-cr3dential-0123456789\"}}\n\
             storage: {{path: data/agentpass.db, sync: {}, retain_days: 36500, max_mb: 1000000}}\n\
             rate_limit: {{max_pending_approvals: 10000, max_requests_per_minute: 1000000}}\n",
            self.sync
        )
    }
}

/// The token of an agent, by its number below [`AGENTS`].
pub fn token(agent: usize) -> String {
    format!("a-token-of-agent-number-{agent:03}")
}

/// Two that read and two that write; what the policy says is in their names.
const TOOLS: &str = "
tools:
  read:
    description: Reads a state
    signature: '{id}'
    args: {id: {required: true}}
    request: {method: GET, path: '/api/states/{id}'}
  write:
    description: Sets a state
    signature: '{id}'
    args: {id: {required: true}, value: {}}
    extra_args: refuse
    request: {method: POST, path: '/api/states/{id}'}
  ask_read:
    description: Reads a state that is private
    signature: '{id}'
    args: {id: {required: true}}
    request: {method: GET, path: '/api/private/{id}'}
  ask_write:
    description: Sets a state that matters
    signature: '{id}'
    args: {id: {required: true}, value: {}}
    extra_args: refuse
    request: {method: POST, path: '/api/private/{id}'}
";

const PERMISSIONS: &str = "
rules:
  - {pattern: 'write(lock.*', action: deny, description: Locks are not for agents}
  - {pattern: 'read(*', action: allow}
  - {pattern: 'write(*', action: allow}
defaults:
  - {pattern: '*', action: ask}
";
