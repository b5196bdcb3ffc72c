//! What the owner does next, told by `init` and by `status` until there is a service and an agent.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::{self, Local, Paths};
use crate::net::tls::spki_pin_of_pem;

/// The next step for a gateway with this status and the configuration that `--config` names; None when it has services
/// and an agent is connected, or when the configuration cannot be read.
pub fn next_step(status: &Value, config: Option<&str>) -> Option<String> {
    let paths = Paths::find(config.map(Path::new), None);
    let local = config::local(&paths).ok()?;
    let is_empty = |name: &str| status.get(name).and_then(Value::as_object).is_some_and(|all| all.is_empty());
    if is_empty("services") {
        return Some(for_the_owner(&paths.config));
    }
    let agents = status.get("agents").and_then(Value::as_object)?;
    let is_connected = |agent: &Value| agent.get("connections").and_then(Value::as_u64) != Some(0);
    let nobody = !agents.values().any(is_connected);
    nobody.then(|| {
        let token = secrets(&paths.config).display().to_string();
        for_the_agent(&host_name(), local.gateway.port, pin(&local).as_deref(), &token)
    })
}

/// How an agent's device finds the gateway. `token` is where its token stands.
pub fn for_the_agent(host: &str, port: u16, pin: Option<&str>, token: &str) -> String {
    let option = pin.map(|pin| format!(" --pin {pin}")).unwrap_or_default();
    let scheme = if pin.is_some() { "wss" } else { "ws" };
    format!(
        "On the agent's device, with the token that stands in {token}:
  export AGENTPASS_URL={scheme}://{host}:{port}
  export AGENT_TOKEN=...
  agentpass tools{option}
An address of this machine will do in place of {host}."
    )
}

fn for_the_owner(config: &Path) -> String {
    let (place, config) = (secrets(config), config.display());
    let place = place.display();
    format!(
        "Next: take the marks from a service in {config}, put its token into
{place}, and restart the gateway (systemctl restart agentpass)."
    )
}

/// Where secrets stand: in the files of `secrets/` where that exists, else in `.env`.
fn secrets(config: &Path) -> PathBuf {
    let dir = config.with_file_name("secrets");
    if dir.is_dir() { dir } else { config.with_file_name(".env") }
}

fn pin(local: &Local) -> Option<String> {
    let tls = local.gateway.tls.as_ref()?;
    spki_pin_of_pem(&fs::read(&tls.cert).ok()?).ok()
}

/// The machine's name as it is in /etc/hostname; names that cannot stand in a certificate become "gateway".
pub fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let fits = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
    if fits { name } else { "gateway".to_owned() }
}
