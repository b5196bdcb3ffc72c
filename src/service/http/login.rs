//! Sessions: one login for all calls that need one, a token that calls show, and a logout at the end.
//!
//! A token is a credential like those in the configuration: it is known to the scrubber before the first call shows it. It
//! must never be logged, and a call with side effects must never be sent again because of it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use serde_json::Value;

use crate::base::backoff::doubled;
use crate::base::secret::Secret;
use crate::config::{Login, LoginRequest, ServiceConfig, Take};
use crate::model::Outcome;
use crate::net::client::{HttpClient, HttpError, HttpRequest, HttpResponse, MaybeSent};
use crate::service::scrub::Scrubber;

/// The longest token, in bytes.
const MAX_TOKEN: usize = 8 * 1024;

/// The longest answer to a login that is looked through.
const MAX_ANSWER: usize = 256 * 1024;

/// For how long a login that was refused is not tried again, doubled each time: services lock accounts.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Time for a logout.
const LOGOUT_TIMEOUT: Duration = Duration::from_secs(2);

/// The sessions of one service, one after another.
pub(crate) struct Sessions {
    login: Arc<Login>,
    service: Arc<ServiceConfig>,
    /// It is not retired by a reload, so that a session can still be ended then.
    client: HttpClient,
    scrubber: Arc<Scrubber>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// Somebody logs in.
    busy: bool,
    /// How many logins have ended.
    tried: u64,
    failed: Option<Failed>,
    /// There will be no further session.
    closed: bool,
}

struct Held {
    token: Secret,
    /// The login that it came from.
    number: u64,
    since: Instant,
}

struct Failed {
    outcome: Outcome,
    number: u64,
    in_a_row: u32,
    /// Not tried again before; None: at once.
    again: Option<Instant>,
}

/// Why there is no token.
struct NoToken {
    outcome: Outcome,
    /// The service said no, and would say so again.
    refused: bool,
}

/// Why a request has no token. It has not been sent.
pub(crate) enum Unsigned {
    /// Other services are in force, and they log in themselves.
    Retired,
    /// How the call ends.
    Ended(Outcome),
}

impl From<Outcome> for Unsigned {
    fn from(outcome: Outcome) -> Unsigned {
        Unsigned::Ended(outcome)
    }
}

