//! The handler of services that speak HTTP.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use smol::future::{self, BoxedLocal};

use super::follow::follow;
use super::no_response::{self, NoResponse};
use super::request;
use super::response;
use super::sender::Sender;
use crate::config::{Health, HttpService};
use crate::model::{Call, InvalidCall, Outcome, Tool};
use crate::net::client::{HttpError, HttpRequest, HttpResponse, NotSent};
use crate::service::handler::{Attempt, ClaimedCall, Handler, PreparedCall};
use crate::service::scrub::Scrubber;

/// The size of a response, in bytes, from which on it is read alone and keeps its slot until it is recorded.
const LARGE: usize = 16 * 1024;

const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// One service. All of it goes along onto the blocking pool.
pub(in crate::service) struct HttpHandler {
    config: Arc<HttpService>,
    sender: Sender,
    scrubber: Arc<Scrubber>,
    /// Held while a large response is read: threads that allocate and free a lot at once hinder each other, and are
    /// slower together than one after another.
    reader: Mutex<()>,
}

impl Handler for Arc<HttpHandler> {
    fn check(&self, call: &Call) -> Result<PreparedCall, InvalidCall> {
        let request = request::build(&self.config, call)?;
        Ok(PreparedCall::Http(Arc::clone(&self.config), request))
    }

    fn run(&self, mut claimed: ClaimedCall) -> BoxedLocal<Attempt> {
        let service = Arc::clone(self);
        match self.request(claimed.claim.call(), claimed.prepared.take()) {
            // The slot lives as long as the blocking call, whoever still waits for it.
            Ok(request) => Box::pin(smol::unblock(move || service.execute(claimed, request))),
            Err(why) => Box::pin(future::ready(Outcome::Invalid(why).into())),
        }
    }

    fn health(&self) -> Option<BoxedLocal<Result<(), String>>> {
        let (service, health) = (Arc::clone(self), self.config.health.clone()?);
        Some(Box::pin(smol::unblock(move || service.probe(&health))))
    }

    fn timeout(&self) -> Duration {
        self.config.timeout
    }

    fn retire(&self) {
        self.sender.retire();
    }

    fn log_out(&self) -> BoxedLocal<()> {
        let service = Arc::clone(self);
        Box::pin(smol::unblock(move || service.sender.log_out()))
    }

    fn shutdown(&self) {
        self.sender.shutdown();
    }
}

impl HttpHandler {
    /// Connects to nothing.
    ///
    /// # Errors
    /// When `ca_cert` holds no certificate.
    pub(in crate::service) fn new(
        config: &Arc<HttpService>,
        scrubber: &Arc<Scrubber>,
    ) -> Result<HttpHandler, HttpError> {
        let sender = Sender::new(config, scrubber)?;
        Ok(HttpHandler {
            config: Arc::clone(config),
            sender,
            scrubber: Arc::clone(scrubber),
            reader: Mutex::default(),
        })
    }

    /// The prepared request, or a new one when it was prepared for an earlier state of the service.
    fn request(&self, call: &Call, prepared: Option<PreparedCall>) -> Result<HttpRequest, InvalidCall> {
        match prepared {
            Some(PreparedCall::Http(service, request)) if Arc::ptr_eq(&service, &self.config) => Ok(request),
            Some(_) | None => request::build(&self.config, call),
        }
    }

    /// BLOCKS until the response is there or the time is over.
    fn execute(&self, claimed: ClaimedCall, request: HttpRequest) -> Attempt {
        let ClaimedCall { claim, scrubber, slot, .. } = claimed;
        let tool = claim.call().tool();
        match self.response(tool, request) {
            Ok(response) => {
                let is_large = response.body.len() >= LARGE;
                let _turn = is_large.then(|| self.reader.lock().unwrap_or_else(PoisonError::into_inner));
                let outcome = response::outcome(&self.config, tool, response, &scrubber);
                Attempt::Ended { outcome, slot: is_large.then_some(slot) }
            }
            Err(NoResponse::Failed(HttpError::NotSent(NotSent::Retired))) => Attempt::Overtaken(claim, slot),
            Err(NoResponse::Failed(why)) => {
                log::warn!("tool {}, service {}: {why}", tool.name, self.config.name);
                no_response::outcome(&why, tool.kind).into()
            }
            Err(NoResponse::Ended(outcome)) => outcome.into(),
        }
    }

    fn response(&self, tool: &Tool, request: HttpRequest) -> Result<HttpResponse, NoResponse> {
        let Some(rule) = tool.target.http().and_then(|http| http.response.follow.as_ref()) else {
            return self.sender.send(request, tool.kind);
        };
        let response = self.sender.send(request.clone(), tool.kind)?;
        follow(&self.sender, &self.config, rule, tool, &request, response).map_err(NoResponse::Ended)
    }

    /// BLOCKS for up to [`PROBE_TIMEOUT`].
    fn probe(&self, health: &Health) -> Result<(), String> {
        let mut request = request::probe(&self.config, health).map_err(|why| why.to_string())?;
        request.timeout = Some(PROBE_TIMEOUT);
        match self.sender.send(request, health.method.default_kind()) {
            Ok(response) if response.status == health.expect_status => Ok(()),
            Ok(response) => {
                Err(format!("it answered {} instead of {}", response.status, health.expect_status))
            }
            Err(NoResponse::Failed(why)) => Err(self.scrubber.text(why.to_string())),
            Err(NoResponse::Ended(outcome)) => Err(outcome.message()),
        }
    }
}
