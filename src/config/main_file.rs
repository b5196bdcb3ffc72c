//! config.yaml, all but its services.
//!
//! Every reader takes what is there or the documented default; mistakes are left in the file's findings.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::at::{At, Section};
use super::grants;
use super::proxy::{networks, public_path, trusted};
use super::settings::{
    AgentConfig, ApprovalConfig, CoolDown, GatewayConfig, McpConfig, RateLimit, Storage, SyncMode, TlsFiles,
};
use crate::base::password::PasswordHash;
use crate::base::secret::TokenHash;
use crate::base::url::{Url, is_origin};
use crate::model::AgentId;

/// A shorter token can be guessed or was chosen by a person.
const SHORT_TOKEN: usize = 16;
/// Seconds in a day; nobody answers a question that is older.
const MAX_APPROVAL: f64 = 86_400.0;
const HEALTH_PORT: u16 = 8080;
/// In seconds.
const MAX_HOLD: f64 = 3_600.0;
const COOL_DOWN: CoolDown = CoolDown { denies: 3, window: Duration::from_secs(600) };

/// The keys of config.yaml.
pub(crate) const KEYS: &str = "gateway agent agents people messenger channels services storage approval_timeout approvals \
                               rate_limit max_concurrent_calls";

/// `gateway:`.
pub(crate) fn gateway(file: Section<'_>, dir: &Path) -> GatewayConfig {
    let section = file.below(
        "gateway",
        "host port tls health_host health_port admin_hosts admin_password_hash trusted_proxies public_path public_url \
         metrics_from control_socket allowed_origins max_message_bytes hosts mcp",
    );
    let public_url = section.read("public_url", base_url);
    let mut admin_hosts = section.get("admin_hosts").map(hosts).unwrap_or_default();
    admin_hosts.extend(public_url.as_ref().map(|url| url.host().to_ascii_lowercase()));
    GatewayConfig {
        host: section.read("host", host).unwrap_or_else(|| "::".into()),
        port: section.whole("port", 0..=u16::MAX).unwrap_or(8443),
        tls: section.read("tls", |at| tls(at, dir)),
        health_host: section.read("health_host", host).unwrap_or_else(|| "127.0.0.1".into()),
        health_port: section.get("health_port").map_or(Some(HEALTH_PORT), health_port),
        admin_hosts,
        admin_password_hash: section.read("admin_password_hash", password_hash),
        trusted_proxies: section.get("trusted_proxies").map(trusted).unwrap_or_default(),
        public_path: section.read("public_path", public_path).unwrap_or_default(),
        public_url,
        metrics_from: section.get("metrics_from").map(networks).unwrap_or_default(),
        control_socket: section.read("control_socket", |at| path(at, dir)),
        allowed_origins: section.get("allowed_origins").map(origins).unwrap_or_default(),
        max_message_bytes: section.whole("max_message_bytes", 1024..=16 << 20).unwrap_or(1 << 20),
        hosts: section.get("hosts").map(hosts).unwrap_or_default(),
        mcp: mcp(section.below("mcp", "hold keep_alive")),
    }
}

/// `gateway.mcp:`. Clients give a request up after 60 s and a silent stream after 300 s.
fn mcp(section: Section<'_>) -> McpConfig {
    let seconds = |key, default| {
        section.read(key, |at| at.seconds(1.0..=MAX_HOLD)).unwrap_or(Duration::from_secs(default))
    };
    McpConfig { hold: seconds("hold", 50), keep_alive: seconds("keep_alive", 15) }
}

/// A port, or a word that switches the listener off.
fn health_port(at: At<'_>) -> Option<u16> {
    let is_off = at.is_single() && at.text().is_none_or(|text| text == "off");
    if is_off { None } else { at.whole(0..=u16::MAX) }
}

/// Names as they stand in a `Host` header, without port.
fn hosts(at: At<'_>) -> Vec<String> {
    let name = |item: At<'_>| {
        let text = item.filled()?;
        item.ensure(fits_host(&text), "this is not a host name", "write the name only: gateway.example.org")?;
        Some(text.to_ascii_lowercase())
    };
    at.one_or_more().into_iter().filter_map(name).collect()
}

fn fits_host(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c))
}

