//! config.yaml, all but its services.
//!
//! Every reader takes what is there or the documented default; mistakes are left in the file's findings.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::at::{At, Section};
use super::proxy::{networks, public_path, trusted};
use super::settings::{AgentConfig, Approvals, CoolDown, Gateway, RateLimit, Storage, SyncMode, TlsFiles};
use crate::base::password::PasswordHash;
use crate::base::secret::TokenHash;
use crate::base::url::{Url, is_origin};
use crate::model::AgentId;

/// A shorter token can be guessed or was chosen by a person.
const SHORT_TOKEN: usize = 16;
/// A day; nobody answers a question that is older.
const MAX_APPROVAL: f64 = 86_400.0;

/// The keys of config.yaml.
pub(crate) const KEYS: [&str; 10] = [
    "gateway",
    "agent",
    "agents",
    "messenger",
    "services",
    "storage",
    "approval_timeout",
    "approvals",
    "rate_limit",
    "max_concurrent_calls",
];

/// `gateway:`.
pub(crate) fn gateway(file: Section<'_>, dir: &Path) -> Gateway {
    let keys = [
        "host",
        "port",
        "tls",
        "health_host",
        "health_port",
        "admin_hosts",
        "admin_password_hash",
        "trusted_proxies",
        "public_path",
        "metrics_from",
        "control_socket",
        "allowed_origins",
        "max_message_bytes",
    ];
    let section = file.get("gateway").map(|at| at.section(&keys));
    let get = |key| section.and_then(|s| s.get(key));
    let port = |key| get(key).and_then(|at: At<'_>| at.whole(0..=u16::MAX));
    Gateway {
        host: get("host").and_then(host).unwrap_or_else(|| "::".into()),
        port: port("port").unwrap_or(8443),
        tls: get("tls").and_then(|at| tls(at, dir)),
        health_host: get("health_host").and_then(host).unwrap_or_else(|| "127.0.0.1".into()),
        health_port: get("health_port").map_or(Some(HEALTH_PORT), health_port),
        admin_hosts: get("admin_hosts").map(admin_hosts).unwrap_or_default(),
        admin_password_hash: get("admin_password_hash").and_then(password_hash),
        trusted_proxies: get("trusted_proxies").map(trusted).unwrap_or_default(),
        public_path: get("public_path").and_then(public_path).unwrap_or_default(),
        metrics_from: get("metrics_from").map(networks).unwrap_or_default(),
        control_socket: get("control_socket").and_then(|at| path(at, dir)),
        allowed_origins: get("allowed_origins").map(origins).unwrap_or_default(),
        max_message_bytes: get("max_message_bytes")
            .and_then(|at| at.whole(1024..=16 << 20))
            .unwrap_or(1 << 20),
    }
}

const HEALTH_PORT: u16 = 8080;

/// A port, or a word that switches the listener off.
fn health_port(at: At<'_>) -> Option<u16> {
    if at.is_single() && at.text().is_none_or(|text| text == "off") {
        return None;
    }
    at.whole(0..=u16::MAX)
}

/// Names as they stand in a `Host` header, without port.
fn admin_hosts(at: At<'_>) -> Vec<String> {
    let name = |item: At<'_>| {
        let text = item.filled()?;
        let fits = text.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c));
        let help = "write the name only: gateway.example.org";
        if fits { Some(text.to_ascii_lowercase()) } else { item.fail("this is not a host name", help) }
    };
    at.one_or_more().into_iter().filter_map(name).collect()
}

fn password_hash(at: At<'_>) -> Option<PasswordHash> {
    let text = at.secret()?;
    let hash = PasswordHash::parse(text.expose());
    hash.or_else(|| {
        at.fail(
            "admin_password_hash is not a hash that this program made",
            "make one with: agentpass web --hash-password",
        )
    })
}

fn host(at: At<'_>) -> Option<String> {
    let text = at.filled()?;
    let fits = text.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c));
    if fits {
        Some(text)
    } else {
        at.fail(format!("{} is not an address", at.name()), "use an IP address or a host name")
    }
}

/// A path, relative to the directory of config.yaml.
pub(crate) fn path(at: At<'_>, dir: &Path) -> Option<PathBuf> {
    let text = at.filled()?;
    if text.contains('\0') {
        return at.fail(format!("{} is not a path", at.name()), "");
    }
    Some(dir.join(text))
}

