//! The calls to services: what an allowed [`Call`] becomes on the wire, and what its answer becomes for the agent.
//!
//! | folder or file | what |
//! |---|---|
//! | [`http`] | the calls to services that speak HTTP |
//! | [`scrub`] | the owner's credentials taken out of everything that comes back |
//! | [`health`] | whether the services are well |
//! | `places` | how many calls run at once, and who is next |
//!
//! It must never decide whether a call may happen, never send one twice, and never let a credential, a path or an
//! answer into the log.

pub(crate) mod health;
pub(crate) mod http;
mod places;
mod scrub;

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::config::{Auth, ServiceConfig};
use crate::model::{Call, InvalidCall, Kind, Lost, Outcome, Tool};
use crate::net::client::{
    ClientOptions, HttpClient, HttpError, HttpRequest, HttpResponse, MaybeSent, NotSent,
};
use crate::store::Claim;
use health::HealthBoard;
pub use health::ServiceHealth;
use http::login::{Sessions, Unsigned};
use http::{request, response};
pub use places::{Place, Places, Shares};
pub use scrub::Scrubber;

/// Time for name lookup, TCP and TLS; the client keeps it below the limit of the whole call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of an answer from which on it is read one at a time, and keeps its place until it is recorded.
const LARGE: usize = 16 * 1024;

/// All configured services. Clones are cheap and share connections and health.
#[derive(Clone)]
pub struct Services(Rc<Inner>);

struct Inner {
    services: BTreeMap<String, Service>,
    scrubber: Arc<Scrubber>,
    health: HealthBoard,
}

/// One service. Everything here goes along onto the blocking pool.
#[derive(Clone)]
struct Service {
    config: Arc<ServiceConfig>,
    /// Keeps its connections: a read may be lost, nothing happens twice.
    reading: HttpClient,
    /// A fresh connection for each call, so that a stale one never makes an outcome unknown.
    writing: HttpClient,
    /// Asks after calls that have been sent: a reload does not retire it.
    asking: HttpClient,
    /// Where calls show a token that a login gave.
    sessions: Option<Arc<Sessions>>,
    /// Held while a large answer is read: threads that allocate and free a lot at once hinder each other, and are slower
    /// together than one after another.
    reader: Arc<Mutex<()>>,
}

/// What became of a call.
pub enum Sent {
    /// It has ended.
    Ended {
        /// What its agent is to hear.
        outcome: Outcome,
        /// To be kept until the outcome is recorded: services may be faster than the disk, and large answers must not
        /// pile up between them. A small answer has given its place back already.
        place: Option<Place>,
    },
    /// Other services are in force: not a byte of it has left, and it can be sent by them.
    Overtaken(Claim, Place),
}

/// A service that cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSetupError {
    /// Its key in config.yaml.
    pub service: String,
    /// Why its client cannot be made.
    pub why: HttpError,
}

impl fmt::Display for ServiceSetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service \"{}\" cannot be set up: {}", self.service, self.why)
    }
}

impl std::error::Error for ServiceSetupError {}

impl Services {
    /// Makes the clients; connects to nothing.
    ///
    /// # Errors
    /// When a service's `ca_cert` holds no certificate.
    pub fn new(configs: &[ServiceConfig], scrubber: Arc<Scrubber>) -> Result<Services, ServiceSetupError> {
        let made = configs.iter().map(|c| Ok((c.name.clone(), Service::new(c, &scrubber)?)));
        let services = made.collect::<Result<BTreeMap<_, _>, ServiceSetupError>>()?;
        let health = HealthBoard::new(services.keys().cloned());
        Ok(Services(Rc::new(Inner { services, scrubber, health })))
    }

    /// Whether `call` can be sent at all. To be asked before the policy and before a human.
    ///
    /// # Errors
    /// See [`request::build`]; [`InvalidCall::BadRequest`] when the tool's service is not configured.
    pub fn check(&self, call: &Call) -> Result<(), InvalidCall> {
        let service = self.0.services.get(&call.tool().service).ok_or(InvalidCall::BadRequest)?;
        request::build(&service.config, call).map(drop)
    }