fn password_hash(at: At<'_>) -> Option<PasswordHash> {
    let hash = PasswordHash::parse(at.secret()?.expose());
    let text = "admin_password_hash is not a hash that this program made";
    hash.or_else(|| at.fail(text, "make one with: agentpass web --hash-password"))
}

fn host(at: At<'_>) -> Option<String> {
    let text = at.filled()?;
    let wrong = format!("{} is not an address", at.name());
    at.ensure(fits_host(&text), wrong, "use an IP address or a host name")?;
    Some(text)
}

/// A path, relative to the directory of config.yaml.
pub(crate) fn path(at: At<'_>, dir: &Path) -> Option<PathBuf> {
    let text = at.filled()?;
    at.ensure(!text.contains('\0'), format!("{} is not a path", at.name()), "")?;
    Some(dir.join(text))
}

fn tls(at: At<'_>, dir: &Path) -> Option<TlsFiles> {
    if at.is_null() {
        return None;
    }
    let section = at.section("cert key min_version");
    let versions = [("1.2", false), ("1.3", true)];
    let only_tls13 = section.read("min_version", |at| at.choice(&versions)).unwrap_or(false);
    let [cert, key] = ["cert", "key"].map(|name| section.require(name, |at| path(at, dir)));
    Some(TlsFiles { cert: cert?, key: key?, only_tls13 })
}

pub(crate) fn origins(at: At<'_>) -> Vec<String> {
    let origin = |item: At<'_>| {
        let text = item.text()?;
        let help = "write it as a browser sends it: https://example.org";
        item.ensure(is_origin(&text), "this is not an origin", help).map(|()| text)
    };
    at.items().into_iter().filter_map(origin).collect()
}

/// `agent:` or `agents:`.
pub(crate) fn agents(file: Section<'_>) -> Vec<AgentConfig> {
    if let (Some(_), Some(second)) = (file.key("agent"), file.key("agents")) {
        let help = "put the one agent among the others, as \"default\"";
        second.error("agent and agents cannot be used together", help);
    }
    let one = file.get("agent");
    let many = file.entries("agents");
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
    let section =
        at.section("token token_sha256 groups may_explain max_requests_per_minute max_pending_approvals");
    let token = token(section)?;
    if let Some(other) = others.iter().find(|other| other.token.matches(&token)) {
        let at = section.get("token").or_else(|| section.get("token_sha256")).unwrap_or(at);
        at.error(format!("{id} has the same token as {}", other.id), "every agent needs a token of its own");
    }
    Some(AgentConfig {
        id: AgentId::configured(id),
        token,
        groups: section.get("groups").map(groups).unwrap_or_default(),
        may_explain: section.flag("may_explain"),
        max_requests_per_minute: max_requests(section),
        max_pending_approvals: max_pending(section),
    })
}

/// Groups of agents that rules speak of as `@name`.
fn groups(at: At<'_>) -> BTreeSet<String> {
    let name = |item: At<'_>| {
        let text = item.filled()?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let is_name = text.len() <= 64 && text.chars().all(fits);
        let help = "use 1 to 64 letters, digits, \"_\", \"-\" and \".\"; rules write @ before it";
        item.ensure(is_name, format!("{} is not a name for a group", item.shown()), help)?;
        Some(text)
    };
    at.one_or_more().into_iter().filter_map(name).collect()
}

/// `token:` or `token_sha256:`.
pub(crate) fn token(section: Section<'_>) -> Option<TokenHash> {
    match (section.get("token"), section.get("token_sha256")) {
        (Some(at), None) => {
            let token = at.secret()?;
            if token.expose().chars().count() < SHORT_TOKEN {
                let text = format!("the token is shorter than {SHORT_TOKEN} characters");
                at.warn(text, "make one with: openssl rand -hex 32");
            }
            Some(TokenHash::new(token.expose()))
        }
        (None, Some(at)) => TokenHash::parse(&at.filled()?).or_else(|| {
            at.fail("token_sha256 must be 64 hex digits", "make it with: printf %s TOKEN | sha256sum")
        }),
        (Some(_), Some(at)) => at.fail("token and token_sha256 cannot be used together", "keep one of them"),
        (None, None) => section.at().fail("token is missing", "give token or token_sha256"),
    }
}

/// An address that other code adds paths to.
pub(crate) fn base_url(at: At<'_>) -> Option<Url> {
    let url = Url::service(&at.text()?);
    url.map_or_else(|why| at.fail(format!("{} {why}", at.name()), ""), Some)
}