fn tls(at: At<'_>, dir: &Path) -> Option<TlsFiles> {
    if at.is_null() {
        return None;
    }
    let section = at.section(&["cert", "key", "min_version"]);
    let versions = [("1.2", false), ("1.3", true)];
    let only_tls13 = section.get("min_version").and_then(|at| at.choice(&versions)).unwrap_or(false);
    let [cert, key] = ["cert", "key"].map(|name| path(section.need(name)?, dir));
    Some(TlsFiles { cert: cert?, key: key?, only_tls13 })
}

fn origins(at: At<'_>) -> Vec<String> {
    let origin = |item: At<'_>| {
        let text = item.text()?;
        let help = "write it as a browser sends it: https://example.org";
        if is_origin(&text) { Some(text) } else { item.fail("this is not an origin", help) }
    };
    at.items().into_iter().filter_map(origin).collect()
}

/// `agent:` or `agents:`.
pub(crate) fn agents(file: Section<'_>) -> Vec<AgentConfig> {
    let help = "put the one agent among the others, as \"default\"";
    if let (Some(_), Some(second)) = (file.key("agent"), file.key("agents")) {
        second.error("agent and agents exclude each other", help);
    }
    let one = file.get("agent");
    let many = file.get("agents").map(At::entries).unwrap_or_default();
    if one.is_none() && many.is_empty() {
        file.at().error("there is no agent", "add agent: {token: \"${AGENT_TOKEN}\"}");
    }
    let mut found: Vec<AgentConfig> = one.and_then(|at| agent("default", at, &[])).into_iter().collect();
    for (name, at) in many {
        let id = name.plain("an agent").unwrap_or_default();
        found.extend(agent(id, at, &found));
    }
    found
}

fn agent(id: &str, at: At<'_>, others: &[AgentConfig]) -> Option<AgentConfig> {
    let keys = ["token", "token_sha256", "may_explain", "max_requests_per_minute", "max_pending_approvals"];
    let section = at.section(&keys);
    let token = token(section)?;
    if let Some(other) = others.iter().find(|other| other.token.matches(&token)) {
        let at = section.get("token").or_else(|| section.get("token_sha256")).unwrap_or(at);
        at.error(format!("{id} has the same token as {}", other.id), "every agent needs a token of its own");
    }
    Some(AgentConfig {
        id: AgentId::configured(id),
        token,
        may_explain: section.get("may_explain").and_then(At::flag).unwrap_or(false),
        max_requests_per_minute: section.get("max_requests_per_minute").and_then(requests),
        max_pending_approvals: section.get("max_pending_approvals").and_then(pending),
    })
}

fn token(section: Section<'_>) -> Option<TokenHash> {
    match (section.get("token"), section.get("token_sha256")) {
        (Some(at), None) => {
            let token = at.secret()?;
            if token.expose().chars().count() < SHORT_TOKEN {
                at.warn(
                    format!("the token is shorter than {SHORT_TOKEN} characters"),
                    "make one with: openssl rand -hex 32",
                );
            }
            Some(TokenHash::new(token.expose()))
        }
        (None, Some(at)) => {
            let hash = TokenHash::parse(&at.filled()?);
            hash.or_else(|| {
                at.fail("token_sha256 must be 64 hex digits", "make it with: printf %s TOKEN | sha256sum")
            })
        }
        (Some(_), Some(at)) => at.fail("token and token_sha256 exclude each other", "keep one of them"),
        (None, None) => section.at().fail("token is missing", "give token or token_sha256"),
    }
}

/// An address that other code adds paths to.
pub(crate) fn base_url(at: At<'_>) -> Option<Url> {
    let url = Url::service(&at.text()?);
    url.map_or_else(|why| at.fail(format!("{} {why}", at.name()), ""), Some)
}

/// The warning about a credential that goes to a host whose name anybody on the network can answer for.
pub(crate) fn warn_of_local(at: At<'_>, url: &Url) {
    if url.anybody_can_answer() {
        let text = "anybody on the network can answer for a name in .local, and is sent the credentials then";
        at.warn(
            text,
            "use https:// (ca_cert for a certificate of your own), or the host's address or DNS name",
        );
    }
}

