//! Whether the services are well, as their own health endpoints and the calls to them say: the newest word counts.
//!
//! It informs people (`status`, `/healthz`) and nothing else: a call is never refused because a probe failed.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::drift::Drift;
use crate::base::clock::Timestamp;
use crate::model::{Outcome, Tool};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceHealth {
    /// Whether it answered last; None before the first probe or call.
    pub up: Option<bool>,
    /// Since when `up` is what it is.
    pub since: Option<Timestamp>,
    /// The last probe that was answered as expected, or call that was answered.
    pub last_ok: Option<Timestamp>,
    /// What is wrong, until something goes well again; without credentials, arguments and data.
    pub last_error: Option<String>,
    /// How the server is that we run for it, where we do.
    pub(crate) server: Option<ServerState>,
}

/// A server that is started when it is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerState {
    /// Resident memory of all of its processes in bytes. None: it does not run.
    pub(crate) memory: Option<u64>,
    /// Why it could not be used last.
    pub(crate) trouble: Option<String>,
    pub(crate) drift: Drift,
    /// How many tools are blocked, because they are not what was imported.
    pub(crate) blocked: usize,
    /// How many tools were imported.
    pub(crate) imported: usize,
}

pub(super) struct HealthBoard(RefCell<BTreeMap<String, ServiceHealth>>);

impl HealthBoard {
    pub(super) fn new(names: impl Iterator<Item = String>) -> HealthBoard {
        HealthBoard(RefCell::new(names.map(|name| (name, ServiceHealth::default())).collect()))
    }

    pub(super) fn all(&self) -> Vec<(String, ServiceHealth)> {
        self.0.borrow().iter().map(|(name, health)| (name.clone(), health.clone())).collect()
    }

    /// Notes what the end of a call of `tool` says of its service.
    pub(super) fn note_outcome(&self, tool: &Tool, outcome: &Outcome, now: Timestamp) {
        let named = |what| format!("{}: {what}", tool.name);
        match sign(tool, outcome) {
            Some(Sign::Well) => self.note(&tool.service, Ok(()), now),
            Some(Sign::Trouble(what)) => self.note_trouble(&tool.service, named(what)),
            Some(Sign::Down(what)) => self.note(&tool.service, Err(named(what)), now),
            None => {}
        }
    }

    pub(super) fn note(&self, service: &str, result: Result<(), String>, now: Timestamp) {
        let mut board = self.0.borrow_mut();
        let Some(known) = board.get_mut(service) else { return };
        let up = Some(result.is_ok());
        if known.up != up {
            known.since = Some(now);
            match &result {
                Ok(()) => log::info!("service {service} is up"),
                Err(why) => log::warn!("service {service} is down: {why}"),
            }
        }
        known.up = up;
        match result {
            Ok(()) => (known.last_ok, known.last_error) = (Some(now), None),
            Err(why) => known.last_error = Some(why),
        }
    }

    /// It answered that it cannot do this: neither well nor down.
    fn note_trouble(&self, service: &str, what: String) {
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

fn sign(tool: &Tool, outcome: &Outcome) -> Option<Sign> {
    let words = || outcome.reason().unwrap_or_default().replace('_', " ");
    match outcome {
        Outcome::Executed(_) | Outcome::ResponseTooLarge => Some(Sign::Well),
        Outcome::ServiceError { status: Some(status), .. } => Some(match status {
            // Sent by what stands before the service: RFC 9110, 15.6.
            502..=504 => Sign::Down(format!("service error {status}")),
            500.. => Sign::Trouble(format!("service error {status}")),
            _ => Sign::Well,
        }),
        // It has answered.
        Outcome::CapabilityMissing { .. } => Some(Sign::Well),
        Outcome::ServiceError { status: None, .. } if tool.target.mcp().is_some() => Some(Sign::Well),
        Outcome::ServiceError { status: None, .. }
        | Outcome::ServiceUnreachable
        | Outcome::ServiceTimeout
        | Outcome::UnknownResult => Some(Sign::Down(words())),
        _not_of_the_service => None,
    }
}