    /// How long `call` may take: to get a place, and then to be answered.
    pub fn limit(&self, call: &Call) -> Duration {
        let tool = call.tool();
        let service = || self.0.services.get(&tool.service).map(|service| service.config.timeout);
        tool.timeout.or_else(service).unwrap_or_default()
    }

    /// Sends the claimed call, once, as these services have it.
    ///
    /// The outcome is `Executed`, `ServiceUnreachable`, `ServiceTimeout`, `ServiceError`, `ResponseTooLarge` or
    /// `UnknownResult`, scrubbed of secrets; `Invalid` only for a call that [`Services::check`] refuses. Once the
    /// request is on its way, dropping this future does not stop it: the caller must see it through.
    pub async fn run(&self, claim: Claim, place: Place) -> Sent {
        let call = claim.call();
        let unsent = |outcome| Sent::Ended { outcome, place: None };
        let Some(service) = self.0.services.get(&call.tool().service).cloned() else {
            log::warn!("tool {}: its service {} is not configured", call.tool().name, call.tool().service);
            return unsent(Outcome::ServiceUnreachable);
        };
        let request = match request::build(&service.config, call) {
            Ok(request) => request,
            Err(why) => return unsent(Outcome::Invalid(why)),
        };
        let scrubber = Arc::clone(&self.0.scrubber).and(&call.secrets());
        // The place lives as long as the blocking call, whoever still waits for it.
        smol::unblock(move || service.execute(claim, request, &scrubber, place)).await
    }

    /// Other services are in force from now on: what has not been sent is not sent, what has been is seen through.
    pub fn retire(&self) {
        self.0.services.values().for_each(|service| {
            service.reading.retire();
            service.writing.retire();
            service.sessions.iter().for_each(|sessions| sessions.wake());
        });
    }

    /// Ends the sessions at services, as far as they can be ended. Waits a bounded time.
    pub async fn log_out(&self) {
        let sessions = self.0.services.values().filter_map(|service| service.sessions.clone());
        let ends: Vec<_> = sessions.map(|s| smol::unblock(move || s.close())).collect();
        for end in ends {
            end.await;
        }
    }

    /// Ends all calls, running or to come; those with side effects that were under way are `UnknownResult`.
    pub fn shutdown(&self) {
        self.0.services.values().for_each(|service| {
            service.reading.shutdown();
            service.writing.shutdown();
            service.asking.shutdown();
            service.sessions.iter().for_each(|sessions| sessions.shutdown());
        });
    }
}

impl Service {
    fn new(config: &ServiceConfig, scrubber: &Arc<Scrubber>) -> Result<Service, ServiceSetupError> {
        let config = Arc::new(config.clone());
        let client = |reuse_connections| {
            let options = ClientOptions {
                timeout: config.timeout,
                connect_timeout: CONNECT_TIMEOUT,
                max_response_bytes: config.max_response_bytes,
                ca_pem: config.ca_cert.clone(),
                socket: config.peer.socket.clone(),
                pin: config.peer.pin,
                server_name: config.peer.server_name.clone(),
                allow_link_local: config.allow_link_local,
                reuse_connections,
            };
            HttpClient::new(options).map_err(|why| ServiceSetupError { service: config.name.clone(), why })
        };
        let (reading, writing, asking) = (client(true)?, client(false)?, client(true)?);
        let sessions = match &config.auth {
            Auth::Login(login) => Some(Arc::new(Sessions::new(login, &config, client(false)?, scrubber))),
            Auth::Bearer(_) | Auth::Header { .. } | Auth::Query { .. } | Auth::Basic { .. } | Auth::None => {
                None
            }
        };
        Ok(Service { config, reading, writing, asking, sessions, reader: Arc::default() })
    }

    fn client(&self, kind: Kind) -> &HttpClient {
        if kind.has_side_effects() { &self.writing } else { &self.reading }
    }

