//! Sends requests to one service, with the token of a session where the service wants one.

use std::sync::Arc;
use std::time::Duration;

use super::login::LoginSessions;
use super::no_response::NoResponse;
use crate::config::{Auth, HttpService};
use crate::model::Kind;
use crate::net::client::{HttpClient, HttpError, HttpOptions, HttpRequest, HttpResponse};
use crate::service::scrub::Scrubber;

/// Time for name lookup, TCP and TLS; the client keeps it below the limit of the whole call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Sender {
    timeout: Duration,
    /// Keeps its connections: a read that is lost changes nothing.
    reading: HttpClient,
    /// Makes a fresh connection for each call, so that a stale one never makes an outcome unknown.
    writing: HttpClient,
    /// Polls for the end of calls that have been sent: a reload does not retire it.
    polling: HttpClient,
    sessions: Option<LoginSessions>,
}

impl Sender {
    /// Connects to nothing.
    pub(super) fn new(config: &Arc<HttpService>, scrubber: &Arc<Scrubber>) -> Result<Sender, HttpError> {
        let client = |reuse_connections| {
            HttpClient::new(HttpOptions {
                timeout: config.timeout,
                connect_timeout: CONNECT_TIMEOUT,
                max_response_bytes: config.max_response_bytes,
                ca_pem: config.ca_cert.clone(),
                socket: config.peer.socket.clone(),
                pin: config.peer.pin,
                server_name: config.peer.server_name.clone(),
                allow_link_local: config.allow_link_local,
                reuse_connections,
            })
        };
        let mut sessions = None;
        if let Auth::Login(login) = &config.auth {
            let (login, config, scrubber) = (Arc::clone(login), Arc::clone(config), Arc::clone(scrubber));
            sessions = Some(LoginSessions::new(login, config, client(false)?, scrubber));
        }
        let (reading, writing, polling) = (client(true)?, client(false)?, client(true)?);
        Ok(Sender { timeout: config.timeout, reading, writing, polling, sessions })
    }

    /// BLOCKS until the response is there or the time is over.
    pub(super) fn send(&self, request: HttpRequest, kind: Kind) -> Result<HttpResponse, NoResponse> {
        let client = if kind.has_side_effects() { &self.writing } else { &self.reading };
        self.send_by(client, request, kind)
    }

    /// Like `send`, for a read that a reload does not stop.
    pub(super) fn poll(&self, request: HttpRequest) -> Result<HttpResponse, NoResponse> {
        self.send_by(&self.polling, request, Kind::Read)
    }

    /// A read that is turned away with 401 is sent once more with the token of a new session; nothing else is ever sent
    /// twice.
    fn send_by(
        &self,
        client: &HttpClient,
        request: HttpRequest,
        kind: Kind,
    ) -> Result<HttpResponse, NoResponse> {
        let Some(sessions) = &self.sessions else { return Ok(client.call(request)?) };
        let limit = request.timeout.unwrap_or(self.timeout);
        let mut first = request.clone();
        let session = sessions.sign(&mut first, client, limit)?;
        let response = client.call(first)?;
        if response.status != 401 {
            return Ok(response);
        }
        sessions.forget(session);
        if kind.has_side_effects() {
            return Ok(response);
        }
        let mut second = request;
        sessions.sign(&mut second, client, limit)?;
        Ok(client.call(second)?)
    }

    /// What has not been sent is not sent any more; what has been is seen through.
    pub(super) fn retire(&self) {
        self.reading.retire();
        self.writing.retire();
        self.sessions.iter().for_each(|sessions| sessions.wake());
    }

    /// Ends all requests, running or to come.
    pub(super) fn shutdown(&self) {
        self.reading.shutdown();
        self.writing.shutdown();
        self.polling.shutdown();
        self.sessions.iter().for_each(|sessions| sessions.shutdown());
    }

    /// Ends the session. BLOCKS for a bounded time.
    pub(super) fn log_out(&self) {
        self.sessions.iter().for_each(|sessions| sessions.close());
    }
}
