//! HTTP calls to services: the only place that makes `ureq` agents (most of their defaults would be wrong here,
//! and one of them panics). It must never follow a redirect, use a proxy of the environment, repeat a request, ask for
//! compression, or put a path, query or header into an error or log line: they hold secrets.

mod addresses;
mod connection;
mod error;
mod identity;
mod roots;
mod socket;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::unversioned::transport::{DefaultConnector, TcpConnector};
use ureq::{Agent, AsSendBody, Body, Proxy};

pub(crate) use addresses::is_link_local;
pub use error::{HttpError, MaybeSent, NotSent};

use crate::base::secret::Secret;
use connection::{Connector, Way};
use identity::ServerIdentity;

const MAX_RESPONSE_HEAD: usize = 64 * 1024;
/// Idle connections kept, for one host and in all: as many as calls run at once by default.
const MAX_IDLE: usize = 32;
/// Many servers close idle connections after five seconds.
const MAX_IDLE_AGE: Duration = Duration::from_secs(4);

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// The limit of a whole call, name lookup to last byte.
    pub timeout: Duration,
    /// The limit of name lookup, and of TCP and TLS handshake; kept below `timeout`.
    pub connect_timeout: Duration,
    /// The largest response body; one of exactly this size passes.
    pub max_response_bytes: u64,
    /// Certificates (PEM) to trust besides the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// The unix socket that the service listens on; its URL's host is only a name then.
    pub socket: Option<PathBuf>,
    /// Only a server with this public key: SHA-256 of its SubjectPublicKeyInfo. Names, dates and authorities do not
    /// matter.
    pub pin: Option<[u8; 32]>,
    /// The name that the server's certificate is for, instead of the URL's host.
    pub server_name: Option<String>,
    /// Whether link-local and cloud metadata addresses may be called.
    pub allow_link_local: bool,
    /// Whether idle connections are used again. Only for calls without side effects: the server may close one at
    /// the moment it is used, and then nobody knows whether the call arrived.
    pub reuse_connections: bool,
}

#[derive(Clone)]
pub struct HttpRequest {
    /// The method; any token.
    pub method: String,
    /// Absolute `http` or `https` URL, percent-encoded, without user name.
    pub url: String,
    /// Header names and values. `content-length` and `transfer-encoding` are not for callers to say.
    pub headers: Vec<(String, String)>,
    /// The body. `None` sends none.
    pub body: Option<Vec<u8>>,
    /// Instead of [`HttpOptions::timeout`].
    pub timeout: Option<Duration>,
}

/// A response, whatever its status: 302 and 500 are responses too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    pub status: u16,
    /// The (first) content type as it came, bytes that are no UTF-8 replaced.
    pub content_type: Option<String>,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// The values of a header that are text, in order.
    pub fn header(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
    }
}

/// Makes HTTP calls. Clones share their connections.
#[derive(Clone)]
pub struct HttpClient {
    agent: Agent,
    options: Arc<HttpOptions>,
    stopped: Arc<AtomicBool>,
    retired: Arc<AtomicBool>,
}

impl HttpClient {
    /// A client. Reads the system's certificates if `ca_pem` is set; makes no connection.
    ///
    /// # Errors
    /// [`NotSent::Tls`] when `ca_pem` holds no certificate.
    pub fn new(options: HttpOptions) -> Result<Self, HttpError> {
        HttpClient::made(options, None)
    }

    /// A client whose connections are made by an HTTP proxy (CONNECT), which also looks the names up. `proxy` is
    /// `http://[user:password@]host[:port]`; it learns the host and port of what is called, and with TLS nothing else.
    ///
    /// # Errors
    /// As for [`HttpClient::new`], and [`NotSent::BadUrl`] when `proxy` is no such address.
    pub fn through(proxy: &Secret, options: HttpOptions) -> Result<Self, HttpError> {
        let proxy = Proxy::new(proxy.expose()).map_err(|_| {
            NotSent::BadUrl("the proxy must be http://host:port, with or without user:password@")
        })?;
        HttpClient::made(options, Some(proxy))
    }

    fn made(options: HttpOptions, proxy: Option<Proxy>) -> Result<Self, HttpError> {
        let roots = match &options.ca_pem {
            Some(pem) => roots::system_and(pem)?,
            None => RootCerts::PlatformVerifier,
        };
        let retired = Arc::default();
        let connector = Connector::new(way(&options)?, Arc::clone(&retired));
        let config = config(&options, roots, proxy);
        let agent = match &options.socket {
            Some(_) => Agent::with_parts(config, connector, socket::NoNames),
            None => Agent::with_parts(config, connector, addresses::Resolver::new(options.allow_link_local)),
        };
        Ok(Self { agent, options: Arc::new(options), stopped: Arc::default(), retired })
    }

