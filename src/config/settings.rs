//! What config.yaml says, checked: the types that the rest of the gateway is built from. No I/O, no YAML. Defaults
//! stand in brackets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::channel_settings::ChannelConfig;
use super::mcp_settings::McpService;
use crate::base::network::Network;
use crate::base::password::PasswordHash;
use crate::base::path_prefix::PathPrefix;
use crate::base::secret::{Secret, TokenHash};
use crate::base::url::Url;
use crate::model::{AgentId, GrantOffer, Method, People, Tool};

/// Everything in config.yaml and in the tool files it names. Immutable; a reload makes a new one.
#[derive(Clone, Debug)]
pub struct Config {
    pub gateway: GatewayConfig,
    /// At least one.
    pub agents: Vec<AgentConfig>,
    /// How people are asked, by the channel's name. The local channel is always there and not among them.
    pub channels: BTreeMap<String, ChannelConfig>,
    /// Which identities belong to one human.
    pub people: People,
    /// In the order of the file.
    pub services: Vec<ServiceConfig>,
    /// All tools of all services by name.
    pub tools: BTreeMap<String, Arc<Tool>>,
    /// Where the record lies.
    pub storage: Storage,
    /// How long a question stays open (900 s).
    pub approval_timeout: Duration,
    /// How questions are asked.
    pub approvals: ApprovalConfig,
    /// For each agent that has no limits of its own.
    pub rate_limit: RateLimit,
    /// Service calls at once (32).
    pub max_concurrent_calls: usize,
    /// Days that results wait for their agent (7).
    pub results_days: u32,
    /// Hours that idempotency keys are remembered (24).
    pub idempotency_hours: u32,
    /// Every secret value in the configuration, for scrubbing. Tokens known by their hash only are not here.
    pub secrets: Vec<Secret>,
}

#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Address of the agents' port; `::` is every address, IPv4 too.
    pub host: String,
    /// The agents' port; 0 takes any free one.
    pub port: u16,
    /// None: only with `--insecure`.
    pub tls: Option<TlsFiles>,
    /// Address of the admin listener.
    pub health_host: String,
    /// Port of the admin listener; 0 takes any free one. None: there is no admin listener.
    pub health_port: Option<u16>,
    /// Names under which browsers may reach the admin listener, besides those of this machine.
    pub admin_hosts: Vec<String>,
    /// None: the owner signs in by one-time links only.
    pub admin_password_hash: Option<PasswordHash>,
    /// Proxies that are trusted to say who asks.
    pub trusted_proxies: Vec<Network>,
    /// Where below its own name a proxy shows the admin pages.
    pub public_path: PathPrefix,
    /// Where links in messages lead: the admin listener as others reach it.
    pub public_url: Option<Url>,
    /// Who may read `/metrics` without signing in, besides programs on this machine.
    pub metrics_from: Vec<Network>,
    /// None: the default place.
    pub control_socket: Option<PathBuf>,
    /// Origins of web pages that may connect (`https://example.org`).
    pub allowed_origins: Vec<String>,
    /// The longest message from an agent, in bytes.
    pub max_message_bytes: usize,
    /// Names by which MCP clients may reach the agents' port, besides those of this machine.
    pub hosts: Vec<String>,
    pub mcp: McpConfig,
}

/// How MCP clients wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct McpConfig {
    /// How long a call is held before its client hears that it goes on (50 s).
    pub hold: Duration,
    /// How often a stream says something (15 s).
    pub keep_alive: Duration,
}

impl GatewayConfig {
    /// The address of the admin pages in messages, without a slash at the end.
    pub(crate) fn public_base(&self) -> Option<String> {
        let url = self.public_url.as_ref()?.as_str();
        let has_path = url.matches('/').count() > 2;
        Some(if has_path { url.to_owned() } else { format!("{url}{}", self.public_path.as_str()) })
    }
}

/// PEM files of the agents' port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// `min_version: "1.3"`: no older clients.
    pub(crate) only_tls13: bool,
}

#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// `default` for `agent:`.
    pub id: AgentId,
    pub token: TokenHash,
    /// What rules may call it by besides its name.
    pub groups: BTreeSet<String>,
    /// Whether it may ask what the policy would say.
    pub may_explain: bool,
    /// In place of [`RateLimit::max_requests_per_minute`].
    pub max_requests_per_minute: Option<u32>,
    /// In place of [`RateLimit::max_pending_approvals`].
    pub max_pending_approvals: Option<u32>,
}

/// An entry of `services:`. Each variant has one handler in `service`.
#[derive(Clone, Debug)]
pub enum ServiceConfig {
    /// Its tools are HTTP requests.
    Http(Arc<HttpService>),
    /// Its tools are what agents do themselves, once they are permitted to.
    Permit(PermitService),
    /// Its tools are those of an MCP server.
    Mcp(Arc<McpService>),
}

impl ServiceConfig {
    /// Its key in config.yaml.
    pub fn name(&self) -> &str {
        match self {
            ServiceConfig::Http(http) => &http.name,
            ServiceConfig::Permit(permit) => &permit.name,
            ServiceConfig::Mcp(mcp) => &mcp.name,
        }
    }