/// `storage:`, with the two times that say how long answers are kept.
pub(crate) fn storage(file: Section<'_>, dir: &Path) -> (Storage, u32, u32) {
    let keys = ["type", "path", "sync", "retain_days", "max_mb", "keep_results_days", "keep_keys_hours"];
    let section = file.get("storage").map(|at| at.section(&keys));
    let get = |key| section.and_then(|s| s.get(key));
    if let Some(at) = get("type") {
        at.choice(&[("sqlite", ())]);
    }
    let storage = Storage {
        path: get("path").and_then(|at| path(at, dir)).unwrap_or_else(|| dir.join("data/agentpass.db")),
        sync: get("sync")
            .and_then(|at| at.choice(&[("writes", SyncMode::Writes), ("all", SyncMode::All)]))
            .unwrap_or(SyncMode::Writes),
        retain_days: get("retain_days").and_then(|at| at.whole(1..=36_500)).unwrap_or(365),
        max_mb: get("max_mb").and_then(|at| at.whole(1..=1 << 20)).unwrap_or(512),
    };
    let results = get("keep_results_days").and_then(|at| at.whole(1..=365)).unwrap_or(7);
    let keys = get("keep_keys_hours").and_then(|at| at.whole(1..=8760)).unwrap_or(24);
    (storage, results, keys)
}

/// `approval_timeout:`.
pub(crate) fn approval_timeout(file: Section<'_>) -> Duration {
    let given = file.get("approval_timeout").and_then(|at| at.seconds(0.1..=MAX_APPROVAL));
    given.unwrap_or(Duration::from_secs(900))
}

/// `approvals:`.
pub(crate) fn approvals(file: Section<'_>) -> Approvals {
    let keys = ["max_question_chars", "cool_down", "note_seconds", "reminder"];
    let section = file.get("approvals").map(|at| at.section(&keys));
    let get = |key| section.and_then(|s| s.get(key));
    Approvals {
        max_question_chars: get("max_question_chars")
            .and_then(|at| at.whole(500..=200_000))
            .unwrap_or(12_000),
        cool_down: get("cool_down").map_or(Some(COOL_DOWN), cool_down),
        note_window: Duration::from_secs(get("note_seconds").and_then(|at| at.whole(0..=600)).unwrap_or(60)),
        reminder: get("reminder").and_then(At::flag).unwrap_or_default(),
    }
}

const COOL_DOWN: CoolDown = CoolDown { denies: 3, window: Duration::from_secs(600) };

/// A section, or a word that switches it off.
fn cool_down(at: At<'_>) -> Option<CoolDown> {
    if at.is_single() {
        let word = at.text()?;
        if !["false", "off"].contains(&word.as_str()) {
            at.error(format!("cool_down must be denies and minutes, or off, not {}", at.shown()), "");
        }
        return None;
    }
    let section = at.section(&["denies", "minutes"]);
    let denies = section.get("denies").and_then(|at| at.whole(1..=100)).unwrap_or(COOL_DOWN.denies);
    let minutes = section.get("minutes").and_then(|at| at.whole(1..=1440)).map(|m: u64| m.saturating_mul(60));
    Some(CoolDown { denies, window: minutes.map_or(COOL_DOWN.window, Duration::from_secs) })
}

/// `rate_limit:`.
pub(crate) fn rate_limit(file: Section<'_>) -> RateLimit {
    let keys = ["max_pending_approvals", "max_requests_per_minute"];
    let section = file.get("rate_limit").map(|at| at.section(&keys));
    let get = |key| section.and_then(|s| s.get(key));
    RateLimit {
        max_pending_approvals: get("max_pending_approvals").and_then(pending).unwrap_or(10),
        max_requests_per_minute: get("max_requests_per_minute").and_then(requests).unwrap_or(60),
    }
}

fn pending(at: At<'_>) -> Option<u32> {
    at.whole(1..=10_000)
}

fn requests(at: At<'_>) -> Option<u32> {
    at.whole(1..=100_000_000)
}

/// `max_concurrent_calls:`; each one takes a thread while it waits. So many `agents` want a share of them.
pub(crate) fn max_concurrent_calls(file: Section<'_>, agents: usize) -> usize {
    let at = file.get("max_concurrent_calls");
    let places = at.and_then(|at| at.whole(1..=256)).unwrap_or(32);
    if agents > 1 && agents >= places {
        at.unwrap_or(file.at()).warn(
            format!(
                "{agents} agents share {places} places for calls at once, so one of them can take them all"
            ),
            "set max_concurrent_calls to more than the number of agents",
        );
    }
    places
}
