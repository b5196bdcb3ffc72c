//! Why there is no response to a request, and what that means for a call: it depends on whether the request can have
//! arrived, and whether it can have changed something.

use super::response;
use crate::model::{Kind, Lost, Outcome};
use crate::net::client::{HttpError, MaybeSent, NotSent};

pub(super) enum NoResponse {
    /// It is known already how the call ends: without a session, nothing was sent; or its end could not be followed.
    Ended(Outcome),
    Failed(HttpError),
}

impl NoResponse {
    /// Other services are in force; nothing was sent.
    pub(super) const RETIRED: NoResponse = NoResponse::Failed(HttpError::NotSent(NotSent::Retired));
}

impl From<HttpError> for NoResponse {
    fn from(why: HttpError) -> NoResponse {
        NoResponse::Failed(why)
    }
}

/// The outcome of a call of this kind.
pub(super) fn outcome(why: &HttpError, kind: Kind) -> Outcome {
    let has_effects = kind.has_side_effects();
    match why {
        HttpError::NotSent(_) => Outcome::ServiceUnreachable,
        HttpError::TooLarge { status, .. } if has_effects => {
            response::lost(kind, *status, Lost::TooLarge, None)
        }
        HttpError::Cut { status, .. } if has_effects => response::lost(kind, *status, Lost::CutOff, None),
        HttpError::MaybeSent(_) if has_effects => Outcome::UnknownResult,
        HttpError::TooLarge { .. } => Outcome::ResponseTooLarge,
        HttpError::MaybeSent(why) | HttpError::Cut { status: _, why } => match why {
            MaybeSent::Timeout => Outcome::ServiceTimeout,
            MaybeSent::HeaderTooLarge => Outcome::ResponseTooLarge,
            MaybeSent::Disconnected => without_status("Service closed the connection"),
            MaybeSent::Garbage => without_status("Service did not answer in HTTP"),
        },
    }
}

fn without_status(message: &str) -> Outcome {
    Outcome::ServiceError { status: None, message: message.to_owned(), retry_after: None }
}
