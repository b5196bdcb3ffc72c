//! What a client's error becomes on the command line: its exit code, its text, its remedy.

use std::time::Duration;

use super::{Exit, Trouble};
use crate::client::{ClientError, ConnectionError};

/// The error of `what`, ready to report.
pub(crate) fn trouble(what: &str, error: &ClientError) -> Trouble {
    let mut trouble = Trouble::new(exit(error), what, error).maybe_help(help(error));
    if let Some(id) = error.request_id() {
        trouble = trouble.at(format!("request {id}"));
    }
    trouble
}

fn exit(error: &ClientError) -> Exit {
    match error {
        ClientError::Denied { .. } => Exit::DENIED,
        ClientError::TimedOut { .. } => Exit::TIMED_OUT,
        ClientError::Connection(_) => Exit::CONNECTION,
        ClientError::Invalid { .. } => Exit::BAD_ARGUMENTS,
        ClientError::Failed { .. } | ClientError::RateLimited { .. } => Exit::FAILED,
    }
}

fn help(error: &ClientError) -> Option<String> {
    match error {
        ClientError::RateLimited { retry_after, .. } => Some(try_again(*retry_after)),
        ClientError::TimedOut { by_gateway: false, .. } => {
            Some("the call goes on; `agentpass pending` shows its outcome".into())
        }
        ClientError::Failed { reason, .. } => failed(reason).map(str::to_owned),
        ClientError::Invalid { .. } => Some("`agentpass tools` shows the tools and their arguments".into()),
        ClientError::Connection(ConnectionError::NotAuthenticated(_)) => {
            Some("check the token in AGENT_TOKEN, --token or --token-file".into())
        }
        ClientError::Connection(ConnectionError::Unreachable(why)) if why.contains("its pin") => Some(
            "give its key with --pin sha256:… or AGENTPASS_PIN; `agentpass init`, run again on the gateway, prints it"
                .into(),
        ),
        ClientError::Connection(ConnectionError::Unreachable(why)) if why.contains("the pin says") => Some(
            "`agentpass init`, run again on the gateway, prints its pin; if it is the one you have, something else answers here"
                .into(),
        ),
        ClientError::Connection(_) | ClientError::Denied { .. } | ClientError::TimedOut { .. } => None,
    }
}

fn failed(reason: &str) -> Option<&'static str> {
    match reason {
        "unknown_tool" => Some("`agentpass tools` shows the tools there are"),
        "busy" => Some("nothing was sent; try again later"),
        "unknown_result" => Some("it may have been carried out; look before you ask again"),
        _ => None,
    }
}

fn try_again(after: Option<Duration>) -> String {
    match after {
        // Rounded up: a second too late is not too many again.
        Some(after) => format!("try again in {} s", after.as_secs() + u64::from(after.subsec_nanos() > 0)),
        None => "try again later".into(),
    }
}
