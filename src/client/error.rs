//! Every way a call can fail, as a type. It says what the gateway said and never guesses.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::net::connect::ConnectError;
use crate::protocol::code;
use crate::protocol::frame::WireError;
use crate::protocol::reply::ReplyError;

/// Why a call did not return a result. Texts come from the gateway: escape them before a terminal sees them.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientError {
    /// A human or the policy said no, or the call was withdrawn. Nothing ran.
    Denied {
        /// For programs, such as `denied_by_user`, `denied_by_policy`, `withdrawn`, `kill_switch`.
        reason: Box<str>,
        /// What the human wrote.
        note: Option<String>,
        /// The description of the rule that decided.
        rule: Option<String>,
        /// The gateway's id of the call.
        request_id: Option<String>,
        /// -32001 or -32003.
        code: i64,
        /// For people.
        message: String,
    },
    /// Nobody answered in time.
    TimedOut {
        /// For people.
        message: String,
        /// The gateway's id of the call, where it is known.
        request_id: Option<String>,
        /// The gateway gave up, and nothing ran. Otherwise the caller's own time was up: the call goes on, and
        /// its outcome waits in [`super::Client::pending_results`].
        by_gateway: bool,
    },
    /// It was tried and failed, or its outcome is unknown (reason `unknown_result`).
    Failed {
        /// For programs, such as `service_error`, `service_timeout`, `unknown_tool`, `unknown_result`.
        reason: Box<str>,
        /// The service's HTTP status.
        status: Option<u16>,
        /// The gateway's id of the call.
        request_id: Option<String>,
        /// -32004, or a code that this version does not know.
        code: i64,
        /// For people.
        message: String,
        /// What an MCP server says of a capability that it needs and nobody has declared.
        mcp_data: Option<Box<Value>>,
    },
    /// Too many calls, or too many open questions.
    RateLimited {
        /// `rate_limited` or `too_many_pending`.
        reason: Box<str>,
        /// When to try again.
        retry_after: Option<Duration>,
        /// For people.
        message: String,
    },
    /// There is no connection, or not one that may be used.
    Connection(ConnectionError),
    /// The request itself is wrong.
    Invalid {
        /// For programs, such as `invalid_argument`, `idempotency_conflict`, `too_large`.
        reason: Box<str>,
        /// The argument that is wrong.
        argument: Option<String>,
        /// The character in it that is refused, and what is valid.
        forbidden: Option<(String, String)>,
        /// For people.
        message: String,
    },
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq)]
pub enum ConnectionError {
    /// The address cannot be used.
    Address(String),
    /// The gateway does not take this token.
    NotAuthenticated(String),
    /// Nobody there, no TLS, no WebSocket; may be better later.
    Unreachable(String),
    /// The connection broke, and the call could not be picked up.
    Lost(String),
    /// The client was closed.
    Closed,
}

impl ConnectionError {
    pub(crate) fn is_final(&self) -> bool {
        match self {
            ConnectionError::Address(_) | ConnectionError::NotAuthenticated(_) | ConnectionError::Closed => {
                true
            }
            ConnectionError::Unreachable(_) | ConnectionError::Lost(_) => false,
        }
    }
}

impl ClientError {
    pub(super) fn invalid(e: &WireError) -> ClientError {
        let argument = e.data.get("argument").and_then(Value::as_str).map(str::to_owned);
        ClientError::Invalid {
            reason: e.reason.into(),
            argument,
            forbidden: None,
            message: e.message.clone(),
        }
    }

    /// The gateway's id of the call, where it is known.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            ClientError::Denied { request_id, .. }
            | ClientError::TimedOut { request_id, .. }
            | ClientError::Failed { request_id, .. } => request_id.as_deref(),
            ClientError::RateLimited { .. } | ClientError::Connection(_) | ClientError::Invalid { .. } => {
                None
            }
        }
    }
}

impl From<ReplyError> for ClientError {
    fn from(e: ReplyError) -> ClientError {
        let ReplyError { code, message, data } = e;
        let get = |name: &str| text(&data, name);
        let reason = get("reason").map_or_else(|| default_reason(code).into(), String::into_boxed_str);
        let request_id = get("request_id");
        match code {
            code::DENIED_BY_USER | code::DENIED_BY_POLICY => ClientError::Denied {
                reason,
                note: get("note"),
                rule: get("rule"),
                request_id,
                code,
                message,
            },
            code::TIMED_OUT => ClientError::TimedOut { message, request_id, by_gateway: true },
            code::RATE_LIMITED => {
                ClientError::RateLimited { reason, retry_after: retry_after(&data), message }
            }
            code::NOT_AUTHENTICATED => ClientError::Connection(ConnectionError::NotAuthenticated(message)),
            code::INVALID_REQUEST | code::METHOD_NOT_FOUND | code::PARSE_ERROR => {
                let forbidden = get("character").zip(get("valid"));
                ClientError::Invalid { reason, argument: get("argument"), forbidden, message }
            }
            _ => {
                let status = data.get("status").and_then(Value::as_u64);
                let status = status.and_then(|status| u16::try_from(status).ok());
                let mcp_data = data.get("mcp_data").cloned().map(Box::new);
                ClientError::Failed { reason, status, request_id, code, message, mcp_data }
            }
        }
    }
}

