//! The handler of services whose tools the agent performs itself: the gateway decides, asks and records, and calls
//! nobody. A permit is handed out by the claim, once, as every call is made once.

use std::time::Duration;

use smol::future::{self, BoxedLocal};

use super::handler::{Attempt, ClaimedCall, Handler, PreparedCall};
use crate::base::ids::RequestId;
use crate::config::PermitService;
use crate::model::{Call, InvalidCall, Outcome, Permit};

/// Nobody is waited for: it bounds the time in which such a call must get its slot.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct PermitHandler(pub(super) PermitService);

impl Handler for PermitHandler {
    fn check(&self, _: &Call) -> Result<PreparedCall, InvalidCall> {
        Ok(PreparedCall::AsItIs)
    }

    fn run(&self, claimed: ClaimedCall) -> BoxedLocal<Attempt> {
        let expires_at = claimed.claim.at().plus(self.0.permit_ttl);
        let permit = Permit { permit_id: RequestId::random().to_string(), expires_at };
        Box::pin(future::ready(Outcome::Permitted(permit).into()))
    }

    fn health(&self) -> Option<BoxedLocal<Result<(), String>>> {
        None
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn retire(&self) {}

    fn shutdown(&self) {}
}
