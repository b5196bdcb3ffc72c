//! What every kind of service does with a call.

use std::sync::Arc;
use std::time::Duration;

use smol::future::{self, BoxedLocal};

use super::call_slots::CallSlot;
use super::health::ServerState;
use super::scrub::Scrubber;
use crate::config::HttpService;
use crate::model::{Call, InvalidCall, Outcome, Tool};
use crate::net::client::HttpRequest;
use crate::store::Claim;

/// Runs the calls of one service. There is one implementation for each variant of [`ServiceConfig`](crate::config::ServiceConfig).
pub(super) trait Handler {
    /// Makes `call` ready to be sent. This happens before the policy is asked, and before a person is.
    ///
    /// # Errors
    /// When the call cannot be sent at all.
    fn check(&self, call: &Call) -> Result<PreparedCall, InvalidCall>;

    /// Sends a claimed call, once. Once it is on its way, dropping the future does not stop it.
    fn run(&self, claimed: ClaimedCall) -> BoxedLocal<Attempt>;

    /// Asks the service whether it is well, and says in words why it is not; None where there is no way to ask.
    fn health(&self) -> Option<BoxedLocal<Result<(), String>>>;

    /// Time for a call, unless its tool says otherwise.
    fn timeout(&self) -> Duration;

    /// Other services are in force from now on: what has not been sent is not sent, what has been is seen through.
    fn retire(&self);

    /// Ends the session at the service, where there is one. Begins at once and takes a bounded time.
    fn log_out(&self) -> BoxedLocal<()> {
        Box::pin(future::ready(()))
    }

    /// Ends all calls, running or to come. The outcome of one with side effects is unknown then.
    fn shutdown(&self);

    /// Whether a tool must not be called now, because it is not what its owner has looked at.
    fn blocks(&self, _tool: &Tool) -> bool {
        false
    }

    /// Waits until something has changed in what the service offers. What people are to be told of it, if anything; None
    /// where nothing ever changes.
    fn news(&self) -> Option<BoxedLocal<Option<String>>> {
        None
    }

    /// How the server is that we run for it, where we do.
    fn server(&self) -> Option<ServerState> {
        None
    }
}

pub(super) struct ClaimedCall {
    pub(super) claim: Claim,
    /// Absent after a restart, and once a reload has made it useless.
    pub(super) prepared: Option<PreparedCall>,
    /// Looks for the secrets of this call too.
    pub(super) scrubber: Arc<Scrubber>,
    pub(super) slot: CallSlot,
}

/// A call as it is going to be sent, for one state of its service: after a reload it is prepared anew.
pub enum PreparedCall {
    Http(Arc<HttpService>, HttpRequest),
    /// There is nothing to prepare.
    AsItIs,
}

pub enum Attempt {
    Ended {
        outcome: Outcome,
        /// To be kept until the outcome is recorded: services may be faster than the disk, and large responses must not
        /// pile up between them. None after a small response.
        slot: Option<CallSlot>,
    },
    /// Other services are in force: nothing was sent, and they can send it.
    Overtaken(Claim, CallSlot),
}

impl From<Outcome> for Attempt {
    fn from(outcome: Outcome) -> Attempt {
        Attempt::Ended { outcome, slot: None }
    }
}