fn text(data: &Map<String, Value>, name: &str) -> Option<String> {
    data.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// Seconds, whole or not; what no [`Duration`] can hold is left out.
fn retry_after(data: &Map<String, Value>) -> Option<Duration> {
    let seconds = data.get("retry_after")?.as_f64()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// For gateways that send no `data`.
fn default_reason(code: i64) -> &'static str {
    match code {
        code::DENIED_BY_USER => "denied_by_user",
        code::DENIED_BY_POLICY => "denied_by_policy",
        code::RATE_LIMITED => "rate_limited",
        code::METHOD_NOT_FOUND => "method_not_found",
        code::PARSE_ERROR => "parse_error",
        code::INVALID_REQUEST => "invalid_request",
        code::EXECUTION_FAILED => "execution_failed",
        _ => "unknown_code",
    }
}

impl From<ConnectError> for ConnectionError {
    fn from(e: ConnectError) -> ConnectionError {
        match e {
            ConnectError::BadUrl => ConnectionError::Address(e.to_string()),
            ConnectError::BadToken | ConnectError::Refused(401 | 403) => {
                ConnectionError::NotAuthenticated(e.to_string())
            }
            ConnectError::Unreachable(_)
            | ConnectError::Tls(_)
            | ConnectError::Refused(_)
            | ConnectError::NotWebSocket(_) => ConnectionError::Unreachable(e.to_string()),
        }
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectionError::Address(why)
            | ConnectionError::Unreachable(why)
            | ConnectionError::NotAuthenticated(why)
            | ConnectionError::Lost(why) => f.write_str(why),
            ConnectionError::Closed => f.write_str("the client was closed"),
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Connection(e) => e.fmt(f),
            ClientError::Denied { message, note: Some(note), .. } => write!(f, "{message} ({note})"),
            ClientError::Denied { message, rule: Some(rule), .. } => write!(f, "{message} ({rule})"),
            ClientError::Denied { message, .. }
            | ClientError::TimedOut { message, .. }
            | ClientError::Failed { message, .. }
            | ClientError::RateLimited { message, .. }
            | ClientError::Invalid { message, .. } => f.write_str(message),
        }
    }
}

impl std::error::Error for ConnectionError {}
impl std::error::Error for ClientError {}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(code: i64, data: Value) -> ClientError {
        let Value::Object(data) = data else { panic!("not an object") };
        ReplyError { code, message: "m".into(), data }.into()
    }

    #[test]
    fn each_code_has_its_type() {
        let denied = read(-32001, json!({"reason": "denied_by_user", "note": "no", "request_id": "r"}));
        assert!(matches!(&denied, ClientError::Denied { note: Some(n), code: -32001, .. } if n == "no"));
        assert_eq!((denied.request_id(), denied.to_string().as_str()), (Some("r"), "m (no)"));
        assert!(matches!(read(-32002, json!({})), ClientError::TimedOut { by_gateway: true, .. }));
        assert!(
            matches!(read(-32003, json!({})), ClientError::Denied { reason, .. } if &*reason == "denied_by_policy")
        );
        let failed = read(-32004, json!({"reason": "service_error", "status": 404}));
        assert!(matches!(failed, ClientError::Failed { status: Some(404), .. }));
        let ClientError::Connection(e) = read(-32005, json!({})) else { panic!("not a connection error") };
        assert!(e.is_final());
        let slow = read(-32006, json!({"retry_after": 2.5}));
        assert!(
            matches!(slow, ClientError::RateLimited { retry_after: Some(d), .. } if d.as_millis() == 2500)
        );
        let bad = read(-32600, json!({"argument": "domain"}));
        assert!(matches!(bad, ClientError::Invalid { argument: Some(a), .. } if a == "domain"));
        assert!(matches!(read(-1, json!({})), ClientError::Failed { code: -1, .. }));
    }

    #[test]
    fn absurd_values_from_the_wire_are_left_out() {
        for seconds in [json!(-1), json!(1e300), json!("soon"), json!(null)] {
            let got = read(-32006, json!({"retry_after": seconds}));
            assert!(matches!(got, ClientError::RateLimited { retry_after: None, .. }), "{got:?}");
        }
        assert!(matches!(read(-32004, json!({"status": 70000})), ClientError::Failed { status: None, .. }));
    }
}