    /// What it is, where it speaks HTTP.
    pub fn http(&self) -> Option<&HttpService> {
        match self {
            ServiceConfig::Http(http) => Some(http),
            ServiceConfig::Permit(_) | ServiceConfig::Mcp(_) => None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct PermitService {
    pub name: String,
    /// How long a permit counts (60 s).
    pub permit_ttl: Duration,
}

#[derive(Clone, Debug)]
pub struct HttpService {
    pub name: String,
    /// What tool paths are added to.
    pub url: Url,
    /// How the gateway shows who it is.
    pub auth: Auth,
    /// For the whole call (30 s).
    pub timeout: Duration,
    /// The longest response (1 MiB).
    pub max_response_bytes: u64,
    /// PEM certificates that are trusted as well.
    pub ca_cert: Option<Vec<u8>>,
    /// How it is reached, beyond its URL.
    pub peer: ServicePeer,
    /// Whether link-local and metadata addresses may be dialled.
    pub allow_link_local: bool,
    /// Sent with each call.
    pub headers: Vec<(String, Secret)>,
    /// How to tell that it works.
    pub health: Option<Health>,
    /// Texts for statuses.
    pub errors: Vec<ErrorMapping>,
}

impl HttpService {
    /// Its address as the owner gave it.
    pub fn address(&self) -> String {
        match &self.peer.socket {
            Some(path) => format!("unix:{}", path.display()),
            None => self.url.as_str().to_owned(),
        }
    }
}

/// How a service is reached and known when its URL does not say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePeer {
    pub socket: Option<PathBuf>,
    /// SHA-256 of its public key (SubjectPublicKeyInfo), checked instead of names and authorities.
    pub pin: Option<[u8; 32]>,
    /// The name in its certificate, when it is not the host of the URL.
    pub server_name: Option<String>,
}

#[derive(Clone, Debug)]
pub enum Auth {
    /// `Authorization: Bearer …`.
    Bearer(Secret),
    Header {
        name: String,
        token: Secret,
    },
    Query {
        param: String,
        token: Secret,
    },
    /// `Authorization: Basic …`.
    Basic {
        /// Without a colon.
        username: String,
        password: Secret,
    },
    /// A token that the service gives for a login.
    Login(Arc<Login>),
    /// No credentials.
    None,
}

/// How a session begins, is shown and ends.
#[derive(Clone, Debug)]
pub struct Login {
    pub request: LoginRequest,
    /// Where its token is in the answer.
    pub take: Take,
    /// The header that shows the token to the service.
    pub header: String,
    /// What stands before the token in that header.
    pub before: String,
    pub after: String,
    /// How long the service knows it. None: until it says 401.
    pub expires: Option<Duration>,
    pub logout: Option<LoginRequest>,
}

/// A request that begins or ends a session.
#[derive(Clone, Debug)]
pub struct LoginRequest {
    pub method: Method,
    /// With or without a query.
    pub path: String,
    pub headers: Vec<(String, Secret)>,
    /// After its content type.
    pub body: Option<(&'static str, Secret)>,
}

/// Where an answer holds a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Take {
    /// At this JSON pointer in the body.
    Json(String),
    Header(String),
    Cookie(String),
}

/// A request that shows whether a service works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// GET or HEAD, in general.
    pub method: Method,
    /// With or without a query.
    pub path: String,
    pub expect_status: u16,
}

/// The text that an agent gets for a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorMapping {
    /// 400 to 599.
    pub status: u16,
    /// `{body}` in it stands for the response.
    pub message: String,
}

/// Where the record lies and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    pub path: PathBuf,
    pub sync: SyncMode,
    /// Age at which the record is cut, in days (365).
    pub retain_days: u32,
    /// Size at which the record is cut, in MiB (512).
    pub max_mb: u64,
}

/// Which calls wait until their record is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// Those with side effects.
    Writes,
    All,
}

/// How people are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalConfig {
    /// Longer questions are refused (12000 characters).
    pub max_question_chars: usize,
    /// When a call that was denied again and again is no longer asked about; None: never.
    pub cool_down: Option<CoolDown>,
    /// How long a denied agent's answer is held back for a note, where a channel takes one later (60 s). 0: not.
    pub note_window: Duration,
    /// Whether a question is brought up again when half of its time is over (no).
    pub reminder: bool,
    /// What a yes may grant where a default asks, or no rule speaks of the call. None: nothing.
    pub grant: Option<GrantOffer>,
}

/// How often a person has to say no before nobody is asked any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoolDown {
    /// Denials of the same call (3).
    pub denies: usize,
    /// The time within which they count, and for which nobody is asked then (10 min).
    pub window: Duration,
}

/// How often the policy has to deny something to an agent before all its calls are stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CircuitBreaker {
    pub(crate) denies: usize,
    /// The time within which they count.
    pub(crate) window: Duration,
}

/// Limits per agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Open questions at once (10).
    pub max_pending_approvals: u32,
    /// Requests in a minute (60).
    pub max_requests_per_minute: u32,
}
