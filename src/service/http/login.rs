//! Sessions at a service: one login for all calls that need one, a token that calls carry, and a logout at the end.
//!
//! A token is a credential like those in the configuration: the scrubber knows it before the first call carries it. It
//! is never logged, and a call with side effects is never sent again because of it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use serde_json::Value;

use super::no_response::NoResponse;
use super::request::{bare, set_header, set_secret_headers};
use crate::base::backoff::doubled;
use crate::base::secret::Secret;
use crate::config::{HttpService, Login, LoginRequest, Take};
use crate::model::Outcome;
use crate::net::client::{HttpClient, HttpError, HttpRequest, HttpResponse, MaybeSent};
use crate::service::scrub::Scrubber;

/// The longest token, in bytes.
const MAX_TOKEN: usize = 8 * 1024;

/// The longest response to a login that is searched, in bytes.
const MAX_RESPONSE: usize = 256 * 1024;

/// Pause after a login that was refused, doubled each time: services lock accounts.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

const LOGOUT_TIMEOUT: Duration = Duration::from_secs(2);

/// The sessions at one service, one after another.
pub(super) struct LoginSessions {
    login: Arc<Login>,
    service: Arc<HttpService>,
    /// Not retired by a reload, so that a session can still be ended then.
    client: HttpClient,
    scrubber: Arc<Scrubber>,
    state: Mutex<LoginState>,
    changed: Condvar,
}

#[derive(Default)]
struct LoginState {
    session: Option<LoginSession>,
    /// Whether a thread is logging in.
    busy: bool,
    /// How many logins have ended.
    tried: u64,
    failed: Option<FailedLogin>,
    /// There will be no further session.
    closed: bool,
}

struct LoginSession {
    token: Secret,
    /// The login that it came from.
    number: u64,
    since: Instant,
}

struct FailedLogin {
    outcome: Outcome,
    number: u64,
    in_a_row: u32,
    /// The next attempt is not before this. None: at once.
    again: Option<Instant>,
}

/// Why there is no token.
struct NoToken {
    outcome: Outcome,
    /// The service said no, and would say so again.
    refused: bool,
}

impl LoginSessions {
    pub(super) fn new(
        login: Arc<Login>,
        service: Arc<HttpService>,
        client: HttpClient,
        scrubber: Arc<Scrubber>,
    ) -> LoginSessions {
        let (state, changed) = Default::default();
        LoginSessions { login, service, client, scrubber, state, changed }
    }

    /// Puts the token into `request`, after a login where there is no session. BLOCKS for at most `limit`. Returns the
    /// number of the session. Once `client`, which will send the request, is retired, nothing waits or logs in for it.
    pub(super) fn sign(
        &self,
        request: &mut HttpRequest,
        client: &HttpClient,
        limit: Duration,
    ) -> Result<u64, NoResponse> {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        let began = state.tried;
        loop {
            if client.is_retired() {
                return Err(NoResponse::RETIRED);
            }
            if state.closed {
                return Err(NoResponse::Ended(Outcome::ServiceUnreachable));
            }
            if let Some(session) = state.session.as_ref().filter(|session| !self.is_over(session)) {
                self.add_token(&session.token, request);
                return Ok(session.number);
            }
            if let Some(failed) = &state.failed
                && (failed.number > began || failed.again.is_some_and(|again| Instant::now() < again))
            {
                return Err(NoResponse::Ended(failed.outcome.clone()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NoResponse::Ended(Outcome::ServiceUnreachable));
            }
            state = match state.busy {
                true => self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                false => self.begin(state, left),
            };
        }
    }

    /// Wakes the threads that wait for a login, because a reload has retired what they wait for.
    pub(super) fn wake(&self) {
        // A thread that has just looked holds the lock until it waits, so it is woken too.
        let _state = self.lock();
        self.changed.notify_all();
    }

    /// The service does not know the session with this number any more.
    pub(super) fn forget(&self, number: u64) {
        self.lock().session.take_if(|session| session.number == number);
    }

    /// Ends the session, and there will be no other. BLOCKS for up to [`LOGOUT_TIMEOUT`].
    pub(super) fn close(&self) {
        let session = {
            let mut state = self.lock();
            state.closed = true;
            self.changed.notify_all();
            state.session.take()
        };
        self.log_out(session);
    }

    /// Ends all of its requests, running or to come.
    pub(super) fn shutdown(&self) {
        self.client.shutdown();
    }

    fn lock(&self) -> MutexGuard<'_, LoginState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self, session: &LoginSession) -> bool {
        self.login.expires.is_some_and(|lasts| session.since.elapsed() >= lasts)
    }

    fn add_token(&self, token: &Secret, request: &mut HttpRequest) {
        let Login { header, before, after, .. } = &*self.login;
        set_header(request, header, format!("{before}{}{after}", token.expose()));
    }