/// Warns of a credential that goes to a host whose name anybody on the network can answer for.
pub(crate) fn warn_of_local(at: At<'_>, url: &Url) {
    if url.anybody_can_answer() {
        at.warn(
            "anybody on the network can answer for a name in .local, and is sent the credentials then",
            "use https:// (ca_cert for a certificate of your own), or the host's address or DNS name",
        );
    }
}

/// `storage:`, with the days that results and the hours that idempotency keys are kept.
pub(crate) fn storage(file: Section<'_>, dir: &Path) -> (Storage, u32, u32) {
    let section =
        file.below("storage", "type path sync retain_days max_mb keep_results_days keep_keys_hours");
    section.read("type", |at| at.choice(&[("sqlite", ())]));
    let modes = [("writes", SyncMode::Writes), ("all", SyncMode::All)];
    let storage = Storage {
        path: section.read("path", |at| path(at, dir)).unwrap_or_else(|| dir.join("data/agentpass.db")),
        sync: section.read("sync", |at| at.choice(&modes)).unwrap_or(SyncMode::Writes),
        retain_days: section.whole("retain_days", 1..=36_500).unwrap_or(365),
        max_mb: section.whole("max_mb", 1..=1 << 20).unwrap_or(512),
    };
    let results = section.whole("keep_results_days", 1..=365).unwrap_or(7);
    let keys = section.whole("keep_keys_hours", 1..=8760).unwrap_or(24);
    (storage, results, keys)
}

/// `approval_timeout:`.
pub(crate) fn approval_timeout(file: Section<'_>) -> Duration {
    let given = file.read("approval_timeout", |at| at.seconds(0.1..=MAX_APPROVAL));
    given.unwrap_or(Duration::from_secs(900))
}

/// `approvals:`.
pub(crate) fn approvals(file: Section<'_>) -> ApprovalConfig {
    let section = file.below("approvals", "max_question_chars cool_down note_seconds reminder grant");
    ApprovalConfig {
        max_question_chars: section.whole("max_question_chars", 500..=200_000).unwrap_or(12_000),
        cool_down: section.get("cool_down").map_or(Some(COOL_DOWN), cool_down),
        note_window: Duration::from_secs(section.whole("note_seconds", 0..=600).unwrap_or(60)),
        reminder: section.flag("reminder"),
        grant: section.get("grant").and_then(grants::offer),
    }
}

/// A section, or a word that switches it off.
fn cool_down(at: At<'_>) -> Option<CoolDown> {
    if at.is_single() {
        let is_off = matches!(at.text()?.as_str(), "false" | "off");
        at.ensure(is_off, format!("cool_down must be denies and minutes, or off, not {}", at.shown()), "")?;
        return None;
    }
    let section = at.section("denies minutes");
    let minutes = section.whole("minutes", 1..=1440);
    Some(CoolDown {
        denies: section.whole("denies", 1..=100).unwrap_or(COOL_DOWN.denies),
        window: minutes.map_or(COOL_DOWN.window, |m: u64| Duration::from_secs(m.saturating_mul(60))),
    })
}

/// `rate_limit:`.
pub(crate) fn rate_limit(file: Section<'_>) -> RateLimit {
    let section = file.below("rate_limit", "max_pending_approvals max_requests_per_minute");
    RateLimit {
        max_pending_approvals: max_pending(section).unwrap_or(10),
        max_requests_per_minute: max_requests(section).unwrap_or(60),
    }
}

fn max_pending(section: Section<'_>) -> Option<u32> {
    section.whole("max_pending_approvals", 1..=10_000)
}

fn max_requests(section: Section<'_>) -> Option<u32> {
    section.whole("max_requests_per_minute", 1..=100_000_000)
}

/// `max_concurrent_calls:`; each call takes a thread while it waits. Warns when as many `agents` share them.
pub(crate) fn max_concurrent_calls(file: Section<'_>, agents: usize) -> usize {
    let at = file.get("max_concurrent_calls");
    let places = at.and_then(|at| at.whole(1..=256)).unwrap_or(32);
    if agents > 1 && agents >= places {
        let text = "places for calls at once, so one of them can take them all";
        at.unwrap_or(file.at()).warn(
            format!("{agents} agents share {places} {text}"),
            "set max_concurrent_calls to more than the number of agents",
        );
    }
    places
}
