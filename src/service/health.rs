//! Whether the services are well, as their own health endpoints and the calls to them say: the newest word counts.
//!
//! It informs people (`status`, `/healthz`) and nothing else: a call is never refused because a probe failed.
//! Probes have permits of their own, so that they never stand in the way of calls, nor calls in theirs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use smol::lock::Semaphore;
use smol::{LocalExecutor, Timer};

use super::http::request;
use super::scrub::Scrubber;
use super::{Service, Services};
use crate::base::backoff::jitter;
use crate::base::clock::{Clock, Timestamp};
use crate::config::Health;
use crate::model::Kind;
use crate::model::{Outcome, Tool};

/// Time between two probes of a service; up to a tenth is added by chance, so that they do not fall together.
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(60);
/// The limit of one probe.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Probes at once.
const PROBES_AT_ONCE: usize = 2;

/// What is known of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceHealth {
    /// Whether it answered last; None until it was probed or called.
    pub up: Option<bool>,
    /// Since when `up` is what it is.
    pub since: Option<Timestamp>,
    /// The last probe that was answered as expected, or call that was answered.
    pub last_ok: Option<Timestamp>,
    /// What is wrong, until something goes well again; without credentials, arguments and answers.
    pub last_error: Option<String>,
}

/// The state of all services by name.
pub(super) struct HealthBoard(RefCell<BTreeMap<String, ServiceHealth>>);

impl HealthBoard {
    pub(super) fn new(names: impl Iterator<Item = String>) -> HealthBoard {
        HealthBoard(RefCell::new(names.map(|name| (name, ServiceHealth::default())).collect()))
    }

    fn note(&self, service: &str, result: Result<(), String>, now: Timestamp) {
        let mut board = self.0.borrow_mut();
        let Some(known) = board.get_mut(service) else { return };
        let up = Some(result.is_ok());
        if known.up != up {
            known.since = Some(now);
            tell(service, &result);
        }
        known.up = up;
        match result {
            Ok(()) => (known.last_ok, known.last_error) = (Some(now), None),
            Err(why) => known.last_error = Some(why),
        }
    }

    /// It answered, and that it cannot do this: neither well nor down.
    fn trouble(&self, service: &str, what: String) {
        if let Some(known) = self.0.borrow_mut().get_mut(service) {
            known.last_error = Some(what);
        }
    }
}

/// What the end of a call says of its service.
enum Sign {
    Well,
    Trouble(String),
    Down(String),
}

fn sign(outcome: &Outcome) -> Option<Sign> {
    let words = || outcome.reason().unwrap_or_default().replace('_', " ");
    match outcome {
        Outcome::Executed(_) | Outcome::ResponseTooLarge => Some(Sign::Well),
        Outcome::ServiceError { status: Some(status), .. } => Some(match status {
            // From what stands before it: RFC 9110, 15.6.
            502..=504 => Sign::Down(format!("service error {status}")),
            500.. => Sign::Trouble(format!("service error {status}")),
            _ => Sign::Well,
        }),
        Outcome::ServiceError { status: None, .. }
        | Outcome::ServiceUnreachable
        | Outcome::ServiceTimeout
        | Outcome::UnknownResult => Some(Sign::Down(words())),
        _not_of_the_service => None,
    }
}

fn tell(service: &str, result: &Result<(), String>) {
    match result {
        Ok(()) => log::info!("service {service} is up"),
        Err(why) => log::warn!("service {service} is down: {why}"),
    }
}

impl Services {
    /// A call of this tool has ended so: what that says of its service.
    pub fn heard(&self, tool: &Tool, outcome: &Outcome, now: Timestamp) {
        let (board, told) = (&self.0.health, |what| format!("{}: {what}", tool.name));
        match sign(outcome) {
            Some(Sign::Well) => board.note(&tool.service, Ok(()), now),
            Some(Sign::Trouble(what)) => board.trouble(&tool.service, told(what)),
            Some(Sign::Down(what)) => board.note(&tool.service, Err(told(what)), now),
            None => {}
        }
    }

    /// The state of every service, by name.
    pub fn health(&self) -> Vec<(String, ServiceHealth)> {
        let board = self.0.health.0.borrow();
        board.iter().map(|(name, health)| (name.clone(), health.clone())).collect()
    }

    /// Probes every service that has a health endpoint, at once and then every [`PROBE_INTERVAL`]. Never returns.
    pub async fn watch_health(&self, clock: Clock) {
        let permits = Arc::new(Semaphore::new(PROBES_AT_ONCE));
        let tasks = LocalExecutor::new();
        for (name, service) in &self.0.services {
            if let Some(health) = &service.config.health {
                tasks.spawn(self.watch(name, service, health, &clock, &permits)).detach();
            }
        }
        tasks.run(std::future::pending::<()>()).await;
    }

    async fn watch(
        &self,
        name: &str,
        service: &Service,
        health: &Health,
        clock: &Clock,
        permits: &Arc<Semaphore>,
    ) {
        loop {
            let permit = permits.acquire_arc().await;
            let (service, health) = (service.clone(), health.clone());
            let scrubber = Arc::clone(&self.0.scrubber);
            let result = smol::unblock(move || {
                let _permit = permit;
                service.probe(&health, &scrubber)
            });
            self.0.health.note(name, result.await, clock.now());
            Timer::after(PROBE_INTERVAL + jitter(PROBE_INTERVAL / 10)).await;
        }
    }
}

impl Service {
    /// BLOCKS for up to [`PROBE_TIMEOUT`]. An error says in words why the service counts as down.
    fn probe(&self, health: &Health, scrubber: &Scrubber) -> Result<(), String> {
        let mut request = request::probe(&self.config, health).map_err(|why| why.to_string())?;
        request.timeout = Some(PROBE_TIMEOUT);
        let answer = self.send(request, Kind::of(&health.method)).map_err(|outcome| outcome.message())?;
        let status = answer.map_err(|why| scrubber.text(why.to_string()))?.status;
        if status == health.expect_status {
            return Ok(());
        }
        Err(format!("it answered {status} instead of {}", health.expect_status))
    }
}
