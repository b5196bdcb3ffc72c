//! All configured services, and which handler runs whose calls.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use smol::lock::Semaphore;
use smol::{LocalExecutor, Timer};

use super::call_slots::CallSlot;
use super::handler::{Attempt, ClaimedCall, Handler, PreparedCall};
use super::health::{HealthBoard, ServiceHealth};
use super::http::{self, HttpHandler};
use super::mcp::{McpHandler, Upstream};
use super::permit::PermitHandler;
use super::scrub::Scrubber;
use crate::base::backoff::jitter;
use crate::base::clock::{Clock, Timestamp};
use crate::config::ServiceConfig;
use crate::model::{Call, InvalidCall, Outcome, Tool};
use crate::net::client::HttpError;
use crate::store::Claim;

/// Time between two probes of a service; up to a tenth is added by chance, so that they do not fall together.
const PROBE_INTERVAL: Duration = Duration::from_secs(60);
/// Probes have a limit of their own, so that they do not stand in the way of calls, nor calls in theirs.
const PROBES_AT_ONCE: usize = 2;

/// All configured services. Clones are cheap and share connections and health.
#[derive(Clone)]
pub struct Services(Rc<Registry>);

struct Registry {
    handlers: BTreeMap<String, Box<dyn Handler>>,
    /// The MCP servers by the names of their services.
    upstreams: BTreeMap<String, Rc<Upstream>>,
    scrubber: Arc<Scrubber>,
    health: HealthBoard,
}

/// A service that cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSetupError {
    /// Its key in config.yaml.
    pub service: String,
    pub why: HttpError,
}

impl fmt::Display for ServiceSetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service \"{}\" cannot be set up: {}", self.service, self.why)
    }
}

impl std::error::Error for ServiceSetupError {}

/// Whether `service` can be sent `call` at all, as far as the files say.
///
/// # Errors
/// When it cannot.
pub(crate) fn check(service: &ServiceConfig, call: &Call) -> Result<(), InvalidCall> {
    match service {
        ServiceConfig::Http(service) => http::request::build(service, call).map(drop),
        ServiceConfig::Permit(_) | ServiceConfig::Mcp(_) => Ok(()),
    }
}

impl Services {
    /// Connects to nothing.
    ///
    /// # Errors
    /// When a service's `ca_cert` holds no certificate.
    pub fn new(configs: &[ServiceConfig], scrubber: Arc<Scrubber>) -> Result<Services, ServiceSetupError> {
        Services::after(configs, scrubber, None)
    }

    /// The same after others, from which running servers are taken over.
    ///
    /// # Errors
    /// As [`Services::new`].
    pub(crate) fn after(
        configs: &[ServiceConfig],
        scrubber: Arc<Scrubber>,
        earlier: Option<&Services>,
    ) -> Result<Services, ServiceSetupError> {
        let (mut handlers, mut upstreams) = (BTreeMap::new(), BTreeMap::new());
        for config in configs {
            let service = config.name().to_owned();
            let handler: Box<dyn Handler> = match config {
                ServiceConfig::Http(http) => match HttpHandler::new(http, &scrubber) {
                    Ok(handler) => Box::new(Arc::new(handler)),
                    Err(why) => return Err(ServiceSetupError { service, why }),
                },
                ServiceConfig::Permit(permit) => Box::new(PermitHandler(permit.clone())),
                ServiceConfig::Mcp(mcp) => {
                    let running = earlier.and_then(|earlier| earlier.0.upstreams.get(&mcp.name));
                    let running = running.filter(|upstream| upstream.is(mcp)).cloned();
                    let upstream = running.unwrap_or_else(|| Upstream::new(mcp, &scrubber));
                    upstreams.insert(service.clone(), upstream.clone());
                    Box::new(McpHandler::new(mcp, upstream))
                }
            };
            handlers.insert(service, handler);
        }
        let health = HealthBoard::new(handlers.keys().cloned());
        Ok(Services(Rc::new(Registry { handlers, upstreams, scrubber, health })))
    }

    fn handler(&self, call: &Call) -> Option<&dyn Handler> {
        self.0.handlers.get(&call.tool().service).map(Box::as_ref)
    }