impl Sessions {
    pub(crate) fn new(
        login: &Arc<Login>,
        service: &Arc<ServiceConfig>,
        client: HttpClient,
        scrubber: &Arc<Scrubber>,
    ) -> Sessions {
        Sessions {
            login: Arc::clone(login),
            service: Arc::clone(service),
            client,
            scrubber: Arc::clone(scrubber),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Puts the token into `request`, after a login if there is none. BLOCKS for at most `limit`. Gives the number of the
    /// session. `client` will send the request: once it is retired, nobody waits for a login or makes one for it.
    ///
    /// # Errors
    /// Why there is no token.
    pub(crate) fn sign(
        &self,
        request: &mut HttpRequest,
        client: &HttpClient,
        limit: Duration,
    ) -> Result<u64, Unsigned> {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        let began = state.tried;
        loop {
            if client.is_retired() {
                return Err(Unsigned::Retired);
            }
            if state.closed {
                return Err(Outcome::ServiceUnreachable.into());
            }
            if let Some(held) = state.held.as_ref().filter(|held| !self.is_over(held)) {
                self.show(&held.token, request);
                return Ok(held.number);
            }
            if let Some(failed) = &state.failed
                && (failed.number > began || failed.again.is_some_and(|again| Instant::now() < again))
            {
                return Err(failed.outcome.clone().into());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Outcome::ServiceUnreachable.into());
            }
            state = match state.busy {
                true => self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                false => self.begin(state, left),
            };
        }
    }

    /// Wakes those who wait for a login: a reload has retired what they wait for.
    pub(crate) fn wake(&self) {
        // Who has just looked holds the lock until it waits, so that it hears this.
        let _state = self.lock();
        self.changed.notify_all();
    }

    /// The session with this number is over: the service does not know it any more.
    pub(crate) fn forget(&self, number: u64) {
        let mut state = self.lock();
        state.held.take_if(|held| held.number == number);
    }

    /// Ends the session, and there will be no other. BLOCKS for up to [`LOGOUT_TIMEOUT`].
    pub(crate) fn close(&self) {
        let held = {
            let mut state = self.lock();
            state.closed = true;
            self.changed.notify_all();
            state.held.take()
        };
        if let Some(logout) = held.and_then(|held| self.logout(&held)) {
            end(&self.client, &self.service.name, logout);
        }
    }

    /// Ends all of its calls, running or to come.
    pub(crate) fn shutdown(&self) {
        self.client.shutdown();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self, held: &Held) -> bool {
        self.login.expires.is_some_and(|lasts| held.since.elapsed() >= lasts)
    }

    fn show(&self, token: &Secret, request: &mut HttpRequest) {
        let Login { header, before, after, .. } = &*self.login;
        request.headers.retain(|(name, _)| !name.eq_ignore_ascii_case(header));
        request.headers.push((header.clone(), format!("{before}{}{after}", token.expose())));
    }

    /// Logs in, while others wait.
    fn begin<'s>(&'s self, mut state: MutexGuard<'s, State>, limit: Duration) -> MutexGuard<'s, State> {
        state.busy = true;
        let old = state.held.take().and_then(|held| self.logout(&held));
        drop(state);
        if let Some(logout) = old {
            end(&self.client, &self.service.name, logout);
        }
        let since = Instant::now();
        let got = self.log_in(limit);
        let mut state = self.lock();
        state.busy = false;
        state.tried += 1;
        let number = state.tried;
        match got {
            Ok(token) => {
                state.failed = None;
                state.held = Some(Held { token, number, since });
            }
            Err(NoToken { outcome, refused }) => {
                let earlier = state.failed.as_ref().map_or(0, |failed| failed.in_a_row);
                let in_a_row = earlier.saturating_add(u32::from(refused));
                let again = refused.then(|| Instant::now() + pause(earlier));
                state.failed = Some(Failed { outcome, number, in_a_row, again });
            }
        }
        self.changed.notify_all();
        state
    }

    fn log_in(&self, limit: Duration) -> Result<Secret, NoToken> {
        let name = &self.service.name;
        let mut request = self.request(&self.login.request);
        request.timeout = Some(limit.min(self.service.timeout));
        let answer = self.client.call(request).map_err(|why| {
            log::warn!("service {name}: the login failed: {why}");
            NoToken { outcome: not_logged_in(&why), refused: false }
        })?;
        let status = answer.status;
        let failed = |message: String| {
            log::warn!("service {name}: {message}");
            NoToken {
                outcome: Outcome::ServiceError { status: Some(status), message, retry_after: None },
                refused: status < 500,
            }
        };
        if !(200..=399).contains(&status) {
            return Err(failed(format!("Service refused the gateway's login ({status})")));
        }
        let token = token(&self.login.take, &answer)
            .ok_or_else(|| failed("Service answered the gateway's login without a token".to_owned()))?;
        self.scrubber.learn(&token);
        log::info!("service {name}: logged in");
        Ok(token)
    }

    fn request(&self, what: &LoginRequest) -> HttpRequest {
        let LoginRequest { method, path, headers, body } = what;
        let common = self.service.headers.iter().chain(headers);
        let mut lines: Vec<(String, String)> = Vec::new();
        for (name, value) in common {
            lines.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
            lines.push((name.clone(), value.expose().to_owned()));
        }
        let body = body.as_ref().map(|(kind, text)| {
            lines.retain(|(known, _)| !known.eq_ignore_ascii_case("content-type"));
            lines.push(("content-type".to_owned(), (*kind).to_owned()));
            text.expose().as_bytes().to_vec()
        });
        HttpRequest {
            method: method.as_str().to_owned(),
            url: format!("{}{path}", self.service.url.as_str()),
            headers: lines,
            body,
            timeout: None,
        }
    }

    /// The request that ends a session, where there is one.
    fn logout(&self, held: &Held) -> Option<HttpRequest> {
        let mut request = self.request(self.login.logout.as_ref()?);
        request.timeout = Some(LOGOUT_TIMEOUT);
        self.show(&held.token, &mut request);
        Some(request)
    }
}

/// The pause after a login that was refused, behind so many that were.
fn pause(earlier: u32) -> Duration {
    doubled(FIRST_PAUSE, earlier, LONGEST_PAUSE)
}

/// After a reload the session goes with its services. A drop cannot wait for it.
impl Drop for Sessions {
    fn drop(&mut self) {
        let held = self.lock().held.take();
        if let Some(logout) = held.and_then(|held| self.logout(&held)) {
            let (client, name) = (self.client.clone(), self.service.name.clone());
            smol::unblock(move || end(&client, &name, logout)).detach();
        }
    }
}

fn end(client: &HttpClient, service: &str, logout: HttpRequest) {
    match client.call(logout) {
        Ok(answer) => log::debug!("service {service}: logged out ({})", answer.status),
        Err(why) => log::debug!("service {service}: not logged out: {why}"),
    }
}

/// What a call is told that was not sent, because the login before it was not answered.
fn not_logged_in(why: &HttpError) -> Outcome {
    let no_answer = |status| Outcome::ServiceError {
        status,
        message: "Service did not answer the gateway's login as it should".to_owned(),
        retry_after: None,
    };
    match why {
        HttpError::NotSent(_)
        | HttpError::MaybeSent(MaybeSent::Timeout | MaybeSent::Disconnected)
        | HttpError::Cut { status: _, why: MaybeSent::Timeout | MaybeSent::Disconnected } => {
            Outcome::ServiceUnreachable
        }
        HttpError::MaybeSent(_) => no_answer(None),
        HttpError::TooLarge { status, .. } | HttpError::Cut { status, .. } => no_answer(Some(*status)),
    }
}

/// The token in an answer: one line that a header can carry.
fn token(take: &Take, answer: &HttpResponse) -> Option<Secret> {
    let text = match take {
        Take::Json(pointer) => {
            let body = answer.body.get(..).filter(|body| body.len() <= MAX_ANSWER)?;
            match serde_json::from_slice::<Value>(body).ok()?.pointer(pointer)? {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
            }
        }
        Take::Header(name) => answer.header(name).next()?.to_owned(),
        Take::Cookie(name) => {
            let pairs =
                answer.header("set-cookie").filter_map(|line| line.split(';').next()?.split_once('='));
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
        assert_eq!([0, 1, 2, 3, 4, 9].map(|n| pause(n).as_secs()), [5, 10, 20, 40, 60, 60]);
    }
}