    /// Logs in, while others wait.
    fn begin<'s>(
        &'s self,
        mut state: MutexGuard<'s, LoginState>,
        limit: Duration,
    ) -> MutexGuard<'s, LoginState> {
        state.busy = true;
        let old = state.session.take();
        drop(state);
        self.log_out(old);
        let since = Instant::now();
        let got = self.log_in(limit);
        let mut state = self.lock();
        state.busy = false;
        state.tried += 1;
        let number = state.tried;
        match got {
            Ok(token) => {
                state.failed = None;
                state.session = Some(LoginSession { token, number, since });
            }
            Err(NoToken { outcome, refused }) => {
                let earlier = state.failed.as_ref().map_or(0, |failed| failed.in_a_row);
                let in_a_row = earlier.saturating_add(u32::from(refused));
                let again = refused.then(|| Instant::now() + doubled(FIRST_PAUSE, earlier, LONGEST_PAUSE));
                state.failed = Some(FailedLogin { outcome, number, in_a_row, again });
            }
        }
        self.changed.notify_all();
        state
    }

    fn log_in(&self, limit: Duration) -> Result<Secret, NoToken> {
        let name = &self.service.name;
        let request = self.request(&self.login.request, limit.min(self.service.timeout));
        let response = self.client.call(request).map_err(|why| {
            log::warn!("service {name}: the login failed: {why}");
            NoToken { outcome: without_response(&why), refused: false }
        })?;
        let status = response.status;
        let failed = |message: String| {
            log::warn!("service {name}: {message}");
            NoToken { outcome: service_error(Some(status), message), refused: status < 500 }
        };
        if !(200..=399).contains(&status) {
            return Err(failed(format!("Service refused the gateway's login ({status})")));
        }
        let token = token(&self.login.take, &response)
            .ok_or_else(|| failed("Service answered the gateway's login without a token".to_owned()))?;
        self.scrubber.learn(&token);
        log::info!("service {name}: logged in");
        Ok(token)
    }

    fn request(&self, what: &LoginRequest, timeout: Duration) -> HttpRequest {
        let LoginRequest { method, path, headers, body } = what;
        let mut request = bare(&self.service, method, path);
        set_secret_headers(&mut request, headers);
        if let Some((content_type, text)) = body {
            set_header(&mut request, "content-type", (*content_type).to_owned());
            request.body = Some(text.expose().as_bytes().to_vec());
        }
        HttpRequest { timeout: Some(timeout), ..request }
    }

    /// Ends `session` at the service, where it has a way to. BLOCKS for up to [`LOGOUT_TIMEOUT`].
    fn log_out(&self, session: Option<LoginSession>) {
        if let Some(logout) = session.and_then(|session| self.logout(&session)) {
            send_logout(&self.client, &self.service.name, logout);
        }
    }

    fn logout(&self, session: &LoginSession) -> Option<HttpRequest> {
        let mut request = self.request(self.login.logout.as_ref()?, LOGOUT_TIMEOUT);
        self.add_token(&session.token, &mut request);
        Some(request)
    }
}

/// After a reload the session ends with its services. A drop cannot wait for that.
impl Drop for LoginSessions {
    fn drop(&mut self) {
        let session = self.lock().session.take();
        if let Some(logout) = session.and_then(|session| self.logout(&session)) {
            let (client, name) = (self.client.clone(), self.service.name.clone());
            smol::unblock(move || send_logout(&client, &name, logout)).detach();
        }
    }
}

fn send_logout(client: &HttpClient, service: &str, logout: HttpRequest) {
    match client.call(logout) {
        Ok(response) => log::debug!("service {service}: logged out ({})", response.status),
        Err(why) => log::debug!("service {service}: not logged out: {why}"),
    }
}

/// The outcome of a call that was not sent because the login before it got no response.
fn without_response(why: &HttpError) -> Outcome {
    let bad =
        |status| service_error(status, "Service did not answer the gateway's login as it should".to_owned());
    match why {
        HttpError::NotSent(_)
        | HttpError::MaybeSent(MaybeSent::Timeout | MaybeSent::Disconnected)
        | HttpError::Cut { status: _, why: MaybeSent::Timeout | MaybeSent::Disconnected } => {
            Outcome::ServiceUnreachable
        }
        HttpError::MaybeSent(_) => bad(None),
        HttpError::TooLarge { status, .. } | HttpError::Cut { status, .. } => bad(Some(*status)),
    }
}

fn service_error(status: Option<u16>, message: String) -> Outcome {
    Outcome::ServiceError { status, message, retry_after: None }
}

/// The token in a response: one line that a header can carry.
fn token(take: &Take, response: &HttpResponse) -> Option<Secret> {
    let text = match take {
        Take::Json(pointer) => {
            let body = Some(&response.body).filter(|body| body.len() <= MAX_RESPONSE)?;
            match serde_json::from_slice::<Value>(body).ok()?.pointer(pointer)? {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
            }
        }
        Take::Header(name) => response.header(name).next()?.to_owned(),
        Take::Cookie(name) => {
            let pairs =
                response.header("set-cookie").filter_map(|line| line.split(';').next()?.split_once('='));
            let mut own = pairs.filter(|(known, _)| known.trim() == name);
            own.next()?.1.trim().trim_matches('"').to_owned()
        }
    };
    let fits = !text.is_empty() && text.len() <= MAX_TOKEN && !text.contains(char::is_whitespace);
    (fits && HeaderValue::try_from(text.as_str()).is_ok()).then(|| Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let pause = |earlier| doubled(FIRST_PAUSE, earlier, LONGEST_PAUSE).as_secs();
        assert_eq!([0, 1, 2, 3, 4, 9].map(pause), [5, 10, 20, 40, 60, 60]);
    }
}