    /// BLOCKS until the answer is there or the time is over.
    fn execute(&self, claim: Claim, request: HttpRequest, scrubber: &Scrubber, place: Place) -> Sent {
        let tool = claim.call().tool();
        let original = tool.response.follow.is_some().then(|| request.clone());
        let answer = match self.send(request, tool.kind) {
            Ok(answer) => answer,
            Err(outcome) => return Sent::Ended { outcome, place: None },
        };
        match answer {
            Ok(answer) => {
                let answer = match &original {
                    Some(sent) => self.follow(tool, sent, answer),
                    None => Ok(answer),
                };
                let answer = match answer {
                    Ok(answer) => answer,
                    Err(outcome) => return Sent::Ended { outcome, place: None },
                };
                let is_large = answer.body.len() >= LARGE;
                let _turn = is_large.then(|| self.reader.lock().unwrap_or_else(PoisonError::into_inner));
                let outcome = response::outcome(&self.config, tool, answer, scrubber);
                Sent::Ended { outcome, place: is_large.then_some(place) }
            }
            Err(HttpError::NotSent(NotSent::Retired)) => Sent::Overtaken(claim, place),
            Err(why) => {
                log::warn!("tool {}, service {}: {why}", tool.name, self.config.name);
                Sent::Ended { outcome: without_answer(&why, tool), place: None }
            }
        }
    }
}

impl Service {
    /// BLOCKS until the answer is there or the time is over. Where there are sessions, a read that is turned away with 401
    /// is sent once more with a token of a new one; nothing else is ever sent twice.
    ///
    /// # Errors
    /// The outcome of a call that was not sent, because there is no token for it.
    fn send(&self, request: HttpRequest, kind: Kind) -> Result<Result<HttpResponse, HttpError>, Outcome> {
        self.send_by(self.client(kind), request, kind)
    }

    fn send_by(
        &self,
        client: &HttpClient,
        request: HttpRequest,
        kind: Kind,
    ) -> Result<Result<HttpResponse, HttpError>, Outcome> {
        let Some(sessions) = &self.sessions else { return Ok(client.call(request)) };
        let limit = request.timeout.unwrap_or(self.config.timeout);
        let signed = || {
            let mut request = request.clone();
            sessions.sign(&mut request, client, limit).map(|number| (request, number))
        };
        let (first, number) = match signed() {
            Ok(signed) => signed,
            Err(unsigned) => return unsigned_end(unsigned),
        };
        let answer = client.call(first);
        if !answer.as_ref().is_ok_and(|answer| answer.status == 401) {
            return Ok(answer);
        }
        sessions.forget(number);
        if kind.has_side_effects() {
            return Ok(answer);
        }
        match signed() {
            Ok((second, _)) => Ok(client.call(second)),
            Err(unsigned) => unsigned_end(unsigned),
        }
    }
}

fn unsigned_end(unsigned: Unsigned) -> Result<Result<HttpResponse, HttpError>, Outcome> {
    match unsigned {
        Unsigned::Retired => Ok(Err(HttpError::NotSent(NotSent::Retired))),
        Unsigned::Ended(outcome) => Err(outcome),
    }
}

/// What it means that there is no answer: it depends on whether the request can have arrived, and whether it can
/// have changed something.
fn without_answer(why: &HttpError, tool: &Tool) -> Outcome {
    let has_effects = tool.kind.has_side_effects();
    match why {
        HttpError::NotSent(_) => Outcome::ServiceUnreachable,
        HttpError::TooLarge { status, .. } if has_effects => {
            response::lost(tool, *status, Lost::TooLarge, None)
        }
        HttpError::Cut { status, .. } if has_effects => response::lost(tool, *status, Lost::CutOff, None),
        HttpError::MaybeSent(_) if has_effects => Outcome::UnknownResult,
        HttpError::TooLarge { .. } => Outcome::ResponseTooLarge,
        HttpError::MaybeSent(why) | HttpError::Cut { status: _, why } => read_failed(*why),
    }
}

fn read_failed(why: MaybeSent) -> Outcome {
    match why {
        MaybeSent::Timeout => Outcome::ServiceTimeout,
        MaybeSent::HeaderTooLarge => Outcome::ResponseTooLarge,
        MaybeSent::Disconnected => no_status("Service closed the connection"),
        MaybeSent::Garbage => no_status("Service did not answer in HTTP"),
    }
}

fn no_status(message: &str) -> Outcome {
    Outcome::ServiceError { status: None, message: message.to_owned(), retry_after: None }
}