    /// Makes a call and reads the whole response. BLOCKS for up to the timeout: run it on the blocking pool.
    ///
    /// The request is sent at most once.
    ///
    /// # Errors
    /// [`HttpError`], which says whether the service can have seen the request.
    pub fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if self.is_retired() {
            return Err(HttpError::NotSent(NotSent::Retired));
        }
        let timeout = request.timeout.unwrap_or(self.options.timeout);
        let (head, body) = prepare(request)?;
        let response = match body {
            Some(bytes) => self.run(head.map(|()| bytes), timeout),
            None => self.run(head, timeout),
        };
        self.read(response.map_err(HttpError::from_ureq)?)
    }

    /// Ends every call of this client and its clones, running or to come. Running ones return an error at once.
    pub fn shutdown(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.agent.clone().shutdown();
    }

    /// From now on this client and its clones send no request: what still waits for its connection fails with
    /// [`NotSent::Retired`], what has been sent is seen through.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    fn run(
        &self,
        request: Request<impl AsSendBody>,
        timeout: Duration,
    ) -> Result<Response<Body>, ureq::Error> {
        let connect = connect_limit(&self.options, timeout);
        let request = self
            .agent
            .configure_request(request)
            .timeout_global(Some(timeout))
            .timeout_resolve(Some(connect))
            .timeout_connect(Some(connect))
            .build();
        self.agent.run(request)
    }

    /// Dropping an unread body closes its connection, so an answer that is too large costs no more than that.
    fn read(&self, response: Response<Body>) -> Result<HttpResponse, HttpError> {
        let cap = self.options.max_response_bytes;
        let (head, mut body) = response.into_parts();
        let status = head.status.as_u16();
        let length = body.content_length();
        if length.is_some_and(|n| n > cap) {
            return Err(HttpError::TooLarge { status, cap });
        }
        // ureq's limit fails when it is reached, not when it is passed.
        let bytes = body.with_config().limit(cap.saturating_add(1)).read_to_vec();
        let bytes = bytes.map_err(|e| HttpError::from_body(e, status, cap))?;
        if length.is_none() && self.stopped.load(Ordering::SeqCst) {
            // Our own shutdown ended the connection, which can look like the end of such a body.
            return Err(HttpError::Cut { status, why: MaybeSent::Disconnected });
        }
        let content_type = head.headers.get(header::CONTENT_TYPE);
        let content_type = content_type.map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
        Ok(HttpResponse { status, content_type, headers: head.headers, body: bytes })
    }
}

fn way(options: &HttpOptions) -> Result<Way, NotSent> {
    if let Some(path) = &options.socket {
        return Ok(Way::Socket(path.clone()));
    }
    if options.pin.is_none() && options.server_name.is_none() {
        return Ok(Way::Usual(DefaultConnector::default()));
    }
    let identity = ServerIdentity::new(options.pin, options.server_name.clone(), options.ca_pem.as_deref())?;
    Ok(Way::Known(TcpConnector::default(), identity))
}

fn config(options: &HttpOptions, roots: RootCerts, proxy: Option<Proxy>) -> ureq::config::Config {
    let idle = if options.reuse_connections { MAX_IDLE } else { 0 };
    let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(roots).build();
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(proxy)
        .accept_encoding("")
        .user_agent(concat!("agentpass/", env!("CARGO_PKG_VERSION")))
        .max_response_header_size(MAX_RESPONSE_HEAD)
        .max_idle_connections(idle)
        .max_idle_connections_per_host(idle)
        .max_idle_age(MAX_IDLE_AGE)
        .allow_non_standard_methods(true)
        .tls_config(tls)
        .build()
}

/// Strictly below the whole limit, so that what times out while connecting is known not to have been sent.
fn connect_limit(options: &HttpOptions, timeout: Duration) -> Duration {
    options.connect_timeout.min(timeout * 9 / 10)
}

/// The checked request, and its body if it has one. POST, PUT and PATCH always have one, if only an empty one.
fn prepare(request: HttpRequest) -> Result<(Request<()>, Option<Vec<u8>>), HttpError> {
    let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| NotSent::BadHeader("method"))?;
    let wants_body = matches!(method, Method::POST | Method::PUT | Method::PATCH);
    let mut head = Request::new(());
    *head.uri_mut() = uri(&request.url)?;
    *head.method_mut() = method;
    for (name, value) in &request.headers {
        let (name, value) = header_line(name, value)?;
        head.headers_mut().append(name, value);
    }
    Ok((head, request.body.or_else(|| wants_body.then(Vec::new))))
}

fn uri(text: &str) -> Result<Uri, NotSent> {
    let uri: Uri =
        text.parse().map_err(|_| NotSent::BadUrl("it has characters that must be percent-encoded"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(NotSent::BadUrl("it must begin with http:// or https://"));
    }
    match uri.authority() {
        Some(a) if a.as_str().contains('@') => {
            Err(NotSent::BadUrl("it must not hold a user name or password"))
        }
        Some(a) if !a.host().is_empty() => Ok(uri),
        Some(_) | None => Err(NotSent::BadUrl("it has no host")),
    }
}

fn header_line(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), NotSent> {
    let name = HeaderName::try_from(name).map_err(|_| NotSent::BadHeader("header name"))?;
    if name == header::CONTENT_LENGTH || name == header::TRANSFER_ENCODING {
        return Err(NotSent::BadHeader("header, it is set from the body"));
    }
    let mut value = HeaderValue::try_from(value).map_err(|_| NotSent::BadHeader("header value"))?;
    value.set_sensitive(true);
    Ok((name, value))
}
