//! What the owner does next, as shown by `init` and by `status` until there is a service and an agent.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::{self, LocalConfig, Paths};
use crate::net::tls::spki_pin_of_pem;

/// The next step for a gateway with this status and the configuration that `--config` names. None when it has services
/// and a connected agent, or when the configuration cannot be read.
pub(crate) fn next_step(status: &Value, config: Option<&str>) -> Option<String> {
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
        let token = typed(&secrets(&paths.config));
        let agent = Agent {
            address: Address::from_host(&local.gateway.host),
            port: local.gateway.port,
            pin: pin(&local),
        };
        agent.step(&token)
    })
}

/// Under which address agents reach the gateway.
pub(crate) enum Address {
    /// Listens on this machine alone.
    Here(String),
    /// Listens on one address.
    One(String),
    /// Listens on all of them; the machine's name is one that agents may know.
    All(String),
}

impl Address {
    /// The address that `gateway.host` stands for.
    pub(crate) fn from_host(host: &str) -> Address {
        let bare = host.trim_matches(['[', ']']);
        match bare.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() => Address::All(host_name()),
            Ok(ip) if ip.is_loopback() => Address::Here(in_url(ip)),
            Ok(ip) => Address::One(in_url(ip)),
            Err(_) if bare == "localhost" => Address::Here(bare.to_owned()),
            Err(_) => Address::One(bare.to_owned()),
        }
    }
}

fn in_url(ip: IpAddr) -> String {
    if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }
}

/// How agents find the gateway.
pub(crate) struct Agent {
    pub address: Address,
    pub port: u16,
    /// The pin of the gateway's key; None without TLS.
    pub pin: Option<String>,
}

impl Agent {
    /// What to type on the agent's device. `token` is where its token stands.
    pub(crate) fn step(&self, token: &str) -> String {
        let (host, place, hint) = match &self.address {
            Address::Here(host) => (host, "For agents on this machine", String::new()),
            Address::One(host) => (host, "On the agent's device", String::new()),
            Address::All(host) => {
                let hint = format!("\nAn address of this machine will do in place of {host}.");
                (host, "On the agent's device", hint)
            }
        };
        let pin = self.pin.as_ref().map(|pin| format!(" --pin {pin}")).unwrap_or_default();
        let (scheme, port) = (if self.pin.is_some() { "wss" } else { "ws" }, self.port);
        format!(
            "{place}, with the token that stands in {token}:
  export AGENTPASS_URL={scheme}://{host}:{port}
  export AGENT_TOKEN=...
  agentpass tools{pin}{hint}"
        )
    }
}

/// A path as it can be typed: in quotes where a shell would take it apart.
pub(crate) fn typed(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+@%,:=~".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

fn for_the_owner(config: &Path) -> String {
    let (place, config) = (typed(&secrets(config)), typed(config));
    format!(
        "Next: uncomment a service in {config}, put its token into
{place}, and restart the gateway (systemctl restart agentpass)."
    )
}

/// Where secrets stand: in `.env`, which goes first where there are both, or in the files of `secrets/`.
fn secrets(config: &Path) -> PathBuf {
    let (file, dir) = (config.with_file_name(".env"), config.with_file_name("secrets"));
    if dir.is_dir() && !file.is_file() { dir } else { file }
}

fn pin(local: &LocalConfig) -> Option<String> {
    let tls = local.gateway.tls.as_ref()?;
    spki_pin_of_pem(&fs::read(&tls.cert).ok()?).ok()
}

/// The machine's name as it is in /etc/hostname; names that cannot be used in a certificate become "gateway".
pub(crate) fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let fits = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
    if fits { name } else { "gateway".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_one_that_reaches_the_gateway() {
        let step = |host: &str| Agent { address: Address::from_host(host), port: 8443, pin: None }.step("t");
        for (host, url) in [
            ("127.0.0.1", "ws://127.0.0.1:8443\n"),
            ("::1", "ws://[::1]:8443\n"),
            ("localhost", "ws://localhost:8443\n"),
            ("192.168.1.5", "ws://192.168.1.5:8443\n"),
            ("gate.example", "ws://gate.example:8443\n"),
        ] {
            assert!(step(host).contains(url) && !step(host).contains("in place of"), "{}", step(host));
        }
        for host in ["0.0.0.0", "::", "[::]"] {
            assert!(step(host).contains(&format!("ws://{}:8443\n", host_name())), "{}", step(host));
        }
    }

    #[test]
    fn secrets_are_where_they_are_read_first() {
        let folder = std::env::temp_dir().join(format!("agentpass-next-step-{}", std::process::id()));
        let config = folder.join("config.yaml");
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(secrets(&config), folder.join(".env"));
        fs::create_dir(folder.join("secrets")).unwrap();
        assert_eq!(secrets(&config), folder.join("secrets"));
        fs::write(folder.join(".env"), "").unwrap();
        assert_eq!(secrets(&config), folder.join(".env"));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn paths_can_be_typed() {
        for (path, expected) in
            [("a/b.yaml", "a/b.yaml"), ("my gw/.env", "'my gw/.env'"), ("it's", r"'it'\''s'"), ("$x", "'$x'")]
        {
            assert_eq!(typed(Path::new(path)), expected);
        }
    }
}