    /// Makes `call` ready to be sent. To be asked before the policy and before a person.
    ///
    /// # Errors
    /// When it cannot be sent at all; [`InvalidCall::BadRequest`] when its service is not configured.
    pub fn check(&self, call: &Call) -> Result<PreparedCall, InvalidCall> {
        self.handler(call).ok_or(InvalidCall::BadRequest)?.check(call)
    }

    /// How long `call` may take: to get a slot, and then to be answered.
    pub fn limit(&self, call: &Call) -> Duration {
        let service = || self.handler(call).map(|handler| handler.timeout());
        call.tool().timeout.or_else(service).unwrap_or_default()
    }

    /// Sends the claimed call, once, as these services have it.
    ///
    /// The outcome is `Executed`, `Permitted`, `ServiceUnreachable`, `ServiceTimeout`, `ServiceError`, `ResponseTooLarge` or
    /// `UnknownResult`, scrubbed of secrets; `Invalid` only for a call that [`Services::check`] refuses. Once the
    /// request is on its way, dropping this future does not stop it: the caller must see it through.
    pub async fn run(&self, claim: Claim, prepared: Option<PreparedCall>, slot: CallSlot) -> Attempt {
        let call = claim.call();
        let Some(handler) = self.handler(call) else {
            log::warn!("tool {}: its service {} is not configured", call.tool().name, call.tool().service);
            return Outcome::ServiceUnreachable.into();
        };
        let scrubber = Arc::clone(&self.0.scrubber).and(&call.secrets());
        handler.run(ClaimedCall { claim, prepared, scrubber, slot }).await
    }

    /// Other services are in force from now on: what has not been sent is not sent, what has been is seen through.
    pub fn retire(&self) {
        self.0.handlers.values().for_each(|handler| handler.retire());
    }

    /// Ends the sessions at services, as far as they can be ended. Waits a bounded time.
    pub async fn log_out(&self) {
        let ends: Vec<_> = self.0.handlers.values().map(|handler| handler.log_out()).collect();
        for end in ends {
            end.await;
        }
    }

    /// Ends all calls, running or to come; those with side effects that were under way are `UnknownResult`.
    pub fn shutdown(&self) {
        self.0.handlers.values().for_each(|handler| handler.shutdown());
    }

    /// Notes what the end of a call of `tool` says of its service.
    pub fn heard(&self, tool: &Tool, outcome: &Outcome, now: Timestamp) {
        self.0.health.note_outcome(tool, outcome, now);
    }

    /// The state of every service, by name.
    pub fn health(&self) -> Vec<(String, ServiceHealth)> {
        let server = |name: &String| self.0.handlers.get(name).and_then(|handler| handler.server());
        let with_server = |(name, health): (String, ServiceHealth)| {
            let server = server(&name);
            (name, ServiceHealth { server, ..health })
        };
        self.0.health.all().into_iter().map(with_server).collect()
    }

    /// Whether a tool must not be called now, because it is not what its owner has looked at.
    pub(crate) fn blocks(&self, tool: &Tool) -> bool {
        self.0.handlers.get(&tool.service).is_some_and(|handler| handler.blocks(tool))
    }

    /// Probes every service that can be asked whether it is well, at once and then every [`PROBE_INTERVAL`], and hears
    /// what changes in what services offer. Never returns.
    pub async fn watch(&self, clock: Clock, changed: impl Fn(Option<String>)) {
        let (permits, tasks) = (Semaphore::new(PROBES_AT_ONCE), LocalExecutor::new());
        for (name, handler) in &self.0.handlers {
            tasks.spawn(watch_news(handler.as_ref(), &changed)).detach();
            if handler.health().is_some() {
                tasks.spawn(self.probe(name, handler.as_ref(), &clock, &permits)).detach();
            }
        }
        tasks.run(std::future::pending::<()>()).await;
    }

    async fn probe(&self, name: &str, handler: &dyn Handler, clock: &Clock, permits: &Semaphore) {
        loop {
            let permit = permits.acquire().await;
            let Some(probe) = handler.health() else { return };
            self.0.health.note(name, probe.await, clock.now());
            drop(permit);
            Timer::after(PROBE_INTERVAL + jitter(PROBE_INTERVAL / 10)).await;
        }
    }
}

async fn watch_news(handler: &dyn Handler, changed: &impl Fn(Option<String>)) {
    while let Some(news) = handler.news() {
        changed(news.await);
    }
}
